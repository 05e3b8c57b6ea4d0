"""Turns rows into targets and weights, with what may be assumed of rows that their data set did not label."""

import numpy as np

from corpora import CATEGORIES, Row

COLUMN = {category: at for at, category in enumerate(CATEGORIES)}
# An assumed label counts far less than one that an annotator gave: there are many times more of them.
ASSUMED = 0.05
# Davidson's hate class is slurs for the most part; at full weight it would drown the OpenAI release's wider notion.
TWEETED_HATE = 0.1
# Our own sentences are few, and each stands for many that the data sets lack.
WRITTEN = 10.0
# Categories that comments and tweets of the hate-speech corpora hardly ever belong to.
RARE_IN_COMMENTS = ("self-harm", "sexual/minors", "violence/graphic", "prompt-injection", "illicit", "jailbreak")
COMMENTS = ("cold", "davidson", "davidson-test", "toxigen")


def targets(rows: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Labels [rows, categories], and weights of the same shape that are 0 where a label is unknown."""
    labels = np.zeros((len(rows), len(CATEGORIES)), np.float32)
    weights = np.zeros_like(labels)
    for at, row in enumerate(rows):
        for category, value in assumed(row).items():
            labels[at, COLUMN[category]], weights[at, COLUMN[category]] = value, ASSUMED
        for category, value in row.labels.items():
            labels[at, COLUMN[category]], weights[at, COLUMN[category]] = value, weight(row, category)
    return labels, weights


def weight(row: Row, category: str) -> float:
    """How much a label that a row really has counts."""
    if row.source.startswith(("ordinary", "harmful", "requests")):
        return WRITTEN
    return TWEETED_HATE if category == "hate" and row.source.startswith("davidson") else 1.0


def assumed(row: Row) -> dict[str, int]:
    """Labels that follow from what a data set is about."""
    corpus = row.source.split("/")[0]
    known = row.labels
    if corpus in ("slabs", "neuralchemy", "interface", "composed") and known.get("prompt-injection") == 0:
        # Everyday requests, written to be harmless.
        return dict.fromkeys(CATEGORIES, 0)
    found: dict[str, int] = {}
    if corpus == "openai":
        found.update(dict.fromkeys(("prompt-injection", "jailbreak"), 0))
        insults = [known.get(category) for category in ("hate", "hate/threatening", "harassment")]
        if 1 in insults:
            found["toxicity"] = 1
        elif None not in insults:
            found["toxicity"] = 0
    if corpus in COMMENTS:
        found.update(dict.fromkeys(RARE_IN_COMMENTS, 0))
        if known["toxicity"] == 0:
            found.update(dict.fromkeys(("hate", "hate/threatening", "harassment"), 0))
    return found


def balanced(labels: np.ndarray, weights: np.ndarray, heaviest: float) -> np.ndarray:
    """Weights under which the positives of each category count as much as its negatives, one on average; none above `heaviest`, for
    no single rare positive may throw a whole batch."""
    result = weights.copy()
    for column in range(labels.shape[1]):
        for value in (0, 1):
            chosen = labels[:, column] == value
            total = weights[chosen, column].sum()
            if total > 0:
                result[chosen, column] *= (weights[:, column] > 0).sum() / (2 * total)
    return np.minimum(result, heaviest)


def folds(rows: list[Row], count: int, seed: int) -> np.ndarray:
    """A fold for each row; rows of one source with the same labels are spread evenly over the folds."""
    random = np.random.default_rng(seed)
    groups: dict[tuple, list[int]] = {}
    for at, row in enumerate(rows):
        groups.setdefault((row.source, tuple(sorted(row.labels.items()))), []).append(at)
    result = np.empty(len(rows), int)
    turn = 0
    for group in groups.values():
        for at in random.permutation(group):
            result[at] = turn % count
            turn += 1
    return result
