"""A block that is still written, and what is known of a recorded node that has become part of a loop."""

from __future__ import annotations

from dataclasses import dataclass, field

from blockfuse.ir.graph import Node
from blockfuse.ir.rerolling.loop import Loop


@dataclass
class Draft:
    """A block; ends: its last outputs, a predicate or results and updates."""

    stores: list[tuple[Node, Node]] = field(default_factory=list)  # register, value
    pushes: list[tuple[Node, Node]] = field(default_factory=list)  # stack, value
    takes: list[tuple[Node, Node]] = field(default_factory=list)  # stack, the leaf for all its values
    pops: tuple[Node, ...] = ()
    ends: tuple[Node, ...] = ()
    following: tuple[Draft, Draft] | None = None  # when the predicate is true, when it is false
    updates: tuple[Node, ...] = ()

    @property
    def outputs(self) -> list[Node]:
        return [*(value for _, value in (*self.stores, *self.pushes)), *self.ends]


@dataclass(frozen=True, eq=False)
class Rounds:
    """A loop among drafts: the block that ends its rounds, and the one behind it."""

    loop: Loop
    last: Draft
    behind: Draft


@dataclass(frozen=True)
class Member:
    """Which place of which round a recorded node is."""

    rounds: Rounds
    place: int
    round: int
