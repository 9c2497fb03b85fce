"""Tensors of Keras's backends: their elements as NumPy's, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import keras
import numpy

from blockfuse.array.ndarray import ndarray

BACKENDS = ("numpy", "jax", "torch", "tensorflow")
UNCHANGING = ("jax", "tensorflow")  # those whose tensors never change
BACKEND = keras.backend.backend()


def _numpy_kind() -> type:
    return numpy.ndarray


def _jax_kind() -> type:
    from jaxlib._jax import ArrayImpl

    return ArrayImpl


def _torch_kind() -> type:
    import torch

    return torch.Tensor


def _tensorflow_kind() -> type:
    from tensorflow.python.framework.ops import EagerTensor

    return EagerTensor


_KINDS: dict[str, Callable[[], type]] = {
    "numpy": _numpy_kind,
    "jax": _jax_kind,
    "torch": _torch_kind,
    "tensorflow": _tensorflow_kind,
}
KIND: type = _KINDS.get(BACKEND, _numpy_kind)()  # of a tensor that a call gives
# What users' code may compute with beside tensors.
_KINDS_OF_USERS = (KIND, import_module("tensorflow").Variable) if BACKEND == "tensorflow" else (KIND,)


def never_changes(value: Any) -> bool:
    """Whether the elements of a tensor stay what they are."""
    return BACKEND in UNCHANGING and type(value) is KIND


def as_numpy(value: Any) -> numpy.ndarray:
    """The elements of a tensor, or of a backend's variable, perhaps where they lie."""
    return keras.ops.convert_to_numpy(value)


def elements_of(value: Any) -> numpy.ndarray:
    """The same of one that can be written, where they lie if possible."""
    if BACKEND == "torch":
        return value.detach().cpu().numpy()
    if BACKEND == "tensorflow":
        return _read_by_tensorflow(value)
    return value if type(value) is numpy.ndarray else as_numpy(value)


def _read_by_tensorflow(value: Any) -> numpy.ndarray:
    """The elements of a variable, without a gradient tape being told: a third of the time of ``value()``."""
    if type(value) is not _RESOURCE:  # of a strategy for several devices
        return as_numpy(value)
    return _read_variable(value._handle, value._dtype)._numpy()


if BACKEND == "jax":
    from jax.numpy import asarray as _on_jax

if BACKEND == "tensorflow":
    from tensorflow.python.ops.gen_resource_variable_ops import read_variable_op as _read_variable
    from tensorflow.python.ops.resource_variable_ops import ResourceVariable as _RESOURCE  # noqa: N814


def memory_of(value: Any, like: numpy.ndarray) -> int | None:
    """Where the elements of a tensor that can be written lie, in C order as those of ``like``; None where that is not so."""
    data = elements_of(value)
    same = data.flags.c_contiguous and data.shape == like.shape and data.dtype == like.dtype
    return int(data.ctypes.data) if same and is_there(value, int(data.ctypes.data)) else None


def is_there(value: Any, place: int) -> bool:
    """Whether the elements of a tensor still lie at a place; NumPy's stay where they are as long as it is referred to."""
    return type(value) is numpy.ndarray or (BACKEND == "torch" and bool(value.data_ptr() == place))


def as_tensor(data: numpy.ndarray) -> Any:
    """A tensor of the backend with these elements, in memory of its own; of 32 bits where JAX has no more."""
    if BACKEND == "jax":
        return _on_jax(data.copy())  # a dtype of 64 bits that is asked for by name would be a warning
    return keras.src.backend.convert_to_tensor(data.copy(), dtype=data.dtype.name)


def writes_in_place() -> bool:
    """Whether ``x += 1`` writes into a tensor of the backend."""
    return BACKEND in ("numpy", "torch")


def promotes_as_numpy() -> bool:
    """Whether operators of the backend's tensors are those of NumPy."""
    return BACKEND == "numpy"


def builds_a_graph() -> bool:
    """Whether TensorFlow puts calls into a graph, which runs later."""
    return BACKEND == "tensorflow" and not import_module("tensorflow").executing_eagerly()


def is_tensor(value: Any) -> bool:
    """Whether something is a tensor of the backend."""
    return isinstance(value, _KINDS_OF_USERS)


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
    name = _KNOWLEDGE.get(BACKEND)
    return () if name is None else (import_module(name).LIBRARY,)


_KNOWLEDGE = {  # backend -> the module that tells
    "torch": "blockfuse.frontends.torch.knowledge",
    "tensorflow": "blockfuse.frontends.keras.tensorflow_knowledge",
}


def _torch_follows() -> bool:
    return bool(import_module("torch").is_grad_enabled())


def _tensorflow_follows() -> bool:
    return bool(import_module("tensorflow.python.eager.record").could_possibly_record())


_FOLLOWS: dict[str, Callable[[], bool]] = {"torch": _torch_follows, "tensorflow": _tensorflow_follows}


def may_have_gradients() -> bool:
    """Whether the backend follows what tensors are computed of, for gradients."""
    follows = _FOLLOWS.get(BACKEND)
    return follows is not None and follows()


def requires_gradients(tensor: Any) -> bool:
    """Whether the backend may follow what is computed of a tensor; TensorFlow's tapes do not say which they watch."""
    return BACKEND == "tensorflow" or bool(tensor.requires_grad)
