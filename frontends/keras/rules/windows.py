"""Rules of convolutions and of pooling, channels last or first."""

from __future__ import annotations

import keras
import numpy

from blockfuse.array import np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.keras.rules.table import Array, Op, refuse_if, rule
from blockfuse.frontends.keras.rules.values import each, shape_of


def _is_last(op: Op) -> bool:
    return (op.data_format or keras.config.image_data_format()) == "channels_last"


def _channels_first(x: Array) -> Array:
    return np.moveaxis(x, -1, 1)


def _borders(
    op: Op, shape: tuple[int, ...], window: tuple[int, ...], strides: tuple[int, ...]
) -> list[tuple[int, int]]:
    """What ``padding="same"`` adds on both sides of each axis: the result has ``ceil(size / stride)`` elements."""
    refuse_if(op.padding not in ("same", "valid"), f"padding {op.padding}")
    if op.padding == "valid":
        return [(0, 0)] * len(window)
    totals = [max((-(-n // s) - 1) * s + w - n, 0) for n, w, s in zip(shape, window, strides, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def _padded(x: Array, borders: list[tuple[int, int]], value: float = 0.0) -> Array:
    return np.pad(x, [(0, 0), (0, 0), *borders], constant_values=value) if any(map(any, borders)) else x


def _convolved(op: Op, x: Array, weight: Array, groups: int) -> Array:
    """weight: channels out, channels in, window."""
    count = x.ndim - 2
    strides, dilate = each(op.strides, count), each(op.dilation_rate, count)
    x = _channels_first(x) if _is_last(op) else x
    refuse_if(0 in shape_of(x), "no elements")
    window = tuple(d * (k - 1) + 1 for d, k in zip(dilate, shape_of(weight)[2:], strict=True))
    padded = _padded(x, _borders(op, shape_of(x)[2:], window, strides))
    found = npx.convolution(
        padded, weight, None, stride=strides, dilate=dilate, num_group=groups, no_bias=True
    )
    return np.moveaxis(found, 1, -1) if _is_last(op) else found


@rule("Conv")
def convolution(op: Op, x: Array, kernel: Array) -> Array:
    """A cross-correlation."""
    channels = shape_of(x)[-1 if _is_last(op) else 1]
    return _convolved(op, x, np.moveaxis(kernel, (-1, -2), (0, 1)), channels // shape_of(kernel)[-2])


@rule("DepthwiseConv")
def depthwise(op: Op, x: Array, kernel: Array) -> Array:
    """A cross-correlation of each channel alone."""
    *window, channels, several = shape_of(kernel)
    weight = np.moveaxis(kernel, (-2, -1), (0, 1)).reshape((channels * several, 1, *window))
    return _convolved(op, x, weight, channels)


@rule("MaxPool")
def max_pool(op: Op, x: Array) -> Array:
    """The largest element of each window."""
    return _pooled(op, x, "max", float(numpy.finfo(x.dtype).min))


@rule("AveragePool")
def average_pool(op: Op, x: Array) -> Array:
    """The mean of each window, of what lies within the array."""
    found = _pooled(op, x, "avg", 0.0)
    if op.padding == "valid":
        return found
    ones = ndarray(numpy.ones((1, *shape_of(x)[1:]), x.dtype))
    return found / _pooled(op, ones, "avg", 0.0)


def _pooled(op: Op, x: Array, kind: str, border: float) -> Array:
    refuse_if(x.dtype.kind != "f", "windows of integers")
    count = x.ndim - 2
    window = each(op.pool_size, count)
    strides = window if op.strides is None else each(op.strides, count)
    x = _channels_first(x) if _is_last(op) else x
    refuse_if(0 in shape_of(x), "no elements")
    padded = _padded(x, _borders(op, shape_of(x)[2:], window, strides), border)
    found = npx.pooling(padded, kernel=window, stride=strides, pool_type=kind)
    return np.moveaxis(found, 1, -1) if _is_last(op) else found
