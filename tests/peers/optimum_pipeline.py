#!/usr/bin/env python3
"""Times a Stable Diffusion pipeline in ONNX as Hugging Face optimum runs it: milliseconds for each picture, one a line.

usage: optimum_pipeline.py MODEL_DIR STEPS PICTURES THREADS

Needs optimum-onnx, diffusers, transformers and onnxruntime; `cargo xtask bench -- --only paint --peer PYTHON --peer-model MODEL_DIR` calls it.
The first picture warms up and is not counted."""
import sys
import time

import onnxruntime
from optimum.onnxruntime import ORTStableDiffusionPipeline


def main():
    model, steps, pictures, threads = sys.argv[1], *map(int, sys.argv[2:5])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    pipeline = ORTStableDiffusionPipeline.from_pretrained(model, session_options=options)
    pipeline.set_progress_bar_config(disable=True)
    for n in range(pictures + 1):
        started = time.perf_counter()
        pipeline("a red apple", num_inference_steps=steps, guidance_scale=7.5)
        if n:
            print((time.perf_counter() - started) * 1e3, flush=True)


if __name__ == "__main__":
    main()
