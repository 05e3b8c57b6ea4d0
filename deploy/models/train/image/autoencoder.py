"""The autoencoder: 128 x 128 pictures of four channels to 8 x 8 latents of sixteen, and back.

Pixels are folded into channels at once (and unfolded at the end), so that no convolution runs at full resolution.
There is no normalisation: on a CPU it costs as much as the convolutions.
"""

import torch
from torch import nn
from torch.nn import functional

IMAGE_SIZE, IMAGE_CHANNELS = 128, 4
LATENT_SIZE, LATENT_CHANNELS = 8, 16


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)


class Residual(nn.Module):
    """Two convolutions around which the input is carried; starts as the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = convolution(channels, channels), convolution(channels, channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x):
        return x + self.second(functional.silu(self.first(functional.silu(x))))


def unfold(inputs: int, outputs: int, factor: int = 2) -> nn.Sequential:
    """Channels to pixels, `factor` times as many each way."""
    return nn.Sequential(convolution(inputs, outputs * factor * factor, 1), nn.PixelShuffle(factor))


class Encoder(nn.Module):
    """[batch, 4, 128, 128] in -1..1 to mean and log variance, each [batch, 16, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(4),
            convolution(IMAGE_CHANNELS * 16, 96, stride=2),
            Residual(96),
            convolution(96, 160, stride=2),
            Residual(160),
            nn.SiLU(),
            convolution(160, 2 * LATENT_CHANNELS),
        )

    def forward(self, picture):
        mean, log_variance = self.layers(picture).chunk(2, 1)
        return mean, log_variance.clamp(-10, 4)


class Decoder(nn.Module):
    """[batch, 16, 8, 8] to [batch, 4, 128, 128], about -1..1."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            convolution(LATENT_CHANNELS, 192),
            Residual(192),
            Residual(192),
            unfold(192, 128),
            Residual(128),
            unfold(128, 48),
            Residual(48),
            Residual(48),
            unfold(48, 24),
            Residual(24),
            nn.SiLU(),
            convolution(24, IMAGE_CHANNELS * 4),
            nn.PixelShuffle(2),
        )

    def forward(self, latent):
        return self.layers(latent)


class Autoencoder(nn.Module):
    """Both halves, for training."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()

    def forward(self, picture):
        mean, log_variance = self.encoder(picture)
        latent = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return self.decoder(latent), mean, log_variance


class LatentScale(nn.Module):
    """Between the encoder's latents and those of unit variance that the flow makes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(LATENT_CHANNELS))
        self.register_buffer("deviation", torch.ones(()))

    def normalise(self, latent):
        return (latent - self.mean[:, None, None]) / self.deviation

    def restore(self, latent):
        return latent * self.deviation + self.mean[:, None, None]
