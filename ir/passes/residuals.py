"""Which values of a forward computation its backward is given, and which it computes again.

NOTE [residuals]
The backward part of a graph reads values of the forward part. Each of them is kept (written by the forward program, read
by the backward one) or computed again from others that are. What costs few instructions an element is computed again
where that moves fewer bytes: chains of pointwise operators and broadcasts. Products, folds, random numbers and what NumPy
computes never are; what depends on constants alone is in both parts. The values to keep are a minimum cut between what
must be kept and what is read, where a value weighs the bytes that keeping it moves: twice its size and one more array to
make, or once its size where it lies in memory anyway (arguments, parameters, results). Of several minimum cuts the one
nearest to the readers is taken, which computes least again. The cut is that of AOTAutograd (He and Zou, functorch's
min-cut partitioner); trading memory for computing, Chen et al. 2016, arXiv:1604.06174. Random numbers are kept even where
what is made of them would do: the derivative of the backward part needs them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from blockfuse.ir.graph import Graph, Node, constant, graph_of, ordered
from blockfuse.ir.lowering import Movement, Pointwise

_MAX_COST = (
    24  # instructions an element of what is computed again: tanh has 20, what the C library does 40 and more
)
_ARRAY = 4096  # bytes that are moved in the time in which one more array is made, some 0.5 us
_UNLIMITED = 1 << 62

# A value on its way: False where it is computed, True where it is kept and read.
_Place = tuple[Node | None, bool]
_SOURCE: _Place = (None, False)
_SINK: _Place = (None, True)


def dependent_on(inputs: Iterable[Node], nodes: Iterable[Node]) -> set[Node]:
    """``inputs`` and those of ``nodes``, operands first, that need them."""
    found = set(inputs)
    for node in nodes:
        if not found.isdisjoint(node.operands):
            found.add(node)
    return found


def read_behind(outputs: Iterable[Node], late: Collection[Node]) -> tuple[Node, ...]:
    """The values not depending on ``late`` that ``outputs`` are computed from, at the border to those that do."""
    outputs = tuple(outputs)
    nodes = ordered(outputs)
    behind = dependent_on(late, nodes)
    read = {*outputs, *(o for n in nodes if n in behind for o in n.operands)}
    return tuple(n for n in _changing(nodes) if n in read and n not in behind)


def _changing(nodes: Iterable[Node]) -> list[Node]:
    """Those of ``nodes``, operands first, that do not depend on constants alone."""
    found: dict[Node, None] = {}
    for node in nodes:
        begins = node.operator.random or (node.is_leaf and node.operator is not constant)
        if begins or any(o in found for o in node.operands):
            found[node] = None
    return list(found)


def residuals(read: Iterable[Node], lying: Collection[Node]) -> tuple[Node, ...]:
    """The values to keep so that all of ``read`` can be computed. lying: those that lie in memory anyway."""
    read = tuple(read)
    nodes = _changing(ordered(read))
    sinks = {*read, *(n for n in nodes if n.operator.random)}.intersection(nodes)
    capacities = _capacities(nodes, sinks, lying)
    _saturate(capacities)
    before_sink = _leading_to_sink(capacities)
    return tuple(n for n in nodes if (n, True) in before_sink and (n, False) not in before_sink)


def given(graph: Graph, outputs: Iterable[Node], leaves: dict[Node, Node]) -> Graph:
    """``outputs`` of a graph where some values are leaves. leaves: value -> what stands for it, in calling order."""
    now = dict(leaves)
    outputs = tuple(outputs)
    for node in ordered(outputs):
        if node not in now:
            now[node] = node.over(tuple(now[o] for o in node.operands))
    rest = [i for i in graph.inputs if i not in now]
    return graph_of((*leaves.values(), *rest), (now[o] for o in outputs))


# -- the cut: Edmonds and Karp 1972 ------------------------------------------------------------------------------


def _capacities(
    nodes: Collection[Node], sinks: Collection[Node], lying: Collection[Node]
) -> dict[_Place, dict[_Place, int]]:
    known = set(nodes)
    capacities: dict[_Place, dict[_Place, int]] = {_SOURCE: {}, _SINK: {}}

    def connect(start: _Place, end: _Place, capacity: int) -> None:
        capacities.setdefault(start, {})[end] = capacity
        capacities.setdefault(end, {}).setdefault(start, 0)

    for node in nodes:
        connect((node, False), (node, True), _bytes_moved(node, lying))
        for operand in known.intersection(node.operands) if _is_cheap(node) else ():
            connect((operand, True), (node, False), _UNLIMITED)
        if node.is_leaf or not _is_cheap(node):
            connect(_SOURCE, (node, False), _UNLIMITED)
        if node in sinks:
            connect((node, True), _SINK, _UNLIMITED)
    return capacities


def _bytes_moved(node: Node, lying: Collection[Node]) -> int:
    """One more than that, so that of equal sizes fewer values are kept."""
    size = node.type.size * node.dtype.itemsize
    return (size if node in lying else 2 * size + _ARRAY) + 1


def _is_cheap(node: Node) -> bool:
    """Whether it can be computed again."""
    lowering = node.operator.lowering
    if node.operator.random or lowering.may_raise:
        return False
    return isinstance(lowering, Movement) or (isinstance(lowering, Pointwise) and lowering.cost <= _MAX_COST)


def _saturate(capacities: dict[_Place, dict[_Place, int]]) -> None:
    """Push as much through as goes; what is left are the capacities of the residual network."""
    while (came_from := _shortest_way(capacities)) is not None:
        way = []
        end = _SINK
        while end != _SOURCE:
            way.append((came_from[end], end))
            end = came_from[end]
        amount = min(capacities[a][b] for a, b in way)
        for a, b in way:
            capacities[a][b] -= amount
            capacities[b][a] += amount


def _shortest_way(capacities: dict[_Place, dict[_Place, int]]) -> dict[_Place, _Place] | None:
    """Place -> the one before it, on a way that is not full; None where there is none."""
    came_from: dict[_Place, _Place] = {_SOURCE: _SOURCE}
    waiting = deque([_SOURCE])
    while waiting:
        place = waiting.popleft()
        for following, capacity in capacities[place].items():
            if capacity and following not in came_from:
                came_from[following] = place
                if following == _SINK:
                    return came_from
                waiting.append(following)
    return None


def _leading_to_sink(capacities: dict[_Place, dict[_Place, int]]) -> set[_Place]:
    """The places from which more could be pushed to the sink."""
    found, waiting = {_SINK}, [_SINK]
    while waiting:
        place = waiting.pop()
        for before in capacities[place]:
            if capacities[before][place] and before not in found:
                found.add(before)
                waiting.append(before)
    return found
