"""``blockfuse.to_onnx``: a net as an ONNX model."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy
import onnx
from onnx import helper

from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Again, Branch, Leaf, Structure
from blockfuse.frontends.onnx.writing.table import FORMS, PerItem, Shape, Value
from blockfuse.frontends.onnx.writing.writer import IR_VERSION, OPSET, Writer, tensor
from blockfuse.ir.errors import UnsupportedOperatorsError, UsageError
from blockfuse.ir.graph import argument
from blockfuse.nn.block import Block
from blockfuse.nn.block_owner import BlockOwner
from blockfuse.runtime.calls.function import FunctionOwner, HybridFunction
from blockfuse.runtime.calls.owner import Owner
from blockfuse.runtime.calls.straight_line import StraightLine, straight_line

assert FORMS, "importing the package fills the table"
BATCH = "batch"  # the name of its size
LARGEST = 2**31 - 2**20  # bytes of a file that protobuf reads; above, values lie in a file beside it


def to_onnx(net: Any, example: Any, path: str | os.PathLike[str] | None) -> onnx.ModelProto:
    """See ``blockfuse.to_onnx``."""
    arrays = _arrays(example)
    names = {id(p): name for name, p in reversed(_parameters(net).items())}
    line = straight_line(_owner(net), arrays, names)
    model = _model(net, line, len(arrays))
    onnx.checker.check_model(model, full_check=model.ByteSize() < LARGEST)
    if path is not None:
        _save(model, os.fspath(path))
    return model


def _save(model: onnx.ModelProto, path: str) -> None:
    if model.ByteSize() < LARGEST:
        onnx.save(model, path)
        return
    beside = f"{os.path.basename(path)}.data"
    onnx.save(model, path, save_as_external_data=True, location=beside)


# -- what is given ---------------------------------------------------------------------------------------------------


def _parameters(net: Any) -> dict[str, Any]:
    if isinstance(net, Block):
        return dict(net.collect_params())
    if isinstance(net, HybridFunction):
        return {}
    raise TypeError(f"to_onnx() takes a block or a hybridized function, not {type(net).__name__}")


def _owner(net: Any) -> Owner:
    return BlockOwner(net) if isinstance(net, Block) else FunctionOwner(net.__wrapped__, net)


def _arrays(example: Any) -> list[ndarray]:
    """The arguments of a call: an array or its shape, or a list or tuple of such."""
    several = isinstance(example, list | tuple) and not _is_shape(example)
    return [_array(one) for one in (example if several else [example])]


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(size, int) for size in value)


def _array(one: Any) -> ndarray:
    if _is_shape(one):
        return ndarray(numpy.full(one, 0.5, "float32"))
    if not isinstance(one, ndarray | numpy.ndarray):
        raise TypeError(
            f"to_onnx() takes arrays or shapes (tuples of ints) as an example, not {type(one).__name__}"
        )
    return one if isinstance(one, ndarray) else ndarray(numpy.array(one))


def _input_names(net: Any, count: int) -> list[str]:
    """Those of the parameters of ``forward``."""
    function = net.forward if isinstance(net, Block) else net.__wrapped__
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds]
    if count == 1 and not known:
        return ["input"]
    return [*known, *(f"input_{n}" for n in range(len(known), count))][:count]


# -- what is written -------------------------------------------------------------------------------------------------


def _model(net: Any, line: StraightLine, count: int) -> onnx.ModelProto:
    writer = Writer(line.sizes)
    values_of = {name: p.data()._data for name, p in _parameters(net).items() if p._data is not None}
    inputs = _inputs(writer, line, _input_names(net, count), values_of)
    names = [writer.reserved(name) for name in _output_names(line.structure, "output", net)]
    values = writer.graph(line.graphs)
    _require_forms(net, line, writer)
    outputs = [writer.named(value, name) for value, name in zip(values, names, strict=True)]
    nodes = _needed(writer.nodes, names)
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        type(net).__name__ if isinstance(net, Block) else net.__name__,
        [_told(value) for value in inputs],
        [_told(value) for value in outputs],
        [tensor(name, array) for name, array in writer.initializers.items() if name in read],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="blockfuse",
    )


def _inputs(writer: Writer, line: StraightLine, names: Sequence[str], values: dict[str, Any]) -> list[Value]:
    """The arguments, defined in the writer as all other inputs of the graph are."""
    inputs = list(zip(*(graph.inputs for graph in line.graphs), strict=True))
    waiting, given = iter(names), []
    for node in inputs:
        first = node[0]
        if first.operator is argument:
            value = Value(next(waiting), first.dtype, writer.joined([n.shape for n in node]))
            given.append(value)
            writer.define(first, value)
    for node in inputs:
        found = line.found.get(node[0])
        if isinstance(found, str):
            writer.hold(node[0], found, values[found])
        elif found is not None:
            writer.hold(node[0], "constant", found)
    return given


def _require_forms(net: Any, line: StraightLine, writer: Writer) -> None:
    """Raise for all that cannot be written, at once."""
    faults = [
        f"{what} ({f'{count} times, first ' if count > 1 else ''}at {writer.lines[what] or 'an unknown line'})"
        for what, count in sorted(writer.refused.items())
    ]
    parts = []
    if line.decisions:
        parts.append(f"it takes one of several ways, by values, at {', '.join(line.decisions)}")
    if faults:
        parts.append(f"ONNX has no form of {', '.join(faults)}")
    if parts:
        label = type(net).__name__ if isinstance(net, Block) else net.__name__
        raise UnsupportedOperatorsError(f"{label} cannot be written as ONNX: {'; and '.join(parts)}")


def _output_names(structure: Structure, name: str, net: Any) -> Iterator[str]:
    """A name for each array of a result, by its place."""
    if isinstance(structure, Leaf):
        yield name
    elif isinstance(structure, Branch):
        keys = structure.keys or range(len(structure.parts))
        start = "" if structure.keys and name == "output" else f"{name}_"
        for key, part in zip(keys, structure.parts, strict=True):
            yield from _output_names(part, f"{start}{key}", net)
    else:
        what = "a container twice" if isinstance(structure, Again) else f"{structure}"
        raise UsageError(f"the result holds {what}, which is no array: ONNX has no form of it")


def _needed(nodes: list[onnx.NodeProto], names: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that outputs need."""
    needed, kept = set(names), []
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    return kept[::-1]


def _told(value: Value) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_value_info(value.name, kind, _sizes(value.shape))


def _sizes(shape: Shape) -> list[int | str]:
    return [
        (BATCH if size.count == 1 else f"{size.count}*{BATCH}") if isinstance(size, PerItem) else size
        for size in shape
    ]
