"""Rules of operators that look between elements: resizing, sampling by a grid, regions of interest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from blockfuse.frontends.onnx.rules.table import Static, Value, rule
from blockfuse.frontends.onnx.rules.values import along, floats, ints, size_of
from blockfuse.ir.errors import UsageError

Taps = list[tuple[numpy.ndarray, numpy.ndarray]]  # for each result along an axis, an element and its weight


@dataclass(frozen=True)
class Manner:
    """How ``Resize`` finds elements between elements."""

    mode: str  # nearest, linear or cubic
    coordinates: str  # coordinate_transformation_mode
    nearest: str  # nearest_mode
    cubic: float  # cubic_coeff_a
    antialias: bool
    exclude_outside: bool
    outside: float  # extrapolation_value


@rule("Resize", since=11)
def resize(
    x: Value,
    roi: Static = None,
    scales: Static = None,
    sizes: Static = None,
    antialias: int = 0,
    axes: tuple[int, ...] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Value:
    """Axis by axis: each result is a sum of a few elements with weights that sizes alone decide."""
    manner = Manner(
        mode,
        coordinate_transformation_mode,
        nearest_mode,
        cubic_coeff_a,
        bool(antialias),
        bool(exclude_outside),
        extrapolation_value,
    )
    chosen = tuple(range(x.ndim)) if axes is None else tuple(axis % x.ndim for axis in axes)
    factors = () if scales is None else floats(scales)
    if not factors:
        factors, asked = _factors(
            tuple(size_of(x, axis) for axis in chosen), ints(sizes), keep_aspect_ratio_policy
        )
    else:
        asked = ()
    region = (0.0,) * len(chosen) + (1.0,) * len(chosen) if roi is None or not roi.size else floats(roi)
    return _resized(x, chosen, factors, asked, region, manner)


@rule("Resize", until=10)
@rule("Upsample")
def resize_10(x: Value, scales: Static, mode: str = "nearest") -> Value:
    """By factors, from the first element on."""
    kind = {"bilinear": "linear"}.get(mode, mode)
    return resize(
        x, None, scales, coordinate_transformation_mode="asymmetric", mode=kind, nearest_mode="floor"
    )


def _factors(
    found: Sequence[int], sizes: tuple[int, ...], policy: str
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    factors = tuple(size / n for n, size in zip(found, sizes, strict=True))
    if policy == "stretch":
        return factors, sizes
    factor = min(factors) if policy == "not_larger" else max(factors)
    return (factor,) * len(found), tuple(math.floor(factor * n + 0.5) for n in found)


def _resized(
    x: Value,
    axes: tuple[int, ...],
    factors: tuple[float, ...],
    sizes: tuple[int, ...],
    region: tuple[float, ...],
    manner: Manner,
) -> Value:
    inside: Value = None
    dtype = x.dtype
    wide = x.astype("float32") if dtype.kind != "f" and manner.mode != "nearest" else x
    for n, (axis, factor, size) in enumerate(zip(axes, factors, sizes or (None,) * len(axes), strict=True)):
        if factor == 1 and manner.coordinates != "tf_crop_and_resize":
            continue
        count = size_of(x, axis)
        size = math.floor(count * factor) if size is None else size
        start, end = region[n], region[n + len(axes)]
        places = _coordinates(count, size, factor, start, end, manner.coordinates)
        if manner.coordinates == "tf_crop_and_resize":
            within = along((places >= 0) & (places <= count - 1), axis, x.ndim)
            inside = within if inside is None else inside & within
        wide = _tapped(wide, axis, _taps(places, count, factor, manner))
    result = wide.astype(dtype)
    return result if inside is None else numpy.where(inside, result, numpy.array(manner.outside, dtype))


def _coordinates(size: int, wanted: int, factor: float, start: float, end: float, kind: str) -> numpy.ndarray:
    """Where each result lies among the elements."""
    place = numpy.arange(wanted, dtype="float64")
    if kind == "align_corners":
        return place * (size - 1) / (factor * size - 1) if wanted > 1 else place * 0
    if kind == "asymmetric":
        return place / factor
    if kind == "tf_crop_and_resize":
        if wanted == 1:
            return place + (start + end) * (size - 1) / 2
        return start * (size - 1) + place * (end - start) * (size - 1) / (wanted - 1)
    if kind == "pytorch_half_pixel" and wanted == 1:
        return place - 0.5
    middle = (place + 0.5) / factor - 0.5
    if kind == "half_pixel_symmetric":
        return middle + size / 2 * (1 - wanted / (factor * size))
    if kind not in ("half_pixel", "pytorch_half_pixel"):
        raise UsageError(f"there is no coordinate_transformation_mode {kind!r}")
    return middle


def _taps(places: numpy.ndarray, size: int, factor: float, manner: Manner) -> Taps:
    if manner.mode == "nearest":
        return [(numpy.clip(_rounded(places, manner.nearest), 0, size - 1), numpy.ones(len(places)))]
    shrink = min(factor, 1.0) if manner.antialias else 1.0
    reach = (1 if manner.mode == "linear" else 2) / shrink
    first = numpy.floor(places - reach).astype("int64") + 1
    taps = []
    for offset in range(math.ceil(2 * reach) + 1):
        element = first + offset
        distance = numpy.abs(element - places) * shrink
        weight = numpy.maximum(1 - distance, 0) if manner.mode == "linear" else _cubic(distance, manner.cubic)
        if manner.exclude_outside:
            weight = numpy.where((element >= 0) & (element < size), weight, 0)
        taps.append((numpy.clip(element, 0, size - 1), weight))
    total = sum(weight for _, weight in taps)
    if manner.antialias or manner.exclude_outside:
        taps = [(element, weight / total) for element, weight in taps]
    return [(element, weight) for element, weight in taps if numpy.any(weight)]


def _rounded(places: numpy.ndarray, kind: str) -> numpy.ndarray:
    if kind == "floor":
        return numpy.floor(places).astype("int64")
    if kind == "ceil":
        return numpy.ceil(places).astype("int64")
    if kind == "round_prefer_ceil":
        return numpy.floor(places + 0.5).astype("int64")
    return numpy.ceil(places - 0.5).astype("int64")


def _cubic(distance: numpy.ndarray, a: float) -> numpy.ndarray:
    """Keys' kernel."""
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return numpy.where(distance <= 1, near, numpy.where(distance < 2, far, 0))


