"""Whose turn it is to record: that of one thread for each net and, on CPython 3.12, that of one thread in all."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from blockfuse.ir.locks import Busy, Turn

T = TypeVar("T")


class _OfProcess(Turn):
    """CPython 3.12 crashes where one thread begins or ends to trace while another does, also in a child that is forked
    meanwhile, where that thread does not end any more (seen with 3.12.1; 3.13 keeps the instructions that it replaces
    while somebody traces: https://github.com/python/cpython/pull/118496).
    """

    is_cut_off = False

    def renew(self) -> None:
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self.is_cut_off = True
        super().renew()


_IN_ALL = _OfProcess() if sys.version_info[:2] == (3, 12) else None


def is_cut_off() -> bool:
    """Whether this process was forked while another thread recorded, so that nothing can be recorded here."""
    return _IN_ALL is not None and _IN_ALL.is_cut_off


class RecordingTurn:
    """See NOTE [turns] in ``ir/locks.py``: who does not get it runs in Python."""

    def __init__(self) -> None:
        self._of_net = Turn()

    def run(self, work: Callable[[], T]) -> T | Busy:
        """What ``work`` gives; ``BUSY`` where another thread, or an interrupted call of this one, has the turn."""
        return self._of_net.run(work if _IN_ALL is None else partial(_IN_ALL.run, work))
