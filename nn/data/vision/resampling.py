"""Images of another size, written with operators: nearest and bilinear.

An image has its rows at axis -3, its columns at axis -2 and its channels last; axes before these are batches.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy

from blockfuse.array import np
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import ShapeError, UsageError

NEAREST, BILINEAR = 0, 1  # Gluon's numbers, which are OpenCV's


def checked_interpolation(interpolation: int) -> int:
    if interpolation not in (NEAREST, BILINEAR):
        raise UsageError(f"interpolation={interpolation!r}; use 0 (nearest) or 1 (bilinear)")
    return interpolation


def checked_size(size: Any) -> tuple[int, int]:
    """(width, height) of an int or a pair."""
    pair = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(pair) != 2 or min(map(operator.index, pair)) < 1:
        raise UsageError(f"size={size!r}; write an int or (width, height)")
    return operator.index(pair[0]), operator.index(pair[1])


def image_of(x: Any, name: str) -> ndarray:
    """What a transform is given, as an array with rows, columns and channels."""
    image = np.asarray(x)
    if image.ndim < 3 or 0 in image.shape[-3:]:
        raise ShapeError(f"{name} expects an image of shape (height, width, channels); found {image.shape}")
    return image


def resized(image: ndarray, width: int, height: int, interpolation: int) -> ndarray:
    """The image with so many columns and rows, in its dtype.

    nearest: row ``i`` of ``m`` is row ``floor(i * n / m)`` of ``n``.
    bilinear: centres of pixels lie at halves, so that row ``i`` lies at ``(i + 0.5) * n / m - 0.5``; beyond the first and
    last centre the image goes on as there. An image that shrinks is not averaged over (as OpenCV's INTER_LINEAR). Integers
    are rounded to the nearest, halves to even.
    """
    rows, columns = image.shape[-3:-1]
    if (rows, columns) == (height, width):
        return image
    if interpolation == NEAREST:
        return np.take(np.take(image, _nearest(rows, height), -3), _nearest(columns, width), -2)
    values = image if image.dtype.kind == "f" else image.astype("float32")
    values = _between(_between(values, height, -3), width, -2)
    return values if values.dtype == image.dtype else np.rint(values).astype(image.dtype)


def _nearest(before: int, after: int) -> numpy.ndarray:
    return numpy.arange(after) * before // after


def _between(values: ndarray, after: int, axis: int) -> ndarray:
    """Linear interpolation along one axis."""
    before = values.shape[axis]
    places = ((numpy.arange(after) + 0.5) * before / after - 0.5).clip(0, before - 1)
    first = places.astype(numpy.int64)
    share = (places - first).astype(values.dtype).reshape(-1, *(1,) * (-1 - axis))
    lower = np.take(values, first, axis)
    upper = np.take(values, numpy.minimum(first + 1, before - 1), axis)
    return lower * (1 - share) + upper * share


def cropped(image: ndarray, left: int, top: int, width: int, height: int) -> ndarray:
    return image[..., top : top + height, left : left + width, :]
