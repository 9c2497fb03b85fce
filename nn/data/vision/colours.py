"""Pictures ``(..., height, width, 3)``, or with one grey channel, in other light and other colours."""

from __future__ import annotations

import math
from typing import Any

import numpy

from blockfuse.array import np
from blockfuse.array.functions import random
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import DTypeError, ShapeError
from blockfuse.nn.block import Block
from blockfuse.nn.data.vision.draws import checked_amount, checked_probability, factor, happens
from blockfuse.nn.data.vision.resampling import image_of

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: how bright red, green and blue are
_TO_YIQ = numpy.array([_LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])  # FCC 1953: luma, two of hue
_FROM_YIQ = numpy.linalg.inv(_TO_YIQ)
# A turn by t in the plane of hue, as a matrix on colours: _KEPT + cos(t) * _ALONG + sin(t) * _ACROSS.
_KEPT = _FROM_YIQ @ numpy.diag([1.0, 0, 0]) @ _TO_YIQ
_ALONG = _FROM_YIQ @ numpy.diag([0, 1.0, 1]) @ _TO_YIQ
_ACROSS = _FROM_YIQ @ numpy.array([(0, 0, 0), (0, 0, 1.0), (0, -1, 0)]) @ _TO_YIQ
# Variances of ImageNet's colours from 0 to 255, and their directions in columns.
_EIGENVALUES = numpy.array([55.46, 4.794, 1.148])
_EIGENVECTORS = numpy.array(
    [(-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203)]
)


class _Colours(Block):
    """A picture whose colours are changed as numbers, and which then has its dtype again; bytes are rounded and clipped."""

    _channels: tuple[int, ...] = (1, 3)

    def forward(self, x: Any) -> ndarray:
        image = self._checked(x)
        changed = self._changed(image if image.dtype in ("float32", "float64") else image.astype("float32"))
        return (np.clip(np.rint(changed), 0, 255) if image.dtype == "uint8" else changed).astype(image.dtype)

    def _checked(self, x: Any) -> ndarray:
        name = type(self).__name__
        image = image_of(x, name)
        if image.shape[-1] not in self._channels:
            expected = " or ".join(f"(height, width, {n})" for n in self._channels)
            raise ShapeError(
                f"{name} expects {expected}; found {image.shape}. Use it before ToTensor, or np.moveaxis(image, -3, -1)"
            )
        if image.dtype != "uint8" and image.dtype.kind != "f":
            raise DTypeError(
                f"{name} expects bytes (uint8) or floats; found {image.dtype}. Use Cast before it"
            )
        return image

    def _changed(self, values: ndarray) -> ndarray:
        raise NotImplementedError


def _luma(values: ndarray) -> ndarray:
    """The brightness of each pixel, in one channel."""
    if values.shape[-1] == 1:
        return values
    return values @ numpy.array(_LUMA, values.dtype).reshape(3, 1)


def _blended(values: ndarray, other: ndarray, share: ndarray) -> ndarray:
    return (values * share + other * (1 - share)).astype(values.dtype)


class RandomBrightness(_Colours):
    """A picture ``(..., height, width, 3)``, or with 1 channel, times a factor, in its dtype: uint8 or floats.

    brightness: the factor is drawn evenly from ``max(0, 1 - brightness)`` to ``1 + brightness``, one for a batch.

    Bytes are rounded and clipped, floats are not. Draws are ``np.random``'s. Raises UsageError for a brightness below 0;
    a call raises ShapeError for other shapes, as ``(3, height, width)``, and DTypeError for other dtypes.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.RandomBrightness(0.5)(np.zeros((2, 2, 3), dtype="uint8")).sum()
    array(0, dtype=uint64)
    """

    def __init__(self, brightness: float) -> None:
        super().__init__()
        self._amount = checked_amount(brightness, "brightness")

    def _changed(self, values: ndarray) -> ndarray:
        return values * factor(self._amount).astype(values.dtype)


class RandomContrast(_Colours):
    """A picture ``(..., height, width, 3)``, or with 1 channel, nearer to its mean brightness or farther from it.

    contrast: the factor of the distance is drawn evenly from ``max(0, 1 - contrast)`` to ``1 + contrast``, one for a batch.

    Brightness is luma, 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601). Dtypes and errors: those of
    ``RandomBrightness``.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.RandomContrast(0.5)(np.full((1, 2, 1), 7, dtype="uint8")).flatten()
    array([7, 7], dtype=uint8)
    """

    def __init__(self, contrast: float) -> None:
        super().__init__()
        self._amount = checked_amount(contrast, "contrast")

    def _changed(self, values: ndarray) -> ndarray:
        mean = _luma(values).mean(axis=(-3, -2, -1), keepdims=True)
        return _blended(values, mean, factor(self._amount).astype(values.dtype))


