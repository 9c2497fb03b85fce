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

    def __init__(
        self,
        max_entries: int,  # that are kept; the one used longest ago goes
        make: Callable[[], V],  # an entry where there is none
        when_one_goes: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._max_entries, self._make, self._when_one_goes = max_entries, make, when_one_goes
        self._clock = itertools.count(1)

    def use(self, key: K) -> V:
        """The entry of ``key``, made where there is none."""
        return self.use_known(key) or self._use_new(key)

    def use_known(self, key: K) -> V | None:
        """The entry of ``key``, if there is one."""
        entry = self.get(key)
        if entry is not None:
            entry.used = next(self._clock)
        return entry

    def _use_new(self, key: K) -> V:
        entry = self.setdefault(key, self._make())  # another thread may have been quicker
        entry.used = next(self._clock)
        if len(self) > self._max_entries:
            oldest, _ = min(list(self.items()), key=lambda item: item[1].used)
            self.pop(oldest, None)
            self._when_one_goes()
        return entry
