"""Functions that are written otherwise for a device, over the same values and with the same promises as ``functions.py``."""

from __future__ import annotations

import math

from blockfuse.codegen.functions import (
    LN2,
    Value,
    exponential,
    multiply_add,
    polynomial,
    power_of_two,
    select,
)

_SHIFT = 1.5 * 2.0**23  # float32 has no fraction there, and its last bits count up with the number
_SHIFT_BITS = 0x4B400000


def exp(x: Value) -> Value:
    """The series of ``exponential``; an addition rounds to a whole power, as a device is slow to convert numbers."""
    if x.bits != 32:
        return exponential(x)
    shifted = multiply_add(x, x.constant(math.log2(math.e)), _SHIFT)
    n = shifted - _SHIFT
    ln2_high, ln2_low = LN2[32]
    r = multiply_add(n, x.constant(-ln2_low), multiply_add(n, x.constant(-ln2_high), x))
    series = polynomial(r, tuple(1 / math.factorial(k) for k in range(7, -1, -1)))
    whole = shifted.bitcast(x.integer) - _SHIFT_BITS
    half = whole >> 1
    scaled = series * power_of_two(x, half) * power_of_two(x, whole - half)
    return select(x > 89.0, x.constant(math.inf), select(x < -104.0, x.constant(0.0), scaled))
