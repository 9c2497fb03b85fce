"""A dict that keeps the entries used last; threads share it without a lock (NOTE [turns])."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Protocol, TypeVar


class Counted(Protocol):
    """What can be kept. used: when that was last."""

    used: int


K = TypeVar("K")
V = TypeVar("V", bound=Counted)


class RecentlyUsed(dict[K, V]):
    """Every change is one operation of ``dict``, which other threads see whole."""

    def __init__(self, most: int) -> None:
        """most: entries that are kept; the one used longest ago goes."""
        super().__init__()
        self._most, self._clock = most, itertools.count(1)

    def use(self, key: K, make: Callable[[], V]) -> V:
        """The entry of ``key``, made where there is none."""
        found = self.get(key)
        entry = self.setdefault(key, make()) if found is None else found
        entry.used = next(self._clock)
        return entry

    def trim(self) -> bool:
        """Let go of what is too much; whether something was."""
        if len(self) <= self._most:
            return False
        oldest, _ = min(list(self.items()), key=lambda item: item[1].used)
        self.pop(oldest, None)
        return True
