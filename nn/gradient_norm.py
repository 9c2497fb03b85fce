"""Gradients clipped by the norm that they have together."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from blockfuse.array import np
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import UsageError

_EPSILON = 1e-8  # Gluon's, beside the norm that is divided by


def clip_global_norm(arrays: Sequence[ndarray], max_norm: float, check_isfinite: bool = True) -> Any:
    """Scale arrays, in place, so that the norm of all their elements is at most ``max_norm``; gives the norm before.

    arrays: a list of one array or more (otherwise UsageError), of float dtypes.
    check_isfinite: give a Python number and, where it is nan or inf, warn and leave the arrays as they are. Without it no
    value is looked at, so that a compiled step can hold the call; the norm is an array, and one nan makes all arrays nan.

    ``norm = sqrt(sum(x**2))``, and each array becomes ``x * min(1, max_norm / (norm + 1e-8))``: where that factor is 1, no
    bit changes. Squares of float16 are added in float32. Gluon's function of this name.

    >>> from blockfuse import gluon, np
    >>> grad = np.array([3.0, 4.0])
    >>> gluon.utils.clip_global_norm([grad], 1.0)
    5.0
    >>> grad
    array([0.6, 0.8])
    """
    if not len(arrays):
        raise UsageError("clip_global_norm needs one array or more")
    norm = np.sqrt(sum(_squares(x) for x in arrays))
    if check_isfinite and not math.isfinite(norm):
        warnings.warn("the norm is nan or inf: clip_global_norm leaves the arrays as they are", stacklevel=2)
        return float(norm)
    scale = np.minimum(max_norm / (norm + _EPSILON), 1.0)
    for x in arrays:
        x *= scale
    return float(norm) if check_isfinite else norm


def _squares(x: ndarray) -> Any:
    values = x.astype("float32") if x.dtype == np.float16 else x
    return np.sum(np.square(values))
