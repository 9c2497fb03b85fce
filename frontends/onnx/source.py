"""An ONNX graph as Python source: one line a node, a function for each graph in it.

The tracer sees what a user could have written: `explain()` names its lines, branches and loops are Python's, and constants
are literals. Names of the file occur only as identifiers that are made here and in quoted literals: no text of it is run.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy
import onnx

from blockfuse.frontends.onnx.rules.table import RULES, Rule, rule_of
from blockfuse.frontends.onnx.rules.values import ELEMENT_TYPES
from blockfuse.frontends.onnx.tensors import array_of
from blockfuse.ir.errors import ModelFileError

LITERAL = 64  # elements of a constant that stands in the source; larger ones are arrays of the block
DEPTH = 32  # graphs in graphs


@dataclass(frozen=True)
class Declared:
    """What a file tells of an input: None for what it leaves open."""

    name: str
    dtype: str | None
    shape: tuple[int | str | None, ...] | None  # a text names a size that a call decides

    @property
    def sizes(self) -> tuple[int | None, ...] | None:
        """The shape, None for sizes that a call decides."""
        if self.shape is None:
            return None
        return tuple(size if isinstance(size, int) else None for size in self.shape)


@dataclass(frozen=True)
class Source:
    """A graph as source, and what that names."""

    text: str
    parameters: dict[str, numpy.ndarray]  # name -> an initializer that can be learnt
    constants: dict[str, numpy.ndarray]  # name -> any other large array
    symbols: tuple[str, ...]  # the rules that the source calls
    inputs: tuple[Declared, ...]
    outputs: tuple[str, ...]


def source_of(model: onnx.ModelProto, opset: int) -> Source:
    """The source of a model that has a rule for each operator."""
    return _Writer(opset).main(model.graph)


class _Names:
    """Names of a file as identifiers, each one once; a graph in another sees that one's."""

    def __init__(self, taken: set[str], outer: dict[str, str]) -> None:
        self.taken, self.known = taken, dict(outer)

    def define(self, name: str) -> str:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII).lstrip("_") or "value"
        plain = f"v{plain}" if plain[0].isdigit() else plain
        plain = plain[:60]
        number, unique = 2, plain
        while unique in self.taken or keyword.iskeyword(unique):
            number, unique = number + 1, f"{plain}_{number}"
        self.taken.add(unique)
        self.known[name] = unique
        return unique


