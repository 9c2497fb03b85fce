"""The attributes of blocks that a recorded call assigns, and whether it may have read what they held before.

NOTE [assigned attributes]
A call that assigns attributes of blocks gives their last values beside its result, and a program of it assigns them when
everything is computed, all at once. What such an attribute held before is then no state that a program rests on. So the
first recording that meets an assignment only tells of it, and the next one takes its picture of state without it.

That holds only if the call did not read the attribute before it assigned it. Assignments are told by ``__setattr__`` of
blocks. Reads are not, so they are foreseen by the byte code: a line that loads an attribute of that name (or has text of
that name, or makes names at run time) when it has not been assigned yet may have read it. Where the line shows of which
object, it is read of that one only. What methods of ours name (the rate of a ``Dropout``) counts as read.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import ATOMS, Structure, Unstructured, flatten_result, rebuild
from blockfuse.ir.graph import Source
from blockfuse.tracer.code.naming import names_in
from blockfuse.tracer.state.classes import code_of
from blockfuse.tracer.state.facts import is_equal, is_watched, registries_of, untracked_of
from blockfuse.tracer.state.stored import MISSING, data_descriptor, own_dict


class Key(NamedTuple):
    """Of an attribute."""

    holder: int  # id
    name: str


@dataclass(frozen=True, eq=False)
class Attribute:
    """One of a block's own."""

    holder: Any
    name: str
    source: Source | None = None  # where it was assigned first

    @property
    def key(self) -> Key:
        return Key(id(self.holder), self.name)

    @property
    def value(self) -> Any:
        """What it holds, or ``MISSING``."""
        return own_dict(self.holder).get(self.name, MISSING)

    @property
    def text(self) -> str:
        return f"{type(self.holder).__name__}.{self.name}"

    def __str__(self) -> str:
        return self.text + (f" at {self.source}" if self.source else "")


Attributes = Mapping[Key, Attribute]


class Assignments:
    """Those of one call."""

    def __init__(self, stop: Callable[[str], None]) -> None:
        """stop: is told what no program can repeat."""
        self.made: dict[Key, Attribute] = {}  # in the order of the first assignments
        self.before: dict[Key, Any] = {}  # what these held
        self._stop = stop
        self._known: Mapping[int, Any] = {}  # ids of the blocks of the certified state
        self._left_out: Attributes = {}
        self.initial: dict[Key, Any] = {}  # what these held
        self._foreseen: set[Key] = set()
        # What may have been read -> how many attributes were assigned when that was first: an attribute, the attributes of a
        # name, all of a block (by its id), or all (None).
        self._first_reads: dict[Hashable, int] = {}

    def begin(self, watched: list[Any], left_out: Attributes) -> None:
        """watched: what tells when it changes, of the state before the call. left_out: attributes that are not in it."""
        self._known = {id(value): value for value in watched}
        self._left_out = left_out
        self.initial = {key: attribute.value for key, attribute in left_out.items()}

    # -- what is told ------------------------------------------------------------------------------------------------

    def foresees(self, holder: Any, name: str) -> bool:
        """Whether an assignment that is about to come will tell of itself, or is none."""
        descriptor = data_descriptor(type(holder), name)
        if id(holder) not in self._known or not _is_told(holder, name):
            return False
        if descriptor is not None:
            return _is_by_user(descriptor)
        self._foreseen.add(Key(id(holder), name))
        return True

    def note(self, holder: Any, name: str, before: Any, source: Source | None) -> None:
        """The attribute was assigned."""
        key = Key(id(holder), name)
        if key.holder not in self._known or data_descriptor(type(holder), name) is not None:
            return
        if key not in self._foreseen:
            self._stop(f"assigns the attribute {name} by a function that is not looked into")
        if key not in self.made:
            self.made[key] = Attribute(holder, name, source)
            self.before[key] = before

    def reads(self, holder: Any, name: str) -> None:
        """A line that loads an attribute comes. holder: of which object, ``MISSING`` where that is not known."""
        self._note_read(name if holder is MISSING else Key(id(holder), name))

    def reads_all_of(self, holder: Any) -> None:
        self._note_read(id(holder))

    def reads_all(self) -> None:
        self._note_read(None)

    def _note_read(self, what: Hashable) -> None:
        self._first_reads.setdefault(what, len(self.made))

    # -- what follows from it ----------------------------------------------------------------------------------------

    def is_read(self, key: Key) -> bool:
        """Whether the call may have read the attribute before it assigned it."""
        order = [*self.made].index(key) if key in self.made else math.inf
        holder = (self.made.get(key) or self._left_out[key]).holder
        if key.name in _names_of_ours(type(holder).__mro__):
            return True
        of = (key, key.name, key.holder, None)
        return any(what in self._first_reads and self._first_reads[what] <= order for what in of)

    def read(self, found: Iterable[Any]) -> list[Attribute]:
        """Those of what is left out that the call may have read. found: arrays that it met, and that nothing else holds."""
        chosen = {key for key in self._left_out if self.is_read(key)}
        for array in found:
            holders = [key for key, value in self.initial.items() if value is array]
            if chosen.isdisjoint(holders):
                chosen.update(holders)
        return [attribute for key, attribute in self._left_out.items() if key in chosen]

    def new(self) -> list[Attribute]:
        """The attributes that hold something else than before, and that are not left out."""
        return [a for key, a in self.made.items() if key not in self._left_out and self._is_changed(key, a)]

    def _is_changed(self, key: Key, attribute: Attribute) -> bool:
        return not is_same(attribute.value, self.before[key])

    def problem_with(self, attribute: Attribute) -> str:
        """Why no program can assign an attribute, or no text."""
        where = f" at {attribute.source}" if attribute.source else ""
        before, value = self.before[attribute.key], attribute.value
        if self.is_read(attribute.key) and not (type(before) is type(value) is ndarray):
            return f"which it may have read before{where}"
        if any(map(is_watched, (value, before))):
            return f"which holds a block or a parameter{where}"
        try:
            flatten_result(value, [], [])
        except Unstructured as kind:
            return f"which is a {kind.args[0]}, and neither array, number nor container{where}"
        return ""

    def values(self) -> Iterator[tuple[Attribute, Any]]:
        """The attributes that were assigned so far, and what they hold now."""
        return ((attribute, attribute.value) for attribute in self.made.values())

    def take_back(self) -> None:
        """The attributes hold what they held before the call."""
        restore(self.made.values(), self.before.values())


