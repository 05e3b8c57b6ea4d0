"""Polishes the decoder: WORK/decoder.pt. The encoder stays as it is, so latents and flow stay valid.

What a flow makes is never exactly a latent, so the latents get some noise; a small critic of patches asks for crisp
edges where distances alone would be content with a blur.
"""

import argparse
import json

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from autoencoder import IMAGE_CHANNELS, Autoencoder, Decoder, LatentScale, convolution
from optimiser import Optimiser
from train_autoencoder import likely
from training import Average, Place, Progress, arguments, as_input, average_gradients, clip, edges, launch, resume, save, seed

RATE, CRITIC_RATE = 1.2e-3, 4e-4
# Of the latents' deviation, at most.
NOISE = 0.3
EDGES = 0.5
# Weight of the critic's opinion, and the steps over which it comes in.
CRITIC, CRITIC_STEPS = 0.012, 100
PORT = 29613


class Critic(nn.Module):
    """Judges patches of about a quarter of the picture."""

    def __init__(self):
        super().__init__()
        layers = [nn.PixelUnshuffle(2), spectral_norm(convolution(4 * IMAGE_CHANNELS, 48))]
        for inputs, outputs, stride in ((48, 80, 2), (80, 112, 2), (112, 112, 1)):
            layers += [nn.LeakyReLU(0.2), spectral_norm(convolution(inputs, outputs, 3, stride))]
        self.layers = nn.Sequential(*layers, nn.LeakyReLU(0.2), spectral_norm(convolution(112, 1)))

    def forward(self, picture):
        return self.layers(picture)


def decoder_of(options) -> tuple[Decoder, LatentScale]:
    autoencoder, scale = Autoencoder(), LatentScale()
    autoencoder.load_state_dict(torch.load(options.work / "autoencoder.pt", weights_only=True)["average"])
    scale.load_state_dict(torch.load(options.work / "latent_scale.pt", weights_only=True))
    return autoencoder.decoder, scale


def work(place: Place, options) -> None:
    decoder, scale = decoder_of(options)
    decoder.to(place.device, memory_format=torch.channels_last)
    critic = Critic().to(place.device, memory_format=torch.channels_last)
    average = Average(decoder, 0.99)
    optimiser = Optimiser(decoder, decay=0)
    critic_optimiser = torch.optim.AdamW(critic.parameters(), CRITIC_RATE, betas=(0.5, 0.99), weight_decay=0)
    progress = Progress(place, options.minutes)
    path = options.work / "decoder.pt"
    parts = {"network": decoder, "critic": critic, "average": average.network, "optimiser": optimiser, "second": critic_optimiser}
    resume(path, progress, **parts)
    pictures = np.load(options.work / "pictures.npy", mmap_mode="r")
    latents = np.load(options.work / "latents.npy", mmap_mode="r")
    odds = likely(json.loads((options.work / "pictures.json").read_text()))
    count = options.batch // place.processes
    decoder_parameters, critic_parameters = list(decoder.parameters()), list(critic.parameters())
    opposed = options.critic
    while not progress.done:
        random = seed(place, progress.step)
        chosen = np.sort(random.choice(len(odds), count, p=odds))
        picture = as_input(pictures[chosen], place.device)
        latent = torch.from_numpy(latents[chosen]).to(place.device)
        latent = latent + torch.randn_like(latent) * torch.rand(count, 1, 1, 1, device=place.device) * NOISE
        made = decoder(scale.restore(latent).contiguous(memory_format=torch.channels_last))

        absolute = (made - picture).abs().mean()
        loss = absolute + EDGES * edges(made, picture)
        if opposed:
            judged = functional.relu(1 - critic(picture)).mean() + functional.relu(1 + critic(made.detach())).mean()
            critic_optimiser.zero_grad()
            judged.backward()
            average_gradients(critic_parameters, place)
            critic_optimiser.step()
            critic.requires_grad_(False)
            loss = loss - CRITIC * min(1, progress.step / CRITIC_STEPS) * critic(made).mean()
        loss.backward()
        critic.requires_grad_(True)
        average_gradients(decoder_parameters, place)
        clip(decoder_parameters)
        optimiser.step(progress.late_decay(RATE, 0.4, lowest=0.02, warm_up=20))
        decoder.zero_grad(set_to_none=True)
        progress.advance()
        if place.leads:
            average.update(decoder, progress.step)
        progress.log(absolute=absolute.item())
        if progress.is_time_to_save():
            save(path, progress, **parts)


if __name__ == "__main__":
    parser = arguments(__doc__, minutes=10, batch=16)
    parser.add_argument("--critic", action=argparse.BooleanOptionalAction, default=True, help="crisper, at twice the time a step")
    launch(work, parser.parse_args(), PORT)
