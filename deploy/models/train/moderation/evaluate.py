"""Prints how good the heads are on texts that they were not trained on.

Categories that only the OpenAI release labels are judged out of fold (five folds); the rest by held-out splits with the
heads that ship. BastionCorpus and the second half of our own sentences are never trained on.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from sklearn.metrics import average_precision_score, roc_auc_score

import corpora
from corpora import CATEGORIES, Row
from embed import arguments
from encoder import Encoder
from heads import Settings
from labels import COLUMN
from training import cross_validate, judged

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
    for action in ("flag", "block"):
        limits = np.array([thresholds[category][action] for category in CATEGORIES])
        crossed = scores >= limits
        result[action] = {category: round(float(crossed[:, at].mean()), 4) for at, category in enumerate(CATEGORIES) if crossed[:, at].any()}
        result[action]["any"] = round(float(crossed.any(axis=1).mean()), 4)
    return result


def figures(train: list[Row], fold_logits: np.ndarray, fold_scores: np.ndarray, test: list[Row], scores: np.ndarray, thresholds: dict) -> dict:
    """Everything that goes into heads.json under `evaluation`."""
    harmless = truth(test, "prompt-injection") == 0
    neutral = of_source(train, "toxigen") & (truth(train, "toxicity") == 0)
    innocent = np.array([row.source == "openai" and len(row.labels) >= 6 and not any(row.labels.values()) for row in train])
    return {
        "openai_5_fold": out_of_fold(train, fold_logits),
        "held_out": held_out(test, scores, thresholds),
        "false_alarms": {
            "ordinary_test": false_alarms(scores[of_source(test, "ordinary/test")], thresholds),
            "slabs_and_neuralchemy_test": false_alarms(scores[of_source(test, "slabs", "neuralchemy") & harmless], thresholds),
            "composed_test": false_alarms(scores[of_source(test, "composed") & harmless], thresholds),
            "bastion_benign": false_alarms(scores[of_source(test, "bastion") & harmless], thresholds),
            "davidson_test_neither": false_alarms(scores[of_source(test, "davidson-test/2")], thresholds),
            "toxigen_neutral_5_fold": false_alarms(fold_scores[neutral], thresholds),
            "openai_unlabelled_5_fold": false_alarms(fold_scores[innocent], thresholds),
        },
    }


def main() -> None:
    options = arguments(__doc__).parse_args()
    rows = corpora.load(options.data, options.cache)
    encoder = Encoder(options.encoder, options.cache)
    train, test = (encoder.embed([row.text for row in part]) for part in (rows.train, rows.test))
    document = json.loads((WEIGHTS / "heads.json").read_text(encoding="utf-8"))
    logits = cross_validate(rows.train, train, Settings())
    slope, shift = (np.array(document["calibration"][name]) for name in ("slope", "shift"))
    fold_scores = 1 / (1 + np.exp(-(logits * slope + shift)))
    scores = score((WEIGHTS / "model.onnx").read_bytes(), test)
    print(json.dumps(figures(rows.train, logits, fold_scores, rows.test, scores, document["thresholds"]), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
