"""Sums of exponentials where some elements do not count: masked softmax, and the logarithm of the sum."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.ir.lowering import Composite
from blockfuse.ir.operator import Example, row
from blockfuse.ir.operators.movement import reshape
from blockfuse.ir.operators.neural import floated, in_float32, softmax_gradient
from blockfuse.ir.operators.pointwise import broadcast_shapes, equal, exp, floating, isfinite, log, where
from blockfuse.ir.operators.reductions import AXES, kept, max_, reduced_shape, sum_
from blockfuse.ir.types import TensorType

# NOTE [elements that do not count]
# They weigh nothing: their exponential is replaced, not made small, as scores may be as low as any number that could stand
# for them. Where none counts there is no sum to divide by, and the result is 0, or -inf for the logarithm.


def _masked_type(x: TensorType, mask: TensorType, axis: int) -> TensorType:
    return TensorType(broadcast_shapes(x.shape, mask.shape), floating(x.dtype)[0])


def _lowest(dtype: numpy.dtype) -> float:
    return float(numpy.finfo(dtype).min)


def _weights(x: Any, mask: Any, axis: int) -> tuple[Any, Any, Any]:
    """Distance to the largest that counts, weight, and the sum of weights or 1."""
    values = floated(x)
    top = max_(where(mask, values, _lowest(values.dtype)), axis=(axis,), keepdims=True)
    shifted = where(mask, values, top) - top
    weights = where(mask, exp(shifted), 0)
    total = sum_(weights, axis=(axis,), keepdims=True)
    return shifted, weights, where(equal(total, 0), 1, total)


def _masked_softmax(x: Any, mask: Any, axis: int) -> Any:
    _, weights, total = _weights(x, mask, axis)
    return weights / total


def _masked_log_softmax(x: Any, mask: Any, axis: int) -> Any:
    shifted, _, total = _weights(x, mask, axis)
    return where(mask, shifted - log(total), -numpy.inf)


def _weights_meaning(x: numpy.ndarray, mask: numpy.ndarray, axis: int) -> tuple[numpy.ndarray, ...]:
    values = numpy.asarray(x, floating(x.dtype)[0])
    top = numpy.where(mask, values, _lowest(values.dtype)).max(axis=axis, keepdims=True)
    shifted = numpy.where(mask, values, top) - top
    weights = numpy.where(mask, numpy.exp(shifted), 0)
    total = weights.sum(axis=axis, keepdims=True)
    return shifted, weights, numpy.where(total == 0, 1, total)


@in_float32
def _masked_softmax_meaning(x: numpy.ndarray, *, mask: numpy.ndarray, axis: int) -> numpy.ndarray:
    _, weights, total = _weights_meaning(x, mask, axis)
    return weights / total


@in_float32
def _masked_log_softmax_meaning(x: numpy.ndarray, *, mask: numpy.ndarray, axis: int) -> numpy.ndarray:
    shifted, _, total = _weights_meaning(x, mask, axis)
    return numpy.where(mask, shifted - numpy.log(total), -numpy.inf)


def _masked_log_softmax_gradient(g: Any, out: Any, x: Any, mask: Any, axis: int) -> tuple[Any, Any]:
    counted = where(mask, g, 0)
    return counted - exp(out) * sum_(counted, axis=(axis,), keepdims=True), None


_MASKED = (Example(((3, 5), (3, 5)), {"axis": 1}), Example(((2, 3, 4), (3, 1)), {"axis": 1}))
# The mask is of bools.
masked_softmax = row(
    "masked_softmax",
    lambda x, mask, axis: _masked_softmax_meaning(x, mask=mask, axis=axis),
    Composite(_masked_softmax),
    type_rule=_masked_type,
    gradient=lambda g, out, x, mask, axis: (softmax_gradient(g, out, axis), None),
    examples=_MASKED,
)
masked_log_softmax = row(
    "masked_log_softmax",
    lambda x, mask, axis: _masked_log_softmax_meaning(x, mask=mask, axis=axis),
    Composite(_masked_log_softmax),
    type_rule=_masked_type,
    gradient=_masked_log_softmax_gradient,
    examples=_MASKED,
)

# -- logarithm of a sum of exponentials ----------------------------------------------------------------------


def _logsumexp(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """Less the largest, where that is finite: infinities have no distance from each other."""
    values = floated(x)
    top = max_(values, axis=axis, keepdims=True)
    top = where(isfinite(top), top, 0)
    total = log(sum_(exp(values - top), axis=axis, keepdims=True)) + top
    return total if keepdims else reshape(total, shape=reduced_shape(x.shape, axis, False))


@in_float32
def _logsumexp_meaning(x: numpy.ndarray, axis: tuple[int, ...], keepdims: bool) -> numpy.ndarray:
    values = numpy.asarray(x, floating(x.dtype)[0])
    top = values.max(axis=axis, keepdims=True)
    top = numpy.where(numpy.isfinite(top), top, 0)
    with numpy.errstate(divide="ignore"):  # -inf is the logarithm of a sum of nothing
        total = numpy.log(numpy.exp(values - top).sum(axis=axis, keepdims=True)) + top
    return numpy.asarray(total if keepdims else total.squeeze(axis))


def _logsumexp_gradient(g: Any, out: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> tuple[Any]:
    """The softmax; elements of a row of -inf have no share."""
    total = kept(out, axis, keepdims)
    return (kept(g, axis, keepdims) * exp(x - where(isfinite(total), total, 0)),)


def _logsumexp_type(x: TensorType, axis: tuple[int, ...], keepdims: bool) -> TensorType:
    return TensorType(reduced_shape(x.shape, axis, keepdims), floating(x.dtype)[0])


logsumexp = row(
    "logsumexp",
    _logsumexp_meaning,
    Composite(_logsumexp),
    type_rule=_logsumexp_type,
    gradient=_logsumexp_gradient,
    examples=AXES,
)
