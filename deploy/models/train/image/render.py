"""Draws SVGs as pictures of four channels and recolours them.

A picture is uint8 [size, size, 4]: red, green and blue as they look on white, and alpha.
"""

import io

import numpy as np
import resvg_py
from PIL import Image

from autoencoder import IMAGE_SIZE

# Drawn larger and averaged down.
OVERSAMPLING = 2

# Hue in degrees, saturation, value. The last is the Chinese word.
COLOURS = {
    "red": (0, 0.85, 0.9, "红色"),
    "orange": (28, 0.9, 1.0, "橙色"),
    "yellow": (50, 0.8, 1.0, "黄色"),
    "green": (125, 0.7, 0.75, "绿色"),
    "blue": (212, 0.75, 0.92, "蓝色"),
    "purple": (275, 0.6, 0.8, "紫色"),
    "pink": (332, 0.45, 1.0, "粉色"),
    "brown": (22, 0.6, 0.55, "棕色"),
}
# A pixel is coloured from these values on.
LEAST_SATURATION, LEAST_VALUE = 0.28, 0.2
# Hues this near, in degrees, are of one colour.
HUE_REACH = 32
# The colour has to fill this share of the picture and of what is drawn.
LEAST_AREA, LEAST_SHARE = 0.06, 0.45
BINS = 36


def draw(svg: str, size: int = IMAGE_SIZE) -> np.ndarray:
    side = size * OVERSAMPLING
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side))
    drawn = Image.open(io.BytesIO(png)).convert("RGBA")
    if drawn.size != (side, side):
        longest = max(drawn.size)
        square = Image.new("RGBA", (longest, longest), (0, 0, 0, 0))
        square.paste(drawn, ((longest - drawn.width) // 2, (longest - drawn.height) // 2))
        drawn = square
    white = Image.new("RGBA", drawn.size, (255, 255, 255, 255))
    white.alpha_composite(drawn)
    colours = np.asarray(white.convert("RGB").resize((size, size), Image.LANCZOS))
    alpha = np.asarray(drawn.getchannel("A").resize((size, size), Image.LANCZOS))
    return np.dstack([colours, alpha])


def hue_distance(hue: np.ndarray, other: float) -> np.ndarray:
    return np.abs((hue - other + 180) % 360 - 180)


class Tint:
    """A picture's main colour, where one prevails."""

    def __init__(self, picture: np.ndarray):
        values = np.asarray(Image.fromarray(picture[..., :3]).convert("HSV")).astype(np.float32)
        self.picture = picture
        self.hue, self.saturation, self.value = values[..., 0] * 360 / 255, values[..., 1] / 255, values[..., 2] / 255
        coloured = (self.saturation > LEAST_SATURATION) & (self.value > LEAST_VALUE)
        counts = np.bincount((self.hue[coloured] * BINS / 360).astype(int) % BINS, minlength=BINS)
        smooth = sum(np.roll(counts, shift) for shift in (-2, -1, 0, 1, 2))
        self.main = smooth.argmax() * 360 / BINS + 180 / BINS
        self.near = coloured & (hue_distance(self.hue, self.main) < HUE_REACH)
        drawn = (picture[..., 3] > 128) & ((self.saturation > 0.12) | (self.value < 0.9))
        area, share = self.near.mean(), self.near.sum() / max(drawn.sum(), 1)
        self.prevails = bool(area > LEAST_AREA and share > LEAST_SHARE)
        self.fills = bool(self.prevails and share > 0.6)

    def name(self) -> str | None:
        """The word for the main colour, where it is beyond doubt."""
        if not self.fills:
            return None
        saturation, value = np.median(self.saturation[self.near]), np.median(self.value[self.near])
        for word, (hue, _, _, _) in COLOURS.items():
            if word in ("brown", "pink") or hue_distance(self.main, hue) > 12:
                continue
            if word == "orange" and value < 0.8 or word != "pink" and saturation < 0.45:
                return None
            return word
        return None

    def recoloured(self, word: str) -> np.ndarray | None:
        """The picture with its main colour moved to another; none where nothing would change."""
        hue, saturation, value, _ = COLOURS[word]
        if not self.prevails or hue_distance(self.main, hue) < 25 and word not in ("brown", "pink"):
            return None
        blend = np.clip((self.saturation - 0.12) / 0.16, 0, 1) * (hue_distance(self.hue, self.main) < HUE_REACH + 8)
        saturation = np.clip(self.saturation * saturation / max(np.median(self.saturation[self.near]), 0.3), 0, 1)
        value = np.clip(self.value * value / max(np.median(self.value[self.near]), 0.3), 0, 1)
        moved = np.stack([np.full_like(self.hue, hue * 255 / 360), saturation * 255, value * 255], -1)
        moved = np.asarray(Image.fromarray(moved.round().astype(np.uint8), "HSV").convert("RGB")).astype(np.float32)
        blend = blend[..., None]
        colours = self.picture[..., :3] * (1 - blend) + moved * blend
        return np.dstack([colours.round().astype(np.uint8), self.picture[..., 3]])
