"""Whether anything that a recorded call read was changed since it began, by whomever."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from blockfuse.array import stamps
from blockfuse.array.ndarray import ndarray


class Changes:
    """A watcher of blocks, parameters and arrays, which lives as long as the recording."""

    def __init__(self, watched: Iterable[Any], arrays: Iterable[Any]) -> None:
        self.seen = False
        for value in watched:
            value._watchers.add(self)
        for array in (*arrays, *(getattr(value, "_data", None) for value in watched)):
            if isinstance(array, ndarray) and array._pending is None:
                stamps.watch_buffer(array._data, self)

    def invalidate(self) -> None:
        """See ``stamps.Watcher``."""
        self.seen = True
