"""Trains the flow on the latents and the embedded captions: WORK/flow.pt."""

import json

import numpy as np
import torch
from torch.nn import functional

from flow import ANY_STYLE, MAX_TOKENS, STYLES, Flow
from optimiser import Optimiser
from training import Average, CaptionDraws, Place, Progress, arguments, average_gradients, clip, launch, resume, save, seed

RATE, HOLD = 2.5e-3, 0.45
# How often each style is shown; the first is the default of the pipeline.
STYLE_SHARES = {"noto": 0.66, "flat": 0.17, "twemoji": 0.17}
RECOLOURED = 0.16
# How often the style, and how often both style and text, are kept from the network.
STYLE_DROPPED, ALL_DROPPED = 0.25, 0.1
# Shift of the times towards noise, before the logistic function.
LATER = 0.3
PORT = 29612


class Lessons:
    """Draws latents with a caption and a style each."""

    def __init__(self, work, device: str):
        records = json.loads((work / "pictures.json").read_text())
        latents = torch.from_numpy(np.load(work / "latents.npy"))
        kept = [index for index, record in enumerate(records) if record["style"] in STYLES]
        self.records, self.latents = [records[index] for index in kept], latents[kept].to(device)
        self.styles = np.array([STYLES.index(record["style"]) for record in self.records])
        self.odds = self._odds()
        self.captions = CaptionDraws(self.records)
        text = np.load(work / "text.npz")
        self.states, self.starts = text["states"], text["starts"]
        self.mean, self.deviation = text["mean"], text["deviation"]
        self.device = device

    def _odds(self) -> np.ndarray:
        odds = np.array([record["weight"] for record in self.records])
        copies = np.array([record["recoloured"] is not None for record in self.records])
        for number, style in enumerate(STYLES[:-1]):
            for those, share in ((copies, RECOLOURED), (~copies, 1 - RECOLOURED)):
                those = those & (self.styles == number)
                odds[those] *= share * STYLE_SHARES[style] / odds[those].sum()
        return odds / odds.sum()

    def draw(self, count: int, random: np.random.Generator) -> dict[str, torch.Tensor]:
        chosen = random.choice(len(self.odds), count, p=self.odds)
        styles = np.where(random.random(count) < STYLE_DROPPED, ANY_STYLE, self.styles[chosen])
        numbers = self.captions.draw(chosen, random)
        texts = [self.states[self.starts[number] : self.starts[number + 1]][:MAX_TOKENS] for number in numbers]
        states = np.zeros((count, max(map(len, texts)), self.states.shape[1]), np.float32)
        mask = np.zeros(states.shape[:2], np.int64)
        for row, text in enumerate(texts):
            states[row, : len(text)], mask[row, : len(text)] = text, 1
        dropped = random.random(count) < ALL_DROPPED
        mask[dropped], styles[dropped] = 0, ANY_STYLE
        condition = {"states": states, "mask": mask, "style": styles}
        batch = {name: torch.from_numpy(values).to(self.device) for name, values in condition.items()}
        return batch | {"latent": self.latents[torch.from_numpy(chosen)]}


def velocity_loss(flow: Flow, latent: torch.Tensor, **condition) -> torch.Tensor:
    """At times drawn from the logistic-normal distribution (Esser et al., 2024), more where shapes are decided."""
    sigma = torch.sigmoid(torch.randn(len(latent), device=latent.device) + LATER)
    noise = torch.randn_like(latent)
    share = sigma[:, None, None, None]
    mixed = ((1 - share) * latent + share * noise).contiguous(memory_format=torch.channels_last)
    return functional.mse_loss(flow(mixed, sigma, **condition), noise - latent)


def work(place: Place, options) -> None:
    lessons = Lessons(options.work, place.device)
    flow = Flow().to(place.device, memory_format=torch.channels_last)
    flow.text.mean.copy_(torch.from_numpy(lessons.mean))
    flow.text.deviation.copy_(torch.from_numpy(lessons.deviation))
    average = Average(flow, 0.998)
    optimiser = Optimiser(flow)
    parameters = list(flow.parameters())
    progress = Progress(place, options.minutes)
    path = options.work / "flow.pt"
    resume(path, progress, network=flow, average=average.network, optimiser=optimiser)
    while not progress.done:
        batch = lessons.draw(options.batch // place.processes, seed(place, progress.step))
        loss = velocity_loss(flow, **batch)
        loss.backward()
        average_gradients(parameters, place)
        clip(parameters)
        optimiser.step(progress.late_decay(RATE, HOLD))
        flow.zero_grad(set_to_none=True)
        progress.advance()
        if place.leads:
            average.update(flow, progress.step)
        progress.log(loss=loss.item())
        if progress.is_time_to_save():
            save(path, progress, network=flow, average=average.network, optimiser=optimiser)


if __name__ == "__main__":
    launch(work, arguments(__doc__, minutes=60, batch=80).parse_args(), PORT)
