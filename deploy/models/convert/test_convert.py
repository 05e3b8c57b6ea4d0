#!/usr/bin/env python3
"""Tests of the converters' building blocks. usage: test_convert.py   (in the private environment)"""

import base64
import io
import pickle
import tarfile
import tempfile
import unittest
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

import blazeface_to_onnx
import javascript
import nsfwjs_to_onnx
import tflite_file
from efficientnet_to_onnx import CLASSES, FEATURES, STAGES, STEM_CHANNELS, EfficientNetGraph, labels
from onnx_graph import Graph, TensorProto
from quantise import BLOCK_SIZE, ZERO_POINT, Int8Blocks
from torch_file import Refused, Storage, View, read_tensors

TESTDATA = Path(__file__).resolve().parent / "testdata"


class Int8BlocksTest(unittest.TestCase):
    def setUp(self):
        self.matrix = np.random.default_rng(7).normal(size=(12, 4 * BLOCK_SIZE)).astype(np.float32)

    def values(self, blocks):
        centred = blocks.stored.astype(np.float32) - ZERO_POINT
        return (centred * blocks.scales[..., None]).reshape(len(blocks.stored), -1)

    def test_a_value_is_off_by_half_a_step_at_most(self):
        blocks = Int8Blocks.of(self.matrix)
        steps = np.repeat(blocks.scales, BLOCK_SIZE, axis=1)
        self.assertTrue((np.abs(self.values(blocks) - self.matrix) <= steps * 0.501).all())

    def test_zeros_stay_zeros(self):
        self.assertTrue((self.values(Int8Blocks.of(np.zeros((2, BLOCK_SIZE), np.float32))) == 0).all())

    def test_joined_matrices_are_stacked(self):
        parts = [Int8Blocks.of(self.matrix[:5]), Int8Blocks.of(self.matrix[5:])]
        whole = Int8Blocks.of(self.matrix)
        joined = Int8Blocks.joined(parts)
        np.testing.assert_array_equal(joined.stored, whole.stored)
        np.testing.assert_array_equal(joined.scales, whole.scales)

    def test_columns_must_fill_blocks(self):
        with self.assertRaises(ValueError):
            Int8Blocks.of(self.matrix[:, :-1])


class GraphTest(unittest.TestCase):
    def graph(self):
        graph = Graph("sum")
        graph.input("x", TensorProto.FLOAT, ["n", 512])
        graph.output("y", TensorProto.FLOAT, ["n", 512])
        graph.node("Add", ["x", graph.constant("bias", np.arange(512), np.float32)], "y")
        return graph

    def written(self, folder):
        self.graph().save(folder, {"b": 1, "a": 2})
        contents = []
        for name in ("model.onnx", "model.onnx.data"):
            with open(f"{folder}/{name}", "rb") as file:
                contents.append(file.read())
        return contents

    def test_the_same_graph_is_the_same_bytes_and_valid(self):
        with tempfile.TemporaryDirectory() as folder:
            first = self.written(folder)
            onnx.checker.check_model(f"{folder}/model.onnx")
            self.assertEqual(first, self.written(folder))
            self.assertEqual(len(first[1]), 512 * 4)

    def test_a_name_has_one_value(self):
        graph = Graph("constants")
        graph.constant("one", 1, np.float32)
        graph.constant("one", 1, np.float32)
        with self.assertRaises(ValueError):
            graph.constant("one", 2, np.float32)


