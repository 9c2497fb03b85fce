"""Train or predict: what ``dropout`` and normalisation ask; scopes nest and belong to a thread."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy

_training: ContextVar[bool] = ContextVar("blockfuse_training", default=False)

# NOTE [unusual modes]
# How many scopes of any thread are open that differ from plain predict mode or record a graph. Compiled calls read this
# number from native code: while it is zero they need not ask for the mode. It is changed without a lock, which somebody
# who interrupts would wait for: one call of a function in C adds to it and notes that in the thread's own list, so that
# Ctrl-C cannot come in between, and what an interrupt left open can be told, and closed.
UNUSUAL = numpy.zeros(1, numpy.int64)
_ONE = numpy.ones(1, numpy.int64)


class _Own(threading.local):
    def __init__(self) -> None:
        self.open: list[numpy.ndarray] = []  # an entry for each scope of this thread
        self.reasons: set[str] = set()  # for entries without a scope


_own = _Own()


def is_training() -> bool:
    """Whether layers behave as in training."""
    return _training.get()


@contextmanager
def unusual() -> Iterator[None]:
    """Send the compiled calls of every thread through Python while this scope is open."""
    scopes = _own.open
    before = len(scopes)
    try:
        scopes.extend(map(numpy.add, (UNUSUAL,), (_ONE,), (UNUSUAL,)))
        yield
    finally:
        if len(scopes) > before:
            _close_one(scopes)


def _close_one(scopes: list[numpy.ndarray]) -> None:
    deque(map(numpy.subtract, map(list.pop, (scopes,)), (_ONE,), (UNUSUAL,)), 0)


def scopes_open() -> int:
    """How many scopes of this thread are open."""
    return len(_own.open)


def close_scopes(but: int) -> None:
    """Close what an interrupted call left open, down to so many of this thread."""
    while len(_own.open) > but:
        _close_one(_own.open)


def set_training(active: bool) -> bool:
    """Train or predict from now on, without a scope; the mode before."""
    before = _training.get()
    _training.set(active)
    stay_unusual("training", active)
    return before


def stay_unusual(why: str, stay: bool) -> None:
    """As ``unusual``, without a scope: until the same reason is given again to stay so no more."""
    if stay and why not in _own.reasons:
        _own.reasons.add(why)
        _own.open.extend(map(numpy.add, (UNUSUAL,), (_ONE,), (UNUSUAL,)))
    elif not stay and why in _own.reasons:
        _own.reasons.discard(why)
        _close_one(_own.open)


@contextmanager
def training(active: bool) -> Iterator[None]:
    """Run the ``with`` block in train (True) or predict (False) mode."""
    before = _training.get()
    try:
        _training.set(active)
        with unusual():
            yield
    finally:
        _training.set(before)  # not ``reset``: see NOTE [contexts that are interrupted]


def _in_child() -> None:
    """Scopes of other threads are not there any more."""
    UNUSUAL[0] = len(_own.open)


os.register_at_fork(after_in_child=_in_child)
