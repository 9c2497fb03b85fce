"""Functions of torch that say what a tensor is, that make its elements Python's, that write, or that only call others."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from blockfuse.frontends.torch.rules.table import WRITING

T = torch.Tensor


def _getters(*names: str) -> list[Any]:
    return [getattr(T, name).__get__ for name in names if hasattr(T, name)]


# Function -> whether it tells a size.
ASKING: dict[Any, bool] = {
    **dict.fromkeys(
        (
            *_getters("shape"),
            T.size,
            T.numel,
            T.nelement,
            T.stride,
            T.is_contiguous,
            torch.numel,
            T.storage_offset,
        ),
        True,
    ),
    **dict.fromkeys(
        (
            *_getters(
                "dtype",
                "device",
                "ndim",
                "is_cuda",
                "is_cpu",
                "is_meta",
                "is_sparse",
                "is_quantized",
                "layout",
            ),
            *_getters(
                "requires_grad", "is_leaf", "is_nested", "names", "is_mkldnn", "is_sparse_csr", "itemsize"
            ),
            *_getters(
                "is_mps", "is_xpu", "is_vulkan", "is_xla", "is_ort", "is_mtia", "is_maia", "is_ipu", "is_hpu"
            ),
            *(
                T.dim,
                T.ndimension,
                T.is_floating_point,
                T.is_complex,
                T.is_signed,
                T.element_size,
                T.get_device,
            ),
            *(T.is_inference, T.is_neg, T.is_conj, T.__hash__, T.is_same_size),
            *(torch.is_floating_point, torch.is_complex, torch.is_neg, torch.is_conj, torch.is_inference),
            *(torch.is_same_size, torch.is_signed),
        ),
        False,
    ),
}

# What differs between tensors of one shape and dtype, and is no fact about a call.
ASKING_LAYOUT = frozenset((T.stride, T.is_contiguous, T.storage_offset, T.is_inference, torch.is_inference))

# Function -> what `explain()` calls the escape.
ESCAPES: dict[Any, str] = {
    T.__bool__: "bool()",
    T.__float__: "float()",
    T.__int__: "int()",
    T.__index__: "use as an index",
    T.item: "item()",
    T.tolist: "tolist()",
    T.numpy: "numpy()",
    T.__array__: "numpy.asarray()",
    T.__repr__: "repr()",
    T.__format__: "format()",
    T.__contains__: "in",
    T.data_ptr: "data_ptr()",
    T.untyped_storage: "untyped_storage()",
    T.storage: "storage()",
    T.__deepcopy__: "deepcopy()",
    T.__reduce_ex__: "pickling",
    T.__dlpack__: "__dlpack__()",
    **dict.fromkeys(_getters("grad", "_version", "grad_fn", "_base", "_cdata"), "a pointer or a gradient"),
}

# Functions that read a shape and a dtype alone. (What draws shows by the state of the generator.)
MADE_ALIKE = frozenset(
    (
        *(
            torch.zeros_like,
            torch.ones_like,
            torch.full_like,
            torch.empty_like,
            torch.rand_like,
            torch.randn_like,
        ),
        *(T.new_zeros, T.new_ones, T.new_full, T.new_empty, T.new_tensor),
    )
)


def is_writing(func: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a function writes into a tensor that it is given."""
    if func in WRITING or func is T.__setitem__ or kwargs.get("out") is not None:
        return True
    name = getattr(func, "__name__", "")
    written = name.endswith("_") and not name.endswith("__")
    setter = name in ("__set__", "__delete__")
    packet = getattr(func, "_schema", None)
    return written or setter or (packet is not None and packet.is_mutable)


@cache
def opened(func: Any) -> Callable[..., Any] | None:
    """A function of torch that is written in Python, going on to the functions that it calls; None for others."""
    inner = getattr(func, "__wrapped__", func)
    if not isinstance(inner, types.FunctionType) or not inner.__module__.startswith("torch."):
        return None
    if inner is not func:
        return inner if "has_torch_function" not in inner.__code__.co_names else None
    if not any(name.startswith("has_torch_function") for name in inner.__code__.co_names):
        return None
    if "__class__" in inner.__code__.co_freevars:  # `super().f` comes here as `f` again
        return None
    names = {
        **inner.__globals__,
        **{name: _never for name in inner.__globals__ if name.startswith("has_torch_function")},
    }
    copy = types.FunctionType(inner.__code__, names, inner.__name__, inner.__defaults__, inner.__closure__)
    copy.__kwdefaults__ = inner.__kwdefaults__
    return copy


def _never(*_: Any) -> bool:
    """No argument has functions of its own."""
    return False
