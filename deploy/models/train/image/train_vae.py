"""Trains the variational autoencoder on faces, recoloured ones too: WORK/vae.pt."""

import torch

import faces
from optimiser import Optimiser
from training import Average, Place, Progress, arguments, clip, edges, launch, resume, save, seed
from vae import FaceCoder

RATE = 2.5e-3
# What a picture's squared error costs next to a nat of its code: high is sharp, low lets draws look like faces.
SHARPNESS = 17000.0
EDGES = 1500.0
PORT = 29615


def work(place: Place, options) -> None:
    target = faces.images(options.work, faces.select(options.work, recoloured=True)[0])
    print(f"{len(target)} faces")
    network = FaceCoder().to(memory_format=torch.channels_last)
    average = Average(network, 0.99)
    optimiser = Optimiser(network, decay=0.01)
    progress = Progress(place, options.minutes)
    path = options.work / "vae.pt"
    resume(path, progress, network=network, average=average.network, optimiser=optimiser)
    while not progress.done:
        random = seed(place, progress.step)
        picture = target[torch.from_numpy(random.integers(0, len(target), options.batch))]
        mirrored = torch.rand(len(picture), 1, 1, 1) < 0.5
        picture = torch.where(mirrored, picture.flip(3), picture).contiguous(memory_format=torch.channels_last)
        mean, log_variance = network.encoder(picture)
        made = network.decoder(mean + torch.randn_like(mean) * (log_variance / 2).exp())
        squares = (made - picture).square().mean()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        loss = (SHARPNESS * squares + EDGES * edges(made, picture) + kl) / SHARPNESS
        loss.backward()
        clip(list(network.parameters()))
        optimiser.step(progress.cosine(RATE))
        network.zero_grad(set_to_none=True)
        progress.advance()
        average.update(network, progress.step)
        progress.log(squares=squares.item(), kl=kl.item())
        if progress.is_time_to_save():
            save(path, progress, network=network, average=average.network, optimiser=optimiser)


if __name__ == "__main__":
    parser = arguments(__doc__, minutes=12, batch=32)
    parser.set_defaults(processes=1)
    launch(work, parser.parse_args(), PORT)
