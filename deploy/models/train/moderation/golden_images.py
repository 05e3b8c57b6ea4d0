"""Draws four small pictures and writes the scores that the image classifier must give them.

The reference preparation is written out with numpy and Pillow; the service has its own and must agree with it.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parents[3] / "tests" / "golden" / "moderation"
# Mean of ImageNet's training pictures as Caffe models subtract it, in the order blue, green, red.
MEAN = np.array([104, 117, 123], np.float32)
# JPEG decoders and resizers round differently; grain of one step of 255 moves the shaded pictures by up to 0.1.
TOLERANCE = 0.05


def pictures() -> dict[str, Image.Image]:
    """Name to picture: flat shapes, shaded ellipses, and seeded noise with an alpha channel."""
    shapes = Image.new("RGB", (200, 300), (244, 240, 230))
    pen = ImageDraw.Draw(shapes)
    pen.rectangle((20, 30, 120, 110), fill=(200, 30, 40))
    pen.ellipse((60, 120, 180, 240), fill=(20, 90, 200))
    pen.polygon([(10, 290), (60, 200), (110, 290)], fill=(30, 160, 60))
    pen.line((0, 0, 200, 300), fill=(0, 0, 0), width=5)

    noise = np.random.default_rng(7).integers(0, 256, (48, 64, 4), np.uint8)
    return {
        "shapes.png": shapes,
        "ellipses-a.jpg": ellipses(seed=25, count=4),
        "ellipses-b.jpg": ellipses(seed=158, count=5),
        "noise.png": Image.fromarray(noise, "RGBA"),
    }


def ellipses(seed: int, count: int) -> Image.Image:
    """Shaded ellipses in skin tones at random places.

    They show nothing, yet these seeds stir the classifier, so that a constant score cannot pass for a right one.
    """
    random = np.random.default_rng(seed)
    down, across = np.mgrid[0:240, 0:240] / 240
    canvas = np.ones((240, 240, 3)) * random.uniform(0.2, 0.9, 3)
    tone = np.array([0.87, 0.66, 0.55]) * random.uniform(0.8, 1.1)
    for _ in range(count):
        (x, y), (width, height), turn = random.uniform(0.2, 0.8, 2), random.uniform(0.1, 0.4, 2), random.uniform(0, np.pi)
        along = ((across - x) * np.cos(turn) + (down - y) * np.sin(turn)) / width
        beside = ((down - y) * np.cos(turn) - (across - x) * np.sin(turn)) / height
        distance = along**2 + beside**2
        cover = np.clip((1 - distance) * 12, 0, 1)[..., None]
        shade = np.clip(1.05 - 0.45 * distance, 0, 1)[..., None]
        canvas = canvas * (1 - cover) + cover * tone * shade
    return Image.fromarray((np.clip(canvas, 0, 1) * 255).round().astype(np.uint8))


def prepare(image: Image.Image) -> np.ndarray:
    """A picture file's pixels as the classifier takes them; alpha is dropped."""
    scaled = image.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
    return np.asarray(scaled, np.float32)[:, :, ::-1] - MEAN


def main() -> None:
    home = Path(os.environ.get("ATELIER_HOME") or Path.home() / ".cache" / "atelier")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=home / "models" / "open-nsfw", help="model folder of open-nsfw")
    options = parser.parse_args()
    session = onnxruntime.InferenceSession(str(options.model / "model.onnx"), providers=["CPUExecutionProvider"])
    folder = OUTPUT / "images"
    folder.mkdir(parents=True, exist_ok=True)
    scores = {}
    for name, picture in pictures().items():
        picture.save(folder / name, optimize=True, **({"quality": 90, "subsampling": 0} if name.endswith(".jpg") else {}))
        # Scored from the file, so that what JPEG loses is in the reference too.
        prepared = prepare(Image.open(folder / name))
        output = session.run(None, {"input:0": prepared[None]})[0]
        scores[name] = {"sexual": round(float(output[0, 1]), 6), "prepared_mean": round(float(prepared.mean()), 4)}
    document = {"model": "open-nsfw", "tolerance": TOLERANCE, "images": scores}
    (OUTPUT / "image_scores.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
