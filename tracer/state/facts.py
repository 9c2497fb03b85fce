"""What a compiled call rests on, one fact each: how to look again whether it still holds.

NOTE [guards of facts]
A fact is looked at in two ways. ``holds`` is the slow one, which decides. ``condition`` is the source of an expression for
the guard of a program (``runtime/programs/guards.py``), which runs before every call: it names the objects that ``bind``
gives names to, compares by identity, and may say no where ``holds`` says yes, never the other way round.

NOTE [declared attributes]
Blocks and parameters tell their watchers when they change. Their classes declare what of them is no state:
``__untracked__`` names the attributes that are bookkeeping of the library, or that a program looks at itself;
``__registries__`` those whose values are dicts that tell the watchers. Any other attribute is state.
"""

from __future__ import annotations

import collections
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy

from blockfuse.array.pytree import ATOMS
from blockfuse.array.stamps import Watchers
from blockfuse.tracer.state.contents import same_bytes

MISSING = object()
Bind = Callable[[Any], str]  # gives an object a name that conditions can use


class Fact(Protocol):
    """Something that was so when the call was recorded. text says what it is about, for people."""

    @property
    def text(self) -> str: ...

    def holds(self) -> bool: ...

    def condition(self, bind: Bind) -> str:
        """See NOTE [guards of facts]."""


@dataclass(frozen=True)
class Item:
    """``holder[key]`` (or its attribute) is ``value``."""

    holder: Any  # a dict, cell, function or any other object
    key: Any
    value: Any
    by_value: bool  # whether an equal number or text does as well
    text: str

    def holds(self) -> bool:
        found = _looked_up(self.holder, self.key)
        return found is self.value or (self.by_value and _is_equal(found, self.value))

    def condition(self, bind: Bind) -> str:
        if isinstance(self.holder, types.CellType):
            return f"{bind(self.holder)}.cell_contents is {bind(self.value)}"
        stored = self.holder if isinstance(self.holder, dict) else own_dict(self.holder)
        if isinstance(self.holder, types.FunctionType):
            return f"{bind(self.holder)}.{self.key} is {bind(self.value)}"
        if self.value is MISSING:
            return f"{self.key!r} not in {bind(stored)}"
        if self.key not in stored:  # a slot
            return f"{bind(self.holder)}.{self.key} is {bind(self.value)}"
        return f"{bind(stored)}[{self.key!r}] is {bind(self.value)}"


@dataclass(frozen=True)
class Names:
    """``holder`` has exactly these attributes of its own: a new one could hide another, or answer ``hasattr``."""

    holder: Any
    names: tuple[str, ...]
    text: str

    def holds(self) -> bool:
        return tuple(own_names(self.holder)) == self.names

    def condition(self, bind: Bind) -> str:
        """By their number and the last one."""
        stored = own_dict(self.holder)
        name = bind(stored)
        if not stored:
            return f"not {name}"
        last = bind(next(reversed(stored)))
        return f"len({name}) == {len(stored)} and next(reversed({name})) == {last}"


def own_names(holder: Any) -> list[str]:
    """Its own attributes, but for those that its class declares to be no state."""
    declared = {*_declared(holder, "__untracked__"), *registries_of(holder)}
    return [name for name in own_dict(holder) if name not in declared]


def registries_of(holder: Any) -> tuple[str, ...]:
    """The attributes whose values tell the watchers of ``holder``."""
    return tuple(_declared(holder, "__registries__"))


def is_watched(value: Any) -> bool:
    """Whether ``value`` tells its watchers when it changes."""
    return type(own_dict(value).get("_watchers")) is Watchers


def _declared(holder: Any, name: str) -> Any:
    """See NOTE [declared attributes]. No code of a metaclass runs."""
    return next((vars(c)[name] for c in type(holder).__mro__ if name in vars(c)), ())


