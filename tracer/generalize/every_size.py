"""Two recordings of one ``forward``, for two sizes of the batch, as one path for every size.

NOTE [one path for every size]
The leading axis of arguments is taken for the batch where it has changed between the recordings. The path is right
for every size from 2 on if

- Python did not look at the size (NOTE [sizes that Python saw]) and the state of Python is the same;
- both recordings have the same operators with the same attributes, constants bit for bit, but for leading sizes in
  ``shape`` and for ``Extent``, which are in proportion to the size of the batch;
- the graph computes each item of the batch by itself (NOTE [rows]).

At size 1 functions such as ``squeeze`` do something else: the path includes it where one of the recordings is of this
size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from blockfuse.ir.batch_items import rows_per_item_of
from blockfuse.ir.errors import BlockfuseError, TraceError
from blockfuse.ir.graph import Node, argument, constant, graph_of, leaf
from blockfuse.ir.passes.dedupe import frozen
from blockfuse.ir.passes.expand import expand_composites
from blockfuse.ir.types import Extent, TensorType
from blockfuse.tracer.flow.path import Path
from blockfuse.tracer.recording.record import Recording
from blockfuse.tracer.state.assignments import meaning_of

_MIN_REFERENCE_SIZE = 61  # prime to begin with as size of a batch that stands for all


class EverySize:
    """The path of two recordings as a function of the size of the batch; raises TraceError where there is none."""

    def __init__(self, first: Recording, second: Recording) -> None:
        """second: the recording whose state the path rests on."""
        assert first.path is not None
        assert second.path is not None
        self.first, self.second = first.path, second.path
        self.sizes = _batch_sizes(self.first, self.second)
        pairs = list(zip(self.first.arguments, self.second.arguments, strict=True))
        self.growing = [a.type != b.type for a, b in pairs if a.shape]  # of the arguments with axes
        self.min_items = min(2, *self.sizes)
        _require_unmeasured(first, second)
        self._require_alike(first, second)
        self._twin: dict[Node, Node] = {}  # node of the first recording -> its equal in the second
        self._match()
        self.references = _references(self.first, self.second)
        self._require_rows([node for node, _ in second.measured])

    def at(self, size: int) -> Path:
        """The path for a batch of so many items."""
        now: dict[Node, Node] = {}
        for one, other in zip(self.first.arguments, self.second.arguments, strict=True):
            shape = tuple(self._scaled(a, b, size) for a, b in zip(one.shape, other.shape, strict=True))
            now[other] = leaf(argument, other.attrs["name"], TensorType(shape, other.dtype))
        for one, other in zip(self.first.sequence, self.second.sequence, strict=True):
            operands = tuple(now.get(o, o) for o in other.operands)
            attrs = {k: self._attribute(k, one.attrs[k], v, size) for k, v in other.attrs.items()}
            try:
                type = other.operator.result_type(*(o.type for o in operands), **attrs)
            except (BlockfuseError, ValueError) as error:
                raise TraceError(f"{other.operator.name} fails for {size} items: {error}") from error
            now[other] = Node(other.operator, operands, attrs, type, other.source)
        return Path(
            tuple(now[a] for a in self.second.arguments),
            tuple(now[n] for n in self.second.sequence),
            frozenset(),
            (),
            tuple(now.get(o, o) for o in self.second.outputs),
            self.second.leaves,
            self.second.origins,
            self.second.updates,
        )

    # -- the same in both recordings -------------------------------------------------------------------------

    def _require_alike(self, first: Recording, second: Recording) -> None:
        for recording in (first, second):
            if recording.catches:
                raise TraceError(f"{recording.catches}, and an error can depend on the size")
            if recording.draws:
                raise TraceError("it draws random numbers")
        if self.first.events or self.second.events:
            raise TraceError("its flow depends on data")
        if first.structure != second.structure or list(map(repr, first.statics)) != list(
            map(repr, second.statics)
        ):
            raise TraceError("its results have another structure for another size")
        if meaning_of(first.assigned) != meaning_of(second.assigned):
            raise TraceError("it assigns other attributes, or other values to them, for another size")
        if len(self.first.sequence) != len(self.second.sequence):
            raise TraceError("it does other things for another size")

    def _match(self) -> None:
        self._twin.update(zip(self.first.arguments, self.second.arguments, strict=True))
        for one, other in zip(self.first.sequence, self.second.sequence, strict=True):
            same = one.operator is other.operator and one.attrs.keys() == other.attrs.keys()
            if not same or len(one.operands) != len(other.operands):
                raise TraceError(f"{_text(one)} becomes {_text(other)} for another size")
            for a, b in zip(one.operands, other.operands, strict=True):
                self._match_values(a, b)
            self._twin[one] = other
        for a, b in zip(self.first.outputs, self.second.outputs, strict=True):
            self._match_values(a, b)

    def _match_values(self, one: Node, other: Node) -> None:
        known = self._twin.get(one)
        if known is None:
            first, second = self.first.leaves.get(one, one), self.second.leaves.get(other, other)
            if not self._is_one_leaf(first, second):
                raise TraceError(f"{_text(first)} depends on the size")
            self._twin[one] = other
        elif known is not other:
            raise TraceError(f"{_text(other)} is used in another place for another size")

    def _is_one_leaf(self, one: Node, other: Node) -> bool:
        if one.operator is constant and other.operator is constant:
            return bool(frozen(one.attrs["value"]) == frozen(other.attrs["value"]))
        origin, found = self.first.origins.get(one), self.second.origins.get(other)
        same = one.operator is other.operator and one.type == other.type
        return same and origin is not None and found is not None and origin.key == found.key

    # -- other sizes -----------------------------------------------------------------------------------------

    def _scaled(self, one: int, other: int, size: int) -> int:
        """A number that is ``one`` and ``other`` in the recordings, for ``size`` items."""
        if one == other:
            return one
        rows_per_item, rest = divmod(one, self.sizes[0])
        if rest or other != rows_per_item * self.sizes[1]:
            raise TraceError(f"{one} becomes {other} for another size")
        return rows_per_item * size

    def _attribute(self, name: str, one: Any, other: Any, size: int) -> Any:
        if frozen(one) == frozen(other):
            return other
        if isinstance(one, Extent) and isinstance(other, Extent):
            return Extent(self._scaled(one, other, size))
        if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
            if name == "shape" and one[1:] == other[1:]:
                return (self._scaled(one[0], other[0], size), *other[1:])
            return tuple(self._attribute("", a, b, size) for a, b in zip(one, other, strict=True))
        raise TraceError(f"the attribute {one} becomes {other} for another size")

    def _require_rows(self, measured: list[Node]) -> None:
        """Also of what no result needs: Python may have seen it. What was measured has no other size for another batch."""
        size = self.references[0]
        path = self.at(size)
        before = (*self.second.arguments, *self.second.sequence)
        now = dict(zip(before, (*path.arguments, *path.sequence), strict=True))
        if any(now.get(node, node).type != node.type for node in measured):
            raise TraceError("Python looks at a size that changes")
        growing = {
            node
            for node, one in zip(path.arguments, self.first.arguments, strict=True)
            if one.type != self._twin[one].type
        }
        values = (*path.sequence, *path.outputs)
        given = {n for n in graph_of((), values).nodes if n.is_leaf and n.operator is not constant}
        graph = expand_composites(graph_of(given, values))
        rows_per_item_of(graph, growing, size)


def _text(node: Node) -> str:
    return node.operator.name + (f" at {node.source}" if node.source else "")


def _require_unmeasured(first: Recording, second: Recording) -> None:
    """What Python measured has the same size in both."""
    if len(first.measured) != len(second.measured):
        raise TraceError("Python looks at other sizes for another size")
    for (one, where), (other, _) in zip(first.measured, second.measured, strict=True):
        if one.type != other.type:
            raise TraceError("Python looks at a size that changes" + (f" at {where}" if where else ""))


def _batch_sizes(first: Path, second: Path) -> tuple[int, int]:
    """The one pair of leading sizes in which the arguments differ."""
    pairs = set()
    for one, other in zip(first.arguments, second.arguments, strict=True):
        if one.type == other.type:
            continue
        if not one.shape or one.dtype != other.dtype or one.shape[1:] != other.shape[1:]:
            raise TraceError("arguments differ in more than their leading axis")
        pairs.add((one.shape[0], other.shape[0]))
    if len(pairs) != 1:
        raise TraceError("the leading axes of the arguments differ, each in its own way")
    sizes = pairs.pop()
    if not all(sizes):
        raise TraceError("a batch without items stands for itself only")
    return sizes


def _references(first: Path, second: Path) -> tuple[int, int]:
    """Two sizes of a batch that divide no other number in the recordings."""
    numbers: set[int] = set()
    for path in (first, second):
        for node in (*path.arguments, *path.leaves.values(), *path.sequence):
            numbers.update(node.shape)
            numbers.update(_numbers_in(tuple(node.attrs.values())))
    found: list[int] = []
    candidate = _MIN_REFERENCE_SIZE
    while len(found) < 2:
        prime = all(candidate % d for d in range(2, candidate))
        if prime and all(n % candidate for n in numbers if n):
            found.append(candidate)
        candidate += 2
    return found[0], found[1]


def _numbers_in(value: Any) -> Iterator[int]:
    if isinstance(value, tuple):
        for item in value:
            yield from _numbers_in(item)
    elif isinstance(value, int):
        yield int(value)
