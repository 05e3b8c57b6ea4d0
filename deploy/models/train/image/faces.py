"""The faces that the GAN and the variational autoencoder learn, at 64 x 64 on white."""

import json
from pathlib import Path

import numpy as np
import torch

from autoencoder import IMAGE_SIZE

SIZE = 64
EXCLUDED = ("face-costume",)


def is_face(record: dict) -> bool:
    subgroup = record["subgroup"]
    return subgroup.startswith("face-") and subgroup not in EXCLUDED


def select(work: Path, recoloured: bool) -> tuple[np.ndarray, list[dict]]:
    """Their places among the pictures, and what is known of each."""
    records = json.loads((work / "pictures.json").read_text())
    chosen = [n for n, one in enumerate(records) if is_face(one) and (recoloured or one["recoloured"] is None)]
    return np.array(chosen), [records[n] for n in chosen]


def images(work: Path, chosen: np.ndarray) -> torch.Tensor:
    """Red, green and blue at 64 x 64, -1..1."""
    pictures = np.load(work / "pictures.npy", mmap_mode="r")
    factor = IMAGE_SIZE // SIZE
    shape = (SIZE, factor, SIZE, factor, 3)
    cells = np.stack([pictures[n, :, :, :3].reshape(shape).astype(np.float32).mean((1, 3)) for n in chosen])
    return (torch.from_numpy(cells).permute(0, 3, 1, 2) / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def latents(work: Path, chosen: np.ndarray) -> torch.Tensor:
    """What the autoencoder makes of them, at unit variance."""
    made = np.load(work / "latents.npy", mmap_mode="r")[chosen]
    return torch.from_numpy(made).contiguous(memory_format=torch.channels_last)
