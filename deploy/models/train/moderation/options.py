"""The options that all of these scripts share."""

import argparse
from pathlib import Path

from encoder import default_folder


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data sets, see README.md")
    parser.add_argument("--encoder", type=Path, default=default_folder(), help="model folder of moderation-encoder")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "atelier" / "train-moderation", help="embeddings and downloads")
    return parser
