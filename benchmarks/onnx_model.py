"""A net as an ONNX model: the vocabulary writes nodes. ONNX Runtime and OpenVINO both read it."""

from __future__ import annotations

from typing import Any

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.nets import Net
from benchmarks.sequence_nets import HEAD, HEADS, by_layer, scores

_OPSET, _IR = 20, 10


class _Value:
    """A name in the graph, with the arithmetic that formulas use."""

    def __init__(self, name: str, ndim: int, writer: _Writer) -> None:
        self.name, self.ndim, self.writer = name, ndim, writer

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
        self.arrays: dict[str, numpy.ndarray] = {}  # name of a constant -> its value

    def constant(self, value: Any, dtype: Any = numpy.float32) -> _Value:
        array = numpy.asarray(value, dtype)
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        self.arrays[name] = array
        return _Value(name, array.ndim, self)

    def node(
        self, kind: str, *inputs: Any, ndim: int | None = None, into: str = "", **attributes: Any
    ) -> _Value:
        values = [i if isinstance(i, _Value) else self.constant(i) for i in inputs]
        name = into or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [v.name for v in values], [name], **attributes))
        return _Value(name, values[0].ndim if ndim is None else ndim, self)

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

    def flat(self, x: Any) -> _Value:
        return self.node("Flatten", x, ndim=2)

    def convolution(
        self, x: Any, weight: Any, bias: Any, padding: int, stride: int = 1, groups: int = 1
    ) -> _Value:
        inputs = [x, weight] if bias is None else [x, weight, bias]
        return self.node("Conv", *inputs, pads=[padding] * 4, strides=[stride] * 2, group=groups)

    def batch_norm(self, x: Any, gain: Any, shift: Any, mean: Any, variance: Any) -> _Value:
        """Both that read models join it to the convolution before it."""
        return self.node("BatchNormalization", x, gain, shift, mean, variance, epsilon=1e-5)

    def relu6(self, x: Any) -> _Value:
        return self.node("Clip", x, 0.0, 6.0)

    def max_pool(self, x: Any) -> _Value:
        return self.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def wide_pool(self, x: Any) -> _Value:
        return self.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)

    def mean_of_channels(self, x: Any) -> _Value:
        return self.flat(self.node("GlobalAveragePool", x))

    def sum(self, x: Any) -> _Value:
        return self.node("ReduceSum", x, keepdims=0, ndim=0)

    def _by_gates(self, array: _Value, order: tuple[int, ...]) -> numpy.ndarray:
        """Weights or a bias of one direction, with the gates in ONNX's order."""
        blocks = numpy.split(self.arrays[array.name], len(order))
        return numpy.concatenate([blocks[n] for n in order])[None]

    def _recurrent(
        self, kind: str, order: tuple[int, ...], x: Any, parameters: Any, **attributes: Any
    ) -> _Value:
        of_input, of_state, *biases = (self._by_gates(p, order) for p in parameters)
        bias, hidden = numpy.concatenate(biases, axis=1), of_state.shape[2]
        found = self.node(kind, x, of_input, of_state, bias, hidden_size=hidden, ndim=4, **attributes)
        return self.node("Squeeze", found, self.constant([1], numpy.int64), ndim=3)

    def lstm(self, x: Any, *parameters: Any) -> _Value:
        return self._recurrent("LSTM", (0, 3, 1, 2), x, parameters)

    def gru(self, x: Any, *parameters: Any) -> _Value:
        return self._recurrent("GRU", (1, 0, 2), x, parameters, linear_before_reset=1)

    def heads(self, joined: Any, heads: int) -> list[_Value]:
        """Queries, keys and values (heads, times, width of a head) of all side by side."""
        shape = self.constant([0, 3, heads, -1], numpy.int64)
        parts = self.node("Transpose", self.node("Reshape", joined, shape, ndim=4), perm=[1, 2, 0, 3])
        return [self.node("Gather", parts, self.constant(n, numpy.int64), axis=0, ndim=3) for n in range(3)]

    def attended(self, q: Any, k: Any, v: Any) -> _Value:
        turned = self.node("Transpose", k, perm=[0, 2, 1])
        found = self.node("MatMul", q, turned) * HEAD**-0.5
        seen = self.node("Transpose", self.node("MatMul", self.softmax(found), v), perm=[1, 0, 2])
        return self.node("Reshape", seen, self.constant([0, -1], numpy.int64), ndim=2)

    def attention(self, joined: Any, heads: int) -> _Value:
        return self.attended(*self.heads(joined, heads))

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
        size = self.node("ReduceL1", x, keepdims=0, ndim=0)
        first = self.node("Greater", size, 1.0)
        most = self.constant(numpy.iinfo(numpy.int64).max, numpy.int64)
        return self.node("Loop", most, first, x, body=body, ndim=x.ndim)


def model_of(net: Net) -> bytes:
    """The model, its weights included; its input is ``x``."""
    writer = _Writer()
    x, parameters = net.draw()
    result = net.forward(writer, _Value("x", x.ndim, writer), *map(writer.constant, parameters))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
    outputs = [helper.make_tensor_value_info(result.name, TensorProto.FLOAT, [None] * result.ndim)]
    return _model(writer, inputs, outputs)


def step_of(net: Net) -> bytes:
    """One step of decoding, as it is usually written: keys and values come in as ``past0...`` (heads, places before,
    width of a head), and go out longer as ``present0...``, first those of keys. Its other results are the word that is said
    and its vector.
    """
    writer = _Writer()
    x, (words, places, *drawn) = net.draw()
    parameters = [writer.constant(p) for p in drawn]
    layers = len(by_layer(parameters[4:]))
    presents: dict[int, _Value] = {}

    def attend(layer: int, joined: _Value) -> _Value:
        q, k, v = writer.heads(joined, HEADS)
        for number, now in ((layer, k), (layers + layer, v)):
            past = _Value(f"past{number}", 3, writer)
            presents[number] = writer.node("Concat", past, now, axis=1, into=f"present{number}")
        return writer.attended(q, presents[layer], presents[layers + layer])

    place = writer.node("Gather", writer.constant(places), _Value("place", 1, writer), axis=0)
    found = scores(writer, _Value("x", 2, writer) + place, parameters, attend)
    said = writer.node("ArgMax", found, axis=1, keepdims=0, ndim=1, into="said")
    writer.node("Gather", writer.constant(words), said, axis=0, into="following")
    cache = [HEADS, None, HEAD]
    value = helper.make_tensor_value_info
    inputs = [value("x", TensorProto.FLOAT, x.shape), value("place", TensorProto.INT64, [1])]
    inputs += [value(f"past{n}", TensorProto.FLOAT, cache) for n in range(2 * layers)]
    outputs = [value("said", TensorProto.INT64, [1]), value("following", TensorProto.FLOAT, x.shape)]
    outputs += [value(f"present{n}", TensorProto.FLOAT, cache) for n in range(2 * layers)]
    return _model(writer, inputs, outputs)


def _model(writer: _Writer, inputs: list[Any], outputs: list[Any]) -> bytes:
    graph = helper.make_graph(writer.nodes, "net", inputs, outputs, writer.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
