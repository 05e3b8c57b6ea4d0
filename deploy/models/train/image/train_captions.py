"""Trains, measures and writes what carries pictures into the text encoder's space: weights/emoji-captions.

Contrastive, as CLIP is (Radford et al., 2021), with two frozen encoders: a small network behind a classifier's features
learns to come near the sentence embeddings of its picture's captions and to keep away from those of others'. Run it
after features.py; the last figures need weights/emoji-flow. A few minutes of one core.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import onnx_files
import sheet
from export import WEIGHTS, write_json
from features import Classifier
from text import default_folder, models_folder
from training import SEED, CaptionDraws

FOLDER = WEIGHTS.parent / "emoji-captions"
HIDDEN, DROPOUT = 768, 0.3
STEPS, BATCH, RATE, DECAY, WARM_UP = 3000, 512, 2e-3, 0.1, 0.1
# Of recoloured copies, against other pictures.
COPIES = 0.25
HOTTEST = 300.0
# Shares of what is kept for measuring: single pictures of things that are known in other styles, and whole things.
PICTURES_KEPT, THINGS_KEPT = 0.08, 0.05
FIRST_STYLE = "noto"
SEEDS = 4


class Projection(nn.Module):
    """Features [batch, 1280] of length 1 to a point [batch, 384] of length 1 among sentence embeddings."""

    def __init__(self, mean: torch.Tensor, deviation: torch.Tensor, outputs: int):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation + 1e-4)
        self.inner, self.outer = nn.Linear(len(mean), HIDDEN), nn.Linear(HIDDEN, outputs)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, features):
        hidden = self.dropout((features - self.mean) / self.deviation)
        hidden = self.dropout(functional.silu(self.inner(hidden)))
        return functional.normalize(self.outer(hidden), dim=-1)


class Lessons:
    def __init__(self, work: Path):
        records = json.loads((work / "pictures.json").read_text())
        text = np.load(work / "text.npz")
        lengths = np.diff(text["starts"])[:, None]
        means = np.add.reduceat(text["states"].astype(np.float32), text["starts"][:-1]) / lengths
        self.texts = functional.normalize(torch.from_numpy(means.astype(np.float32)), dim=-1)
        self.features = torch.from_numpy(np.load(work / "features.npy"))
        codes = sorted({record["code"] for record in records})
        number = {code: n for n, code in enumerate(codes)}
        self.codes = np.array([number[record["code"]] for record in records])
        self.copies = np.array([record["recoloured"] is not None for record in records])
        self.weights = np.array([record["weight"] for record in records])
        self.captions = CaptionDraws(records)
        # The first caption of a thing's first picture is its name.
        names = {}
        for record in sorted(records, key=lambda record: record["style"] != FIRST_STYLE):
            if record["recoloured"] is None:
                names.setdefault(record["code"], record["captions"][0][0])
        self.names = torch.tensor([names[code] for code in codes])
        random = np.random.default_rng(SEED)
        self.new_things = (random.random(len(codes)) < THINGS_KEPT)[self.codes]
        known_twice = np.bincount(self.codes[~self.copies], minlength=len(codes))[self.codes] > 1
        self.new_pictures = (random.random(len(records)) < PICTURES_KEPT) & ~self.copies & ~self.new_things & known_twice
        # A kept picture's recoloured copies would give it away.
        kept = {(record["code"], record["style"]) for record, new in zip(records, self.new_pictures) if new}
        copied = np.array([(record["code"], record["style"]) in kept for record in records]) & self.copies
        odds = np.sqrt(self.weights) * np.where(self.copies, COPIES, 1)
        odds[self.new_things | self.new_pictures | copied] = 0
        self.odds = odds / odds.sum()

    def draw(self, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features and texts [batch, ...], and which go together [batch, batch]."""
        chosen = random.choice(len(self.odds), BATCH, p=self.odds)
        views = random.integers(0, len(self.features), BATCH)
        texts, codes, copies = self.captions.draw(chosen, random), self.codes[chosen], self.copies[chosen]
        alike = (codes[:, None] == codes) & ~(copies[:, None] | copies) | (texts[:, None] == texts)
        return self.features[views, chosen], self.texts[texts], torch.from_numpy(alike).float()


