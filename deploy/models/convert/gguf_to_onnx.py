#!/usr/bin/env python3
"""Turns a GGUF language model into a model folder: graph, weights, tokenizer, chat template, configuration.

usage: gguf_to_onnx.py MODEL.gguf FOLDER --mode i8|f32 [--layout slots|hub]

i8   weights as 8-bit blocks: small and fast, perplexity within 0.3% of the file's own
f32  the file's values multiplied out: no rounding in products, for tests that need exactness

slots  the cache in buffers that stay where they are: what the text service is fastest with
hub    the cache growing from past to present, for other libraries
"""

import argparse
import json
import os
from dataclasses import dataclass

import gguf
import numpy as np

import gguf_tokenizer
from decoder_graph import DecoderGraph, Dimensions
from quantise import Tensors

# Where a chat model's turn ends and where a text ends. Whichever the vocabulary has stops generation, besides the
# file's own end token.
END_TOKENS = ("<|im_end|>", "<|endoftext|>")


@dataclass(frozen=True)
class Architecture:
    """What sets one family of decoders apart from the graph they share. Families with biases on query, key and value
    (qwen2) or norms on each head (qwen3) need a field here and a step in `DecoderGraph._attention`."""

    # llama.cpp stores query and key rows so that rotary pairs are neighbours; the graph wants them half a head apart.
    interleaved_rotary_rows: bool


ARCHITECTURES = {"llama": Architecture(interleaved_rotary_rows=True)}


class GgufFile:
    """A GGUF file's metadata and tensors."""

    def __init__(self, path):
        self._reader = gguf.GGUFReader(path)
        self.name = self.value("general.architecture")
        if self.name not in ARCHITECTURES:
            raise SystemExit(f"architecture {self.name!r} is not supported: expected {', '.join(ARCHITECTURES)}")
        self.architecture = ARCHITECTURES[self.name]
        self.dimensions = self._dimensions()

    def value(self, key):
        field = self._reader.fields.get(key)
        return None if field is None else field.contents()

    def tensors(self):
        return Tensors(self._reader, self._row_order)

    def _dimensions(self):
        def parameter(key, default=None):
            found = self.value(f"{self.name}.{key}")
            if found is None and default is None:
                raise SystemExit(f"the file lacks {self.name}.{key}")
            return default if found is None else found

        heads, hidden_size = parameter("attention.head_count"), parameter("embedding_length")
        return Dimensions(
            layers=parameter("block_count"),
            hidden_size=hidden_size,
            heads=heads,
            kv_heads=parameter("attention.head_count_kv", heads),
            head_size=parameter("attention.key_length", hidden_size // heads),
            feed_forward_size=parameter("feed_forward_length"),
            context_length=parameter("context_length"),
            rope_base=parameter("rope.freq_base", 10000.0),
            norm_epsilon=parameter("attention.layer_norm_rms_epsilon"),
        )

    def _row_order(self, tensor):
        part = tensor.split(".")[-2]
        heads = {"attn_q": self.dimensions.heads, "attn_k": self.dimensions.kv_heads}.get(part)
        if heads is None or not self.architecture.interleaved_rotary_rows:
            return None
        half = self.dimensions.head_size // 2
        return np.arange(heads * half * 2).reshape(heads, half, 2).swapaxes(1, 2).reshape(-1)


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def write_configuration(source, folder, vocabulary_size, sampling):
    """config.json, generation_config.json (with these sampling defaults) and chat_template.jinja, in the hub's form."""
    size = source.dimensions
    write_json(
        folder,
        "config.json",
        {
            "model_type": source.name,
            "vocab_size": vocabulary_size,
            "max_position_embeddings": size.context_length,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.kv_heads,
            "head_dim": size.head_size,
            "hidden_size": size.hidden_size,
            "intermediate_size": size.feed_forward_size,
            "rms_norm_eps": size.norm_epsilon,
            "rope_theta": size.rope_base,
        },
    )
    tokens = source.value("tokenizer.ggml.tokens")
    end_tokens = [source.value("tokenizer.ggml.eos_token_id")]
    end_tokens += [tokens.index(token) for token in END_TOKENS if token in tokens]
    write_json(
        folder,
        "generation_config.json",
        {
            "bos_token_id": source.value("tokenizer.ggml.bos_token_id"),
            "eos_token_id": list(dict.fromkeys(end_tokens)),
            "pad_token_id": source.value("tokenizer.ggml.padding_token_id"),
            **sampling,
        },
    )
    template = source.value("tokenizer.chat_template")
    if template is not None:
        with open(os.path.join(folder, "chat_template.jinja"), "w", encoding="utf-8") as file:
            file.write(template)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("folder")
    parser.add_argument("--mode", choices=["i8", "f32"], required=True)
    parser.add_argument("--layout", choices=["slots", "hub"], default="slots")
    parser.add_argument(
        "--sampling",
        nargs="*",
        default=[],
        metavar="KEY=NUMBER",
        help="how the model writes unless a call says otherwise; a GGUF file does not know",
    )
    arguments = parser.parse_args()

    source = GgufFile(arguments.source)
    size = source.dimensions
    tensors = source.tensors()
    decoder = DecoderGraph(
        source.value("general.name"),
        size,
        tensors,
        quantised=arguments.mode == "i8",
        hub=arguments.layout == "hub",
    )
    decoder.build()
    if tensors.unused():
        raise SystemExit(f"tensors without a place in the graph: {', '.join(tensors.unused())}")
    decoder.save(
        arguments.folder,
        {
            "architecture": source.name,
            "layers": size.layers,
            "heads": size.heads,
            "kv_heads": size.kv_heads,
            "head_dim": size.head_size,
            "vocab": decoder.vocabulary_size,
            "ctx": size.context_length,
        },
    )
    gguf_tokenizer.build(source.value).save(os.path.join(arguments.folder, "tokenizer.json"), pretty=False)
    sampling = {key: float(number) for key, number in (pair.split("=") for pair in arguments.sampling)}
    write_configuration(source, arguments.folder, decoder.vocabulary_size, sampling)


if __name__ == "__main__":
    main()
