"""Embeds the captions with the frozen text encoder: WORK/text.npz.

The hidden states of all captions lie one after the other; `starts` says where each begins, and what every dimension is
on average stands beside them. Run it after prepare.py.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from flow import MAX_TOKENS, TEXT_WIDTH
from onnx_files import session

PREFIX = "query: "
PADDING = 1
BATCH = 64


def models_folder() -> Path:
    """The model store of this machine."""
    home = os.environ.get("ATELIER_HOME")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(home) if home else caches / "atelier") / "models"


def default_folder() -> Path:
    """Where it keeps the encoder."""
    return models_folder() / "multilingual-e5-small"


class TextEncoder:
    """multilingual-e5-small: texts to the hidden states of their tokens."""

    def __init__(self, folder: Path):
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.session = session(folder / "model.onnx")

    def tokens(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.tokenizer.encode_batch([PREFIX + text for text in texts])]

    def states(self, tokens: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Hidden states [batch, seq, 384] and their mask [batch, seq]."""
        longest = max(map(len, tokens))
        ids = np.full((len(tokens), longest), PADDING, np.int64)
        mask = np.zeros((len(tokens), longest), np.int64)
        for row, one in enumerate(tokens):
            ids[row, : len(one)], mask[row, : len(one)] = one, 1
        return self.session.run(["last_hidden_state"], {"input_ids": ids, "attention_mask": mask})[0], mask

    def embed(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return self.states(self.tokens(texts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, default=default_folder(), help="model folder of multilingual-e5-small")
    options = parser.parse_args()
    captions = json.loads((options.work / "captions.json").read_text())
    encoder = TextEncoder(options.encoder)
    tokens = encoder.tokens(captions)
    lengths = np.array([len(one) for one in tokens])
    starts = np.concatenate([[0], lengths.cumsum()])
    states = np.empty((starts[-1], TEXT_WIDTH), np.float16)
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        made, _ = encoder.states([tokens[row] for row in rows])
        for row, one in zip(rows, made):
            states[starts[row] : starts[row + 1]] = one[: lengths[row]]
        if start % (32 * BATCH) == 0:
            print(f"{start} of {len(order)} captions", flush=True)
    whole = states.astype(np.float32)
    np.savez(options.work / "text.npz", states=states, starts=starts, mean=whole.mean(0), deviation=whole.std(0))
    print(f"{len(captions)} captions, {len(states)} tokens")


if __name__ == "__main__":
    main()
