"""Pooling: the maximum or the sum of each window, and where their gradients go.

Channels are last (NOTE [channels last]). A maximum is taken over what there is, so borders hold the lowest number; where
several elements of a window reach it, or are nan, the first in C order is the one that gets the gradient, as in torch.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy

from blockfuse.ir.lowering import Composite, Host
from blockfuse.ir.operator import Example, Operator, row
from blockfuse.ir.operators.filling import arange
from blockfuse.ir.operators.movement import broadcast_to, filled, reshape
from blockfuse.ir.operators.pointwise import (
    add,
    cast,
    equal,
    isnan,
    logical_or,
    maximum,
    where,
)
from blockfuse.ir.operators.reductions import max_, min_, sum_
from blockfuse.ir.operators.windows import (
    Padding,
    Sizes,
    at_tap,
    border,
    numpy_inside,
    numpy_padded,
    numpy_tap,
    padded,
    shifted_sum,
    sliding_windows,
    taps,
    unpadded,
    window_counts,
)
from blockfuse.ir.types import TensorType

_MAX_TAPS = (
    16  # that one kernel reads for each result; windows of more are folded along one axis after the other
)
_MAX_ROUTED_TAPS = 64  # that a compiled gradient of a maximum goes through


def lowest(dtype: numpy.dtype) -> float | int | bool:
    """What no other number is below."""
    if dtype.kind == "f":
        return -numpy.inf
    return False if dtype.kind == "b" else int(numpy.iinfo(dtype).min)


def _pooled_type(x: TensorType, kernel: Sizes, stride: Sizes, padding: Padding) -> TensorType:
    return TensorType((x.shape[0], *_counts(x, kernel, stride, padding), x.shape[-1]), x.dtype)


def _counts(x: Any, kernel: Sizes, stride: Sizes, padding: Padding) -> Sizes:
    return window_counts(x.shape[1:-1], kernel, stride, (1,) * len(kernel), padding)


# -- along one axis after the other: a window is as far as its sides -------------------------------------------


def _sides(kernel: Sizes, stride: Sizes) -> list[tuple[int, Sizes, Sizes]]:
    """Axis, kernel and stride of windows that are longer than 1, or further apart, along one axis alone."""
    ones = (1,) * len(kernel)
    return [
        (axis, (*ones[:axis], k, *ones[axis + 1 :]), (*ones[:axis], s, *ones[axis + 1 :]))
        for axis, (k, s) in enumerate(zip(kernel, stride, strict=True))
        if (k, s) != (1, 1)
    ]


def _folded_meaning(
    fold: numpy.ufunc, x: numpy.ndarray, kernel: Sizes, stride: Sizes, padding: Padding, value: Any
) -> numpy.ndarray:
    _counts(x, kernel, stride, padding)  # raises for windows that do not fit
    x = numpy_padded(x, padding, value)
    for _, side, step in _sides(kernel, stride):
        counts = _counts(x, side, step, unpadded(side))
        views = [x[numpy_tap(counts, tap, step)] for tap in taps(side)]
        result = views[0].copy(order="K")
        for view in views[1:]:
            fold(result, view, out=result)
        x = result
    return x


def _max_meaning(x: numpy.ndarray, kernel: Sizes, stride: Sizes, padding: Padding) -> numpy.ndarray:
    return _folded_meaning(numpy.maximum, x, kernel, stride, padding, lowest(x.dtype))


def _sum_meaning(x: numpy.ndarray, kernel: Sizes, stride: Sizes, padding: Padding) -> numpy.ndarray:
    if x.dtype == numpy.float16:
        wide = _sum_meaning(x.astype("float32"), kernel, stride, padding)
        with numpy.errstate(over="ignore"):
            return wide.astype(x.dtype)
    return _folded_meaning(numpy.add, x, kernel, stride, padding, 0)


def _fold(pair: Callable[[Any, Any], Any], whole: Operator, x: Any, kernel: Sizes, stride: Sizes) -> Any:
    """All taps of a few in one expression; else along one axis after the other. whole: folds axes of an array."""
    if _is_global(x, kernel):
        axes = tuple(range(1, x.ndim - 1))
        return cast(whole(x, axis=axes, keepdims=True), dtype=str(x.dtype))
    if prod(kernel) <= _MAX_TAPS:
        return _folded_taps(pair, x, kernel, stride)
    for axis, side, step in _sides(kernel, stride):
        if side[axis] <= _MAX_TAPS:
            x = _folded_taps(pair, x, side, step)
        else:
            ones = (1,) * len(side)
            windows = sliding_windows(x, kernel=side, stride=step, dilation=ones)
            axes = tuple(range(1 + len(side), 1 + 2 * len(side)))
            x = cast(whole(windows, axis=axes, keepdims=False), dtype=str(x.dtype))
    return x


def _is_global(x: Any, kernel: Sizes) -> bool:
    return tuple(x.shape[1:-1]) == kernel and prod(kernel) > 1


def _folded_taps(pair: Callable[[Any, Any], Any], x: Any, kernel: Sizes, stride: Sizes) -> Any:
    counts = _counts(x, kernel, stride, unpadded(kernel))
    first, *others = (at_tap(x, counts, tap, stride) for tap in taps(kernel))
    for other in others:
        first = pair(first, other)
    return first


def _max_pooling(x: Any, kernel: Sizes, stride: Sizes, padding: Padding) -> Any:
    return _fold(maximum, max_, padded(x, padding, lowest(x.dtype)), kernel, stride)


def _sum_pooling(x: Any, kernel: Sizes, stride: Sizes, padding: Padding) -> Any:
    return _fold(add, sum_, padded(x, padding), kernel, stride)


# -- gradient of the sum: each element gets those of the windows it is in ---------------------------------------


def _spread_type(g: TensorType, size: Sizes, kernel: Sizes, stride: Sizes, padding: Padding) -> TensorType:
    like = TensorType((g.shape[0], *size, g.shape[-1]), g.dtype)
    seen = _pooled_type(like, kernel, stride, padding)
    assert seen == g, f"pooling {like} gives {seen}, not {g}"
    return like


def _spread_meaning(
    g: numpy.ndarray, size: Sizes, kernel: Sizes, stride: Sizes, padding: Padding
) -> numpy.ndarray:
    whole = [n + sum(pair) for n, pair in zip(size, padding, strict=True)]
    for axis, side, step in _sides(kernel, stride):
        counts = g.shape[1:-1]
        sizes = (*counts[:axis], whole[axis], *counts[axis + 1 :])
        wide = numpy.zeros_like(g, shape=(len(g), *sizes, g.shape[-1]))
        for tap in taps(side):
            wide[numpy_tap(counts, tap, step)] += g
        g = wide
    return g[numpy_inside(padding, size)]


def _sum_unpooling(g: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Padding) -> Any:
    counts = g.shape[1:-1]
    if prod(counts) == 1 and size == kernel and not any(map(any, padding)):
        return broadcast_to(g, shape=(g.shape[0], *size, g.shape[-1]))
    whole = tuple(n + sum(pair) for n, pair in zip(size, padding, strict=True))
    sides = _sides(kernel, stride) if prod(kernel) > _MAX_TAPS else [(None, kernel, stride)]
    for axis, side, step in sides:
        sizes = tuple(
            n if axis is None or axis == a else m
            for a, (n, m) in enumerate(zip(whole, g.shape[1:-1], strict=True))
        )
        g = _shifted(g, sizes, side, step)
    ones = (1,) * len(size)
    return g if size == whole else at_tap(g, size, tuple(pair[0] for pair in padding), ones)


def _shifted(g: Any, size: Sizes, kernel: Sizes, stride: Sizes) -> Any:
    none = unpadded(kernel)
    wide = padded(g, border(g.shape[1:-1], size, kernel, stride, none))
    return shifted_sum(lambda _, seen: seen(wide), g, size, kernel, stride, none)


# -- gradient of the maximum: it goes to the first element that reaches it --------------------------------------


def _routed_type(g: TensorType, x: TensorType, kernel: Sizes, stride: Sizes, padding: Padding) -> TensorType:
    assert g.shape == _pooled_type(x, kernel, stride, padding).shape, f"{g} is no gradient of pooling {x}"
    return TensorType(x.shape, g.dtype)


def _first_meaning(x: numpy.ndarray, kernel: Sizes, stride: Sizes) -> numpy.ndarray:
    """The tap, by its number in C order, of the first maximum of each window; a nan is one."""
    windows = sliding_windows.meaning(x, kernel=kernel, stride=stride, dilation=(1,) * len(kernel))
    n = len(kernel)
    ordered = windows.transpose(*range(n + 1), 2 * n + 1, *range(n + 1, 2 * n + 1))
    return ordered.reshape(*ordered.shape[: n + 2], prod(kernel)).argmax(axis=-1)


def _places_meaning(x: numpy.ndarray, kernel: Sizes, stride: Sizes) -> tuple[numpy.ndarray, ...]:
    """Where the first maximum of each window is, as an index."""
    first = _first_meaning(x, kernel, stride)
    ends: tuple[numpy.ndarray, ...] = numpy.indices(first.shape, sparse=True)
    taken = zip(ends[1:-1], stride, numpy.unravel_index(first, kernel), strict=True)
    return (ends[0], *(end * s + place for end, s, place in taken), ends[-1])


def _routed_meaning(
    g: numpy.ndarray, x: numpy.ndarray, kernel: Sizes, stride: Sizes, padding: Padding
) -> numpy.ndarray:
    wide = numpy_padded(x, padding, lowest(x.dtype))
    result = numpy.zeros_like(wide, dtype=g.dtype)
    numpy.add.at(result, _places_meaning(wide, kernel, stride), g)
    return result[numpy_inside(padding, x.shape[1:-1])]


def _first(x: Any, kernel: Sizes, stride: Sizes, padding: Padding) -> Any:
    """``_first_meaning`` of ``x`` with borders, written with operators, int32."""
    top = max_pooling(x, kernel=kernel, stride=stride, padding=padding)
    wide = padded(x, padding, lowest(x.dtype))
    counts = top.shape[1:-1]
    first = filled(prod(kernel) - 1, top.shape, numpy.dtype("int32"))
    for number, tap in reversed(list(enumerate(taps(kernel)))[:-1]):
        first = where(_reaches(at_tap(wide, counts, tap, stride), top), _number(number), first)
    return first


def _number(tap: int) -> Any:
    return cast(tap, dtype="int32")


def _reaches(x: Any, top: Any) -> Any:
    return logical_or(equal(x, top), isnan(x)) if x.dtype.kind == "f" else equal(x, top)


def _max_unpooling(g: Any, x: Any, kernel: Sizes, stride: Sizes, padding: Padding) -> Any:
    if _is_global(x, kernel) and not any(map(any, padding)):
        return _in_one_window(g, x)
    if prod(kernel) > _MAX_ROUTED_TAPS:
        return routed(g, x, kernel=kernel, stride=stride, padding=padding)
    around = border(g.shape[1:-1], x.shape[1:-1], kernel, stride, padding)
    first = padded(_first(x, kernel, stride, padding), around, -1)
    wide = padded(g, around)
    numbers = {tap: _number(n) for n, tap in enumerate(taps(kernel))}

    def value(tap: Sizes, seen: Callable[[Any], Any]) -> Any:
        return where(equal(seen(first), numbers[tap]), seen(wide), filled(0, (), g.dtype))

    return shifted_sum(value, g, x.shape[1:-1], kernel, stride, padding)


def _in_one_window(g: Any, x: Any) -> Any:
    """One window as large as the input: no additions, and as many numbers as there are places."""
    items, *places, channels = x.shape
    rows = reshape(x, shape=(items, prod(places), channels))
    top = max_(rows, axis=(1,), keepdims=True)
    numbers = reshape(arange(start=0, stop=prod(places), step=1, dtype="int32"), shape=(prod(places), 1))
    nowhere = cast(prod(places), dtype="int32")
    first = min_(where(_reaches(rows, top), numbers, nowhere), axis=(1,), keepdims=True)
    grad = where(equal(numbers, first), reshape(g, shape=(items, 1, channels)), filled(0, (), g.dtype))
    return reshape(grad, shape=x.shape)


def _max_unpooling_gradient(
    gg: Any, out: Any, g: Any, x: Any, kernel: Sizes, stride: Sizes, padding: Padding
) -> tuple[Any, ...]:
    return (lambda: max_picking(gg, x, kernel=kernel, stride=stride, padding=padding)), None


# -- and the gradient of that: what stands where the maximum is --------------------------------------------------


def _picked_type(
    values: TensorType, x: TensorType, kernel: Sizes, stride: Sizes, padding: Padding
) -> TensorType:
    assert values.shape == x.shape, f"{values} is not like {x}"
    return TensorType(_pooled_type(x, kernel, stride, padding).shape, values.dtype)


def _picked_meaning(
    values: numpy.ndarray, x: numpy.ndarray, kernel: Sizes, stride: Sizes, padding: Padding
) -> numpy.ndarray:
    places = _places_meaning(numpy_padded(x, padding, lowest(x.dtype)), kernel, stride)
    return numpy.asarray(numpy_padded(values, padding)[places])


def _max_picking(values: Any, x: Any, kernel: Sizes, stride: Sizes, padding: Padding) -> Any:
    if prod(kernel) > _MAX_ROUTED_TAPS:
        return picked(values, x, kernel=kernel, stride=stride, padding=padding)
    first, wide = _first(x, kernel, stride, padding), padded(values, padding)
    numbered = list(enumerate(taps(kernel)))
    result = at_tap(wide, first.shape[1:-1], numbered[-1][1], stride)
    for number, tap in reversed(numbered[:-1]):
        seen = at_tap(wide, first.shape[1:-1], tap, stride)
        result = where(equal(first, _number(number)), seen, result)
    return result


def _max_picking_gradient(h: Any, out: Any, values: Any, x: Any, **attrs: Any) -> tuple[Any, ...]:
    return (lambda: max_unpooling(h, x, **attrs)), None


# -- rows ----------------------------------------------------------------------------------------------------


def _attrs(kernel: Sizes, stride: Sizes, padding: Padding, **others: Sizes) -> dict[str, Any]:
    return {"kernel": kernel, "stride": stride, "padding": padding, **others}


_OVERLAPPING = _attrs((3, 2), (2, 1), ((1, 1), (0, 1)))  # on 4 x 3: 2 x 3 windows
_BESIDE = _attrs((2,), (2,), ((0, 0),))  # on 5: 2 windows
_APART = _attrs((1, 2), (3, 3), ((0, 0), (0, 0)))  # on 4 x 5: 2 x 2 windows
_GLOBAL = _attrs((3, 2), (1, 1), ((0, 0), (0, 0)))
_LONG = _attrs((17,), (2,), ((1, 1),))  # on 18: 2 windows
_POOLED = (
    Example(((2, 4, 3, 2),), _OVERLAPPING),
    Example(((1, 5, 2),), _BESIDE),
    Example(((1, 4, 5, 1),), _APART),
    Example(((2, 3, 2, 2),), _GLOBAL),
    Example(((1, 18, 1),), _LONG),
)

max_pooling: Operator = row(
    "max_pooling",
    _max_meaning,
    Composite(_max_pooling),
    type_rule=_pooled_type,
    gradient=lambda g, out, x, **attrs: (max_unpooling(g, x, **attrs),),
    examples=_POOLED,
)
sum_pooling: Operator = row(
    "sum_pooling",
    _sum_meaning,
    Composite(_sum_pooling),
    type_rule=_pooled_type,
    gradient=lambda g, out, x, **attrs: (sum_unpooling(g, size=x.shape[1:-1], **attrs),),
    examples=_POOLED,
)
sum_unpooling: Operator = row(
    "sum_unpooling",
    _spread_meaning,
    Composite(_sum_unpooling),
    type_rule=_spread_type,
    gradient=lambda gg, out, g, size, **attrs: (sum_pooling(gg, **attrs),),
    examples=(
        Example(((2, 2, 3, 2),), {**_OVERLAPPING, "size": (4, 3)}),
        Example(((1, 2, 2),), {**_BESIDE, "size": (5,)}),
        Example(((1, 2, 2, 1),), {**_APART, "size": (4, 5)}),
        Example(((2, 1, 1, 2),), {**_GLOBAL, "size": (3, 2)}),
        Example(((1, 2, 1),), {**_LONG, "size": (18,)}),
    ),
)
_ROUTED = (
    Example(((2, 2, 3, 2), (2, 4, 3, 2)), _OVERLAPPING),
    Example(((1, 2, 2), (1, 5, 2)), _BESIDE),
    Example(((1, 2, 2, 1), (1, 4, 5, 1)), _APART),
    Example(((2, 1, 1, 2), (2, 3, 2, 2)), _GLOBAL),
)
# The gradient of max_pooling: of that of its result and of its input.
max_unpooling: Operator = row(
    "max_unpooling",
    _routed_meaning,
    Composite(_max_unpooling),
    type_rule=_routed_type,
    gradient=_max_unpooling_gradient,
    examples=_ROUTED,
)
# The same where windows have too many taps for an expression.
routed: Operator = row(
    "routed",
    _routed_meaning,
    Host("large overlapping windows"),
    type_rule=_routed_type,
    gradient=_max_unpooling_gradient,
    examples=_ROUTED[:1],
)
_PICKED = tuple(Example((e.shapes[1], e.shapes[1]), e.attrs) for e in _ROUTED)
# What stands in values where the maximum of each window of x is.
max_picking: Operator = row(
    "max_picking",
    _picked_meaning,
    Composite(_max_picking),
    type_rule=_picked_type,
    gradient=_max_picking_gradient,
    examples=_PICKED,
)
picked: Operator = row(
    "picked",
    _picked_meaning,
    Host("large windows"),
    type_rule=_picked_type,
    gradient=_max_picking_gradient,
    examples=_PICKED[:1],
)
