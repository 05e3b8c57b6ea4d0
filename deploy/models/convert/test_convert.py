#!/usr/bin/env python3
"""Tests of the converters' building blocks. usage: test_convert.py   (in the private environment)"""

import tempfile
import unittest

import numpy as np
import onnx

from onnx_graph import Graph, TensorProto
from quantise import BLOCK_SIZE, ZERO_POINT, Int8Blocks


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


if __name__ == "__main__":
    unittest.main()
