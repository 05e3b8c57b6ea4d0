"""Features of every picture by EfficientNet-Lite0, as it is and in altered views: WORK/features.npy [views, n, 1280].

Run it after polish_decoder.py: some views go through the autoencoder, so that what the flow draws looks familiar.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from autoencoder import IMAGE_SIZE
from export import trained
from onnx_files import session
from text import models_folder
from training import as_input, as_pictures

VIEWS = 4
BATCH = 16
FIRST_SEED = 100
# The classifier's own preparation: the shorter side to RESIZED, the middle of it.
RESIZED, CROP, MEAN, DEVIATION = 256, 224, 127.0, 128.0
# How often a view goes through the autoencoder, is mirrored, and gets another background.
REDRAWN, MIRRORED, ON_COLOUR = 0.4, 0.3, 0.3
SMALLEST, LARGEST = 0.7, 1.15


def prepare(picture: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] of a square picture to f32 [3, 224, 224]."""
    edge = (RESIZED - CROP) // 2
    scaled = Image.fromarray(picture).resize((RESIZED, RESIZED), Image.BICUBIC)
    middle = np.asarray(scaled.crop((edge, edge, edge + CROP, edge + CROP)), np.float32)
    return ((middle - MEAN) / DEVIATION).transpose(2, 0, 1)


class Classifier:
    """A picture's features, of length 1."""

    def __init__(self, folder: Path):
        self.session = session(folder / "model.onnx")

    def features(self, pictures: list[np.ndarray]) -> np.ndarray:
        found = self.session.run(["features"], {"pixels": np.stack([prepare(picture) for picture in pictures])})[0]
        return found / np.linalg.norm(found, axis=1, keepdims=True)


class Views:
    """Alters pictures of four channels: colours on white, and alpha."""

    def __init__(self, work: Path):
        self.autoencoder = trained(work)[1].eval()

    def alter(self, picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if random.random() < REDRAWN:
            with torch.no_grad():
                picture = as_pictures(self.autoencoder.decoder(self.autoencoder.encoder(as_input(picture[None]))[0]))[0]
        colours, alpha = picture[..., :3].astype(np.float32), picture[..., 3:] / 255
        if random.random() < MIRRORED:
            colours, alpha = colours[:, ::-1], alpha[:, ::-1]
        behind = np.full(3, 255)
        if random.random() < ON_COLOUR:
            behind = random.integers(120, 256, 3)
            colours = colours + (1 - alpha) * (behind - 255.0)
        side = int(IMAGE_SIZE * random.uniform(SMALLEST, LARGEST))
        thing = Image.fromarray(colours.clip(0, 255).round().astype(np.uint8)).resize((side, side), Image.BICUBIC)
        view = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), tuple(int(level) for level in behind))
        room = sorted((0, IMAGE_SIZE - side))
        view.paste(thing, tuple(int(random.integers(room[0], room[1] + 1)) for _ in range(2)))
        return np.asarray(view)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--classifier", type=Path, default=models_folder() / "efficientnet-lite0")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pictures = np.load(options.work / "pictures.npy", mmap_mode="r")
    classifier, views = Classifier(options.classifier), Views(options.work)
    features = []
    for number in range(VIEWS):
        random = np.random.default_rng(FIRST_SEED + number)
        for start in range(0, len(pictures), BATCH):
            some = [np.ascontiguousarray(picture) for picture in pictures[start : start + BATCH]]
            some = [views.alter(picture, random) if number else picture[..., :3] for picture in some]
            features.append(classifier.features(some))
        print(f"{number + 1} of {VIEWS} views", flush=True)
    np.save(options.work / "features.npy", np.concatenate(features).reshape(VIEWS, len(pictures), -1))


if __name__ == "__main__":
    main()
