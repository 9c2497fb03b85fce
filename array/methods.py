"""Methods of arrays that repeat a function of ``blockfuse.np``: importing this module attaches them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array import autograd, devices
from blockfuse.array.arguments import checked_dtype
from blockfuse.array.devices import Device
from blockfuse.array.functions import (
    coordinates,
    creation,
    elementwise,
    indexing,
    joining,
    norms,
    products,
    reducing,
    repeating,
    scanning,
    selecting,
    shaping,
)
from blockfuse.array.memory import note_view
from blockfuse.array.ndarray import ndarray
from blockfuse.array.outside import outside, read_only, writing_outside
from blockfuse.ir.errors import UsageError
from blockfuse.ir.operators import movement, pointwise

# -- with a signature of their own ---------------------------------------------------------------------------


def reshape(self: ndarray, *shape: Any, order: str = "C") -> ndarray:
    """The elements in another shape, in the same memory; -1 stands for what is left over."""
    return shaping.reshape(self, shape[0] if len(shape) == 1 else shape, order)


def transpose(self: ndarray, *axes: Any) -> ndarray:
    """A view with the axes in another order, or in reverse."""
    return shaping.transpose(
        self, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
    )


def broadcast_to(self: ndarray, *shape: Any) -> ndarray:
    """A view in a larger shape, in which elements repeat; it cannot be written."""
    return shaping.broadcast_to(self, shape[0] if len(shape) == 1 else shape)


def flatten(self: ndarray, order: str = "C") -> ndarray:
    """A copy with one axis."""
    return creation.array(shaping.ravel(self, order))


def astype(self: ndarray, dtype: Any, copy: bool = True) -> ndarray:
    """The elements in another dtype: a copy, or without ``copy`` the array itself where it has that dtype."""
    wanted = checked_dtype(dtype)
    if not copy and wanted == self.dtype:
        return self
    return pointwise.cast(self, dtype=str(wanted))


def sort(
    self: ndarray,
    axis: int = -1,
    kind: str | None = None,
    *,
    stable: bool | None = None,
    descending: bool = False,
) -> None:
    """Sort along an axis, in place."""
    self[...] = selecting.sort(self, axis, kind, stable=stable, descending=descending)


def fill(self: ndarray, value: Any) -> None:
    """Write one value to all elements."""
    self[...] = value


def tobytes(self: ndarray, order: Any = "C") -> bytes:
    """The bytes of the elements, in C order."""
    return self._leave("tobytes()").tobytes(order)


# -- by NumPy ------------------------------------------------------------------------------------------------


def _outside(name: str) -> Callable[..., Any]:
    """A method of NumPy's arrays that we have no operator for: an escape."""
    theirs = getattr(numpy.ndarray, name)
    about = f"As ``numpy.ndarray.{name}``. NumPy computes it: no gradient, no compilation."

    def method(self: ndarray, *arguments: Any, **options: Any) -> Any:
        return outside(theirs, (self, *arguments), options)

    method.__name__, method.__qualname__, method.__doc__ = name, name, about
    return method


def _writing(name: str) -> Callable[..., Any]:
    """A method of NumPy's that writes into the array."""
    theirs = getattr(numpy.ndarray, name)
    about = f"As ``numpy.ndarray.{name}``. It writes into the array; NumPy computes it."

    def method(self: ndarray, *arguments: Any, **options: Any) -> None:
        writing_outside(theirs, self, arguments, options)

    method.__name__, method.__qualname__, method.__doc__ = name, name, about
    return method


# -- of Gluon ------------------------------------------------------------------------------------------------


def detach(self: ndarray) -> ndarray:
    """The same memory; gradients end here."""
    result = movement.stop_gradient(self)
    note_view(result)
    return result


def wait_to_read(self: ndarray) -> None:
    """Nothing is outstanding: operators have run when they return."""


def to_device(self: ndarray, device: Device, /, *, stream: None = None) -> ndarray:
    """The array: there is one device. Raises UsageError for what is none."""
    devices.check_device(device)
    if stream is not None:
        raise UsageError(f"stream={stream!r}: the processor has no streams")
    return self


def itself(self: ndarray) -> ndarray:
    """The array: it is real, and one of ``np``."""
    return self


def copyto(self: ndarray, other: ndarray | Device) -> ndarray:
    """Write into ``other``, or make a copy on a device."""
    if isinstance(other, Device):
        return creation.array(self, ctx=other)
    other[...] = self
    return other


def backward(
    self: ndarray, out_grad: ndarray | None = None, retain_graph: bool = False, train_mode: bool = True
) -> None:
    """Gradients of this array, see ``autograd.backward``; those of its sum where ``out_grad`` is None."""
    autograd.backward([self], None if out_grad is None else [out_grad], retain_graph, train_mode)


_NAMED = (  # attached under their own names
    *(reshape, transpose, broadcast_to, flatten, astype, sort, fill, detach, wait_to_read, to_device, copyto),
    *(autograd.attach_grad, autograd.drop_grad, backward),
    *(shaping.ravel, shaping.squeeze, shaping.expand_dims, shaping.swapaxes, shaping.flip, joining.split),
    *(repeating.repeat, repeating.tile, creation.copy, coordinates.diagonal),
    *(reducing.sum, reducing.mean, reducing.std, reducing.var, reducing.prod, reducing.max, reducing.min),
    *(reducing.any, reducing.all, norms.norm, reducing.ptp, reducing.argmax, reducing.argmin),
    *(scanning.cumsum, scanning.cumprod, selecting.take, selecting.argsort, products.dot, products.trace),
    *(elementwise.nonzero, elementwise.clip, elementwise.round, selecting.searchsorted, tobytes),
    *map(_outside, ("argpartition", "choose", "compress")),
    *map(_writing, ("partition", "put")),
)
_RENAMED = {
    **{name: getattr(elementwise, name) for name in ("abs", "exp", "log", "sqrt", "square", "tanh")},
    "as_in_ctx": to_device,
    "as_in_context": to_device,
    "conj": itself,
    "conjugate": itself,
    "as_np_ndarray": itself,
    "as_nd_ndarray": itself,
    "__getitem__": indexing.get,
}
_DEVICE = property(lambda self: devices.CPU, doc="Where the array is: ``cpu(0)``.")
_PROPERTIES = {
    "T": property(shaping.transpose),
    "mT": property(shaping.matrix_transpose),
    "real": property(itself),
    "imag": property(creation.zeros_like),
    "grad": property(autograd.grad_of),
    "flags": property(lambda self: read_only(self, "flags").flags, doc="NumPy's flags of the memory."),
    "flat": property(
        lambda self: read_only(self, "flat").flat, doc="The elements one after the other, to read."
    ),
    **dict.fromkeys(("ctx", "context", "device"), _DEVICE),
}

for _name, _attached in {**{f.__name__: f for f in _NAMED}, **_RENAMED, **_PROPERTIES}.items():
    setattr(ndarray, _name, _attached)

NAMES = tuple(f.__name__ for f in _NAMED)
WRITING = ("sort", "fill", "partition", "put")  # into the array
