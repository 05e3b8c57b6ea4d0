"""Draws the pictures and makes small ones of them.

Writes into WORK: large.npy, uint8 [n, 256, 256, 3], and for each factor small-xF.npy, uint8 [n, versions, 256/F, 256/F,
3].
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import icons
from degrade import degrade

SEED = 20241123
FACTORS = (2, 4)
TILE = 256
# Icons of each set, chosen by chance.
ICONS = 400
# Sides that an icon is drawn at; a tile is a part of a larger one. Of a part this much must not be background.
DRAWN, PARTS = 512, (384, 512)
LEAST_CONTENT, TRIES = 0.3, 8
WHITE_SHARE, BLACK_SHARE = 0.6, 0.1
VERSIONS = 2


def background(random: np.random.Generator) -> tuple[int, int, int]:
    kind = random.random()
    if kind < WHITE_SHARE:
        return (255, 255, 255)
    if kind < WHITE_SHARE + BLACK_SHARE:
        return (0, 0, 0)
    red, green, blue = random.integers(0, 256, 3)
    return (int(red), int(green), int(blue))


def part(drawn: Image.Image, random: np.random.Generator) -> Image.Image:
    """A tile out of a larger drawing, with something on it."""
    side = int(random.choice(PARTS))
    larger = drawn if side == DRAWN else drawn.resize((side, side), Image.Resampling.LANCZOS)
    for _ in range(TRIES):
        left, top = random.integers(0, side - TILE + 1, 2)
        tile = larger.crop((left, top, left + TILE, top + TILE))
        pixels = np.asarray(tile)
        if (pixels != np.asarray(drawn)[0, 0]).any(-1).mean() > LEAST_CONTENT:
            break
    return tile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the packages, see README.md")
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()

    options.work.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(SEED)
    large, small = [], {factor: [] for factor in FACTORS}
    for name in icons.SETS:
        known = [icon for icon in icons.read(options.data, name) if not icon.held_out]
        for index in random.permutation(len(known))[:ICONS]:
            drawn = known[index].draw(DRAWN, background(random))
            for tile in (drawn.reduce(DRAWN // TILE), part(drawn, random)):
                large.append(np.asarray(tile))
                for factor in FACTORS:
                    versions = [np.asarray(degrade(tile, factor, random)) for _ in range(VERSIONS)]
                    small[factor].append(np.stack(versions))
        print(f"{name}: {len(large)} tiles", flush=True)
    for factor in FACTORS:
        np.save(options.work / f"small-x{factor}.npy", np.stack(small[factor]))
    np.save(options.work / "large.npy", np.stack(large))


if __name__ == "__main__":
    main()
