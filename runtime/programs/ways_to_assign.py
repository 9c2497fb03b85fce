"""What the ways through a program assign to attributes, where they do not all assign the same (NOTE [assigned attributes]).

All ways give arrays of the same types: those of the result, then arrays for attributes, of which a way that needs fewer
gives zeros, and last the number of the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy

from blockfuse.ir.graph import Node, literal
from blockfuse.ir.types import TensorType
from blockfuse.tracer.flow.path import Path
from blockfuse.tracer.recording.record import Recording
from blockfuse.tracer.state.assignments import Assigned, Key, meaning_of


@dataclass(frozen=True)
class Ways:
    """Those of one program."""

    assigned: tuple[
        Assigned | None, ...
    ]  # by each way; numbers are those of the arrays that the program gives
    decisive: int | None = (
        None  # which of these arrays is the number of the way; None where there is only one way
    )


def ways_of(recordings: Sequence[Recording]) -> tuple[list[Path], Ways]:
    """The paths of recordings, with outputs of the same types, and what they assign."""
    paths = [recording.path for recording in recordings if recording.path is not None]
    kinds = [(meaning_of(r.assigned), tuple(n.type for n in _arrays(r))) for r in recordings]
    first = {repr(kind): n for n, kind in reversed([*enumerate(kinds)])}
    if len(first) == 1:
        return paths, Ways((recordings[0].assigned,))
    room = Counter[TensorType]()
    for _, types in kinds:
        room |= Counter(types)
    slots = [*room.elements()]
    numbers = {key: number for number, key in enumerate(first)}
    count = recordings[0].results
    changed = [_with_slots(r, slots, numbers[repr(kind)]) for r, kind in zip(recordings, kinds, strict=True)]
    assigned = tuple(_renumbered(recordings[n], slots) for n in first.values())
    return changed, Ways(assigned, count + len(slots))


def _arrays(recording: Recording) -> tuple[Node, ...]:
    """The arrays that only attributes hold."""
    path = recording.path
    assert path is not None
    return path.outputs[recording.results : len(path.outputs) - len(path.updates)]


def _places(recording: Recording, slots: Sequence[TensorType]) -> list[int]:
    """The slot of each of these arrays."""
    places: list[int] = []
    for node in _arrays(recording):
        places.append(next(n for n, t in enumerate(slots) if t == node.type and n not in places))
    return places


def _with_slots(recording: Recording, slots: Sequence[TensorType], number: int) -> Path:
    path = recording.path
    assert path is not None
    values: list[Node] = [literal(numpy.zeros(t.shape, t.dtype)) for t in slots]
    for place, node in zip(_places(recording, slots), _arrays(recording), strict=True):
        values[place] = node
    count, updates = recording.results, path.outputs[len(path.outputs) - len(path.updates) :]
    outputs = (*path.outputs[:count], *values, literal(numpy.array(number)), *updates)
    return replace(path, outputs=outputs)


def _renumbered(recording: Recording, slots: Sequence[TensorType]) -> Assigned | None:
    if recording.assigned is None:
        return None
    count, places = recording.results, _places(recording, slots)

    def place(number: int | Key) -> int | Key:
        if isinstance(number, int) and number >= count:
            return count + places[number - count]
        return number

    return replace(recording.assigned, numbers=tuple(map(place, recording.assigned.numbers)))
