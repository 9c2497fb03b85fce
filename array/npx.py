"""``from blockfuse import npx``: what neural networks need and NumPy does not have."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy

from blockfuse.array import modes
from blockfuse.array.arguments import ArrayLike, axes_tuple, checked_dtype, one_axis
from blockfuse.array.devices import Device, cpu, current_device, gpu, num_gpus
from blockfuse.array.files import load, save, savez
from blockfuse.array.functions import random
from blockfuse.array.functions.creation import array, asarray
from blockfuse.array.functions.elementwise import erf, relu, sigmoid, softplus
from blockfuse.array.functions.products import matmul
from blockfuse.array.functions.random import seed
from blockfuse.array.functions.reducing import logsumexp, norm
from blockfuse.array.functions.selecting import argwhere, as_index, order, take_along_axis, within
from blockfuse.array.functions.shaping import broadcast_to, expand_dims, reshape, squeeze, swapaxes
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.interpreter import current
from blockfuse.ir.operators import (
    contractions,
    drawing,
    filling,
    indexing,
    masked,
    movement,
    neural,
    pointwise,
)

__all__ = [
    "Device",
    "activation",
    "arange_like",
    "batch_dot",
    "batch_flatten",
    "broadcast_like",
    "cast",
    "cpu",
    "current_device",
    "dropout",
    "embedding",
    "erf",
    "fully_connected",
    "gelu",
    "gpu",
    "is_np_array",
    "layer_norm",
    "leaky_relu",
    "load",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "masked_log_softmax",
    "masked_softmax",
    "mish",
    "nonzero",
    "norm",
    "num_gpus",
    "one_hot",
    "pick",
    "random",
    "relu",
    "reset_np",
    "reshape_like",
    "save",
    "savez",
    "seed",
    "sequence_mask",
    "set_np",
    "sigmoid",
    "silu",
    "smooth_l1",
    "softmax",
    "softplus",
    "softsign",
    "stop_gradient",
    "topk",
    "waitall",
]

# -- switches of Gluon that have nothing to switch here ------------------------------------------------------


def set_np(shape: bool = True, array: bool = True, dtype: bool = False) -> None:
    """Do nothing: arrays follow NumPy always, but for float32 as the default. Raises UsageError for other wishes."""
    if dtype:
        raise UsageError(
            "set_np(dtype=True) asks for float64 as the default dtype; here it is float32 always, "
            "so write dtype='float64' where arrays are made, and net.cast('float64')"
        )
    if not (shape and array):
        raise UsageError(f"set_np(shape={shape}, array={array}): arrays follow NumPy always; write set_np()")


def reset_np() -> None:
    """Do nothing: arrays follow NumPy always."""


def is_np_array() -> bool:
    """Whether arrays follow NumPy: always."""
    return True


def waitall() -> None:
    """Do nothing: operators have run when they return."""


# -- activations ---------------------------------------------------------------------------------------------


def _tanh(x: ArrayLike) -> ndarray:
    return pointwise.tanh(asarray(x))


def log_sigmoid(x: ArrayLike) -> ndarray:
    """``log(sigmoid(x))`` without overflow."""
    return neural.log_sigmoid(asarray(x))


def softsign(x: ArrayLike) -> ndarray:
    """``x / (1 + abs(x))``."""
    return neural.softsign(asarray(x))


def silu(x: ArrayLike) -> ndarray:
    """``x * sigmoid(x)``."""
    return neural.silu(asarray(x))


def mish(x: ArrayLike) -> ndarray:
    """``x * tanh(softplus(x))``."""
    return neural.mish(asarray(x))


def gelu(x: ArrayLike, approximation: str = "erf") -> ndarray:
    """``x`` times the share of the normal distribution below it; approximation: 'erf' (exact) or 'tanh'."""
    if approximation not in ("erf", "tanh"):
        raise UsageError(f"approximation={approximation!r}; use 'erf' or 'tanh'")
    return neural.gelu(asarray(x), approximate=approximation == "tanh")


# act_type -> function
_ACTIVATIONS: dict[str, Callable[..., ndarray]] = {
    "relu": relu,
    "sigmoid": sigmoid,
    "tanh": _tanh,
    "softrelu": softplus,
    "softsign": softsign,
    "log_sigmoid": log_sigmoid,
    "mish": mish,
    "gelu": gelu,
    "silu": silu,
    "swish": silu,
}


def activation(data: ArrayLike, act_type: str = "relu") -> ndarray:
    """The activation of the given name; raises UsageError with the list of names."""
    if act_type not in _ACTIVATIONS:
        raise UsageError(f"there is no activation {act_type!r}; use one of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[act_type](data)


# Klambauer et al. 2017, section 2: the fixed point at mean 0 and variance 1.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def leaky_relu(
    data: ArrayLike, gamma: ArrayLike | None = None, act_type: str = "leaky", slope: float = 0.25
) -> ndarray:
    """A rectifier with something left below zero.

    act_type: 'leaky' (``slope * x`` there), 'prelu' (``gamma * x``, gamma along axis 1), 'elu' (``slope``
    times ``exp(x) - 1``), 'selu', 'gelu' (also 'gelu_erf' and 'gelu_tanh').
    """
    x = asarray(data)
    if act_type == "leaky":
        return neural.leaky_relu(x, slope=float(slope))
    if act_type == "elu":
        return neural.elu(x, alpha=float(slope))
    if act_type == "selu":
        return neural.elu(x, alpha=_SELU_ALPHA) * _SELU_SCALE
    if act_type.startswith("gelu"):
        return gelu(x, "tanh" if act_type == "gelu_tanh" else "erf")
    if act_type == "prelu":
        return _prelu(x, gamma)
    raise UsageError(f"act_type={act_type!r}; use leaky, prelu, elu, selu or gelu")


def _prelu(x: ndarray, gamma: ArrayLike | None) -> ndarray:
    if gamma is None:
        raise UsageError("leaky_relu with act_type='prelu' needs gamma")
    slope = asarray(gamma)
    if slope.ndim == 1 and x.ndim > 1 and slope.size > 1:
        slope = reshape(slope, (slope.size, *(1,) * (x.ndim - 2)))
    return pointwise.where(pointwise.greater(x, 0), x, x * slope)


def smooth_l1(data: ArrayLike, scalar: float = 1.0) -> ndarray:
    """``(scalar * x) ** 2 / 2`` near zero, ``abs(x) - 0.5 / scalar ** 2`` from ``1 / scalar ** 2`` on."""
    x = neural.floated(asarray(data))
    size, edge = pointwise.absolute(x), 1.0 / scalar**2
    return pointwise.where(pointwise.less(size, edge), pointwise.square(x * scalar) * 0.5, size - 0.5 * edge)


# -- softmax -------------------------------------------------------------------------------------------------


@size_agnostic
def softmax(
    data: ArrayLike, axis: int = -1, length: ArrayLike | None = None, temperature: float | None = None
) -> ndarray:
    """Shares that sum to 1 along ``axis``.

    length: how many elements of each row along the last axis count; the others get 0.
    """
    x = _cooled(data, temperature)
    place = one_axis(axis, x.ndim)
    if length is not None:
        counts = expand_dims(asarray(length), place)
        return masked_softmax(
            x, pointwise.less(_positions(x.shape[place], x.ndim - place - 1), counts), place
        )
    return current().apply(neural.softmax, (x,), {"axis": place})


def log_softmax(data: ArrayLike, axis: int = -1, temperature: float | None = None) -> ndarray:
    """The logarithm of ``softmax``, without overflow."""
    x = _cooled(data, temperature)
    return neural.log_softmax(x, axis=one_axis(axis, x.ndim))


def masked_softmax(
    data: ArrayLike, mask: ArrayLike, axis: int = -1, temperature: float | None = None
) -> ndarray:
    """``softmax`` over the elements where ``mask`` is true; the others get 0."""
    x, kept = _cooled(data, temperature), asarray(mask, bool)
    return masked.masked_softmax(x, kept, axis=one_axis(axis, x.ndim))


def masked_log_softmax(
    data: ArrayLike, mask: ArrayLike, axis: int = -1, temperature: float | None = None
) -> ndarray:
    """``log_softmax`` over the elements where ``mask`` is true; the others get -inf."""
    x, kept = _cooled(data, temperature), asarray(mask, bool)
    return masked.masked_log_softmax(x, kept, axis=one_axis(axis, x.ndim))


def _cooled(data: ArrayLike, temperature: float | None) -> ndarray:
    x = asarray(data)
    return x if temperature is None else x / temperature


def _positions(size: int, axes_after: int, dtype: str = "int64") -> ndarray:
    """0, 1, ... along an axis with ``axes_after`` more axes behind it."""
    line = filling.arange(start=0, stop=size, step=1, dtype=dtype)
    return movement.reshape(line, shape=(size,) + (1,) * axes_after)


# -- layers --------------------------------------------------------------------------------------------------


@size_agnostic
def fully_connected(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    num_hidden: int | None = None,
    no_bias: bool | None = None,
    flatten: bool = True,
) -> ndarray:
    """``x @ weight.T + bias`` with weight (units, in).

    flatten: all axes of ``x`` behind the first are features; otherwise only the last one is. Raises
    ShapeError where their number is not the weight's.
    """
    data = x if type(x) is ndarray else asarray(x)
    matrix = weight if type(weight) is ndarray else asarray(weight)
    shape = data.shape
    if flatten and len(shape) != 2:
        data = batch_flatten(data)
        shape = data.shape
    if not shape or shape[-1] != matrix.shape[-1] or num_hidden not in (None, matrix.shape[0]):
        _refuse(asarray(x), matrix, num_hidden, flatten)
    if bias is None or no_bias:
        return current().apply(contractions.dense, (data, matrix), {})
    added = bias if type(bias) is ndarray else asarray(bias)
    if added.shape != matrix.shape[:1]:
        raise ShapeError(
            f"the bias has shape {added.shape}, but the weight of shape {matrix.shape} needs {matrix.shape[:1]}"
        )
    return current().apply(contractions.dense, (data, matrix, added), {})


def _refuse(x: ndarray, weight: ndarray, num_hidden: int | None, flatten: bool) -> None:
    if num_hidden not in (None, weight.shape[0]):
        raise ShapeError(
            f"num_hidden={num_hidden}, but the weight of shape {weight.shape} has {weight.shape[0]} units"
        )
    found = prod(x.shape[1:]) if flatten else x.shape[-1:]
    raise ShapeError(
        f"fully_connected expects {weight.shape[-1]} features, as its weight of shape {weight.shape} has; "
        f"found {found} in the input of shape {x.shape}" + (" (flattened)" if flatten and x.ndim != 2 else "")
    )


@size_agnostic
def batch_flatten(data: ArrayLike) -> ndarray:
    """All axes behind the first as one."""
    x = asarray(data)
    batch = x.shape[0] if x.ndim else 1
    return movement.reshape(x, shape=(batch, prod(x.shape[1:])))


@size_agnostic
def layer_norm(
    data: ArrayLike, gamma: ArrayLike, beta: ArrayLike, axis: int = -1, eps: float = 1e-5
) -> ndarray:
    """Mean 0 and variance 1 along ``axis``, then times ``gamma`` plus ``beta`` (vectors along that axis)."""
    x = asarray(data)
    place = one_axis(axis, x.ndim)
    shape = (x.shape[place], *(1,) * (x.ndim - place - 1))
    scale, shift = (v if v.shape == shape else reshape(v, shape) for v in (asarray(gamma), asarray(beta)))
    return neural.layer_norm(x, scale, shift, axis=place, epsilon=float(eps))


def dropout(data: ArrayLike, p: float = 0.5, mode: str = "training", axes: Any = ()) -> ndarray:
    """Each element 0 with probability ``p``, else divided by ``1 - p``; identity outside of training.

    mode: 'training', or 'always' to drop in prediction too. axes: along these, all elements share one fate.
    """
    if not 0 <= p <= 1:
        raise UsageError(f"dropout needs a probability from 0 to 1, not {p}")
    if mode not in ("training", "always"):
        raise UsageError(f"mode={mode!r}; use 'training' or 'always'")
    x = asarray(data)
    if p == 0 or not (mode == "always" or modes.is_training()):
        return x
    shared = axes_tuple(axes, x.ndim)
    shape = tuple(1 if a in shared else n for a, n in enumerate(x.shape))
    dtype = str(x.dtype) if x.dtype.kind == "f" else "float32"
    return x * drawing.dropout_mask(shape=shape, p=float(p), dtype=dtype)


def embedding(
    data: ArrayLike, weight: ArrayLike, input_dim: int | None = None, output_dim: int | None = None
) -> ndarray:
    """The rows of ``weight`` that ``data`` names. Raises IndexError beyond its last row."""
    rows = asarray(weight)
    if rows.ndim != 2:
        raise ShapeError(f"embedding needs a weight of shape (rows, size); found {rows.shape}")
    for asked, found in zip((input_dim, output_dim), rows.shape, strict=True):
        if asked not in (None, found):
            raise ShapeError(
                f"embedding of {input_dim} rows of {output_dim}, but the weight has shape {rows.shape}"
            )
    return indexing.take_at(rows, as_index(data), pattern=(("array", 0),))


@size_agnostic
def batch_dot(a: ArrayLike, b: ArrayLike, transpose_a: bool = False, transpose_b: bool = False) -> ndarray:
    """The products of two stacks of matrices, each of them transposed first if asked for."""
    x, y = asarray(a), asarray(b)
    left = swapaxes(x, -1, -2) if transpose_a else x
    right = swapaxes(y, -1, -2) if transpose_b else y
    if left.shape[-1] != right.shape[-2]:
        raise ShapeError(
            f"batch_dot of shapes {left.shape} and {right.shape}: {left.shape[-1]} is not {right.shape[-2]}"
        )
    return matmul(left, right)


# -- picking -------------------------------------------------------------------------------------------------


def nonzero(data: ArrayLike) -> ndarray:
    """The places of elements that are not zero, one a row, int64 (``np.nonzero``: one array an axis): an escape."""
    return argwhere(data)


def one_hot(
    data: ArrayLike, depth: int, on_value: float = 1.0, off_value: float = 0.0, dtype: Any = "float32"
) -> ndarray:
    """``on_value`` at the place that each integer names along a new last axis of size ``depth``."""
    name = str(checked_dtype(dtype))
    return indexing.one_hot(
        asarray(data), depth=int(depth), on_value=on_value, off_value=off_value, dtype=name
    )


@size_agnostic
def pick(
    data: ArrayLike, index: ArrayLike, axis: int = -1, mode: str = "clip", keepdims: bool = False
) -> ndarray:
    """One element along ``axis`` for each place of the others; an index out of range is clipped, or wraps."""
    x = asarray(data)
    place = one_axis(axis, x.ndim)
    places = within(as_index(index), x.shape[place], mode)
    if places.ndim < x.ndim:
        places = expand_dims(places, place)
    picked = take_along_axis(x, places, place)
    return picked if keepdims else squeeze(picked, place)


def topk(
    data: ArrayLike,
    axis: int | None = -1,
    k: int = 1,
    ret_typ: str = "indices",
    is_ascend: bool = False,
    dtype: Any = "float32",
) -> Any:
    """The ``k`` largest (or smallest) elements along ``axis``, in order; equal ones by place.

    ret_typ: 'indices' (of ``dtype``), 'value', 'both' (values, indices) or 'mask' (1 where an element is
    among them).
    """
    x = asarray(data)
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    place = one_axis(axis, x.ndim)
    count = k if 0 < k < x.shape[place] else x.shape[place]
    first = order(x, place, not is_ascend)[(*(slice(None),) * place, slice(0, count))]
    indices = first.astype(dtype)
    if ret_typ == "indices":
        return indices
    if ret_typ == "mask":
        return _hits(first, x, place)
    values = take_along_axis(x, first, place)
    if ret_typ not in ("value", "both"):
        raise UsageError(f"ret_typ={ret_typ!r}; use 'indices', 'value', 'both' or 'mask'")
    return values if ret_typ == "value" else [values, indices]


def _hits(places: ndarray, x: ndarray, axis: int) -> ndarray:
    """1 at ``places`` along ``axis``, 0 elsewhere."""
    each = _positions(x.shape[axis], x.ndim - axis)
    hit = pointwise.equal(expand_dims(places, axis), each)
    return hit.any(axis=axis + 1).astype(x.dtype)


# -- shapes and sequences ------------------------------------------------------------------------------------


def arange_like(data: ArrayLike, start: float = 0.0, step: float = 1.0, axis: int | None = None) -> ndarray:
    """``start``, ``start + step``, ... in the shape of ``data``, or as many as its ``axis`` is long."""
    x = asarray(data)
    count = x.size if axis is None else x.shape[axis]
    dtype = str(x.dtype) if x.dtype.kind == "f" else "float32"
    line = filling.arange(start=0, stop=count, step=1, dtype=dtype) * step + start
    return reshape(line, x.shape) if axis is None else line


def sequence_mask(
    data: ArrayLike,
    sequence_length: ArrayLike | None = None,
    use_sequence_length: bool = False,
    value: float = 0.0,
    axis: int = 0,
) -> ndarray:
    """``value`` behind the end of each sequence; time is ``axis`` (0 or 1), the batch the other one. The dtype stays."""
    x = asarray(data)
    if not use_sequence_length or sequence_length is None:
        return x
    if axis not in (0, 1):
        raise UsageError(f"sequences run along axis 0 or 1, not {axis}")
    lengths = reshape(asarray(sequence_length), (1, -1) if axis == 0 else (-1, 1))
    time = _positions(x.shape[axis], 1 - axis)
    kept = pointwise.less(time, lengths)
    behind = value if x.dtype.kind == "f" else ndarray(numpy.asarray(value).astype(x.dtype))
    return pointwise.where(reshape(kept, (*x.shape[:2], *(1,) * (x.ndim - 2))), x, behind)


def reshape_like(lhs: ArrayLike, rhs: ArrayLike) -> ndarray:
    """``lhs`` in the shape of ``rhs``."""
    return reshape(lhs, asarray(rhs).shape)


def broadcast_like(lhs: ArrayLike, rhs: ArrayLike) -> ndarray:
    """``lhs`` broadcast to the shape of ``rhs``."""
    return broadcast_to(lhs, asarray(rhs).shape)


def cast(data: ArrayLike, dtype: Any) -> ndarray:
    """The values in another dtype."""
    return array(data, dtype)


def stop_gradient(data: ArrayLike) -> ndarray:
    """The same elements; gradients end here."""
    return movement.stop_gradient(asarray(data))
