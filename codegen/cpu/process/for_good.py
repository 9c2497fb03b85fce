"""Objects that a process keeps to its end, as native code or threads may use them until then."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Code(Protocol):
    """Native code in memory."""

    def address(self, symbol: str) -> int:
        """Where a function lies."""


def for_good(value: Any) -> Any:
    """``value``, which nobody frees any more: when the interpreter ends, arrays, types and threads outlive modules."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))
    return value


_only: dict[type, Any] = {}  # class -> its one object


def only_one(kind: type[T], make: Callable[[], T]) -> T:
    """The object of class ``kind`` that this process has, for good; made at first use."""
    found: T | None = _only.get(kind)
    if found is None:
        found = _only[kind] = for_good(make())
    return found