@dataclass(frozen=True)
class Kind:
    """``holder`` is an instance of exactly ``kind``: its ``__class__`` can be assigned."""

    holder: Any
    kind: type
    text: str

    def holds(self) -> bool:
        return type(self.holder) is self.kind

    def condition(self, bind: Bind) -> str:
        return f"type({bind(self.holder)}) is {bind(self.kind)}" + self._same_dict(bind)

    def _same_dict(self, bind: Bind) -> str:
        """Other facts look into the dict that an object has now; another one can be put in its place."""
        holder, stored = self.holder, own_dict(self.holder)
        if own_dict(holder) is not stored or isinstance(holder, types.ModuleType | type):
            return ""  # there is none, or it stays
        kind: Any = type(holder)
        if kind.__getattribute__ is object.__getattribute__:
            return f" and {bind(holder)}.__dict__ is {bind(stored)}"
        return f" and {bind(own_dict)}({bind(holder)}) is {bind(stored)}"


@dataclass(frozen=True)
class Order:
    """A class inherits from what it did: Python makes the tuple anew when the ``__bases__`` of one of them change."""

    holder: type
    order: tuple[type, ...]
    text: str

    def holds(self) -> bool:
        return self.holder.__mro__ is self.order

    def condition(self, bind: Bind) -> str:
        return f"{bind(self.holder)}.__mro__ is {bind(self.order)}"


@dataclass(frozen=True)
class Values:
    """A NumPy array holds exactly these bytes: nobody sees its elements being read or written."""

    holder: numpy.ndarray
    values: numpy.ndarray
    text: str

    def holds(self) -> bool:
        return same_bytes(self.holder, self.values)

    def condition(self, bind: Bind) -> str:
        return f"{bind(self.holds)}()"


@dataclass(frozen=True)
class Contents:
    """``holder``, a list, tuple, set or dict, holds exactly these objects (or equal numbers and text), in this order."""

    holder: Any
    items: tuple[Any, ...]  # of a dict, keys and values in turn
    text: str

    def holds(self) -> bool:
        found = items_of(self.holder)
        return len(found) == len(self.items) and all(
            a is b or (type(a) in ATOMS and _is_equal(a, b)) for a, b in zip(found, self.items, strict=True)
        )

    def condition(self, bind: Bind) -> str:
        """By the ids of the items, in order."""
        holder, ids = bind(self.holder), bind([id(item) for item in self.items])
        if type(self.holder) not in (dict, list, set):  # methods of its own would be the user's code
            return f"[id(p) for p in {bind(items_of)}({holder})] == {ids}"
        if isinstance(self.holder, dict):
            return f"[id(p) for pair in {holder}.items() for p in pair] == {ids}"
        return f"[id(p) for p in {holder}] == {ids}"


@dataclass(frozen=True)
class Setting:
    """What known code was told when it asked something ambient."""

    ask: Callable[[], Any]
    answer: Any
    text: str

    def holds(self) -> bool:
        return bool(self.ask() == self.answer)

    def condition(self, bind: Bind) -> str:
        return f"{bind(self.ask)}() == {bind(self.answer)}"


def _is_equal(one: Any, other: Any) -> bool:
    """Of numbers and text: to the bit, and of one type."""
    return type(one) is type(other) and repr(one) == repr(other)


def _looked_up(holder: Any, key: Any) -> Any:
    if isinstance(holder, dict):
        return holder.get(key, MISSING)
    if isinstance(holder, types.CellType):
        return cell_contents(holder)
    return attribute_of(holder, key)


def cell_contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def attribute_of(holder: Any, name: str) -> Any:
    """An attribute as stored in the object itself: no property and no ``__getattr__`` runs."""
    if isinstance(holder, types.FunctionType):
        return getattr(holder, name, MISSING)
    stored = own_dict(holder)
    if name in stored:
        return stored[name]
    slot = next((vars(c)[name] for c in type(holder).__mro__ if name in vars(c)), None)
    try:
        return slot.__get__(holder) if isinstance(slot, types.MemberDescriptorType) else MISSING
    except AttributeError:
        return MISSING


def own_dict(holder: Any) -> Any:
    """``holder.__dict__``, read past any ``__getattr__`` and ``__getattribute__``; empty where there is none."""
    try:
        return object.__getattribute__(holder, "__dict__")
    except AttributeError:
        return {}


def items_of(holder: Any) -> tuple[Any, ...]:
    """What a container holds; a method of its own class would be the user's code."""
    for kind in (collections.OrderedDict, dict):
        if isinstance(holder, kind):
            return tuple(part for pair in kind.items(holder) for part in pair)
    kinds = (list, tuple, set, frozenset)
    return tuple(next(kind for kind in kinds if isinstance(holder, kind)).__iter__(holder))
