#!/usr/bin/env python3
"""Tests of what makes model folders of GGUF files. usage: test_gguf.py   (in the private environment)

The files are made by gguf_models.py and sentencepiece_model.py in tests/golden/text, the folders too; that these write
what transformers writes, tests of the text service show.
"""

import json
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import gguf
import numpy as np
import onnx

import gguf_to_onnx
import gguf_tokenizer
from gguf_file import GgufFile, Refused
from quantise import ZERO_POINT

GOLDEN = Path(__file__).resolve().parents[3] / "tests/golden/text"
FOLDERS = {
    "gguf-llama": ("llama", "slots"),
    "gguf-llama-spm": ("llama-spm", "hub"),
    "gguf-qwen2": ("qwen2", "slots"),
    "gguf-qwen2-hub": ("qwen2", "hub"),
    "gguf-qwen3": ("qwen3", "slots"),
    "gguf-qwen3-hub": ("qwen3", "hub"),
}


def source(name):
    return GOLDEN / f"gguf/{name}.gguf"


def convert(path, folder, mode, layout="slots"):
    arguments = ["gguf_to_onnx.py", str(path), str(folder), "--mode", mode, "--layout", layout]
    with mock.patch("sys.argv", arguments):
        gguf_to_onnx.main()


def rewrite(path, name, keys=None, without=(), tensors=None):
    """A copy of a golden file with other keys (None leaves one out) and tensors."""
    reader = gguf.GGUFReader(source(name))
    keys, tensors = keys or {}, tensors or {}
    values = {key: field.contents() for key, field in reader.fields.items()}
    writer = gguf.GGUFWriter(path, (values | keys)["general.architecture"])
    types = {key: field.types for key, field in reader.fields.items()}
    of_python = {bool: gguf.GGUFValueType.BOOL, int: gguf.GGUFValueType.UINT32, str: gguf.GGUFValueType.STRING}
    of_python |= {float: gguf.GGUFValueType.FLOAT32, list: gguf.GGUFValueType.ARRAY}
    for key, value in (values | keys).items():
        if value is None or key.startswith("GGUF.") or key == "general.architecture":
            continue
        kind = of_python[type(value)] if key in keys else types[key][0]
        inner = types[key][-1] if kind == gguf.GGUFValueType.ARRAY and key not in keys else None
        writer.add_key_value(key, value, kind, sub_type=inner)
    for tensor in reader.tensors:
        if tensor.name not in without:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for tensor, values in tensors.items():
        writer.add_tensor(tensor, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class ConversionTest(unittest.TestCase):
    def test_the_folders_are_those_that_the_service_is_tested_with(self):
        for folder, (name, layout) in FOLDERS.items():
            with self.subTest(folder), tempfile.TemporaryDirectory() as made:
                convert(source(name), made, "f32", layout)
                files = {path.name: path.read_bytes() for path in Path(made).iterdir()}
                golden = {path.name: path.read_bytes() for path in (GOLDEN / "hub" / folder).iterdir()}
                self.assertEqual(files.keys(), golden.keys())
                for file, content in golden.items():
                    self.assertTrue(files[file] == content, f"{file} is another one")

    def constants(self, name, mode):
        with tempfile.TemporaryDirectory() as folder:
            convert(source(name), folder, mode)
            model = onnx.load(f"{folder}/model.onnx")
        operators = [node.op_type for node in model.graph.node]
        return {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}, operators

    def test_eight_bits_are_taken_as_they_are(self):
        found, operators = self.constants("qwen2", "i8")
        self.assertNotIn("MatMul", operators)
        tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(source("qwen2")).tensors}
        rows = []
        for part in "qkv":
            # A block: two bytes of scale, then 32 signed ones.
            data = np.asarray(tensors[f"blk.0.attn_{part}.weight"].data).view(np.uint8).reshape(-1, 1, 34)
            rows.append(data[..., 2:].view(np.int8).astype(int))
        np.testing.assert_array_equal(found["layer0.qkv.stored"].astype(int) - ZERO_POINT, np.concatenate(rows))
        biases = [tensors[f"blk.0.attn_{part}.bias"].data for part in "qkv"]
        np.testing.assert_array_equal(found["layer0.qkv_bias"], np.concatenate(biases))

    def test_eight_bits_of_other_types_are_near(self):
        for name in ("llama", "qwen3"):
            exact, _ = self.constants(name, "f32")
            found, operators = self.constants(name, "i8")
            self.assertNotIn("MatMul", operators)
            for layer in range(2):
                for product in ("qkv", "attention_output", "gate_up", "down"):
                    key = f"layer{layer}.{product}"
                    scales = found[f"{key}.scales"]
                    values = (found[f"{key}.stored"].astype(np.float32) - ZERO_POINT) * scales[..., None]
                    distance = np.abs(values.reshape(len(values), -1).T - exact[f"{key}.weight"])
                    self.assertLessEqual(distance.max(), scales.max() * 0.501)

    def test_a_llama_is_served_in_the_order_of_its_heads_and_a_qwen_as_it_is(self):
        for name, moved in (("llama", True), ("qwen2", False)):
            found, _ = self.constants(name, "f32")
            tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(source(name)).tensors}
            query = tensors["blk.1.attn_q.weight"]
            rows = gguf.dequantize(query.data, query.tensor_type)
            graph = found["layer1.qkv.weight"].T[: len(rows)]
            # Heads of 16: row 1 of a llama's file is the partner of row 0, half a head away.
            np.testing.assert_array_equal(graph[0], rows[0])
            np.testing.assert_array_equal(graph[8 if moved else 1], rows[1])


