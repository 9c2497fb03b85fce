"""What detectors of objects are made of: features of regions of interest, and anchor boxes.

Regions are rows ``(image, x1, y1, x2, y2)``: the number of an image in the batch, and corners in the pixels of what the
features were computed from. A region of image -1 is none: its features are 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.elementwise import clip
from blockfuse.array.functions.joining import stack
from blockfuse.array.functions.shaping import broadcast_to, reshape, transpose
from blockfuse.array.functions.windows import sizes_of
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.operators import filling, indexing, pointwise, reductions
from blockfuse.ir.operators.neural import floated
from blockfuse.ir.operators.windows import added


def roi_pooling(data: ArrayLike, rois: ArrayLike, pooled_size: Any, spatial_scale: float) -> ndarray:
    """The maximum in each of ``pooled_size`` parts of each region (Girshick 2015, Fast R-CNN, section 2.1).

    data: features (batch, channels, height, width).
    rois: regions (count, 5), whose corners times ``spatial_scale``, rounded, are pixels of ``data``, both inside. Part
    i of m goes from ``floor(i * n / m)`` up to ``ceil((i + 1) * n / m)``; one outside of the features is 0.

    Returns (count, channels, *pooled_size); floats keep their dtype, others give float64. Regions have no gradient.
    Raises ShapeError where shapes do not fit, IndexError for images that there are not.

    >>> from blockfuse import np, npx
    >>> regions = np.array([[0, 0, 0, 3, 3]])
    >>> npx.roi_pooling(np.arange(16).reshape(1, 1, 4, 4), regions, (2, 2), 1.0)
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
    x, images, corners = _regions(data, rois, "roi_pooling")
    places = pointwise.cast(_rounded(corners * spatial_scale), dtype="int64")
    down, across = sizes_of(pooled_size, 2, "pooled_size", 1)
    rows, no_rows = _inside(places[:, 1], places[:, 3], down, x.shape[2])
    columns, no_columns = _inside(places[:, 0], places[:, 2], across, x.shape[3])
    own = indexing.take_at(x, pointwise.maximum(images, 0), pattern=(("array", 0),))
    lines = _largest(own[:, :, :, None, :], columns[:, None, None])
    result = _largest(transpose(lines, (0, 1, 3, 2))[:, :, None], rows[:, None, :, None])
    nothing = no_rows[:, None, :, None] | no_columns[:, None, None] | _are_none(images)
    return pointwise.where(nothing, 0, result)