class TorchFileTest(unittest.TestCase):
    """The two files of testdata are made with torch 2.6:

    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    tensors = OrderedDict(plain=base, turned=base.t(), corner=base[1:, 2:], count=torch.tensor(7),
                          weight=torch.nn.Parameter(torch.ones(2).half()))
    torch.save(tensors, "zip.pth")
    torch.save(tensors, "pickles.pth", _use_new_zipfile_serialization=False)
    """

    def test_both_layouts_give_the_tensors(self):
        base = np.arange(12, dtype=np.float32).reshape(3, 4)
        expected = {
            "plain": base,
            "turned": base.T,
            "corner": base[1:, 2:],
            "count": np.array(7),
            "weight": np.ones(2, np.float16),
        }
        for name in ("zip.pth", "pickles.pth"):
            with self.subTest(name):
                found = read_tensors(TESTDATA / name)
                self.assertEqual(list(found), list(expected))
                for key, array in expected.items():
                    np.testing.assert_array_equal(found[key], array)
                    self.assertEqual(found[key].dtype, array.dtype)

    def refusal(self, content):
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            with self.assertRaises(Refused) as caught:
                read_tensors(file.name)
            return str(caught.exception)

    def test_a_pickle_that_names_a_function_is_refused_and_not_run(self):
        class Attack:
            def __reduce__(self):
                return exec, ("raise SystemExit('it ran')",)

        self.assertIn("builtins.exec", self.refusal(pickle.dumps(Attack(), 4)))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("model/data.pkl", pickle.dumps({"weight": Attack()}, 4))
        self.assertIn("builtins.exec", self.refusal(packed.getvalue()))

    def test_other_files_are_refused(self):
        self.assertIn("no file of torch.save", self.refusal(pickle.dumps(5)))
        with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
            archive.writestr("readme", "nothing")
        self.assertIn("without data.pkl", self.refusal(packed.getvalue()))
        with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
            archive.writestr("model/data.pkl", pickle.dumps([1, 2]))
        self.assertIn("one dictionary", self.refusal(packed.getvalue()))

    def test_a_tensor_stays_within_its_storage(self):
        flat = np.arange(6, dtype=np.float32)
        storage = Storage("0", flat.dtype, 6)
        np.testing.assert_array_equal(View(storage, 1, (2, 2), (3, 1)).array(flat), [[1, 2], [4, 5]])
        outside = [(2, (2, 2), (3, 1)), (0, (7,), (1,)), (-1, (1,), (1,)), (3, (2,), (-1,)), (0, (2,), ())]
        for offset, shape, strides in outside:
            with self.subTest(shape=shape, strides=strides), self.assertRaises(Refused):
                View(storage, offset, shape, strides).array(flat)


class EfficientNetTest(unittest.TestCase):
    def tensors(self):
        random = np.random.default_rng(7)
        tensors = {}

        def layer(name, norm, channels, inputs, kernel):
            tensors[f"{name}.weight"] = random.normal(size=(channels, inputs, kernel, kernel))
            for part in ("weight", "bias", "running_mean", "running_var"):
                tensors[f"{norm}.{part}"] = random.uniform(0.5, 1, channels)
            tensors[f"{norm}.num_batches_tracked"] = np.array(1)

        layer("_conv_stem", "_bn0", STEM_CHANNELS, 3, 3)
        channels, index = STEM_CHANNELS, 0
        for stage in STAGES:
            for _ in range(stage.blocks):
                name, width = f"_blocks.{index}", channels * stage.expansion
                if stage.expansion > 1:
                    layer(f"{name}._expand_conv", f"{name}._bn0", width, channels, 1)
                layer(f"{name}._depthwise_conv", f"{name}._bn1", width, 1, stage.kernel)
                layer(f"{name}._project_conv", f"{name}._bn2", stage.channels, width, 1)
                channels, index = stage.channels, index + 1
        layer("_conv_head", "_bn1", FEATURES, channels, 1)
        tensors["_fc.weight"] = random.normal(size=(CLASSES, FEATURES))
        tensors["_fc.bias"] = random.normal(size=CLASSES)
        return tensors

    def test_the_graph_is_valid_in_every_shape_and_the_same_each_time(self):
        contents = []
        for _ in range(2):
            network = EfficientNetGraph(self.tensors())
            network.build()
            with tempfile.TemporaryDirectory() as folder:
                network.save(folder)
                onnx.checker.check_model(f"{folder}/model.onnx", full_check=True)
                contents.append(Path(folder, "model.onnx").read_bytes())
        self.assertEqual(*contents)
        model = onnx.load_from_string(contents[0])
        self.assertEqual([output.name for output in model.graph.output], ["probabilities", "features"])
        self.assertEqual(next(opset.version for opset in model.opset_import if not opset.domain), 17)

    def test_a_folded_convolution_is_the_convolution_and_its_norm(self):
        tensors = self.tensors()
        network = EfficientNetGraph(tensors)
        network.build()
        with tempfile.TemporaryDirectory() as folder:
            network.save(folder)
            model = onnx.load(f"{folder}/model.onnx")
        folded = {constant.name: onnx.numpy_helper.to_array(constant) for constant in model.graph.initializer}
        patch = np.random.default_rng(8).normal(size=(3, 3, 3))
        plain = (tensors["_conv_stem.weight"] * patch).sum((1, 2, 3))
        mean, variance = tensors["_bn0.running_mean"], tensors["_bn0.running_var"]
        expected = (plain - mean) / np.sqrt(variance + 1e-3) * tensors["_bn0.weight"] + tensors["_bn0.bias"]
        found = (folded["_conv_stem.weight"] * patch).sum((1, 2, 3)) + folded["_conv_stem.bias"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)

    def test_weights_of_another_network_are_refused(self):
        with self.assertRaises(ValueError):
            EfficientNetGraph({**self.tensors(), "_blocks.16._expand_conv.weight": np.zeros(1)}).build()

    def test_labels_are_imagenets_in_its_order(self):
        names = labels()
        self.assertEqual(len(names), CLASSES)
        known = {0: "tench", 7: "rooster", 207: "Golden Retriever", 281: "tabby cat", 282: "tiger cat"}
        known |= {504: "coffee mug", 763: "revolver", 817: "sports car", 954: "banana", 999: "toilet paper"}
        self.assertEqual({index: names[index] for index in known}, known)


