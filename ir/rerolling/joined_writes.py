"""Arrays that are written part by part, and not read meanwhile, become what was written side by side.

``out[t] = ...`` in every round gives a new array each time, of all elements; put together once, behind the rounds, they are
copied once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any

import numpy

from blockfuse.ir.builder import node_of
from blockfuse.ir.flow import Block
from blockfuse.ir.graph import Graph, Node
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators.movement import (
    broadcast_to,
    concatenate,
    expand_dims,
    get_item,
    reshape,
    set_item,
    transpose,
)
from blockfuse.ir.operators.pointwise import cast
from blockfuse.ir.rerolling.repeats import MIN_ROUNDS

_MAX_GAPS = 4  # between parts that are written

Make = Callable[..., Node]


def with_joined_writes(block: Block) -> Block:
    """The block with concatenations in the place of writes that nobody reads in between."""
    ends = {chain.end: chain for chain in _chains(block.graph)}
    if not ends:
        return block
    return replace(block, graph=_Rewriting(block.graph, ends).graph())


class _Rewriting:
    """A graph while its chains of writes become concatenations, which stand where they are read first."""

    def __init__(self, graph: Graph, ends: dict[Node, _Chain]) -> None:
        self._graph, self._ends = graph, ends
        self._inside = {node: chain for chain in ends.values() for node in chain.writes}
        self._now: dict[Node, Node] = {i: i for i in graph.inputs}
        self._rows: dict[Node, Node] = {}  # write -> what it writes, as a row
        self._nodes: list[Node] = []

    def graph(self) -> Graph:
        for node in self._graph.nodes:
            if node in self._inside:
                make = self._making(node)
                self._rows[node] = self._inside[node].row(self._read(node.operands[1]), make)
            else:
                self._now[node] = node.over(tuple(self._read(o) for o in node.operands))
                self._nodes.append(self._now[node])
        outputs = tuple(self._read(o) for o in self._graph.outputs)
        return Graph(self._graph.inputs, tuple(self._nodes), outputs)

    def _read(self, node: Node) -> Node:
        if node not in self._now:
            chain = self._ends[node]
            rows = [self._rows[write] for write in chain.writes]
            self._now[node] = chain.joined(self._read(chain.base), rows, self._making(node))
        return self._now[node]

    def _making(self, node: Node) -> Make:
        def make(operator: Operator, *operands: Node, **attrs: Any) -> Node:
            self._nodes.append(node_of(operator, operands, attrs, node.source))
            return self._nodes[-1]

        return make


@dataclass(frozen=True)
class _Chain:
    """Writes to one array, to other places along some axes each, in their order."""

    writes: tuple[Node, ...]
    axes: tuple[int, ...]  # along which each writes to one place

    @property
    def base(self) -> Node:
        return self.writes[0].operands[0]

    @property
    def end(self) -> Node:
        return self.writes[-1]

    @property
    def order(self) -> tuple[int, ...]:
        """The axes of the array, those of the places first."""
        return (*self.axes, *(a for a in range(self.base.type.ndim) if a not in self.axes))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the axes in this order."""
        return tuple(self.base.shape[a] for a in self.order)

    @property
    def places(self) -> list[int]:
        """Of the writes, counted along all their axes."""
        sizes = self.sizes[: len(self.axes)]
        indices = [[write.attrs["index"][a] for a in self.axes] for write in self.writes]
        return [int(numpy.ravel_multi_index(tuple(index), sizes)) for index in indices]

    def row(self, value: Node, make: Make) -> Node:
        """What one of them writes, with an axis for its place."""
        shape = self.sizes[len(self.axes) :]
        if value.type.ndim > len(shape):
            value = make(reshape, value, shape=value.shape[value.type.ndim - len(shape) :])
        if value.shape != shape:
            value = make(broadcast_to, value, shape=shape)
        if value.dtype != self.base.dtype:
            value = make(cast, value, dtype=str(self.base.dtype))
        return make(expand_dims, value, axis=(0,))

    def joined(self, base: Node, rows: Sequence[Node], make: Make) -> Node:
        """The array after all of them."""
        sizes, count = self.sizes, len(self.axes)
        flat = make(transpose, base, axes=self.order) if self.order != tuple(range(len(sizes))) else base
        flat = make(reshape, flat, shape=(prod(sizes[:count]), *sizes[count:]))
        written = dict(zip(self.places, rows, strict=True))
        parts: list[Node] = []
        following = 0
        for place in (*sorted(written), flat.shape[0]):
            if place > following:
                others = (("slice", 0, size, 1) for size in flat.shape[1:])
                parts.append(make(get_item, flat, index=(("slice", following, place, 1), *others)))
            parts += [written[place]] if place in written else []
            following = place + 1
        whole = make(reshape, make(concatenate, *parts, axis=0), shape=sizes)
        back = tuple(int(a) for a in numpy.argsort(self.order))
        return whole if back == tuple(range(len(sizes))) else make(transpose, whole, axes=back)


def _chains(graph: Graph) -> list[_Chain]:
    read = Counter([o for node in graph.nodes for o in node.operands] + list(graph.outputs))
    links: dict[Node, list[Node]] = {}  # the last write of a chain so far -> all of them
    for node in graph.nodes:
        axes = _axes(node)
        if not axes:
            continue
        before = node.operands[0]
        goes_on = before in links and read[before] == 1 and _axes(before) == axes
        chain = links.pop(before) if goes_on else []
        chain.append(node)
        links[node] = chain
    found = [_Chain(tuple(chain), _axes(chain[0])) for chain in links.values() if len(chain) >= MIN_ROUNDS]
    return [chain for chain in found if _is_plain(chain)]


def _axes(node: Node) -> tuple[int, ...]:
    """Along which a node writes to one place of an array, all other axes being whole; () for anything else."""
    if node.operator is not set_item or len(node.attrs["index"]) != node.type.ndim:
        return ()
    entries = list(zip(node.attrs["index"], node.shape, strict=True))
    whole = all(entry == ("slice", 0, size, 1) for entry, size in entries if isinstance(entry, tuple))
    return tuple(n for n, (entry, _) in enumerate(entries) if not isinstance(entry, tuple)) if whole else ()


def _is_plain(chain: _Chain) -> bool:
    """Whether nothing is written twice, and little is left between."""
    places = sorted(chain.places)
    gaps = sum(b - a > 1 for a, b in pairwise(places))
    return len(set(places)) == len(places) and gaps <= _MAX_GAPS
