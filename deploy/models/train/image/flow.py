"""The rectified flow: a velocity field on latents, given a text and a style.

A U-Net of two levels. Time, the mean of the text's tokens and the style scale and shift every block; the tokens
themselves are attended to. The path is x = (1 - sigma) clean + sigma noise and the velocity noise - clean, as
FlowMatchEulerDiscreteScheduler integrates it.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from autoencoder import LATENT_CHANNELS, LATENT_SIZE, convolution

STYLES = ("noto", "flat", "twemoji", "any")
ANY_STYLE = len(STYLES) - 1
TEXT_WIDTH, MAX_TOKENS = 384, 24
TIMESTEPS = 1000
FREQUENCIES = 64
# Far below any score, and representable in half precision.
MASKED = -1e4


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each place."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        x = functional.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-5)
        return x.permute(0, 3, 1, 2)


class Block(nn.Module):
    """A residual block, scaled and shifted by the condition."""

    def __init__(self, inputs: int, outputs: int, condition: int):
        super().__init__()
        self.norm_in, self.norm_out = ChannelNorm(inputs), ChannelNorm(outputs)
        self.first, self.second = convolution(inputs, outputs), convolution(outputs, outputs)
        self.modulation = nn.Linear(condition, 2 * outputs)
        self.carried = convolution(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        for layer in (self.second, self.modulation):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x, condition):
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, 1)
        hidden = self.first(functional.silu(self.norm_in(x)))
        hidden = functional.silu(self.norm_out(hidden) * (1 + scale) + shift)
        return self.carried(x) + self.second(hidden)


class Attention(nn.Module):
    """The places of the picture look at one another and at the text."""

    def __init__(self, channels: int, text: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(channels)
        self.picture, self.text = nn.Linear(channels, 3 * channels), nn.Linear(text, 2 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x, text, bias):
        batch, channels, height, width = x.shape
        places = height * width

        def split(values):
            return values.reshape(batch, -1, self.heads, channels // self.heads).transpose(1, 2)

        flat = self.norm(x).permute(0, 2, 3, 1).reshape(batch, places, channels)
        query, key, value = self.picture(flat).chunk(3, -1)
        text_key, text_value = self.text(text).chunk(2, -1)
        key, value = split(torch.cat([text_key, key], 1)), split(torch.cat([text_value, value], 1))
        scores = (split(query) * (channels // self.heads) ** -0.5) @ key.transpose(-1, -2)
        weights = (scores + functional.pad(bias, (0, places))).softmax(-1)
        mixed = (weights @ value).transpose(1, 2).reshape(batch, places, channels)
        return x + self.out(mixed).reshape(batch, height, width, channels).permute(0, 3, 1, 2)


class TextCondition(nn.Module):
    """The encoder's hidden states, standardised, as tokens to attend to and as one vector."""

    def __init__(self, condition: int, width: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(TEXT_WIDTH))
        self.register_buffer("deviation", torch.ones(TEXT_WIDTH))
        self.pooled, self.token = nn.Linear(TEXT_WIDTH, condition), nn.Linear(TEXT_WIDTH, width)
        self.place = nn.Parameter(torch.randn(1, MAX_TOKENS, width) * 0.02)
        self.style = nn.Embedding(len(STYLES), condition)
        self.style_token = nn.Embedding(len(STYLES), width)

    def forward(self, states, mask, style):
        kept = mask.to(states.dtype)[:, :, None]
        states = (states - self.mean) / self.deviation * kept
        pooled = states.sum(1) / kept.sum(1).clamp(min=1)
        # The mean of many tokens is shorter than that of few.
        pooled = pooled * (pooled.square().mean(1, keepdim=True) + 1e-6).rsqrt()
        tokens = self.token(states) + self.place[:, : states.shape[1]]
        tokens = torch.cat([self.style_token(style)[:, None], tokens], 1)
        bias = (1 - functional.pad(kept[:, :, 0], (1, 0), value=1.0))[:, None, None] * MASKED
        return self.pooled(pooled) + self.style(style), tokens, bias


class Flow(nn.Module):
    """Velocity of `latent` [batch, 16, 8, 8] at `sigma` [batch], 1 for noise and 0 for a picture."""

    def __init__(self, wide: int = 80, deep: int = 256, condition: int = 192, text: int = 128):
        super().__init__()
        frequencies = torch.exp(-math.log(10000) * torch.arange(FREQUENCIES) / FREQUENCIES)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.time = nn.Sequential(nn.Linear(2 * FREQUENCIES, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.text = TextCondition(condition, text)
        self.place = nn.Parameter(torch.zeros(1, wide, LATENT_SIZE, LATENT_SIZE))
        self.inlet = convolution(LATENT_CHANNELS, wide)
        self.down = Block(wide, wide, condition)
        self.shrink = convolution(wide, deep, stride=2)
        self.middle = nn.ModuleList(Block(deep, deep, condition) for _ in range(3))
        self.middle_attention = nn.ModuleList(Attention(deep, text, 4) for _ in range(2))
        self.grow = nn.Sequential(convolution(deep, 4 * wide, 1), nn.PixelShuffle(2))
        self.up, self.up_attention = Block(2 * wide, wide, condition), Attention(wide, text, 4)
        self.norm, self.outlet = ChannelNorm(wide), convolution(wide, LATENT_CHANNELS)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)

    def forward(self, latent, sigma, states, mask, style):
        text, tokens, bias = self.text(states, mask, style)
        angle = sigma[:, None] * TIMESTEPS * self.frequencies
        condition = functional.silu(self.time(torch.cat([angle.cos(), angle.sin()], -1)) + text)

        top = self.inlet(latent) + self.place
        wide = self.down(top, condition)
        deep = self.middle[0](self.shrink(wide), condition)
        for block, attention in zip(self.middle[1:], self.middle_attention):
            deep = block(attention(deep, tokens, bias), condition)
        x = self.up(torch.cat([self.grow(deep), wide], 1), condition)
        x = self.up_attention(x, tokens, bias) + top
        return self.outlet(functional.silu(self.norm(x)))


def text_free(states, mask, style):
    """The condition that says nothing."""
    return states, torch.zeros_like(mask), torch.full_like(style, ANY_STYLE)


@torch.no_grad()
def sample(flow, states, mask, style, noise, steps: int = 25, guidance: float = 3.0, shift: float = 1.0):
    """Euler's method from noise to latents, with classifier-free guidance."""
    sigmas = torch.linspace(1, 0, steps + 1, device=noise.device)
    sigmas = shift * sigmas / (1 + (shift - 1) * sigmas)
    both = [torch.cat(pair) for pair in zip((states, mask, style), text_free(states, mask, style))]
    x = noise
    for now, following in zip(sigmas[:-1], sigmas[1:]):
        with_text, without = flow(torch.cat([x, x]), now.expand(2 * len(x)), *both).chunk(2)
        x = x + (following - now) * (without + guidance * (with_text - without))
    return x
