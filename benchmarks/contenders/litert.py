"""LiteRT with XNNPACK: the net as a model of its own format, written with the schema that its wheel has.

NOTE [a LiteRT model]
A model is a list of tensors, of buffers with the values of constants, and of operators over numbers of tensors. XNNPACK
takes what it can; a ReLU behind a layer becomes the layer's own, as its converter would have it.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from benchmarks.contender import UnsupportedNetError, Way
from benchmarks.nets import Net

_Op = schema.BuiltinOperator
_RELU = schema.ActivationFunctionType.RELU


class _Value:
    """A tensor of the model, with the arithmetic that formulas use."""

    def __init__(self, number: int, shape: tuple[int, ...], writer: _Writer) -> None:
        self.number, self.shape, self.writer = number, shape, writer

    def __add__(self, other: Any) -> _Value:
        return self.writer.operator(_Op.ADD, [self, other], options=schema.AddOptionsT())

    def __sub__(self, other: Any) -> _Value:
        return self.writer.operator(_Op.SUB, [self, other], options=schema.SubOptionsT())

    def __mul__(self, other: Any) -> _Value:
        return self.writer.operator(_Op.MUL, [self, other], options=schema.MulOptionsT())


class _Writer:
    """The vocabulary: each operator appends itself and its result."""

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self.buffers: list[Any] = [schema.BufferT()]
        self.operators: list[Any] = []
        self.kinds: list[int] = []

    def tensor(
        self, shape: tuple[int, ...], kind: int = schema.TensorType.FLOAT32, buffer: int = 0
    ) -> _Value:
        made = schema.TensorT()
        made.shape, made.type, made.buffer, made.name = list(shape), kind, buffer, f"t{len(self.tensors)}"
        self.tensors.append(made)
        return _Value(len(self.tensors) - 1, shape, self)

    def constant(self, value: Any) -> _Value:
        array = numpy.asarray(value)
        kind = schema.TensorType.INT32 if array.dtype.kind == "i" else schema.TensorType.FLOAT32
        array = array.astype("int32" if array.dtype.kind == "i" else "float32")
        buffer = schema.BufferT()
        buffer.data = numpy.frombuffer(array.tobytes(), numpy.uint8)
        self.buffers.append(buffer)
        return self.tensor(array.shape, kind, len(self.buffers) - 1)

    def operator(
        self, kind: int, operands: list[Any], shape: tuple[int, ...] | None = None, options: Any = None
    ) -> _Value:
        values = [o if isinstance(o, _Value) else self.constant(numpy.float32(o)) for o in operands]
        made = schema.OperatorT()
        if kind not in self.kinds:
            self.kinds.append(kind)
        found = numpy.broadcast_shapes(*(v.shape for v in values)) if shape is None else shape
        result = self.tensor(tuple(found))
        made.opcodeIndex, made.inputs = self.kinds.index(kind), [v.number for v in values]
        made.outputs = [result.number]
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            made.builtinOptionsType, made.builtinOptions = getattr(schema.BuiltinOptions, name), options
        self.operators.append(made)
        return result

    # -- the vocabulary ------------------------------------------------------------------------------------------

    def dense(self, x: _Value, weight: _Value, bias: _Value) -> _Value:
        shape = (*x.shape[:-1], weight.shape[0])
        return self.operator(_Op.FULLY_CONNECTED, [x, weight, bias], shape, schema.FullyConnectedOptionsT())

    def relu(self, x: _Value) -> _Value:
        before = self.operators[-1] if self.operators else None
        if (
            before
            and before.outputs == [x.number]
            and self.kinds[before.opcodeIndex] in (_Op.FULLY_CONNECTED, _Op.ADD)
        ):
            before.builtinOptions.fusedActivationFunction = _RELU
            return x
        return self.operator(_Op.RELU, [x])

    def exp(self, x: _Value) -> _Value:
        return self.operator(_Op.EXP, [x], options=schema.ExpOptionsT())

    def tanh(self, x: _Value) -> _Value:
        return self.operator(_Op.TANH, [x])

    def sigmoid(self, x: _Value) -> _Value:
        return self.operator(_Op.LOGISTIC, [x])

    def softmax(self, x: _Value) -> _Value:
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        return self.operator(_Op.SOFTMAX, [x], options=options)

    def gelu(self, x: _Value) -> _Value:
        return self.operator(_Op.GELU, [x], options=schema.GeluOptionsT())

    def layer_norm(self, x: _Value, gain: _Value, shift: _Value) -> _Value:
        centred = x - self._mean(x)
        variance = self._mean(centred * centred)
        return centred * self.operator(_Op.RSQRT, [variance + 1e-5]) * gain + shift

    def _mean(self, x: _Value) -> _Value:
        options = schema.ReducerOptionsT()
        options.keepDims = True
        axis = self.constant(numpy.array([-1], numpy.int32))
        return self.operator(_Op.MEAN, [x, axis], (*x.shape[:-1], 1), options)

    def __getattr__(self, name: str) -> Any:
        raise UnsupportedNetError(f"nobody wrote {name} for it")

    # -- the model -----------------------------------------------------------------------------------------------

    def model(self, x: _Value, result: _Value) -> bytes:
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = [x.number], [result.number]
        made = schema.ModelT()
        made.version, made.subgraphs, made.buffers = 3, [graph], self.buffers
        made.operatorCodes = [_code(kind) for kind in self.kinds]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(made.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _code(kind: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, min(kind, 127), 1
    return code


def build(net: Net, threads: int) -> list[Way]:
    """NumPy's arrays are copied in and out, as its interface does; else the input lies in the interpreter's memory."""
    drawn, parameters = net.draw()
    writer = _Writer()
    x = writer.tensor(drawn.shape)
    result = net.forward(writer, x, *map(writer.constant, parameters))
    interpreter = litert.Interpreter(model_content=writer.model(x, result), num_threads=threads)
    interpreter.allocate_tensors()
    inner = interpreter._interpreter  # 0.7 us less than the public methods
    first, last = (d[0]["index"] for d in (interpreter.get_input_details(), interpreter.get_output_details()))
    interpreter.set_tensor(first, drawn)

    def passed(x: numpy.ndarray) -> numpy.ndarray:
        inner.SetTensor(first, x)
        inner.Invoke()
        found: numpy.ndarray = inner.GetTensor(last, 0)
        return found

    scope = {"call": passed, "x": drawn, "kept": interpreter}  # its inner part does not keep the model
    return [
        Way("call()", {**scope, "call": inner.Invoke}, lambda _: interpreter.get_tensor(last)),
        Way("call(x)", scope, arrays="numpy"),
    ]
