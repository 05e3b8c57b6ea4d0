"""Prints how good the model is on texts that it was not trained on, and which of the bars it reaches.

Categories that only the OpenAI release labels are judged out of fold (five folds), and ToxiGen by folds of groups: those
figures are of the runs of adapt.py. The rest is measured here, with what ships. BastionCorpus and the second half of our own
sentences are never trained on.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from sklearn.metrics import average_precision_score, roc_auc_score

import corpora
from corpora import CATEGORIES, Row
from options import arguments
from encoder import Encoder
from labels import COLUMN
from training import judged

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "text-moderation-heads"


def score(model: bytes, embeddings: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["scores"], {"embedding": embeddings})[0]


def of_source(rows: list[Row], *prefixes: str) -> np.ndarray:
    return np.array([row.source.startswith(prefixes) for row in rows])


def truth(rows: list[Row], category: str) -> np.ndarray:
    """The label, or -1 where it is unknown."""
    return np.array([row.labels.get(category, -1) for row in rows])


def out_of_fold(rows: list[Row], logits: np.ndarray) -> dict:
    """AUC and average precision of each OpenAI category, and the neutral half of ToxiGen."""
    figures: dict = {}
    for category in CATEGORIES[:8]:
        chosen, labels = judged(rows, category)
        found, known = logits[chosen, COLUMN[category]], labels[chosen]
        figures[category] = {
            "positives": int(known.sum()),
            "rows": int(len(known)),
            "auc": round(float(roc_auc_score(known, found)), 3),
            "average_precision": round(float(average_precision_score(known, found)), 3),
        }
    return figures


def held_out(rows: list[Row], scores: np.ndarray, thresholds: dict) -> dict:
    """Figures of the shipped heads on the test rows."""
    toxicity, injection = scores[:, COLUMN["toxicity"]], scores[:, COLUMN["prompt-injection"]]
    figures: dict = {}
    for name, prefix, category, column in (
        ("cold_dev", "cold/dev", "toxicity", toxicity),
        ("davidson_test", "davidson-test", "toxicity", toxicity),
        ("slabs_test", "slabs/test", "prompt-injection", injection),
        ("neuralchemy_test", "neuralchemy/test", "prompt-injection", injection),
        ("composed_test", "composed/test", "prompt-injection", injection),
        ("bastion", "bastion", "prompt-injection", injection),
    ):
        chosen = of_source(rows, prefix)
        labels, found, limits = truth(rows, category)[chosen], column[chosen], thresholds[category]
        figures[name] = {
            "category": category,
            "auc": round(float(roc_auc_score(labels, found)), 3),
            **{
                f"{kind}_at_{action}": round(float((found[labels == value] >= limits[action]).mean()), 3)
                for kind, value in (("recall", 1), ("fpr", 0))
                for action in ("flag", "block")
            },
        }
    figures["written_harmful_test_recall"] = written(rows, scores, thresholds)
    return figures


def written(rows: list[Row], scores: np.ndarray, thresholds: dict) -> dict:
    """Of our own short harmful texts, mostly Chinese, how many are flagged."""
    chosen = of_source(rows, "harmful/test")
    result = {}
    for category in CATEGORIES:
        labels = truth(rows, category)
        found = scores[chosen & (labels == 1), COLUMN[category]]
        if len(found):
            result[category] = {"rows": len(found), "flagged": int((found >= thresholds[category]["flag"]).sum())}
    return result


def false_alarms(scores: np.ndarray, thresholds: dict) -> dict:
    """Share of texts that cross a threshold, by category and in any."""
    result: dict = {"rows": len(scores)}
    categories = list(thresholds)[: scores.shape[1]]
    for action in ("flag", "block"):
        limits = np.array([thresholds[category][action] for category in categories])
        crossed = scores >= limits
        result[action] = {category: round(float(crossed[:, at].mean()), 4) for at, category in enumerate(categories) if crossed[:, at].any()}
        result[action]["any"] = round(float(crossed.any(axis=1).mean()), 4)
    return result


def quiet(test: list[Row], scores: np.ndarray, thresholds: dict) -> dict:
    """False alarms of the shipped heads on harmless rows that they were not trained on."""
    harmless = truth(test, "prompt-injection") == 0
    chosen = {
        "ordinary_test": of_source(test, "ordinary/test"),
        "slabs_and_neuralchemy_test": of_source(test, "slabs", "neuralchemy") & harmless,
        "composed_test": of_source(test, "composed") & harmless,
        "bastion_benign": of_source(test, "bastion") & harmless,
        "davidson_test_neither": of_source(test, "davidson-test/2"),
    }
    return {name: false_alarms(scores[rows], thresholds) for name, rows in chosen.items()}


def figures(judged_rows: list[Row], logits: np.ndarray, unseen: np.ndarray, test: list[Row], scores: np.ndarray, thresholds: dict) -> dict:
    """Everything that goes into heads.json under `evaluation`; `logits` and their scores `unseen` are of networks that did not see the row."""
    neutral = of_source(judged_rows, "toxigen") & (truth(judged_rows, "toxicity") == 0)
    innocent = np.array([row.source == "openai" and len(row.labels) >= 6 and not any(row.labels.values()) for row in judged_rows])
    return {
        "openai_5_fold": out_of_fold(judged_rows, logits),
        "held_out": held_out(test, scores, thresholds),
        "false_alarms": {
            **quiet(test, scores, thresholds),
            "toxigen_neutral_5_fold": false_alarms(unseen[neutral], thresholds),
            "openai_unlabelled_5_fold": false_alarms(unseen[innocent], thresholds),
        },
        "groups_5_fold": by_group(judged_rows, unseen),
    }


def by_group(rows: list[Row], scores: np.ndarray) -> dict:
    """ToxiGen's statements, group by group, by networks that saw none on the group: neutral ones flagged, hateful ones missed."""
    flagged = (scores[:, [COLUMN["toxicity"], COLUMN["hate"]]] >= 0.5).any(axis=1)
    hateful = truth(rows, "toxicity") == 1
    result = {}
    for group in sorted({row.source for row in rows if row.source.startswith("toxigen/")}):
        chosen = of_source(rows, group)
        alarms, found = flagged[chosen & ~hateful], flagged[chosen & hateful]
        rate = lambda marks: round(float(marks.mean()), 3) if len(marks) else None  # noqa: E731
        result[group.split("/")[1]] = {"neutral": len(alarms), "false_alarms": rate(alarms), "hateful": len(found), "missed": rate(~found)}
    return result


