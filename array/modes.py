"""Train or predict: what ``dropout`` and normalisation ask; scopes nest and belong to a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy

_training: ContextVar[bool] = ContextVar("blockfuse_training", default=False)

# How many scopes of any thread are open that differ from plain predict mode or record a graph. Compiled calls
# read this number from native code: while it is zero they need not ask for the mode.
UNUSUAL = numpy.zeros(1, numpy.int64)
_counting = threading.Lock()


def is_training() -> bool:
    """Whether layers behave as in training."""
    return _training.get()


@contextmanager
def unusual() -> Iterator[None]:
    """Send the compiled calls of every thread through Python while this scope is open."""
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(change: int) -> None:
    with _counting:
        UNUSUAL[0] += change


@contextmanager
def training(active: bool) -> Iterator[None]:
    """Run the ``with`` block in train (True) or predict (False) mode."""
    token = _training.set(active)
    try:
        with unusual():
            yield
    finally:
        _training.reset(token)
