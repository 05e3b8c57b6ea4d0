"""A small StyleGAN: a code is mapped to styles, which scale the channels of every layer.

It makes latents of the autoencoder, where faces are few numbers and a critic costs little, and a small decoder of its
own draws those at 64 x 64.
"""

import torch
from torch import nn
from torch.nn import functional

from autoencoder import LATENT_CHANNELS, Residual, convolution, unfold

CODE, STYLE, LAYERS = 64, 128, 5
WIDTH = 128


class Thumbnail(nn.Module):
    """Latents [batch, 16, 8, 8] to [batch, 3, 64, 64]."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            convolution(LATENT_CHANNELS, 96),
            Residual(96),
            unfold(96, 64),
            Residual(64),
            unfold(64, 32),
            Residual(32),
            nn.SiLU(),
            convolution(32, 12),
            nn.PixelShuffle(2),
        )

    def forward(self, latent):
        return self.layers(latent)


class Mapping(nn.Module):
    """A code [batch, 64] to styles [batch, layers, 128], the same for every layer until someone mixes them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(CODE, STYLE), nn.LeakyReLU(0.2), nn.Linear(STYLE, STYLE), nn.LeakyReLU(0.2), nn.Linear(STYLE, STYLE)
        )

    def one(self, code):
        return self.layers(code * (code.square().mean(1, keepdim=True) + 1e-8).rsqrt())

    def forward(self, code):
        return self.one(code)[:, None].expand(-1, LAYERS, -1)


class Styled(nn.Module):
    """A convolution whose channels a style scales and shifts."""

    def __init__(self):
        super().__init__()
        self.convolution = convolution(WIDTH, WIDTH)
        self.style = nn.Linear(STYLE, 2 * WIDTH)

    def forward(self, x, style):
        scale, shift = self.style(style)[:, :, None, None].chunk(2, 1)
        x = self.convolution(x)
        # Over the channels of each place: keeps signals bounded without telling places apart.
        x = x * (x.square().mean(1, keepdim=True) + 1e-6).rsqrt()
        return functional.leaky_relu(x * (1 + scale) + shift, 0.2)


class Synthesis(nn.Module):
    """Styles [batch, layers, 128] to latents."""

    def __init__(self):
        super().__init__()
        self.constant = nn.Parameter(torch.randn(1, WIDTH, 4, 4))
        self.layers = nn.ModuleList(Styled() for _ in range(LAYERS))
        self.outlet = convolution(WIDTH, LATENT_CHANNELS, 1)

    def forward(self, styles):
        x = self.constant.expand(styles.shape[0], -1, -1, -1)
        for number, layer in enumerate(self.layers):
            if number == 2:
                x = functional.interpolate(x, scale_factor=2.0, mode="bilinear")
            x = layer(x, styles[:, number])
        return self.outlet(x)


class Critic(nn.Module):
    """Latents to one number; knows how alike the pictures of a group are."""

    GROUP = 8

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            convolution(LATENT_CHANNELS, 96),
            nn.LeakyReLU(0.2),
            convolution(96, 128, stride=2),
            nn.LeakyReLU(0.2),
            convolution(128, 128),
            nn.LeakyReLU(0.2),
        )
        self.last = nn.Sequential(nn.Linear(129 * 16, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1))

    def forward(self, latent):
        x = self.layers(latent).contiguous()
        groups = x.reshape(self.GROUP, -1, *x.shape[1:])
        spread = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
        spread = spread.repeat(self.GROUP)[:, None, None, None].expand(-1, 1, 4, 4)
        return self.last(torch.cat([x, spread], 1).flatten(1))


class Generator(nn.Module):
    """Styles to a picture."""

    def __init__(self, synthesis: Synthesis, thumbnail: Thumbnail):
        super().__init__()
        self.synthesis, self.thumbnail = synthesis, thumbnail

    def forward(self, styles):
        return self.thumbnail(self.synthesis(styles)).clamp(-1, 1)
