"""Values in tuples, lists and dicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def replaced(value: Any, kinds: Any, by: Callable[[Any], Any]) -> Any:
    """``value`` with ``by(part)`` in the place of each part of these kinds."""
    kind = type(value)
    if kind is tuple or kind is list:
        return kind(replaced(v, kinds, by) for v in value)
    if kind is dict:
        return {k: replaced(v, kinds, by) for k, v in value.items()}
    return by(value) if isinstance(value, kinds) else value


def flat(value: Any) -> list[Any]:
    """The parts of ``value``, in order."""
    if isinstance(value, tuple | list):
        return [part for v in value for part in flat(v)]
    if isinstance(value, dict):
        return [part for v in value.values() for part in flat(v)]
    return [value]
