"""Whether memory that nobody watches still holds what it held."""

from __future__ import annotations

import numpy

_PART_ELEMENTS = 1 << 15  # elements that are compared at a time: no copy of a large array is made for it


def same_bytes(one: numpy.ndarray, other: numpy.ndarray) -> bool:
    """Whether two arrays have one dtype and shape, and hold the same to the bit."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.size <= _PART_ELEMENTS or not (one.flags.c_contiguous and other.flags.c_contiguous):
        return one.tobytes() == other.tobytes()
    flat, rest = one.reshape(-1), other.reshape(-1)
    starts = range(0, one.size, _PART_ELEMENTS)
    return all(
        flat[n : n + _PART_ELEMENTS].tobytes() == rest[n : n + _PART_ELEMENTS].tobytes() for n in starts
    )
