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
from blockfuse.nn.data.vision.resampling import (
    checked_interpolation,
    checked_size,
    cropped,
    image_of,
    resized,
)
from blockfuse.nn.layers.basic import Lambda
from blockfuse.nn.layers.containers import Sequential

__all__ = [
    "Cast",
    "CenterCrop",
    "Compose",
    "Normalize",
    "RandomFlipLeftRight",
    "RandomFlipTopBottom",
    "RandomResizedCrop",
    "Resize",
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
        if not 0 <= p <= 1:
            raise UsageError(f"p={p}: a probability lies between 0 and 1")
        self._p = p

    def forward(self, x: Any) -> ndarray:
        image = image_of(x, type(self).__name__)
        return np.flip(image, self._axis) if random.uniform() < self._p else image


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
