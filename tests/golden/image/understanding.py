"""Writes what the default image classifier says of three small pictures: python understanding.py

Two are photographs that scikit-image carries, made smaller: `chelsea` by Stéfan van der Walt and `coffee` by Rachel
Michetti, both given to the public domain (CC0). The third is drawn, and lies with the moderation service's. All are PNG
without transparency: JPEG decoders differ by enough to move the scores.

The preparation is written out with numpy and Pillow and the model is run by ONNX Runtime's Python package; the service
has its own and must agree with it. Needs numpy==2.4.6, onnxruntime==1.32.0, pillow==13.0.0, scikit-image==0.26.0.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from skimage import data

HERE = Path(__file__).resolve().parent
PHOTOGRAPHS = {"cat.png": data.chelsea, "coffee.png": data.coffee}
DRAWINGS = ["../moderation/images/shapes.png"]
MODEL = "efficientnet-lite0"
# Reads its features.
PROJECTION = "emoji-captions"
LARGEST_SIDE, COLOURS = 320, 64
RESIZED, CROP = 256, 224
MEAN, DEVIATION = 127, 128
TOP, FIRST_FEATURES = 5, 16
# Resizers round differently: one step of 255 in a value of twenty moves probabilities by up to 0.015, features (the
# largest are 0.2 to 0.3) by up to 0.015, and the whole vector to a cosine of 0.998.
PROBABILITY_TOLERANCE, FEATURE_TOLERANCE, SMALLEST_COSINE = 0.03, 0.03, 0.995


def prepare(image: Image.Image) -> np.ndarray:
    """A picture as the classifier takes it: the shorter side to 256, the middle 224 x 224 of that, as planes."""
    image = image.convert("RGB")
    shorter = min(image.size)
    width, height = (int(side * RESIZED / shorter + 0.5) for side in image.size)
    left, top = (width - CROP) // 2, (height - CROP) // 2
    scaled = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + CROP, top + CROP))
    return ((np.asarray(scaled, np.float32) - MEAN) / DEVIATION).transpose(2, 0, 1)


def rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in values]


def main() -> None:
    home = Path(os.environ.get("ATELIER_HOME") or Path.home() / ".cache" / "atelier")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=home / "models" / MODEL, help="its model folder")
    options = parser.parse_args()
    session = onnxruntime.InferenceSession(str(options.model / "model.onnx"), providers=["CPUExecutionProvider"])
    labels = json.loads((options.model / "labels.json").read_text())
    (HERE / "pictures").mkdir(exist_ok=True)
    for name, photograph in PHOTOGRAPHS.items():
        small = Image.fromarray(photograph())
        small.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
        # Few colours make a small file of every bit of the picture.
        small.quantize(COLOURS, dither=Image.Dither.NONE).save(HERE / "pictures" / name, optimize=True)
    projection = onnxruntime.InferenceSession(str(options.model.parent / PROJECTION / "model.onnx"), providers=["CPUExecutionProvider"])
    pictures, vectors = [], []
    for path in [*(f"pictures/{name}" for name in PHOTOGRAPHS), *DRAWINGS]:
        pixels = prepare(Image.open(HERE / path))
        (probabilities,), (features,) = session.run(["probabilities", "features"], {"pixels": pixels[None]})
        top = np.argsort(-probabilities, kind="stable")[:TOP]
        vectors.append(features)
        named = [{"index": int(index), "name": labels[index]} for index in top]
        for label, probability in zip(named, rounded(probabilities[top])):
            label["probability"] = probability
        mean = round(float(pixels.mean(dtype=np.float64)), 5)
        first = rounded(features[:FIRST_FEATURES])
        unit = (features / np.linalg.norm(features))[None]
        projected = rounded(projection.run(["embedding"], {"features": unit})[0][0, :FIRST_FEATURES])
        facts = {"picture": path, "prepared_mean": mean, "top": named, "features": first, "projected": projected}
        pictures.append(facts)
    for picture, vector in zip(pictures, vectors):
        picture["cosines"] = rounded(np.stack(vectors) @ vector)
    document = {
        "model": MODEL,
        "probability_tolerance": PROBABILITY_TOLERANCE,
        "feature_tolerance": FEATURE_TOLERANCE,
        "smallest_cosine": SMALLEST_COSINE,
        "dimensions": len(vectors[0]),
        "pictures": pictures,
    }
    (HERE / "understanding.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
