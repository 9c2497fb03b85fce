"""What is done to an image before a net sees it: blocks over ``(height, width, channels)`` arrays.

Those that draw take their numbers from ``np.random``. Sizes are ``(width, height)``, as in Gluon; ``resampling.py`` says
what interpolation means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy

from blockfuse.array import np
from blockfuse.array.arguments import checked_dtype
from blockfuse.array.functions import random
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.nn.block import Block
from blockfuse.nn.data.vision.colours import (
    RandomBrightness,
    RandomColorJitter,
    RandomContrast,
    RandomGray,
    RandomHue,
    RandomLighting,
    RandomSaturation,
)
from blockfuse.nn.data.vision.draws import checked_probability, happens
from blockfuse.nn.data.vision.resampling import (
    checked_interpolation,
    checked_size,
    cropped,
    image_of,
    resized,
)
from blockfuse.nn.data.vision.rotation import RandomRotation, Rotate
from blockfuse.nn.layers.basic import Lambda
from blockfuse.nn.layers.containers import Sequential

__all__ = [
    "Cast",
    "CenterCrop",
    "Compose",
    "CropResize",
    "HybridCompose",
    "HybridRandomApply",
    "Normalize",
    "RandomApply",
    "RandomBrightness",
    "RandomColorJitter",
    "RandomContrast",
    "RandomCrop",
    "RandomFlipLeftRight",
    "RandomFlipTopBottom",
    "RandomGray",
    "RandomHue",
    "RandomLighting",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSaturation",
    "Resize",
    "Rotate",
    "ToTensor",
]


class Compose(Sequential):
    """Transforms one after the other, a list of blocks and functions. Raises UsageError for what is neither.

    >>> from blockfuse import gluon, np
    >>> transforms = gluon.data.vision.transforms
    >>> both = transforms.Compose([transforms.Resize(8), transforms.ToTensor(), lambda image: image * 2])
    >>> both(np.zeros((4, 4, 3), dtype="uint8")).shape
    (3, 8, 8)
    """

    def __init__(self, transforms: Iterable[Block | Callable[[Any], Any]]) -> None:
        super().__init__([step if isinstance(step, Block) else Lambda(step) for step in transforms])


class HybridCompose(Compose):
    """``Compose``, whose argument it takes; in Gluon only this one is compiled.

    >>> from blockfuse import gluon, np
    >>> transforms = gluon.data.vision.transforms
    >>> transforms.HybridCompose([transforms.Resize(8), transforms.ToTensor()])(np.zeros((4, 4, 3))).shape
    (3, 8, 8)
    """


class RandomApply(Block):
    """What ``transforms`` gives, with probability ``p``; otherwise the array as it came.

    transforms: a block, a function, or a list of such, which are applied all or none.

    Draws are ``np.random``'s. Raises UsageError for a ``p`` that is not from 0 to 1, and for what is no block or function.

    >>> from blockfuse import gluon, np
    >>> transforms = gluon.data.vision.transforms
    >>> transforms.RandomApply(transforms.Resize(8), p=1)(np.zeros((4, 4, 3))).shape
    (8, 8, 3)
    """

    def __init__(self, transforms: Any, p: float = 0.5) -> None:
        super().__init__()
        steps = transforms if isinstance(transforms, list | tuple) else [transforms]
        self.transforms = Compose(steps)
        self._p = checked_probability(p)

    def forward(self, x: Any) -> Any:
        return self.transforms(x) if happens(self._p) else x


class HybridRandomApply(RandomApply):
    """``RandomApply``, whose arguments it takes; in Gluon only this one is compiled.

    >>> from blockfuse import gluon, np
    >>> transforms = gluon.data.vision.transforms
    >>> transforms.HybridRandomApply(transforms.Resize(8), p=0)(np.zeros((4, 4, 3))).shape
    (4, 4, 3)
    """


class Cast(Block):
    """An array of any shape in another dtype. Raises DTypeError for one that arrays cannot have.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.Cast("float32")(np.zeros((2, 2, 3), dtype="uint8")).dtype
    dtype('float32')
    """

    def __init__(self, dtype: Any = "float32") -> None:
        super().__init__()
        self._dtype = checked_dtype(dtype)

    def forward(self, x: Any) -> ndarray:
        return np.asarray(x).astype(self._dtype)


class ToTensor(Block):
    """``(..., height, width, channels)`` from 0 to 255 as ``(..., channels, height, width)`` from 0 to 1, float32.

    Also floats are divided by 255: leave it out for images that lie between 0 and 1 already. A call raises ShapeError for
    fewer than three axes.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.ToTensor()(np.full((2, 2, 3), 255, dtype="uint8")).shape
    (3, 2, 2)
    """

    def forward(self, x: Any) -> ndarray:
        image = image_of(x, "ToTensor")
        return np.moveaxis(image, -1, -3).astype("float32") / 255


class Normalize(Block):
    """``(x - mean) / std`` of ``(..., channels, height, width)``, floats, whose dtype stays.

    mean, std: numbers, or one for each channel. Raises UsageError for a std of 0; a call raises UsageError for whole
    numbers, and ShapeError for another number of channels.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.Normalize(mean=0.5, std=0.25)(np.ones((1, 1, 2)))
    array([[[2., 2.]]])
    """

    def __init__(self, mean: Any = 0.0, std: Any = 1.0) -> None:
        super().__init__()
        self._mean, self._std = _by_channel(mean), _by_channel(std)
        if not self._std.all():
            raise UsageError(f"Normalize divides by std={std!r}: it must not be 0")

    def forward(self, x: Any) -> ndarray:
        image = np.asarray(x)
        if image.dtype.kind != "f":
            raise UsageError(f"Normalize expects floats, as ToTensor gives them; found {image.dtype}")
        channels = {1, image.shape[-3] if image.ndim > 2 else 0}
        if not {len(self._mean), len(self._std)} <= channels:
            raise ShapeError(
                f"Normalize of {max(len(self._mean), len(self._std))} channels expects (channels, height, width); "
                f"found {image.shape}"
            )
        return (image - self._mean.astype(image.dtype)) / self._std.astype(image.dtype)


def _by_channel(values: Any) -> numpy.ndarray:
    return numpy.asarray(values, numpy.float64).reshape(-1, 1, 1)


class Resize(Block):
    """The image ``(..., height, width, channels)`` in another size, in its dtype.

    size: an int for both sides, or ``(width, height)``.
    keep_ratio: an int is the length of the shorter side.
    interpolation: 0 nearest, 1 bilinear, which does not average over an image that shrinks (OpenCV's INTER_LINEAR).

    Raises UsageError for another interpolation; a call raises ShapeError for fewer than three axes.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.Resize((8, 6))(np.zeros((12, 8, 3), dtype="uint8")).shape
    (6, 8, 3)
    """

    def __init__(self, size: Any, keep_ratio: bool = False, interpolation: int = 1) -> None:
        super().__init__()
        self._size, self._keep_ratio = checked_size(size), keep_ratio and isinstance(size, int)
        self._interpolation = checked_interpolation(interpolation)

    def forward(self, x: Any) -> ndarray:
        image = image_of(x, "Resize")
        width, height = self._size
        if self._keep_ratio:
            rows, columns = image.shape[-3:-1]
            width, height = (
                max(width * columns // min(rows, columns), 1),
                max(height * rows // min(rows, columns), 1),
            )
        return resized(image, width, height, self._interpolation)


class CenterCrop(Block):
    """The middle of the image ``(..., height, width, channels)``, of a size; of a smaller image the largest part of that
    shape, resized.

    size, interpolation, and errors: those of ``Resize``.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.CenterCrop(2)(np.zeros((6, 4, 3))).shape
    (2, 2, 3)
    """

    def __init__(self, size: Any, interpolation: int = 1) -> None:
        super().__init__()
        self._size, self._interpolation = checked_size(size), checked_interpolation(interpolation)

    def forward(self, x: Any) -> ndarray:
        image = image_of(x, "CenterCrop")
        return resized(_middle(image, *self._size), *self._size, self._interpolation)


def _middle(image: ndarray, width: int, height: int) -> ndarray:
    """The largest part in the middle of the proportions of ``(width, height)``, and at most as large."""
    rows, columns = image.shape[-3:-1]
    shrink = min(1.0, columns / width, rows / height)
    width, height = max(int(width * shrink), 1), max(int(height * shrink), 1)
    return cropped(image, (columns - width) // 2, (rows - height) // 2, width, height)


class CropResize(Block):
    """The part of the image ``(..., height, width, channels)`` from column ``x`` and row ``y`` on, in its dtype.

    width, height: of the part.
    size, interpolation: those of ``Resize``, for the part; None leaves its size as it is, and interpolates bilinearly.

    Raises UsageError for a place below 0, a width or height below 1, and as ``Resize``; a call raises ShapeError for fewer
    than three axes and where the image ends before the part does.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.CropResize(1, 0, 4, 2, size=8)(np.zeros((6, 8, 3), dtype="uint8")).shape
    (8, 8, 3)
    """

    def __init__(
        self, x: int, y: int, width: int, height: int, size: Any = None, interpolation: int | None = None
    ) -> None:
        super().__init__()
        self._left, self._top = _checked_distance(x, "x"), _checked_distance(y, "y")
        self._width, self._height = checked_size((width, height))
        self._size = (self._width, self._height) if size is None else checked_size(size)
        self._interpolation = checked_interpolation(1 if interpolation is None else interpolation)

    def forward(self, x: Any) -> ndarray:
        image = image_of(x, "CropResize")
        rows, columns = image.shape[-3:-1]
        right, bottom = self._left + self._width, self._top + self._height
        if right > columns or bottom > rows:
            raise ShapeError(
                f"CropResize takes columns {self._left} to {right} and rows {self._top} to {bottom} of "
                f"(height, width, channels); found {image.shape}"
            )
        part = cropped(image, self._left, self._top, self._width, self._height)
        return resized(part, *self._size, self._interpolation)


def _checked_distance(pixels: Any, name: str) -> int:
    if not isinstance(pixels, int | numpy.integer) or pixels < 0:
        raise UsageError(f"{name}={pixels!r}: write a whole number of pixels, from 0 up")
    return int(pixels)


class RandomCrop(Block):
    """A part of the image ``(..., height, width, channels)`` at a place that is drawn, in its dtype.

    size: of the part, an int for both sides, or ``(width, height)``.
    pad: how many pixels are added on all four sides before, or four numbers: above, below, left, right.
    pad_value: their value; OverflowError where the image's integers cannot have it.
    interpolation: taken for Gluon's sake, as nothing is resized.

    Draws are ``np.random``'s, one place for a batch. Raises UsageError for a pad that is not one or four whole numbers from
    0 up, and for no size; a call raises ShapeError for fewer than three axes, and where the part is larger than the image
    with what is added.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.RandomCrop(32, pad=4)(np.zeros((32, 32, 3), dtype="uint8")).shape
    (32, 32, 3)
    """

    def __init__(self, size: Any, pad: Any = None, pad_value: float = 0, interpolation: int = 1) -> None:
        super().__init__()
        checked_interpolation(interpolation)
        self._size, self._pad, self._pad_value = checked_size(size), _checked_pad(pad), pad_value

    def forward(self, x: Any) -> ndarray:
        image = self._padded(image_of(x, "RandomCrop"))
        width, height = self._size
        rows, columns = image.shape[-3:-1]
        if width > columns or height > rows:
            raise ShapeError(
                f"RandomCrop takes {width} columns and {height} rows of (height, width, channels); found {image.shape}"
                f"{' with what pad adds' if any(self._pad) else ''}. Use Resize before it, or a larger pad"
            )
        # By index, not by slice, so that a compiled call has one program for all places.
        left, top = (random.randint(0, room + 1) for room in (columns - width, rows - height))
        return np.take(np.take(image, top + numpy.arange(height), -3), left + numpy.arange(width), -2)

    def _padded(self, image: ndarray) -> ndarray:
        if not any(self._pad):
            return image
        above, below, left, right = self._pad
        widths = (*((0, 0),) * (image.ndim - 3), (above, below), (left, right), (0, 0))
        return np.pad(image, widths, constant_values=self._pad_value)


def _checked_pad(pad: Any) -> tuple[int, ...]:
    """What is added above, below, left and right."""
    sides = (0,) * 4 if pad is None else tuple(pad) if isinstance(pad, tuple | list) else (pad,) * 4
    if len(sides) != 4:
        raise UsageError(f"pad={pad!r}: write one number of pixels, or four: above, below, left, right")
    return tuple(_checked_distance(side, "pad") for side in sides)


class RandomResizedCrop(Block):
    """A part of the image ``(..., height, width, channels)``, resized, in its dtype (Szegedy et al. 2015).

    size, interpolation: those of ``Resize``.
    scale: between which shares of the image's area that of the part is drawn.
    ratio: between which ratios of width to height; the logarithm is drawn evenly.

    After ten parts that do not fit it is the middle. Draws are ``np.random``'s. Raises UsageError for bounds that are not
    above 0, or the larger one first.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.RandomResizedCrop(4)(np.zeros((12, 8, 3), dtype="uint8")).shape
    (4, 4, 3)
    """

    def __init__(
        self,
        size: Any,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: int = 1,
    ) -> None:
        super().__init__()
        self._size, self._interpolation = checked_size(size), checked_interpolation(interpolation)
        self._scale, self._ratio = scale, ratio
        if not (0 < scale[0] <= scale[1] and 0 < ratio[0] <= ratio[1]):
            raise UsageError(
                f"scale={scale}, ratio={ratio}: each is two numbers above 0, the smaller one first"
            )

    def forward(self, x: Any) -> ndarray:
        image = image_of(x, "RandomResizedCrop")
        return resized(self._part(image), *self._size, self._interpolation)

    def _part(self, image: ndarray) -> ndarray:
        rows, columns = image.shape[-3:-1]
        for _ in range(10):
            area = _drawn(*self._scale) * rows * columns
            ratio = math.exp(_drawn(math.log(self._ratio[0]), math.log(self._ratio[1])))
            width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < width <= columns and 0 < height <= rows:
                left, top = (int(random.randint(0, room + 1)) for room in (columns - width, rows - height))
                return cropped(image, left, top, width, height)
        return _middle(image, *self._size)


def _drawn(low: float, high: float) -> float:
    return float(random.uniform(low, high, dtype="float64"))


class _RandomFlip(Block):
    """The image, mirrored along one axis with probability ``p``."""

    _axis: int

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self._p = checked_probability(p)

    def forward(self, x: Any) -> ndarray:
        image = image_of(x, type(self).__name__)
        return np.flip(image, self._axis) if happens(self._p) else image


class RandomFlipLeftRight(_RandomFlip):
    """The image ``(..., height, width, channels)``, with probability ``p`` its first column last, in its dtype.

    Draws are ``np.random``'s. Raises UsageError for a ``p`` that is not from 0 to 1.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.RandomFlipLeftRight(p=1)(np.arange(3).reshape(1, 3, 1)).flatten()
    array([2., 1., 0.])
    """

    _axis = -2


class RandomFlipTopBottom(_RandomFlip):
    """The image ``(..., height, width, channels)``, with probability ``p`` its first row last, in its dtype.

    Draws are ``np.random``'s. Raises UsageError for a ``p`` that is not from 0 to 1.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.RandomFlipTopBottom(p=1)(np.arange(3).reshape(3, 1, 1)).flatten()
    array([2., 1., 0.])
    """

    _axis = -3