class JavaScriptTest(unittest.TestCase):
    def test_plain_values_are_read_as_bundlers_write_them(self):
        text = """x={a:!0,"b":[1,-.5,2e-3,null],'c':{$d:'e"f',_:!1}},{}]"""
        value = {"a": True, "b": [1, -0.5, 0.002, None], "c": {"$d": 'e"f', "_": False}}
        self.assertEqual(javascript.value_after(text, "x="), value)

    def test_what_is_no_plain_value_is_refused(self):
        wrong = ["f()", "[1,2", "[1 2]", "{a}", "{1:2}", "{a:1,a:2}", '"a\\x41"', "`a`", "[,]", "undefined", ""]
        for text in [*wrong, "[" * 1000 + "]" * 1000]:
            with self.subTest(text[:20]), self.assertRaises(javascript.Refused):
                javascript.value_after(f"x={text}", "x=")
        for text in ["y=1", "x=1;x=2"]:
            with self.subTest(text), self.assertRaises(javascript.Refused):
                javascript.value_after(text, "x=")


class NsfwjsTest(unittest.TestCase):
    def package(self, tensors, data):
        """An archive with these files, as npm packs it."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name, text in [(nsfwjs_to_onnx.TENSORS_FILE, tensors), (nsfwjs_to_onnx.BYTES_FILE, data)]:
                member = tarfile.TarInfo(name)
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        return packed.getvalue()

    def read(self, tensors, data):
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.package(f"module({{weightsManifest:[{{weights:[{tensors}]}}]}})", data))
            file.flush()
            return nsfwjs_to_onnx.read_tensors(file.name)

    TENSOR = '{name:"a",shape:[2,2],dtype:"float32",quantization:{min:-.5,scale:.25,dtype:"uint8"}}'

    def test_tensors_are_scaled(self):
        data = base64.b64encode(bytes([0, 1, 2, 255])).decode()
        found = self.read(self.TENSOR, f'a.exports="{data}"')
        np.testing.assert_array_equal(found["a"], np.float32([[-0.5, -0.25], [0, 63.25]]))

    def test_bytes_that_do_not_fit_are_refused(self):
        for size in (3, 5):
            data = base64.b64encode(bytes(size)).decode()
            with self.subTest(size), self.assertRaises(javascript.Refused):
                self.read(self.TENSOR, f'a.exports="{data}"')
        with self.assertRaises(javascript.Refused):
            self.read(self.TENSOR.replace("uint8", "uint16"), 'a.exports="AAAAAAAAAAA="')
        with self.assertRaises(javascript.Refused):
            self.read(self.TENSOR, "a.exports=atob(b)")

    def tensors(self):
        random = np.random.default_rng(7)
        tensors = {}

        def layer(name, norm, kernel, channels):
            tensors[name] = random.normal(size=kernel).astype(np.float32)
            for part in ("gamma", "beta", "moving_mean", "moving_variance"):
                tensors[f"{norm}/{part}"] = random.uniform(0.5, 1, channels).astype(np.float32)

        layer("Conv1/kernel", "bn_Conv1", (3, 3, 3, 32), 32)
        inputs, index = 32, 0
        for stage in nsfwjs_to_onnx.STAGES:
            for _ in range(stage.blocks):
                name, width = (f"block_{index}", inputs * 6) if index else ("expanded_conv", inputs)
                if index:
                    layer(f"{name}_expand/kernel", f"{name}_expand_BN", (1, 1, inputs, width), width)
                layer(f"{name}_depthwise/depthwise_kernel", f"{name}_depthwise_BN", (3, 3, width, 1), width)
                layer(f"{name}_project/kernel", f"{name}_project_BN", (1, 1, width, stage.channels), stage.channels)
                inputs, index = stage.channels, index + 1
        layer("Conv_1/kernel", "Conv_1_bn", (1, 1, inputs, 1280), 1280)
        for name, shape in (("dense_1", (1280, 256)), ("dense_2", (256, 128)), ("dense_3", (128, 5))):
            tensors[f"{name}/kernel"] = random.normal(size=shape).astype(np.float32)
            tensors[f"{name}/bias"] = random.normal(size=shape[1]).astype(np.float32)
        return tensors

    def test_the_graph_is_valid_and_the_same_each_time(self):
        contents = []
        for _ in range(2):
            network = nsfwjs_to_onnx.MobileNetGraph(self.tensors())
            network.build()
            with tempfile.TemporaryDirectory() as folder:
                network.save(folder)
                onnx.checker.check_model(f"{folder}/model.onnx", full_check=True)
                contents.append(Path(folder, "model.onnx").read_bytes())
        self.assertEqual(*contents)

    def test_weights_of_another_network_are_refused(self):
        with self.assertRaises(ValueError):
            nsfwjs_to_onnx.MobileNetGraph({**self.tensors(), "block_17_expand/kernel": np.zeros(1)}).build()


class BlazeFaceTest(unittest.TestCase):
    """The files of testdata are made by tiny_faces.py: a network of all operators, and what it says where it was made."""

    MODEL = TESTDATA / "tiny_faces.tflite"

    def converted(self, data):
        with mock.patch.multiple(blazeface_to_onnx, SIDE=8, CELLS=16), tempfile.TemporaryDirectory() as folder:
            network = blazeface_to_onnx.FaceGraph(tflite_file.read_model(data))
            network.build()
            network.save(folder)
            return Path(folder, "model.onnx").read_bytes()

    def test_the_converted_network_says_the_same(self):
        content = self.converted(self.MODEL.read_bytes())
        self.assertEqual(content, self.converted(self.MODEL.read_bytes()))
        model = onnx.load_from_string(content)
        onnx.checker.check_model(model, full_check=True)
        with np.load(TESTDATA / "tiny_faces.npz") as expected:
            pixels = np.concatenate([np.zeros_like(expected["pixels"]), expected["pixels"]])
            (found,) = ReferenceEvaluator(model).run(None, {"pixels": pixels})
            np.testing.assert_allclose(found[1:], expected["faces"], rtol=1e-4, atol=1e-4)
            self.assertGreater(np.abs(found[0] - found[1]).max(), 0.1)

    def test_weights_are_widened_and_constants_are_read(self):
        model = tflite_file.read_model(self.MODEL.read_bytes())
        halves = [tensor for tensor in model.tensors if tensor.name == "half"]
        self.assertEqual({tensor.value.dtype for tensor in halves}, {np.dtype("<f2")})
        self.assertEqual(halves[0].shape, (4, 3, 3, 3))
        pads = next(tensor for tensor in model.tensors if tensor.name == "pads")
        np.testing.assert_array_equal(pads.value, [[0, 0], [0, 0], [0, 0], [0, 2]])

    def test_other_bytes_are_refused(self):
        data = self.MODEL.read_bytes()
        wrong = [b"", b"TFL3", data[:4] + b"TFL4" + data[8:], *(data[:cut] for cut in range(8, len(data), 97))]
        for content in wrong:
            with self.subTest(len(content)), self.assertRaises(tflite_file.Refused):
                tflite_file.read_model(content)
        random = np.random.default_rng(7)
        for _ in range(500):
            altered = bytearray(data)
            altered[random.integers(len(data))] = random.integers(256)
            try:
                tflite_file.read_model(bytes(altered))
            except tflite_file.Refused:
                pass

    def test_another_network_is_refused(self):
        with self.assertRaises(tflite_file.Refused):
            blazeface_to_onnx.FaceGraph(tflite_file.read_model(self.MODEL.read_bytes())).build()


if __name__ == "__main__":
    unittest.main()
