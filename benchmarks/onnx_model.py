"""A net as an ONNX model: the vocabulary writes nodes. ONNX Runtime and OpenVINO both read it."""

from __future__ import annotations

from typing import Any

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.nets import Net

_OPSET, _IR = 20, 10


class _Value:
    """A name in the graph, with the arithmetic that formulas use."""

    def __init__(self, name: str, rank: int, writer: _Writer) -> None:
        self.name, self.rank, self.writer = name, rank, writer

    def __add__(self, other: Any) -> _Value:
        return self.writer.node("Add", self, other)

    def __sub__(self, other: Any) -> _Value:
        return self.writer.node("Sub", self, other)

    def __mul__(self, other: Any) -> _Value:
        return self.writer.node("Mul", self, other)


class _Writer:
    """The vocabulary: each operator appends a node."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any, dtype: Any = numpy.float32) -> _Value:
        array = numpy.asarray(value, dtype)
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return _Value(name, array.ndim, self)

    def node(self, kind: str, *inputs: Any, rank: int | None = None, **attributes: Any) -> _Value:
        values = [i if isinstance(i, _Value) else self.constant(i) for i in inputs]
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [v.name for v in values], [name], **attributes))
        return _Value(name, values[0].rank if rank is None else rank, self)

    def dense(self, x: Any, weight: Any, bias: Any) -> _Value:
        return self.node("Gemm", x, weight, bias, transB=1)

    def dot(self, x: Any, weight: Any) -> _Value:
        return self.node("MatMul", x, weight)

    def relu(self, x: Any) -> _Value:
        return self.node("Relu", x)

    def exp(self, x: Any) -> _Value:
        return self.node("Exp", x)

    def tanh(self, x: Any) -> _Value:
        return self.node("Tanh", x)

    def sigmoid(self, x: Any) -> _Value:
        return self.node("Sigmoid", x)

    def softmax(self, x: Any) -> _Value:
        return self.node("Softmax", x, axis=-1)

    def gelu(self, x: Any) -> _Value:
        return self.node("Gelu", x)

    def layer_norm(self, x: Any, gain: Any, shift: Any) -> _Value:
        return self.node("LayerNormalization", x, gain, shift, axis=-1, epsilon=1e-5)

    def sum(self, x: Any) -> _Value:
        return self.node("ReduceSum", x, keepdims=0, rank=0)

    def halved(self, x: Any) -> _Value:
        """The Python loop, rewritten by hand as a ``Loop`` without a limit of rounds."""
        body = helper.make_graph(
            [
                helper.make_node("Div", ["before", "two"], ["after"]),
                helper.make_node("ReduceL1", ["after"], ["size"], keepdims=0),
                helper.make_node("Greater", ["size", "one"], ["again"]),
            ],
            "body",
            [
                helper.make_tensor_value_info("round", TensorProto.INT64, []),
                helper.make_tensor_value_info("go", TensorProto.BOOL, []),
                helper.make_tensor_value_info("before", TensorProto.FLOAT, None),
            ],
            [
                helper.make_tensor_value_info("again", TensorProto.BOOL, []),
                helper.make_tensor_value_info("after", TensorProto.FLOAT, None),
            ],
            [
                numpy_helper.from_array(numpy.float32(2), "two"),
                numpy_helper.from_array(numpy.float32(1), "one"),
            ],
        )
        size = self.node("ReduceL1", x, keepdims=0, rank=0)
        first = self.node("Greater", size, 1.0)
        most = self.constant(numpy.iinfo(numpy.int64).max, numpy.int64)
        return self.node("Loop", most, first, x, body=body, rank=x.rank)


def model_of(net: Net) -> bytes:
    """The model, its weights included; its input is ``x``."""
    writer = _Writer()
    x, parameters = net.draw()
    result = net.forward(writer, _Value("x", x.ndim, writer), *map(writer.constant, parameters))
    graph = helper.make_graph(
        writer.nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info(result.name, TensorProto.FLOAT, [None] * result.rank)],
        writer.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
