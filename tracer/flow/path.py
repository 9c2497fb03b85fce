"""One recorded call as a way through the program: what was computed, and what was decided, used and written between."""

from __future__ import annotations

from dataclasses import dataclass, field

from blockfuse.ir.graph import Node, Source
from blockfuse.tracer.flow.knowledge import Knowledge
from blockfuse.tracer.flow.origins import Origin
from blockfuse.tracer.frames.program_points import Point


@dataclass(frozen=True)
class Path:
    """One recorded call.

    counting: nodes of numbers that count rounds. leaves: what its provisional leaves are. origins: where parameters and
    captured arrays lie. knowledge: what was learnt about the flow that begins with this path.
    """

    arguments: tuple[Node, ...]
    sequence: tuple[Node, ...]
    counting: frozenset[Node]
    events: tuple[Event, ...]
    outputs: tuple[Node, ...]
    leaves: dict[Node, Node]
    origins: dict[Node, Origin]
    knowledge: Knowledge = field(default_factory=Knowledge)


@dataclass(frozen=True)
class Decision:
    """The truth of an array was asked for: a path goes one way. counted: that of a number that counts rounds.

    position: how many nodes were recorded before.
    """

    predicate: Node
    outcome: bool
    counted: bool
    point: Point
    position: int
    source: Source | None


@dataclass(frozen=True)
class Use:
    """Python used the value of ``node``, which holds for the path only if the node is a constant of it."""

    node: Node
    what: str
    position: int
    source: Source | None


@dataclass(frozen=True)
class Write:
    """The array that held ``node`` was written to, so its memory must not have been there before the call."""

    node: Node
    position: int
    source: Source | None


Event = Decision | Use | Write
