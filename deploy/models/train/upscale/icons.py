"""Reads and draws the public icon sets of README.md."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import resvg_py
from PIL import Image

# Name, file that `npm pack` leaves, and its SHA-256.
SETS = {
    "noto": ("iconify-json-noto-1.2.9.tgz", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"),
    "flat": ("iconify-json-fluent-emoji-flat-1.2.6.tgz", "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175"),
    "twemoji": ("iconify-json-twemoji-1.2.5.tgz", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7"),
}
NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
# Variants that differ in a colour alone.
SKIN_TONE = "skin-tone"
# One emoji in this many is kept for judging, in every set alike.
HELD_OUT = 16


@dataclass(frozen=True)
class Icon:
    """A square drawing."""

    name: str
    svg: str

    @property
    def held_out(self) -> bool:
        """By its name, so that no set shows in training what another is judged by."""
        return hashlib.sha256(self.name.encode()).digest()[0] % HELD_OUT == 0

    def draw(self, side: int, background: tuple[int, int, int]) -> Image.Image:
        """In RGB, on a background."""
        png = resvg_py.svg_to_bytes(svg_string=self.svg, width=side, height=side)
        drawn = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
        canvas = Image.new("RGBA", drawn.size, (*background, 255))
        canvas.alpha_composite(drawn)
        return canvas.convert("RGB")


def read(folder: Path, name: str) -> Iterator[Icon]:
    """The icons of a set, by name."""
    file, expected = SETS[name]
    data = (folder / file).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ValueError(f"{file} has sha256 {found}, expected {expected}")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        document = json.load(archive.extractfile("package/icons.json"))
    for key, icon in sorted(document["icons"].items()):
        if SKIN_TONE in key:
            continue
        width, height = (icon.get(side, document.get(side, 16)) for side in ("width", "height"))
        if width == height:
            head = f'<svg {NAMESPACES} viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
            yield Icon(key, f"{head}{icon['body']}</svg>")
