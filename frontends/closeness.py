"""Whether what our rules give is what another library gives, but for rounding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy

# dtype -> how far an element may be off, relative to itself and to the largest one of the result
Tolerances = Mapping[str, tuple[float, float]]


def is_close(ours: numpy.ndarray, theirs: numpy.ndarray, tolerances: Tolerances) -> bool:
    """Whether elements are equal but for rounding; those of other dtypes than ``tolerances`` has are equal or not."""
    if ours.dtype.name not in tolerances:
        return bool(numpy.array_equal(ours, theirs))
    relative, absolute = tolerances[ours.dtype.name]
    a, b = ours.astype("float64"), theirs.astype("float64")
    largest = float(numpy.max(numpy.abs(b[numpy.isfinite(b)]), initial=0.0))
    return numpy.allclose(a, b, rtol=relative, atol=absolute * largest, equal_nan=True)
