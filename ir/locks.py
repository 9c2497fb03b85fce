"""One thread at a time, for code that can be interrupted at any line.

NOTE [turns]
Between any two lines of Python a signal handler, a finalizer or the callback of a weak reference may run, and call a net.
The interrupted call goes on only after it, so whoever interrupts must never wait for what the interrupted call holds.
Other threads wait for a while, not for ever: the code that interrupts may itself wait for them. So taking a turn can fail,
and who takes one must have another way: to run in Python is always right.

An exception may come at any line, too (Ctrl-C). A turn is taken inside of the ``try`` that gives it back, and giving it back
is the first call in ``finally``: CPython looks for signals when a call has ended, and at the ends of loops.

A forked child has the forking thread only: turns that other threads had are free there.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")


class Busy:
    """What a turn gives that was not to be had."""


BUSY = Busy()


class Turn:
    """See NOTE [turns]."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        key = id(self)
        # No line of Python runs when it goes, in which Ctrl-C would be lost.
        _turns[key] = weakref.ref(self, partial(_turns.pop, key))

    @property
    def is_mine(self) -> bool:
        """Whether this thread has it, and was interrupted."""
        return self._lock._is_owned()  # type: ignore[attr-defined,no-any-return]

    def run(self, work: Callable[[], T], seconds: float = 0.0) -> T | Busy:
        """What ``work`` gives; ``BUSY`` where the turn is not to be had within so many seconds, or is this thread's."""
        lock = self._lock
        if self.is_mine:
            return BUSY
        try:
            return work() if lock.acquire(timeout=seconds) else BUSY
        finally:
            try:  # noqa: SIM105 - another call before this one could be interrupted
                lock.release()
            except RuntimeError:
                pass  # it was not to be had

    def renew(self) -> None:
        """In a child: free, unless the thread that forked has it."""
        if not self.is_mine:
            self._lock = threading.RLock()


_turns: dict[int, weakref.ref[Turn]] = {}


def _in_child() -> None:
    for reference in list(_turns.values()):
        turn = reference()
        if turn is not None:
            turn.renew()


os.register_at_fork(after_in_child=_in_child)
