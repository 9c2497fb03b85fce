"""Operators grouped into kernels.

NOTE [what fits in one kernel]
A group has one result and walks one domain, the shape of its largest values. Its members are

- full values, with the shape of the domain;
- row values, one for each row of the domain, where a reduction folded the trailing axes; they may be read by
full
  members (keepdims, so that they broadcast) and by row members of exactly their shape;
- at most one product, whose elements are the domain: what follows it is its epilogue;
- where nothing is folded and no product is in it: what gathers pick, in the shape of the domain. Their operands are read
  in an order of their own, so nobody in the group computes them.

Random numbers stand in a group with what follows from each of them alone (a mask), and with nothing else: what they go into
only reads the result. In the epilogue of a product, whose registers are full, a mask took as long as it takes to draw.

A producer joins the group of its only reader(s). A value that two groups read is written to memory once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy

from blockfuse.ir.granularity import folded_axes, row_domain
from blockfuse.ir.graph import (
    Graph,
    Node,
    argument,
    constant,
    evaluate,
    graph_of,
    leaf,
    users,
)
from blockfuse.ir.lowering import Contraction, Drawing, Fused, Gather, Movement, Pointwise, Reduction
from blockfuse.ir.operator import Example, row
from blockfuse.ir.operators.contractions import packed_product
from blockfuse.ir.operators.pointwise import cast
from blockfuse.ir.operators.reductions import sum_
from blockfuse.ir.types import TensorType, tensor

_LARGEST_DRAW = 8  # operators in a group with random numbers, which stand in its kernel several times
_LARGEST = 60  # operators in one group: compile time grows faster than the group


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
    groups = _Grouping(graph).groups
    now: dict[Node, Node] = {i: i for i in graph.inputs}
    inside = {n for g in groups.values() for n in g.members}
    for node in graph.nodes:
        if node in groups:
            now[node] = _fused_node(groups[node], now)
        elif node not in inside:
            now[node] = node.over(tuple(now[o] for o in node.operands))
    return graph_of(graph.inputs, (now[o] for o in graph.outputs))


def has_kernel(node: Node) -> bool:
    """Whether native code computes ``node`` (else the program calls NumPy)."""
    lowering = node.operator.lowering
    if isinstance(lowering, Gather):
        return all(n.type.size for n in (node, *node.operands)) and all(
            index.dtype.kind in "iu" for index in node.operands[1:]
        )
    if not all(_carried(n.dtype) for n in (node, *node.operands)):
        return False
    if isinstance(lowering, Pointwise):
        loop = node.operator.loop
        assert loop is not None
        dtypes = loop(*(o.dtype for o in node.operands), **node.attrs)
        kinds = {d.kind for d in dtypes[:-1]}
        # NumPy compares int64 and uint64 as whole numbers; a kernel has no dtype that holds both.
        return all(_carried(d) for d in dtypes) and kinds <= {*lowering.kinds} and not kinds >= {"i", "u"}
    if isinstance(lowering, Reduction):
        operand = node.operands[0]
        kept = all(n for a, n in enumerate(operand.shape) if a in node.attrs["axis"])
        return operand.dtype.kind in lowering.kinds and kept
    return node.operator is packed_product


def _is_gather(node: Node) -> bool:
    return isinstance(node.operator.lowering, Gather)


def _carried(dtype: numpy.dtype) -> bool:
    return dtype != numpy.float16


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


@dataclass
class _Group:
    sink: Node
    domain: tuple[int, ...]
    members: set[Node] = field(default_factory=set)
    rows: set[Node] = field(default_factory=set)  # members that are row values
    axes: int = 0  # how many trailing axes of the domain are folded
    product: bool = False
    closed: bool = False  # a reduction over leading axes: nothing reads its result inside

    @property
    def picks(self) -> bool:
        """Whether gathers may be members."""
        return not (self.axes or self.product or self.closed)


class _Grouping:
    """Decides the groups, from the last operator to the first."""

    def __init__(self, graph: Graph) -> None:
        self.readers = users(graph)
        self.outputs = set(graph.outputs)
        self.groups: dict[Node, _Group] = {}  # sink -> its group
        self.taken: set[Node] = set()
        for node in graph.nodes:
            if isinstance(node.operator.lowering, Drawing):
                self._take(self._drawn(node))
        for node in reversed(graph.nodes):
            if node not in self.taken and has_kernel(node):
                self._take(self._grown(node))

    def _take(self, group: _Group) -> None:
        self.groups[group.sink] = group
        self.taken |= group.members

    def _drawn(self, draw: Node) -> _Group:
        """Random numbers and the operators after them, each of which is all that reads the one before it."""
        sink, members = draw, {draw}
        while len(members) < _LARGEST_DRAW and sink not in self.outputs:
            reader, *others = dict.fromkeys(self.readers[sink])
            if others or not _only_reads(reader, sink):
                break
            sink = reader
            members.add(sink)
        return _Group(sink, sink.shape, members)

    def _grown(self, sink: Node) -> _Group:
        group = _started(sink)
        waiting = list(sink.operands)
        while waiting and len(group.members) < _LARGEST:
            producer = waiting.pop()
            if (
                producer not in group.members
                and self._only_read_in(group, producer)
                and _join(group, producer, self.readers)
            ):
                waiting.extend(producer.operands)
                waiting.extend(o for m in group.members for o in m.operands if o not in group.members)
        for gather in self._gathers_read_in(group):  # last, for a fold is worth more than a gather
            if len(group.members) < _LARGEST:
                group.members.add(gather)
        return group

    def _gathers_read_in(self, group: _Group) -> list[Node]:
        if not group.picks:
            return []
        read = dict.fromkeys(o for m in group.members for o in m.operands if _is_gather(o))
        return [g for g in read if g.shape == group.domain and self._only_read_in(group, g)]

    def _only_read_in(self, group: _Group, producer: Node) -> bool:
        free = (
            not producer.is_leaf
            and producer not in self.outputs
            and producer not in self.taken
            and has_kernel(producer)
        )
        return free and all(
            r in group.members and not isinstance(r.operator.lowering, Contraction | Gather)
            for r in self.readers[producer]
        )


def _only_reads(node: Node, value: Node) -> bool:
    """Whether a pointwise node makes something of ``value`` and numbers alone."""
    others = [o for o in node.operands if o is not value]
    numbers = all(o.operator is constant and o.type.size == 1 for o in others)
    pointwise = isinstance(node.operator.lowering, Pointwise) and has_kernel(node)
    return pointwise and numbers and node.shape == value.shape


def _started(sink: Node) -> _Group:
    if isinstance(sink.operator.lowering, Contraction):
        return _Group(sink, sink.shape, {sink}, product=True, closed=True)
    group = _Group(sink, sink.shape, {sink})
    if isinstance(sink.operator.lowering, Reduction):
        _fold(group, sink)
        group.closed = not group.axes
    return group


def _fold(group: _Group, node: Node) -> None:
    """The group walks what ``node`` reduces; everything in it so far is a row value."""
    group.rows |= group.members | {node}
    group.members.add(node)
    group.domain = node.operands[0].shape
    group.axes = folded_axes(node)


def _join(group: _Group, producer: Node, readers: dict[Node, list[Node]]) -> bool:
    """Take ``producer`` in if NOTE [what fits in one kernel] allows it."""
    inner = [r for r in readers[producer] if r in group.members]
    lowering = producer.operator.lowering
    if isinstance(lowering, Gather):
        return False
    if isinstance(lowering, Contraction):
        fits = not group.product and not group.axes and not group.closed and producer.shape == group.domain
        if fits:
            group.product = True
            group.members.add(producer)
        return fits
    if isinstance(lowering, Reduction):
        return _join_reduction(group, producer, inner)
    if all(r not in group.rows or isinstance(r.operator.lowering, Reduction) for r in inner):
        fits = producer.shape == group.domain
        if not fits and not group.axes and not group.product and not group.closed:
            group.axes = _axes_of_row(producer, group.domain)
    else:
        fits = False
    if not fits and group.axes and _readable_row(group, producer, inner):
        group.rows.add(producer)
        fits = True
    if fits:
        group.members.add(producer)
    return fits


def _axes_of_row(node: Node, domain: tuple[int, ...]) -> int:
    """How many trailing axes of ``domain`` are folded where ``node`` is one value per row; else 0."""
    while isinstance(node.operator.lowering, Pointwise):
        inner = [o for o in node.operands if o.shape == node.shape and not o.is_leaf]
        if not inner:
            return 0
        node = inner[0]
    fold = isinstance(node.operator.lowering, Reduction) and has_kernel(node) and _keeps_axes(node)
    return folded_axes(node) if fold and node.operands[0].shape == domain else 0


def _join_reduction(group: _Group, producer: Node, inner: list[Node]) -> bool:
    if group.product or group.closed or not folded_axes(producer):
        return False
    whole = producer.operands[0].shape
    if not group.axes:
        if whole == group.domain and _keeps_axes(producer):  # a full value reads a row value
            group.axes = folded_axes(producer)
        elif all(m.shape == producer.shape for m in group.members):  # so far all are row values
            _fold(group, producer)
            return True
        else:
            return False
    fits = (
        whole == group.domain
        and folded_axes(producer) == group.axes
        and _readable_row(group, producer, inner)
    )
    if fits:
        group.rows.add(producer)
        group.members.add(producer)
    return fits


def _keeps_axes(node: Node) -> bool:
    return len(node.shape) == node.operands[0].type.ndim


def _readable_row(group: _Group, producer: Node, inner: list[Node]) -> bool:
    """Row readers have exactly its shape; full readers need the folded axes kept as 1."""
    kept = group.domain[: len(group.domain) - group.axes] + (1,) * group.axes
    return all(
        producer.shape == (r.shape if r in group.rows else kept)
        and not isinstance(r.operator.lowering, Reduction)
        for r in inner
    )


# -- writing the fused node ----------------------------------------------------------------------------------


def _fused_node(group: _Group, now: dict[Node, Node]) -> Node:
    """The group as one node: its operands become arguments x0, x1, ... of the body, one for each way of reading them (NOTE
    [granularity]); numbers stay in the body of who computes with numbers.
    """
    members = [n for n in graph_of((), (group.sink,)).nodes if n in group.members]
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
        if _is_gather(member):  # which walks its operands in its own way, whoever else reads them
            inner[member] = member.over(tuple(map(argued, member.operands)))
        else:
            inner[member] = member.over(tuple(read(o, member) for o in member.operands))
    body = graph_of(arguments, (inner[group.sink],))
    attrs: dict[str, Any] = {"name": _name(members), "body": body}
    return Node(fused, tuple(now[o] for o in operands), attrs, group.sink.type, group.sink.source)


def _has_scalars(node: Node) -> bool:
    """Whether kernels compute ``node`` number by number; a product reads memory, also a matrix of one element."""
    return isinstance(node.operator.lowering, Pointwise | Reduction)


_WORDS = 4  # of a kernel's name


def _name(members: list[Node]) -> str:
    words = [_word(m) for m in members]
    return "_".join(
        words if len(words) <= _WORDS else [*words[: _WORDS - 1], f"and_{len(words) - _WORDS + 1}"]
    )


def _word(member: Node) -> str:
    if member.operator is packed_product:
        return "dense"
    same = member.operator is cast and member.dtype == member.operands[0].dtype
    return "copy" if same else member.operator.name
