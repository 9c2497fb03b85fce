"""What a compiled call rests on, one fact each: how to look again whether it still holds.

NOTE [guards of facts]
A fact is looked at in three ways. ``holds`` is the slow one, which decides. The guard of a program
(``runtime/programs/guards.py``) runs before every call. It compares by identity, and may say no where ``holds`` says yes,
never the other way round. ``comparisons`` are what it leaves to native code: facts of plain dicts, lists, cells, functions
and classes, whose look-ups run no code of the user's. ``condition`` is for all others: the source of an expression, which
names the objects that ``bind`` gives names to.

NOTE [declared attributes]
Blocks and parameters tell their watchers when they change. Their classes declare what of them is no state:
``__untracked__`` names the attributes that are bookkeeping of the library, or that a program looks at itself;
``__registries__`` those whose values are dicts that tell the watchers. Any other attribute is state. ``__made_so_far__``
counts what an instance makes when it is first used (the states of a trainer): a call in which it made some changed Python
state, and the next one may not.
"""

from __future__ import annotations

import collections
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy

from blockfuse.array.pytree import ATOMS
from blockfuse.array.stamps import Watchers
from blockfuse.ir.comparisons import Aspect, Comparison
from blockfuse.tracer.state.contents import same_bytes
from blockfuse.tracer.state.stored import (
    MISSING,
    attribute_of,
    cell_contents,
    items_of,
    own_dict,
    plain_dict,
)

Bind = Callable[[Any], str]  # gives an object a name that conditions can use
_OF_FUNCTIONS = {
    "__code__": Aspect.CODE,
    "__defaults__": Aspect.DEFAULTS,
    "__kwdefaults__": Aspect.KEYWORD_DEFAULTS,
}
_OF_CONTAINERS: dict[type, Aspect] = {dict: Aspect.PAIRS, list: Aspect.ELEMENTS}
# An ordered dict has an order of its own beside that of the dict in it, which matters where there are items.
_OF_EMPTY_CONTAINERS = {**_OF_CONTAINERS, collections.OrderedDict: Aspect.PAIRS, set: Aspect.EMPTY}


class Fact(Protocol):
    """Something that was so when the call was recorded. text says what it is about, for people."""

    @property
    def text(self) -> str: ...

    def holds(self) -> bool: ...

    def condition(self, bind: Bind) -> str:
        """See NOTE [guards of facts]."""

    def comparisons(self) -> tuple[Comparison, ...]:
        """The same; none where only Python can look."""


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
        return found is self.value or (self.by_value and is_equal(found, self.value))

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

    def comparisons(self) -> tuple[Comparison, ...]:
        if isinstance(self.holder, types.CellType):
            return (Comparison(Aspect.CELL, self.holder, (self.value,)),)
        if isinstance(self.holder, types.FunctionType):
            return self._of_function(self.holder)
        stored = plain_dict(self.holder if isinstance(self.holder, dict) else own_dict(self.holder))
        if stored is None or type(self.key) is not str:
            return ()
        if self.value is MISSING:
            return (Comparison(Aspect.MISSING, stored, (self.key,)),)
        return (Comparison(Aspect.ITEM, stored, (self.key, self.value)),) if self.key in stored else ()

    def _of_function(self, function: types.FunctionType) -> tuple[Comparison, ...]:
        if self.key in _OF_FUNCTIONS:
            return (Comparison(_OF_FUNCTIONS[self.key], function, (self.value,)),)
        stored = own_dict(function)
        if self.key not in stored:
            return ()
        return _dict_comparison(function), Comparison(Aspect.ITEM, stored, (self.key, self.value))


@dataclass(frozen=True)
class Names:
    """``holder`` has exactly these attributes of its own: a new one could hide another, or answer ``hasattr``."""

    holder: Any
    names: tuple[str, ...]
    text: str
    but: frozenset[str] = frozenset()  # others, which it may have

    def holds(self) -> bool:
        return tuple(n for n in own_names(self.holder) if n not in self.but) == self.names

    def condition(self, bind: Bind) -> str:
        """Of all of them: their number and the last one stay where one goes, another comes, and the last comes again."""
        stored = own_dict(self.holder)
        is_kept = _dict_condition(self.holder, bind) if self._is_of_function() else ""
        return f"[*{bind(stored)}] == {bind([*stored])}" + is_kept

    def comparisons(self) -> tuple[Comparison, ...]:
        stored = plain_dict(own_dict(self.holder))
        if stored is None:
            return ()
        keys = Comparison(Aspect.KEYS, stored, tuple(stored))
        return (_dict_comparison(self.holder), keys) if self._is_of_function() else (keys,)

    def _is_of_function(self) -> bool:
        """Of which no ``Kind`` tells that its dict is the same."""
        return isinstance(self.holder, types.FunctionType)


