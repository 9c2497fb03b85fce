"""``npx``'s convolution, deconvolution and pooling, in every layout.

Operators take channels last (NOTE [channels last] in ``ir/operators/windows.py``); here other layouts are transposed on the
way in and out, which moves nothing.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike
from blockfuse.array.functions.creation import asarray
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.operators import filling, movement, pointwise, reductions
from blockfuse.ir.operators import pooling as pooled
from blockfuse.ir.operators.contractions import dense
from blockfuse.ir.operators.convolution import convolution as convolve
from blockfuse.ir.operators.convolution import deconvolution as deconvolve
from blockfuse.ir.operators.neural import floated
from blockfuse.ir.operators.windows import Padding, Sizes, added, padded, unpadded

_PLACES = {1: "W", 2: "HW", 3: "DHW"}  # how many axes -> their letters in a layout
_POOL_TYPES = ("max", "avg", "sum", "lp")
_CONVENTIONS = ("valid", "full")


def channels_first(axes: int) -> str:
    """The layout of that many axes that Gluon takes where none is given."""
    return "NC" + _PLACES[axes]


def sizes_of(given: Any, axes: int, name: str, least: int) -> Sizes:
    """A number for each axis, from one for all or from a sequence; raises UsageError that names it."""
    try:
        found = [operator.index(n) for n in (given if isinstance(given, tuple | list) else (given,) * axes)]
    except TypeError as error:
        raise UsageError(f"{name} must be an int, or a tuple of {axes}; found {given!r}") from error
    if len(found) != axes or min(found) < least:
        raise UsageError(f"{name} needs {axes} numbers from {least} on; found {given!r}")
    return tuple(found)


def checked_layout(layout: str | None, axes: int) -> str:
    """``layout``, or that of channels first; raises UsageError for one that is not for so many axes."""
    possible = channels_first(axes), f"N{_PLACES[axes]}C"
    if layout is None or layout in possible:
        return layout or possible[0]
    raise UsageError(f"layout {layout!r} is not one of {', '.join(possible)}, those of {axes} axes")


def _last(x: ndarray, layout: str) -> Any:
    """``x`` with its channels last."""
    return x if layout[-1] == "C" else movement.transpose(x, axes=(0, *range(2, x.ndim), 1))


def _back(x: Any, layout: str) -> Any:
    return x if layout[-1] == "C" else movement.transpose(x, axes=(0, x.ndim - 1, *range(1, x.ndim - 1)))


def _checked(data: ArrayLike, axes: int, layout: str, name: str) -> ndarray:
    x = asarray(data)
    if x.ndim != axes + 2:
        raise ShapeError(f"{name} expects an input of layout {layout}; found one of shape {x.shape}")
    return x


def _checked_axes(axes: int, what: str, found: Any) -> int:
    if axes not in _PLACES:
        raise UsageError(f"windows have 1, 2 or 3 axes; found {what}{found!r}")
    return axes


def _axes_of_pooled(x: ndarray) -> int:
    if x.ndim - 2 not in _PLACES:
        raise ShapeError(
            f"pooling expects (batch, channels, *sizes) with 1 to 3 sizes; found shape {x.shape}"
        )
    return x.ndim - 2


def _symmetric(pad: Sizes) -> Padding:
    return tuple((n, n) for n in pad)


# -- convolution -----------------------------------------------------------------------------------------------


@size_agnostic
def convolution(
    data: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    kernel: Any = None,
    stride: Any = 1,
    dilate: Any = 1,
    pad: Any = 0,
    num_filter: int | None = None,
    num_group: int = 1,
    no_bias: bool = False,
    layout: str | None = None,
    **_hints: Any,
) -> ndarray:
    """The cross-correlation of ``data`` with ``weight``, along 1, 2 or 3 axes.

    data: (batch, channels, *sizes), or as ``layout`` says.
    weight: (num_filter, channels / num_group, *kernel), or in that layout too.
    bias: (num_filter,).
    stride, dilate: a number, or one for each axis.
    pad: zeros on both sides of each axis.
    kernel, num_filter: what the weight already says; checked.

    Returns (batch, num_filter, *sizes) with ``(n + 2 * pad - (kernel - 1) * dilate - 1) // stride + 1`` of n, in the
    dtype that all promote to. Raises ShapeError where shapes do not fit, or the kernel is larger than the padded input.

    >>> from blockfuse import np, npx
    >>> npx.convolution(np.array([[[1, 2, 3, 4]]]), np.array([[[1, -1]]]), kernel=2, num_filter=1, no_bias=True)
    array([[[-1., -1., -1.]]])
    """
    w = asarray(weight)
    axes = _checked_axes(w.ndim - 2, "a weight of shape ", w.shape)
    layout = checked_layout(layout, axes)
    x, rows = _checked(data, axes, layout, "convolution"), _last(w, layout)
    units, *_, channels = rows.shape
    _check_weight(w, rows, units, num_filter, kernel, layout)
    found = x.shape[layout.index("C")]
    if num_group < 1 or channels * num_group != found or units % num_group:
        raise ShapeError(
            f"convolution of an input of shape {x.shape} with a weight of shape {w.shape}: the input has {found} channels, "
            f"and the weight expects {channels * num_group} (num_group={num_group})"
        )
    last = convolve(
        _last(x, layout),
        rows,
        *_biases(bias, no_bias, units),
        stride=sizes_of(stride, axes, "stride", 1),
        dilation=sizes_of(dilate, axes, "dilate", 1),
        padding=_symmetric(sizes_of(pad, axes, "pad", 0)),
        groups=num_group,
    )
    return _back(last, layout)


def _check_weight(
    weight: ndarray, rows: ndarray, filters: int, num_filter: int | None, kernel: Any, layout: str
) -> None:
    """What arguments say of a weight that says it itself. rows: the weight with channels last; filters: how many it has."""
    window = rows.shape[1:-1]
    if num_filter not in (None, filters) or (
        kernel is not None and sizes_of(kernel, len(window), "kernel", 1) != window
    ):
        raise ShapeError(
            f"the weight of shape {weight.shape} is not one of num_filter={num_filter} and kernel={kernel} in {layout}"
        )


def _biases(bias: ArrayLike | None, no_bias: bool, units: int) -> list[ndarray]:
    if bias is None or no_bias:
        return []
    values = asarray(bias)
    if values.shape != (units,):
        raise ShapeError(f"the bias has shape {values.shape}, but the weight needs ({units},)")
    return [values]


@size_agnostic
def deconvolution(
    data: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    kernel: Any = None,
    stride: Any = 1,
    dilate: Any = 1,
    pad: Any = 0,
    adj: Any = 0,
    target_shape: Any = None,
    num_filter: int | None = None,
    num_group: int = 1,
    no_bias: bool = True,
    layout: str | None = None,
    **_hints: Any,
) -> ndarray:
    """A transposed convolution: what a convolution with this weight does to gradients, along 1, 2 or 3 axes.

    data: (batch, channels, *sizes), or as ``layout`` says.
    weight: (channels, num_filter / num_group, *kernel), or in that layout too.
    bias: (num_filter,). As in Gluon, ``no_bias`` is True unless it is given.

    Returns (batch, num_filter, *sizes) with ``(n - 1) * stride - 2 * pad + (kernel - 1) * dilate + 1 + adj`` of n, in
    the dtype that all promote to; ``target_shape`` asks for sizes, and pad and adj follow from them. Raises ShapeError
    where shapes do not fit.

    >>> from blockfuse import np, npx
    >>> npx.deconvolution(np.array([[[1, 2]]]), np.array([[[1, 10]]]), kernel=2, stride=2, num_filter=1)
    array([[[ 1., 10.,  2., 20.]]])
    """
    w = asarray(weight)
    axes = _checked_axes(w.ndim - 2, "a weight of shape ", w.shape)
    layout = checked_layout(layout, axes)
    x, rows = _checked(data, axes, layout, "deconvolution"), _last(w, layout)
    units, *window, channels = rows.shape
    _check_weight(w, rows, channels * num_group, num_filter, kernel, layout)
    if x.shape[layout.index("C")] != units or num_group < 1 or units % num_group:
        raise ShapeError(
            f"deconvolution of an input of shape {x.shape} with a weight of shape {w.shape}: the input needs {units} "
            f"channels, a multiple of num_group={num_group}"
        )
    strides, dilation = sizes_of(stride, axes, "stride", 1), sizes_of(dilate, axes, "dilate", 1)
    last = _last(x, layout)
    full = _full_sizes(last.shape[1:-1], tuple(window), strides, dilation)
    padding, size, behind = _cut(full, axes, strides, pad, adj, target_shape)
    result = deconvolve(
        last, rows, size=size, stride=strides, dilation=dilation, padding=padding, groups=num_group
    )
    result = padded(result, tuple((0, n) for n in behind))
    return _back(added([result, *_biases(bias, no_bias, channels * num_group)]), layout)


def _full_sizes(sizes: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    """The axes that windows reach, without anything cut off."""
    each = zip(sizes, kernel, stride, dilation, strict=True)
    return tuple((n - 1) * s + (k - 1) * d + 1 for n, k, s, d in each)


def _cut(
    full: Sizes, axes: int, stride: Sizes, pad: Any, adj: Any, target_shape: Any
) -> tuple[Padding, Sizes, Sizes]:
    """What is cut off before and behind each axis, what is left of what windows reach, and what no window reaches."""
    if target_shape is not None and any(numpy.ravel(target_shape)):
        size = sizes_of(target_shape, axes, "target_shape", 1)
        before = tuple(max(n - t + 1, 0) // 2 for n, t in zip(full, size, strict=True))
    else:
        before, extra = sizes_of(pad, axes, "pad", 0), sizes_of(adj, axes, "adj", 0)
        size = tuple(n - 2 * p + a for n, p, a in zip(full, before, extra, strict=True))
    missing = tuple(t - (n - p) for t, n, p in zip(size, full, before, strict=True))
    if min(size) < 1 or any(m + p >= s for m, p, s in zip(missing, before, stride, strict=True) if m > 0):
        raise ShapeError(
            f"deconvolution reaches {full} elements; with pad {before} and a stride of {stride} it cannot give {size}"
        )
    behind = tuple(max(m, 0) for m in missing)
    reached = tuple(t - b for t, b in zip(size, behind, strict=True))
    return tuple((p, max(-m, 0)) for p, m in zip(before, missing, strict=True)), reached, behind


# -- pooling ---------------------------------------------------------------------------------------------------


@size_agnostic
def pooling(
    data: ArrayLike,
    kernel: Any = None,
    stride: Any = None,
    pad: Any = 0,
    pool_type: str = "max",
    pooling_convention: str = "valid",
    global_pool: bool = False,
    p_value: int = 2,
    count_include_pad: bool = True,
    layout: str | None = None,
    **_hints: Any,
) -> ndarray:
    """The maximum, average, sum or p-norm of the windows along 1, 2 or 3 axes of each channel.

    data: (batch, channels, *sizes), or as ``layout`` says.
    pool_type: 'max', 'avg', 'sum' or 'lp', whose p is ``p_value``.
    stride: 1 unless given.
    pooling_convention: 'valid' takes windows that fit, 'full' one more where elements are left, but none that begins
    behind the input.
    count_include_pad: whether borders count as elements of an average.
    global_pool: one window as large as the input.

    Returns (batch, channels, *windows) in the dtype of ``data``; averages and norms of integers are float64. Raises
    ShapeError for other numbers of axes, UsageError for other words, and where ``pad`` is as large as the kernel.

    >>> from blockfuse import np, npx
    >>> npx.pooling(np.array([[[1, 3, 5, 9]]]), kernel=2, stride=2)
    array([[[3., 9.]]])
    """
    x = asarray(data)
    if global_pool or not isinstance(kernel, tuple | list):
        axes = _axes_of_pooled(x)
    else:
        axes = _checked_axes(len(kernel), "kernel=", kernel)
    layout = checked_layout(layout, axes)
    last = _last(_checked(x, axes, layout, "pooling"), layout)
    if pool_type not in _POOL_TYPES or pooling_convention not in _CONVENTIONS:
        raise UsageError(
            f"pooling of type {pool_type!r} by convention {pooling_convention!r}; there are {', '.join(_POOL_TYPES)} by "
            f"{' or '.join(_CONVENTIONS)}"
        )
    sizes = last.shape[1:-1]
    if global_pool:
        none = unpadded(sizes)
        return _back(_pooled(last, sizes, (1,) * axes, none, pool_type, p_value, none), layout)
    window = sizes_of(kernel, axes, "kernel", 1)
    strides = sizes_of(1 if stride is None else stride, axes, "stride", 1)
    around = sizes_of(pad, axes, "pad", 0)
    if any(p >= k for p, k in zip(around, window, strict=True)):
        raise UsageError(f"pad={pad!r} must be less than kernel={kernel!r}: a window needs an element")
    padding = _symmetric(around)
    if pooling_convention == "full":
        padding = _reaching_all(sizes, window, strides, around)
    counted = _symmetric(around) if count_include_pad else unpadded(window)
    return _back(_pooled(last, window, strides, padding, pool_type, p_value, counted), layout)


def _reaching_all(sizes: Sizes, kernel: Sizes, stride: Sizes, pad: Sizes) -> Padding:
    """Padding behind so that each element is in a window, which none makes that begins behind the input."""
    found = []
    for n, k, s, p in zip(sizes, kernel, stride, pad, strict=True):
        count = max(-(-(n + 2 * p - k) // s), 0) + 1
        count -= count > 1 and (count - 1) * s >= n + p
        found.append((p, max((count - 1) * s + k - n - p, 0)))
    return tuple(found)


@size_agnostic
def _pooled(
    x: Any,
    kernel: Sizes,
    stride: Sizes,
    padding: Padding,
    pool_type: str,
    p_value: int,
    counted: Padding,
) -> Any:
    attrs = {"kernel": kernel, "stride": stride, "padding": padding}
    if pool_type == "max":
        return pooled.max_pooling(x, **attrs)
    if pool_type == "lp":
        return _root(pooled.sum_pooling(pointwise.absolute(floated(x)) ** p_value, **attrs), p_value)
    if pool_type == "sum":
        return pooled.sum_pooling(x, **attrs)
    total = pooled.sum_pooling(floated(x), **attrs)
    return _divided(total, x.shape[1:-1], kernel, stride, padding, counted)


def _root(powers: Any, p_value: int) -> Any:
    """Whose gradient at 0 is 0, not infinite."""
    nothing = pointwise.equal(powers, 0)
    return pointwise.where(nothing, 0, pointwise.where(nothing, 1, powers) ** (1 / p_value))


@size_agnostic
def _divided(
    total: Any, sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Padding, counted: Padding
) -> Any:
    """By the number of elements in each window, borders among them as far as ``counted`` says."""
    for axis, (n, k, s, (before, _), (low, high), count) in enumerate(
        zip(sizes, kernel, stride, padding, counted, total.shape[1:-1], strict=True), 1
    ):
        if before <= low and (count - 1) * s + k - before <= n + high:
            total = total / k
            continue
        starts = filling.arange(start=-before, stop=count * s - before, step=s, dtype="int64")
        numbers = pointwise.minimum(starts + k, n + high) - pointwise.maximum(starts, -low)
        shape = (count, *(1,) * (total.ndim - axis - 1))
        total = total / pointwise.cast(movement.reshape(numbers, shape=shape), dtype=str(total.dtype))
    return total


@size_agnostic
def adaptive_avg_pooling(data: ArrayLike, output_size: Any = 1, layout: str | None = None) -> ndarray:
    """Averages of windows that share each axis as evenly as can be: window i of m goes from ``floor(i * n / m)`` up to
    ``ceil((i + 1) * n / m)``.

    data: (batch, channels, *sizes), or as ``layout`` says.
    output_size: a number of windows, or one for each axis.

    Returns (batch, channels, *output_size); floats keep their dtype, others give float64. Raises ShapeError for other
    numbers of axes.

    >>> from blockfuse import np, npx
    >>> npx.adaptive_avg_pooling(np.arange(16).reshape(1, 1, 4, 4), 2)
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """
    x = asarray(data)
    axes = _axes_of_pooled(x)
    layout = checked_layout(layout, axes)
    last = _last(x, layout)
    wanted = sizes_of(output_size, axes, "output_size", 1)
    sizes = last.shape[1:-1]
    if all(n % m == 0 for n, m in zip(sizes, wanted, strict=True)):
        kernel = tuple(n // m for n, m in zip(sizes, wanted, strict=True))
        none = unpadded(kernel)
        return _back(_pooled(last, kernel, kernel, none, "avg", 0, none), layout)
    last = floated(last)
    for axis, windows in enumerate(wanted, 1):
        last = _averaged(last, axis, windows)
    return _back(last, layout)


def _averaged(x: Any, axis: int, windows: int) -> Any:
    """Along one axis, as a product with how much each element counts in each window."""
    size = x.shape[axis]
    i = movement.reshape(filling.arange(start=0, stop=windows, step=1, dtype="int64"), shape=(windows, 1))
    j = filling.arange(start=0, stop=size, step=1, dtype="int64")
    inside = pointwise.logical_and(
        pointwise.greater((j + 1) * windows, i * size), pointwise.less(j * windows, (i + 1) * size)
    )
    counts = reductions.sum_(inside, axis=(1,), keepdims=True)
    shares = pointwise.cast(inside / counts, dtype=str(x.dtype))
    order = (*(a for a in range(x.ndim) if a != axis), axis)
    found = dense(movement.transpose(x, axes=order), shares)
    return movement.transpose(found, axes=tuple(int(a) for a in numpy.argsort(order)))
