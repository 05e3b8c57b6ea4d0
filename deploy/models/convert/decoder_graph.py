"""The ONNX graph of a decoder: grouped-query attention over a key-value cache that the caller owns.

In the layout `slots`, inputs: `input_ids` [batch, seq]; `seqlens_k` [batch], the tokens valid in a row after this call, minus one;
`total_sequence_length`, the largest of them plus one; `query_seqlens` [batch], the new tokens of each row, so that one
call can mix decode rows, prefill chunks and idle rows; `logits_index` [n], which positions of the flattened
[batch * seq] get logits; `past_key_values.N.{key,value}` [batch, kv_heads, max, head_size].
Outputs: `logits` [n, vocabulary]; `present.N.{key,value}`, to be bound to the buffers of the past.

In the layout `hub`, that of exports for Hugging Face's libraries, inputs: `input_ids` [batch, seq]; `attention_mask`
[batch, past + seq]; `past_key_values.N.{key,value}` [batch, kv_heads, past, head_size]. Outputs: `logits` [batch, seq,
vocabulary]; `present.N.{key,value}` [batch, kv_heads, past + seq, head_size].
"""

from dataclasses import dataclass

import numpy as np

from onnx_graph import CONTRIB, Graph, TensorProto
from quantise import BLOCK_SIZE, ZERO_POINT, Int8Blocks

# MatMulNBits: 4 multiplies in 8-bit integers, which is the fastest on a CPU.
ACCURACY_LEVEL = 4


@dataclass(frozen=True)
class Dimensions:
    """Sizes of a decoder, in the field's words."""

    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward_size: int
    context_length: int
    rope_base: float
    norm_epsilon: float


