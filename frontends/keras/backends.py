"""Tensors of Keras's backends: their elements as NumPy's, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import keras
import numpy

from blockfuse.array.ndarray import ndarray

BACKENDS = ("numpy", "jax", "torch")
BACKEND = keras.backend.backend()


def _numpy_kind() -> type:
    return numpy.ndarray


def _jax_kind() -> type:
    from jaxlib._jax import ArrayImpl

    return ArrayImpl


def _torch_kind() -> type:
    import torch

    return torch.Tensor


_KINDS: dict[str, Callable[[], type]] = {
    "numpy": _numpy_kind,
    "jax": _jax_kind,
    "torch": _torch_kind,
}
KIND: type = _KINDS.get(BACKEND, _numpy_kind)()  # of a tensor that a call gives
_UNCHANGING = BACKEND == "jax"  # whether tensors of that kind never change


def never_changes(value: Any) -> bool:
    """Whether the elements of a tensor stay what they are."""
    return _UNCHANGING and type(value) is KIND


def as_numpy(value: Any) -> numpy.ndarray:
    """The elements of a tensor, or of a backend's variable, perhaps where they lie."""
    return keras.ops.convert_to_numpy(value)


def elements_of(value: Any) -> numpy.ndarray:
    """The same of one that can be written, where they lie if possible."""
    if BACKEND == "torch":
        return value.detach().cpu().numpy()
    return value if type(value) is numpy.ndarray else as_numpy(value)


def memory_of(value: Any, like: numpy.ndarray) -> int | None:
    """Where the elements of a tensor that can be written lie, in C order as those of ``like``; None where that is not so."""
    data = elements_of(value)
    same = data.flags.c_contiguous and data.shape == like.shape and data.dtype == like.dtype
    return int(data.ctypes.data) if same and is_there(value, int(data.ctypes.data)) else None


def is_there(value: Any, place: int) -> bool:
    """Whether the elements of a tensor still lie at a place; NumPy's stay where they are as long as it is referred to."""
    return type(value) is numpy.ndarray or bool(value.data_ptr() == place)


def as_tensor(data: numpy.ndarray) -> Any:
    """A tensor of the backend with these elements, in memory of its own."""
    return keras.src.backend.convert_to_tensor(data.copy(), dtype=data.dtype.name)


def is_tensor(value: Any) -> bool:
    """Whether something is a tensor of the backend."""
    return isinstance(value, KIND)


# What is known of torch's tensors (``frontends/torch``), where Keras computes with torch.
_torch_tensors: Any = import_module("blockfuse.frontends.torch.tensors") if BACKEND == "torch" else None


def known_memory(tensor: Any) -> ndarray | None:
    """The array in the memory of a tensor of torch that was there before the call."""
    if _torch_tensors is None or not _torch_tensors.is_held(tensor):
        return None
    array, order = _torch_tensors.held_array(tensor), _torch_tensors.held_order(tensor)
    return array if order is None else array.transpose(order)


def libraries() -> tuple[Any, ...]:
    """What the tracer is told of the backend."""
    return (import_module("blockfuse.frontends.torch.knowledge").LIBRARY,) if BACKEND == "torch" else ()


def may_have_gradients() -> bool:
    """Whether torch follows what tensors are computed of."""
    return bool(import_module("torch").is_grad_enabled())
