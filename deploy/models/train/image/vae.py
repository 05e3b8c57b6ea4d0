"""A variational autoencoder of faces: 64 x 64 pictures to 64 numbers that are normally distributed, and back."""

from torch import nn

from autoencoder import Residual, convolution, unfold

CODE = 64


class Encoder(nn.Module):
    """[batch, 3, 64, 64] to mean and log variance, each [batch, 64]."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(4),
            convolution(48, 64),
            Residual(64),
            nn.SiLU(),
            convolution(64, 96, stride=2),
            nn.SiLU(),
            convolution(96, 96, stride=2),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(96 * 16, 2 * CODE),
        )

    def forward(self, image):
        mean, log_variance = self.layers(image).chunk(2, 1)
        return mean, log_variance.clamp(-10, 4)


class Decoder(nn.Module):
    """[batch, 64] to [batch, 3, 64, 64], about -1..1."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(CODE, 128 * 16),
            nn.Unflatten(1, (128, 4, 4)),
            nn.SiLU(),
            unfold(128, 96),
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


class FaceCoder(nn.Module):
    """Both halves, for training."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()
