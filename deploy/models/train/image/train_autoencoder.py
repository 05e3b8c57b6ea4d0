"""Trains the autoencoder, measures it and encodes every picture: WORK/autoencoder.pt, latents.npy."""

import json

import numpy as np
import torch

from autoencoder import Autoencoder, LatentScale
from training import Average, Place, Progress, arguments, as_input, average_gradients, clip, edges, launch, resume, save, seed
from optimiser import Optimiser

RATE = 2.5e-3
# Weight of the distance to a normal distribution, for each latent number.
KL = 4e-4
EDGES, SQUARES = 0.5, 0.5
# Pieces of pictures cost in proportion, and many small ones teach more than few whole ones. A multiple of 16.
PIECE = 64
# Of a batch, drawn as they are; the rest are recoloured ones.
ORIGINALS = 0.7
MEASURED_EVERY = 50
PORT = 29611


def work(place: Place, options) -> None:
    network = Autoencoder().to(place.device, memory_format=torch.channels_last)
    average = Average(network, 0.995)
    optimiser = Optimiser(network, decay=0.001)
    parameters = list(network.parameters())
    progress = Progress(place, options.minutes)
    path = options.work / "autoencoder.pt"
    resume(path, progress, network=network, average=average.network, optimiser=optimiser)
    pictures = np.load(options.work / "pictures.npy", mmap_mode="r")
    records = json.loads((options.work / "pictures.json").read_text())
    odds = likely(records)
    count = options.batch // place.processes
    while not progress.done:
        random = seed(place, progress.step)
        chosen = random.choice(len(odds), count, p=odds)
        picture = as_input(pieces(pictures, chosen, random), place.device)
        made, mean, log_variance = network(picture)
        absolute = (made - picture).abs().mean()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        loss = absolute + EDGES * edges(made, picture) + SQUARES * (made - picture).square().mean() + KL * kl
        loss.backward()
        average_gradients(parameters, place)
        clip(parameters)
        optimiser.step(progress.cosine(RATE))
        network.zero_grad(set_to_none=True)
        progress.advance()
        if place.leads:
            average.update(network, progress.step)
        progress.log(absolute=absolute.item(), kl=kl.item())
        if progress.is_time_to_save():
            save(path, progress, network=network, average=average.network, optimiser=optimiser)
    if place.leads:
        encode(average.network, pictures, records, options)


def pieces(pictures: np.ndarray, chosen: np.ndarray, random: np.random.Generator) -> np.ndarray:
    corners = random.integers(0, pictures.shape[1] - PIECE + 1, (len(chosen), 2))
    cut = (pictures[one, top : top + PIECE, left : left + PIECE] for one, (top, left) in zip(chosen, corners))
    return np.stack(list(cut))


def likely(records: list[dict]) -> np.ndarray:
    """How often each picture is drawn: the square root evens out what the flow weighs."""
    copies = np.array([record["recoloured"] is not None for record in records])
    weights = np.array([record["weight"] for record in records]) ** 0.5
    shares = np.where(copies, (1 - ORIGINALS) / weights[copies].sum(), ORIGINALS / weights[~copies].sum())
    return weights * shares


@torch.no_grad()
def encode(network: Autoencoder, pictures: np.ndarray, records: list[dict], options) -> None:
    """Latents of all pictures, and how well some of the pictures come back."""
    means = []
    for start in range(0, len(pictures), 64):
        mean, _ = network.encoder(as_input(pictures[start : start + 64], options.device))
        means.append(mean.cpu().contiguous())
    latents = torch.cat(means)
    scale = LatentScale()
    scale.mean.copy_(latents.mean((0, 2, 3)))
    scale.deviation.copy_((latents - scale.mean[:, None, None]).std())
    torch.save(scale.state_dict(), options.work / "latent_scale.pt")
    np.save(options.work / "latents.npy", scale.normalise(latents).numpy())
    measure(network.decoder, latents, pictures, records, options.device)


@torch.no_grad()
def measure(decoder, latents: torch.Tensor, pictures: np.ndarray, records: list[dict], device: str) -> None:
    """Peak signal-to-noise ratio over the four channels, of every so manieth picture."""
    some = np.arange(0, len(pictures), MEASURED_EVERY)
    ratios = []
    for part in np.array_split(some, max(1, len(some) // 32)):
        made = decoder(latents[part].to(device)).clamp(-1, 1)
        error = (made - as_input(pictures[part], device)).square().mean((1, 2, 3)) / 4
        ratios.append(-10 * error.clamp(min=1e-6).log10().cpu())
    ratios = torch.cat(ratios)
    print(f"PSNR {ratios.mean():.2f} dB on average, {ratios.quantile(0.05):.2f} dB at the worst twentieth")
    for style in sorted({record["style"] for record in records}):
        those = torch.tensor([records[one]["style"] == style for one in some])
        print(f"  {style}: {ratios[those].mean():.2f} dB")


if __name__ == "__main__":
    launch(work, arguments(__doc__, minutes=20, batch=64).parse_args(), PORT)
