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

import gguf_tokenizer
from decoder_graph import DecoderGraph
from gguf_file import GgufFile, Refused

# Where a chat model's turn ends and where a text ends. Whichever the vocabulary has stops generation, besides the
# file's own end tokens.
END_TOKENS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>")


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def write_configuration(source, folder, vocabulary_size, sampling):
    """config.json, generation_config.json (with these sampling defaults), tokenizer_config.json and chat_template.jinja,
    in the hub's form."""
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
    named = {name: source.value(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "eot", "padding")}
    end_tokens = [named[name] for name in ("eos", "eot") if named[name] is not None]
    end_tokens += [tokens.index(token) for token in END_TOKENS if token in tokens]
    write_json(
        folder,
        "generation_config.json",
        {
            "bos_token_id": named["bos"],
            "eos_token_id": list(dict.fromkeys(end_tokens)),
            "pad_token_id": named["padding"],
            **sampling,
        },
    )
    # Chat templates write these two by name.
    spelled = {f"{name}_token": tokens[named[name]] for name in ("bos", "eos") if named[name] is not None}
    write_json(folder, "tokenizer_config.json", spelled)
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

    try:
        convert(arguments)
    except Refused as refusal:
        raise SystemExit(str(refusal)) from None


def convert(arguments):
    source = GgufFile(arguments.source)
    size = source.dimensions
    tensors = source.tensors()
    decoder = DecoderGraph(
        source.value("general.name") or source.name,
        size,
        tensors,
        quantised=arguments.mode == "i8",
        hub=arguments.layout == "hub",
    )
    decoder.build()
    if tensors.unused():
        raise Refused(f"tensors without a place in the graph: {', '.join(tensors.unused())}")
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
