"""Operators that bring values to mean 0 and variance 1, or to a mean square of 1, written with simpler ones."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy

from blockfuse.ir.lowering import Composite
from blockfuse.ir.operator import Example, row
from blockfuse.ir.operators.movement import reshape
from blockfuse.ir.operators.neural import in_float32
from blockfuse.ir.operators.pointwise import broadcast_shapes, negative, sqrt, square
from blockfuse.ir.operators.reductions import Axes, mean, sum_

# -- by statistics of their own: layers, groups, instances ---------------------------------------------------


def _layer_norm(x: Any, gamma: Any, beta: Any, axis: Axes, epsilon: float) -> Any:
    """Ba, Kiros and Hinton 2016, equation 3, over some axes."""
    centred, scale = _centred_and_scale(x, axis, epsilon)
    return centred * scale * gamma + beta


def _centred_and_scale(x: Any, axis: Axes, epsilon: float) -> tuple[Any, Any]:
    """Elements less their mean, and one over their deviation: kernels divide once a row."""
    centred = x - mean(x, axis=axis, keepdims=True)
    return centred, _scale(centred, axis, epsilon)


@in_float32
def _layer_norm_meaning(
    x: numpy.ndarray, gamma: numpy.ndarray, beta: numpy.ndarray, axis: Axes, epsilon: float
) -> numpy.ndarray:
    centred = x - x.mean(axis=axis, keepdims=True)
    scale = 1 / numpy.sqrt(numpy.square(centred).mean(axis=axis, keepdims=True) + epsilon)
    return centred * scale * gamma + beta


def _layer_norm_gradient(
    g: Any, out: Any, x: Any, gamma: Any, beta: Any, axis: Axes, epsilon: float
) -> tuple[Any, ...]:
    centred, scale = _centred_and_scale(x, axis, epsilon)
    normal = centred * scale

    def by_x() -> Any:
        scaled = g * gamma
        shared = mean(scaled, axis=axis, keepdims=True)
        along = mean(scaled * normal, axis=axis, keepdims=True)
        return (scaled - shared - normal * along) * scale

    return by_x, lambda: g * normal, g


# gamma and beta must already broadcast against x (npx.layer_norm brings vectors to that shape).
layer_norm = row(
    "layer_norm",
    _layer_norm_meaning,
    Composite(_layer_norm),
    gradient=_layer_norm_gradient,
    examples=(
        Example(((3, 5), (5,), (5,)), {"axis": (1,), "epsilon": 1e-5}),
        Example(((2, 3, 4), (3, 1), (3, 1)), {"axis": (0, 2), "epsilon": 1e-5}),
    ),
)


def _rms_norm(x: Any, gamma: Any, axis: Axes, epsilon: float) -> Any:
    """Zhang and Sennrich 2019, equation 4, over some axes."""
    return x * _scale(x, axis, epsilon) * gamma


def _scale(x: Any, axis: Axes, epsilon: float) -> Any:
    """One over the root of the mean square."""
    return 1 / sqrt(mean(square(x), axis=axis, keepdims=True) + epsilon)


@in_float32
def _rms_norm_meaning(x: numpy.ndarray, gamma: numpy.ndarray, axis: Axes, epsilon: float) -> numpy.ndarray:
    return x * (1 / numpy.sqrt(numpy.square(x).mean(axis=axis, keepdims=True) + epsilon)) * gamma


def _rms_norm_gradient(g: Any, out: Any, x: Any, gamma: Any, axis: Axes, epsilon: float) -> tuple[Any, ...]:
    scale = _scale(x, axis, epsilon)
    normal = x * scale

    def by_x() -> Any:
        scaled = g * gamma
        return (scaled - normal * mean(scaled * normal, axis=axis, keepdims=True)) * scale

    return by_x, lambda: g * normal


rms_norm = row(
    "rms_norm",
    _rms_norm_meaning,
    Composite(_rms_norm),
    gradient=_rms_norm_gradient,
    examples=(
        Example(((3, 5), (5,)), {"axis": (1,), "epsilon": 1e-5}),
        Example(((2, 3, 4), (3, 1)), {"axis": (0, 2), "epsilon": 1e-5}),
    ),
)

# -- by given statistics: batches ----------------------------------------------------------------------------

# NOTE [batch norm]
# Its mean and variance are operands: those of the batch in training, whose own gradients then lead on to the input, and
# running ones in prediction. What does not depend on x is a scale and a shift for each channel, so with running statistics
# nothing but these is left for each call (``ir/passes/hoist.py``). In training all gradients but the one of x follow from
# two sums over the batch, which the row takes itself: a sum for each operand would be four.


def _batch_norm(x: Any, gamma: Any, beta: Any, average: Any, variance: Any, epsilon: float) -> Any:
    """Ioffe and Szegedy 2015, algorithm 2, step 11."""
    scale, shift = scale_and_shift(gamma, beta, average, variance, epsilon)
    return x * scale + shift


def scale_and_shift(gamma: Any, beta: Any, average: Any, variance: Any, epsilon: float) -> tuple[Any, Any]:
    """What a batch norm multiplies with, and what it adds."""
    scale = gamma * (1 / sqrt(variance + epsilon))
    return scale, beta - average * scale


def _batch_norm_meaning(
    x: numpy.ndarray,
    gamma: numpy.ndarray,
    beta: numpy.ndarray,
    average: numpy.ndarray,
    variance: numpy.ndarray,
    epsilon: float,
) -> numpy.ndarray:
    scale = gamma * (1 / numpy.sqrt(variance + epsilon))
    return x * scale + (beta - average * scale)


def _batch_norm_gradient(
    g: Any, out: Any, x: Any, gamma: Any, beta: Any, average: Any, variance: Any, epsilon: float
) -> tuple[Any, ...]:
    inverse = 1 / sqrt(variance + epsilon)
    scale = gamma * inverse
    shape = broadcast_shapes(*map(numpy.shape, (gamma, beta, average, variance)))

    @cache
    def total() -> Any:
        return _summed_to(g, shape)

    @cache
    def along() -> Any:
        return _summed_to(g * (x - average), shape)

    return (
        lambda: g * scale,
        lambda: _shaped(along(), gamma) * _shaped(inverse, gamma),
        lambda: _shaped(total(), beta),
        lambda: negative(total() * scale),
        lambda: along() * scale * square(inverse) * (-0.5),
    )


def _summed_to(value: Any, shape: tuple[int, ...]) -> Any:
    """``value``, summed over the axes along which something of ``shape`` is broadcast to it."""
    ours = (1,) * (value.ndim - len(shape)) + shape
    axes = tuple(n for n, (size, whole) in enumerate(zip(ours, value.shape, strict=True)) if size != whole)
    return reshape(sum_(value, axis=axes, keepdims=False), shape=shape) if value.shape != shape else value


def _shaped(value: Any, like: Any) -> Any:
    """``value`` in the shape of an operand, where both have as many elements: a result that is written as it lies."""
    fits = value.shape != like.shape and math.prod(value.shape) == math.prod(like.shape)
    return reshape(value, shape=like.shape) if fits else value


batch_norm = row(
    "batch_norm",
    _batch_norm_meaning,
    Composite(_batch_norm),
    gradient=_batch_norm_gradient,
    examples=(
        Example(((3, 5), (5,), (5,), (5,), (5,)), {"epsilon": 1e-5}, 0.5),
        Example(((2, 3, 4), (3, 1), (3, 1), (1, 3, 1), (1, 3, 1)), {"epsilon": 1e-5}, 0.5),
        Example(((2, 3), (), (2, 1), (), (1, 1)), {"epsilon": 1e-5}, 0.5),
    ),
)
