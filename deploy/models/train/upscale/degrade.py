"""Small pictures as the network will meet them: shrunk, blurred, noisy, out of a JPEG file, or none of that."""

import io

import numpy as np
from PIL import Image, ImageFilter

# As pictures are shrunk out there. Box is the average of an area.
FILTERS = [
    Image.Resampling.BOX,
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
]
# Shrunk and nothing else.
CLEAN_SHARE = 0.4
# What the rest may suffer: a blur, as decoders of generative models leave one, in small pixels; noise in steps of 255;
# a JPEG file of this quality.
LARGEST_BLUR, LARGEST_NOISE = 0.7, 3.0
JPEG_SHARE, JPEG_QUALITY = 0.35, (70, 97)


def shrink(picture: Image.Image, factor: int, filter: Image.Resampling = Image.Resampling.BOX) -> Image.Image:
    return picture.resize((picture.width // factor, picture.height // factor), filter)


def degrade(picture: Image.Image, factor: int, random: np.random.Generator) -> Image.Image:
    """A picture `factor` times smaller that somebody might want larger."""
    filter = FILTERS[random.integers(len(FILTERS))]
    if random.random() < CLEAN_SHARE:
        return shrink(picture, factor, filter)
    blurred = picture.filter(ImageFilter.GaussianBlur(random.uniform(0, LARGEST_BLUR) * factor))
    small = np.asarray(shrink(blurred, factor, filter), np.float32)
    small += random.normal(size=small.shape) * random.uniform(0, LARGEST_NOISE)
    result = Image.fromarray(small.clip(0, 255).round().astype(np.uint8))
    if random.random() < JPEG_SHARE:
        file = io.BytesIO()
        result.save(file, "JPEG", quality=int(random.integers(*JPEG_QUALITY)))
        result = Image.open(file).convert("RGB")
    return result
