"""What all trainings share: processes, progress, the running average of the weights, checkpoints."""

import argparse
import copy
import math
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import distributed, multiprocessing, nn

SEED = 20240607
# Seconds between checkpoints, steps between lines of the log.
SAVE_EVERY, LOG_EVERY = 150, 25


@dataclass
class Place:
    """Which of several processes this is, and where it computes."""

    rank: int
    processes: int
    device: str

    @property
    def leads(self) -> bool:
        return self.rank == 0


def arguments(description: str, minutes: float, batch: int) -> argparse.ArgumentParser:
    """The options of every training."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of pictures, checkpoints and results")
    parser.add_argument("--minutes", type=float, default=minutes, help="length of the schedule, in time of training")
    parser.add_argument("--batch", type=int, default=batch, help="of all processes together")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--processes", type=int, default=2, help="one thread each; 1 on a GPU")
    return parser


def _enter(rank: int, work, options) -> None:
    torch.set_num_threads(1)
    if options.processes > 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ["MASTER_PORT"] = str(options.port)
        distributed.init_process_group("gloo", rank=rank, world_size=options.processes)
    torch.manual_seed(SEED)
    work(Place(rank, options.processes, options.device), options)


def launch(work, options, port: int) -> None:
    """Runs `work(place, options)` in every process."""
    options.port = port
    if options.processes == 1:
        return _enter(0, work, options)
    multiprocessing.spawn(_enter, (work, options), nprocs=options.processes)


def seed(place: Place, step: int) -> np.random.Generator:
    """Different draws in every process; the same again for a run that is resumed at the same step."""
    number = SEED + 7919 * place.rank + 104729 * step
    torch.manual_seed(number)
    random.seed(number)
    return np.random.default_rng(number)


def average_gradients(parameters: list[nn.Parameter], place: Place) -> None:
    if place.processes == 1:
        return
    flat = torch.cat([parameter.grad.reshape(-1) for parameter in parameters])
    distributed.all_reduce(flat)
    flat /= place.processes
    for parameter, gradient in zip(parameters, flat.split([parameter.numel() for parameter in parameters])):
        parameter.grad.copy_(gradient.view(parameter.shape))


def clip(parameters: list[nn.Parameter], longest: float = 1.0) -> None:
    nn.utils.clip_grad_norm_(parameters, longest)


class Average:
    """A running average of a network's weights, which is what gets used."""

    def __init__(self, network: nn.Module, decay: float):
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), 1 - decay)


class Progress:
    """How far the schedule has come. Time counts while training, so an interrupted run goes on where it stopped."""

    def __init__(self, place: Place, minutes: float):
        self.place, self.seconds = place, minutes * 60
        self.step, self.before, self.started, self.saved = 0, 0.0, time.monotonic(), time.monotonic()
        self.fraction, self.losses = 0.0, {}

    @property
    def elapsed(self) -> float:
        return self.before + time.monotonic() - self.started

    def advance(self) -> None:
        """Counts a step; every process then agrees on how far it is."""
        self.step += 1
        fraction = torch.tensor(self.elapsed / self.seconds)
        if self.place.processes > 1:
            distributed.broadcast(fraction, 0)
        self.fraction = fraction.item()

    @property
    def done(self) -> bool:
        return self.fraction >= 1

    def cosine(self, highest: float, lowest: float = 0.02, warm_up: int = 30) -> float:
        share = 0.5 + 0.5 * math.cos(math.pi * min(self.fraction, 1))
        return highest * min(1, (self.step + 1) / warm_up) * (lowest + (1 - lowest) * share)

    def late_decay(self, highest: float, hold: float, lowest: float = 0.01, warm_up: int = 30) -> float:
        """Constant until `hold`, then straight down."""
        share = min(1.0, max(lowest, (1 - self.fraction) / (1 - hold)))
        return highest * min(1, (self.step + 1) / warm_up) * share

    def log(self, **losses: float) -> None:
        """Prints running means now and then."""
        for name, loss in losses.items():
            share = max(0.02, 1 / self.step)
            self.losses[name] = self.losses.get(name, loss) * (1 - share) + share * loss
        if self.place.leads and (self.step % LOG_EVERY == 0 or self.step < 4):
            shown = " ".join(f"{name} {loss:.4f}" for name, loss in self.losses.items())
            print(f"step {self.step} {shown} {self.elapsed:.0f} s {100 * self.fraction:.1f}%", flush=True)

    def is_time_to_save(self) -> bool:
        if self.place.leads and (self.done or time.monotonic() - self.saved > SAVE_EVERY):
            self.saved = time.monotonic()
            return True
        return False


def save(path: Path, progress: Progress, **parts) -> None:
    """A checkpoint: everything that a run needs to go on. Never half written."""
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"step": progress.step, "elapsed": progress.elapsed, "losses": progress.losses}
    draft = path.with_suffix(".draft")
    torch.save(state, draft)
    draft.replace(path)


def resume(path: Path, progress: Progress, **parts) -> bool:
    if not path.exists():
        return False
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    progress.step, progress.before, progress.losses = state["step"], state["elapsed"], state["losses"]
    progress.fraction = progress.before / progress.seconds
    return True


def as_input(pictures: np.ndarray, device: str = "cpu") -> torch.Tensor:
    """uint8 [n, h, w, c] to -1..1 [n, c, h, w]."""
    values = torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2)
    return (values.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def as_pictures(images: torch.Tensor) -> np.ndarray:
    """The way back: -1..1 [n, c, h, w] to uint8 [n, h, w, c]."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


class CaptionDraws:
    """Draws captions of pictures, each as often as its weight says."""

    def __init__(self, records: list[dict]):
        self.captions = []
        for record in records:
            numbers, weights = zip(*record["captions"])
            self.captions.append((np.array(numbers), np.cumsum(weights) / np.sum(weights)))

    def draw(self, pictures: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The number of a caption for each picture."""
        drawn = []
        for picture, place in zip(pictures, random.random(len(pictures))):
            numbers, up_to = self.captions[picture]
            drawn.append(numbers[min(np.searchsorted(up_to, place), len(numbers) - 1)])
        return np.array(drawn)


def edges(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """How far the differences between neighbouring pixels are apart."""
    return sum((one.diff(dim=axis) - other.diff(dim=axis)).abs().mean() for axis in (2, 3))
