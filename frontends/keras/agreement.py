"""Whether what a call gives by our rules is what Keras gives.

A rule may stand for an operation of Keras and still not for what Python's operators do on a backend's own tensors: NumPy's
have promotions of their own, and ``x += 1`` writes into one. So each recorded call is computed by Keras, too.
"""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.closeness import is_close
from blockfuse.frontends.nested import flat, replaced

# dtype -> how far an element may be off, relative to itself and to the largest one of the result: a model is many sums, in
# other orders here and there
_TOLERANCES = {"float16": (2e-2, 1e-2), "float32": (1e-3, 1e-4), "float64": (1e-8, 1e-10)}


def disagreement(ours: Any, theirs: Any) -> str:
    """What differs beyond rounding, or an empty text."""
    if replaced(ours, ndarray, lambda _: None) != replaced(theirs, ndarray, lambda _: None):
        return "the structure of the result"
    pairs = zip(flat(ours), flat(theirs), strict=True)
    return next(filter(None, (_difference(a._data, b._data) for a, b in pairs)), "")


def _difference(ours: numpy.ndarray, theirs: numpy.ndarray) -> str:
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return f"{ours.dtype}{list(ours.shape)}, not {theirs.dtype}{list(theirs.shape)}"
    return "" if is_close(ours, theirs, _TOLERANCES) else f"elements of {ours.dtype}{list(ours.shape)}"
