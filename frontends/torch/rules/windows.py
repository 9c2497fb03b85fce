"""Rules of convolutions and of pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from blockfuse.array import np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.torch.rules.table import Array, Tensor, rule
from blockfuse.frontends.torch.rules.values import each, refuse_if, shape_of


def _batched(x: Array, axes: int, compute: Callable[[Array], Any]) -> Any:
    """What is computed of a batch, also for one item without its axis."""
    if x.ndim == axes + 2:
        return compute(x)
    refuse_if(x.ndim != axes + 1, "the number of axes")
    found = compute(x[None])
    return tuple(part[0] for part in found) if isinstance(found, tuple) else found[0]


# -- convolutions ----------------------------------------------------------------------------------------------


def _same(x: Array, weight: Array, dilation: Sequence[int]) -> tuple[Array, tuple[int, ...]]:
    """``x`` with what is uneven of the borders that leave its size, and what is left to add on both sides."""
    totals = [d * (k - 1) for d, k in zip(dilation, shape_of(weight)[2:], strict=True)]
    uneven = [(0, total % 2) for total in totals]
    padded = np.pad(x, [(0, 0), (0, 0), *uneven]) if any(b for _, b in uneven) else x
    return padded, tuple(total // 2 for total in totals)


@rule("conv1d", "conv2d", "conv3d")
def convolution(
    like: Tensor,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """A cross-correlation, channels first."""
    axes = len(shape_of(weight)) - 2
    refuse_if(0 in (*shape_of(x), *like.shape, *shape_of(weight)), "no elements")
    dilate = each(dilation, axes)

    def compute(x: Array) -> Array:
        pad: Any = (0,) * axes if padding == "valid" else padding
        if padding == "same":
            x, pad = _same(x, weight, dilate)
        return npx.convolution(
            x,
            weight,
            bias,
            stride=each(stride, axes),
            dilate=dilate,
            pad=each(pad, axes),
            num_group=groups,
            no_bias=bias is None,
        )

    return _batched(x, axes, compute)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def transposed(
    like: Tensor,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Array:
    """What a convolution with this weight does to gradients."""
    axes = len(shape_of(weight)) - 2
    refuse_if(0 in (*shape_of(x), *like.shape, *shape_of(weight)), "no elements")
    strides, dilations = each(stride, axes), each(dilation, axes)
    pads, extra = each(padding, axes), each(output_padding, axes)
    refuse_if(any(e >= s for e, s in zip(extra, strides, strict=True)), "more added than a stride")

    def compute(x: Array) -> Array:
        return npx.deconvolution(
            x,
            weight,
            bias,
            stride=strides,
            dilate=dilations,
            pad=pads,
            adj=extra,
            num_group=groups,
            no_bias=bias is None,
        )

    return _batched(x, axes, compute)


# -- pooling ---------------------------------------------------------------------------------------------------


def _pooled(
    like: Any, x: Array, axes: int, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, **options: Any
) -> Array:
    refuse_if(0 in (*shape_of(x), *like.shape), "no elements")
    window = each(kernel, axes)
    strides = window if stride is None or stride == [] or stride == () else each(stride, axes)
    how = {"kernel": window, "stride": strides, "pad": each(padding, axes), **options}
    convention = "full" if ceil_mode else "valid"
    return _batched(x, axes, lambda x: npx.pooling(x, pooling_convention=convention, **how))


def _maximum(axes: int) -> Callable[..., Array]:
    def pool(
        like: Tensor,
        x: Array,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Array:
        refuse_if(return_indices or any(d != 1 for d in each(dilation, axes)), "places, or steps in a window")
        return _pooled(like, x, axes, kernel_size, stride, padding, ceil_mode, pool_type="max")

    return pool


def _average(axes: int) -> Callable[..., Array]:
    def pool(
        like: Tensor,
        x: Array,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Array:
        if divisor_override is not None:
            total = _pooled(like, x, axes, kernel_size, stride, padding, ceil_mode, pool_type="sum")
            return total / divisor_override
        counting = {"pool_type": "avg", "count_include_pad": count_include_pad}
        return _pooled(like, x, axes, kernel_size, stride, padding, ceil_mode, **counting)

    return pool


def _windows(size: int, count: int) -> list[tuple[int, int]]:
    """Windows that share an axis as evenly as can be."""
    return [(n * size // count, -(-(n + 1) * size // count)) for n in range(count)]


def _adaptive(axes: int, fold: Any) -> Callable[..., Array]:
    def pool(like: Tensor, x: Array, output_size: Any, return_indices: bool = False) -> Array:
        refuse_if(return_indices or 0 in (*shape_of(x), *like.shape), "places, or no elements")
        for axis in range(x.ndim - axes, x.ndim):
            x = _along(x, axis, like.shape[axis], fold)
        return x

    return pool


def _along(x: Array, axis: int, count: int, fold: Any) -> Array:
    """One axis folded to so many elements; means of means count alike, as windows of an axis are of one length each."""
    size = shape_of(x)[axis]
    if size == count:
        return x
    if size % count == 0:
        shape = shape_of(x)
        return fold(x.reshape((*shape[:axis], count, size // count, *shape[axis + 1 :])), axis=axis + 1)
    before = (slice(None),) * axis
    parts = [fold(x[(*before, slice(a, b))], axis=axis, keepdims=True) for a, b in _windows(size, count)]
    return np.concatenate(parts, axis=axis)


for _axes in (1, 2, 3):
    rule(f"max_pool{_axes}d")(_maximum(_axes))
    rule(f"avg_pool{_axes}d")(_average(_axes))
    rule(f"adaptive_avg_pool{_axes}d")(_adaptive(_axes, np.mean))


def _adaptive_maximum(axes: int) -> Callable[..., Any]:
    """With places, which nobody reads where the function of one result calls it."""
    pool = _adaptive(axes, np.max)

    def found(like: Any, x: Array, output_size: Any, return_indices: bool = False) -> Any:
        refuse_if(isinstance(like, tuple), "places")
        return pool(like, x, output_size)

    return found


for _axes in (1, 2, 3):
    rule(f"adaptive_max_pool{_axes}d")(_adaptive_maximum(_axes))


@rule("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def nearest(like: Tensor, x: Array, *_sizes: Any, **_options: Any) -> Array:
    """Each element several times, where a whole factor says so."""
    for axis in range(2, x.ndim):
        factor, rest = divmod(like.shape[axis], shape_of(x)[axis])
        refuse_if(rest, "a factor that is not whole")
        x = np.repeat(x, factor, axis=axis) if factor > 1 else x
    return x


def _scales(axes: int, given: tuple[Any, ...]) -> list[float | None]:
    """By how much each axis grows, where numbers say so; they come one by one, or in a list behind the sizes."""
    numbers = [one for one in given if isinstance(one, int | float)]
    listed = [float(n) for one in given if isinstance(one, list | tuple) for n in one]
    found = listed or numbers
    return [*found] if len(found) == axes else [None] * axes


def _shares(size: int, count: int, align: bool, scale: float | None) -> numpy.ndarray:
    """How much of each of ``size`` elements each of ``count`` new ones is: a point on the line between two."""
    if align:
        steps = (size - 1) / (count - 1) if count > 1 else 0.0
        points = numpy.arange(count) * steps
    else:
        points = (numpy.arange(count) + 0.5) * (1 / scale if scale else size / count) - 0.5
    points = numpy.clip(points, 0, None)
    below = numpy.minimum(points.astype(int), size - 1)
    shares, rows = numpy.zeros((count, size)), numpy.arange(count)
    numpy.add.at(shares, (rows, below), 1 - (points - below))
    numpy.add.at(shares, (rows, numpy.minimum(below + 1, size - 1)), points - below)
    return shares


@rule("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d")
def linearly(like: Tensor, x: Array, size: Any, align_corners: bool, *scales: Any) -> Array:
    """Points on lines between neighbours, along one axis after the other."""
    refuse_if(0 in shape_of(x) or x.dtype.kind != "f", "no elements, or whole numbers")
    axes = range(2, x.ndim)
    factors = (
        _scales(len(axes), scales)
        if size is None or (scales and scales[0] is not None)
        else [None] * len(axes)
    )
    for axis, factor in zip(axes, factors, strict=True):
        shares = _shares(shape_of(x)[axis], like.shape[axis], align_corners, factor)
        turned = np.swapaxes(x, axis, -1)
        x = np.swapaxes(np.matmul(turned, ndarray(shares.T.astype(x.dtype))), axis, -1)
    return x
