"""Rules of normalisations."""

from __future__ import annotations

from typing import Any

import keras

from blockfuse.array import np
from blockfuse.frontends.keras.rules.table import Array, Op, rule
from blockfuse.frontends.keras.rules.values import shape_of
from blockfuse.ir.operators import normalization


@rule("BatchNorm")
def batch_norm(
    op: Op, x: Array, mean: Array, variance: Array, offset: Any = None, scale: Any = None
) -> Array:
    """Ioffe and Szegedy 2015, by statistics that are given."""
    shape = tuple(-1 if n == op.axis % x.ndim else 1 for n in range(x.ndim))
    mean, variance = mean.reshape(shape), variance.reshape(shape)
    gain = np.ones(shape_of(mean), x.dtype) if scale is None else scale.reshape(shape)
    shift = np.zeros(shape_of(mean), x.dtype) if offset is None else offset.reshape(shape)
    return normalization.batch_norm(x, gain, shift, mean, variance, epsilon=float(op.epsilon))


def _axes(op: Op, ndim: int) -> tuple[int, ...]:
    given = (op.axis,) if isinstance(op.axis, int) else tuple(op.axis)
    return tuple(sorted(axis % ndim for axis in given))


def _epsilon(op: Op) -> float:
    return float(keras.config.epsilon() if op.epsilon is None else op.epsilon)


def _placed(values: Array, x: Array, axes: tuple[int, ...]) -> Array:
    """A vector of an axis, or an array of several, as it is multiplied."""
    return values.reshape(tuple(n if axis in axes else 1 for axis, n in enumerate(shape_of(x))))


@rule("LayerNorm")
def layer_norm(op: Op, x: Array, gamma: Any = None, beta: Any = None) -> Array:
    """Ba et al. 2016."""
    axes, eps = _axes(op, x.ndim), _epsilon(op)
    if op.rms_scaling:
        scale = 1 / np.sqrt(np.var(x, axis=axes, keepdims=True) + eps)
        return x * scale if gamma is None else x * scale * _placed(gamma, x, axes)
    if axes == (x.ndim - 1,) and gamma is not None and beta is not None:
        return normalization.layer_norm(x, gamma, beta, axis=axes, epsilon=eps)
    centred = x - np.mean(x, axis=axes, keepdims=True)
    normal = centred / np.sqrt(np.mean(np.square(centred), axis=axes, keepdims=True) + eps)
    normal = normal if gamma is None else normal * _placed(gamma, x, axes)
    return normal if beta is None else normal + _placed(beta, x, axes)


@rule("RMSNorm")
def rms_norm(op: Op, x: Array, scale: Any = None) -> Array:
    """Zhang and Sennrich 2019."""
    axes = _axes(op, x.ndim)
    normal = x / np.sqrt(np.mean(np.square(x), axis=axes, keepdims=True) + _epsilon(op))
    return normal if scale is None else normal * _placed(scale, x, axes)
