"""Writes hub/: tiny decoders with random weights in the layout of the hub, and what the libraries they come from write.

Each folder is as its exporter leaves it:

    llama             Optimum, float32
    qwen2-f16         Optimum, float16 weights, cache and logits
    gpt2-merged       Optimum's merged decoder (`use_cache_branch`), float32
    llama-pair        Optimum 1 with `--legacy --no-post-process`, float32: a graph for the first run of a sequence
                      and one for those after it
    llama-pair-one    the same as Optimum before 1.14 wrote it, external data: the second graph takes one token a row, and
                      neither takes positions
    qwen3-genai       onnxruntime-genai, float32, external data
    qwen3-genai-int4  onnxruntime-genai, 4-bit weights, external data
    phi3              Optimum, float32
    phi3-genai        onnxruntime-genai, float32, external data
    gemma             Optimum, float32; heads wider than a share of the hidden size
    gemma-genai       onnxruntime-genai, float32, external data

greedy.json has, for each, prompts and the tokens that follow them, and a message whose answer ends with the model's end
token: by transformers' own greedy `generate`, for 4-bit weights by onnxruntime-genai. Prompts are taken by chance. One
is passed over where the second-best token comes so close to the best that the order of a sum could decide, or that leads
into a loop.

Usage: python hub.py FOLDER, with torch, transformers<5, optimum-onnx and onnxruntime-genai<0.12 from PyPI.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import onnx
import onnxruntime_genai
import torch
from onnxruntime_genai.models.builder import create_model
from optimum.exporters.onnx import export, main_export
from optimum.exporters.onnx.config import TextDecoderOnnxConfig
from optimum.exporters.onnx.model_configs import GPT2OnnxConfig, LlamaOnnxConfig
from optimum.onnx import merge_decoders
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)

from tiny import END, NEW_TOKENS, SIZES, START, VOCABULARY, both, by_transformers, record, tokenizer

CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    # Its weights are kept twice.
    "small-llama": LlamaConfig(
        **(SIZES | dict(hidden_size=16, intermediate_size=24, num_attention_heads=2, num_key_value_heads=1))
    ),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(head_dim=16, **SIZES),
    # GroupQueryAttention, which onnxruntime-genai writes, takes heads of a multiple of 16.
    "phi3": Phi3Config(
        original_max_position_embeddings=256,
        pad_token_id=START,
        **(SIZES | dict(num_attention_heads=2, num_key_value_heads=1)),
    ),
    "gemma": GemmaConfig(head_dim=16, pad_token_id=START, **(SIZES | dict(tie_word_embeddings=True))),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=256,
        initializer_range=0.4,
        tie_word_embeddings=False,
        bos_token_id=END,
        eos_token_id=END,
    ),
}

# Of models that end an answer themselves now and then.
SEEDS = {"small-llama": 1, "phi3": 5, "gemma": 29}


def make(name, folder):
    torch.manual_seed(SEEDS.get(name, 20240607))
    model = AutoModelForCausalLM.from_config(CONFIGS[name]).eval()
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return model


class OneTokenOnnxConfig(LlamaOnnxConfig):
    """Traced with one token after a past, with the axes of optimum/exporters/onnx/config.py in Optimum 1.13."""

    @property
    def inputs(self):
        inputs = TextDecoderOnnxConfig.inputs.fget(self)
        if self.use_past_in_inputs:
            inputs["input_ids"] = {0: "batch_size"}
            inputs["attention_mask"] = {0: "batch_size", 1: "past_sequence_length + 1"}
        return inputs

    def overwrite_shape_and_generate_input(self, generator, name, framework, input_shapes):
        made = super().overwrite_shape_and_generate_input(generator, name, framework, input_shapes)
        return made[:, :1] if self.use_past_in_inputs and name == "input_ids" else made


def export_pair(config, model, source, folder):
    """As Optimum writes decoders in two graphs: one without a past, one with a past.

    Names are those of optimum/onnxruntime/constants.py, axes those of optimum/exporters/onnx/config.py.
    """
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    graphs = folder / "decoder_model.onnx", folder / "decoder_with_past_model.onnx"
    for path, past in zip(graphs, (False, True)):
        made = config(model.config, task="text-generation", use_past=True, use_past_in_inputs=past)
        export(model, made, path, opset=18)
    return graphs


def move_weights(path):
    """Out of a graph into a file beside it, as Optimum does with weights above 2 GB."""
    data = dict(location=f"{path.name}_data", all_tensors_to_one_file=True, size_threshold=100, convert_attribute=True)
    onnx.save(onnx.load(path), path, save_as_external_data=True, **data)


def export_merged(model, source, folder):
    """As Optimum writes decoders of two branches, which are such a pair of graphs."""
    graphs = export_pair(GPT2OnnxConfig, model, source, folder)
    merge_decoders(*graphs, save_path=folder / "decoder_model_merged.onnx", strict=False)
    for path in graphs:
        path.unlink()


def by_genai(folder):
    model = onnxruntime_genai.Model(str(folder))

    def write(prompt):
        parameters = onnxruntime_genai.GeneratorParams(model)
        parameters.set_search_options(do_sample=False, max_length=len(prompt) + NEW_TOKENS)
        generator = onnxruntime_genai.Generator(model, parameters)
        generator.append_tokens(prompt)
        margin = float("inf")
        while not generator.is_done():
            best = torch.tensor(generator.get_logits()).flatten().topk(2).values
            margin = min(margin, (best[0] - best[1]).item())
            generator.generate_next_token()
        tokens = [int(token) for token in generator.get_sequence(0)[len(prompt) :]]
        # It leaves the end token out.
        return tokens + [END] * (len(tokens) < NEW_TOKENS), margin

    return write


def main():
    # Models this small are slowed down by more threads.
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    golden = {}
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        sources = {name: make(name, work / name) for name in CONFIGS}
        with_past = dict(task="text-generation-with-past", do_validation=False)

        main_export(str(work / "llama"), str(target / "llama"), **with_past)
        golden["llama"] = both(by_transformers(sources["llama"]), 0.01)

        main_export(str(work / "qwen2"), str(target / "qwen2-f16"), dtype="fp16", **with_past)
        # The same weights, computed in float32: what 16 bits lose in sums stays below the margin.
        golden["qwen2-f16"] = both(by_transformers(sources["qwen2"].half().float()), 0.03)

        export_merged(sources["gpt2"], work / "gpt2", target / "gpt2-merged")
        golden["gpt2-merged"] = both(by_transformers(sources["gpt2"]), 0.01)

        small = sources["small-llama"], work / "small-llama"
        export_pair(LlamaOnnxConfig, *small, target / "llama-pair")
        for path in export_pair(OneTokenOnnxConfig, *small, target / "llama-pair-one"):
            move_weights(path)
        golden["llama-pair"] = golden["llama-pair-one"] = both(by_transformers(sources["small-llama"]), 0.01)

        for name, precision in (("qwen3-genai", "fp32"), ("qwen3-genai-int4", "int4")):
            create_model("", str(work / "qwen3"), str(target / name), precision, "cpu", str(work / "cache"))
        for name in ("phi3", "gemma"):
            main_export(str(work / name), str(target / name), **with_past)
            create_model("", str(work / name), str(target / f"{name}-genai"), "fp32", "cpu", str(work / "cache"))
            golden[name] = golden[f"{name}-genai"] = both(by_transformers(sources[name]), 0.01)

        golden["qwen3-genai"] = both(by_transformers(sources["qwen3"]), 0.01)
        golden["qwen3-genai-int4"] = both(by_genai(target / "qwen3-genai-int4"), 0.03)

    record(target, golden)


if __name__ == "__main__":
    main()
