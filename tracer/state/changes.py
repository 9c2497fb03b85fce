"""Whether anything that a recorded call read was changed since it began, by whomever."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from blockfuse.array import stamps
from blockfuse.array.ndarray import ndarray


class Changes:
    """A watcher of blocks, parameters and arrays, which lives as long as the recording."""

    def __init__(self, watched: Iterable[Any], arrays: Iterable[Any], is_own: Callable[[], bool]) -> None:
        """is_own: whether the recorded call itself is writing."""
        self.seen = False
        self._is_own = is_own
        for value in watched:
            value._watchers.add(self)
        for array in (*arrays, *(getattr(value, "_data", None) for value in watched)):
            if isinstance(array, ndarray) and array._pending is None:
                stamps.watch_buffer(array._data, self)

    def call_ended(self) -> None:
        """Whatever changes from now on is a change; the recorded call, and its frames, are held no longer."""
        self._is_own = _nobody

    @contextmanager
    def overlooked(self) -> Iterator[None]:
        """What this thread writes in here is no change."""
        here = get_ident()
        before, self._is_own = self._is_own, lambda: get_ident() == here
        try:
            yield
        finally:
            self._is_own = before

    def invalidate(self) -> None:
        """See ``stamps.Watcher``."""
        self.seen = self.seen or not self._is_own()


def _nobody() -> bool:
    return False