def own_names(holder: Any) -> list[str]:
    """Its own attributes, but for those that its class declares to be no state."""
    declared = {*untracked_of(holder), *registries_of(holder)}
    return [name for name in own_dict(holder) if name not in declared]


def untracked_of(holder: Any) -> Iterable[str]:
    """The attributes that are no state."""
    return tuple(_declared(holder, "__untracked__"))


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
        is_kept = _dict_condition(self.holder, bind) if _may_exchange_dict(self.holder) else ""
        return f"type({bind(self.holder)}) is {bind(self.kind)}" + is_kept

    def comparisons(self) -> tuple[Comparison, ...]:
        of_class = Comparison(Aspect.CLASS, self.holder, (self.kind,))
        if not _may_exchange_dict(self.holder):
            return (of_class,)
        kind = type(self.holder)
        descriptor = next(vars(c)["__dict__"] for c in kind.__mro__ if "__dict__" in vars(c))
        if not isinstance(descriptor, types.GetSetDescriptorType):  # a property of the user's
            return ()
        return of_class, _dict_comparison(self.holder)


def _may_exchange_dict(holder: Any) -> bool:
    """Facts look into the dict that an object has now; another one can be put in its place."""
    has_one = own_dict(holder) is own_dict(holder)
    return has_one and not isinstance(holder, types.ModuleType | type)


def _dict_condition(holder: Any, bind: Bind) -> str:
    stored = own_dict(holder)
    kind: Any = type(holder)
    if kind.__getattribute__ is object.__getattribute__:
        return f" and {bind(holder)}.__dict__ is {bind(stored)}"
    return f" and {bind(own_dict)}({bind(holder)}) is {bind(stored)}"


def _dict_comparison(holder: Any) -> Comparison:
    return Comparison(Aspect.DICT, holder, (own_dict(holder),))


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

    def comparisons(self) -> tuple[Comparison, ...]:
        return (Comparison(Aspect.ORDER, self.holder, (self.order,)),)


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

    def comparisons(self) -> tuple[Comparison, ...]:
        return ()


@dataclass(frozen=True)
class Contents:
    """``holder``, a list, tuple, set or dict, holds exactly these objects (or equal numbers and text), in this order."""

    holder: Any
    items: tuple[Any, ...]  # of a dict, keys and values in turn
    text: str

    def holds(self) -> bool:
        found = items_of(self.holder)
        return len(found) == len(self.items) and all(
            a is b or (type(a) in ATOMS and is_equal(a, b)) for a, b in zip(found, self.items, strict=True)
        )

    def condition(self, bind: Bind) -> str:
        """By the ids of the items, in order."""
        holder, ids = bind(self.holder), bind([id(item) for item in self.items])
        if type(self.holder) not in (dict, list, set):  # methods of its own would be the user's code
            return f"[id(p) for p in {bind(items_of)}({holder})] == {ids}"
        if isinstance(self.holder, dict):
            return f"[id(p) for pair in {holder}.items() for p in pair] == {ids}"
        return f"[id(p) for p in {holder}] == {ids}"

    def comparisons(self) -> tuple[Comparison, ...]:
        aspect = (_OF_CONTAINERS if self.items else _OF_EMPTY_CONTAINERS).get(type(self.holder))
        return () if aspect is None else (Comparison(aspect, self.holder, self.items),)


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

    def comparisons(self) -> tuple[Comparison, ...]:
        return ()


def is_equal(one: Any, other: Any) -> bool:
    """Of numbers and text: to the bit, and of one type."""
    return type(one) is type(other) and repr(one) == repr(other)


def _looked_up(holder: Any, key: Any) -> Any:
    if isinstance(holder, dict):
        return holder.get(key, MISSING)
    if isinstance(holder, types.CellType):
        return cell_contents(holder)
    return attribute_of(holder, key)