class RefusalTest(unittest.TestCase):
    def refusal(self, name, **changes):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "changed.gguf")
            rewrite(path, name, **changes)
            with self.assertRaises(SystemExit) as caught:
                convert(path, Path(folder, "made"), "f32")
            return str(caught.exception)

    def test_an_unchanged_copy_is_converted(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "copy.gguf")
            neutral = {"qwen3.rope.scaling.type": "none", "qwen3.expert_count": 0, "qwen3.vocab_size": 263}
            rewrite(path, "qwen3", keys=neutral)
            convert(path, folder, "f32")
            self.assertEqual(
                Path(folder, "model.onnx.data").read_bytes(), (GOLDEN / "hub/gguf-qwen3/model.onnx.data").read_bytes()
            )

    def test_metadata_that_would_be_ignored_is_named(self):
        cases = [
            ("qwen2", "qwen2.rope.scaling.type", "yarn"),
            ("qwen2", "qwen2.rope.scaling.factor", 4.0),
            ("llama", "llama.rope.scaling.type", "linear"),
            ("qwen2", "qwen2.attention.sliding_window", 64),
            ("llama", "llama.expert_count", 8),
            ("qwen3", "qwen3.expert_used_count", 2),
            ("qwen3", "qwen3.pooling_type", 3),
            ("llama", "llama.rope.dimension_count", 8),
            ("qwen3", "qwen3.attention.value_length", 32),
            ("qwen2", "qwen2.vocab_size", 7),
            ("llama", "llama.logit_scale", 0.5),
            ("llama", "llama.feed_forward_length", [64, 32]),
            ("qwen3", "qwen3.attention.key_length", 24),
            ("qwen3", "general.architecture", "qwen3moe"),
            ("qwen2", "split.count", 2),
            ("qwen2", "tokenizer.ggml.pre", "default"),
            ("qwen2", "tokenizer.ggml.pre", None),
            ("qwen2", "tokenizer.ggml.model", "t5"),
            ("llama-spm", "tokenizer.ggml.pre", "tekken"),
            ("llama-spm", "tokenizer.ggml.remove_extra_whitespaces", True),
            ("llama-spm", "tokenizer.ggml.precompiled_charsmap", [1]),
            ("llama-spm", "tokenizer.ggml.scores", None),
            ("llama-spm", "tokenizer.ggml.tokens", None),
            ("llama", "llama.attention.layer_norm_rms_epsilon", None),
            ("llama", "llama.block_count", None),
        ]
        for name, key, value in cases:
            with self.subTest(key=key, value=value):
                refusal = self.refusal(name, keys={key: value})
                wanted = "heads of 24" if value == 24 else key
                self.assertIn(wanted, refusal)
                self.assertNotIn("Traceback", refusal)

    def test_tensors_are_all_there_and_all_used(self):
        for name, tensor in [
            ("qwen2", "blk.1.attn_k.bias"),
            ("qwen3", "blk.0.attn_q_norm.weight"),
            ("llama", "blk.1.ffn_up.weight"),
            ("llama", "token_embd.weight"),
        ]:
            with self.subTest(tensor):
                self.assertIn(f"lacks the tensor {tensor}", self.refusal(name, without=[tensor]))
        more = {"blk.0.attn_output.bias": np.zeros(32, np.float32)}
        self.assertIn("blk.0.attn_output.bias", self.refusal("qwen2", tensors=more))

    def test_a_file_says_why_it_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "changed.gguf")
            rewrite(path, "qwen2", keys={"qwen2.attention.sliding_window": 64})
            with self.assertRaisesRegex(Refused, "sliding_window = 64 is not supported .a.* window"):
                GgufFile(path)


