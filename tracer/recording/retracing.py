"""Where ``backward()`` of a recorded call goes back over decisions, as events of the path.

NOTE [going back]
``backward()`` visits the nodes of the tape from the latest to the earliest, so it comes through what lies between two
decisions as a whole, and leaves it by the earlier of the two, backwards. There a path has an event of its own,
``Retrace``: what ``backward()`` does next follows from the stretch of the call that it comes to, so from which one it is of
those that lead to the decision, and from the gradients that are pending. So ways back join, and loops close, like ways
forward (NOTE [retraced stretches] in ``tracer/flow/replay.py``). Another ``backward()`` goes back over the same decisions
once more. (Gradients of gradients go back over a way back, whose own decisions, from where it came, are no events of a path:
there ways stand apart.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from blockfuse.array.backward import Parts
from blockfuse.array.history import TapeNode, linked_node, now
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.graph import Node
from blockfuse.tracer.certificate.witness import unwatched
from blockfuse.tracer.flow.path import Event, Pending, Retrace, Retraced
from blockfuse.tracer.frames.program_points import Point
from blockfuse.tracer.recording.memory import Memory


@dataclass(frozen=True)
class Crossing:
    """A decision that ``backward()`` may go back over."""

    order: int  # nodes of the tape with smaller ones were made before
    event: int  # its number among the events of the path
    slots: WeakKeyDictionary[TapeNode, int]  # whose value a slot of its point holds


class Crossings:
    """The decisions of a path that ``backward()`` may go back over."""

    def __init__(self, memory: Memory, events: list[Event]) -> None:
        self.memory, self.events = memory, events
        self.made: list[Crossing] = []
        self.repeats: Counter[int] = (
            Counter()
        )  # number of the event of a decision -> how often it was gone back over
        self.obstacle = ""  # why ways back cannot join
        self._walking = False

    def walk(self, obstacle: str, point: Point, sequence: list[Node]) -> Walk:
        """``backward()`` begins; arguments as for ``Interpreter.retracing`` and ``Walk``."""
        self.refuse(obstacle)
        self._walking = True
        return Walk(self, point, sequence)

    def end_walk(self) -> None:
        self._walking = False

    def add(self, arrays: list[ndarray]) -> None:
        """The last event is a decision. arrays: of its slots."""
        if self._walking:
            self.refuse("a decision is taken while backward() runs")
        slots: WeakKeyDictionary[TapeNode, int] = WeakKeyDictionary()
        for number, array in enumerate(arrays):
            node = linked_node(array)
            if node is not None:
                slots.setdefault(node, number)
        self.made.append(Crossing(now(), len(self.events) - 1, slots))

    def refuse(self, obstacle: str) -> None:
        self.obstacle = self.obstacle or obstacle


class Walk:
    """One ``backward()``."""

    def __init__(self, crossings: Crossings, point: Point, sequence: list[Node]) -> None:
        """point: where it is called. sequence: all recorded nodes."""
        self._crossings, self._point, self._sequence = crossings, point, sequence
        self._begin, self._left = len(sequence), list(crossings.made)

    def visits(self, order: int, pending: Mapping[Any, tuple[Any, Any]]) -> None:
        with unwatched():
            self._visits(order, pending)

    def _visits(self, order: int, pending: Mapping[Any, tuple[Any, Any]]) -> None:
        crossings = self._crossings
        while self._left and order < self._left[-1].order:
            crossing = self._left.pop()
            event, repeat = crossing.event, crossings.repeats[crossing.event]
            crossings.repeats[event] += 1
            gradients = tuple(self._gradients(crossing, pending))
            position = len(self._sequence)
            crossings.events.append(Retrace(event, repeat, gradients, self._point, self._begin, position))

    def ends(self) -> None:
        self._crossings.end_walk()
        self._crossings.events.append(Retraced(len(self._sequence)))

    def _gradients(
        self, crossing: Crossing, pending: Mapping[TapeNode, tuple[Any, Any]]
    ) -> Iterator[Pending]:
        memory = self._crossings.memory
        for node, (value, gradient) in pending.items():
            slot = crossing.slots.get(node)
            held = memory.value_of(value) if type(value) is ndarray else None
            for part, array in gradient.of.items() if isinstance(gradient, Parts) else [(0, gradient)]:
                yield Pending(slot, held, part, memory.node_of(array))
