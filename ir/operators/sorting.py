"""Operators that order or scan elements along an axis."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy

from blockfuse.ir.lowering import Scan, Sort
from blockfuse.ir.operator import Example, Operator, row
from blockfuse.ir.operators.indexing import along_axis
from blockfuse.ir.operators.movement import flip
from blockfuse.ir.operators.pointwise import FLAT, cast, equal, logical_and, where
from blockfuse.ir.operators.reductions import summing_dtype
from blockfuse.ir.types import TensorType

_ONE_AXIS = (Example(((3, 4),), {"axis": 1}, 0.5), Example(((2, 3, 4),), {"axis": 0}, 0.5))


def _order_type(x: TensorType, axis: int) -> TensorType:
    return TensorType(x.shape, numpy.dtype("int64"))


def _scan_type(x: TensorType, axis: int) -> TensorType:
    return TensorType(x.shape, summing_dtype(x.dtype))


def _sort_gradient(g: Any, out: Any, x: Any, axis: int) -> tuple[Any]:
    ranks = argsort(argsort(x, axis=axis), axis=axis)  # where each element went
    return (along_axis(g, ranks, axis),)


def _summed_from_behind(g: Any, axis: int) -> Any:
    return flip(cumsum(flip(g, axis=(axis,)), axis=axis), axis=(axis,))


def _cumprod_gradient(g: Any, out: Any, x: Any, axis: int) -> tuple[Any]:
    """Products without one factor: by dividing, where it is not 0. The first 0 alone leaves products of others."""
    zero = equal(x, 0)
    first = logical_and(zero, equal(cumsum(cast(zero, dtype="int64"), axis=axis), 1))
    without_first = cumprod(where(first, 1, x), axis=axis)
    at_zero = where(first, _summed_from_behind(g * without_first, axis), 0)
    return (where(zero, at_zero, _summed_from_behind(g * out, axis) / where(zero, 1, x)),)


# Equal elements keep their order: what is sorted is the same on every machine.
sort = row(
    "sort",
    partial(numpy.sort, kind="stable"),
    Sort(places=False),
    type_rule=lambda x, axis: x,
    gradient=_sort_gradient,
    examples=_ONE_AXIS,
)
argsort = row(
    "argsort",
    partial(numpy.argsort, kind="stable"),
    Sort(places=True),
    type_rule=_order_type,
    gradient=FLAT,
    examples=_ONE_AXIS,
)
cumsum: Operator = row(
    "cumsum",
    numpy.cumsum,
    Scan("({acc} + {0})"),
    type_rule=_scan_type,
    gradient=lambda g, out, x, axis: (_summed_from_behind(g, axis),),
    examples=_ONE_AXIS,
)
cumprod: Operator = row(
    "cumprod",
    numpy.cumprod,
    Scan("({acc} * {0})"),
    type_rule=_scan_type,
    gradient=_cumprod_gradient,
    examples=_ONE_AXIS,
)
