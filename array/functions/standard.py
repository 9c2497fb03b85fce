"""What the array API standard asks of a namespace beside NumPy's functions: dtypes, devices, others' arrays.

Complex numbers are not there; ``np.__array_namespace_info__()`` says so to programs that ask.
"""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array import devices
from blockfuse.array.arguments import ArrayLike, checked_dtype
from blockfuse.array.defaults import default_float
from blockfuse.array.devices import Device, check_device
from blockfuse.array.functions.creation import array, asarray, zeros_like
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.operators import pointwise
from blockfuse.ir.types import DTYPES

VERSIONS = (
    "2021.12",
    "2022.12",
    "2023.12",
    "2024.12",
)  # of the standard, whose names and signatures are here

# -- dtypes --------------------------------------------------------------------------------------------------


def astype(x: ndarray, dtype: Any, /, *, copy: bool = True, device: Device | None = None) -> ndarray:
    """The values in another dtype.

    x: an array of any shape.
    copy: False gives ``x`` itself where it has that dtype.
    device: there is one.

    Returns the shape of ``x`` in ``dtype``. Raises DTypeError for a dtype that arrays do not have.

    >>> from blockfuse import np
    >>> np.astype(np.array([1.5, -1.5]), np.int32)
    array([ 1, -1], dtype=int32)
    """
    check_device(device)
    return x.astype(dtype, copy=copy)


def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    """Whether values of a dtype, or of an array, go into a dtype by NumPy's rules.

    casting: 'no', 'equiv', 'safe', 'same_kind' or 'unsafe'.
    from_: a dtype or an array; to: a dtype.

    Returns a bool of Python. A number of Python has no dtype, and raises TypeError.

    >>> from blockfuse import np
    >>> np.can_cast("float32", "float64")
    True
    """
    return numpy.can_cast(from_.dtype if isinstance(from_, ndarray) else from_, to, casting)


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind.

    kind: 'bool', 'signed integer', 'unsigned integer', 'integral', 'real floating', 'numeric' or a dtype, or a tuple of
    these.

    Returns a bool of Python.

    >>> from blockfuse import np
    >>> np.isdtype(np.float32, "real floating"), np.isdtype("int32", ("bool", "real floating"))
    (True, False)
    """
    return numpy.isdtype(numpy.dtype(dtype), kind)


# -- complex numbers, which no array has ---------------------------------------------------------------------


def real(x: ArrayLike) -> ndarray:
    """The array itself: no array has complex numbers.

    Returns the shape and dtype of ``x``.

    >>> from blockfuse import np
    >>> np.real(np.array([1, 2]))
    array([1., 2.])
    """
    return asarray(x)


def imag(x: ArrayLike) -> ndarray:
    """Zeros: no array has complex numbers.

    Returns the shape and dtype of ``x``.

    >>> from blockfuse import np
    >>> np.imag(np.array([1, 2]))
    array([0., 0.])
    """
    return zeros_like(x)


def conj(x: ArrayLike) -> ndarray:
    """The same numbers in memory of their own: no array has complex ones.

    Returns the shape and dtype of ``x``.

    >>> from blockfuse import np
    >>> np.conj(np.array([1, 2]))
    array([1., 2.])
    """
    copy: ndarray = pointwise.cast(asarray(x), dtype=str(asarray(x).dtype))
    return copy


conjugate = conj


def isreal(x: ArrayLike) -> ndarray:
    """True for each element: no array has complex numbers.

    Returns the shape of ``x``, bool.

    >>> from blockfuse import np
    >>> np.isreal(np.array([1, 2]))
    array([ True,  True])
    """
    return zeros_like(x, bool) == 0


def iscomplex(x: ArrayLike) -> ndarray:
    """False for each element: no array has complex numbers.

    Returns the shape of ``x``, bool.

    >>> from blockfuse import np
    >>> np.iscomplex(np.array([1, 2]))
    array([False, False])
    """
    return zeros_like(x, bool)


# -- other libraries' arrays ---------------------------------------------------------------------------------


def from_dlpack(x: Any, /, *, device: Device | None = None, copy: bool | None = None) -> ndarray:
    """An array of another library, in its memory where that may be written, or in a copy.

    x: what has ``__dlpack__``.
    copy: True makes one always.
    device: there is one.

    Returns its shape and dtype. Raises DTypeError for a dtype that arrays do not have.

    >>> import numpy
    >>> from blockfuse import np
    >>> np.from_dlpack(numpy.array([1.5, 2], "float32"))
    array([1.5, 2. ])
    """
    check_device(device)
    found = numpy.from_dlpack(x)
    return array(found) if copy or (copy is None and not found.flags.writeable) else asarray(found)


# -- what there is -------------------------------------------------------------------------------------------

_KINDS = (
    "bool",
    "signed integer",
    "unsigned integer",
    "integral",
    "real floating",
    "complex floating",
    "numeric",
)
# half precision is no dtype of the standard
_STANDARD = tuple(numpy.dtype(name) for name in DTYPES if name != "float16")


class NamespaceInfo:
    """What programs that are written for the array API standard may ask of ``blockfuse.np``."""

    def capabilities(self) -> dict[str, Any]:
        """Whether shapes may depend on values, and how many axes an array can have."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        """Where arrays are made."""
        return devices.CPU

    def devices(self) -> list[Device]:
        """All places for arrays."""
        return [devices.CPU]

    def default_dtypes(self, *, device: Device | None = None) -> dict[str, numpy.dtype]:
        """What is made of numbers; there is no complex dtype."""
        check_device(device)
        real, whole = numpy.dtype(default_float()), numpy.dtype("int64")
        return {"real floating": real, "integral": whole, "indexing": whole}

    def dtypes(self, *, device: Device | None = None, kind: Any = None) -> dict[str, numpy.dtype]:
        """All dtypes of the standard that arrays have, by name; or those of a kind, or of one of several."""
        check_device(device)
        wanted = (kind,) if isinstance(kind, str) else kind
        if wanted is not None and not set(wanted) <= set(_KINDS):
            raise ValueError(f"kind={kind!r}; use one of {', '.join(_KINDS)}, or a tuple of them")
        return {
            str(dtype): checked_dtype(dtype)
            for dtype in _STANDARD
            if wanted is None or numpy.isdtype(dtype, kind)
        }
