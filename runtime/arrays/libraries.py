"""Libraries whose arrays can be read and made more quickly than by the interfaces that all have.

A call of a small net takes ten microseconds on a device; the common interfaces take as long for an argument and a result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy

from blockfuse.codegen.cuda.device.device import Resident
from blockfuse.ir.errors import DTypeError, UsageError
from blockfuse.ir.types import DTYPES


@dataclass(frozen=True)
class Library:
    """empty: a new array beside another one, its address first. contiguous: an array, or its copy in C order. read: where
    an array lies, None for one that is not on the device.
    """

    empty: Callable[[Any, tuple[int, ...], numpy.dtype], tuple[int, Any]]
    contiguous: Callable[[Any], Any]
    read: Callable[[Any], Resident | None] | None = None


def library_of(value: Any) -> str:
    """The name of the package that ``value`` is of."""
    return type(value).__module__.partition(".")[0]


def refused_layout(value: Any) -> UsageError:
    """What to say of an array that kernels cannot walk."""
    kind = type(value).__name__
    return UsageError(
        f"an argument of type {kind} does not lie in C order on the device: pass a contiguous copy"
    )


@lru_cache
def dtype_named(name: str) -> numpy.dtype:
    """The dtype of a NumPy name or type string."""
    try:
        dtype = numpy.dtype(name)
    except TypeError:
        dtype = None
    if dtype is None or dtype.name not in DTYPES:
        raise DTypeError(f"dtype {dtype or name} is not supported; use one of {', '.join(DTYPES)}")
    return dtype


# -- torch -----------------------------------------------------------------------------------------------------


def _read_tensor(tensor: Any) -> Resident | None:
    if not tensor.is_cuda:
        return None
    torch: Any = sys.modules["torch"]
    if tensor.requires_grad and torch.is_grad_enabled():
        raise UsageError(
            "a tensor that requires gradients gets none from a compiled call: pass tensor.detach()"
        )
    if tensor.get_device():
        raise UsageError(
            f"a tensor lies on device {tensor.get_device()}, and programs run on the first one: pass tensor.to('cuda:0')"
        )
    tensor = _contiguous_tensor(tensor)
    stream = (
        torch.cuda.current_stream().cuda_stream or None
    )  # 0: the default one, for which queues wait by themselves
    return Resident(tensor.data_ptr(), tuple(tensor.shape), _tensor_dtype(tensor.dtype), stream, tensor)


@lru_cache
def _tensor_dtype(dtype: Any) -> numpy.dtype:
    return dtype_named(str(dtype).removeprefix("torch."))


def _contiguous_tensor(tensor: Any) -> Any:
    return tensor.contiguous()


def _empty_tensor(like: Any, shape: tuple[int, ...], dtype: numpy.dtype) -> tuple[int, Any]:
    made = like.new_empty(shape, dtype=_torch_dtype(dtype))
    return made.data_ptr(), made


@lru_cache
def _torch_dtype(dtype: numpy.dtype) -> Any:
    return getattr(sys.modules["torch"], dtype.name)


# -- cupy ------------------------------------------------------------------------------------------------------


def _empty_cupy(like: Any, shape: tuple[int, ...], dtype: numpy.dtype) -> tuple[int, Any]:  # noqa: ARG001 - a column
    made = sys.modules["cupy"].empty(shape, dtype)
    return made.data.ptr, made


def _contiguous_cupy(array: Any) -> Any:
    return sys.modules["cupy"].ascontiguousarray(array)


LIBRARIES = {
    "torch": Library(_empty_tensor, _contiguous_tensor, _read_tensor),
    "cupy": Library(_empty_cupy, _contiguous_cupy),
}
