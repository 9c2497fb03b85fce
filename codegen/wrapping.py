"""Integers of kernels wrap, as NumPy's do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


# NOTE [integers that wrap]
# Numba promises LLVM that sums, differences and products of signed integers do not overflow (``nsw``), so LLVM concludes
# that ``x + 1 > x`` always holds. The promise is made where Numba lowers an operator, and used before it gives the IR away.
# So it is taken back there: while one of our kernels is lowered, under the lock that every compilation of Numba's takes.
@contextmanager
def wrapping_integers(numbers: Any) -> Iterator[None]:
    """Within it, what Numba's module ``numbers`` lowers may overflow. See NOTE [integers that wrap]."""
    promised = numbers._int_arith_flags
    numbers._int_arith_flags = lambda dtype: []
    try:
        yield
    finally:
        numbers._int_arith_flags = promised
