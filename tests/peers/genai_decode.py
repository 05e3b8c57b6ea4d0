#!/usr/bin/env python3
"""Times greedy decoding as onnxruntime-genai does it: tokens per second after the first token.

usage: genai_decode.py MODEL_DIR TOKENS THREADS PROMPT_ID...

MODEL_DIR is a folder in the hub's layout, with `config.json` and `model.onnx`. Needs onnxruntime-genai and numpy; prints nothing
where it is missing. `cargo xtask bench -- --only decode --peer PYTHON` calls it. The first answer warms up and is not counted."""
import json
import os
import sys
import tempfile
import time
from pathlib import Path

try:
    import onnxruntime_genai
except ModuleNotFoundError:
    sys.exit()


def genai_config(config, threads):
    """What onnxruntime-genai asks of a folder beside the graph."""
    heads = config["num_attention_heads"]
    names = {"input_ids": "input_ids", "attention_mask": "attention_mask", "position_ids": "position_ids"}
    past = {f"past_{part}_names": f"past_key_values.%d.{word}" for part, word in (("key", "key"), ("value", "value"))}
    present = {f"present_{part}_names": f"present.%d.{word}" for part, word in (("key", "key"), ("value", "value"))}
    decoder = {
        "session_options": {"intra_op_num_threads": threads, "provider_options": []},
        "filename": "model.onnx",
        "head_size": config.get("head_dim") or config["hidden_size"] // heads,
        "hidden_size": config["hidden_size"],
        "inputs": names | past,
        "outputs": {"logits": "logits"} | present,
        "num_attention_heads": heads,
        "num_hidden_layers": config["num_hidden_layers"],
        "num_key_value_heads": config["num_key_value_heads"],
    }
    return {
        "model": {
            "type": "llama",
            "context_length": 2048,
            "vocab_size": config["vocab_size"],
            # None that the model writes: every answer is to have the same length.
            "eos_token_id": config["vocab_size"] - 1,
            "pad_token_id": 0,
            "bos_token_id": 0,
            "decoder": decoder,
        },
        "search": {"past_present_share_buffer": False},
    }


def main():
    source, tokens, threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    prompt = [int(token) for token in sys.argv[4:]]
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        for file in source.iterdir():
            os.symlink(file.resolve(), Path(folder) / file.name)
        text = json.dumps(genai_config(config, threads))
        (Path(folder) / "genai_config.json").write_text(text, encoding="utf-8")
        model = onnxruntime_genai.Model(folder)
        for turn in range(2):
            parameters = onnxruntime_genai.GeneratorParams(model)
            parameters.set_search_options(do_sample=False, max_length=len(prompt) + tokens)
            generator = onnxruntime_genai.Generator(model, parameters)
            generator.append_tokens(prompt)
            generator.generate_next_token()
            started, written = time.perf_counter(), 0
            while not generator.is_done():
                generator.generate_next_token()
                written += 1
            if turn:
                print(written / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
