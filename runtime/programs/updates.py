"""What a program writes: parameters, their gradients, arrays that attributes hold.

Its entry writes by itself, behind its commit (NOTE [the commit] in ``codegen.scheduling.updates``). By way of Python, it
gives values that are not written yet, for whoever checks them first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy

from blockfuse.array import stamps
from blockfuse.array.eager import data_of
from blockfuse.array.history import TapeNode
from blockfuse.array.memory import what_is_written
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.validity import Validity
from blockfuse.ir.signal_handlers import came_from_handler
from blockfuse.runtime.programs.assigned_attributes import Assignment
from blockfuse.runtime.programs.backend import WritingEntry
from blockfuse.tracer.flow.origins import Origin, Place
from blockfuse.tracer.recording.record import Recording
from blockfuse.tracer.recording.recorder import Recorder
from blockfuse.tracer.state.assignments import Attribute, is_same, restore
from blockfuse.tracer.state.changes import Changes


@dataclass(frozen=True)
class Updated:
    """A result, and what belongs to it that is not written or assigned yet."""

    result: Any
    values: Sequence[ndarray] | None  # of arrays; None where they are written
    assigned: Assignment | None = None  # of attributes


class Updates:
    """The arrays that a program writes to, in the order of ``Flow.updates``."""

    def __init__(self, origins: Sequence[Origin]) -> None:
        self.origins = origins
        self._bound: list[numpy.ndarray] = []
        self._seen: list[numpy.ndarray] = []  # of these, what others than us may look at: no flags
        self._told: list[stamps.Watchers] = []
        self._entry: WritingEntry | None = None

    def __len__(self) -> int:
        return len(self.origins)

    def arrays(self) -> list[numpy.ndarray]:
        """The memory as it is now."""
        return [origin.array() for origin in self.origins]

    def bind(self) -> None:
        """Write into the memory as it is now, from now on."""
        self._bound = self.arrays()
        pairs = zip(self.origins, self._bound, strict=True)
        self._seen[:] = [array for origin, array in pairs if origin.place is not Place.FLAG]
        self._told[:] = map(stamps.watchers_of, self._seen)
        if self._entry is not None:
            self._entry.bind(what_is_written(self._seen, TapeNode))

    def reach(self, arguments: Sequence[ndarray]) -> bool:
        """Whether an argument lies in memory that is written: what Python reads of it changes in the middle of the call."""
        pairs = product(arguments, self._seen)
        return any(numpy.may_share_memory(argument._data, array) for argument, array in pairs)

    def write(self, values: Sequence[ndarray], also: Iterable[Any] = ()) -> None:
        """All values, or none where Ctrl-C comes before. also: functions in C that are called as it is gone through."""
        stamps.write(self._bound if values else (), [data_of(value) for value in values], also)

    def writing_by(self, entry: Callable[..., Any], validity: Validity, make: Make) -> Callable[..., Any]:
        """An entry that writes all values itself, with everyone told who must know.

        make: gives the native form of it, of what it means in Python and what tells the watchers, or None.
        """
        tell = partial(_tell, self._told)
        call = _writing_entry(entry, validity, self._seen)
        self._entry = make(call, tell)
        return call if self._entry is None else self._entry.call


Make = Callable[[Callable[..., Any], Callable[[], None]], WritingEntry | None]


def _writing_entry(
    entry: Callable[..., Any],
    validity: Validity,
    written: Sequence[numpy.ndarray],
) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        if not validity.holds:  # it will not write, and what it would write may have a history by now
            return NotImplemented
        return stamps.writing(written, entry, *arguments)

    return call


def _tell(watched: Sequence[stamps.Watchers]) -> None:
    for watchers in watched:
        watchers.notify()


_UNCHANGED = "unchanged"  # stands for a value


class States:
    """Memory that calls write to, for calls that are made again: each begins with what the memory held ``before``."""

    def __init__(
        self,
        arrays: Sequence[numpy.ndarray],
        before: Sequence[numpy.ndarray],
        changes: Changes | None = None,  # is not told of what is written here
        attributes: Sequence[Attribute] = (),
        values: Sequence[Any] = (),  # that they had
    ) -> None:
        self._arrays, self._before, self._changes = arrays, before, changes
        self._attributes, self._values = attributes, values

    @classmethod
    def of_recording(cls, recording: Recording, origins: Sequence[Origin] | None = None) -> States:
        """Those of a recorded call; what is written here is no change since it began.

        origins: more of them, which other calls write to.
        """
        known = dict(zip((origin.key for origin in recording.updates), recording.before, strict=True))
        chosen = recording.updates if origins is None else origins
        arrays = [origin.array() for origin in chosen]
        before = [
            known[origin.key] if origin.key in known else array.copy()
            for origin, array in zip(chosen, arrays, strict=True)
        ]
        assigned = recording.assigned
        if assigned is None:
            return cls(arrays, before, recording.changes)
        return cls(arrays, before, recording.changes, assigned.attributes, assigned.before)

    @classmethod
    def now(cls, updates: Updates, attributes: Sequence[Attribute]) -> States:
        """Those of a program whose call is about to begin. attributes: that it assigns."""
        arrays = updates.arrays()
        values = [attribute.value for attribute in attributes]
        return cls(arrays, [a.copy() for a in arrays], None, attributes, values)

    def take_back(self) -> None:
        """Memory and attributes hold what they held before."""
        if self._arrays:
            stamps.write(self._arrays, self._before)
        restore(self._attributes, self._values)

    def assigned(self) -> tuple[Any, ...]:
        """What the attributes hold now."""
        return tuple(attribute.value for attribute in self._attributes)

    def changed(self, assigned: Assignment | None = None) -> tuple[Any, ...]:
        """What the attributes hold now, or when ``assigned`` is done, if that is something else than before."""
        now = assigned.by_attribute if assigned else {a.key: a.value for a in self._attributes}
        pairs = zip(self._attributes, self._values, strict=True)
        return tuple(_UNCHANGED if is_same(now.get(a.key, v), v) else now[a.key] for a, v in pairs)

    def held(self) -> list[numpy.ndarray]:
        """Copies of what the memory holds now."""
        return [a.copy() for a in self._arrays]

    @contextmanager
    def rewound(self) -> Iterator[None]:
        """Memory and attributes hold what they held before; afterwards again what they hold now."""
        if not self._arrays and not self._attributes:
            yield
            return
        now, values = self.held(), self.assigned()
        with self._changes.overlooked() if self._changes is not None else nullcontext():
            self.take_back()
            try:
                yield
            finally:
                stamps.write(self._arrays, now)
                restore(self._attributes, values)


@contextmanager
def taken_back(recorder: Recorder) -> Iterator[None]:
    """Where Ctrl-C or a signal ends a call that is recorded, arrays that a program would write hold again what they held.

    Not where the call cannot have a program: then other writes were not noted. An error of the user's leaves what was
    written so far, as everywhere in Python.
    """
    try:
        yield
    except BaseException as error:
        is_users = isinstance(error, Exception) and not came_from_handler(error)
        if not is_users and not recorder.problem:
            memory = recorder.memory
            arrays = [(array._data, before) for array, before in memory.updated.values()]
            pairs = [*arrays, *((variable.flag, before) for variable, before in memory.flags.values())]
            stamps.write([array for array, _ in pairs], [before for _, before in pairs])
            recorder.assignments.take_back()
        raise


NO_STATES = States((), ())  # of calls that write nothing
