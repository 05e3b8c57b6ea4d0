"""Draws the pictures, recolours some, names them all.

Writes into WORK: pictures.npy (uint8 [n, 128, 128, 4]), pictures.json (a record for each) and captions.json (the texts).
"""

import argparse
import json
import random
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np

import packages
from captions import Captions, is_drawn
from flow import STYLES
from render import COLOURS, Tint, draw

SEED = 20240607
# Recoloured copies of a picture, at most.
COPIES = 2
# Only the faces of this style are used, by the GAN.
FACES_ONLY = "noto-v1"
FACES = "smileys-emotion"


def versions(job: tuple[str, list[str]], copies: int) -> list[tuple[str | None, str | None, np.ndarray]]:
    """The picture and its recoloured copies, each with the colour given to it and the colour it has by itself."""
    svg, colours = job
    picture = draw(svg)
    tint = Tint(picture)
    found = [(None, tint.name(), picture)]
    for colour in colours:
        if len(found) > copies:
            break
        copy = tint.recoloured(colour)
        if copy is not None:
            found.append((colour, None, copy))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the packages, see README.md")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()

    options.work.mkdir(parents=True, exist_ok=True)
    chooser = random.Random(SEED)
    concepts = {code: concept for code, concept in packages.concepts(options.data).items() if is_drawn(concept)}
    captions = Captions(list(concepts.values()))
    jobs, owners = [], []
    for style in packages.ICON_SETS:
        for code, svg in packages.icons(options.data, style).items():
            concept = concepts.get(code)
            if concept is None or style == FACES_ONLY and concept.group != FACES:
                continue
            colours = []
            if style in STYLES and captions.takes_colours(concept):
                taken = concept.label.lower().split()
                colours = [word for word in COLOURS if word not in taken and not captions.is_held_out(concept, word)]
                chooser.shuffle(colours)
            jobs.append((svg, colours))
            owners.append((style, concept))

    pictures, records, index = [], [], {}
    with Pool(options.processes) as pool:
        drawn = pool.imap(partial(versions, copies=COPIES), jobs, chunksize=16)
        for (style, concept), found in zip(owners, drawn):
            for given, own, picture in found:
                texts = captions.of_recoloured(concept, given) if given else captions.of(concept, style, own)
                if not texts:
                    continue
                records.append(
                    {
                        "code": concept.code,
                        "label": concept.label,
                        "tags": concept.tags,
                        "group": concept.group,
                        "subgroup": concept.subgroup,
                        "style": style,
                        "recoloured": given,
                        "colour": given or own,
                        "weight": captions.weight(concept, given is not None),
                        "captions": [[index.setdefault(text, len(index)), weight] for text, weight in texts.items()],
                    }
                )
                pictures.append(picture)
    np.save(options.work / "pictures.npy", np.stack(pictures))
    (options.work / "pictures.json").write_text(json.dumps(records, ensure_ascii=False))
    (options.work / "captions.json").write_text(json.dumps(list(index), ensure_ascii=False, indent=0))
    copies = sum(record["recoloured"] is not None for record in records)
    print(f"{len(records)} pictures, {copies} of them recoloured, {len(index)} captions")


if __name__ == "__main__":
    main()