def train(lessons: Lessons) -> Projection:
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    plain = lessons.features[0]
    projection = Projection(plain.mean(0), plain.std(0), lessons.texts.shape[1])
    scale = nn.Parameter(torch.tensor(3.5))
    groups = [
        {"params": [projection.inner.weight, projection.outer.weight], "weight_decay": DECAY},
        {"params": [projection.inner.bias, projection.outer.bias, scale], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS, pct_start=WARM_UP)
    for step in range(STEPS):
        features, texts, alike = lessons.draw(random)
        scores = scale.exp().clamp(max=HOTTEST) * projection(features) @ texts.T
        by_picture = (alike * scores.log_softmax(1)).sum(1) / alike.sum(1)
        by_text = (alike * scores.log_softmax(0)).sum(0) / alike.sum(0)
        loss = -(by_picture + by_text).mean() / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 250 == 0:
            print(f"step {step + 1} loss {loss.item():.3f} scale {scale.exp().item():.0f}", flush=True)
    return projection.eval()


@torch.no_grad()
def measure(projection: Projection, lessons: Lessons) -> None:
    """The place of a picture's own name among the names of all things."""
    names = lessons.texts[lessons.names]
    for what, which in (("pictures", lessons.new_pictures), ("things", lessons.new_things & ~lessons.copies)):
        chosen = np.flatnonzero(which)
        scores = projection(lessons.features[0][chosen]) @ names.T
        own = scores[torch.arange(len(chosen)), lessons.codes[chosen]]
        places = (scores > own[:, None]).sum(1).numpy() + 1
        shares = ", ".join(f"{np.mean(places <= first):.1%} in the first {first}" for first in (1, 5, 20))
        print(f"{len(chosen)} {what} never seen, among {len(names)} names: {shares}; median {np.median(places):.0f}")


@torch.no_grad()
def measure_drawn(projection: Projection, classifier: Classifier, encoder: Path) -> None:
    """The place of the prompt among all prompts, of pictures that the flow drew."""
    prompts = [prompt for prompt in sheet.PROMPTS.read_text(encoding="utf-8").split("\n") if prompt]
    pipeline = sheet.Pipeline(WEIGHTS, encoder)
    states, mask = pipeline.text.embed(prompts)
    texts = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    texts = functional.normalize(torch.from_numpy(texts.astype(np.float32)), dim=-1)
    config = pipeline.config
    how = {"style": config["default_style"], "steps": config["num_inference_steps"], "guidance": config["guidance_scale"]}
    places = []
    for seed in range(SEEDS):
        drawn = pipeline.draw(prompts, seed=seed, shift=pipeline.shift, **how)
        scores = projection(torch.from_numpy(classifier.features(list(drawn[..., :3])))) @ texts.T
        places.extend(((scores > scores.diagonal()[:, None]).sum(1) + 1).tolist())
    first = ", ".join(f"{np.mean(np.array(places) <= n):.1%} in the first {n}" for n in (1, 3))
    print(f"{len(places)} drawn pictures, among {len(prompts)} prompts: {first}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--classifier", type=Path, default=models_folder() / "efficientnet-lite0")
    parser.add_argument("--encoder", type=Path, default=default_folder(), help="model folder of multilingual-e5-small")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lessons = Lessons(options.work)
    projection = train(lessons)
    measure(projection, lessons)
    measure_drawn(projection, Classifier(options.classifier), options.encoder)
    some = {"features": lessons.features[0][:3]}
    onnx_files.write(projection, FOLDER / "model.onnx", some, ["embedding"])
    write_json(FOLDER / "config.json", {"features_of": "efficientnet-lite0", "embedding_space": "multilingual-e5-small"})


if __name__ == "__main__":
    main()
