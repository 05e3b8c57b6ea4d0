"""Trains the GAN: first its small decoder, then generator against critic. WORK/thumbnail.pt, gan.pt.

Non-saturating loss with a gradient penalty on real latents, now and then; both sides see the same augmentations.
Every real face has a code, its principal components, from which the generator has to make it again: it starts from
there, and the draws can't collapse to a few faces.
"""

import torch
from torch import nn
from torch.nn import functional

import faces
from gan import CODE, LAYERS, Critic, Mapping, Synthesis, Thumbnail
from optimiser import Optimiser
from training import Average, Place, Progress, arguments, clip, edges, launch, resume, save, seed

# Share of the time for the decoder.
DECODER_SHARE = 0.22
DECODER_RATE, DECODER_BATCH, NOISE = 2e-3, 24, 0.25
RATE, BETAS = 1.5e-3, (0.0, 0.99)
PENALTY, PENALTY_EVERY = 0.6, 8
# Of a batch, pictures whose layers get styles of two codes.
MIXED = 0.3
# Weight of making real faces again; at first, for this share of the time, nothing else is asked for.
ANCHOR, WARM_UP = 1.0, 0.2
SHIFTED, CUT, CUT_SIZE, STRONGEST = 0.5, 0.3, 3, 0.25
PORT = 29614


def augment(latent: torch.Tensor) -> torch.Tensor:
    """Translation by a place, a hole, another brightness: for real and made latents alike."""
    n, _, height, width = latent.shape
    grid = torch.eye(2, 3).repeat(n, 1, 1)
    moved = (torch.rand(n, 1) < SHIFTED).float()
    grid[:, :, 2] = moved * (torch.rand(n, 2) * 2 - 1) * 2 / width
    places = functional.affine_grid(grid, list(latent.shape), align_corners=False)
    latent = functional.grid_sample(latent, places, padding_mode="border", align_corners=False)
    corner = torch.randint(0, height - CUT_SIZE + 1, (n, 2))
    index = torch.arange(height)
    inside = [(index >= corner[:, axis : axis + 1]) & (index < corner[:, axis : axis + 1] + CUT_SIZE) for axis in (0, 1)]
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :] & (torch.rand(n, 1, 1, 1) < CUT)
    return latent * ~hole * (1 + (torch.rand(n, 1, 1, 1) - 0.5) * STRONGEST)


def train_decoder(options, target: torch.Tensor, latents: torch.Tensor) -> None:
    decoder = Thumbnail().to(memory_format=torch.channels_last)
    average = Average(decoder, 0.99)
    optimiser = Optimiser(decoder, decay=0)
    progress = Progress(Place(0, 1, "cpu"), options.minutes * DECODER_SHARE)
    path = options.work / "thumbnail.pt"
    resume(path, progress, network=decoder, average=average.network, optimiser=optimiser)
    while not progress.done:
        random = seed(progress.place, progress.step)
        chosen = torch.from_numpy(random.integers(0, len(latents), DECODER_BATCH))
        noisy = latents[chosen] + torch.randn(DECODER_BATCH, *latents.shape[1:]) * torch.rand(DECODER_BATCH, 1, 1, 1) * NOISE
        made, picture = decoder(noisy), target[chosen]
        loss = (made - picture).abs().mean() + 0.5 * edges(made, picture) + 0.5 * (made - picture).square().mean()
        loss.backward()
        clip(list(decoder.parameters()))
        optimiser.step(progress.cosine(DECODER_RATE))
        decoder.zero_grad(set_to_none=True)
        progress.advance()
        average.update(decoder, progress.step)
        progress.log(decoder=loss.item())
        if progress.is_time_to_save():
            save(path, progress, network=decoder, average=average.network, optimiser=optimiser)


class Pair(nn.Module):
    """Mapping and synthesis, averaged together."""

    def __init__(self):
        super().__init__()
        self.mapping, self.synthesis = Mapping(), Synthesis()

    def forward(self, code, other):
        """Latents; where `other` is not the same code, some layers follow it."""
        styles, strangers = self.mapping(code), self.mapping(other)
        first = torch.randint(1, LAYERS, (len(code), 1, 1))
        return self.synthesis(torch.where(torch.arange(LAYERS)[None, :, None] < first, styles, strangers))


def codes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    code = torch.randn(count, CODE)
    return code, torch.where(torch.rand(count, 1) < MIXED, torch.randn(count, CODE), code)


def own_codes(latents: torch.Tensor) -> torch.Tensor:
    """Principal components of the faces, at unit variance: spread as random codes are."""
    flat = latents.flatten(1)
    flat = flat - flat.mean(0)
    left, _, _ = torch.linalg.svd(flat, full_matrices=False)
    return left[:, :CODE] * len(flat) ** 0.5


def train_pair(options, latents: torch.Tensor) -> None:
    pair, critic = Pair(), Critic()
    average = Average(pair, 0.998)
    makes = torch.optim.Adam(pair.parameters(), RATE, betas=BETAS)
    judges = torch.optim.Adam(critic.parameters(), RATE, betas=BETAS)
    progress = Progress(Place(0, 1, "cpu"), options.minutes * (1 - DECODER_SHARE))
    path = options.work / "gan.pt"
    parts = {"network": pair, "critic": critic, "average": average.network, "makes": makes, "judges": judges}
    resume(path, progress, **parts)
    known = own_codes(latents)
    while not progress.done:
        random = seed(progress.place, progress.step)
        chosen = torch.from_numpy(random.integers(0, len(latents), options.batch))
        real, code = latents[chosen], known[chosen]
        again = ANCHOR * functional.mse_loss(pair(code, code), real)
        if progress.fraction < WARM_UP:
            makes.zero_grad()
            again.backward()
            makes.step()
            progress.advance()
            average.update(pair, progress.step)
            progress.log(again=again.item())
            continue
        with torch.no_grad():
            made = pair(*codes(options.batch))
        verdict = functional.softplus(-critic(augment(real))).mean() + functional.softplus(critic(augment(made))).mean()
        loss = verdict
        if progress.step % PENALTY_EVERY == 0:
            some = augment(real[: options.batch // 2]).detach().requires_grad_()
            (slope,) = torch.autograd.grad(critic(some).sum(), some, create_graph=True)
            loss = loss + PENALTY_EVERY * PENALTY / 2 * slope.square().sum((1, 2, 3)).mean()
        judges.zero_grad()
        loss.backward()
        judges.step()

        fooled = functional.softplus(-critic(augment(pair(*codes(options.batch))))).mean()
        makes.zero_grad()
        (fooled + again).backward()
        makes.step()
        for optimiser in (makes, judges):
            optimiser.param_groups[0]["lr"] = progress.late_decay(RATE, 0.5, lowest=0.1)
        progress.advance()
        average.update(pair, progress.step)
        progress.log(critic=verdict.item(), generator=fooled.item(), again=again.item())
        if progress.is_time_to_save():
            save(path, progress, **parts)


def work(place: Place, options) -> None:
    chosen, _ = faces.select(options.work, recoloured=False)
    latents = faces.latents(options.work, chosen)
    print(f"{len(chosen)} faces")
    train_decoder(options, faces.images(options.work, chosen), latents)
    train_pair(options, latents)


if __name__ == "__main__":
    parser = arguments(__doc__, minutes=15, batch=64)
    parser.set_defaults(processes=1)
    launch(work, parser.parse_args(), PORT)