class DecoderGraph:
    """Writes one decoder; `quantised` chooses 8-bit weights over float32, `hub` the hub's layout over that of slots."""

    def __init__(self, name, dimensions, tensors, quantised, hub=False):
        self.dimensions = dimensions
        self._graph = Graph(name)
        self._tensors = tensors
        self._quantised = quantised
        self._hub = hub
        self.vocabulary_size, _ = tensors.shape("token_embd.weight")

    def save(self, folder, metadata):
        self._graph.save(folder, metadata)

    def build(self):
        size = self.dimensions
        graph = self._graph
        self._inputs()
        self._rotary_caches()
        residual, branch = self._embedding(), None
        for layer in range(size.layers):
            residual, branch = self._layer(layer, residual, branch)
        hidden, _ = self._norm(residual, branch, "output_norm", "output_norm.weight")
        if self._hub:
            self._head(hidden)
            return
        flat = graph.node(
            "Reshape", [hidden, graph.constant("flat_shape", [-1, size.hidden_size], np.int64)], "hidden_flat"
        )
        wanted = graph.node("Gather", [flat, "logits_index"], "hidden_wanted", axis=0)
        self._head(wanted)

    def _inputs(self):
        size, graph = self.dimensions, self._graph
        graph.input("input_ids", TensorProto.INT64, ["batch", "seq"])
        if self._hub:
            graph.input("attention_mask", TensorProto.INT64, ["batch", "total"])
            graph.output("logits", TensorProto.FLOAT, ["batch", "seq", self.vocabulary_size])
            self._lengths()
        else:
            graph.input("seqlens_k", TensorProto.INT32, ["batch"])
            graph.input("total_sequence_length", TensorProto.INT32, [])
            graph.input("logits_index", TensorProto.INT64, ["n_logits"])
            graph.input("query_seqlens", TensorProto.INT32, ["batch"])
            graph.output("logits", TensorProto.FLOAT, ["n_logits", self.vocabulary_size])
        for layer in range(size.layers):
            for part in ("key", "value"):
                cache = ["batch", size.kv_heads, "past", size.head_size]
                graph.input(f"past_key_values.{layer}.{part}", TensorProto.FLOAT, cache)
                present = ["batch", size.kv_heads, "total" if self._hub else "present", size.head_size]
                graph.output(f"present.{layer}.{part}", TensorProto.FLOAT, present)

    def _lengths(self):
        """What attention wants to know of lengths, out of the mask."""
        graph = self._graph
        valid = graph.node(
            "ReduceSum", ["attention_mask", graph.constant("mask_axis", [1], np.int64)], "valid_tokens", keepdims=0
        )
        last = graph.node("Sub", [valid, graph.constant("one", 1, np.int64)], "last_token")
        graph.node("Cast", [last], "seqlens_k", to=TensorProto.INT32)
        shape = graph.node("Shape", ["attention_mask"], "mask_shape")
        total = graph.node("Gather", [shape, graph.constant("one", 1, np.int64)], "mask_length", axis=0)
        graph.node("Cast", [total], "total_sequence_length", to=TensorProto.INT32)

    def _rotary_caches(self):
        size = self.dimensions
        frequencies = 1.0 / size.rope_base ** (np.arange(0, size.head_size, 2) / size.head_size)
        if "rope_freqs.weight" in self._tensors:
            # How much slower each pair turns in models whose context was stretched (Llama 3.1 and later).
            frequencies = frequencies / self._tensors.float32("rope_freqs.weight")
        angles = np.outer(np.arange(size.context_length), frequencies)
        self._graph.constant("cos_cache", np.cos(angles), np.float32)
        self._graph.constant("sin_cache", np.sin(angles), np.float32)

    def _embedding(self):
        graph = self._graph
        if not self._quantised:
            table = graph.constant("embedding.weight", self._tensors.float32("token_embd.weight"))
            return graph.node("Gather", [table, "input_ids"], "embedded")
        # Rows are picked in 8 bits and multiplied out after: the table is shared with the head and never grows.
        blocks = self._tensors.int8("token_embd.weight")
        stored = graph.node("Gather", [graph.constant("embedding.stored", blocks.stored), "input_ids"], "embedding.row")
        scales = graph.node(
            "Gather", [graph.constant("embedding.scales", blocks.scales), "input_ids"], "embedding.row_scales"
        )
        values = graph.node("Cast", [stored], "embedding.row_float", to=TensorProto.FLOAT)
        zero_point = graph.constant("embedding.zero_point", ZERO_POINT, np.float32)
        centred = graph.node("Sub", [values, zero_point], "embedding.centred")
        last_axis = graph.constant("last_axis", [-1], np.int64)
        scales = graph.node("Unsqueeze", [scales, last_axis], "embedding.block_scales")
        scaled = graph.node("Mul", [centred, scales], "embedding.scaled")
        shape = graph.constant("embedding.shape", [0, 0, self.dimensions.hidden_size], np.int64)
        return graph.node("Reshape", [scaled, shape], "embedded")

    def _layer(self, layer, residual, branch):
        """One block; returns the residual stream and the branch that the next norm adds to it."""
        source, name = f"blk.{layer}", f"layer{layer}"
        hidden, residual = self._norm(residual, branch, f"{name}.attention_norm", f"{source}.attn_norm.weight")
        attention = self._attention(layer, hidden)
        branch = self._linear(attention, [f"{source}.attn_output.weight"], f"{name}.attention_output")
        hidden, residual = self._norm(residual, branch, f"{name}.feed_forward_norm", f"{source}.ffn_norm.weight")
        return residual, self._feed_forward(layer, hidden)

    def _norm(self, residual, branch, name, weight):
        """RMS norm of residual + branch; returns it and the sum."""
        graph, epsilon = self._graph, self.dimensions.norm_epsilon
        scale = graph.constant(f"{name}.weight", self._tensors.float32(weight))
        if branch is None:
            normed = graph.node(
                "SimplifiedLayerNormalization", [residual, scale], name, axis=-1, epsilon=epsilon, stash_type=1
            )
            return normed, residual
        total = f"{name}.residual"
        graph.node(
            "SkipSimplifiedLayerNormalization",
            [residual, branch, scale],
            name,
            domain=CONTRIB,
            extra_outputs=["", "", total],
            epsilon=epsilon,
        )
        return name, total

    def _attention(self, layer, hidden):
        size, source, name = self.dimensions, f"blk.{layer}", f"layer{layer}"
        packed = self._linear(hidden, [f"{source}.attn_{part}.weight" for part in "qkv"], f"{name}.qkv")
        if f"{source}.attn_q.bias" in self._tensors:
            biases = np.concatenate([self._tensors.float32(f"{source}.attn_{part}.bias") for part in "qkv"])
            bias = self._graph.constant(f"{name}.qkv_bias", biases)
            packed = self._graph.node("Add", [packed, bias], f"{name}.qkv_biased")
        # Query, key and value may come packed in one input.
        heads = [packed, "", ""]
        if f"{source}.attn_q_norm.weight" in self._tensors:
            heads = self._normed_heads(packed, source, name)
        past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
        present = [f"present.{layer}.{part}" for part in ("key", "value")]
        # Inputs 9 to 15 (position ids, bias, sinks, scales) are unused.
        inputs = [*heads, *past, "seqlens_k", "total_sequence_length", "cos_cache", "sin_cache"]
        if not self._hub:
            inputs += [""] * 7 + ["query_seqlens"]
        return self._graph.node(
            "GroupQueryAttention",
            inputs,
            f"{name}.attention",
            domain=CONTRIB,
            extra_outputs=present,
            num_heads=size.heads,
            kv_num_heads=size.kv_heads,
            do_rotary=1,
            rotary_interleaved=0,
            scale=float(size.head_size**-0.5),
        )

    def _normed_heads(self, packed, source, name):
        """Query, key and value, the first two with an RMS norm over each head."""
        size, graph = self.dimensions, self._graph
        widths = [heads * size.head_size for heads in (size.heads, size.kv_heads, size.kv_heads)]
        split = graph.constant("qkv_split", widths, np.int64)
        parts = [f"{name}.{part}" for part in ("query", "key", "value")]
        graph.node("Split", [packed, split], parts[0], extra_outputs=parts[1:], axis=-1)
        by_head = graph.constant("by_head", [0, 0, -1, size.head_size], np.int64)
        joined = graph.constant("joined_heads", [0, 0, -1], np.int64)
        for index, letter in enumerate("qk"):
            part = parts[index]
            apart = graph.node("Reshape", [part, by_head], f"{part}.by_head")
            normed, _ = self._norm(apart, None, f"{part}.norm", f"{source}.attn_{letter}_norm.weight")
            parts[index] = graph.node("Reshape", [normed, joined], f"{part}.normed")
        return parts

    def _feed_forward(self, layer, hidden):
        """down(silu(gate(x)) * up(x)), gate and up as one product."""
        graph, source, name = self._graph, f"blk.{layer}", f"layer{layer}"
        both = self._linear(hidden, [f"{source}.ffn_gate.weight", f"{source}.ffn_up.weight"], f"{name}.gate_up")
        halves = graph.constant("gate_up_split", [self.dimensions.feed_forward_size] * 2, np.int64)
        up = f"{name}.up"
        gate = graph.node("Split", [both, halves], f"{name}.gate", extra_outputs=[up], axis=-1)
        # With alpha = 1, QuickGelu is x * sigmoid(x), that is SiLU in one node.
        activated = graph.node("QuickGelu", [gate], f"{name}.silu", domain=CONTRIB, alpha=1.0)
        product = graph.node("Mul", [activated, up], f"{name}.activated")
        return self._linear(product, [f"{source}.ffn_down.weight"], f"{name}.down")

    def _head(self, hidden):
        graph, tied = self._graph, "output.weight" not in self._tensors
        if not tied:
            self._linear(hidden, ["output.weight"], "logits")
        elif self._quantised:
            self._product(hidden, "embedding", self.vocabulary_size, self.dimensions.hidden_size, "logits")
        else:
            table = graph.node("Transpose", ["embedding.weight"], "head.weight", perm=[1, 0])
            graph.node("MatMul", [hidden, table], "logits")

    def _linear(self, hidden, weights, name):
        """hidden times the transpose of the given matrices, stacked into one product."""
        graph = self._graph
        if not self._quantised:
            matrix = np.concatenate([self._tensors.float32(weight) for weight in weights]).T
            return graph.node("MatMul", [hidden, graph.constant(f"{name}.weight", matrix)], name)
        blocks = Int8Blocks.joined([self._tensors.int8(weight) for weight in weights])
        graph.constant(f"{name}.stored", blocks.stored)
        graph.constant(f"{name}.scales", blocks.scales)
        _, columns = self._tensors.shape(weights[0])
        return self._product(hidden, name, len(blocks.stored), columns, name)

    def _product(self, hidden, constants, rows, columns, output):
        return self._graph.node(
            "MatMulNBits",
            [hidden, f"{constants}.stored", f"{constants}.scales"],
            output,
            domain=CONTRIB,
            K=columns,
            N=rows,
            bits=8,
            block_size=BLOCK_SIZE,
            accuracy_level=ACCURACY_LEVEL,
        )
