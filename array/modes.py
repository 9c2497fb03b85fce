"""Train or predict: what ``dropout`` and normalisation ask; scopes nest and belong to a thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

import numpy

from blockfuse.ir.scoped import Scoped

_training: Scoped[bool] = Scoped("blockfuse_training", False)

# NOTE [unusual modes]
# How many scopes of any thread are open that differ from plain predict mode or record a graph. Compiled calls read this
# number from native code: while it is zero they need not ask for the mode. It is changed without a lock, which somebody
# who interrupts would wait for: one call of a function in C adds to it and notes that in the thread's own table, so that
# Ctrl-C cannot come in between, and what an interrupt left open can be told, and closed.
UNUSUAL = numpy.zeros(1, numpy.int64)
_ONE = numpy.ones(1, numpy.int64)


class _Own(threading.local):
    def __init__(self) -> None:
        self.open: dict[
            Hashable, numpy.ndarray
        ] = {}  # an entry for each scope of this thread, the innermost last


_own = _Own()

is_training = _training.get


def _open(key: Hashable) -> None:
    _own.open.update(zip((key,), map(numpy.add, (UNUSUAL,), (_ONE,), (UNUSUAL,)), strict=True))


def _closing(scopes: dict[Hashable, numpy.ndarray], key: Hashable) -> Iterator[numpy.ndarray]:
    """Whose ``next`` closes the scope, once."""
    return map(numpy.subtract, map(scopes.pop, (key,)), (_ONE,), (UNUSUAL,))


@contextmanager
def unusual() -> Iterator[None]:
    """Send the compiled calls of every thread through Python while this scope is open."""
    scopes, key = _own.open, object()
    close = _closing(scopes, key)
    try:
        _open(key)
        yield
    finally:  # nothing but one call of C: Ctrl-C comes before functions of Python and behind those of C
        if key in scopes:
            next(close)


def scopes_open() -> int:
    """How many scopes of this thread are open."""
    return len(_own.open)


def close_scopes(but: int) -> None:
    """Close what an interrupted call left open, down to so many of this thread."""
    for key in list(_own.open)[but:]:
        next(_closing(_own.open, key))


def set_training(active: bool) -> bool:
    """Train or predict from now on, without a scope; the mode before."""
    before = is_training()
    _training.set(active)
    stay_unusual("training", active)
    return before


def stay_unusual(why: str, stay: bool) -> None:
    """As ``unusual``, without a scope: until the same reason is given again to stay so no more."""
    if stay and why not in _own.open:
        _open(why)
    elif not stay and why in _own.open:
        next(_closing(_own.open, why))


@contextmanager
def training(active: bool) -> Iterator[None]:
    """Run the ``with`` block in train (True) or predict (False) mode."""
    with unusual(), _training.set_within(active):
        yield


def _in_child() -> None:
    """Scopes of other threads are not there any more."""
    UNUSUAL[0] = len(_own.open)


os.register_at_fork(after_in_child=_in_child)