class _Writer:
    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.parameters: dict[str, numpy.ndarray] = {}
        self.constants: dict[str, numpy.ndarray] = {}
        self.symbols: dict[str, None] = {}
        self.lines: list[str] = []
        self.taken = {"self", "args", "named", "ordered", "constant", "given", "result", *RULES} | {
            row.symbol for rows in RULES.values() for row in rows
        }

    # -- graphs ----------------------------------------------------------------------------------------------

    def main(self, graph: onnx.GraphProto) -> Source:
        initialized = {tensor.name for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in initialized]
        names = _Names(self.taken, {})
        arguments = [names.define(value.name) for value in inputs]
        self.emit(0, "def forward(self, *args, **named):")
        if inputs:
            listed = tuple(value.name for value in inputs)
            self.emit(
                1, f"{', '.join(arguments)}{',' * (len(inputs) == 1)} = ordered({listed!r}, args, named)"
            )
        told = tuple(map(declared, inputs))
        for known, argument in zip(told, arguments, strict=True):
            self.emit(1, f"{argument} = given({known.name!r}, {argument}, {known.dtype!r}, {known.sizes!r})")
        self.body(graph, names, 1)
        results = [self.used(names, value.name, graph) for value in graph.output]
        self.emit(
            1, f"return result(({', '.join(results)},), ({', '.join(arguments)}{',' * bool(arguments)}))"
        )
        return Source(
            "\n".join(self.lines) + "\n",
            self.parameters,
            self.constants,
            tuple(self.symbols),
            told,
            tuple(value.name for value in graph.output),
        )

    def inner(self, graph: onnx.GraphProto, outer: _Names, depth: int, label: str) -> str:
        """The function of a graph in another one."""
        if depth > DEPTH:
            raise ModelFileError(f"graphs are nested deeper than {DEPTH}")
        function = outer.define(label)
        names = _Names(self.taken, outer.known)
        arguments = [names.define(value.name) for value in graph.input]
        self.emit(depth, f"def {function}({', '.join(arguments)}):")
        self.body(graph, names, depth + 1)
        results = [self.used(names, value.name, graph) for value in graph.output]
        self.emit(depth + 1, f"return ({', '.join(results)}{',' * bool(results)})")
        return function

    def body(self, graph: onnx.GraphProto, names: _Names, depth: int) -> None:
        known = dict(_initializers(graph))
        read = set(self.read_by_python(graph))
        for name, value in known.items():
            self.initializer(name, value, name in read, names, depth)
        for node in graph.node:
            self.node(node, graph, names, depth)

    def read_by_python(self, graph: onnx.GraphProto) -> Iterator[str]:
        """The values that arrive where a rule must know them."""
        for node in graph.node:
            row = rule_of(node.op_type, self.opset)
            yield from (name for n, name in enumerate(node.input) if row is not None and row.reads(n))
            for attribute in node.attribute:
                for inner in (attribute.g, *attribute.graphs):
                    yield from self.read_by_python(inner)

    # -- values ----------------------------------------------------------------------------------------------

    def initializer(self, name: str, value: numpy.ndarray, is_read: bool, names: _Names, depth: int) -> None:
        small = value.size <= LITERAL and (is_read or value.dtype.kind != "f")
        if small:
            self.emit(depth, f"{names.define(name)} = {literal(value)}")
            return
        table = self.parameters if value.dtype.kind == "f" else self.constants
        self.emit(depth, f"{names.define(name)} = {self.held(table, name, value)}")

    def held(self, table: dict[str, numpy.ndarray], name: str, value: numpy.ndarray) -> str:
        key, number = name or "value", 2
        while key in self.parameters or key in self.constants:
            key, number = f"{name}.{number}", number + 1
        table[key] = value
        return f"self.params[{key!r}].data()"

    def used(self, names: _Names, name: str, graph: onnx.GraphProto) -> str:
        if name not in names.known:
            raise ModelFileError(
                f"graph {graph.name!r} uses {name!r} before anything gives it: a value is missing, or nodes form a circle"
            )
        return names.known[name]

    # -- nodes -----------------------------------------------------------------------------------------------

    def node(self, node: onnx.NodeProto, graph: onnx.GraphProto, names: _Names, depth: int) -> None:
        row = rule_of(node.op_type, self.opset)
        assert row is not None, "missing() told before"
        values = [self.used(names, name, graph) if name else "None" for name in node.input]
        while values and values[-1] == "None":
            values.pop()
        options = self.attributes(node, row, names, depth)
        outputs = list(node.output)
        if "outputs" in row.parameters:
            options.append(f"outputs={max((n + 1 for n, name in enumerate(outputs) if name), default=1)}")
        self.symbols[row.symbol] = None
        if "results" in row.parameters:
            told = map(declared, _graph_of(node, "body").output)
            options.append(f"results={tuple((known.dtype, known.sizes) for known in told)!r}")
        call = f"{row.symbol}({', '.join([*values, *options])})"
        self.emit(
            depth, f"{self.targets(outputs, names)} = {call}{'' if not row.several else self.part(outputs)}"
        )

    def targets(self, outputs: list[str], names: _Names) -> str:
        return ", ".join(names.define(name) if name else "_" for name in outputs) or "_"

    def part(self, outputs: list[str]) -> str:
        return "[0]" if len(outputs) == 1 else f"[:{len(outputs)}]"

    def attributes(self, node: onnx.NodeProto, row: Rule, names: _Names, depth: int) -> list[str]:
        options = []
        for attribute in node.attribute:
            if attribute.name not in row.parameters:
                raise ModelFileError(
                    f"{node.op_type} {node.name!r} has an attribute {attribute.name!r} that it cannot have"
                )
            if attribute.type == onnx.AttributeProto.GRAPH:
                value = self.inner(
                    attribute.g, names, depth, f"{attribute.name}_of_{node.name or node.op_type}"
                )
            else:
                value = self.attribute(attribute, node)
            options.append(f"{attribute.name}={value}")
        return options

    def attribute(self, attribute: onnx.AttributeProto, node: onnx.NodeProto) -> str:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.type == onnx.AttributeProto.TENSOR:
            array = array_of(value)
            if array.size <= LITERAL:
                return literal(array)
            return self.held(self.constants, node.output[0] if node.output else node.name, array)
        return plain(value, node)

    def emit(self, depth: int, line: str) -> None:
        self.lines.append("    " * depth + line)


def _graph_of(node: onnx.NodeProto, name: str) -> onnx.GraphProto:
    """The graph in an attribute."""
    return next((a.g for a in node.attribute if a.name == name), onnx.GraphProto())


def _initializers(graph: onnx.GraphProto) -> Iterator[tuple[str, numpy.ndarray]]:
    for tensor in graph.initializer:
        yield tensor.name, array_of(tensor)
    if graph.sparse_initializer:
        raise ModelFileError("sparse initializers are not supported")


def declared(value: onnx.ValueInfoProto) -> Declared:
    """What a file tells of a value."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.elem_type:
        return Declared(value.name, None, None)
    if kind.elem_type not in ELEMENT_TYPES:
        raise ModelFileError(
            f"value {value.name!r} has the element type {kind.elem_type}, which is not supported"
        )
    shape = tuple(map(_size, kind.shape.dim)) if kind.HasField("shape") else None
    return Declared(value.name, ELEMENT_TYPES[kind.elem_type], shape)


def _size(size: onnx.TensorShapeProto.Dimension) -> int | str | None:
    """A size that is below 0 is open: some converters write -1."""
    known = size.HasField("dim_value") and size.dim_value >= 0
    return int(size.dim_value) if known else size.dim_param or None


def literal(value: numpy.ndarray) -> str:
    """A small array as source."""
    return f"constant({value.dtype.name!r}, {value.shape!r}, {value.tobytes()!r})"


def plain(value: Any, node: onnx.NodeProto) -> str:
    """An attribute as source: numbers, texts and tuples of them."""
    if isinstance(value, bytes):
        return repr(value.decode("utf-8", "replace"))
    if isinstance(value, int):
        return repr(int(value))
    if isinstance(value, float):
        return (
            f"float({str(value)!r})"
            if value != value or value in (float("inf"), -float("inf"))
            else repr(value)
        )
    if isinstance(value, Iterable):
        items = [plain(item, node) for item in value]
        return f"({', '.join(items)}{',' * (len(items) == 1)})"
    raise ModelFileError(f"{node.op_type} {node.name!r} has an attribute of a kind that is not supported")
