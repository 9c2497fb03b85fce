"""What a replay remembers of the way of a path, for ``backward()``, which goes back over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from blockfuse.ir.graph import Node
from blockfuse.ir.operators.pointwise import cast

Value = TypeVar("Value")


@dataclass(frozen=True)
class Passed:
    """A decision on the way."""

    position: int
    stretch: int  # that led to it


@dataclass(frozen=True)
class Seen(Generic[Value]):
    """A recorded value as some stretch of the path saw it, and the block or position that it came from, if one did."""

    value: Value
    home: int | None


class Trail(Generic[Value]):
    """Stretches of a path between decisions: which block each is, and as what it saw the values."""

    def __init__(self) -> None:
        self.blocks: list[int] = []  # of each stretch
        self.passed: dict[int, Passed] = {}  # number of an event -> the decision
        self._made: dict[Node, int] = {}  # a recorded node -> the stretch that computed it
        self._changes: dict[Node, list[tuple[int, Seen[Value]]]] = {}  # the last stretch that saw it so

    @property
    def stretch(self) -> int:
        """The present one."""
        return len(self.blocks) - 1

    def made(self, node: Node) -> None:
        self._made.setdefault(node, self.stretch)

    def changes(self, node: Node, before: Seen[Value]) -> None:
        """From the next stretch on a value is seen otherwise."""
        self._changes.setdefault(node, []).append((self.stretch, before))

    def source_of(self, node: Node, stretch: int) -> Node:
        """What a stretch would have read, where a later one copied it because it was about to write there."""
        while self._made.get(node, 0) > stretch and _is_copy(node):
            node = node.operands[0]
        return node

    def was_there(self, node: Node, stretch: int) -> bool:
        """Whether a value was computed when a stretch ended."""
        return self._made.get(node, 0) <= stretch

    def seen(self, node: Node, stretch: int) -> Seen[Value] | None:
        """As what a stretch saw a value; None where it is as now."""
        return next((seen for last, seen in self._changes.get(node, ()) if last >= stretch), None)


def _is_copy(node: Node) -> bool:
    return node.operator is cast and node.dtype == node.operands[0].dtype
