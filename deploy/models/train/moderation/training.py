"""Cross-validation, calibration and thresholds: what turns fitted heads into scores that mean something."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from corpora import CATEGORIES, Row

FOLDS = 5
SEED = 1


# Shares of everyday texts that may cross a threshold. Attacks are worded like requests, so injection is given more room.
FLAGGED = {"prompt-injection": 0.02}
FLAGGED_ELSEWHERE = 0.01
BLOCKED = 0.005
# Of neutral statements on groups of people, for each of the two categories that they may be taken for.
NEUTRAL_FLAGGED = 0.05
# The same for our own sentences alone: few, and chosen to alarm.
WRITTEN_FLAGGED, WRITTEN_BLOCKED = 0.02, 0.005


# The corpora whose labels define a category; of those not named it is OpenAI's release.
DEFINING = {
    "toxicity": ("cold", "davidson", "toxigen"),
    "prompt-injection": ("slabs", "neuralchemy", "yanis"),
    "illicit": ("advbench", "malicious-uses", "further", "slabs", "neuralchemy"),
    "jailbreak": ("wild", "further", "slabs", "neuralchemy"),
}


def everyday(rows: list[Row]) -> np.ndarray:
    """Marks harmless requests and sentences; composed ones are left out, for their parts are in other folds."""
    corpora = ("slabs", "neuralchemy", "interface", "ordinary")
    return np.array([row.source.split("/")[0] in corpora and row.labels.get("prompt-injection", 0) == 0 for row in rows])


def judged(rows: list[Row], category: str) -> tuple[np.ndarray, np.ndarray]:
    """Which rows have a label of their own for `category`, from the corpora that define it; and the labels."""
    defining = DEFINING.get(category, ("openai",))
    chosen = np.array([row.source.split("/")[0] in defining and category in row.labels for row in rows])
    return chosen, np.array([row.labels.get(category, 0) for row in rows])


def best_cut(logits: np.ndarray, labels: np.ndarray, beta: float) -> float:
    """The cut with the best F score; `beta` below 1 values precision above recall."""
    order = np.argsort(-logits)
    found = np.cumsum(labels[order])
    score = (1 + beta**2) * found / (np.arange(1, len(order) + 1) + beta**2 * labels.sum())
    best = int(np.argmax(score))
    following = logits[order[min(best + 1, len(order) - 1)]]
    return float((logits[order[best]] + following) / 2)


def calibrate(rows: list[Row], logits: np.ndarray, categories: tuple[str, ...] = CATEGORIES) -> tuple[np.ndarray, np.ndarray, dict]:
    """Slope and shift for each category, and its thresholds, all from out-of-fold logits.

    The slope is Platt's. The shift puts 0.5 where a text is worth flagging: at the best F1 over the rows that annotators
    judged, or higher where too many everyday texts, or neutral statements on groups, would cross it. Blocking asks for the best F0.5 in the same way.
    """
    harmless = everyday(rows)
    written = np.array([row.source.startswith("ordinary") for row in rows])
    neutral = np.array([row.source.startswith("toxigen") and row.labels.get("toxicity") == 0 for row in rows])
    slopes, shifts, thresholds = [], [], {}
    for column, category in enumerate(categories):
        chosen, labels = judged(rows, category)
        raw, truth = logits[chosen, column], labels[chosen]
        platt = LogisticRegression(C=1e6).fit(raw[:, None], truth)
        slope = float(platt.coef_[0, 0])
        quiet = logits[harmless, column]
        own = logits[written, column]
        allowed = FLAGGED.get(category, FLAGGED_ELSEWHERE)
        flag = max(best_cut(raw, truth, 1.0), np.quantile(quiet, 1 - allowed), np.quantile(own, 1 - WRITTEN_FLAGGED))
        if category in ("hate", "toxicity"):
            flag = max(flag, np.quantile(logits[neutral, column], 1 - NEUTRAL_FLAGGED))
        block = max(flag, best_cut(raw, truth, 0.5), np.quantile(quiet, 1 - BLOCKED), np.quantile(own, 1 - WRITTEN_BLOCKED))
        slopes.append(slope)
        shifts.append(-slope * flag)
        # Two decimals, rounded up: a policy file is read by people.
        blocked_at = float(np.clip(np.ceil(100 / (1 + np.exp(-slope * (block - flag)))) / 100, 0.55, 0.99))
        cut = flag + np.log(blocked_at / (1 - blocked_at)) / slope
        thresholds[category] = {
            "flag": 0.5,
            "block": round(blocked_at, 2),
            "measured": {
                "flag": measured(raw, truth, quiet, own, flag),
                "block": measured(raw, truth, quiet, own, cut),
            },
        }
    return np.array(slopes), np.array(shifts), thresholds


def measured(raw: np.ndarray, truth: np.ndarray, quiet: np.ndarray, own: np.ndarray, cut: float) -> dict[str, float]:
    """Out-of-fold rates at a cut: `fpr` on everyday texts, and on our own alone; recall and precision on annotated ones."""
    hits, alarms = (raw[truth == 1] >= cut).sum(), (raw[truth == 0] >= cut).sum()
    return {
        "fpr": round(float((quiet >= cut).mean()), 4),
        "fpr_written": round(float((own >= cut).mean()), 4),
        "recall": round(float(hits / max(1, (truth == 1).sum())), 3),
        "precision": round(float(hits / max(1, hits + alarms)), 3),
    }
