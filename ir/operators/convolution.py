"""Convolution (which is cross-correlation, as in all of deep learning) and the two operators that its gradients are.

NOTE [three that close]
``convolution`` is linear in the input and in the weight. Its gradient by the input is ``deconvolution``, by the weight
``convolution_weights``, and the gradients of these two are the same three again. All take channels last (NOTE [channels
last]); x is (batch, *sizes, channels), the weight (units, *kernel, channels / groups), the result (batch, *windows, units).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy

from blockfuse.ir.errors import ShapeError
from blockfuse.ir.lowering import Composite
from blockfuse.ir.operator import Example, Operator, row
from blockfuse.ir.operators.contractions import dense, matmul, pack, swapped
from blockfuse.ir.operators.movement import concatenate, filled, flip, get_item, reshape, set_item, transpose
from blockfuse.ir.operators.neural import in_float32
from blockfuse.ir.operators.pointwise import cast
from blockfuse.ir.operators.reductions import sum_
from blockfuse.ir.operators.windows import (
    Padding,
    Sizes,
    added,
    at_tap,
    numpy_inside,
    numpy_padded,
    numpy_tap,
    overlapped,
    padded,
    sliding_windows,
    taps,
    unpadded,
    window_counts,
)
from blockfuse.ir.types import TensorType

_MAX_COPIED_ELEMENTS = 1 << 21  # of windows that NumPy sees as a matrix at a time: 8 MB, which a cache holds


def _check_channels(x: TensorType, weight: TensorType, groups: int) -> None:
    if weight.ndim != x.ndim or x.ndim < 3:
        raise ShapeError(
            f"convolution of {x} with weight {weight}: both need (batch or units, *places, channels), with as many axes"
        )
    if groups < 1 or weight.shape[0] % groups or weight.shape[-1] * groups != x.shape[-1]:
        raise ShapeError(
            f"convolution of {x.shape[-1]} channels to {weight.shape[0]} in {groups} groups: both must be multiples of "
            f"the groups, and the weight needs {weight.shape[-1]} = channels / groups"
        )


def _convolution_type(
    x: TensorType,
    weight: TensorType,
    *bias: TensorType,
    stride: Sizes,
    dilation: Sizes,
    padding: Padding,
    groups: int,
) -> TensorType:
    _check_channels(x, weight, groups)
    if any(b.shape != weight.shape[:1] for b in bias):
        raise ShapeError(
            f"convolution with weight {weight}: the bias needs shape {weight.shape[:1]}, and is {bias[0]}"
        )
    counts = window_counts(x.shape[1:-1], weight.shape[1:-1], stride, dilation, padding)
    dtype = numpy.result_type(x.dtype, weight.dtype, *(b.dtype for b in bias))
    return TensorType((x.shape[0], *counts, weight.shape[0]), dtype)


def _deconvolution_type(
    x: TensorType,
    weight: TensorType,
    size: Sizes,
    stride: Sizes,
    dilation: Sizes,
    padding: Padding,
    groups: int,
) -> TensorType:
    channels = weight.shape[-1] * groups
    like = TensorType((x.shape[0], *size, channels), numpy.result_type(x.dtype, weight.dtype))
    seen = _convolution_type(like, weight, stride=stride, dilation=dilation, padding=padding, groups=groups)
    if seen.shape != x.shape:
        raise ShapeError(
            f"deconvolution of {x} with weight {weight} to {size}: the convolution back has shape {seen.shape}"
        )
    return like


def _weights_type(
    x: TensorType,
    grad: TensorType,
    kernel: Sizes,
    stride: Sizes,
    dilation: Sizes,
    padding: Padding,
    groups: int,
) -> TensorType:
    weight = TensorType(
        (grad.shape[-1], *kernel, x.shape[-1] // groups), numpy.result_type(x.dtype, grad.dtype)
    )
    seen = _convolution_type(x, weight, stride=stride, dilation=dilation, padding=padding, groups=groups)
    if seen.shape != grad.shape:
        raise ShapeError(f"the gradient of a convolution of {x} has shape {seen.shape}, not {grad.shape}")
    return weight


# -- meaning: products of matrices, windows copied into one of them --------------------------------------------


def _parts(items: int, copied: int) -> Iterator[slice]:
    """A batch in parts whose windows take at most ``_MAX_COPIED_ELEMENTS``. copied: how many an item has."""
    each = max(1, _MAX_COPIED_ELEMENTS // max(copied, 1))
    return (slice(first, first + each) for first in range(0, items, each))


def _matrix(weight: numpy.ndarray, groups: int) -> numpy.ndarray:
    """A weight as (groups, units / groups, taps x channels / groups), channels before taps."""
    channels_first = numpy.moveaxis(weight, -1, 1)
    return channels_first.reshape(groups, weight.shape[0] // groups, prod(weight.shape[1:]))


def _window_matrix(
    x: numpy.ndarray, kernel: Sizes, stride: Sizes, dilation: Sizes, groups: int
) -> numpy.ndarray:
    """The windows of a padded array as (batch, groups, channels / groups x taps, windows)."""
    windows = sliding_windows.meaning(x, kernel=kernel, stride=stride, dilation=dilation)
    n = len(kernel)
    counts = windows.shape[1 : 1 + n]
    ordered = windows.transpose(0, 2 * n + 1, *range(n + 1, 2 * n + 1), *range(1, n + 1))
    channels = x.shape[-1] // groups
    return ordered.reshape(len(x), groups, channels * prod(kernel), prod(counts))


def _rows(x: numpy.ndarray, groups: int) -> numpy.ndarray:
    """(batch, *places, channels) as (batch, groups, channels / groups, places)."""
    items, *places, channels = x.shape
    return numpy.moveaxis(x, -1, 1).reshape(items, groups, channels // groups, prod(places))


@in_float32
def _convolution_meaning(
    x: numpy.ndarray,
    weight: numpy.ndarray,
    *bias: numpy.ndarray,
    stride: Sizes,
    dilation: Sizes,
    padding: Padding,
    groups: int,
) -> numpy.ndarray:
    kernel, units = weight.shape[1:-1], weight.shape[0]
    counts = window_counts(x.shape[1:-1], kernel, stride, dilation, padding)
    x, matrix = numpy_padded(x, padding), _matrix(weight, groups)
    result = numpy.empty((len(x), units, prod(counts)), numpy.result_type(x, weight))
    for part in _parts(len(x), prod(counts) * prod(kernel) * x.shape[-1]):
        windows = _window_matrix(x[part], kernel, stride, dilation, groups)
        result[part] = numpy.matmul(matrix, windows).reshape(len(windows), units, prod(counts))
    last = numpy.moveaxis(result.reshape(len(x), units, *counts), 1, -1)
    return last + bias[0] if bias else last


@in_float32
def _deconvolution_meaning(
    x: numpy.ndarray,
    weight: numpy.ndarray,
    size: Sizes,
    stride: Sizes,
    dilation: Sizes,
    padding: Padding,
    groups: int,
) -> numpy.ndarray:
    counts, kernel = x.shape[1:-1], weight.shape[1:-1]
    channels = weight.shape[-1] * groups
    whole = tuple(n + sum(pair) for n, pair in zip(size, padding, strict=True))
    result = numpy.zeros((len(x), channels, *whole), numpy.result_type(x, weight))
    last = numpy.moveaxis(result, 1, -1)  # the same memory
    columns = numpy.swapaxes(_matrix(weight, groups), 1, 2)
    for part in _parts(len(x), prod(counts) * prod(kernel) * channels):
        rows = _rows(x[part], groups)
        found = numpy.matmul(columns, rows).reshape(len(rows), channels, *kernel, *counts)
        for tap in taps(kernel):
            start = _scaled(tap, dilation)
            last[part][numpy_tap(counts, start, stride)] += numpy.moveaxis(found[:, :, *tap], 1, -1)
    return last[numpy_inside(padding, size)]


@in_float32
def _weights_meaning(
    x: numpy.ndarray,
    grad: numpy.ndarray,
    kernel: Sizes,
    stride: Sizes,
    dilation: Sizes,
    padding: Padding,
    groups: int,
) -> numpy.ndarray:
    counts, units, channels = grad.shape[1:-1], grad.shape[-1], x.shape[-1] // groups
    x = numpy_padded(x, padding)
    total = numpy.zeros((groups, units // groups, channels * prod(kernel)), numpy.result_type(x, grad))
    for part in _parts(len(x), prod(counts) * prod(kernel) * x.shape[-1]):
        windows = _window_matrix(x[part], kernel, stride, dilation, groups)
        rows = _rows(grad[part], groups)
        total += numpy.matmul(rows, numpy.swapaxes(windows, -1, -2)).sum(axis=0, dtype=total.dtype)
    return numpy.moveaxis(total.reshape(units, channels, *kernel), 1, -1)


# -- written with simpler operators ------------------------------------------------------------------------------


def _convolution(
    x: Any, weight: Any, *bias: Any, stride: Sizes, dilation: Sizes, padding: Padding, groups: int
) -> Any:
    """The product of all windows with the weight, for each group by itself."""
    x = padded(x, padding)
    if groups > 1 and weight.shape[-1] == 1:
        return _depthwise(x, weight, *bias, stride=stride, dilation=dilation)
    windows = sliding_windows(x, kernel=weight.shape[1:-1], stride=stride, dilation=dilation)
    if groups > 1:
        return added([_grouped(windows, weight, groups), *bias])
    counts, steps = windows.shape[: x.ndim - 1], prod(weight.shape[1:])
    rows = reshape(windows, shape=(*counts, steps))
    return dense(rows, reshape(weight, shape=(weight.shape[0], steps)), *bias)


def _grouped(windows: Any, weight: Any, groups: int) -> Any:
    """Windows as (batch, *windows, groups, 1, taps x channels), each row times the matrix of its group."""
    n, units, steps = weight.ndim - 2, weight.shape[0], prod(weight.shape[1:])
    apart = _in_groups(windows, groups)
    own = transpose(apart, axes=(*range(n + 1), 2 * n + 1, *range(n + 1, 2 * n + 1), 2 * n + 2))
    rows = reshape(own, shape=(*own.shape[: n + 2], 1, steps))
    matrices = swapped(reshape(weight, shape=(groups, units // groups, steps)))
    return reshape(matmul(rows, matrices), shape=(*windows.shape[: n + 1], units))


def _in_groups(x: Any, groups: int) -> Any:
    """The last axis as two: groups, and what is in each."""
    return reshape(x, shape=(*x.shape[:-1], groups, x.shape[-1] // groups))


def _depthwise(x: Any, weight: Any, *bias: Any, stride: Sizes, dilation: Sizes) -> Any:
    """Each channel by itself: the sum of its elements at every tap, times that of the weight."""
    units, channels = weight.shape[0], x.shape[-1]
    counts, rows = _tap_counts(x, weight.shape[1:-1], stride, dilation), _tap_rows(weight)
    terms = []
    for number, tap in enumerate(taps(weight.shape[1:-1])):
        seen = at_tap(x, counts, _scaled(tap, dilation), stride)
        factor = get_item(rows, index=(number, ("slice", 0, units, 1)))
        if units > channels:
            seen = reshape(seen, shape=(*seen.shape, 1))
            factor = reshape(factor, shape=(channels, units // channels))
        terms.append(seen * factor)
    total = added(terms)
    if units > channels:
        total = reshape(total, shape=(*total.shape[:-2], units))
    return added([total, *bias])


def _tap_counts(x: Any, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    return window_counts(x.shape[1:-1], kernel, stride, dilation, unpadded(kernel))


def _tap_rows(weight: Any) -> Any:
    """A weight of one channel a group as (taps, units), units neighbours in memory, which only ``pack`` makes them."""
    units, n = weight.shape[0], prod(weight.shape[1:-1])
    rows = reshape(weight, shape=(units, n))
    if weight.dtype.kind != "f":
        return swapped(rows)
    return reshape(pack(rows, panel=units, transposed=True), shape=(n, units))


def _scaled(tap: Sizes, by: Sizes) -> Sizes:
    return tuple(t * b for t, b in zip(tap, by, strict=True))


def _deconvolution(
    x: Any, weight: Any, size: Sizes, stride: Sizes, dilation: Sizes, padding: Padding, groups: int
) -> Any:
    """For each phase a convolution with the taps that reach it, turned round: see NOTE [phases]."""
    weight, dilation = _apart(weight, stride, dilation)
    kernel, windows = weight.shape[1:-1], x.shape[1:-1]
    weight = _mirrored(weight, groups)

    def part(phase: Sizes, counts: Sizes) -> Any:
        own = tuple(-(-(k - p) // s) for k, p, s in zip(kernel, phase, stride, strict=True))
        if min(own) < 1:
            return filled(0, (x.shape[0], *counts, weight.shape[0]), x.dtype)
        seen = at_tap(
            weight,
            own,
            tuple(k - 1 - p - (o - 1) * s for k, p, o, s in zip(kernel, phase, own, stride, strict=True)),
            stride,
        )
        spans = [(o - 1) * d for o, d in zip(own, dilation, strict=True)]
        borders = tuple((span, n - w) for span, n, w in zip(spans, counts, windows, strict=True))
        ones = (1,) * len(kernel)
        return convolution(x, seen, stride=ones, dilation=dilation, padding=borders, groups=groups)

    return overlapped(part, size, kernel, stride, padding)


def _apart(weight: Any, stride: Sizes, dilation: Sizes) -> tuple[Any, Sizes]:
    """A weight whose taps are neighbours, by zeros between them, along axes that have both a stride and a dilation."""
    both = [s > 1 and d > 1 for s, d in zip(stride, dilation, strict=True)]
    if not any(both):
        return weight, dilation
    kernel = weight.shape[1:-1]
    steps = tuple(d if b else 1 for d, b in zip(dilation, both, strict=True))
    wide = tuple((k - 1) * s + 1 for k, s in zip(kernel, steps, strict=True))
    zeros = filled(0, (weight.shape[0], *wide, weight.shape[-1]), weight.dtype)
    places = tuple(("slice", 0, n, s) for n, s in zip(wide, steps, strict=True))
    ends = (("slice", 0, weight.shape[0], 1), *places, ("slice", 0, weight.shape[-1], 1))
    return set_item(zeros, weight, index=ends), tuple(
        1 if b else d for d, b in zip(dilation, both, strict=True)
    )


def _mirrored(weight: Any, groups: int) -> Any:
    """(units, *kernel, channels / groups) as (channels, *kernel, units / groups), the taps in reverse."""
    units, *kernel, channels = weight.shape
    n = len(kernel)
    apart = reshape(weight, shape=(groups, units // groups, *kernel, channels))
    turned = transpose(apart, axes=(0, n + 2, *range(2, n + 2), 1))
    whole = reshape(turned, shape=(groups * channels, *kernel, units // groups))
    return flip(whole, axis=tuple(range(1, n + 1)))


def _convolution_weights(
    x: Any, grad: Any, kernel: Sizes, stride: Sizes, dilation: Sizes, padding: Padding, groups: int
) -> Any:
    """The product of all windows, turned, with the gradient, for each group by itself."""
    x = padded(x, padding)
    units, channels = grad.shape[-1], x.shape[-1] // groups
    if groups > 1 and channels == 1:
        return _depthwise_weights(x, grad, kernel, stride, dilation)
    windows = sliding_windows(x, kernel=kernel, stride=stride, dilation=dilation)
    columns = reshape(grad, shape=(prod(grad.shape[:-1]), units))
    if groups > 1:
        return _grouped_weights(windows, columns, groups)
    rows = reshape(windows, shape=(columns.shape[0], prod(kernel) * channels))
    return reshape(swapped(matmul(swapped(rows), columns)), shape=(units, *kernel, channels))


def _grouped_weights(windows: Any, columns: Any, groups: int) -> Any:
    """Windows as (*kernel, channels, groups, 1, all windows), each row times the columns of its group."""
    n = windows.ndim // 2 - 1
    items, units = columns.shape
    apart = _in_groups(windows, groups)
    turned = transpose(apart, axes=(*range(n + 1, 2 * n + 1), 2 * n + 2, 2 * n + 1, *range(n + 1)))
    rows = reshape(turned, shape=(*turned.shape[: n + 2], 1, items))
    matrices = transpose(_in_groups(columns, groups), axes=(1, 0, 2))
    product = reshape(matmul(rows, matrices), shape=(*turned.shape[: n + 2], units // groups))
    whole = transpose(product, axes=(n + 1, n + 2, *range(n + 1)))
    return reshape(whole, shape=(units, *whole.shape[2:]))


def _depthwise_weights(x: Any, grad: Any, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Any:
    units, channels = grad.shape[-1], x.shape[-1]
    counts, n = grad.shape[1:-1], len(kernel)
    apart = reshape(grad, shape=(*grad.shape[:-1], channels, units // channels))
    found = []
    for tap in taps(kernel):
        seen = at_tap(x, counts, _scaled(tap, dilation), stride)
        products = reshape(seen, shape=(*seen.shape, 1)) * apart
        total = cast(sum_(products, axis=tuple(range(n + 1)), keepdims=False), dtype=str(products.dtype))
        found.append(reshape(total, shape=(units, 1)))
    return reshape(concatenate(*found, axis=1), shape=(units, *kernel, 1))


# -- rows and their gradients ------------------------------------------------------------------------------------


def _convolution_gradient(g: Any, out: Any, x: Any, weight: Any, *bias: Any, **attrs: Any) -> tuple[Any, ...]:
    grads = (
        lambda: deconvolution(g, weight, size=x.shape[1:-1], **attrs),
        lambda: convolution_weights(x, g, kernel=weight.shape[1:-1], **attrs),
    )
    return (*grads, lambda: g.sum(axis=tuple(range(g.ndim - 1)))) if bias else grads


def _deconvolution_gradient(
    g: Any, out: Any, x: Any, weight: Any, size: Sizes, **attrs: Any
) -> tuple[Any, ...]:
    return (
        lambda: convolution(g, weight, **attrs),
        lambda: convolution_weights(g, x, kernel=weight.shape[1:-1], **attrs),
    )


def _weights_gradient(g: Any, out: Any, x: Any, grad: Any, kernel: Sizes, **attrs: Any) -> tuple[Any, ...]:
    return (
        lambda: deconvolution(grad, g, size=x.shape[1:-1], **attrs),
        lambda: convolution(x, g, **attrs),
    )


def _attrs(
    stride: Sizes, dilation: Sizes, padding: Padding, groups: int = 1, **others: Sizes
) -> dict[str, Any]:
    return {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups, **others}


_ODD = _attrs((2, 1), (1, 2), ((1, 0), (2, 1)))  # of a kernel of 3 x 2 on 4 x 5: 2 x 6 windows
_GROUPED = _attrs((2,), (1,), ((1, 1),), 2)  # of a kernel of 3 on 4: 2 windows

convolution: Operator = row(
    "convolution",
    _convolution_meaning,
    Composite(_convolution),
    type_rule=_convolution_type,
    gradient=_convolution_gradient,
    examples=(
        Example(((2, 4, 5, 2), (3, 3, 2, 2), (3,)), _ODD),
        Example(((1, 4, 4), (6, 3, 2)), _GROUPED),
        Example(((1, 4, 2), (4, 3, 1), (4,)), _GROUPED),
    ),
)
# What convolution multiplies the gradient of its result with, to get that of its input of ``size``; Zeiler et al. 2010.
deconvolution: Operator = row(
    "deconvolution",
    _deconvolution_meaning,
    Composite(_deconvolution),
    type_rule=_deconvolution_type,
    gradient=_deconvolution_gradient,
    examples=(
        Example(((2, 2, 6, 3), (3, 3, 2, 2)), {**_ODD, "size": (4, 5)}),
        Example(((1, 2, 6), (6, 3, 2)), {**_GROUPED, "size": (4,)}),
        Example(((1, 2, 2), (2, 2, 2)), _attrs((2,), (2,), ((0, 0),), size=(5,))),
    ),
)
# The gradient by a weight with windows of ``kernel``, of the input and the gradient of the result.
convolution_weights: Operator = row(
    "convolution_weights",
    _weights_meaning,
    Composite(_convolution_weights),
    type_rule=_weights_type,
    gradient=_weights_gradient,
    examples=(
        Example(((2, 4, 5, 2), (2, 2, 6, 3)), {**_ODD, "kernel": (3, 2)}),
        Example(((1, 4, 4), (1, 2, 6)), {**_GROUPED, "kernel": (3,)}),
        Example(((1, 4, 2), (1, 2, 4)), {**_GROUPED, "kernel": (3,)}),
    ),
)
