"""Embeds the corpora ahead of training, data set by data set. May be interrupted and run again."""

import argparse
import sys
from pathlib import Path

import corpora
from encoder import Encoder, default_folder


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that all of these scripts share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data sets, see README.md")
    parser.add_argument("--encoder", type=Path, default=default_folder(), help="model folder of multilingual-e5-small")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "atelier" / "train-moderation", help="embeddings and downloads")
    return parser


def main() -> None:
    options = arguments(__doc__).parse_args()
    rows = corpora.load(options.data, options.cache)
    encoder = Encoder(options.encoder, options.cache)
    by_source: dict[str, list[str]] = {}
    for row in rows.train + rows.test:
        by_source.setdefault(row.source, []).append(row.text)
    # Half of every data set comes first, so that an early look sees all of them.
    for half in (0, 1):
        for source, texts in by_source.items():
            print(source, len(texts), file=sys.stderr)
            encoder.embed(texts[half::2])


if __name__ == "__main__":
    main()
