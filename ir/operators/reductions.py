"""Operators that fold elements along axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy

from blockfuse.ir.errors import ShapeError
from blockfuse.ir.lowering import Composite, Extreme, Reduction
from blockfuse.ir.operator import Example, Gradient, Operator, row
from blockfuse.ir.operators.filling import arange
from blockfuse.ir.operators.movement import broadcast_to, expand_dims, reshape
from blockfuse.ir.operators.pointwise import (
    FLAT,
    cast,
    equal,
    isnan,
    logical_or,
    not_equal,
    sqrt,
    square,
    where,
)
from blockfuse.ir.types import TensorType

Axes = tuple[int, ...]
AXES = (
    Example(((3, 4),), {"axis": (1,), "keepdims": False}, 0.5),
    Example(((3, 4),), {"axis": (0,), "keepdims": True}, 0.5),
    Example(((2, 3, 4),), {"axis": (0, 2), "keepdims": False}, 0.5),
    Example(((2, 3),), {"axis": (0, 1), "keepdims": False}, 0.5),
)


def reduced_shape(shape: tuple[int, ...], axis: Axes, keepdims: bool) -> tuple[int, ...]:
    """The shape that is left after folding ``axis``."""
    if any(not 0 <= a < len(shape) for a in axis):
        raise ShapeError(f"axis {axis} is out of range for shape {shape}")
    return tuple(1 if i in axis else n for i, n in enumerate(shape) if keepdims or i not in axis)


def kept(reduced: Any, axis: Axes, keepdims: bool) -> Any:
    """A reduced value that broadcasts against what was reduced: kernels of rows take it as one number a row."""
    return reduced if keepdims else expand_dims(reduced, axis=axis)


def _reduced_type(
    dtype_rule: Callable[[numpy.dtype], numpy.dtype], x: TensorType, axis: Axes, keepdims: bool
) -> TensorType:
    return TensorType(reduced_shape(x.shape, axis, keepdims), dtype_rule(x.dtype))


def summing_dtype(dtype: numpy.dtype) -> numpy.dtype:
    """The dtype in which NumPy adds up."""
    if dtype.kind in "bi":
        return numpy.dtype("int64")
    return numpy.dtype("uint64") if dtype.kind == "u" else dtype


def mean_dtype(dtype: numpy.dtype) -> numpy.dtype:
    """The dtype of a mean."""
    return dtype if dtype.kind == "f" else numpy.dtype("float64")


def _same_dtype(dtype: numpy.dtype) -> numpy.dtype:
    return dtype


def _bool_dtype(dtype: numpy.dtype) -> numpy.dtype:
    return numpy.dtype(bool)


def reduction(
    name: str,
    meaning: Callable[..., Any],
    lowering: Any,
    dtype_rule: Callable[[numpy.dtype], numpy.dtype],
    gradient: Gradient | None = None,
) -> Operator:
    """A row with attributes ``axis`` (a sorted tuple of axes) and ``keepdims``."""
    return row(
        name,
        meaning,
        lowering,
        type_rule=partial(_reduced_type, dtype_rule),
        gradient=gradient,
        examples=AXES,
    )


def _count(x: Any, axis: Axes) -> int:
    return int(numpy.prod([x.shape[a] for a in axis], dtype=int))


def _sum_gradient(g: Any, out: Any, x: Any, axis: Axes, keepdims: bool) -> tuple[Any]:
    return (broadcast_to(kept(g, axis, keepdims), shape=x.shape),)


def _prod_gradient(g: Any, out: Any, x: Any, axis: Axes, keepdims: bool) -> tuple[Any]:
    """The product of the others; one zero among them leaves a gradient for itself alone."""
    zero = equal(x, 0)
    zeros = sum_(cast(zero, dtype=str(x.dtype)), axis=axis, keepdims=True)
    others = prod(where(zero, 1, x), axis=axis, keepdims=True) / where(zero, 1, x)
    alone = equal(zeros, cast(zero, dtype=str(x.dtype)))
    return (where(alone, kept(g, axis, keepdims) * others, 0),)


def _extreme_gradient(g: Any, out: Any, x: Any, axis: Axes, keepdims: bool) -> tuple[Any]:
    """Shared evenly among the elements that reach the extreme, as torch's ``amax`` does."""
    winners = cast(equal(x, kept(out, axis, keepdims)), dtype=str(x.dtype))
    return (kept(g, axis, keepdims) / sum_(winners, axis=axis, keepdims=True) * winners,)


sum_ = reduction("sum", numpy.sum, Reduction("fold_add({acc}, {0})", 0, "fiu"), summing_dtype, _sum_gradient)
prod = reduction(
    "prod", numpy.prod, Reduction("fold_multiply({acc}, {0})", 1, "fiu"), summing_dtype, _prod_gradient
)
max_ = reduction(
    "max",
    numpy.max,
    Reduction("fold_maximum({acc}, {0})", Extreme.LOWEST, "fiu"),
    _same_dtype,
    _extreme_gradient,
)
min_ = reduction(
    "min",
    numpy.min,
    Reduction("fold_minimum({acc}, {0})", Extreme.HIGHEST, "fiu"),
    _same_dtype,
    _extreme_gradient,
)
any_ = reduction("any", numpy.any, Reduction("({acc} | {0})", False, "b"), _bool_dtype, FLAT)
all_ = reduction("all", numpy.all, Reduction("({acc} & {0})", True, "b"), _bool_dtype, FLAT)


