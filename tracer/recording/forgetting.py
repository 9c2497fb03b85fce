"""Rounds of a recorded call that teach nothing are forgotten, so that a loop may go round as often as it likes.

NOTE [forgotten rounds]
From equal points on Python can do nothing different, save by the values of arrays (NOTE [when two points are one]). What a
call did behind its second visit of a point, it would have done behind the first one, had its arrays held those values: a
path without what lies between the two is one that other calls take. So the latest round can go, and it does where it taught
nothing: where an earlier round, which the path keeps, was asked the same at the same points, answered alike, and computed
the same from the same places, each operand compared. What variables hold is then what they held when the round began.
Arrays of the round that no variable holds are gone; should one be met again, a point was not all that there was to Python,
and the recording is of no use.

A path with forgotten rounds is good for a flow with a loop, and for nothing that reads it as one straight line. Numbers and
constant arrays that went on in these rounds are others than the path tells, so such a point must join its ways and carry
its counters (``forgets``), or the path is refused (``tracer/flow/replay.py``).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from blockfuse.array.ndarray import ndarray
from blockfuse.ir.graph import Node, constant
from blockfuse.ir.passes.dedupe import frozen, frozen_attrs
from blockfuse.tracer.flow.path import Decision, Event, Use, Write
from blockfuse.tracer.frames.induction import InductionTracker
from blockfuse.tracer.frames.program_points import Slot
from blockfuse.tracer.recording.memory import Mark, Memory

KEPT_EVENTS = 512  # that a path has before rounds are forgotten: shorter ones can be rehearsed, and read as straight lines


@dataclass(frozen=True)
class _Visit:
    """A decision that may be the first and the last of rounds."""

    point: int  # equal points have equal numbers
    mark: Mark
    arrays: list[ndarray]  # that its slots hold


@dataclass(frozen=True)
class _Round:
    """The numbers of the events with which a round begins and ends."""

    begin: int
    end: int


class Rounds:
    """The rounds of one path."""

    def __init__(
        self, sequence: list[Node], events: list[Event], memory: Memory, induction: InductionTracker
    ) -> None:
        self._sequence, self._events, self._memory, self._induction = sequence, events, memory, induction
        self.forgotten = 0  # events
        self.decisions = 0  # about arrays, among them
        self.nodes = 0  # forgotten likewise
        self._points: dict[Hashable, int] = {}
        self._visits: dict[int, _Visit] = {}  # number of an event -> itself
        self._at: dict[int, list[int]] = {}  # point -> the events that visit it
        self._known: dict[Hashable, list[_Round]] = {}  # points and outcomes -> the rounds that go that way
        self._order: list[tuple[int, Hashable]] = []  # end of a round, its way: as they were found

    def decided(self, arrays: list[ndarray]) -> list[Node]:
        """A decision was added to the events; the nodes that are forgotten now. arrays: those in its first slots."""
        number, decision = len(self._events) - 1, self._events[-1]
        point = self._point(decision)
        if point is None or not isinstance(decision, Decision):
            return []
        visits = self._at.setdefault(point, [])
        # Any other decision may turn out to be none: its number is a constant where no loop carries it.
        if visits and (decision.closes or not decision.on_induction):
            now, way = _Round(visits[-1], number), self._way(visits[-1], number)
            if way is not None:
                known = self._known.setdefault(way, [])
                if (
                    (decision.closes or number >= KEPT_EVENTS)
                    and known
                    and self._is_again(known[-1], now, arrays)
                ):
                    return self._forget(now, arrays)
                known.append(now)
                self._order.append((number, way))
        visits.append(number)
        self._visits[number] = _Visit(point, self._memory.mark(), arrays)
        return []

    def drop(self) -> None:
        """The events of the path are no decisions after all."""
        for known in (self._events, self._visits, self._at, self._known, self._order):
            known.clear()

    # -- which rounds are one ----------------------------------------------------------------------------------

    def _point(self, event: Event) -> int | None:
        """A number for all that must be the same at the ends of a round; None where it is not all that there is."""
        if not isinstance(event, Decision) or event.point.apart or event.follows:
            return None
        kind = event.on_induction, event.closes, event.source
        slots = tuple(map(self._slot_key, event.point.slots))
        return self._points.setdefault((kind, event.point.frames, slots), len(self._points))

    def _slot_key(self, slot: Slot) -> Hashable:
        found = slot.node if slot.node in self._memory.found else None  # a parameter, say, stands for itself
        return slot.key, slot.given, found, slot.induction and slot.induction.variable

    def _way(self, begin: int, end: int) -> Hashable | None:
        """The points of a round, and what was decided there; None where other things happened that tell rounds apart."""
        steps = []
        for number in range(begin, end):
            event = self._events[number]
            if isinstance(event, Decision) and number in self._visits:
                steps.append((self._visits[number].point, event.outcome))
            elif isinstance(event, Write | Use):
                steps.append((-1, isinstance(event, Use)))
            else:
                return None
        return tuple(steps), self._visits[begin].point

    def _is_again(self, known: _Round, now: _Round, arrays: list[ndarray]) -> bool:
        """Whether a round did what a known one did, from what slots held when each began."""
        events, sequence = self._events, self._sequence
        first, last = events[now.begin], events[now.end]
        start, stop = events[known.begin].position, events[known.end].position
        before = self._visits[now.begin]
        if stop - start != last.position - first.position or not self._memory.only_added(before.mark, arrays):
            return False
        same = _Same()
        if not same.begins(events[known.begin], first):
            return False
        pairs = zip(sequence[start:stop], sequence[first.position :], strict=True)
        return all(same.computes(a, b) for a, b in pairs) and all(
            same.holds(events[known.begin + n], events[now.begin + n], first.position - start)
            for n in range(1, now.end - now.begin + 1)
        )

    # -- forgetting ----------------------------------------------------------------------------------------------

    def _forget(self, round: _Round, arrays: list[ndarray]) -> list[Node]:
        events, visit = self._events, self._visits[round.begin]
        kept, last = events[round.begin], events[round.end]
        assert isinstance(kept, Decision)
        assert isinstance(last, Decision)
        nodes = [slot.node for slot in kept.point.slots]
        gone = self._sequence[kept.position :]
        self._memory.return_to(visit.mark, visit.arrays, dict(zip(map(id, arrays), nodes, strict=False)))
        now = {slot.node: node for slot, node in zip(last.point.slots, nodes, strict=True)}
        self._induction.return_to(now, frozenset(gone))
        self.forgotten += round.end - round.begin
        self.nodes += len(gone)
        self.decisions += sum(_is_about_arrays(e) for e in events[round.begin + 1 :])
        self._forget_visits(round.begin)
        self._visits[round.begin] = replace(visit, arrays=arrays)
        del self._sequence[kept.position :], events[round.begin :]
        events.append(replace(kept, outcome=last.outcome, forgets=_counted(kept, last)))
        return gone

    def _forget_visits(self, last: int) -> None:
        """What is known of events behind ``last`` goes."""
        for number in [n for n in range(last + 1, len(self._events)) if n in self._visits]:
            self._at[self._visits.pop(number).point].remove(number)
        while self._order and self._order[-1][0] > last:
            self._known[self._order.pop()[1]].pop()


class _Same:
    """The nodes of one round, and those of another one that are the same for it."""

    def __init__(self) -> None:
        self._nodes: dict[Node, Node] = {}
        self._fixed: set[Node] = set()  # of the first round: what it computes of constants alone

    def begins(self, one: Event, other: Event) -> bool:
        """Take what the slots of two points hold for the same; False where that cannot be."""
        assert isinstance(one, Decision)
        assert isinstance(other, Decision)
        pairs = zip(one.point.slots, other.point.slots, strict=True)
        return all(self._nodes.setdefault(a.node, b.node) is b.node for a, b in pairs)

    def computes(self, one: Node, other: Node) -> bool:
        alike = (
            one.operator is other.operator
            and not one.operator.random
            and (one.type is other.type or one.type == other.type)
            and (one.source is other.source or one.source == other.source)
            and (
                one.attrs is other.attrs
                or not (one.attrs or other.attrs)
                or frozen_attrs(one) == frozen_attrs(other)
            )
            and len(one.operands) == len(other.operands)
            and all(map(self._is, one.operands, other.operands))
        )
        if all(o.operator is constant or o in self._fixed for o in one.operands):
            self._fixed.add(one)
        return alike and self._nodes.setdefault(one, other) is other

    def holds(self, one: Event, other: Event, later: int) -> bool:
        """Whether two events are the same; the second is to come ``later`` nodes behind the first."""
        if one.position + later != other.position:
            return False
        if not isinstance(one, Decision) or not isinstance(other, Decision):
            assert isinstance(one, Write | Use)
            assert isinstance(other, Write | Use)
            fixed = isinstance(one, Write) or one.node.operator is constant or one.node in self._fixed
            return fixed and self._is(one.node, other.node)
        slots = zip(one.point.slots, other.point.slots, strict=True)
        return self._is(one.predicate, other.predicate) and all(self._is(a.node, b.node) for a, b in slots)

    def _is(self, one: Node, other: Node) -> bool:
        now = self._nodes.get(one, one)
        if now is other:
            return True
        if now.operator is not constant or other.operator is not constant:
            return False
        return now.attrs is other.attrs or bool(frozen(now.attrs["value"]) == frozen(other.attrs["value"]))


def _counted(kept: Decision, last: Decision) -> frozenset[int]:
    """The slots of induction variables that are other numbers now."""
    pairs = enumerate(zip(kept.point.slots, last.point.slots, strict=True))
    went_on = frozenset(
        n for n, (a, b) in pairs if a.induction and b.induction and a.induction.value != b.induction.value
    )
    return went_on | (kept.forgets or frozenset())


def _is_about_arrays(event: Event) -> bool:
    return isinstance(event, Decision) and not event.on_induction
