"""Rules of convolutions and pooling."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from blockfuse.array import npx
from blockfuse.frontends.onnx.rules.table import Static, Value, rule
from blockfuse.frontends.onnx.rules.values import along, ints, sizes_from

Sizes = tuple[int, ...]
Pairs = list[tuple[int, int]]


def borders(
    auto_pad: str, pads: Sizes | None, sizes: Sequence[int], kernel: Sizes, strides: Sizes, dilations: Sizes
) -> Pairs:
    """What is added before and behind each axis."""
    if auto_pad == "NOTSET":
        flat = (0,) * 2 * len(kernel) if pads is None else pads
        return list(zip(flat[: len(kernel)], flat[len(kernel) :], strict=True))
    if auto_pad == "VALID":
        return [(0, 0)] * len(kernel)
    result = []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        result.append(
            (total // 2, total - total // 2) if auto_pad == "SAME_UPPER" else (total - total // 2, total // 2)
        )
    return result


def _padded(x: Value, pairs: Pairs, value: float = 0) -> Value:
    if not any(any(pair) for pair in pairs):
        return x
    return numpy.pad(x, [(0, 0), (0, 0), *pairs], constant_values=value)


def _ones(given: Sizes | None, axes: int) -> Sizes:
    return (1,) * axes if given is None else tuple(given)


def _symmetric(x: Value, pairs: Pairs) -> tuple[Value, Sizes]:
    """``x`` with what is uneven of its borders, and what is left to add on both sides."""
    if all(a == b for a, b in pairs):
        return x, tuple(a for a, _ in pairs)
    return _padded(x, pairs), (0,) * len(pairs)


@rule("Conv")
def conv(
    x: Value,
    w: Value,
    b: Value = None,
    auto_pad: str = "NOTSET",
    dilations: Sizes | None = None,
    group: int = 1,
    kernel_shape: Sizes | None = None,  # the weight says it
    pads: Sizes | None = None,
    strides: Sizes | None = None,
) -> Value:
    """A cross-correlation, channels first."""
    axes = w.ndim - 2
    kernel, stride, dilation = sizes_from(w, 2), _ones(strides, axes), _ones(dilations, axes)
    around = borders(auto_pad, pads, sizes_from(x, 2), kernel, stride, dilation)
    x, pad = _symmetric(x, around)
    return npx.convolution(
        x, w, b, stride=stride, dilate=dilation, pad=pad, num_group=group, no_bias=b is None
    )


@rule("ConvTranspose")
def conv_transpose(
    x: Value,
    w: Value,
    b: Value = None,
    auto_pad: str = "NOTSET",
    dilations: Sizes | None = None,
    group: int = 1,
    kernel_shape: Sizes | None = None,  # the weight says it
    output_padding: Sizes | None = None,
    output_shape: Sizes | None = None,
    pads: Sizes | None = None,
    strides: Sizes | None = None,
) -> Value:
    """What a convolution with this weight does to gradients: all that windows reach, then cut."""
    axes = w.ndim - 2
    kernel, stride, dilation = sizes_from(w, 2), _ones(strides, axes), _ones(dilations, axes)
    extra = (0,) * axes if output_padding is None else output_padding
    reach = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(sizes_from(x, 2), stride, kernel, dilation, strict=True)
    ]
    sizes = [n + e for n, e in zip(reach, extra, strict=True)]
    cuts = _cuts(auto_pad, pads, sizes_from(x, 2), sizes, stride, output_shape)
    full = npx.deconvolution(x, w, stride=stride, dilate=dilation, num_group=group)
    behind = [size - b - n for size, n, (_, b) in zip(sizes, reach, cuts, strict=True)]
    full = _padded(full, [(0, max(n, 0)) for n in behind])
    kept = tuple(slice(a, n + back) for (a, _), n, back in zip(cuts, reach, behind, strict=True))
    result = full[(slice(None), slice(None), *kept)]
    return result if b is None else result + along(b, 1, x.ndim)


def _cuts(
    auto_pad: str,
    pads: Sizes | None,
    inner: Sequence[int],
    sizes: list[int],
    stride: Sizes,
    asked: Sizes | None,
) -> Pairs:
    """What is cut off before and behind each axis."""
    if asked is None and auto_pad in ("NOTSET", "VALID"):
        return borders(auto_pad, pads, inner, (1,) * len(sizes), stride, (1,) * len(sizes))
    wanted = (
        [n * s for n, s in zip(inner, stride, strict=True)] if asked is None else list(asked)[-len(sizes) :]
    )
    cuts = []
    for size, want in zip(sizes, wanted, strict=True):
        total = size - want
        low = max(total, 0) // 2
        cuts.append((total - low, low) if auto_pad == "SAME_LOWER" else (low, total - low))
    return cuts


# -- pooling -------------------------------------------------------------------------------------------------------


def _geometry(
    x: Value,
    kernel: Sizes,
    strides: Sizes | None,
    dilations: Sizes | None,
    auto_pad: str,
    pads: Sizes | None,
    ceil: int,
) -> tuple[Sizes, Sizes, Pairs, Pairs]:
    """Strides and dilations; what is padded, and what is padded with the elements that a last window lacks."""
    stride, dilation = _ones(strides, len(kernel)), _ones(dilations, len(kernel))
    around = borders(auto_pad, pads, sizes_from(x, 2), kernel, stride, dilation)
    whole = []
    for size, k, s, d, (a, b) in zip(sizes_from(x, 2), kernel, stride, dilation, around, strict=True):
        left = size + a + b - ((k - 1) * d + 1)
        steps = -(-left // s) if ceil else left // s
        if ceil and steps * s >= size + a:  # no window begins behind the input
            steps -= 1
        whole.append((a, b + max(steps * s - left, 0)))
    return stride, dilation, around, whole


def _windows(x: Value, kernel: Sizes, stride: Sizes, dilation: Sizes) -> list[Value]:
    """For each place of the kernel, what it meets: arrays of the shape of the result."""
    counts = [
        (size - ((k - 1) * d + 1)) // s + 1
        for size, k, s, d in zip(sizes_from(x, 2), kernel, stride, dilation, strict=True)
    ]
    parts = []
    for place in itertools.product(*map(range, kernel)):
        items = [
            slice(p * d, p * d + (n - 1) * s + 1, s)
            for p, d, n, s in zip(place, dilation, counts, stride, strict=True)
        ]
        parts.append(x[(slice(None), slice(None), *items)])
    return parts


def _folded(function: Callable[..., Any], parts: list[Value]) -> Value:
    total = parts[0]
    for part in parts[1:]:
        total = function(total, part)
    return total


def _pools(x: Value, dilation: Sizes, around: Pairs) -> bool:
    """Whether the operator of the language has this form."""
    return x.dtype.kind == "f" and all(d == 1 for d in dilation) and all(a == b for a, b in around)


@rule("MaxPool", several=True)
def max_pool(
    x: Value,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sizes | None = None,
    kernel_shape: Sizes = (),
    pads: Sizes | None = None,
    storage_order: int = 0,
    strides: Sizes | None = None,
    outputs: int = 1,
) -> tuple[Value, ...]:
    """The largest element of each window, and where it lies in the whole input."""
    stride, dilation, _, whole = _geometry(x, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    if outputs == 1 and _pools(x, dilation, whole):
        pad = tuple(a for a, _ in whole)
        if all(p < k for p, k in zip(pad, kernel_shape, strict=True)):
            return (npx.pooling(x, kernel=kernel_shape, stride=stride, pad=pad, pool_type="max"),)
    parts = _windows(_padded(x, whole, _lowest(x)), kernel_shape, stride, dilation)
    largest = _folded(numpy.maximum, parts)
    if outputs == 1:
        return (largest,)
    where = _windows(_padded(_places(x.shape, storage_order), whole, 0), kernel_shape, stride, dilation)
    first = where[-1]
    for part, places in zip(parts[-2::-1], where[-2::-1], strict=True):
        first = numpy.where(numpy.equal(part, largest), places, first)
    return largest, numpy.broadcast_to(first, largest.shape)


def _lowest(x: Value) -> float:
    return -math.inf if x.dtype.kind == "f" else int(numpy.iinfo(x.dtype).min)


def _places(shape: Sequence[int], storage_order: int) -> numpy.ndarray:
    """The place of each element in memory, rows or columns first."""
    if not storage_order:
        return numpy.arange(math.prod(shape)).reshape(shape)
    turned = numpy.arange(math.prod(shape)).reshape((*shape[:2], *reversed(shape[2:])))
    return turned.transpose((0, 1, *reversed(range(2, len(shape)))))


@rule("AveragePool")
def average_pool(
    x: Value,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Sizes | None = None,
    kernel_shape: Sizes = (),
    pads: Sizes | None = None,
    strides: Sizes | None = None,
) -> Value:
    """The mean of each window, over the elements that count."""
    stride, dilation, around, whole = _geometry(
        x, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode
    )
    pad = tuple(a for a, _ in whole)
    if (
        _pools(x, dilation, whole)
        and whole == around
        and all(p < k for p, k in zip(pad, kernel_shape, strict=True))
    ):
        return npx.pooling(
            x,
            kernel=kernel_shape,
            stride=stride,
            pad=pad,
            pool_type="avg",
            count_include_pad=bool(count_include_pad),
        )
    total = _folded(numpy.add, _windows(_padded(x, whole), kernel_shape, stride, dilation))
    counted = numpy.ones((1, 1, *sizes_from(x, 2)), x.dtype)
    if count_include_pad:
        counted = _padded(counted, around, 1)
        whole = [(0, w[1] - a[1]) for w, a in zip(whole, around, strict=True)]
    return total / _folded(numpy.add, _windows(_padded(counted, whole), kernel_shape, stride, dilation))


@rule("LpPool")
def lp_pool(
    x: Value,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sizes | None = None,
    kernel_shape: Sizes = (),
    p: int = 2,
    pads: Sizes | None = None,
    strides: Sizes | None = None,
) -> Value:
    """The p-norm of each window."""
    stride, dilation, _, whole = _geometry(x, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    powers = numpy.power(numpy.absolute(x), numpy.array(p, x.dtype))
    total = _folded(numpy.add, _windows(_padded(powers, whole), kernel_shape, stride, dilation))
    return numpy.power(total, numpy.array(1 / p, x.dtype))


@rule("GlobalAveragePool")
def global_average_pool(x: Value) -> Value:
    """The mean of each channel."""
    return numpy.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@rule("GlobalMaxPool")
def global_max_pool(x: Value) -> Value:
    """The largest element of each channel."""
    return numpy.max(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@rule("GlobalLpPool")
def global_lp_pool(x: Value, p: int = 2) -> Value:
    """The p-norm of each channel."""
    total = numpy.sum(
        numpy.power(numpy.absolute(x), numpy.array(p, x.dtype)), axis=tuple(range(2, x.ndim)), keepdims=True
    )
    return numpy.power(total, numpy.array(1 / p, x.dtype))


@rule("MaxUnpool")
def max_unpool(
    x: Value,
    indices: Value,
    output_shape: Static = None,
    kernel_shape: Sizes = (),
    pads: Sizes | None = None,
    strides: Sizes | None = None,
) -> Value:
    """Elements back at the places that ``MaxPool`` told, zeros elsewhere."""
    stride = _ones(strides, len(kernel_shape))
    around = borders("NOTSET", pads, sizes_from(x, 2), kernel_shape, stride, stride)
    inner = [
        (n - 1) * s + k - a - b
        for n, s, k, (a, b) in zip(sizes_from(x, 2), stride, kernel_shape, around, strict=True)
    ]
    whole = (*x.shape[:2], *inner)
    flat = numpy.zeros(math.prod(whole), x.dtype)
    flat[numpy.asarray(indices).reshape(-1)] = numpy.asarray(x).reshape(-1)
    result = flat.reshape(whole)
    if output_shape is None:
        return result
    return numpy.pad(result, [(0, n - m) for n, m in zip(ints(output_shape), whole, strict=True)])


@rule("Col2Im")
def col2im(
    columns: Value,
    image_shape: Static,
    block_shape: Static,
    dilations: Sizes | None = None,
    pads: Sizes | None = None,
    strides: Sizes | None = None,
) -> Value:
    """Windows added up where they lay."""
    image, block = ints(image_shape), ints(block_shape)
    stride, dilation = _ones(strides, len(image)), _ones(dilations, len(image))
    around = borders("NOTSET", pads, image, block, stride, dilation)
    whole = [n + a + b for n, (a, b) in zip(image, around, strict=True)]
    counts = [
        (n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(whole, block, dilation, stride, strict=True)
    ]
    batch, channels = columns.shape[0], columns.shape[1] // math.prod(block)
    parts = columns.reshape((batch, channels, *block, *counts))
    total: Value = 0
    for place in itertools.product(*map(range, block)):
        part = _spaced(parts[(slice(None), slice(None), *place)], stride)
        begins = [p * d for p, d in zip(place, dilation, strict=True)]
        total = total + _padded(
            part, [(b, n - b - m) for b, n, m in zip(begins, whole, sizes_from(part, 2), strict=True)]
        )
    kept = tuple(slice(a, a + n) for (a, _), n in zip(around, image, strict=True))
    return total[(slice(None), slice(None), *kept)]


def _spaced(x: Value, stride: Sizes) -> Value:
    """With zeros between the elements of each axis from the third on."""
    for axis, step in enumerate(stride, start=2):
        if step > 1:
            wide = numpy.expand_dims(x, axis + 1)
            zeros = [(0, 0)] * wide.ndim
            zeros[axis + 1] = (0, step - 1)
            shape = (*x.shape[:axis], x.shape[axis] * step, *x.shape[axis + 1 :])
            x = numpy.pad(wide, zeros).reshape(shape)
            x = x[(*(slice(None),) * axis, slice(0, shape[axis] - step + 1))]
    return x
