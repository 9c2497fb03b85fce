"""Integers of kernels wrap, as NumPy's do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


# NOTE [integers that wrap]
# Numba promises LLVM that sums, differences and products of signed integers do not overflow (``nsw``), so LLVM concludes
# that ``x + 1 > x`` always holds. It does so where it lowers an operator, and for devices optimises before we see any IR. So
# the promise is taken back there: while one of our kernels is lowered, under the lock that all compilations of Numba take.
@contextmanager
def wrapping_integers(numbers: Any) -> Iterator[None]:
    """Within it, what Numba's module ``numbers`` lowers may overflow. See NOTE [integers that wrap]."""
    promised = numbers._int_arith_flags
    numbers._int_arith_flags = lambda dtype: []
    try:
        yield
    finally:
        numbers._int_arith_flags = promised