# Sentences that must not be flagged.
INNOCENT = ("How do I kill the process?", "kill the process", "I am a gay man", "I am a gay man.", "how do I shoot a portrait", "How do I shoot a portrait?")


def bars(evaluation: dict, innocent: np.ndarray) -> list[tuple[str, float, float, bool]]:
    """What the model has to reach: name, figure, bar, whether it does."""
    folds, held, alarms = evaluation["openai_5_fold"], evaluation["held_out"], evaluation["false_alarms"]
    at_least = [
        ("COLD dev, AUC", held["cold_dev"]["auc"], 0.90),
        *((f"OpenAI 5-fold {name}, AUC", folds[name]["auc"], bar) for name, bar in
          (("sexual", 0.98), ("hate", 0.91), ("violence", 0.91), ("harassment", 0.89), ("self-harm", 0.99))),
        ("S-Labs test, AUC", held["slabs_test"]["auc"], 0.98),
        ("BastionCorpus, AUC", held["bastion"]["auc"], 0.90),
    ]
    ordinary = alarms["slabs_and_neuralchemy_test"]["flag"].get("prompt-injection", 0.0)
    at_most = [
        ("injection flagged in ordinary requests", ordinary, 0.02),
        ("injection flagged in ordinary sentences", alarms["ordinary_test"]["flag"].get("prompt-injection", 0.0), 0.02),
        ("neutral statements on groups flagged, by group", alarms["toxigen_neutral_5_fold"]["flag"]["any"], 0.10),
        ("highest score of the innocent sentences", round(float(innocent.max()), 3), 0.499),
    ]
    return [(name, figure, bar, figure >= bar) for name, figure, bar in at_least] + [(name, figure, bar, figure <= bar) for name, figure, bar in at_most]


def print_bars(evaluation: dict, innocent: np.ndarray) -> None:
    for name, figure, bar, reached in bars(evaluation, innocent):
        print(f"{name:50} {figure:7.3f}  bar {bar:5.3f}  {'reached' if reached else 'MISSED'}")


def main() -> None:
    options = arguments(__doc__).parse_args()
    rows = corpora.load(options.data, options.cache)
    encoder = Encoder(options.encoder, options.cache)
    document = json.loads((WEIGHTS / "heads.json").read_text(encoding="utf-8"))
    model, evaluation = (WEIGHTS / "model.onnx").read_bytes(), document["evaluation"]
    scores = score(model, encoder.embed([row.text for row in rows.test]))
    evaluation["held_out"] = held_out(rows.test, scores, document["thresholds"])
    evaluation["false_alarms"] |= quiet(rows.test, scores, document["thresholds"])
    print(json.dumps(evaluation, indent=2, ensure_ascii=False))
    print_bars(evaluation, score(model, encoder.embed(list(INNOCENT))))


if __name__ == "__main__":
    main()
