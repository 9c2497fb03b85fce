"""Images ``(..., channels, height, width)`` turned about their middle, in their size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy

from blockfuse.array import np
from blockfuse.array.functions import random
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import DTypeError, ShapeError, UsageError
from blockfuse.nn.block import Block
from blockfuse.nn.data.vision.draws import checked_probability, happens


class _Rotation(Block):
    """What is turned, and how large it is afterwards."""

    def __init__(self, zoom_in: bool, zoom_out: bool) -> None:
        super().__init__()
        if zoom_in and zoom_out:
            raise UsageError("zoom_in=True, zoom_out=True: it is one of them, or neither")
        self._zoom = -1 if zoom_in else 1 if zoom_out else 0

    def _checked(self, x: Any) -> ndarray:
        name, image = type(self).__name__, np.asarray(x)
        if image.ndim < 3 or 0 in image.shape[-3:]:
            raise ShapeError(
                f"{name} expects (channels, height, width), as ToTensor gives; found {image.shape}"
            )
        if image.dtype.kind != "f":
            raise DTypeError(
                f"{name} expects floats (channels, height, width), as ToTensor gives; found {image.dtype} {image.shape}"
            )
        return image

    def _turned(self, image: ndarray, degrees: Any) -> ndarray:
        rows, columns = image.shape[-2:]
        angle = np.asarray(degrees).astype("float64") * (math.pi / 180)
        cosine, sine = np.cos(angle), np.sin(angle)
        size = _size(rows - 1, columns - 1, abs(cosine), abs(sine)) ** self._zoom if self._zoom else 1.0
        down, right = _from_middle(rows)[:, None], _from_middle(columns)
        row = (right * sine + down * cosine) * size + (rows - 1) / 2
        column = (right * cosine - down * sine) * size + (columns - 1) / 2
        return _sampled(image, row, column)


def _checked_angle(degrees: Any, name: str) -> float:
    if not (isinstance(degrees, Real) and math.isfinite(degrees)):
        raise UsageError(f"{name}={degrees!r}: an angle is a finite number, in degrees")
    return float(degrees)


def _from_middle(length: int) -> numpy.ndarray:
    """Where the centres of pixels lie along an axis, from the middle of the image."""
    return numpy.arange(length) - (length - 1) / 2


def _size(height: int, width: int, cosine: Any, sine: Any) -> Any:
    """How many times as large as the image, at least, one of its shape is that holds it turned."""
    height, width = max(height, 1), max(width, 1)
    return np.maximum((width * cosine + height * sine) / width, (width * sine + height * cosine) / height)


def _sampled(image: ndarray, row: ndarray, column: ndarray) -> ndarray:
    """Values between pixels, by bilinear interpolation with 0 outside of the image."""
    rows, columns = image.shape[-2:]
    pixels = image.reshape(*image.shape[:-2], rows * columns)
    top, left = np.floor(row), np.floor(column)
    total: ndarray | int = 0
    for y, down in ((top, 1 - (row - top)), (top + 1, row - top)):
        for x, right in ((left, 1 - (column - left)), (left + 1, column - left)):
            inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
            place = np.where(inside, y * columns + x, 0).astype("int64")
            share = np.where(inside, down * right, 0).astype(image.dtype)
            total = total + np.take(pixels, place, -1) * share
    return np.asarray(total)


class Rotate(_Rotation):
    """The image ``(..., channels, height, width)``, floats, turned counter-clockwise, in its size and dtype.

    rotation_degrees: the angle.
    zoom_in: so large that nothing outside of the image is seen.
    zoom_out: so small that all of the image is seen.

    Values lie between those of four pixels (bilinear), and are 0 outside of the image. The layout is ``ToTensor``'s, as
    Gluon has it. Raises UsageError for an angle that is no finite number, and for both zooms; a call raises ShapeError for
    fewer than three axes and DTypeError for what is no floats, as bytes ``(height, width, channels)``.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.Rotate(90)(np.array([[[1, 2], [3, 4]]], dtype="float32")).round()
    array([[[2., 4.],
            [1., 3.]]])
    """

    def __init__(self, rotation_degrees: float, zoom_in: bool = False, zoom_out: bool = False) -> None:
        super().__init__(zoom_in, zoom_out)
        self._degrees = _checked_angle(rotation_degrees, "rotation_degrees")

    def forward(self, x: Any) -> ndarray:
        return self._turned(self._checked(x), self._degrees)


class RandomRotation(_Rotation):
    """``Rotate`` by an angle that is drawn evenly, one for a batch.

    angle_limits: between which degrees.
    zoom_in, zoom_out: those of ``Rotate``.
    rotate_with_proba: how probable it is that the image is turned at all.

    Draws are ``np.random``'s. Raises UsageError for limits that are not two angles, the smaller one first, for a
    probability that is not from 0 to 1, and for both zooms; errors of calls are those of ``Rotate``.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.RandomRotation((-10, 10))(np.ones((3, 4, 6))).shape
    (3, 4, 6)
    """

    def __init__(
        self,
        angle_limits: Sequence[float],
        zoom_in: bool = False,
        zoom_out: bool = False,
        rotate_with_proba: float = 1.0,
    ) -> None:
        super().__init__(zoom_in, zoom_out)
        if not isinstance(angle_limits, tuple | list) or len(angle_limits) != 2:
            raise UsageError(f"angle_limits={angle_limits!r}: write two angles, such as (-10, 10)")
        self._low, self._high = (_checked_angle(degrees, "angle_limits") for degrees in angle_limits)
        if self._low > self._high:
            raise UsageError(f"angle_limits={angle_limits!r}: the smaller one comes first")
        self._p = checked_probability(rotate_with_proba, "rotate_with_proba")

    def forward(self, x: Any) -> ndarray:
        image = self._checked(x)
        if self._p == 1 or happens(self._p):  # what always happens needs no branch, and is one program
            return self._turned(image, random.uniform(self._low, self._high, dtype="float64"))
        return image
