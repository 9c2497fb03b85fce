"""Nodes of an ONNX model, one after the other, with their types; and a recorded graph written with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy
import onnx
from onnx import helper, numpy_helper

from blockfuse.frontends.onnx.writing.table import FORMS, Call, NoFormError, PerItem, Shape, Size, Value
from blockfuse.ir.builder import expanded
from blockfuse.ir.graph import Graph, Node, constant, graph_of
from blockfuse.ir.lowering import Composite

OPSET, IR_VERSION = 18, 8  # what ONNX Runtime reads from 1.14 on
Numbers = Sequence[int] | Sequence[float] | int | float


class Writer:
    """A model as far as it is written.

    Where a graph is there at two sizes of the batch, both are written side by side, and numbers in which they differ are
    ``PerItem``. What cannot be written is counted in ``refused``, with the line where it stands first.
    """

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, numpy.ndarray] = {}
        self.refused: Counter[str] = Counter()
        self.lines: dict[str, str] = {}  # what was refused -> where
        self._sizes = sizes
        self._values: dict[Node, Value] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self._made: dict[str, tuple[str, tuple[Value, ...], dict[str, Any]]] = {}  # value -> how
        self._outputs: dict[str, str] = {}  # value -> the name of the output that it is
        self._names: Counter[str] = Counter()
        self._batch: tuple[str, int] | None = None  # an input, and its axis that is as long as the batch
        self._line = ""

    # -- graphs ----------------------------------------------------------------------------------------------

    def define(self, node: Node, value: Value) -> None:
        """An input of the graph is this value."""
        self._values[node] = value
        self._names[value.name] += 1
        for axis, size in enumerate(value.shape):
            if size == PerItem(1):
                self._batch = self._batch or (value.name, axis)

    def hold(self, node: Node, name: str, array: numpy.ndarray) -> None:
        """An input of the graph is an initializer."""
        self._values[node] = self.initializer(name, array)

    def graph(self, graphs: Sequence[Graph]) -> tuple[Value, ...]:
        """The outputs of a graph whose inputs are defined. graphs: at two sizes of the batch, or at one."""
        for node in zip(*(graph.nodes for graph in graphs), strict=True):
            self._write(node)
        return tuple(self._values[node] for node in graphs[0].outputs)

    def _write(self, node: tuple[Node, ...]) -> None:
        first = node[0]
        if first in self._values:
            return
        if first.operator is constant:
            self._values[first] = self.constant(numpy.asarray(first.attrs["value"]))
            return
        call = Call(
            first.operator,
            tuple(self._values[operand] for operand in first.operands),
            {name: self.joined([n.attrs[name] for n in node]) for name in first.attrs},
            first.dtype,
            self.joined([n.shape for n in node]),
        )
        self._line = str(first.source or "")
        try:
            self._values[first] = self._called(call, node)
        except NoFormError as reason:
            what = f"{first.operator.name}{' ' if str(reason) else ''}{reason}"
            self.refused[what] += 1
            self.lines.setdefault(what, self._line)
            self._values[first] = Value(self._name("refused"), call.dtype, call.shape)

    def _called(self, call: Call, node: tuple[Node, ...]) -> Value:
        form = FORMS.get(call.operator.name)
        if form is None:
            return self._expanded(node)
        try:
            value = form(self, call, *call.operands, **call.attrs)
        except NoFormError:
            if not isinstance(call.operator.lowering, Composite):
                raise
            return self._expanded(node)
        assert (value.dtype, value.shape) == (call.dtype, call.shape), (call, value)
        return value

    def _expanded(self, node: tuple[Node, ...]) -> Value:
        """An operator that is written with others."""
        first = node[0]
        lowering = first.operator.lowering
        if not isinstance(lowering, Composite) or first.operator.random:
            raise NoFormError
        if any(n.dtype == numpy.float16 for n in (first, *first.operands)):
            raise NoFormError("of float16")  # its sums are of float32: an expansion does not say so
        parts = [graph_of(n.operands, [expanded(lowering.expand, n)]) for n in node]
        alike = [tuple(n.operator.name for n in part.nodes) for part in parts]
        if alike[0] != alike[-1]:
            raise NoFormError("for any size of the batch")
        before = self.refused.copy()
        (value,) = self.graph(parts)
        if self.refused != before:
            self.refused = before
            raise NoFormError
        return value

    def joined(self, values: list[Any]) -> Any:
        """What is the same at both sizes, with ``PerItem`` where it is not."""
        first, last = values[0], values[-1]
        if isinstance(first, tuple):
            return tuple(self.joined(list(parts)) for parts in zip(*values, strict=True))
        if not isinstance(first, int) or isinstance(first, bool):
            return first
        return int(first) if first == last else PerItem(first // self._sizes[0])

    # -- values ----------------------------------------------------------------------------------------------

    def _name(self, start: str) -> str:
        while True:
            self._names[start] += 1
            name = start if self._names[start] == 1 else f"{start}_{self._names[start]}"
            if name == start or not self._names[name]:
                self._names[name] += name != start
                return name

    def node(
        self, kind: str, operands: Iterable[Value], dtype: Any, shape: Shape, **attributes: Numbers | str
    ) -> Value:
        """A node with one output. Raises NoFormError where the standard has none over these dtypes."""
        operands = tuple(operands)
        for place, operand in enumerate(operands):
            if _spelled(operand.dtype) not in _allowed(kind, place):
                raise NoFormError(f"of {operand.dtype}")
        value = Value(self._name(kind.lower()), numpy.dtype(dtype), shape)
        written = helper.make_node(kind, [o.name for o in operands], [value.name], value.name, **attributes)
        written.doc_string = self._line
        self.nodes.append(written)
        self._made[value.name] = (kind, operands, attributes)
        return value

    def like(self, kind: str, *operands: Value, **attributes: Numbers | str) -> Value:
        """A node whose output is like its first operand."""
        return self.node(kind, operands, operands[0].dtype, operands[0].shape, **attributes)

    def constant(self, array: Any, dtype: Any = None) -> Value:
        """An initializer with these values, which may serve several nodes."""
        array = numpy.asarray(array, dtype)
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.initializer("constant", array)
        return self._constants[key]

    def initializer(self, name: str, array: numpy.ndarray) -> Value:
        value = Value(self._name(name), array.dtype, array.shape)
        self.initializers[value.name] = array
        return value

    def integers(self, sizes: Sequence[Size]) -> Value:
        """A vector of int64, computed from the size of the batch where it must be."""
        if not any(isinstance(size, PerItem) for size in sizes):
            return self.constant(sizes, "int64")
        parts = [self._size(n) if isinstance(n, PerItem) else self.constant([n], "int64") for n in sizes]
        return self.node("Concat", parts, "int64", (len(sizes),), axis=0)

    def _size(self, size: PerItem) -> Value:
        assert self._batch is not None, "an input has the batch"
        name, axis = self._batch
        given = next(value for value in self._values.values() if value.name == name)
        batch = self.node("Shape", [given], "int64", (1,), start=axis, end=axis + 1)
        return batch if size.count == 1 else self.like("Mul", batch, self.constant([size.count], "int64"))

    def number(self, value: float, like: Value) -> Value:
        """A scalar of the dtype of a value."""
        return self.constant(value, like.dtype)

    def cast(self, x: Value, dtype: Any) -> Value:
        if x.dtype == dtype:
            return x
        kind = helper.np_dtype_to_tensor_dtype(numpy.dtype(dtype))
        return self.node("Cast", [x], dtype, x.shape, to=kind)

    def elementwise(self, kind: str, operands: Sequence[Value], dtype: Any, shape: Shape) -> Value:
        """A node for each element; of one array and numbers, before the array is transposed, which may vanish then."""
        arrays = [x for x in operands if x.shape]
        made, sources, attributes = self._made.get(arrays[0].name if arrays else "", ("", (), {}))
        if made != "Transpose" or len(arrays) != 1:
            return self.node(kind, operands, dtype, shape)
        now = [sources[0] if x is arrays[0] else x for x in operands]
        return self.transposed(self.node(kind, now, dtype, sources[0].shape), attributes["perm"])

    def transposed(self, x: Value, axes: Sequence[int]) -> Value:
        """``x`` with its axes in another order; what was transposed before is transposed once."""
        kind, operands, attributes = self._made.get(x.name, ("", (), {}))
        if kind == "Transpose":
            return self.transposed(operands[0], [attributes["perm"][axis] for axis in axes])
        if list(axes) == list(range(x.ndim)):
            return x
        return self.node("Transpose", [x], x.dtype, tuple(x.shape[a] for a in axes), perm=list(axes))

    def reshaped(self, x: Value, shape: Shape) -> Value:
        """``x`` in another shape; what was reshaped before is reshaped once."""
        kind, operands, _ = self._made.get(x.name, ("", (), {}))
        if kind == "Reshape":
            return self.reshaped(operands[0], shape)
        if x.shape == shape:
            return x
        open_sizes = [n for n, size in enumerate(shape) if isinstance(size, PerItem)]
        if len(open_sizes) == 1 and 0 not in shape:
            shape_now = self.constant(
                [-1 if n in open_sizes else size for n, size in enumerate(shape)], "int64"
            )
        else:
            shape_now = self.integers(shape)
        return self.node("Reshape", [x, shape_now], x.dtype, shape, allowzero=int(0 in shape))

    def smallest(self, x: Value, axis: int, places: bool) -> Value:
        """The elements along an axis in rising order, or the places where they stood."""
        count = self.integers([x.shape[axis]])
        ordered = self.node("TopK", [x, count], x.dtype, x.shape, axis=axis, largest=0)
        found = Value(self._name("places"), numpy.dtype("int64"), x.shape)
        self.nodes[-1].output.append(found.name)
        return found if places else ordered

    def named(self, value: Value, name: str) -> Value:
        """The value under this name, for an output: by the node that makes it, where that has no other."""
        is_made = any(value.name in node.output for node in self.nodes)
        if not is_made:  # an input, a constant, or one that is an output already
            value = replace(value, name=self._outputs.get(value.name, value.name))
            value = self.node("Identity", [value], value.dtype, value.shape)
        self._rename(value.name, name)
        return replace(value, name=name)

    def _rename(self, before: str, name: str) -> None:
        self._outputs[before] = name
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [name if other == before else other for other in names]
            node.name = name if node.name == before else node.name

    def reserved(self, name: str) -> str:
        """A name for an output: this one, unless an input or another output has it."""
        return self._name(name)


@cache
def _allowed(kind: str, place: int) -> frozenset[str]:
    """The types that an operator takes as this input."""
    inputs = onnx.defs.get_schema(kind, OPSET, "").inputs
    return frozenset(inputs[min(place, len(inputs) - 1)].types)


def _spelled(dtype: numpy.dtype) -> str:
    return f"tensor({_SPELLED.get(dtype.name, dtype.name)})"


_SPELLED = {"float32": "float", "float64": "double"}


def tensor(name: str, array: numpy.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(numpy.ascontiguousarray(array).reshape(array.shape), name)
