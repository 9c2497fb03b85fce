"""Rules of reductions, running sums and what is sorted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array import npx
from blockfuse.array.sizes import size_agnostic
from blockfuse.frontends.onnx.rules.table import Static, Value, rule
from blockfuse.frontends.onnx.rules.values import ints, is_known, number, size_of

Fold = Callable[..., Any]


@size_agnostic
def _log_sum_exp(x: Value, axis: Any, keepdims: bool) -> Value:
    if x.dtype.kind != "f" or not x.size:
        return numpy.log(numpy.exp(x.astype("float64")).sum(axis=axis, keepdims=keepdims)).astype(x.dtype)
    return npx.logsumexp(x, axis=axis, keepdims=keepdims)


def _sum(x: Value, axis: Any, keepdims: bool) -> Value:
    return numpy.sum(x, axis=axis, keepdims=keepdims).astype(x.dtype)


def _prod(x: Value, axis: Any, keepdims: bool) -> Value:
    return numpy.prod(x, axis=axis, keepdims=keepdims).astype(x.dtype)


def _max(x: Value, axis: Any, keepdims: bool) -> Value:
    return _extreme(numpy.max, x, axis, keepdims, -math.inf)


def _min(x: Value, axis: Any, keepdims: bool) -> Value:
    return _extreme(numpy.min, x, axis, keepdims, math.inf)


@size_agnostic
def _extreme(function: Fold, x: Value, axis: Any, keepdims: bool, of_nothing: float) -> Value:
    """Of no elements at all, the extreme is the opposite end of the dtype."""
    if x.size:
        return function(x, axis=axis, keepdims=keepdims)
    shape = numpy.sum(numpy.empty(x.shape, bool), axis=axis, keepdims=keepdims).shape
    if x.dtype.kind == "f":
        return numpy.full(shape, of_nothing, x.dtype)
    if x.dtype.kind == "b":
        return numpy.full(shape, of_nothing > 0)
    limits = numpy.iinfo(x.dtype)
    return numpy.full(shape, limits.max if of_nothing > 0 else limits.min, x.dtype)


# operator -> what is done to each element, the fold, what is done to its result
_REDUCTIONS: dict[str, tuple[Fold | None, Fold, Fold | None]] = {
    "ReduceL1": (numpy.absolute, _sum, None),
    "ReduceL2": (numpy.square, _sum, numpy.sqrt),
    "ReduceLogSum": (None, _sum, numpy.log),
    "ReduceLogSumExp": (None, _log_sum_exp, None),
    "ReduceMax": (None, _max, None),
    "ReduceMean": (None, numpy.mean, None),
    "ReduceMin": (None, _min, None),
    "ReduceProd": (None, _prod, None),
    "ReduceSum": (None, _sum, None),
    "ReduceSumSquare": (numpy.square, _sum, None),
}


def _declare(operator: str, before: Fold | None, fold: Fold, after: Fold | None) -> None:
    @rule(operator)
    def reduced(data: Value, axes: Static = None, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Value:
        chosen = () if axes is None else ints(axes)
        value = data if before is None else before(data)
        if chosen or not noop_with_empty_axes:
            value = fold(value, axis=chosen or None, keepdims=bool(keepdims))
        value = value if after is None else after(value)
        return value.astype(data.dtype)


for _name, _steps in _REDUCTIONS.items():
    _declare(_name, *_steps)


# -- the places of extremes ----------------------------------------------------------------------------------------


@rule("ArgMax")
def argmax(data: Value, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    """The first or the last place of the largest element."""
    return _place(numpy.argmax, data, axis, keepdims, select_last_index)


@rule("ArgMin")
def argmin(data: Value, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    """The first or the last place of the smallest element."""
    return _place(numpy.argmin, data, axis, keepdims, select_last_index)


def _place(function: Fold, data: Value, axis: int, keepdims: int, last: int) -> Value:
    place = function(numpy.flip(data, axis) if last else data, axis=axis).astype("int64")
    place = size_of(data, axis) - 1 - place if last else place
    return numpy.expand_dims(place, axis) if keepdims else place


@rule("TopK", several=True)
def top_k(
    x: Value,
    k: Static,
    axis: int = -1,
    largest: int = 1,
    sorted: int = 1,  # sorted is one order of many
) -> tuple[Value, Value]:
    """The largest (or smallest) elements and their places; of equal ones, the first come first."""
    count = number(k)
    if is_known(x):
        places = numpy.argsort(numpy.negative(x) if largest else x, axis=axis, kind="stable")
    else:
        places = _order(x, axis, bool(largest))
    places = places[(*(slice(None),) * (axis % x.ndim), slice(0, count))].astype("int64")
    return numpy.take_along_axis(x, places, axis), places


def _order(x: Value, axis: int, descending: bool) -> Value:
    if not descending:
        return numpy.argsort(x, axis=axis)
    if x.dtype.kind == "f":
        return numpy.argsort(-x, axis=axis)
    return numpy.argsort(numpy.invert(x), axis=axis)  # which turns the order of integers around


# -- running -------------------------------------------------------------------------------------------------------


@rule("CumSum")
def cumulated_sum(x: Value, axis: Static, exclusive: int = 0, reverse: int = 0) -> Value:
    """Each element with all before it added."""
    return _running(numpy.cumsum, 0, x, number(axis), exclusive, reverse)


@rule("CumProd")
def cumulated_product(x: Value, axis: Static, exclusive: int = 0, reverse: int = 0) -> Value:
    """Each element with all before it multiplied."""
    return _running(numpy.cumprod, 1, x, number(axis), exclusive, reverse)


def _running(function: Fold, start: int, x: Value, axis: int, exclusive: int, reverse: int) -> Value:
    x = numpy.flip(x, axis) if reverse else x
    if exclusive:
        before = (slice(None),) * (axis % x.ndim)
        first = numpy.full_like(x[(*before, slice(0, 1))], start)
        x = numpy.concatenate([first, x[(*before, slice(0, -1))]], axis=axis)
    result = function(x, axis=axis).astype(x.dtype)
    return numpy.flip(result, axis) if reverse else result


# -- products ------------------------------------------------------------------------------------------------------


@rule("MatMul")
def matmul(a: Value, b: Value) -> Value:
    """As NumPy's."""
    return numpy.matmul(a, b)


@rule("Gemm")
def gemm(
    a: Value,
    b: Value,
    c: Value = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Value:
    """``alpha`` times the product of two matrices, and ``beta`` times ``c``."""
    a = a.T if transA else a
    if transB and alpha == beta == 1 and c is not None and c.ndim == 1 and a.dtype.kind == "f":
        return npx.fully_connected(a, b, c, flatten=False) if c.shape[0] == b.shape[0] else a @ b.T + c
    product = numpy.matmul(a, b.T if transB else b)
    product = product if alpha == 1 else product * alpha
    if c is None:
        return product.astype(a.dtype)
    return (product + (c if beta == 1 else c * beta)).astype(a.dtype)


@rule("Einsum")
def einsum(*values: Value, equation: str = "") -> Value:
    """As NumPy's."""
    return numpy.einsum(equation.replace(" ", ""), *values)


@rule("Det")
def det(x: Value) -> Value:
    """Of each matrix."""
    return numpy.linalg.det(x)
