"""The fusing pass: every group of operators that one kernel computes becomes one node."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.ir.granularity import row_domain
from blockfuse.ir.graph import (
    Graph,
    Node,
    argument,
    constant,
    evaluate,
    graph_of,
    leaf,
    ordered,
)
from blockfuse.ir.lowering import Fused, Movement, Pointwise, Reduction
from blockfuse.ir.operator import Example, row
from blockfuse.ir.operators.contractions import packed_product, window_product
from blockfuse.ir.operators.pointwise import cast
from blockfuse.ir.operators.reductions import sum_
from blockfuse.ir.passes.grouping import Group, groups_of, is_gather
from blockfuse.ir.types import TensorType, tensor


def _run_body(*operands: numpy.ndarray, body: Graph, name: str) -> numpy.ndarray:
    return evaluate(body, operands)[0]


def _body_type(*operands: TensorType, body: Graph, name: str) -> TensorType:
    return body.outputs[0].type


def _example_body() -> Graph:
    x = leaf(argument, "x0", tensor((3, 4), "float64"))
    total = Node(sum_, (x,), {"axis": (1,), "keepdims": True}, tensor((3, 1), "float64"))
    return graph_of((x,), (total,))


fused = row(
    "fused",
    _run_body,
    Fused(),
    type_rule=_body_type,
    examples=(Example(((3, 4),), {"body": _example_body(), "name": "sum"}),),
)


def fuse(graph: Graph) -> Graph:
    """Every operator with a kernel stands in a fused group; views and host operators stay as they are."""
    graph = _with_written_outputs(graph)
    groups = groups_of(graph)
    now: dict[Node, Node] = {i: i for i in graph.inputs}
    inside = {n for g in groups.values() for n in g.members}
    for node in graph.nodes:
        if node in groups:
            now[node] = _fused_node(groups[node], now)
        elif node not in inside:
            now[node] = node.over(tuple(now[o] for o in node.operands))
    return graph_of(graph.inputs, (now[o] for o in graph.outputs))


def _with_written_outputs(graph: Graph) -> Graph:
    """An output that is only a view, an input or another output gets a copy of its own; so does what NumPy draws, as it
    draws before there are results.
    """
    outputs: list[Node] = []
    for output in graph.outputs:
        view = output.is_leaf or isinstance(output.operator.lowering, Movement) or output in outputs
        copy = Node(cast, (output,), {"dtype": str(output.dtype)}, output.type, output.source)
        outputs.append(copy if view or output.operator.random else output)
    return graph_of(graph.inputs, outputs)


def _fused_node(group: Group, now: dict[Node, Node]) -> Node:
    """The group as one node: its operands become arguments x0, x1, ... of the body, one for each way of reading them (NOTE
    [granularity]); numbers stay in the body of who computes with numbers.
    """
    members = ordered((group.sink,), group.members)
    domain = row_domain(members)
    operands: list[Node] = []
    arguments: list[Node] = []
    inner: dict[Node, Node] = {}  # member -> what stands for it in the body
    reads: dict[tuple[Node, tuple[int, ...]], Node] = {}  # operand and how it is read -> its argument

    def argued(operand: Node) -> Node:
        operands.append(operand)
        arguments.append(leaf(argument, f"x{len(arguments)}", operand.type))
        return arguments[-1]

    def read(operand: Node, reader: Node) -> Node:
        if operand in inner:
            return inner[operand]
        if operand.operator is constant and operand.type.size == 1 and _has_scalars(reader):
            return operand
        key = operand, domain.shape_read_by(reader) if domain else ()
        if key not in reads:
            reads[key] = argued(operand)
        return reads[key]

    for member in members:
        if is_gather(member):  # which walks its operands in its own way, whoever else reads them
            inner[member] = member.over(tuple(map(argued, member.operands)))
        else:
            inner[member] = member.over(tuple(read(o, member) for o in member.operands))
    body = graph_of(arguments, (inner[group.sink],))
    attrs: dict[str, Any] = {"name": _name(members), "body": body}
    return Node(fused, tuple(now[o] for o in operands), attrs, group.sink.type, group.sink.source)


def _has_scalars(node: Node) -> bool:
    """Whether kernels compute ``node`` number by number; a product reads memory, also a matrix of one element."""
    return isinstance(node.operator.lowering, Pointwise | Reduction)


_MAX_NAME_WORDS = 4  # of a kernel
_WORDS = {packed_product: "dense", window_product: "convolution"}  # operator -> what users know it by


def _name(members: tuple[Node, ...]) -> str:
    words = [_word(m) for m in members]
    if len(words) > _MAX_NAME_WORDS:
        words[_MAX_NAME_WORDS - 1 :] = [f"and_{len(words) - _MAX_NAME_WORDS + 1}"]
    return "_".join(words)


def _word(member: Node) -> str:
    if member.operator in _WORDS:
        return _WORDS[member.operator]
    same = member.operator is cast and member.dtype == member.operands[0].dtype
    return "copy" if same else member.operator.name
