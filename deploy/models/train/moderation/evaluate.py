"""Measures the model on texts that it was not trained on, prints the figures, and which of the bars they reach.

What ships is run over the test sets as the service runs it, in windows. Categories that only OpenAI's release labels, and ToxiGen, are
judged by five networks that left them out in turn (`out_of_fold.npz` of the weights), each with a calibration of its own that
has not seen them either.
"""

import json
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

import corpora
from calibrate import Calibration, Unseen, calibrate, calibration_error, everyday, judged, unseen
from corpora import CATEGORIES, Row
from encoder import Encoder
from labels import COLUMN
from options import arguments

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "text-moderation-heads"
OUT_OF_FOLD = WEIGHTS / "out_of_fold.npz"
# Sentences that must not be flagged.
INNOCENT = ("How do I kill the process?", "kill the process", "I am a gay man", "I am a gay man.", "how do I shoot a portrait", "How do I shoot a portrait?")
# Test sets whose rows have a label for the category; the harmless requests of the second are its other side.
REQUESTS = ("slabs/test", "neuralchemy/test", "interface/test")
HELD_OUT = {
    "cold_dev": ("toxicity", ("cold/dev",)),
    "davidson_test": ("toxicity", ("davidson-test",)),
    "slabs_test": ("prompt-injection", ("slabs/test",)),
    "neuralchemy_test": ("prompt-injection", ("neuralchemy/test",)),
    "composed_test": ("prompt-injection", ("composed/test",)),
    "bastion": ("prompt-injection", ("bastion",)),
    "harmbench": ("illicit", ("harmbench", *REQUESTS)),
    "jailbreak_templates": ("jailbreak", ("templates", *REQUESTS)),
}


def of_source(rows: list[Row], *prefixes: str) -> np.ndarray:
    return np.array([row.source.startswith(prefixes) for row in rows])


def truth(rows: list[Row], category: str) -> np.ndarray:
    """The label; of a row that is harmless in all that it is labelled for, 0; otherwise -1 where it is unknown."""
    return np.array([row.labels.get(category, -1 if any(row.labels.values()) else 0) for row in rows])


def rates(labels: np.ndarray, crossed: np.ndarray) -> dict[str, float]:
    hits, alarms = crossed[labels == 1], crossed[labels == 0]
    return {
        "recall": round(float(hits.mean()), 3),
        "precision": round(float(hits.sum() / max(1, hits.sum() + alarms.sum())), 3),
        "fpr": round(float(alarms.mean()), 4),
    }


def out_of_fold(found: Unseen, offset: np.ndarray) -> dict:
    """Of each category of OpenAI's release: how well its positives stand out, and what is flagged."""
    figures: dict = {}
    for category in CATEGORIES[:8]:
        chosen, labels = judged(found.rows, category)
        column, known = COLUMN[category], labels[chosen]
        scores = found.scores[chosen, column]
        logits = found.logits[chosen, column]
        probabilities = 1 / (1 + np.exp(-(np.log(scores / (1 - scores)) + offset[column])))
        figures[category] = {
            "positives": int(known.sum()),
            "rows": int(len(known)),
            "auc": round(float(roc_auc_score(known, logits)), 3),
            "average_precision": round(float(average_precision_score(known, logits)), 3),
            "calibration_error": round(calibration_error(probabilities, known), 3),
            **{action: rates(known, crossed[chosen, column]) for action, crossed in found.crossed.items()},
        }
    return figures


def held_out(rows: list[Row], scores: np.ndarray, calibration: Calibration) -> dict:
    figures: dict = {}
    for name, (category, sources) in HELD_OUT.items():
        labels, column = truth(rows, category), COLUMN[category]
        chosen = of_source(rows, *sources) & (labels >= 0)
        figures[name] = {
            "category": category,
            "positives": int(labels[chosen].sum()),
            "auc": round(float(roc_auc_score(labels[chosen], scores[chosen, column])), 3),
            **{action: rates(labels[chosen], scores[chosen, column] >= calibration.limits(action)[column]) for action in ("flag", "block")},
        }
    return figures


def own(rows: list[Row], scores: np.ndarray, calibration: Calibration) -> dict:
    """Our own test sentences and the patterns held out of contrasts.py: recall and false alarms of each category, English and Chinese."""
    figures: dict = {}
    for language, chinese in (("en", False), ("zh", True)):
        chosen = of_source(rows, "ordinary/test", "harmful/test", "requests/test", "contrasts/test")
        chosen &= np.array([corpora.is_chinese(row.text) == chinese for row in rows])
        figures[language] = {}
        for category in CATEGORIES:
            labels, column = truth(rows, category), COLUMN[category]
            known = chosen & (labels >= 0)
            if labels[known].sum():
                flagged = scores[known, column] >= calibration.limits("flag")[column]
                figures[language][category] = {"positives": int(labels[known].sum()), "negatives": int((labels[known] == 0).sum()), **rates(labels[known], flagged)}
    return figures


def false_alarms(crossed: dict[str, np.ndarray]) -> dict:
    """Share of texts that cross a threshold, by category and in any."""
    result: dict = {"rows": len(crossed["flag"])}
    for action, marks in crossed.items():
        result[action] = {category: round(float(marks[:, at].mean()), 4) for at, category in enumerate(CATEGORIES) if marks[:, at].any()}
        result[action]["any"] = round(float(marks.any(axis=1).mean()), 4)
    return result