def roi_align(
    data: ArrayLike,
    rois: ArrayLike,
    pooled_size: Any,
    spatial_scale: float,
    sample_ratio: int = -1,
    position_sensitive: bool = False,
    aligned: bool = False,
) -> ndarray:
    """The average of points in each of ``pooled_size`` parts of each region, bilinear between pixels (He, Gkioxari, Dollar
    and Girshick 2017, Mask R-CNN, section 3).

    data: features (batch, channels, height, width).
    rois: regions (count, 5), whose corners times ``spatial_scale`` are places in ``data``.
    sample_ratio: points along each axis of a part; -1: as many as a part of the region has pixels, which is an escape,
    as it depends on the regions.
    aligned: whether pixels have their centres at halves; otherwise no region is smaller than a pixel.
    position_sensitive: True is not there, and raises UsageError.

    Returns (count, channels, *pooled_size); float32 and float64 stay, float16 gives float32, others float64. Regions
    have no gradient. Raises ShapeError where shapes do not fit, IndexError for images that there are not.

    >>> from blockfuse import np, npx
    >>> regions = np.array([[0, 0, 0, 3, 3]])
    >>> npx.roi_align(np.arange(16).reshape(1, 1, 4, 4), regions, (2, 2), 1.0).shape
    (1, 1, 2, 2)
    """
    if position_sensitive:
        raise UsageError("roi_align has no position_sensitive=True: it gives all channels of each part")
    x, images, corners = _regions(data, rois, "roi_align")
    places = corners * spatial_scale - (0.5 if aligned else 0.0)
    down, across = sizes_of(pooled_size, 2, "pooled_size", 1)
    rows = _points(places[:, 1], places[:, 3], down, sample_ratio, aligned)
    columns = _points(places[:, 0], places[:, 2], across, sample_ratio, aligned)
    low, high = _taps(*rows, x.shape[2])
    left, right = _taps(*columns, x.shape[3])
    last, own = transpose(x, (0, 2, 3, 1)), pointwise.maximum(images, 0)[:, None, None]
    corner_values = [_weighted(last, own, row, column) for row in (low, high) for column in (left, right)]
    count, high_points, wide_points, channels = corner_values[0].shape
    shape = (count, down, high_points // down, across, wide_points // across, channels)
    total = reductions.sum_(reshape(added(corner_values), shape), axis=(2, 4), keepdims=False)
    return pointwise.where(_are_none(images), 0, transpose(total, (0, 3, 1, 2)))


def _weighted(x: Any, images: Any, row: tuple[Any, Any], column: tuple[Any, Any]) -> Any:
    """Pixels of each region times their weights, (regions, rows, columns, channels); of weight 0 they are 0."""
    (rows, down), (columns, across) = row, column
    picked = indexing.take_at(x, images, rows[:, :, None], columns[:, None], pattern=_PIXELS)
    share = (down[:, :, None] * across[:, None])[..., None]
    return pointwise.where(pointwise.equal(share, 0), 0, picked * share)


_PIXELS = (("array", 0), ("array", 1), ("array", 2))


def _regions(data: ArrayLike, rois: ArrayLike, name: str) -> tuple[ndarray, ndarray, ndarray]:
    """Features, the image of each region, and its corners in their dtype."""
    x, regions = floated(asarray(data)), asarray(rois).detach()
    if x.ndim != 4 or regions.ndim != 2 or regions.shape[1] != 5:
        raise ShapeError(
            f"{name} expects features (batch, channels, height, width) and regions (count, 5); found shapes {x.shape} and "
            f"{regions.shape}"
        )
    dtype = numpy.result_type(x.dtype, "float32")
    corners = pointwise.cast(regions[:, 1:], dtype=str(dtype))
    return x, pointwise.cast(regions[:, 0], dtype="int64"), corners


def _are_none(images: ndarray) -> Any:
    return pointwise.less(images, 0)[:, None, None, None]


# -- parts of whole pixels -----------------------------------------------------------------------------------


def _rounded(x: Any) -> Any:
    """Halves away from 0."""
    return pointwise.sign(x) * pointwise.floor(pointwise.absolute(x) + 0.5)


def _inside(first: Any, last: Any, parts: int, size: int) -> tuple[Any, Any]:
    """Which of ``size`` pixels are in which part, (regions, parts, size), and which parts have none, (regions, parts)."""
    extent = pointwise.maximum(last - first + 1, 1)[:, None]
    number = filling.arange(start=0, stop=parts, step=1, dtype="int64")
    start = clip(number * extent // parts + first[:, None], 0, size)
    end = clip(-(-(number + 1) * extent // parts) + first[:, None], 0, size)
    pixel = filling.arange(start=0, stop=size, step=1, dtype="int64")
    inside = pointwise.logical_and(pixel >= start[:, :, None], pixel < end[:, :, None])
    return inside, pointwise.less_equal(end, start)


def _largest(x: Any, inside: Any) -> Any:
    """Along the last axis, among what is inside."""
    return reductions.max_(pointwise.where(inside, x, -math.inf), axis=(x.ndim - 1,), keepdims=False)


# -- points between pixels -----------------------------------------------------------------------------------


def _points(first: Any, last: Any, parts: int, ratio: int, aligned: bool) -> tuple[Any, Any]:
    """Where the points of each region are along an axis, (regions, parts * points), and the share of each in its part."""
    extent = last - first if aligned else pointwise.maximum(last - first, 1)
    step = extent / parts
    if ratio > 0:
        counts, each = step * 0 + ratio, ratio
    else:
        counts = pointwise.maximum(pointwise.ceil(step), 0)
        each = max(1, int(counts.max())) if counts.size else 1
    point = filling.arange(start=0, stop=each, step=1, dtype=str(step.dtype))
    number = filling.arange(start=0, stop=parts, step=1, dtype=str(step.dtype))
    among = pointwise.maximum(counts, 1)[:, None]
    offsets = (point + 0.5) / among
    where = first[:, None, None] + (number[:, None] + offsets[:, None]) * step[:, None, None]
    shares = pointwise.where(point < counts[:, None], 1 / among, 0)
    shape = (step.shape[0], parts, each)
    flat = (shape[0], parts * each)
    return reshape(where, flat), reshape(broadcast_to(shares[:, None], shape), flat)


def _taps(where: Any, share: Any, size: int) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """The pixels on both sides of points, with their weights; points more than a pixel outside have none."""
    seen = pointwise.logical_and(where >= -1, where <= size)
    place = clip(where, 0, size - 1)
    below = pointwise.floor(place)
    upper = place - below
    low = pointwise.cast(below, dtype="int64")
    high = pointwise.minimum(low + 1, size - 1)
    share = pointwise.where(seen, share, 0)
    return (low, (1 - upper) * share), (high, upper * share)


# -- anchor boxes --------------------------------------------------------------------------------------------


@size_agnostic
def multibox_prior(
    data: ArrayLike,
    sizes: Sequence[float] = (1.0,),
    ratios: Sequence[float] = (1.0,),
    clip: bool = False,
    steps: Sequence[float] = (-1.0, -1.0),
    offsets: Sequence[float] = (0.5, 0.5),
) -> ndarray:
    """Anchor boxes around each pixel of ``data``, as corners (x1, y1, x2, y2) in shares of the image (Liu et al. 2016,
    SSD, section 2.2).

    data: (..., height, width). A pixel has boxes of all sizes with the first ratio, then of the first size with all
    other ratios: a box of size s and ratio r is ``s / sqrt(r)`` high and ``s * sqrt(r) * height / width`` wide.
    clip: cut off what is outside of the image.
    steps, offsets: from pixel to pixel in shares of the image, and of the centre in a pixel, both (y, x); -1: one over
    the number of pixels.

    Returns (1, height * width * (sizes + ratios - 1), 4), float32. Raises UsageError for fewer than two axes, or no
    sizes or ratios above 0.

    >>> from blockfuse import np, npx
    >>> npx.multibox_prior(np.ones((1, 3, 2, 2)), sizes=(0.5, 0.25), ratios=(1, 2)).shape
    (1, 12, 4)
    """
    x = asarray(data)
    if x.ndim < 2 or not sizes or not ratios or min((*sizes, *ratios)) <= 0:
        raise UsageError(
            f"multibox_prior takes an array (..., height, width), sizes and ratios above 0; found one of shape {x.shape}, "
            f"{sizes=}, {ratios=}"
        )
    height, width = x.shape[-2:]
    shapes = [(s, ratios[0]) for s in sizes] + [(sizes[0], r) for r in ratios[1:]]
    halves = [(s * math.sqrt(r) * height / width / 2, s / math.sqrt(r) / 2) for s, r in shapes]
    rows, columns = (
        (filling.arange(start=0, stop=n, step=1, dtype="float32") + offset) * (step if step > 0 else 1 / n)
        for n, step, offset in zip((height, width), steps, offsets, strict=True)
    )
    grid = (height, width, len(halves))
    across, down = (asarray([pair[n] for pair in halves], dtype="float32") for n in (0, 1))
    centres = columns[None, :, None], rows[:, None, None]
    corners = [c - half for c, half in zip(centres, (across, down), strict=True)]
    corners += [c + half for c, half in zip(centres, (across, down), strict=True)]
    boxes = reshape(stack([broadcast_to(c, grid) for c in corners], axis=-1), (1, -1, 4))
    return pointwise.minimum(pointwise.maximum(boxes, 0), 1) if clip else boxes


def box_iou(lhs: ArrayLike, rhs: ArrayLike, format: str = "corner") -> ndarray:
    """The intersection of each box of ``lhs`` with each of ``rhs``, over their union (Everingham et al. 2010, The Pascal
    Visual Object Classes Challenge, section 4.2).

    lhs, rhs: boxes (..., 4), each with axes of its own.
    format: ``"corner"`` for (x1, y1, x2, y2), ``"center"`` for (x, y, width, height) with the centre first. A box that ends
    before it begins has no area.

    Returns the axes of ``lhs`` and behind them those of ``rhs``, without the last ones; floats keep their dtype, others give
    float64; 0 where the union has no area. Raises ShapeError for a last axis other than 4, UsageError for another format.

    >>> from blockfuse import np, npx
    >>> npx.box_iou(np.array([[0, 0, 2, 2], [1, 0, 3, 2]]), np.array([[0, 0, 2, 1]]))
    array([[0.5],
           [0.2]])
    """
    one, other = asarray(lhs), asarray(rhs)
    for boxes in (one, other):
        if boxes.shape[-1:] != (4,):
            raise ShapeError(
                f"box_iou takes boxes of four numbers along the last axis; found the shape {boxes.shape}"
            )
    if format not in ("corner", "center"):
        raise UsageError(f"box_iou: {format!r} is not one of corner, center")
    here = [reshape(c, (*c.shape, *(1,) * (other.ndim - 1))) for c in _corners(one, format)]
    there = _corners(other, format)
    shared = _area(
        [*map(pointwise.maximum, here[:2], there[:2]), *map(pointwise.minimum, here[2:], there[2:])]
    )
    union = _area(here) + _area(there) - shared
    is_something = pointwise.greater(union, 0)
    return pointwise.where(is_something, shared / pointwise.where(is_something, union, 1), 0)


def _corners(boxes: ndarray, format: str) -> list[ndarray]:
    """x1, y1, x2 and y2 of boxes."""
    first, second, third, fourth = (boxes[..., n] for n in range(4))
    if format == "corner":
        return [first, second, third, fourth]
    half_width, half_height = third / 2, fourth / 2
    return [first - half_width, second - half_height, first + half_width, second + half_height]


def _area(corners: Sequence[ndarray]) -> ndarray:
    x1, y1, x2, y2 = corners
    return pointwise.maximum(x2 - x1, 0) * pointwise.maximum(y2 - y1, 0)
