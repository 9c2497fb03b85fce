"""Arguments and results taken apart: arrays on one side, everything else as a structure that can be compared."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from typing import Any

from blockfuse.array.ndarray import ndarray

ATOMS = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))
_VALUES = (*ATOMS, slice, range)


@dataclass(frozen=True)
class Leaf:
    """An array stood here; ``number`` counts them from the left. In a result one array may stand in several places."""

    number: int


@dataclass(frozen=True)
class Static:
    """A value that is part of the structure, told by its type and text (``0.0`` is not ``-0.0``)."""

    text: str
    type: type


@dataclass(frozen=True)
class Number:
    """An int or float that is another one at each call."""

    type: type


@dataclass(frozen=True)
class Again:
    """The list or dict that stood here was met before; ``number`` counts them from the left."""

    number: int


@dataclass(frozen=True)
class Branch:
    """A tuple, list or dict (``keys``, and what tells ``1`` from ``True``); ``type`` builds it again."""

    type: Any
    parts: tuple[Any, ...]
    keys: tuple[Any, ...] = ()
    key_texts: tuple[tuple[type, str], ...] = ()


Structure = Leaf | Static | Number | Again | Branch


class Unstructured(Exception):  # noqa: N818 - an answer, not a failure: the call runs eagerly
    """A value that is neither array, number, text nor a plain container of such; ``args[0]`` is its type's name."""


def flatten(value: Any, arrays: list[ndarray], statics: list[Any] | None = None) -> Structure:
    """The structure of ``value``; its arrays are appended to ``arrays``, the other values to ``statics``."""
    return _flat(value, arrays, [] if statics is None else statics, {}, None)


def flatten_result(value: Any, arrays: list[ndarray], statics: list[Any]) -> Structure:
    """The same of a result, where tuples of values are values: ``return y, self.size`` gives the very tuple.

    An array that stands in it twice, as in ``return state, [state]``, is one: its leaves have one number.
    """
    return _flat(value, arrays, statics, {}, {})


def _flat(
    value: Any, arrays: list[ndarray], statics: list[Any], met: dict[int, int], known: dict[int, int] | None
) -> Structure:
    """met: id of each list and dict so far -> its number. known: of a result, id of each array so far -> its number."""
    kind = type(value)
    if kind is ndarray:
        number = len(arrays) if known is None else known.setdefault(id(value), len(arrays))
        if number == len(arrays):
            arrays.append(value)
        return Leaf(number)
    if kind is list or kind is dict:
        if id(value) in met:
            return Again(met[id(value)])
        met[id(value)] = len(met)
    if kind is tuple or kind is list or (isinstance(value, tuple) and hasattr(value, "_fields")):
        if known is not None and _is_value(value):
            statics.append(value)
            return Static(repr(value), kind)
        return Branch(kind, tuple(_flat(v, arrays, statics, met, known) for v in value))
    if kind is dict:
        parts = tuple(_flat(v, arrays, statics, met, known) for v in value.values())
        return Branch(kind, parts, _checked_keys(value), tuple((type(k), repr(k)) for k in value))
    if kind in _VALUES:
        statics.append(value)
        return Static(repr(value), kind)
    raise Unstructured(kind.__name__)


def leaves(structure: Structure) -> Iterator[int]:
    """The numbers of the arrays in it, from the left."""
    if isinstance(structure, Leaf):
        yield structure.number
    for part in structure.parts if isinstance(structure, Branch) else ():
        yield from leaves(part)


def _is_value(value: Any) -> bool:
    return all(map(_is_value, value)) if type(value) is tuple else type(value) in _VALUES


def with_numbers(structure: Structure, indices: Container[int]) -> Structure:
    """The structure where the static values at ``indices`` (counted from the left) may be any of their type."""
    counter = itertools.count()

    def changed(part: Structure) -> Structure:
        if isinstance(part, Static):
            return Number(part.type) if next(counter) in indices else part
        return replace(part, parts=tuple(map(changed, part.parts))) if isinstance(part, Branch) else part

    return changed(structure)


def values_of(structure: Structure) -> list[Any]:
    """The static values that a structure tells of, which are all that its texts say."""
    if isinstance(structure, Branch):
        return [value for part in structure.parts for value in values_of(part)]
    return [_value_of(structure)] if isinstance(structure, Static) else []


def _value_of(static: Static) -> Any:
    """Raises ValueError for a text that is no value of the type."""
    if static.type is float:
        return float(static.text)
    if static.type is type(Ellipsis):
        return ...
    if static.type in (slice, range):
        return static.type(*ast.literal_eval(static.text.removeprefix(static.type.__name__)))
    return ast.literal_eval(static.text)


def containers(value: Any) -> list[Any]:
    """Every list and dict in ``value``, as often as it stands there."""
    found: list[Any] = []
    waiting, entered = [value], set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, list | dict):
            found.append(one)
        if isinstance(one, list | dict | tuple) and id(one) not in entered:
            entered.add(id(one))
            waiting.extend(one.values() if isinstance(one, dict) else one)
    return found


def _checked_keys(value: dict[Any, Any]) -> tuple[Any, ...]:
    for key in value:
        if type(key) not in ATOMS:
            raise Unstructured(type(key).__name__)
    return tuple(value)


def rebuild(structure: Structure, arrays: Callable[[int], Any], statics: list[Any]) -> Any:
    """The value again, with ``arrays(number)`` for its arrays."""
    return _built(structure, arrays, iter(statics), [])


def _built(part: Structure, arrays: Callable[[int], Any], statics: Iterator[Any], met: list[Any]) -> Any:
    """met: lists and dicts so far. No function inside of another: its cycle would hold the arrays of every call."""
    if isinstance(part, Leaf):
        return arrays(part.number)
    if isinstance(part, Again):
        return met[part.number]
    if isinstance(part, Static | Number):
        return next(statics)
    if part.type is list:
        made: list[Any] = []
        met.append(made)
        made.extend(_built(p, arrays, statics, met) for p in part.parts)
        return made
    if part.type is dict:
        table: dict[Any, Any] = {}
        met.append(table)
        values = (_built(p, arrays, statics, met) for p in part.parts)
        table.update(zip(part.keys, values, strict=True))
        return table
    items = [_built(p, arrays, statics, met) for p in part.parts]
    return part.type(*items) if hasattr(part.type, "_fields") else tuple(items)
