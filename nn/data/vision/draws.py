"""What random transforms draw from ``np.random``, and what the options may be that say how."""

from __future__ import annotations

import math
from numbers import Real

from blockfuse.array.functions import random
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import UsageError


def checked_probability(p: float, name: str = "p") -> float:
    if not (isinstance(p, Real) and 0 <= p <= 1):
        raise UsageError(f"{name}={p!r}: a probability lies between 0 and 1")
    return p


def checked_amount(amount: float, name: str) -> float:
    if not (isinstance(amount, Real) and 0 <= amount < math.inf):
        raise UsageError(f"{name}={amount!r}: how much a draw may change is a finite number from 0 up")
    return amount


def happens(p: float) -> ndarray:
    """Whether what has probability ``p`` happens this time: never for 0, always for 1."""
    return random.uniform() < p


def factor(amount: float) -> ndarray:
    """A factor around 1, as far away as ``amount`` and never below 0."""
    return random.uniform(max(0.0, 1.0 - amount), 1.0 + amount)
