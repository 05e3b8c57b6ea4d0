"""Muon for the matrices, AdamW for the rest.

Muon (Jordan et al., 2024) makes the momentum of every weight matrix orthogonal before it steps. With a few thousand
steps to spend it goes further than AdamW for the same time; the work is shared between the processes.
"""

import torch
from torch import distributed, nn

MOMENTUM = 0.95
BETAS = (0.9, 0.98)
# So that the root mean square of a step is that of AdamW's and both can have one learning rate (Moonlight, 2025).
STEP_SIZE = 0.2
# AdamW's rate next to Muon's.
ADAM_SHARE = 0.5
# Of the quintic iteration: three passes bring singular values near one, after which more change little.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
PASSES = 4


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest matrix whose rows (or columns, where they are fewer) are orthonormal, roughly."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    first, second, third = COEFFICIENTS
    for _ in range(PASSES):
        square = x @ x.T
        x = first * x + (second * square + third * square @ square) @ x
    return x.T if tall else x


def is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Convolutions and linear layers; not embeddings, places and outermost layers."""
    outer = ("inlet", "outlet", "style", "place", "constant")
    return parameter.ndim in (2, 4) and min(parameter.shape[:2]) >= 16 and not any(part in name for part in outer)


class Optimiser:
    """Steps the parameters of `network`, whose gradients every process has averaged already."""

    def __init__(self, network: nn.Module, decay: float = 0.01):
        named = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
        self.matrices = [parameter for name, parameter in named if is_matrix(name, parameter)]
        chosen = {id(parameter) for parameter in self.matrices}
        rest = [parameter for _, parameter in named if id(parameter) not in chosen]
        self.adam = torch.optim.AdamW(rest, betas=BETAS, weight_decay=0)
        self.momenta = [torch.zeros_like(parameter).flatten(1) for parameter in self.matrices]
        self.decay = decay
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0
        self.processes = distributed.get_world_size() if distributed.is_initialized() else 1
        self.owners = self._share_out()

    def _share_out(self) -> list[int]:
        """Which process works on which matrix: the costliest first, to whoever has least."""
        costs = [min(m.shape) ** 2 * max(m.shape) for m in self.momenta]
        owners, load = [0] * len(costs), [0] * self.processes
        for index in sorted(range(len(costs)), key=costs.__getitem__, reverse=True):
            owner = load.index(min(load))
            owners[index] = owner
            load[owner] += costs[index]
        return owners

    @torch.no_grad()
    def step(self, rate: float) -> None:
        updates = []
        for parameter, momentum, owner in zip(self.matrices, self.momenta, self.owners):
            gradient = parameter.grad.flatten(1)
            momentum.lerp_(gradient, 1 - MOMENTUM)
            if owner == self.rank:
                update = orthogonal(gradient.lerp(momentum, MOMENTUM)) * max(momentum.shape) ** 0.5
            else:
                update = torch.zeros_like(momentum)
            updates.append(update)
        if self.processes > 1 and updates:
            flat = torch.cat([update.reshape(-1) for update in updates])
            distributed.all_reduce(flat)
            updates = flat.split([update.numel() for update in updates])
        for parameter, update in zip(self.matrices, updates):
            parameter.mul_(1 - rate * self.decay)
            parameter.sub_(update.view(parameter.shape), alpha=rate * STEP_SIZE)
        for group in self.adam.param_groups:
            group["lr"] = rate * ADAM_SHARE
        self.adam.step()

    def state_dict(self) -> dict:
        return {"adam": self.adam.state_dict(), "momenta": self.momenta}

    def load_state_dict(self, state: dict) -> None:
        self.adam.load_state_dict(state["adam"])
        for momentum, saved in zip(self.momenta, state["momenta"]):
            momentum.copy_(saved)
