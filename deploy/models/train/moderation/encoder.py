"""Embeds texts with an encoder's graph and keeps what it has embedded."""

import hashlib
import os
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

DIMENSIONS = 384
# Texts are cut here, which is the length of the service's windows. At 128, a sixth of OpenAI's release loses what it is labelled for.
MAX_TOKENS = 256
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
    """Text to a unit vector of 384 numbers."""

    def __init__(self, folder: Path, cache: Path | None = None, max_tokens: int = MAX_TOKENS):
        self.model = folder / "model.onnx"
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(self.model), options, providers=["CPUExecutionProvider"])
        self.cache = None
        self.known: dict[bytes, np.ndarray] = {}
        if cache:
            digest = hashlib.sha256(self.model.read_bytes()).hexdigest()[:16]
            self.cache = cache / f"embeddings-{digest}-{max_tokens}"
            self.cache.mkdir(parents=True, exist_ok=True)
            for shard in sorted(self.cache.glob("*.npz")):
                with np.load(shard) as stored:
                    self.known.update(zip((key.tobytes() for key in stored["keys"]), stored["values"]))

    def tokens(self, text: str) -> list[int]:
        return self.tokenizer.encode(PREFIX + text).ids

    def embed(self, texts: list[str], batch: int = 16) -> np.ndarray:
        """Embeds `texts`; what an earlier or an interrupted run has embedded is not embedded again."""
        keys = [hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in texts]
        missing = {key: text for key, text in zip(keys, texts) if key not in self.known}
        order = sorted(missing, key=lambda key: len(missing[key]))
        started = time.monotonic()
        for start in range(0, len(order), SHARD):
            part = order[start : start + SHARD]
            vectors = np.concatenate([self.run([missing[key] for key in part[at : at + batch]]) for at in range(0, len(part), batch)])
            self.known.update(zip(part, vectors))
            self.keep(part, vectors)
            print(f"  embedded {start + len(part)} of {len(order)} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        return np.stack([self.known[key] for key in keys]) if keys else np.zeros((0, DIMENSIONS), np.float32)

    def run(self, texts: list[str]) -> np.ndarray:
        """Embeds one batch, without the cache."""
        rows = [self.tokens(text) for text in texts]
        ids = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
        mask = np.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        return self.session.run(["sentence_embedding"], {"input_ids": ids, "attention_mask": mask})[0]

    def keep(self, keys: list[bytes], vectors: np.ndarray) -> None:
        if self.cache is None:
            return
        name = hashlib.sha256(b"".join(keys)).hexdigest()[:16]
        partial = self.cache / f".{name}.npz"
        np.savez(partial, keys=np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32), values=vectors.astype(np.float32))
        partial.rename(self.cache / f"{name}.npz")
