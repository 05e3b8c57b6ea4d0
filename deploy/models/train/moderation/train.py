"""Trains the text moderation heads and writes them to deploy/models/weights/text-moderation-heads."""

import hashlib
import json

import numpy as np
import onnx

import corpora
from corpora import CATEGORIES
from embed import arguments
from encoder import MAX_TOKENS, PREFIX, Encoder
from evaluate import WEIGHTS, figures, score
from heads import Settings, fit, to_onnx
from labels import targets
from training import SEED, calibrate, cross_validate


def main() -> None:
    options = arguments(__doc__).parse_args()
    settings = Settings()
    rows = corpora.load(options.data, options.cache)
    encoder = Encoder(options.encoder, options.cache)
    train, test = (encoder.embed([row.text for row in part]) for part in (rows.train, rows.test))

    logits = cross_validate(rows.train, train, settings)
    slope, shift, thresholds = calibrate(rows.train, logits)
    labels, weights = targets(rows.train)
    heads = fit(train, labels, weights, settings, SEED).calibrated(slope, shift)
    model = to_onnx(heads)
    check(model, heads, test)

    fold_scores = 1 / (1 + np.exp(-(logits * slope + shift)))
    evaluation = figures(rows.train, logits, fold_scores, rows.test, score(model.SerializeToString(), test), thresholds)
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    onnx.save(model, WEIGHTS / "model.onnx")
    document = {
        "encoder": "multilingual-e5-small",
        "embedding_revision": {
            "note": "trained on embeddings of the 4-bit encoder expanded to f32; an equivalent graph moves scores by less than 0.01",
            "model_sha256": hashlib.sha256(encoder.model.read_bytes()).hexdigest(),
            "prefix": PREFIX,
            "max_tokens": MAX_TOKENS,
        },
        "categories": list(CATEGORIES),
        "thresholds": thresholds,
        "calibration": {"slope": slope.round(6).tolist(), "shift": shift.round(6).tolist()},
        "evaluation": evaluation,
    }
    (WEIGHTS / "heads.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({"thresholds": thresholds, **evaluation}, indent=1, ensure_ascii=False))


def check(model: onnx.ModelProto, heads, embeddings: np.ndarray) -> None:
    """The exported graph must agree with the heads it was made from."""
    expected = 1 / (1 + np.exp(-heads.logits(embeddings)))
    difference = float(np.abs(score(model.SerializeToString(), embeddings) - expected).max())
    if difference > 1e-4:
        raise AssertionError(f"the exported graph is off by {difference}")


if __name__ == "__main__":
    main()