def is_same(value: Any, before: Any) -> bool:
    """Whether an attribute has kept what it held; an equal number or text does as well."""
    return value is before or (type(value) in ATOMS and is_equal(value, before))


def restore(attributes: Any, values: Any) -> None:
    """Let attributes hold what they held; nobody is told."""
    for attribute, value in zip(attributes, values, strict=True):
        if value is MISSING:
            own_dict(attribute.holder).pop(attribute.name, None)
        else:
            object.__setattr__(attribute.holder, attribute.name, value)


@lru_cache(maxsize=256)
def _names_of_ours(order: tuple[type, ...]) -> frozenset[str]:
    """What methods of ours name, which nobody watches, of the classes that a class inherits from."""
    found: set[str] = set()
    for base in order:
        if base.__module__.partition(".")[0] == "blockfuse":
            codes = filter(None, map(code_of, vars(base).values()))
            found = found.union(*map(names_in, codes))
    return frozenset(found)


def _is_told(holder: Any, name: str) -> bool:
    """Whether ``__setattr__`` of a block is ours, and the attribute is one of the user's."""
    assign = type(holder).__setattr__
    ours = is_watched(holder) and getattr(assign, "tells_interpreter", False)
    return bool(ours) and name not in untracked_of(holder) and name not in registries_of(holder)


def _is_by_user(descriptor: Any) -> bool:
    """Whether it is a property whose setter is a function of the user's, which is watched like any other."""
    setter = descriptor.fset if type(descriptor) is property else None
    return isinstance(setter, types.FunctionType) and setter.__module__.partition(".")[0] != "blockfuse"


@dataclass(frozen=True, eq=False)
class Assigned:
    """The attributes that a call assigned, and what their last values are made of."""

    attributes: tuple[Attribute, ...]
    before: tuple[Any, ...]  # what they held when the call began
    structure: Structure  # of the tuple of values
    statics: list[Any]  # what these hold besides arrays
    # Which of the results each of their arrays is; ~n: array n of those that were given. The key of an attribute that was
    # read: of what it held, which each program is given in an order of its own.
    numbers: tuple[int | Key, ...]

    def among(self, arguments: int, read: Sequence[Attribute]) -> tuple[int, ...]:
        """``numbers`` where what was ``read`` is given behind so many arguments."""
        places = {attribute.key: ~n for n, attribute in enumerate(read, arguments)}
        return tuple(n if isinstance(n, int) else places[n] for n in self.numbers)

    def values(self, numbers: Sequence[int], results: Sequence[Any], given: Sequence[Any]) -> tuple[Any, ...]:
        """numbers: of ``among``. results: of the call, and behind them arrays that only attributes hold. given: arguments,
        and what was read.
        """
        arrays = [results[n] if n >= 0 else given[~n] for n in numbers]
        made: tuple[Any, ...] = rebuild(self.structure, arrays.__getitem__, self.statics)
        return made


def meaning_of(assigned: Assigned | None) -> Any:
    """Equal where two calls assign the same, arrays aside."""
    if assigned is None:
        return None
    keys = [attribute.key for attribute in assigned.attributes]
    return keys, assigned.structure, [*map(repr, assigned.statics)], assigned.numbers


def flatten_assigned(
    values: tuple[Any, ...],
    arrays: list[ndarray],
    statics: list[Any],
    given: Sequence[ndarray] = (),
    read: Mapping[Key, ndarray] = MappingProxyType({}),
) -> tuple[Structure, tuple[int | Key, ...]]:
    """The structure of assigned values, and which of ``arrays`` theirs are (``~n``: of ``given``; a key: of ``read``): those
    that are nowhere are appended. Raises Unstructured.
    """
    found: list[ndarray] = []
    structure = flatten_result(values, found, statics)
    numbers: dict[int, int | Key] = {id(array): ~n for n, array in reversed([*enumerate(given)])}
    numbers |= {id(array): key for key, array in read.items()}
    numbers |= {id(array): n for n, array in enumerate(arrays)}
    for array in found:
        if id(array) not in numbers:
            numbers[id(array)] = len(arrays)
            arrays.append(array)
    return structure, tuple(numbers[id(array)] for array in found)
