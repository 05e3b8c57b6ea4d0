"""Scores texts as the moderation service does: the encoder's graph over windows of tokens, the highest score of each category."""

import hashlib
import os
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

DIMENSIONS = 384
# Texts are cut here in training and for the figures out of fold. At 128, a sixth of OpenAI's release loses what it is labelled for.
MAX_TOKENS = 256
# The service's default windows, special tokens and the prefix included, and what neighbours share.
WINDOW, OVERLAP = 128, 32
# The E5 family is trained with this prefix on both sides of symmetric tasks.
PREFIX = "query: "
PAD = 1
SHARD = 512


def default_folder() -> Path:
    """Where the model store of this machine keeps the encoder."""
    home = os.environ.get("ATELIER_HOME")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(home) if home else caches / "atelier") / "models" / "moderation-encoder"


class Encoder:
    """Text to unit vectors of 384 numbers, one for each window."""

    def __init__(self, folder: Path, cache: Path | None = None):
        self.model = folder / "model.onnx"
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(self.model), options, providers=["CPUExecutionProvider"])
        self.frame = len(self.tokenizer.encode(PREFIX).ids) - 1
        self.cache = None
        self.known: dict[bytes, np.ndarray] = {}
        if cache:
            digest = hashlib.sha256(self.model.read_bytes()).hexdigest()[:16]
            self.cache = cache / f"embeddings-{digest}"
            self.cache.mkdir(parents=True, exist_ok=True)
            for shard in sorted(self.cache.glob("*.npz")):
                with np.load(shard) as stored:
                    self.known.update(zip((key.tobytes() for key in stored["keys"]), stored["values"]))

    def tokens(self, text: str) -> list[int]:
        return self.tokenizer.encode(PREFIX + text).ids

    def windows(self, text: str) -> list[list[int]]:
        """As `WindowShape` of the service cuts: as few windows as can be, of one length."""
        tokens = self.tokens(text)
        begin, content, end = tokens[: self.frame], tokens[self.frame : -1], tokens[-1:]
        width, total = WINDOW - self.frame - 1, len(content)
        gaps = max(0, -(-(total - width) // (width - OVERLAP)))
        length = -(-(total + gaps * OVERLAP) // (gaps + 1))
        starts = [number * (total - length) // max(1, gaps) for number in range(gaps + 1)]
        return [[*begin, *content[start : start + length], *end] for start in starts]

    def embed(self, texts: list[str], batch: int = 16) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings of all windows of all texts, and the text that each belongs to; what an earlier or an interrupted run has
        embedded is not embedded again."""
        windows = [(place, window) for place, text in enumerate(texts) for window in self.windows(text)]
        keys = [hashlib.sha256(np.array(window).tobytes()).digest() for _, window in windows]
        missing = {key: window for key, (_, window) in zip(keys, windows) if key not in self.known}
        order = sorted(missing, key=lambda key: len(missing[key]))
        started = time.monotonic()
        for start in range(0, len(order), SHARD):
            part = order[start : start + SHARD]
            vectors = np.concatenate([self.run([missing[key] for key in part[at : at + batch]]) for at in range(0, len(part), batch)])
            self.known.update(zip(part, vectors))
            self.keep(part, vectors)
            print(f"  embedded {start + len(part)} of {len(order)} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        return np.stack([self.known[key] for key in keys]), np.array([place for place, _ in windows])

    def run(self, rows: list[list[int]]) -> np.ndarray:
        """Embeds one batch of token ids, without the cache."""
        ids = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
        mask = np.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        return self.session.run(["sentence_embedding"], {"input_ids": ids, "attention_mask": mask})[0]

    def score(self, heads: bytes, texts: list[str]) -> np.ndarray:
        """Scores [texts, categories]: of each category the highest of the text's windows."""
        embeddings, places = self.embed(texts)
        session = onnxruntime.InferenceSession(heads, providers=["CPUExecutionProvider"])
        found = session.run(["scores"], {"embedding": embeddings})[0]
        scores = np.zeros((len(texts), found.shape[1]), np.float32)
        np.maximum.at(scores, places, found)
        return scores

    def keep(self, keys: list[bytes], vectors: np.ndarray) -> None:
        if self.cache is None:
            return
        name = hashlib.sha256(b"".join(keys)).hexdigest()[:16]
        partial = self.cache / f".{name}.npz"
        np.savez(partial, keys=np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32), values=vectors.astype(np.float32))
        partial.rename(self.cache / f"{name}.npz")