def _mean(x: Any, axis: Axes, keepdims: bool) -> Any:
    return sum_(cast(x, dtype=str(mean_dtype(x.dtype))), axis=axis, keepdims=keepdims) / _count(x, axis)


def _mean_gradient(g: Any, out: Any, x: Any, axis: Axes, keepdims: bool) -> tuple[Any]:
    return (broadcast_to(kept(g / _count(x, axis), axis, keepdims), shape=x.shape),)


mean = reduction("mean", numpy.mean, Composite(_mean), mean_dtype, _mean_gradient)


def _deviations(x: Any, axis: Axes) -> Any:
    return square(x - mean(x, axis=axis, keepdims=True))


def _var_type(x: TensorType, axis: Axes, keepdims: bool, ddof: float) -> TensorType:
    return TensorType(reduced_shape(x.shape, axis, keepdims), mean_dtype(x.dtype))


def _var(x: Any, axis: Axes, keepdims: bool, ddof: float) -> Any:
    return sum_(_deviations(x, axis), axis=axis, keepdims=keepdims) / max(_count(x, axis) - ddof, 0)


def _std(x: Any, axis: Axes, keepdims: bool, ddof: float) -> Any:
    return sqrt(_var(x, axis, keepdims, ddof))


def _var_gradient(g: Any, out: Any, x: Any, axis: Axes, keepdims: bool, ddof: float) -> tuple[Any]:
    scale = 2 / max(_count(x, axis) - ddof, 0) if _count(x, axis) > ddof else math.nan
    return (kept(g * scale, axis, keepdims) * (x - mean(x, axis=axis, keepdims=True)),)


def _std_gradient(g: Any, out: Any, x: Any, axis: Axes, keepdims: bool, ddof: float) -> tuple[Any]:
    """Zero where all elements are equal, as in torch."""
    half = where(equal(out, 0), 0, g * 0.5 / where(equal(out, 0), 1, out))
    return _var_gradient(half, out, x, axis, keepdims, ddof)


_SPREAD = tuple(
    Example(e.shapes, {**e.attrs, "ddof": ddof}) for e, ddof in zip(AXES, (0, 1, 0, 0.5), strict=True)
)
var = row("var", numpy.var, Composite(_var), type_rule=_var_type, gradient=_var_gradient, examples=_SPREAD)
std = row("std", numpy.std, Composite(_std), type_rule=_var_type, gradient=_std_gradient, examples=_SPREAD)


def _count_nonzero(x: Any, axis: Axes, keepdims: bool) -> Any:
    return sum_(cast(not_equal(x, 0), dtype="int64"), axis=axis, keepdims=keepdims)


count_nonzero = reduction(
    "count_nonzero",
    lambda x, axis, keepdims: numpy.asarray(numpy.count_nonzero(x, axis=axis, keepdims=keepdims)),
    Composite(_count_nonzero),
    lambda dtype: numpy.dtype("int64"),
    FLAT,
)

# -- along one axis, or over the flattened array (axis=None) -------------------------------------------------

_ONE_AXIS = (
    Example(((3, 4),), {"axis": 1}),
    Example(((3, 4),), {"axis": 0}),
    Example(((3, 4),), {"axis": None}),
)


def _arg_type(x: TensorType, axis: int | None, keepdims: bool = False) -> TensorType:
    axes = tuple(range(x.ndim)) if axis is None else (axis % max(x.ndim, 1),)
    return TensorType(reduced_shape(x.shape, axes, keepdims), numpy.dtype("int64"))


def _place(extreme: Operator, x: Any, axis: int | None, keepdims: bool = False) -> Any:
    """The least of the places where the extreme stands; every nan is one."""
    if axis is None:
        flat = _place(extreme, reshape(x, shape=(math.prod(x.shape),)), 0)
        return reshape(flat, shape=(1,) * x.ndim if keepdims else ())
    axis %= max(x.ndim, 1)
    x = cast(x, dtype=_COMPARED.get(x.dtype.name, x.dtype.name))
    stands = equal(x, extreme(x, axis=(axis,), keepdims=True))
    if x.dtype.kind == "f":
        stands = logical_or(stands, isnan(x))
    extent = x.shape[axis]
    counted = "int32" if extent < 2**31 else "int64"
    indices = arange(start=0, stop=extent, step=1, dtype=counted)
    indices = reshape(indices, shape=(extent, *(1,) * (x.ndim - axis - 1)))
    nowhere = cast(extent, dtype=counted)
    return cast(min_(where(stands, indices, nowhere), axis=(axis,), keepdims=keepdims), dtype="int64")


_COMPARED = {"bool": "uint8", "float16": "float32"}  # dtype -> one of kernels, in the same order


def _placed(name: str, meaning: Callable[..., Any], extreme: Operator) -> Operator:
    return row(
        name,
        meaning,
        Composite(partial(_place, extreme)),
        type_rule=_arg_type,
        gradient=FLAT,
        examples=_ONE_AXIS,
    )


argmax = _placed("argmax", numpy.argmax, max_)
argmin = _placed("argmin", numpy.argmin, min_)