class TokenizerTest(unittest.TestCase):
    def setUp(self):
        self.golden = json.loads((GOLDEN / "gguf/tokenizers.json").read_text("utf-8"))

    def metadata(self, **keys):
        special = [token.startswith("<|") for token in self.golden["tokens"]]
        values = {
            "model": "gpt2",
            "tokens": self.golden["tokens"],
            "merges": self.golden["merges"],
            "token_type": [3 if control else 1 for control in special],
            "add_bos_token": False,
            **keys,
        }
        return lambda key: values.get(key.removeprefix("tokenizer.ggml."))

    def test_hard_strings_are_split_as_by_the_originals(self):
        self.assertEqual(self.golden["families"].keys(), {"gpt-2", "qwen2", "llama-bpe", "tekken"})
        for family, expected in self.golden["families"].items():
            tokenizer = gguf_tokenizer.build(self.metadata(pre=family))
            for text, ids in zip(self.golden["texts"], expected):
                with self.subTest(family=family, text=text):
                    self.assertEqual(tokenizer.encode(text).ids, ids)

    def test_a_text_comes_back(self):
        for family in gguf_tokenizer.FAMILIES:
            tokenizer = gguf_tokenizer.build(self.metadata(pre=family))
            for text in self.golden["texts"]:
                composed = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
                with self.subTest(family=family, text=text):
                    self.assertEqual(tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False), composed)

    def test_a_start_token_comes_where_file_or_family_says(self):
        start = self.golden["tokens"].index("<|im_start|>")
        end = self.golden["tokens"].index("<|im_end|>")

        def ids(special=True, **keys):
            keys = {"bos_token_id": start, "eos_token_id": end, "add_bos_token": None, **keys}
            return gguf_tokenizer.build(self.metadata(**keys)).encode("a", add_special_tokens=special).ids

        (letter,) = ids(pre="qwen2")
        self.assertEqual(ids(pre="llama-bpe"), [start, letter])
        self.assertEqual(ids(pre="llama-bpe", special=False), [letter])
        self.assertEqual(ids(pre="llama-bpe", add_bos_token=False), [letter])
        self.assertEqual(ids(pre="qwen2", add_bos_token=True, add_eos_token=True), [start, letter, end])
        with self.assertRaisesRegex(Refused, "bos_token_id"):
            ids(pre="llama-bpe", bos_token_id=None)

    def test_unused_rows_have_no_spelling(self):
        tokens = [*self.golden["tokens"], "harbour"]
        kinds = [*[1] * len(self.golden["tokens"]), 5]
        tokenizer = gguf_tokenizer.build(self.metadata(pre="llama-bpe", tokens=tokens, token_type=kinds))
        self.assertIsNone(tokenizer.id_to_token(len(tokens) - 1))
        self.assertNotIn(len(tokens) - 1, tokenizer.encode("harbour").ids)


class SentencePieceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.golden = json.loads((GOLDEN / "gguf/sentencepiece.json").read_text("utf-8"))

    def tokenizer(self, **keys):
        values = {"model": "llama", "bos_token_id": 1, "eos_token_id": 2, **self.golden, **keys}
        return gguf_tokenizer.build(lambda key: values.get(key.removeprefix("tokenizer.ggml.")))

    def changed(self, index, **values):
        """The vocabulary with another token, score or token_type at an index."""
        lists = {key: list(self.golden[key]) for key in values}
        for key, value in values.items():
            lists[key][index] = value
        return lists

    def assert_split(self, tokenizer, name, least):
        self.assertGreaterEqual(len(self.golden[name]), least)
        for text, ids in self.golden[name]:
            with self.subTest(name, text=text):
                self.assertEqual(tokenizer.encode(text, add_special_tokens=False).ids, ids)

    def test_hard_strings_are_split_as_by_sentencepiece(self):
        for name, prefix, least in (("prefixed", True, 2000), ("bare", False, 400)):
            tokenizer = self.tokenizer(add_space_prefix=prefix)
            # The library knows no control tokens in texts.
            tokenizer.encode_special_tokens = True
            self.assert_split(tokenizer, name, least)
            for text, ids in self.golden[name]:
                with self.subTest(name, text=text):
                    self.assertEqual(tokenizer.decode(ids, skip_special_tokens=False), text.replace("▁", " "))

    def test_special_tokens_are_found_and_a_space_follows_them(self):
        self.assert_split(self.tokenizer(), "special", 150)

    def test_a_start_token_comes_unless_the_file_says_otherwise(self):
        letter = self.golden["tokens"].index("▁a")
        self.assertEqual(self.tokenizer().encode("a").ids, [1, letter])
        self.assertEqual(self.tokenizer(add_eos_token=True).encode("a").ids, [1, letter, 2])
        self.assertEqual(self.tokenizer(add_bos_token=False).encode("a").ids, [letter])

    def test_unused_rows_have_no_spelling(self):
        tokens, scores, kinds = (self.golden[key] for key in ("tokens", "scores", "token_type"))
        padded = self.tokenizer(tokens=[*tokens, "[PAD]"], scores=[*scores, -1e4], token_type=[*kinds, 5])
        self.assertIsNone(padded.id_to_token(len(tokens)))
        self.assertNotIn(len(tokens), padded.encode("[PAD]").ids)

    def test_pieces_across_a_user_defined_symbol_are_never_made(self):
        tokens = self.golden["tokens"]
        split = self.tokenizer(**self.changed(tokens.index("!"), tokens="!\U0001f680"))
        self.assertEqual(split.encode("!\U0001f680", add_special_tokens=False).tokens, ["▁", "<0x21>", "\U0001f680"])

    def test_vocabularies_that_would_be_split_otherwise_are_refused(self):
        tokens, scores = self.golden["tokens"], self.golden["scores"]
        word, other, user = tokens.index("▁th"), tokens.index("or"), tokens.index("[REF]")
        cases = [
            (self.changed(word, scores=scores[other]), "scores: '▁th' and 'or' have the same|scores: 'or' and '▁th'"),
            (self.changed(word, token_type=5), "'▁th', unused but spelled"),
            (self.changed(tokens.index("#"), token_type=5), "'#', unused but spelled"),
            (self.changed(user, tokens="▁▁▁▁▁"), "'▁▁▁▁▁', user-defined with a space"),
            (self.changed(user, tokens="or"), "'or' is there twice"),
            (self.changed(tokens.index("h"), tokens="[H]"), "is joined from 'h', which is no piece"),
            (self.changed(tokens.index("<0x7F>"), tokens="<0x7f>"), "<0x7F> is missing"),
            ({"scores": scores[1:]}, "scores: expected one for each of 640"),
            ({"token_type": None}, "token_type: expected one for each of 640"),
        ]
        for keys, refusal in cases:
            with self.subTest(refusal), self.assertRaisesRegex(Refused, refusal):
                self.tokenizer(**keys)


if __name__ == "__main__":
    unittest.main()
