"""Trains the network for one factor; the result is the checkpoint WORK/xF.pt.

Goes on from the last checkpoint in WORK. Every step draws its pictures from a generator seeded with the step's number,
so a run that was interrupted ends where one that was not does.
"""

import argparse
import copy
import math
import time
from pathlib import Path

import numpy as np
import torch

from network import Upscaler

SEED = 20241123
# Small pixels on a side of a patch, and patches of a step.
PATCH, BATCH = {2: 32, 4: 24}, 16
RATE, LAST_RATE, WARM_UP_STEPS = 2e-3, 1e-5, 100
# Where the loss turns from square to linear, in parts of white.
CORNER = 1e-3
# Share of the old in the running mean of the weights, which is what is kept.
MEMORY = 0.998
REPORT_STEPS, CHECKPOINT_STEPS = 100, 250


def rate(step: int, steps: int) -> float:
    if step < WARM_UP_STEPS:
        return RATE * (step + 1) / WARM_UP_STEPS
    return LAST_RATE + (RATE - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * step / steps))


class Patches:
    """Parts of small pictures and what they are parts of."""

    def __init__(self, work: Path, factor: int):
        self.factor = factor
        self.large = np.load(work / "large.npy", mmap_mode="r")
        self.small = np.load(work / f"small-x{factor}.npy", mmap_mode="r")

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        random = np.random.default_rng([SEED, step])
        size = PATCH[self.factor]
        pairs = [self._pair(random, size) for _ in range(BATCH)]
        return tuple(
            torch.from_numpy(np.stack(side).astype(np.float32) / 255).permute(0, 3, 1, 2) for side in zip(*pairs)
        )

    def _pair(self, random: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        index, version = random.integers(len(self.small)), random.integers(self.small.shape[1])
        places = self.small.shape[2] - size + 1
        # The emptiest parts teach least: of two, the one with more on it.
        found = []
        for top, left in random.integers(0, places, (2, 2)):
            small = self.small[index, version, top : top + size, left : left + size]
            found.append((small.std(axis=(0, 1)).sum(), int(top), int(left), small))
        _, top, left, small = max(found, key=lambda part: part[0])
        rows, columns = (slice(start * self.factor, (start + size) * self.factor) for start in (top, left))
        large = self.large[index, rows, columns]
        # Turned, mirrored and with channels swapped alike.
        turns, mirror, channels = random.integers(4), random.integers(2), random.permutation(3)

        def changed(part: np.ndarray) -> np.ndarray:
            part = np.rot90(part[..., channels], turns)
            return part[:, ::-1] if mirror else part

        return changed(small), changed(large)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where prepare.py has written")
    parser.add_argument("--factor", type=int, choices=PATCH, required=True)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--stop", type=int, help="end after this step, with the rate where it is then")
    parser.add_argument("--start", type=Path, help="checkpoint of the other factor, to begin with what it sees")
    options = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    network = Upscaler(options.factor)
    if options.start:
        known = torch.load(options.start, weights_only=True)["mean"]
        network.load_state_dict({k: v for k, v in known.items() if not k.startswith("last.")}, strict=False)
    network.to(memory_format=torch.channels_last)
    mean = copy.deepcopy(network)
    optimiser = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99))
    checkpoint, first = options.work / f"x{options.factor}.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        mean.load_state_dict(state["mean"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]

    patches = Patches(options.work, options.factor)
    total, started = 0.0, time.monotonic()
    last = min(options.stop or options.steps, options.steps)
    for step in range(first, last):
        for group in optimiser.param_groups:
            group["lr"] = rate(step, options.steps)
        small, large = patches.batch(step)
        error = network(small.contiguous(memory_format=torch.channels_last)) - large
        loss = (error.square() + CORNER**2).sqrt().mean() - CORNER
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            # Young, it remembers less.
            memory = min(MEMORY, step / (step + 10))
            for kept, new in zip(mean.parameters(), network.parameters()):
                kept.lerp_(new, 1 - memory)
        total += loss.item()
        done = step + 1
        if done % REPORT_STEPS == 0:
            seconds = (time.monotonic() - started) / (done - first)
            print(f"step {done}  loss {total / REPORT_STEPS:.5f}  {seconds:.3f} s a step", flush=True)
            total = 0.0
        if done % CHECKPOINT_STEPS == 0 or done == last:
            state = {"step": done, "network": network.state_dict(), "mean": mean.state_dict()}
            torch.save({**state, "optimiser": optimiser.state_dict()}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)


if __name__ == "__main__":
    main()
