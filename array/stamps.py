"""Who must know when Python state changes: watchers of blocks, parameters and buffers.

A compiled program rests on state that it read while it was recorded. Instead of walking that state at every
call, the program watches it; whoever changes it tells the watchers, and a call compares one number.

Any thread may watch or tell at any moment, also one that was interrupted while it did: what is shared here is changed by
single operations on sets and dicts, and gone through as a list that one operation makes. Who watches before it looks
misses nothing.

NOTE [changes under way]
Between a change and the word to its watchers a signal handler or another thread may call a program that rests on what was
there before. So watchers are told twice, before the change and after it, and in between everyone can see that the change is
under way (``are_changing``): a program that was told, or is made meanwhile, is not bound to what is there then, and calls
run in Python. No lock is needed, and a change that an exception ends is over.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, count, repeat
from typing import Any, Protocol, TypeVar

import numpy

T = TypeVar("T")


class Watcher(Protocol):
    """Something that rests on state, such as a compiled program."""

    def invalidate(self) -> bool | None:
        """The state may have changed: check it before the next use.

        True from who need not be told again before it watches anew.
        """


def tells_interpreter(assign: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a ``__setattr__`` that lets the interpreter know what it assigns."""
    assign.tells_interpreter = True  # type: ignore[attr-defined]
    return assign


class Watchers:
    """The watchers of one object; dead ones leave by themselves, copies and pickles start without any.

    Where all of them have been told, and none has watched anew since, a further change is told to nobody: ``_told`` is then
    what ``_latest`` is, another object after each that watches. Native code compares the two.
    """

    __slots__ = ("_indifferent", "_latest", "_members", "_told")

    def __init__(self) -> None:
        self._latest = self._told = object()
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
        self._latest = object()  # when it is a member, for who tells meanwhile

    def _leave(self, reference: weakref.ref[Watcher]) -> None:
        self._members.discard(reference)
        for others in list(self._indifferent.values()):
            others.discard(reference)

    @property
    def members(self) -> set[weakref.ref[Watcher]]:
        """Those who are or were there."""
        return self._members

    @property
    def waiting(self) -> bool:
        """Whether there may be some who must be told."""
        return self._told is not self._latest

    def indifferent_to(self, attribute: str) -> set[weakref.ref[Watcher]]:
        """Those of the members to whom it is nothing that the attribute is assigned, now and later."""
        return self._indifferent.setdefault(attribute, set())

    def changing(self, change: Callable[..., Any], *arguments: Any, attribute: str = "") -> None:
        """Call ``change``, which changes their object. attribute: that it assigns, where nothing else changes."""
        changing((self,) if self.waiting else (), partial(self.notify, attribute), change, *arguments)

    def notify(self, attribute: str = "") -> None:
        """attribute: that is assigned, where nothing else changes."""
        latest = self._latest
        if self._told is latest:
            return
        indifferent = self._indifferent.get(attribute, _NOBODY)
        all_know = self._members.isdisjoint(indifferent)
        for reference in list(self._members - indifferent):
            watcher = reference()
            if watcher is None:
                self._leave(reference)
            elif not watcher.invalidate():
                all_know = False
        if all_know:
            self._told = latest

    def __deepcopy__(self, memo: object) -> Watchers:
        return Watchers()

    def __reduce__(self) -> tuple[type[Watchers], tuple[()]]:
        return Watchers, ()


_NOBODY: frozenset[Any] = frozenset()


# -- changes -----------------------------------------------------------------------------------------------------

_numbers = count()
_under_way: dict[int, Sequence[Any]] = {}  # number of a change -> what changes
os.register_at_fork(after_in_child=_under_way.clear)  # the threads that change something are not there


def changing(what: Sequence[Any], tell: Callable[[], None], change: Callable[..., T], *arguments: Any) -> T:
    """What ``change`` gives, with its watchers told: NOTE [changes under way].

    what: the ``Watchers`` of objects, and owners of memory; none where nobody waits to be told. tell: tells those who watch
    them, or have begun to since then.
    """
    if not what:
        try:
            return change(*arguments)
        finally:
            tell()
    number = next(_numbers)
    try:  # of all that may raise, and of Ctrl-C: NOTE [turns]
        _under_way[number] = what
        tell()
        return change(*arguments)
    finally:
        try:
            tell()
        finally:
            _under_way.pop(number, None)


def are_changing(what: Iterable[Any]) -> bool:
    """Whether a change of any of these is under way: ``Watchers`` of objects, and owners of memory."""
    if not _under_way:
        return False
    ids = {*map(id, what)}
    return any(id(one) in ids for changed in list(_under_way.values()) for one in changed)


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
_watched = _of_writes.entries


def watchers_of(data: numpy.ndarray) -> Watchers:
    """Those who are told of every write into the memory of ``data``, now and later."""
    return _of_writes.of(data)


def watched() -> dict[int, Any]:
    """Ids of the owners of memory for which writes somebody watches or watched."""
    return _watched


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


def _read(owners: Sequence[numpy.ndarray]) -> None:
    for reference in tuple(readers):
        reader = reference()
        if reader is None:
            readers.discard(reference)
        else:
            reader.read(owners)


def writing(arrays: Sequence[numpy.ndarray], write: Callable[..., T], *arguments: Any) -> T:
    """What ``write`` gives, which writes the memory of ``arrays``, with readers and watchers told."""
    owners = [*map(owner_of, arrays)] if readers or _watched else ()
    if readers:
        _read(owners)
    return changing(owners, partial(_tell, arrays), write, *arguments)


def _tell(arrays: Sequence[numpy.ndarray]) -> None:
    if _watched:
        for array in arrays:
            _of_writes.notify(owner_of(array))


def written(data: numpy.ndarray) -> None:
    """Memory of ``data`` was written by native code in which nobody could watch it, or is left by its holder."""
    _tell((data,))


def write(arrays: Sequence[numpy.ndarray], values: Sequence[numpy.ndarray], also: Iterable[Any] = ()) -> None:
    """Write each value into its array, with everyone told. One call of functions in C, between which no handler of a signal
    runs. also: an iterator of C's that calls more of them.
    """
    writes = map(numpy.ndarray.__setitem__, arrays, repeat(Ellipsis), values)
    writing(arrays, deque, chain(writes, also), 0)


# Id of a buffer's owner -> the owner: memory that NumPy's own arrays write too, which nobody sees. (No
# WeakValueDictionary: its code is Python's, and a recording would take it for the user's.)
_exposed: dict[int, weakref.ref[numpy.ndarray]] = {}


def expose(data: numpy.ndarray) -> None:
    """From now on the memory of ``data`` is also that of an array of NumPy's, and may be written."""
    if not is_exposed(data):
        owner = owner_of(data)
        key = id(owner)
        if readers:
            _read((owner,))
        _exposed[key] = weakref.ref(owner, partial(_exposed.pop, key))
        written(data)  # from now on perhaps without a word: who rests on it must look for itself


def is_exposed(data: numpy.ndarray) -> bool:
    """Whether the memory of ``data`` may be written without ``written`` being told."""
    owner = owner_of(data)
    found = _exposed.get(id(owner))
    return found is not None and found() is owner
