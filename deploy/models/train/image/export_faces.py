"""Writes and measures the GAN and the variational autoencoder: weights/emoji-gan and weights/emoji-vae."""

import argparse
from pathlib import Path

import numpy as np
import torch

import faces
import onnx_files
from export import WEIGHTS, write_json
from gan import CODE, LAYERS, STYLE, Generator, Thumbnail
from sheet import tile
from train_gan import Pair
from training import as_pictures
from vae import CODE as VAE_CODE
from vae import FaceCoder

# Codes over which the mean style is taken.
DRAWS = 8192
SHOWN = 32
# Colours of a sheet.
PALETTE = 200
# Of a direction of the code before it is scaled to one.
LEAST_VARIANCE = 0.02
# Tags by which the attributes' faces are told apart, and colours.
ATTRIBUTES = {
    "smiling": ("smile", "smiling", "grin", "grinning", "happy", "laugh"),
    "sad": ("sad", "cry", "crying", "frown", "frowning", "tear", "disappointed"),
    "angry": ("angry", "anger", "mad", "rage"),
    "surprised": ("surprised", "surprise", "shocked", "astonished", "wow"),
    "love": ("love", "kiss", "hearts", "heart", "adore"),
    "sick": ("sick", "ill", "vomit", "fever"),
    "sleepy": ("sleepy", "sleep", "tired", "zzz", "asleep"),
}
COLOURS = ("red", "orange", "green", "blue", "purple", "pink", "brown")


class Whitened(torch.nn.Module):
    """The coder with its code turned and scaled so that faces have mean 0 and covariance 1, as random codes have."""

    def __init__(self, coder: FaceCoder, means: torch.Tensor):
        super().__init__()
        self.coder = coder
        lengths, axes = torch.linalg.eigh(torch.cov(means.T))
        lengths = lengths.clamp(min=LEAST_VARIANCE).sqrt()
        self.register_buffer("centre", means.mean(0))
        self.register_buffer("spread", axes * lengths)
        self.register_buffer("inverse", axes / lengths)

    def encoder(self, image):
        mean, log_variance = self.coder.encoder(image)
        variance = log_variance.exp() @ self.inverse.square()
        return (mean - self.centre) @ self.inverse, variance.log()

    def decoder(self, code):
        return self.coder.decoder(self.centre + code @ self.spread.T)


class Half(torch.nn.Module):
    """One of the two directions, as a network of its own."""

    def __init__(self, whole: Whitened, name: str):
        super().__init__()
        self.whole, self.name = whole, name

    def forward(self, x):
        return getattr(self.whole, self.name)(x)


def averages(path: Path, network: torch.nn.Module) -> torch.nn.Module:
    network.load_state_dict(torch.load(path, weights_only=True)["average"])
    return network.eval()


def distances(made: torch.Tensor, real: torch.Tensor) -> None:
    """Do draws differ as real faces do, and are they more than copies?"""
    made, real = made.flatten(1), real.flatten(1)
    among = torch.cdist(real, real).fill_diagonal_(torch.inf).min(1)[0].mean()
    pairs = torch.cdist(made, made).fill_diagonal_(torch.inf).min(1)[0].mean()
    print(f"  mean distance of two draws {torch.pdist(made).mean():.2f}, of two real faces {torch.pdist(real).mean():.2f}")
    print(f"  draw to nearest real face {torch.cdist(made, real).min(1)[0].mean():.2f}, to nearest draw {pairs:.2f}")
    print(f"  real face to nearest other {among:.2f}, to nearest draw {torch.cdist(real, made).min(1)[0].mean():.2f}")


