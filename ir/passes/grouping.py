"""Which operators one kernel computes together.

NOTE [what fits in one kernel]
A group has one result and walks one domain, the shape of its largest values. Its members are

- element values, with the shape of the domain;
- row values, one for each row of the domain, where a reduction folded the trailing axes; they may be read by
  element members (keepdims, so that they broadcast) and by row members of exactly their shape;
- at most one product, whose elements are the domain: what follows it is its epilogue;
- where nothing is folded and no product is in it: what gathers pick, in the shape of the domain. Their operands are read
  in an order of their own, so nobody in the group computes them.

Random numbers stand in a group with what follows from each of them alone (a mask), and with nothing else: what they go into
only reads the result. In the epilogue of a product, whose registers are full, a mask took as long as it takes to draw.

A producer joins the group of its only reader(s). A value that two groups read is written to memory once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy

from blockfuse.ir.granularity import folded_axes
from blockfuse.ir.graph import Graph, Node, constant, ordered, users
from blockfuse.ir.lowering import Contraction, Drawing, Gather, Pointwise, Reduction
from blockfuse.ir.operators.contractions import packed_product, window_product

# Of a group with random numbers, which stand in its kernel several times.
_MAX_DRAW_GROUP_OPERATORS = 8
_MAX_GROUP_OPERATORS = 60  # compile time grows faster than the group


@dataclass
class Group:
    """What one kernel computes, while it grows."""

    sink: Node  # the member whose value is the result
    domain: tuple[int, ...]  # the shape that the kernel walks
    members: set[Node] = field(default_factory=set)
    rows: set[Node] = field(default_factory=set)  # members that are row values
    axes: int = 0  # how many trailing axes of the domain are folded
    product: bool = False  # whether a product is among the members
    closed: bool = False  # a reduction over leading axes: nothing reads its result inside

    @property
    def picks(self) -> bool:
        """Whether gathers may be members."""
        return not (self.axes or self.product or self.closed)


def groups_of(graph: Graph) -> dict[Node, Group]:
    """The groups by their sinks, the only members whose values are written to memory."""
    return _Grouping(graph).groups


class _Grouping:
    """Decides the groups, from the last operator to the first."""

    def __init__(self, graph: Graph) -> None:
        self.readers = users(graph)
        self.outputs = set(graph.outputs)
        self.groups: dict[Node, Group] = {}  # sink -> its group
        self.taken: set[Node] = set()
        for node in graph.nodes:
            if isinstance(node.operator.lowering, Drawing):
                self._take(self._drawn(node))
        for node in reversed(graph.nodes):
            if node not in self.taken and has_kernel(node):
                self._take(self._grown(node))

    def _take(self, group: Group) -> None:
        self.groups[group.sink] = group
        self.taken |= group.members

    def _drawn(self, draw: Node) -> Group:
        """Random numbers and the operators after them, each of which is all that reads the one before it."""
        sink, members = draw, {draw}
        while len(members) < _MAX_DRAW_GROUP_OPERATORS and sink not in self.outputs:
            reader, *others = dict.fromkeys(self.readers[sink])
            if others or not _only_reads(reader, sink):
                break
            sink = reader
            members.add(sink)
        if len(dict.fromkeys(self.readers[sink])) > 1:
            sink, members = _narrowest(sink, members)
        return Group(sink, sink.shape, members)

    def _grown(self, sink: Node) -> Group:
        group = _started(sink)
        waiting = list(sink.operands)
        while waiting and len(group.members) < _MAX_GROUP_OPERATORS:
            producer = waiting.pop()
            if (
                producer not in group.members
                and self._only_read_in(group, producer)
                and _join(group, producer, self.readers)
            ):
                waiting.extend(producer.operands)
                waiting.extend(o for m in group.members for o in m.operands if o not in group.members)
        for gather in self._gathers_read_in(group):  # last, for a fold is worth more than a gather
            if len(group.members) < _MAX_GROUP_OPERATORS:
                group.members.add(gather)
        return group

    def _gathers_read_in(self, group: Group) -> list[Node]:
        if not group.picks:
            return []
        read = dict.fromkeys(o for m in group.members for o in m.operands if is_gather(o))
        return [g for g in read if g.shape == group.domain and self._only_read_in(group, g)]

    def _only_read_in(self, group: Group, producer: Node) -> bool:
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


def _narrowest(sink: Node, members: set[Node]) -> tuple[Node, set[Node]]:
    """The part of a draw up to the value that takes the least memory, from which several readers compute the rest."""
    chain = ordered((sink,), members)
    smallest = min(n.dtype.itemsize for n in chain)
    last = max(n for n, node in enumerate(chain) if node.dtype.itemsize == smallest)
    return chain[last], set(chain[: last + 1])


def _only_reads(node: Node, value: Node) -> bool:
    """Whether a pointwise node makes something of ``value`` and numbers alone."""
    others = [o for o in node.operands if o is not value]
    numbers = all(o.operator is constant and o.type.size == 1 for o in others)
    pointwise = isinstance(node.operator.lowering, Pointwise) and has_kernel(node)
    return pointwise and numbers and node.shape == value.shape


def _started(sink: Node) -> Group:
    if isinstance(sink.operator.lowering, Contraction):
        return Group(sink, sink.shape, {sink}, product=True, closed=True)
    group = Group(sink, sink.shape, {sink})
    if isinstance(sink.operator.lowering, Reduction):
        _fold(group, sink)
        group.closed = not group.axes
    return group


def _fold(group: Group, node: Node) -> None:
    """The group walks what ``node`` reduces; everything in it so far is a row value."""
    group.rows |= group.members | {node}
    group.members.add(node)
    group.domain = node.operands[0].shape
    group.axes = folded_axes(node)


def _join(group: Group, producer: Node, readers: dict[Node, list[Node]]) -> bool:
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
    seen, waiting = {node}, [node]
    while waiting:
        found = waiting.pop()
        if isinstance(found.operator.lowering, Pointwise):
            inner = [o for o in found.operands if o.shape == node.shape and o not in seen]
            seen.update(inner)
            waiting += inner
        elif _folds_rows(found, domain):
            return folded_axes(found)
    return 0


def _folds_rows(node: Node, domain: tuple[int, ...]) -> bool:
    fold = isinstance(node.operator.lowering, Reduction) and has_kernel(node) and _keeps_axes(node)
    return fold and node.operands[0].shape == domain


def _join_reduction(group: Group, producer: Node, inner: list[Node]) -> bool:
    if group.product or group.closed or not folded_axes(producer):
        return False
    whole = producer.operands[0].shape
    if not group.axes:
        if whole == group.domain and _keeps_axes(producer):  # an element value reads a row value
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


def _readable_row(group: Group, producer: Node, inner: list[Node]) -> bool:
    """Row readers have exactly its shape; element readers need the folded axes kept as 1."""
    kept = group.domain[: len(group.domain) - group.axes] + (1,) * group.axes
    return all(
        producer.shape == (r.shape if r in group.rows else kept)
        and not isinstance(r.operator.lowering, Reduction)
        for r in inner
    )


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
    return node.operator in (packed_product, window_product)


def is_gather(node: Node) -> bool:
    return isinstance(node.operator.lowering, Gather)


def _carried(dtype: numpy.dtype) -> bool:
    return dtype != numpy.float16
