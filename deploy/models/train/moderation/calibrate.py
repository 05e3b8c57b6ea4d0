"""Slopes, shifts and thresholds: what turns a network's logits into scores that mean something."""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from corpora import CATEGORIES, Row

# Shares of everyday texts that may cross a threshold. Attacks are worded like requests, so they are given more room.
ATTACKS = ("prompt-injection", "jailbreak")
FLAGGED = dict.fromkeys(ATTACKS, 0.02)
FLAGGED_ELSEWHERE = 0.01
BLOCKED = 0.005
# Of neutral statements on groups of people, for each of the two categories that they may be taken for.
NEUTRAL_FLAGGED = 0.07
# The same for our own sentences alone: few, and chosen to alarm.
WRITTEN_FLAGGED, WRITTEN_BLOCKED = 0.02, 0.005

# The corpora whose labels define a category; of those not named it is OpenAI's release.
DEFINING = {
    "toxicity": ("cold", "davidson", "toxigen"),
    "prompt-injection": ("slabs", "neuralchemy", "yanis"),
    "illicit": ("advbench", "malicious-uses", "requests", "contrasts", "slabs", "neuralchemy"),
    "jailbreak": ("wild", "requests", "contrasts", "slabs", "neuralchemy"),
}


def everyday(rows: list[Row]) -> np.ndarray:
    """Marks harmless requests and sentences; composed ones are left out, for their parts are in other folds."""
    corpora = ("slabs", "neuralchemy", "interface", "ordinary", "contrasts")
    return np.array([row.source.split("/")[0] in corpora and not any(row.labels.values()) for row in rows])


def judged(rows: list[Row], category: str) -> tuple[np.ndarray, np.ndarray]:
    """Which rows have a label for `category` from the corpora that define it; and the labels. Everyday requests count as
    harmless where a corpus of requests is among them."""
    defining = DEFINING.get(category, ("openai",))
    harmless = everyday(rows)
    source = [row.source.split("/")[0] for row in rows]
    chosen = np.array([name in defining and (category in row.labels or calm) for name, row, calm in zip(source, rows, harmless)])
    return chosen, np.array([row.labels.get(category, 0) for row in rows])


def best_cut(logits: np.ndarray, labels: np.ndarray, beta: float, least_precision: float = 0.0) -> float:
    """The cut with the best F score among those of at least some precision; `beta` below 1 values precision above recall."""
    order = np.argsort(-logits)
    found = np.cumsum(labels[order])
    precision = found / np.arange(1, len(order) + 1)
    score = (1 + beta**2) * found / (np.arange(1, len(order) + 1) + beta**2 * labels.sum())
    best = int(np.argmax(np.where(precision >= least_precision, score, -1)))
    following = logits[order[min(best + 1, len(order) - 1)]]
    return float((logits[order[best]] + following) / 2)


@dataclass
class Calibration:
    """score = sigmoid(slope * logit + shift); thresholds are scores. `offset` turns a score into a probability on texts like the
    annotated ones: sigmoid(log(score / (1 - score)) + offset). One value for each category."""

    slope: np.ndarray
    shift: np.ndarray
    offset: np.ndarray
    thresholds: dict[str, dict[str, float]]

    def scores(self, logits: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(logits * self.slope + self.shift)))

    def limits(self, action: str) -> np.ndarray:
        return np.array([self.thresholds[category][action] for category in CATEGORIES])


def calibrate(rows: list[Row], logits: np.ndarray) -> Calibration:
    """From logits of networks that have not seen the rows.

    The slope is Platt's. The shift puts 0.5 where a text is worth flagging: at the best F1 over the rows that annotators
    judged, or higher where too many everyday texts, or neutral statements on groups, would cross it. Blocking asks for the best F0.5
    in the same way.
    """
    harmless = everyday(rows)
    written = np.array([row.source.startswith("ordinary") for row in rows])
    release = np.array([row.source == "openai" for row in rows])
    neutral = np.array([row.source.startswith("toxigen") and row.labels.get("toxicity") == 0 for row in rows])
    slopes, shifts, offsets, thresholds = [], [], [], {}
    for column, category in enumerate(CATEGORIES):
        chosen, labels = judged(rows, category)
        raw, truth = logits[chosen, column], labels[chosen]
        platt = LogisticRegression(C=1e6).fit(raw[:, None], truth)
        slope, intercept = float(platt.coef_[0, 0]), float(platt.intercept_[0])
        # Long stories and confessions are no everyday texts, but no attacks on a model either.
        calm = harmless | (release if category in ATTACKS else False)
        quiet, own = logits[calm, column], logits[written, column]
        flag = max(best_cut(raw, truth, 1.0), np.quantile(quiet, 1 - FLAGGED.get(category, FLAGGED_ELSEWHERE)), np.quantile(own, 1 - WRITTEN_FLAGGED))
        if category in ("hate", "toxicity"):
            flag = max(flag, np.quantile(logits[neutral, column], 1 - NEUTRAL_FLAGGED))
        precision = truth[raw >= flag].mean()
        block = max(flag, best_cut(raw, truth, 0.5, precision), np.quantile(quiet, 1 - BLOCKED), np.quantile(own, 1 - WRITTEN_BLOCKED))
        slopes.append(slope)
        shifts.append(-slope * flag)
        offsets.append(intercept + slope * flag)
        # Two decimals, rounded up: a policy file is read by people.
        thresholds[category] = {"flag": 0.5, "block": round(float(np.clip(np.ceil(100 / (1 + np.exp(-slope * (float(block) - flag)))) / 100, 0.55, 0.99)), 2)}
    return Calibration(np.array(slopes), np.array(shifts), np.array(offsets), thresholds)


@dataclass
class Unseen:
    """Rows with scores of networks and of calibrations that have seen neither them nor, of ToxiGen, any statement on their group;
    and whether they cross the thresholds."""

    rows: list[Row]
    logits: np.ndarray
    scores: np.ndarray
    crossed: dict[str, np.ndarray]

    def only(self, marks: np.ndarray) -> "Unseen":
        rows = [row for row, mark in zip(self.rows, marks) if mark]
        return Unseen(rows, self.logits[marks], self.scores[marks], {action: crossed[marks] for action, crossed in self.crossed.items()})


def unseen(rows: list[Row], logits: np.ndarray, fold: np.ndarray) -> Unseen:
    """Calibrates each fold's rows by the rows of the other folds; a calibration's own rows would flatter it."""
    scores = np.zeros(logits.shape)
    crossed = {action: np.zeros(logits.shape, bool) for action in ("flag", "block")}
    for number in range(fold.max() + 1):
        others, own = fold != number, fold == number
        found = calibrate([row for row, other in zip(rows, others) if other], logits[others])
        scores[own] = found.scores(logits[own])
        for action, marks in crossed.items():
            marks[own] = scores[own] >= found.limits(action)
    return Unseen(rows, logits, scores, crossed)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error (Guo et al., 2017) over bins of equal width."""
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [abs(probabilities[place == bin].sum() - labels[place == bin].sum()) for bin in range(bins)]
    return float(sum(gaps) / len(labels))
