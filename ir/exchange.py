"""Flows as plain data that JSON holds, and back: every node is checked against the operator table before anything runs.

NOTE [data and no code]
A file of flows may come from anybody, so nothing in it is looked up but names of rows of the operator table, and nothing
is run but their NumPy meanings, on attributes of a few plain types. What is read is rebuilt node by node: each type must be
what the row's rule gives, each operand must stand before its user, each register must have a value on every way.

NOTE [numbers by the item]
A flow for every size of the batch is written from what it is at two sizes: a number that differs is so many for each
item, and stands as ``{"per_item": n}``. ``for_size`` puts the numbers of one size in their place.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy

from blockfuse.ir.errors import BlockfuseError, GraphFileError, UsageError
from blockfuse.ir.flow import Block, Flow
from blockfuse.ir.graph import Graph, Node, argument, carried, constant, leaf, literal, parameter
from blockfuse.ir.lowering import Fused, Leaf
from blockfuse.ir.operator import TABLE, Operator
from blockfuse.ir.types import DTYPES, Extent, TensorType
from blockfuse.ir.verify import verify

Data = Any  # what JSON has: numbers, texts, lists, dicts by text, None

_LEAVES = {"argument": argument, "parameter": parameter, "register": carried}


# -- flows to data -------------------------------------------------------------------------------------------


def data_of_flow(flow: Flow, found: Mapping[Node, str | numpy.ndarray]) -> Data:
    """found: name of the parameter that a leaf is, or the values of one that becomes a constant.

    Raises UsageError for what has no form as data.
    """
    if flow.stacks or flow.updates:
        raise UsageError("it goes back through a loop, or writes to what it reads, which no file holds")
    return [_data_of_block(block, found) for block in flow.blocks]


def _data_of_block(block: Block, found: Mapping[Node, str | numpy.ndarray]) -> Data:
    numbers = {node: n for n, node in enumerate((*block.graph.inputs, *block.graph.nodes))}
    return {
        "inputs": [_data_of_leaf(node, found.get(node)) for node in block.graph.inputs],
        "nodes": [_data_of_node(node, numbers) for node in block.graph.nodes],
        "outputs": [numbers[node] for node in block.graph.outputs],
        "stores": [node.attrs["name"] for node in block.stores],
        "successors": None if block.successors is None else list(block.successors),
    }


def _data_of_leaf(node: Node, found: str | numpy.ndarray | None) -> Data:
    if isinstance(found, numpy.ndarray):
        return {"kind": "constant", "value": data_of_array(found)}
    kind = "parameter" if found else "register" if node.operator is carried else "argument"
    return {"kind": kind, "name": found or node.attrs["name"], "type": data_of_type(node.type)}


def _data_of_node(node: Node, numbers: Mapping[Node, int]) -> Data:
    return {
        "operator": node.operator.name,
        "operands": [numbers[operand] for operand in node.operands],
        "attrs": {name: _data_of_attribute(value) for name, value in node.attrs.items()},
        "type": data_of_type(node.type),
    }


def data_of_type(type: TensorType) -> Data:
    return [str(type.dtype), list(type.shape)]


def data_of_array(array: numpy.ndarray) -> Data:
    """Little endian, in C order, as base64."""
    elements = numpy.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    text = base64.b64encode(elements.tobytes()).decode("ascii")
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": text}


def _data_of_attribute(value: Any) -> Data:
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if type(value) is tuple:
        return [_data_of_attribute(v) for v in value]
    for tag, (kind, write, _) in _TAGGED.items():
        if isinstance(value, kind):
            return {tag: write(value)}
    raise UsageError(f"an attribute is a {type(value).__name__}, which no file holds")


# -- every size of a batch -----------------------------------------------------------------------------------


def for_every_size(one: Data, other: Data, sizes: tuple[int, int]) -> Data:
    """What ``one`` and ``other`` are at these two sizes of the batch: NOTE [numbers by the item]."""
    if type(one) is dict and type(other) is dict and one.keys() == other.keys():
        return {key: for_every_size(one[key], other[key], sizes) for key in one}
    if type(one) is list and type(other) is list and len(one) == len(other):
        return [for_every_size(a, b, sizes) for a, b in zip(one, other, strict=True)]
    if type(one) is type(other) and one == other:
        return one
    if type(one) is int and type(other) is int and not one % sizes[0]:
        count = one // sizes[0]
        if other == count * sizes[1]:
            return {"per_item": count}
    raise UsageError(f"{one!r:.80} becomes {other!r:.80} for another size of the batch")


def for_size(data: Data, size: int) -> Data:
    """The data for one size of the batch."""
    if type(data) is list:
        return [for_size(part, size) for part in data]
    if type(data) is dict:
        if data.keys() == {"per_item"}:
            return _count(data["per_item"], "a number for each item") * size
        return {key: for_size(part, size) for key, part in data.items()}
    return data


# -- data to flows -------------------------------------------------------------------------------------------


def flow_of_data(data: Data) -> Flow:
    """The flow, every node of it checked; raises GraphFileError where it is none that ``data_of_flow`` gives.

    See NOTE [data and no code].
    """
    try:
        leaves: dict[str, Node] = {}
        blocks = tuple(_block_of(part, len(data), leaves) for part in _list(data, "a flow"))
        _require(bool(blocks), "a flow has no blocks")
        _require_stored(blocks)
        return Flow(blocks)
    except GraphFileError:
        raise
    except (BlockfuseError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise GraphFileError(f"a block cannot be read ({type(error).__name__}: {error})") from error


def _block_of(data: Data, count: int, leaves: dict[str, Node]) -> Block:
    """count: of the blocks. leaves: those that were met, by name."""
    values = [_leaf_of(part, leaves) for part in _list(data["inputs"], "the inputs of a block")]
    inputs = tuple(node for node in values if node.operator is not constant)
    constants = tuple(node for node in values if node.operator is constant)
    for part in _list(data["nodes"], "the nodes of a block"):
        values.append(_node_of(part, values))
    nodes = (*constants, *values[len(inputs) + len(constants) :])
    outputs = tuple(_one_of(values, n) for n in _list(data["outputs"], "the outputs of a block"))
    graph = verify(Graph(inputs, nodes, outputs))
    stores = tuple(_register(leaves, name, outputs, n) for n, name in enumerate(data["stores"]))
    return Block(graph, stores, successors=_successors_of(data["successors"], outputs[len(stores) :], count))


def _leaf_of(data: Data, leaves: dict[str, Node]) -> Node:
    kind = data["kind"]
    if kind == "constant":
        return literal(array_of_data(data["value"]))
    _require(kind in _LEAVES, f"an input is of the kind {kind!r:.80}")
    return _known(leaves, leaf(_LEAVES[kind], _text(data["name"]), type_of_data(data["type"])))


def _known(leaves: dict[str, Node], made: Node) -> Node:
    """The leaf of this name: in all blocks it is the same one."""
    known = leaves.setdefault(made.attrs["name"], made)
    same = known.operator is made.operator and known.type == made.type
    _require(same, f"{made.attrs['name']} is {made.type} in one place and {known.type} in another")
    return known


def _register(leaves: dict[str, Node], name: Data, outputs: tuple[Node, ...], place: int) -> Node:
    _require(place < len(outputs), "a block stores more than it computes")
    return _known(leaves, leaf(carried, _text(name), outputs[place].type))


def _node_of(data: Data, values: list[Node]) -> Node:
    operator = _operator_of(data["operator"])
    operands = tuple(_one_of(values, n) for n in _list(data["operands"], "operands"))
    attrs = {_text(name): _attribute_of(value) for name, value in data["attrs"].items()}
    declared = type_of_data(data["type"])
    try:
        found = operator.result_type(*(o.type for o in operands), **attrs)
    except Exception as error:  # whatever a rule or NumPy finds to say of operands that nobody computed
        raise GraphFileError(f"{operator.name} does not take what it is given: {error}") from error
    _require(found == declared, f"{operator.name} gives {found}, and the file says {declared}")
    return Node(operator, operands, attrs, declared)


def _operator_of(name: Data) -> Operator:
    operator = TABLE.get(_text(name))
    if operator is None:
        raise GraphFileError(f"there is no operator {name!r} in this version of blockfuse")
    is_call = not isinstance(operator.lowering, Leaf | Fused)
    _require(is_call or operator is constant, f"{name} is no operator that is called")
    return operator


def type_of_data(data: Data) -> TensorType:
    dtype, shape = _list(data, "a type")
    _require(dtype in DTYPES, f"{dtype!r:.80} is no dtype")
    return TensorType(tuple(_count(n, "a size") for n in _list(shape, "a shape")), numpy.dtype(dtype))


def array_of_data(data: Data) -> numpy.ndarray:
    type = type_of_data([data["dtype"], data["shape"]])
    content = base64.b64decode(_text(data["data"]), validate=True)
    _require(len(content) == type.nbytes, f"an array of {type} has {len(content)} bytes")
    elements = numpy.frombuffer(content, type.dtype.newbyteorder("<"))
    return elements.astype(type.dtype).reshape(type.shape)


def _attribute_of(data: Data) -> Any:
    if type(data) is list:
        return tuple(_attribute_of(part) for part in data)
    if type(data) is not dict:
        return data
    ((tag, content),) = data.items()
    _require(tag in _TAGGED, f"an attribute is of the kind {tag!r}")
    return _TAGGED[tag][2](content)


def _successors_of(data: Data, rest: tuple[Node, ...], count: int) -> tuple[int | None, int | None] | None:
    if data is None:
        return None
    decided = len(rest) == 1 and rest[0].type.size == 1 and rest[0].dtype == bool
    _require(decided, "a block decides by something else than one truth")
    yes, no = (n if n is None else _count(n, "a block", count) for n in _list(data, "what follows"))
    return yes, no


def _require_stored(blocks: tuple[Block, ...]) -> None:
    """On every way to a block that reads a register, something was stored there."""
    every = frozenset(i for b in blocks for i in b.graph.inputs if i.operator is carried)
    stored = [every] * len(blocks)  # on all ways that were followed so far
    waiting = [(0, frozenset[Node]())]
    reached = [False] * len(blocks)
    while waiting:
        number, given = waiting.pop()
        narrower = stored[number] & given
        if reached[number] and narrower == stored[number]:
            continue
        stored[number], reached[number] = narrower, True
        block = blocks[number]
        missing = [i.attrs["name"] for i in read_registers(block) if i not in narrower]
        _require(not missing, f"block {number} reads {missing}, where nothing was stored on some way")
        waiting += [(n, narrower | set(block.stores)) for n in block.successors or () if n is not None]


def read_registers(block: Block) -> list[Node]:
    """Those whose values the block needs."""
    operands = {o for node in block.graph.nodes for o in node.operands} | set(block.graph.outputs)
    return [i for i in block.graph.inputs if i.operator is carried and i in operands]


# -- checks --------------------------------------------------------------------------------------------------


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise GraphFileError(message)


def _list(data: Data, what: str) -> list[Data]:
    _require(type(data) is list, f"{what} is {data!r:.80}")
    return list(data)


def _text(data: Data) -> str:
    _require(type(data) is str, f"{data!r:.80} stands where there should be a text")
    return str(data)


def _count(data: Data, what: str, below: float = math.inf) -> int:
    _require(type(data) is int and 0 <= data < below, f"{what} is {data!r:.80}")
    return int(data)


def _one_of(values: list[Node], number: Data) -> Node:
    return values[_count(number, "a value", len(values))]


def _float_of(text: Data) -> float:
    _require(text in ("nan", "inf", "-inf"), f"{text!r:.80} is no number")
    return float(text)


def _slice_of(parts: Iterable[Data]) -> slice:
    start, stop, step = map(_attribute_of, parts)
    return slice(start, stop, step)


# tag -> type of the attribute, what is written of it, and the attribute again
_TAGGED: dict[str, tuple[type, Callable[[Any], Data], Callable[[Data], Any]]] = {
    "number": (
        numpy.generic,
        lambda v: data_of_array(numpy.asarray(v)),
        lambda data: array_of_data(data)[()],
    ),
    "float": (float, repr, _float_of),
    "extent": (Extent, int, lambda data: Extent(_count(data, "a size"))),
    "list": (list, lambda v: list(map(_data_of_attribute, v)), lambda data: list(map(_attribute_of, data))),
    "slice": (
        slice,
        lambda v: [_data_of_attribute(part) for part in (v.start, v.stop, v.step)],
        _slice_of,
    ),
    "array": (numpy.ndarray, data_of_array, array_of_data),
    "dtype": (numpy.dtype, lambda v: v.name, lambda data: type_of_data([data, []]).dtype),
}
