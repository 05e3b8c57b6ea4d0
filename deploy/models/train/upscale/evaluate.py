"""Prints how near the weights in the tree come to held-out pictures, beside common ways to enlarge them."""

import argparse
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

import icons
from degrade import degrade, shrink
from prepare import FACTORS, TILE, background

SEED = 7
WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
# Of each set.
PICTURES = 40
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "Lanczos": Image.Resampling.LANCZOS,
}


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio over all three channels, in dB; 60 where nothing differs by much."""
    error = np.square(one.astype(np.float64) - other).mean()
    return float(10 * np.log10(255**2 / max(error, 255**2 * 1e-6)))


def enlarge(session: onnxruntime.InferenceSession, small: Image.Image) -> np.ndarray:
    planes = np.asarray(small, np.float32).transpose(2, 0, 1)[None] / 255
    (upscaled,) = session.run(["upscaled"], {"image": planes})
    return (upscaled[0].transpose(1, 2, 0) * 255).round().astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the packages, see README.md")
    parser.add_argument("--sheet", type=Path, help="also draw a picture of some results")
    options = parser.parse_args()

    random = np.random.default_rng(SEED)
    pictures = []
    for name in icons.SETS:
        known = [icon for icon in icons.read(options.data, name) if icon.held_out]
        chosen = random.permutation(len(known))[:PICTURES]
        pictures += [(name, known[index].draw(2 * TILE, background(random)).reduce(2)) for index in chosen]
    threads = onnxruntime.SessionOptions()
    threads.intra_op_num_threads = 1
    rows = []
    for factor in FACTORS:
        path = WEIGHTS / f"emoji-upscale-x{factor}" / "model.onnx"
        session = onnxruntime.InferenceSession(str(path), threads, providers=["CPUExecutionProvider"])
        small = {
            "clean": [shrink(picture, factor) for _, picture in pictures],
            "degraded": [degrade(picture, factor, random) for _, picture in pictures],
        }
        for kind, group in small.items():
            scores = {way: [] for way in (*FILTERS, "network")}
            for (_, picture), little in zip(pictures, group):
                truth = np.asarray(picture)
                for way, filter in FILTERS.items():
                    scores[way].append(psnr(np.asarray(little.resize(picture.size, filter)), truth))
                found = enlarge(session, little)
                scores["network"].append(psnr(found, truth))
                if len(rows) < 24 and kind == "degraded" and factor == 4 and len(scores["network"]) % 10 == 1:
                    sides = [little.resize(picture.size, filter) for filter in list(FILTERS.values())[::2]]
                    rows.append(np.hstack([*map(np.asarray, sides), found, truth]))
            better = np.mean(np.array(scores["network"]) > np.array(scores["bicubic"]))
            cells = "  ".join(f"{way} {np.mean(values):.2f}" for way, values in scores.items())
            print(f"x{factor} {kind:9} {cells}  better than bicubic {better:.0%}")
            for style in icons.SETS:
                own = [i for i, (name, _) in enumerate(pictures) if name == style]
                cells = (f"{way} {np.mean([scores[way][i] for i in own]):.2f}" for way in ("bicubic", "network"))
                print(f"   {style:8} {'  '.join(cells)}")
        planes = np.zeros((1, 3, 128, 128), np.float32)
        session.run(None, {"image": planes})
        started = time.monotonic()
        session.run(None, {"image": planes})
        print(f"x{factor} 128 x 128 in {1000 * (time.monotonic() - started):.0f} ms on one core")
    if options.sheet:
        Image.fromarray(np.vstack(rows)).save(options.sheet)


if __name__ == "__main__":
    main()
