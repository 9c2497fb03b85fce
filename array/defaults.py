"""The dtype of arrays that are made without one: float32, or NumPy's own by wish of the process."""

from __future__ import annotations

import numpy

from blockfuse.ir.errors import UsageError

# NOTE [the default dtype]
# It is one for the process, as in Gluon, and what a recorded call made by default has its dtype written down. So it stays
# what it was from the first recording on: programs need not ask for it before each call.
_float = "float32"
_is_settled = False  # somebody records, or has recorded


def default_float() -> str:
    """The dtype of floats, and of numbers in lists."""
    return _float


def is_numpys() -> bool:
    """Whether arrays made without a dtype have NumPy's: float64, and int64 of ``arange`` over whole numbers."""
    return _float == "float64"


def default_range(*bounds: float) -> str:
    """The dtype of a range with such bounds and steps."""
    return "int64" if is_numpys() and all(isinstance(bound, int) for bound in bounds) else _float


def as_by_default(found: numpy.ndarray) -> numpy.ndarray:
    """What NumPy made of Python's numbers, with the default in the place of float64."""
    return found.astype(_float) if found.dtype == numpy.float64 else found


def set_numpys(wanted: bool) -> None:
    """Choose NumPy's dtypes, or float32. Raises UsageError for a change after a call was recorded."""
    global _float
    if wanted == is_numpys():
        return
    if _is_settled:
        raise UsageError(
            f"the default dtype cannot become {'float64' if wanted else 'float32'} any more: a hybridized call was recorded "
            f"with {_float}; call set_np() or reset_np() when the process starts, before hybridized nets are called"
        )
    _float = "float64" if wanted else "float32"


def settle() -> None:
    """From now on the default stays: a call is recorded."""
    global _is_settled
    _is_settled = True
