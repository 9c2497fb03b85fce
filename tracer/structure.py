"""Arguments and results taken apart: arrays on one side, everything else as a structure that can be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from blockfuse.array.ndarray import ndarray

ATOMS = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))


@dataclass(frozen=True)
class Leaf:
    """An array stood here; ``number`` counts them from the left."""

    number: int


@dataclass(frozen=True)
class Static:
    """A value that is part of the structure, told by its type and text (``0.0`` is not ``-0.0``)."""

    text: str
    type: type


@dataclass(frozen=True)
class Branch:
    """A tuple, list or dict (``keys``); ``type`` builds it again."""

    type: Any
    parts: tuple[Any, ...]
    keys: tuple[Any, ...] = ()


Structure = Leaf | Static | Branch


class Unstructured(Exception):  # noqa: N818 - an answer, not a failure: the call runs eagerly
    """A value that is neither array, number, text nor a plain container of such; ``args[0]`` is its type's name."""


def flatten(value: Any, arrays: list[ndarray], statics: list[Any] | None = None) -> Structure:
    """The structure of ``value``; its arrays are appended to ``arrays``, the other values to ``statics``."""
    kind = type(value)
    if kind is ndarray:
        arrays.append(value)
        return Leaf(len(arrays) - 1)
    if kind is tuple or kind is list or (isinstance(value, tuple) and hasattr(value, "_fields")):
        return Branch(kind, tuple(flatten(v, arrays, statics) for v in value))
    if kind is dict:
        return Branch(kind, tuple(flatten(v, arrays, statics) for v in value.values()), _checked_keys(value))
    if kind in ATOMS or kind is slice or kind is range:
        if statics is not None:
            statics.append(value)
        return Static(repr(value), kind)
    raise Unstructured(kind.__name__)


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
    remaining = iter(statics)

    def build(part: Structure) -> Any:
        if isinstance(part, Leaf):
            return arrays(part.number)
        if isinstance(part, Static):
            return next(remaining)
        items = [build(p) for p in part.parts]
        if part.type is dict:
            return dict(zip(part.keys, items, strict=True))
        return part.type(*items) if hasattr(part.type, "_fields") else part.type(items)

    return build(structure)