def _tapped(x: Value, axis: int, taps: Taps) -> Value:
    total: Value = None
    for element, weight in taps:
        part = numpy.take(x, element, axis=axis)
        if not numpy.all(weight == 1):
            part = part * along(weight, axis, x.ndim).astype(x.dtype)
        total = part if total is None else total + part
    return total


# -- sampling ------------------------------------------------------------------------------------------------------


@rule("GridSample")
def grid_sample(
    x: Value, grid: Value, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Value:
    """Elements of ``x`` where a grid of places from -1 to 1 says, the last axis first."""
    sizes = x.shape[2:]
    places = [_among(grid[..., -1 - n], size, align_corners) for n, size in enumerate(sizes)]
    if mode == "nearest":
        taps: list[list[tuple[Value, Value]]] = [[(numpy.rint(p), None)] for p in places]
    else:
        cubic = mode in ("cubic", "bicubic")
        if not cubic:
            places = [
                _moved_in(p, size, padding_mode, align_corners) for p, size in zip(places, sizes, strict=True)
            ]
        taps = [_neighbours(p, cubic) for p in places]
    total: Value = None
    for chosen in itertools.product(*taps):
        part = _picked(x, [element for element, _ in chosen], padding_mode, align_corners)
        for _, weight in chosen:
            part = part if weight is None else part * numpy.expand_dims(weight, 1)
        total = part if total is None else total + part
    return total.astype(x.dtype)


def _among(place: Value, size: int, align_corners: int) -> Value:
    return (place + 1) * ((size - 1) / 2) if align_corners else ((place + 1) * size - 1) / 2


def _neighbours(place: Value, cubic: bool) -> list[tuple[Value, Value]]:
    low = numpy.floor(place)
    ratio = place - low
    if not cubic:
        return [(low, 1 - ratio), (low + 1, ratio)]
    return [(low + n, _cubic_of(numpy.absolute(ratio - n))) for n in (-1, 0, 1, 2)]


def _cubic_of(distance: Value) -> Value:
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return numpy.where(numpy.less_equal(distance, 1), near, far)


def _moved_in(place: Value, size: int, padding_mode: str, align_corners: int) -> Value:
    if padding_mode == "border":
        return numpy.minimum(numpy.maximum(place, 0), size - 1)
    if padding_mode == "reflection":
        return _reflected(place, size, align_corners)
    return place


def _reflected(place: Value, size: int, align_corners: int) -> Value:
    low, high = (0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)
    span = high - low
    if span <= 0:
        return place * 0
    distance = numpy.remainder(numpy.absolute(place - low), 2 * span)
    folded = numpy.where(numpy.greater(distance, span), 2 * span - distance, distance) + low
    return numpy.minimum(numpy.maximum(folded, 0), size - 1)


def _picked(x: Value, elements: list[Value], padding_mode: str, align_corners: int) -> Value:
    """The element of every channel at some places; what lies outside is moved in, or zero."""
    flat: Value = None
    inside: Value = None
    for element, size in zip(elements, x.shape[2:], strict=True):
        within = numpy.logical_and(numpy.greater_equal(element, 0), numpy.less_equal(element, size - 1))
        inside = within if inside is None else numpy.logical_and(inside, within)
        moved = (
            numpy.rint(_reflected(element, size, align_corners)) if padding_mode == "reflection" else element
        )
        index = numpy.minimum(numpy.maximum(moved, 0), size - 1).astype("int64")
        flat = index if flat is None else flat * size + index
    rows = x.reshape((*x.shape[:2], math.prod(x.shape[2:])))
    wide = numpy.broadcast_to(flat.reshape((x.shape[0], 1, -1)), (*x.shape[:2], math.prod(flat.shape[1:])))
    found = numpy.take_along_axis(rows, wide, 2).reshape((*x.shape[:2], *flat.shape[1:]))
    if padding_mode != "zeros":
        return found
    return numpy.where(numpy.expand_dims(inside, 1), found, numpy.zeros((), x.dtype))
