"""One recorded call as a way through the program: what was computed, and what was decided, used and written between."""

from __future__ import annotations

from dataclasses import dataclass, field

from blockfuse.ir.graph import Node, Source
from blockfuse.tracer.flow.knowledge import Knowledge
from blockfuse.tracer.flow.origins import Origin
from blockfuse.tracer.frames.program_points import Point


@dataclass(frozen=True)
class Path:
    """One recorded call."""

    arguments: tuple[Node, ...]
    sequence: tuple[Node, ...]  # every other node, in the order of the calls
    induction_nodes: frozenset[Node]  # those by which induction variables are computed
    events: tuple[Event, ...]
    outputs: tuple[Node, ...]
    leaves: dict[Node, Node]  # provisional leaf -> what it is
    origins: dict[Node, Origin]  # leaf -> where the parameter or captured array lies
    updates: tuple[Node, ...] = ()  # provisional leaves whose new values are the last outputs
    obstacle: str = ""  # why ways back over decisions cannot join
    forgets: bool = False  # rounds that were recorded: NOTE [forgotten rounds]
    knowledge: Knowledge = field(default_factory=Knowledge)  # of the flow that begins with this path


@dataclass(frozen=True)
class Decision:
    """A truth was asked for: a path goes one way."""

    predicate: Node
    outcome: bool
    on_induction: bool  # the truth is that of an induction variable, not of an array
    point: Point
    position: int  # how many nodes were recorded before
    source: Source | None
    follows: bool = False  # gradients, so that ``backward()`` may come back to it
    closes: bool = False  # a loop, also if the number is a constant of the path
    # numbers of the slots whose induction variables went on in rounds that were forgotten here; None where none were
    forgets: frozenset[int] | None = None


@dataclass(frozen=True)
class Pending:
    """A gradient that ``backward()`` has not followed further yet."""

    slot: int | None  # that held the value of which it is, where a decision was taken
    value: Node | None  # of which it is, if that is known
    part: int  # which of several results of an operator it is of
    node: Node


@dataclass(frozen=True)
class Retrace:
    """``backward()`` goes back over a decision: NOTE [going back] in ``tracer/recording/retracing.py``."""

    decision: int  # which event it is
    repeat: int  # how often another ``backward()`` has gone back over it before
    pending: tuple[Pending, ...]
    point: Point  # where ``backward()`` is called
    begin: int  # how many nodes were recorded before it was
    position: int


@dataclass(frozen=True)
class Retraced:
    """``backward()`` has come to its end."""

    position: int


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


Event = Decision | Retrace | Retraced | Use | Write