class RandomSaturation(_Colours):
    """A picture ``(..., height, width, 3)`` whose pixels are nearer to grey or farther from it; grey ones stay.

    saturation: the factor of the distance is drawn evenly from ``max(0, 1 - saturation)`` to ``1 + saturation``, one for a
    batch.

    The grey of a pixel is its luma (ITU-R BT.601). Dtypes and errors: those of ``RandomBrightness``.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.RandomSaturation(0.5)(np.full((1, 1, 3), 7, dtype="uint8")).flatten()
    array([7, 7, 7], dtype=uint8)
    """

    def __init__(self, saturation: float) -> None:
        super().__init__()
        self._amount = checked_amount(saturation, "saturation")

    def _changed(self, values: ndarray) -> ndarray:
        return _blended(values, _luma(values), factor(self._amount).astype(values.dtype))


class RandomHue(_Colours):
    """A picture ``(..., height, width, 3)`` in other hues of the same luma; grey ones stay.

    hue: in turns. A factor is drawn evenly from ``max(0, 1 - hue)`` to ``1 + hue``, one for a batch, and colours are turned
    so far in the plane of I and Q of YIQ (FCC 1953); above 1 from red towards green.

    Dtypes and errors: those of ``RandomBrightness``.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.RandomHue(0.5)(np.full((1, 1, 3), 7, dtype="uint8")).flatten()
    array([7, 7, 7], dtype=uint8)
    """

    def __init__(self, hue: float) -> None:
        super().__init__()
        self._amount = checked_amount(hue, "hue")

    def _changed(self, values: ndarray) -> ndarray:
        turn = factor(self._amount).astype("float64") * (2 * math.pi)
        if values.shape[-1] == 1:
            return values
        matrix: ndarray = _KEPT + np.cos(turn) * _ALONG + np.sin(turn) * _ACROSS
        return values @ matrix.T.astype(values.dtype)


class RandomColorJitter(Block):
    """``RandomBrightness``, ``RandomContrast``, ``RandomSaturation`` and ``RandomHue`` in an order that is drawn.

    brightness, contrast, saturation, hue: their arguments; what is 0 is left out.

    Pictures, dtypes and errors are theirs. Bytes are rounded and clipped after each of them.

    >>> from blockfuse import gluon, np
    >>> jitter = gluon.data.vision.transforms.RandomColorJitter(brightness=0.5, hue=0.1)
    >>> jitter(np.zeros((4, 6, 3), dtype="uint8")).shape
    (4, 6, 3)
    """

    def __init__(
        self, brightness: float = 0, contrast: float = 0, saturation: float = 0, hue: float = 0
    ) -> None:
        super().__init__()
        every = (
            (RandomBrightness(brightness), brightness),
            (RandomContrast(contrast), contrast),
            (RandomSaturation(saturation), saturation),
            (RandomHue(hue), hue),
        )
        self._steps = [step for step, amount in every if amount]

    def forward(self, x: Any) -> ndarray:
        image = np.asarray(x)
        if len(self._steps) > 1:
            for place in random.permutation(len(self._steps)).tolist():
                image = self._steps[place](image)
            return image
        return self._steps[0](image) if self._steps else image


class RandomLighting(_Colours):
    """A picture ``(..., height, width, 3)``, from 0 to 255, with one colour added to all pixels: AlexNet's noise.

    alpha: the standard deviation of three normal draws, which are multiplied by the eigenvalues 55.46, 4.794 and 1.148 of
    ImageNet's colours and by their eigenvectors (Krizhevsky et al. 2012, section 4.1); one colour for a batch.

    Dtypes and errors: those of ``RandomBrightness``; a grey picture is a ShapeError.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.RandomLighting(0.1)(np.zeros((4, 6, 3), dtype="uint8")).shape
    (4, 6, 3)
    """

    _channels = (3,)

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self._alpha = checked_amount(alpha, "alpha")

    def _changed(self, values: ndarray) -> ndarray:
        drawn = random.normal(0, self._alpha, 3).astype(values.dtype)
        colour: ndarray = drawn @ (_EIGENVECTORS * _EIGENVALUES).T.astype(values.dtype)
        return values + colour


class RandomGray(_Colours):
    """A picture ``(..., height, width, 3)``, with probability ``p`` each pixel's luma in all three channels.

    Luma is 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601). Draws are ``np.random``'s. Raises UsageError for a ``p``
    that is not from 0 to 1; dtypes and errors of calls: those of ``RandomBrightness``.

    >>> from blockfuse import gluon, np
    >>> gluon.data.vision.transforms.RandomGray(p=1)(np.array([[[0, 100, 0]]], dtype="uint8")).flatten()
    array([59, 59, 59], dtype=uint8)
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self._p = checked_probability(p)

    def _changed(self, values: ndarray) -> ndarray:
        chosen: ndarray = np.where(happens(self._p), _luma(values), values)
        return chosen