@torch.no_grad()
def gan(work: Path, folder: Path, sheets: Path) -> None:
    pair, thumbnail = averages(work / "gan.pt", Pair()), averages(work / "thumbnail.pt", Thumbnail())
    generator = Generator(pair.synthesis, thumbnail)
    torch.manual_seed(0)
    mean = pair.mapping.one(torch.randn(DRAWS, CODE)).mean(0)
    write_json(
        folder / "config.json",
        {
            "kind": "gan",
            "latent_dim": CODE,
            "style_layers": LAYERS,
            "style_dim": STYLE,
            "image_size": faces.SIZE,
            "mean_w": mean.numpy().round(5).tolist(),
        },
    )
    code = torch.randn(2, CODE)
    onnx_files.write(pair.mapping, folder / "mapping.onnx", {"z": code}, ["w"])
    onnx_files.write(generator, folder / "generator.onnx", {"w": pair.mapping(code)}, ["image"])

    chosen, _ = faces.select(work, recoloured=False)
    real, images = faces.latents(work, chosen), faces.images(work, chosen)
    styles = pair.mapping(torch.randn(512, CODE))
    latents = pair.synthesis(styles)
    print("latents")
    distances(latents, real)
    print("pixels")
    distances(thumbnail(latents), images)
    near = mean + 0.7 * (styles[:SHOWN] - mean)
    first, last = styles[:1], styles[1:2]
    walk = torch.cat([first + (last - first) * step / 15 for step in range(16)])
    rows = [images[torch.randperm(len(images))[:16]], generator(styles[:SHOWN]), generator(near[:16]), generator(walk)]
    tile(as_pictures(torch.cat(rows)), 16).quantize(PALETTE).save(sheets / "sheet.png", optimize=True)


@torch.no_grad()
def vae(work: Path, folder: Path, sheets: Path) -> None:
    network = averages(work / "vae.pt", FaceCoder())
    chosen, records = faces.select(work, recoloured=True)
    images = faces.images(work, chosen)
    network = Whitened(network, torch.cat([network.encoder(images[n : n + 64])[0] for n in range(0, len(images), 64)]))
    means, variances = (torch.cat(parts) for parts in zip(*(network.encoder(images[n : n + 64]) for n in range(0, len(images), 64))))
    back = torch.cat([network.decoder(means[n : n + 64]) for n in range(0, len(means), 64)]).clamp(-1, 1)
    error = (back - images).square().mean((1, 2, 3)) / 4
    print(f"PSNR {(-10 * error.log10()).mean():.2f} dB, {(-10 * error.log10()).quantile(0.05):.2f} at the worst twentieth")
    print(f"median variance of a number given the face {variances.exp().median():.2f}")

    own = torch.tensor([record["recoloured"] is None for record in records])
    attributes = {}
    for name, words in ATTRIBUTES.items():
        has = torch.tensor([bool({*record["tags"], *record["label"].split()} & {*words}) for record in records])
        attributes[name] = means[has & own].mean(0) - means[~has & own].mean(0)
    for colour in COLOURS:
        has = torch.tensor([record["recoloured"] == colour for record in records])
        attributes[colour] = means[has].mean(0) - means[own].mean(0)
    write_json(
        folder / "config.json",
        {
            "kind": "vae",
            "latent_dim": VAE_CODE,
            "image_size": faces.SIZE,
            "attributes": {name: vector.numpy().round(5).tolist() for name, vector in attributes.items()},
        },
    )
    onnx_files.write(Half(network, "encoder"), folder / "encoder.onnx", {"image": images[:2].contiguous()}, ["mean", "log_variance"])
    onnx_files.write(Half(network, "decoder"), folder / "decoder.onnx", {"latent": means[:2]}, ["image"])

    torch.manual_seed(1)
    some = torch.randperm(len(images))[:16]
    draws = network.decoder(torch.randn(SHOWN, VAE_CODE))
    start = next(n for n, record in enumerate(records) if record["label"] == "neutral face")
    moved = [means[start] + strength * attributes[name] for name in ("smiling", "sad", "blue", "red") for strength in (0, 0.7, 1.4, 2.1)]
    walk = [means[some[0]] + (means[some[1]] - means[some[0]]) * step / 15 for step in range(16)]
    rows = [images[some], back[some], draws, network.decoder(torch.stack(moved)), network.decoder(torch.stack(walk))]
    print("pixels")
    distances(network.decoder(torch.randn(512, VAE_CODE)), images[own])
    tile(as_pictures(torch.cat(rows)), 16).quantize(PALETTE).save(sheets / "sheet.png", optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("gan", "vae"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = options.folder or WEIGHTS.parent / f"emoji-{options.kind}"
    folder.mkdir(parents=True, exist_ok=True)
    {"gan": gan, "vae": vae}[options.kind](options.work, folder, folder)


if __name__ == "__main__":
    main()
