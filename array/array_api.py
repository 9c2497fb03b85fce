"""``x.__array_namespace__()``: ``np`` for programs that are written for the Python array API standard.

The same functions, but whole numbers of Python become int64, as the standard says, where ``np`` makes float32 of them,
as Gluon does. Floats become float32, which ``__array_namespace_info__().default_dtypes()`` tells.
"""

from __future__ import annotations

import sys
from typing import Any

from blockfuse.array import np
from blockfuse.array.arguments import ArrayLike
from blockfuse.array.devices import Device
from blockfuse.array.functions.standard import VERSIONS, NamespaceInfo
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import UsageError

__array_api_version__ = VERSIONS[-1]
__array_namespace_info__ = NamespaceInfo


def __getattr__(name: str) -> Any:
    return getattr(np, name)


def __dir__() -> list[str]:
    return sorted(np.__all__)


def asarray(
    obj: ArrayLike, /, *, dtype: Any = None, device: Device | None = None, copy: bool | None = None
) -> ndarray:
    """The values as an array; whole numbers are int64."""
    return np.asarray(obj, _dtype_of(obj) if dtype is None else dtype, device=device, copy=copy)


def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: Device | None = None,
) -> ndarray:
    """``start``, ``start + step``, ... below ``stop``; int64 where all of them are whole."""
    return np.arange(
        start, stop, step, _dtype_of([start, stop, step]) if dtype is None else dtype, device=device
    )


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Device | None = None) -> ndarray:
    """An array of one value; int64 of a whole number."""
    return np.full(shape, fill_value, _dtype_of(fill_value) if dtype is None else dtype, device=device)


def _dtype_of(values: Any) -> str | None:
    """int64 for whole numbers of Python, in lists too; else what ``np`` makes of them."""
    kinds = set(_kinds(values))
    return "int64" if int in kinds and kinds <= {int, bool, type(None)} else None


def _kinds(values: Any) -> list[type]:
    return (
        [kind for v in values for kind in _kinds(v)] if isinstance(values, list | tuple) else [type(values)]
    )


def array_namespace(self: ndarray, /, *, api_version: str | None = None) -> Any:  # noqa: ARG001 - it is the same of all
    """This module. Raises UsageError for versions of the standard that are not known."""
    if api_version not in (None, *VERSIONS):
        raise UsageError(f"api_version={api_version!r}; there is one of {', '.join(VERSIONS)}")
    return sys.modules[__name__]


setattr(ndarray, "__array_namespace__", array_namespace)  # noqa: B010 - type checkers must not expect it in the class
