"""Writes a trained network into the tree, once or several times over itself.

Two passes of the network for 2 make one for 4.
"""

import argparse
import json
from pathlib import Path

import torch

from network import Upscaler, save

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where train.py has written")
    parser.add_argument("--factor", type=int, required=True, help="that the network was trained for")
    parser.add_argument("--passes", type=int, default=1)
    options = parser.parse_args()

    network = Upscaler(options.factor)
    state = torch.load(options.work / f"x{options.factor}.pt", weights_only=True)
    network.load_state_dict(state["mean"])
    factor = options.factor**options.passes
    folder = WEIGHTS / f"emoji-upscale-x{factor}"
    save(network, folder, folder.name, options.passes)
    (folder / "config.json").write_text(json.dumps({"kind": "upscaler", "factor": factor}) + "\n")
    print(f"{folder.name}: {state['step']} steps, {(folder / 'model.onnx').stat().st_size} bytes")


if __name__ == "__main__":
    main()
