"""Whose turn it is to record: that of one thread for each net and, on CPython 3.12, that of one thread in all."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from blockfuse.ir.locks import Busy, Turn

T = TypeVar("T")
# CPython 3.12 crashes where one thread begins or ends to trace while another does (seen with 3.12.1; 3.13 keeps the
# instructions that it replaces while somebody traces: https://github.com/python/cpython/pull/118496).
_IN_ALL = Turn() if sys.version_info[:2] == (3, 12) else None


class RecordingTurn:
    """See NOTE [turns] in ``ir/locks.py``: who does not get it runs in Python."""

    def __init__(self) -> None:
        self._of_net = Turn()

    def run(self, work: Callable[[], T]) -> T | Busy:
        """What ``work`` gives; ``BUSY`` where another thread, or an interrupted call of this one, has the turn."""
        return self._of_net.run(work if _IN_ALL is None else partial(_IN_ALL.run, work))
