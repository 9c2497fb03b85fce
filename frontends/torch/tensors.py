"""Tensors that were there before a call: parameters, buffers, and whatever else the module's code can reach.

NOTE [weights in torch's memory]
An array of ours lies in the memory of such a tensor, so whoever writes to the tensor, by whatever way, is seen: a program
reads that memory at each call. What must stay is where the memory is, and how it is laid out: a fact like others.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from blockfuse.array import stamps
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.torch.tensor_layout import DTYPES, fields_of
from blockfuse.ir.comparisons import Aspect, Comparison
from blockfuse.ir.tensor_layout import TensorLayout, TensorPlace

KINDS = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
# of one whose own memory, which ``numpy()`` would give, holds nothing
_is_around_another = torch._is_functional_tensor


@dataclass(frozen=True)
class Place:
    """Where the elements of a tensor lie, as a fact (``tracer/state/facts.py``)."""

    holder: torch.Tensor
    found: tuple[Any, ...]
    text: str
    fields: (
        tuple[TensorLayout, TensorPlace] | None
    )  # the same in the tensor itself, where native code can look

    def holds(self) -> bool:
        return place_of(self.holder) == self.found

    def condition(self, bind: Callable[[Any], str]) -> str:
        return f"{bind(place_of)}({bind(self.holder)}) == {bind(self.found)}"

    def comparisons(self) -> tuple[Comparison, ...]:
        """By what stood in the tensor when it was found."""
        if self.fields is None or type(self.holder) not in KINDS:
            return ()
        known, place = self.fields
        return (Comparison(Aspect.PLACE, self.holder, (type(self.holder), place.words(known))),)


@dataclass(frozen=True)
class Held:
    """The array of a tensor that was there before."""

    tensor: weakref.ref[torch.Tensor]
    place: tuple[Any, ...]
    array: ndarray  # in C order
    order: tuple[int, ...] | None  # of its axes in the tensor, where that is another one


_held: dict[int, Held] = {}  # id of a tensor -> its array
_owners: set[int] = set()  # ids of the owners of their memory
_lock = threading.Lock()


def place_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Equal as long as the elements of a tensor lie where they did."""
    layout = tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
    return (*layout, tensor.requires_grad, tensor.is_neg())


def held(tensor: torch.Tensor, text: str) -> tuple[ndarray, Place]:
    """The array in the memory of a tensor that was there before the call, and where that is."""
    place = place_of(tensor)
    with _lock:
        known = _held.get(id(tensor))
        if known is None or known.tensor() is not tensor or known.place != place:
            known = _held[id(tensor)] = _made(tensor, place)
    return known.array, Place(tensor, place, f"where {text} lies", fields_of(tensor))


def _made(tensor: torch.Tensor, place: tuple[Any, ...]) -> Held:
    data, order = _in_order(plain_data(tensor))
    if not getattr(tensor, "_blockfuse_frozen", False):
        stamps.expose(data)
    owner, key = id(stamps.owner_of(data)), id(tensor)
    _owners.add(owner)

    def forget(_: Any) -> None:
        _held.pop(key, None)
        _owners.discard(owner)

    return Held(weakref.ref(tensor, forget), place, ndarray(data), order)


def _in_order(data: numpy.ndarray) -> tuple[numpy.ndarray, tuple[int, ...] | None]:
    """The array with its axes as they lie in memory, and the order that makes it what it was."""
    if data.flags.c_contiguous:
        return data, None
    axes = sorted(range(data.ndim), key=lambda axis: -data.strides[axis])
    return data.transpose(axes), tuple(axes.index(axis) for axis in range(data.ndim))


def plain_data(tensor: torch.Tensor) -> numpy.ndarray:
    """NumPy's array in the memory of a tensor; raises TypeError or RuntimeError where there is none."""
    with torch._C.DisableTorchFunction():
        if type(tensor) not in KINDS or tensor.dtype not in DTYPES or _is_around_another(tensor):
            raise TypeError(f"a {type(tensor).__name__} of {tensor.dtype}")
        return tensor.detach().numpy()


def given_data(tensor: torch.Tensor) -> numpy.ndarray:
    """The same of an argument, which is exactly a ``Tensor``, in a dtype that our arrays have."""
    if tensor.is_complex():
        raise TypeError("our arrays are real")
    if _is_around_another(tensor):
        raise TypeError("it stands for another tensor")
    return tensor.numpy()


def plain_array(tensor: torch.Tensor) -> ndarray:
    """An array of ours in the memory of a tensor."""
    return ndarray(plain_data(tensor))


def is_held(tensor: torch.Tensor) -> bool:
    """Whether a tensor was there before a call."""
    known = _held.get(id(tensor))
    return known is not None and known.tensor() is tensor


def held_array(tensor: torch.Tensor) -> ndarray:
    """The array of a tensor that was there before the call."""
    return _held[id(tensor)].array


def held_order(tensor: torch.Tensor) -> tuple[int, ...] | None:
    """In which order the axes of that array are those of the tensor; None where they are."""
    return _held[id(tensor)].order


def is_memory_of_held(owner: int) -> bool:
    """Whether memory is that of a tensor that was there before; owner: the id of NumPy's array that owns it."""
    return owner in _owners


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in arguments or results."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)
    elif type(value) is dict:
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, slice):
        yield from tensors_in((value.start, value.stop, value.step))
