"""Measures how many harmless pictures the two classifiers and their pair flag: python measure.py --models FOLDER [--emoji FILE]

FOLDER holds the installed models `open-nsfw` and `nsfwjs-mobilenet`. The photographs and scans are those that scikit-image and
scikit-learn carry. FILE is `pictures.npy` as deploy/models/train/image/prepare makes it: emoji as uint8 [n, 128, 128, 4].

Needs numpy==2.4.6, onnxruntime==1.32.0, pillow==13.0.0, scikit-image==0.26.0, scikit-learn==1.9.0.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
import skimage
import sklearn
from PIL import Image

SEED = 5
CUTTINGS, EMOJI = 12, 300
FLAGGED = 0.5
MEANS = np.float32([104, 117, 123])
SIDE = 224
SKIMAGE = """astronaut.png chelsea.png coffee.png rocket.jpg camera.png motorcycle_left.png clock_motion.png coins.png grass.png
gravel.png brick.png hubble_deep_field.jpg moon.png retina.jpg ihc.png cell.png page.png text.png horse.png logo.png
color.png""".split()
SKLEARN = ["china.jpg", "flower.jpg"]


def photographs():
    folders = [(Path(skimage.__file__).parent / "data", SKIMAGE)]
    folders.append((Path(sklearn.__file__).parent / "datasets" / "images", SKLEARN))
    return [Image.open(folder / name).convert("RGB") for folder, names in folders for name in names]


def cuttings(pictures, random):
    """Parts of a third to nine tenths of each side, half of them mirrored."""
    for picture in pictures:
        for _ in range(CUTTINGS):
            width, height = (max(32, int(side * random.uniform(0.35, 0.9))) for side in picture.size)
            left = int(random.integers(0, picture.width - width + 1))
            top = int(random.integers(0, picture.height - height + 1))
            part = picture.crop((left, top, left + width, top + height))
            yield part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else part


def emoji(path, random):
    pictures = np.load(path, mmap_mode="r")
    for index in random.choice(len(pictures), EMOJI, replace=False):
        picture = Image.fromarray(pictures[index])
        on_white = Image.new("RGB", picture.size, "white")
        on_white.paste(picture, mask=picture.getchannel("A"))
        yield on_white


def for_open_nsfw(picture):
    middle = picture.resize((256, 256), Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
    return np.asarray(middle, np.float32)[:, :, ::-1] - MEANS


def for_nsfwjs(picture):
    """Bilinear between the corners' pixels, without smoothing."""
    values = np.asarray(picture, np.float32) / 255
    for axis in (0, 1):
        last = values.shape[axis] - 1
        exact = np.linspace(0, last, SIDE, dtype=np.float32)
        first = np.floor(exact).astype(int)
        share = np.expand_dims(exact - first, (1, 2) if axis == 0 else (0, 2))
        values = np.take(values, first, axis) * (1 - share) + np.take(values, np.minimum(first + 1, last), axis) * share
    return values.astype(np.float32)


def run(model, pictures, column):
    name = model.get_inputs()[0].name
    rows = np.concatenate([model.run(None, {name: picture[None]})[0] for picture in pictures])
    return column(rows.astype(np.float64))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--emoji", type=Path)
    options = parser.parse_args()
    load = lambda name: onnxruntime.InferenceSession(options.models / name / "model.onnx", providers=["CPUExecutionProvider"])
    old, new = load("open-nsfw"), load("nsfwjs-mobilenet")
    file = json.loads((Path(__file__).parent / "combination.json").read_text())
    random = np.random.default_rng(SEED)
    whole = photographs()
    sets = {"photographs": whole, "cuttings": list(cuttings(whole, random))}
    if options.emoji:
        sets["emoji"] = list(emoji(options.emoji, random))
    for name, pictures in sets.items():
        scores = {
            "open-nsfw": run(old, [for_open_nsfw(picture) for picture in pictures], lambda rows: rows[:, 1]),
            "nsfwjs": run(new, [for_nsfwjs(picture) for picture in pictures], lambda rows: rows @ [0, 1, 0, 1, 0.5]),
        }
        logits = [np.clip(np.log(p / (1 - p)), -file["bound"], file["bound"]) for p in scores.values()]
        weighted = sum(part["weight"] * logit for part, logit in zip(file["parts"], logits, strict=True))
        scores["pair"] = 1 / (1 + np.exp(-weighted))
        for detector, found in scores.items():
            print(f"{name:12} {detector:10} {(found >= FLAGGED).sum()} of {len(found)}, at most {found.max():.2f}")


if __name__ == "__main__":
    main()
