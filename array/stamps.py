"""Who must know when Python state changes: watchers of blocks, parameters and buffers.

A compiled program rests on state that it read while it was recorded. Instead of walking that state at every
call, the program watches it; whoever changes it tells the watchers, and a call compares one number.

Any thread may watch or tell at any moment, also one that was interrupted while it did: what is shared here is changed by
single operations on sets and dicts, and gone through as a list that one operation makes. Who watches before it looks
misses nothing.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any, Protocol

import numpy


class Watcher(Protocol):
    """Something that rests on state, such as a compiled program."""

    def invalidate(self) -> None:
        """The state may have changed: check it before the next use."""


def tells_interpreter(assign: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a ``__setattr__`` that lets the interpreter know what it assigns."""
    assign.tells_interpreter = True  # type: ignore[attr-defined]
    return assign


class Watchers:
    """The watchers of one object; dead ones leave by themselves, copies and pickles start without any."""

    __slots__ = ("_indifferent", "_members")

    def __init__(self) -> None:
        self._members: set[weakref.ref[Watcher]] = set()  # not a WeakSet, whose steps are Python's
        # attribute -> members that rest on nothing about it
        self._indifferent: dict[str, set[weakref.ref[Watcher]]] = {}

    def add(self, watcher: Watcher, but: Iterable[str] = ()) -> None:
        """but: attributes that may be assigned without a word to it."""
        reference = weakref.ref(watcher)
        for attribute in but:
            self._indifferent.setdefault(attribute, set()).add(reference)
        if reference not in self._members:
            self._members.add(reference)
            for other in list(self._members):
                if other() is None:
                    self._leave(other)

    def _leave(self, reference: weakref.ref[Watcher]) -> None:
        self._members.discard(reference)
        for others in list(self._indifferent.values()):
            others.discard(reference)

    @property
    def members(self) -> set[weakref.ref[Watcher]]:
        """Those who are or were there."""
        return self._members

    @property
    def present(self) -> bool:
        """Whether there may be some."""
        return bool(self._members)

    def indifferent_to(self, attribute: str) -> set[weakref.ref[Watcher]]:
        """Those of the members to whom it is nothing that the attribute is assigned, now and later."""
        return self._indifferent.setdefault(attribute, set())

    def notify(self, attribute: str = "") -> None:
        """attribute: that was assigned, where nothing else has changed."""
        indifferent = self._indifferent.get(attribute, _NOBODY)
        for reference in list(self._members - indifferent):
            watcher = reference()
            if watcher is not None:
                watcher.invalidate()
            else:
                self._leave(reference)

    def __deepcopy__(self, memo: object) -> Watchers:
        return Watchers()

    def __reduce__(self) -> tuple[type[Watchers], tuple[()]]:
        return Watchers, ()


_NOBODY: frozenset[Any] = frozenset()


def owner_of(data: numpy.ndarray) -> numpy.ndarray:
    """The array that owns the memory of ``data``."""
    while isinstance(data.base, numpy.ndarray):
        data = data.base
    return data


class BufferWatchers:
    """Those who are told of one kind of change of memory."""

    def __init__(self) -> None:
        # Id of a buffer's owner -> the owner, its watchers; an owner takes its entry along when it goes (by no line of
        # Python, in which Ctrl-C would be lost).
        self._entries: dict[int, tuple[weakref.ref[numpy.ndarray], Watchers]] = {}

    def of(self, data: numpy.ndarray) -> Watchers:
        """Those who are told about the memory of ``data``, now and later."""
        owner = owner_of(data)
        key = id(owner)
        entry = self._entries.get(key)
        if entry is None:
            new = weakref.ref(owner, partial(self._entries.pop, key)), Watchers()
            entry = self._entries.setdefault(key, new)  # another thread may have been quicker
        return entry[1]

    def notify(self, owner: numpy.ndarray) -> None:
        entry = self._entries.get(id(owner))
        if entry is not None:
            entry[1].notify()

    def __bool__(self) -> bool:
        """Whether there may be some."""
        return bool(self._entries)

    @property
    def entries(self) -> dict[int, Any]:
        """Ids of the owners of memory that somebody watches or watched."""
        return self._entries


_of_writes = BufferWatchers()
_of_histories = BufferWatchers()


def watchers_of(data: numpy.ndarray) -> Watchers:
    """Those who are told of every write into the memory of ``data``, now and later."""
    return _of_writes.of(data)


def watched() -> dict[int, Any]:
    """Ids of the owners of memory for which writes somebody watches or watched."""
    return _of_writes.entries


def watch_buffer(data: numpy.ndarray, watcher: Watcher) -> None:
    """Tell ``watcher`` of every write into the memory of ``data``."""
    _of_writes.of(data).add(watcher)


def watch_history(data: numpy.ndarray, watcher: Watcher) -> None:
    """Tell ``watcher`` of every write into the memory of ``data`` that ``autograd`` records."""
    _of_histories.of(data).add(watcher)


def recorded(owner: numpy.ndarray | None) -> None:
    """``autograd`` has recorded a write into the memory of an array, if there still is one."""
    if _of_histories and owner is not None:
        _of_histories.notify(owner)


class Reader(Protocol):
    """Something that will read memory for operators that were called already."""

    def read(self, owners: Sequence[numpy.ndarray]) -> None:
        """The memory of each of these owners is about to be written: read it now."""


readers: set[weakref.ref[Any]] = set()  # changed by one-step methods only, for any thread may look


def writing(data: numpy.ndarray) -> None:
    """Memory of ``data`` is about to be written."""
    if readers:
        writing_to((owner_of(data),))


def writing_to(owners: Sequence[numpy.ndarray]) -> None:
    """Memory of all these owners is about to be written."""
    for reference in tuple(readers):
        reader = reference()
        if reader is None:
            readers.discard(reference)
        else:
            reader.read(owners)


def written(data: numpy.ndarray) -> None:
    """Memory of ``data`` was written."""
    if _of_writes:
        written_to((owner_of(data),))


def written_to(owners: Sequence[numpy.ndarray]) -> None:
    """Memory of all these owners was written."""
    for owner in owners:
        _of_writes.notify(owner)


def write(arrays: Sequence[numpy.ndarray], values: Sequence[numpy.ndarray], also: Iterable[Any] = ()) -> None:
    """Write each value into its array, with everyone told. One call of functions in C, between which no handler of a signal
    runs. also: an iterator of C's that calls more of them.
    """
    owners = [*map(owner_of, arrays)]
    writing_to(owners)
    try:
        deque(chain(map(numpy.ndarray.__setitem__, arrays, repeat(Ellipsis), values), also), 0)
    finally:
        written_to(owners)


# Id of a buffer's owner -> the owner: memory that NumPy's own arrays write too, which nobody sees. (No
# WeakValueDictionary: its code is Python's, and a recording would take it for the user's.)
_exposed: dict[int, weakref.ref[numpy.ndarray]] = {}


def expose(data: numpy.ndarray) -> None:
    """From now on the memory of ``data`` is also that of an array of NumPy's, and may be written."""
    if not is_exposed(data):
        owner = owner_of(data)
        key = id(owner)
        writing(owner)
        _exposed[key] = weakref.ref(owner, partial(_exposed.pop, key))
        written(data)  # from now on perhaps without a word: who rests on it must look for itself


def is_exposed(data: numpy.ndarray) -> bool:
    """Whether the memory of ``data`` may be written without ``written`` being told."""
    owner = owner_of(data)
    found = _exposed.get(id(owner))
    return found is not None and found() is owner