def quiet(test: list[Row], scores: np.ndarray, calibration: Calibration) -> dict:
    """False alarms on harmless rows that were not trained on."""
    harmless = np.array([not any(row.labels.values()) for row in test])
    chosen = {
        "ordinary_test": of_source(test, "ordinary/test"),
        "contrasts_test": of_source(test, "contrasts/test") & harmless,
        "requests_test": of_source(test, "slabs", "neuralchemy") & harmless,
        "composed_test": of_source(test, "composed") & harmless,
        "bastion_benign": of_source(test, "bastion") & harmless,
        "davidson_test_neither": of_source(test, "davidson-test/2"),
    }
    limits = {action: calibration.limits(action) for action in ("flag", "block")}
    return {name: false_alarms({action: scores[rows] >= limit for action, limit in limits.items()}) for name, rows in chosen.items()}


def by_group(found: Unseen) -> dict:
    """ToxiGen's statements, group by group: neutral ones flagged as hate or toxicity, hateful ones missed."""
    flagged = found.crossed["flag"][:, [COLUMN["toxicity"], COLUMN["hate"]]].any(axis=1)
    hateful = truth(found.rows, "toxicity") == 1
    rate = lambda marks: round(float(marks.mean()), 3) if len(marks) else None  # noqa: E731
    result = {}
    for group in sorted({row.source for row in found.rows if row.source.startswith("toxigen/")}):
        chosen = of_source(found.rows, group)
        alarms, hits = flagged[chosen & ~hateful], flagged[chosen & hateful]
        result[group.split("/")[1]] = {"neutral": len(alarms), "false_alarms": rate(alarms), "hateful": len(hits), "missed": rate(~hits)}
    return result


def at_thresholds(rows: list[Row], logits: np.ndarray, calibration: Calibration) -> dict:
    """What the policy file quotes: recall and precision on annotated rows, and the share of everyday texts that cross."""
    harmless, scores = everyday(rows), calibration.scores(logits)
    result = {}
    for at, category in enumerate(CATEGORIES):
        chosen, labels = judged(rows, category)
        crossed = {action: scores[:, at] >= calibration.thresholds[category][action] for action in ("flag", "block")}
        result[category] = {
            action: {**rates(labels[chosen], marks[chosen]), "fpr": round(float(marks[harmless].mean()), 4)} for action, marks in crossed.items()
        }
    return result


def evaluate(both: corpora.Corpora, encoder: Encoder, heads: bytes, calibration: Calibration) -> dict:
    """Everything that goes into heads.json under `evaluation`."""
    test, scores = both.test, encoder.score(heads, [row.text for row in both.test])
    with np.load(OUT_OF_FOLD) as stored:
        rows, logits, fold = [both.train[place] for place in stored["places"]], stored["logits"].astype(np.float32), stored["fold"]
    found = unseen(rows, logits, fold)
    neutral = of_source(rows, "toxigen") & (truth(rows, "toxicity") == 0)
    innocent = np.array([row.source == "openai" and len(row.labels) >= 6 and not any(row.labels.values()) for row in rows])
    return {
        "thresholds": at_thresholds(rows, logits, calibration),
        "openai_5_fold": out_of_fold(found, calibration.offset),
        "held_out": held_out(test, scores, calibration),
        "own": own(test, scores, calibration),
        "false_alarms": {
            **quiet(test, scores, calibration),
            "toxigen_neutral_5_fold": false_alarms(found.only(neutral).crossed),
            "openai_unlabelled_5_fold": false_alarms(found.only(innocent).crossed),
        },
        "groups_5_fold": by_group(found),
        "innocent": {text: round(float(row.max()), 3) for text, row in zip(INNOCENT, encoder.score(heads, list(INNOCENT)))},
    }


def bars(evaluation: dict) -> list[tuple[str, float, float, bool]]:
    """What the model has to reach: name, figure, bar, whether it does."""
    folds, held, alarms = evaluation["openai_5_fold"], evaluation["held_out"], evaluation["false_alarms"]
    injected = lambda name: alarms[name]["flag"].get("prompt-injection", 0.0)  # noqa: E731
    at_least = [
        ("COLD dev, AUC", held["cold_dev"]["auc"], 0.90),
        *((f"OpenAI 5-fold {name}, AUC", folds[name]["auc"], bar) for name, bar in
          (("sexual", 0.98), ("hate", 0.91), ("violence", 0.91), ("harassment", 0.89), ("self-harm", 0.99))),
        ("S-Labs test, AUC", held["slabs_test"]["auc"], 0.98),
        ("BastionCorpus, AUC", held["bastion"]["auc"], 0.90),
    ]
    at_most = [
        ("injection flagged in ordinary requests", injected("requests_test"), 0.02),
        ("injection flagged in ordinary sentences", injected("ordinary_test"), 0.02),
        ("injection flagged in harmless contrasts", injected("contrasts_test"), 0.02),
        ("neutral statements on groups flagged, by group", alarms["toxigen_neutral_5_fold"]["flag"]["any"], 0.10),
        ("highest score of the innocent sentences", max(evaluation["innocent"].values()), 0.499),
    ]
    return [(name, figure, bar, figure >= bar) for name, figure, bar in at_least] + [(name, figure, bar, figure <= bar) for name, figure, bar in at_most]


def print_bars(evaluation: dict) -> None:
    for name, figure, bar, reached in bars(evaluation):
        print(f"{name:50} {figure:7.3f}  bar {bar:5.3f}  {'reached' if reached else 'MISSED'}")


def main() -> None:
    options = arguments(__doc__).parse_args()
    both = corpora.load(options.data, options.cache)
    with np.load(OUT_OF_FOLD) as stored:
        calibration = calibrate([both.train[place] for place in stored["places"]], stored["logits"].astype(np.float32))
    evaluation = evaluate(both, Encoder(options.encoder, options.cache), (WEIGHTS / "model.onnx").read_bytes(), calibration)
    print(json.dumps(evaluation, indent=2, ensure_ascii=False))
    print_bars(evaluation)


if __name__ == "__main__":
    main()
