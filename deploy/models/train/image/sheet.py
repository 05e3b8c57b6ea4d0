"""Draws the prompts of prompts.txt with an exported pipeline and onnxruntime alone: one PNG, eight pictures a row."""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image

from export import WEIGHTS
from onnx_files import session
from text import TextEncoder, default_folder

PROMPTS = Path(__file__).resolve().parent / "prompts.txt"
COLUMNS = 8


class Pipeline:
    def __init__(self, folder: Path, encoder: Path):
        self.text = TextEncoder(encoder)
        self.transformer = session(folder / "transformer" / "model.onnx")
        self.decoder = session(folder / "vae_decoder" / "model.onnx")
        self.config = json.loads((folder / "transformer" / "config.json").read_text())
        self.shift = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())["shift"]

    def latents(self, prompts: list[str], style: str, steps: int, guidance: float, seed: int, shift: float) -> np.ndarray:
        states, mask = self.text.embed(prompts)
        styles = np.full(len(prompts), self.config["styles"].index(style), np.int64)
        anything = np.full_like(styles, len(self.config["styles"]) - 1)
        condition = {
            "encoder_hidden_states": np.concatenate([states, states]),
            "encoder_attention_mask": np.concatenate([mask, 0 * mask]),
            "style": np.concatenate([styles, anything]),
        }
        sigmas = np.linspace(1, 0, steps + 1)
        sigmas = (shift * sigmas / (1 + (shift - 1) * sigmas)).astype(np.float32)
        side, channels = self.config["sample_size"], self.config["in_channels"]
        x = np.random.default_rng(seed).standard_normal((len(prompts), channels, side, side)).astype(np.float32)
        for now, following in zip(sigmas[:-1], sigmas[1:]):
            time_step = np.full(2 * len(x), now * 1000, np.float32)
            feed = condition | {"hidden_states": np.concatenate([x, x]), "timestep": time_step}
            with_text, without = np.split(self.transformer.run(["sample"], feed)[0], 2)
            x = x + (following - now) * (without + guidance * (with_text - without))
        return x

    def draw(self, prompts: list[str], **how) -> np.ndarray:
        """uint8 [n, 128, 128, 4]: colours on white, and alpha."""
        made = self.decoder.run(["sample"], {"latent_sample": self.latents(prompts, **how)})[0]
        return ((made.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8).transpose(0, 2, 3, 1)


def tile(pictures: np.ndarray, columns: int = COLUMNS) -> Image.Image:
    pictures = pictures[..., :3]
    missing = -len(pictures) % columns
    pictures = np.concatenate([pictures, np.full((missing, *pictures.shape[1:]), 255, np.uint8)])
    rows, size = len(pictures) // columns, pictures.shape[1]
    grid = pictures.reshape(rows, columns, size, size, 3).transpose(0, 2, 1, 3, 4)
    return Image.fromarray(grid.reshape(rows * size, columns * size, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("png", type=Path)
    parser.add_argument("--folder", type=Path, default=WEIGHTS)
    parser.add_argument("--encoder", type=Path, default=default_folder(), help="model folder of multilingual-e5-small")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="one on each line")
    parser.add_argument("--style")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--shift", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--colours", type=int, default=0, help="of the PNG's palette; 0: all")
    options = parser.parse_args()
    prompts = options.prompts.read_text(encoding="utf-8").split("\n")
    prompts = [prompt for prompt in prompts if prompt]
    pipeline = Pipeline(options.folder, options.encoder)
    started = time.monotonic()
    pictures = pipeline.draw(
        prompts,
        style=options.style or pipeline.config["default_style"],
        steps=options.steps or pipeline.config["num_inference_steps"],
        guidance=options.guidance or pipeline.config["guidance_scale"],
        shift=options.shift or pipeline.shift,
        seed=options.seed,
    )
    print(f"{(time.monotonic() - started) / len(prompts):.2f} s for each picture")
    sheet = tile(pictures)
    if options.colours:
        sheet = sheet.quantize(options.colours)
    sheet.save(options.png, optimize=True)


if __name__ == "__main__":
    main()
