"""The faces that the GAN and the variational autoencoder learn, at 64 x 64 on white."""

import json
from pathlib import Path

import numpy as np
import torch

from autoencoder import IMAGE_SIZE, Autoencoder, LatentScale
from training import as_input

SIZE = 64
EXCLUDED = ("face-costume",)


def is_face(record: dict) -> bool:
    subgroup = record["subgroup"]
    return subgroup.startswith("face-") and subgroup not in EXCLUDED


def select(work: Path, recoloured: bool) -> tuple[np.ndarray, list[dict]]:
    """uint8 [n, 128, 128, 4] and what is known of each."""
    records = json.loads((work / "pictures.json").read_text())
    chosen = [n for n, one in enumerate(records) if is_face(one) and (recoloured or one["recoloured"] is None)]
    pictures = np.load(work / "pictures.npy", mmap_mode="r")
    return np.stack([pictures[n] for n in chosen]), [records[n] for n in chosen]


def small(pictures: np.ndarray) -> torch.Tensor:
    """Red, green and blue at 64 x 64, -1..1."""
    factor = IMAGE_SIZE // SIZE
    n = len(pictures)
    cells = pictures[..., :3].reshape(n, SIZE, factor, SIZE, factor, 3).astype(np.float32).mean((2, 4))
    return (torch.from_numpy(cells).permute(0, 3, 1, 2) / 127.5 - 1).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def latents(work: Path, pictures: np.ndarray) -> torch.Tensor:
    """What the autoencoder makes of them, at unit variance."""
    autoencoder, scale = Autoencoder(), LatentScale()
    autoencoder.load_state_dict(torch.load(work / "autoencoder.pt", weights_only=True)["average"])
    scale.load_state_dict(torch.load(work / "latent_scale.pt", weights_only=True))
    parts = [autoencoder.encoder(as_input(pictures[n : n + 64]))[0] for n in range(0, len(pictures), 64)]
    return scale.normalise(torch.cat(parts)).contiguous(memory_format=torch.channels_last)
