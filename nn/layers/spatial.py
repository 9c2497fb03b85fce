"""Layers that place the elements of images differently: mirrored borders, larger images, channels shuffled into pixels."""

from __future__ import annotations

from math import prod
from typing import Any

from blockfuse.array import np, npx
from blockfuse.array.functions.windows import sizes_of
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.nn.block import Block
from blockfuse.nn.initializers import Init
from blockfuse.nn.layers.convolution import Extent
from blockfuse.nn.layers.counts import count_of
from blockfuse.nn.layers.inputs import array_for
from blockfuse.nn.parameter import Parameter


class ReflectionPad2D(Block):
    """Inputs (batch, channels, height, width) with a border that mirrors them, their outermost elements left out.

    padding: the width of the border, 0 or more; or 8 numbers, two for each axis, as Gluon 1 has it; otherwise UsageError.

    A call raises ShapeError for another number of axes.

    >>> from blockfuse import nn, np
    >>> nn.ReflectionPad2D(1)(np.array([[[[1, 2], [3, 4]]]]))
    array([[[[4., 3., 4., 3.],
             [2., 1., 2., 1.],
             [4., 3., 4., 3.],
             [2., 1., 2., 1.]]]])
    """

    def __init__(
        self, padding: int | tuple[int, ...] = 0, prefix: str | None = None, params: Any = None
    ) -> None:
        super().__init__(prefix, params)
        widths = (0, 0, 0, 0, *(padding,) * 4) if isinstance(padding, int) else tuple(padding)
        if len(widths) != 8 or min(widths) < 0 or any(widths[:4]):
            raise UsageError(
                "ReflectionPad2D needs a padding from 0 on, or 8 numbers of which the first four are 0; found "
                f"{padding!r}"
            )
        self._widths = tuple(zip(widths[::2], widths[1::2], strict=True))

    @size_agnostic
    def forward(self, x: Any) -> Any:
        if array_for(self, x).ndim != 4:
            raise ShapeError(f"{self._label} expects an input of 4 axes, NCHW; found one of shape {x.shape}")
        return np.pad(x, self._widths, mode="reflect") if any(map(any, self._widths)) else x

    def __repr__(self) -> str:
        return f"{type(self).__name__}(padding={self._widths[2:]})"


class UpSampling(Block):
    """Images (batch, channels, height, width) with each axis ``scale`` times as long, as ``npx.upsampling`` makes them.

    sample_type: 'nearest' repeats elements; 'bilinear' has a ``weight`` (channels, 1, k, k), which begins as interpolation
    and learns.
    weight_initializer: what draws it first.
    in_channels: the channels of the input, for 'bilinear'; 0 learns them in the first call.

    Raises UsageError for another type and a scale that is no int from 1 on; a call raises ShapeError for another number of
    axes.

    >>> from blockfuse import nn, np
    >>> nn.UpSampling(2)
    UpSampling(scale=2, sample_type=nearest)
    >>> nn.UpSampling(2)(np.array([[[[1, 2]]]]))
    array([[[[1., 1., 2., 2.],
             [1., 1., 2., 2.]]]])
    """

    def __init__(
        self,
        scale: int,
        sample_type: str = "nearest",
        weight_initializer: Init = "bilinear",
        in_channels: int = 0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix, params)
        self._scale = count_of("UpSampling", "scale", scale)
        if sample_type not in ("nearest", "bilinear"):
            raise UsageError(f"UpSampling samples 'nearest' or 'bilinear', not {sample_type!r}")
        self._sample_type = sample_type
        shape = self._weight_shape(count_of("UpSampling", "in_channels", in_channels, least=0))
        self.weight = (
            Parameter("weight", shape=shape, init=weight_initializer, allow_deferred_init=True)
            if sample_type == "bilinear"
            else None
        )

    def _weight_shape(self, channels: int) -> tuple[int, ...]:
        k = 2 * self._scale - self._scale % 2
        return (channels, 1, k, k)

    @size_agnostic
    def infer_shape(self, x: Any) -> None:
        self._check(x)
        if self.weight is not None:
            self.weight.shape = self._weight_shape(x.shape[1])

    @size_agnostic
    def _check(self, x: Any) -> None:
        if array_for(self, x).ndim != 4:
            raise ShapeError(f"{self._label} expects an input of 4 axes, NCHW; found one of shape {x.shape}")
        channels = -1 if self.weight is None else (self.weight.shape or (-1,))[0]
        if channels > 0 and x.shape[1] != channels:
            raise ShapeError(
                f"{self._label} expects {channels} channels along axis 1; found {x.shape[1]} in an input of shape {x.shape}"
            )

    @size_agnostic
    def forward(self, x: Any) -> Any:
        self._check(x)
        weights = [] if self.weight is None else [self.weight.data()]
        return npx.upsampling(x, *weights, scale=self._scale, sample_type=self._sample_type)

    def __repr__(self) -> str:
        return f"UpSampling(scale={self._scale}, sample_type={self._sample_type})"


class PixelShuffle(Block):
    """What shuffles have in common: ``prod(factor)`` channels become one that is larger along each axis."""

    _axes = 2

    def __init__(self, factor: Extent, prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix, params)
        self._factors = sizes_of(factor, self._axes, "factor", 1)

    @size_agnostic
    def forward(self, x: Any) -> Any:
        n, each = self._axes, prod(self._factors)
        if array_for(self, x).ndim != n + 2 or x.shape[1] % each:
            raise ShapeError(
                f"{self._label} expects an input of {n + 2} axes, a multiple of {each} channels along axis 1; found one of "
                f"shape {x.shape}"
            )
        batch, channels, *sizes = x.shape
        apart = np.reshape(x, (batch, channels // each, *self._factors, *sizes))
        pairs = [axis for place in range(n) for axis in (2 + n + place, 2 + place)]
        beside = np.transpose(apart, (0, 1, *pairs))
        large = (size * factor for size, factor in zip(sizes, self._factors, strict=True))
        return np.reshape(beside, (batch, channels // each, *large))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._factors})"


class PixelShuffle1D(PixelShuffle):
    """(batch, channels * f, width) as (batch, channels, width * f), in its dtype (Shi et al. 2016).

    factor: f, an int from 1 on, otherwise UsageError. A call raises ShapeError for channels that it does not divide.

    >>> from blockfuse import nn, np
    >>> nn.PixelShuffle1D(2)(np.array([[[1, 2], [3, 4]]]))
    array([[[1., 3., 2., 4.]]])
    """

    _axes = 1


class PixelShuffle2D(PixelShuffle):
    """(batch, channels * f * g, height, width) as (batch, channels, height * f, width * g), in its dtype (Shi et al. 2016).

    factor: a number for both axes, or one for each. Errors: as of ``PixelShuffle1D``.

    >>> from blockfuse import nn, np
    >>> nn.PixelShuffle2D(2)(np.arange(4).reshape(1, 4, 1, 1))
    array([[[[0., 1.],
             [2., 3.]]]])
    """


class PixelShuffle3D(PixelShuffle):
    """(batch, channels * f * g * h, depth, height, width) as (batch, channels, depth * f, height * g, width * h).

    factor: a number for all axes, or one for each. Errors: as of ``PixelShuffle1D``.

    >>> from blockfuse import nn, np
    >>> nn.PixelShuffle3D(2)(np.ones((1, 8, 3, 3, 3))).shape
    (1, 1, 6, 6, 6)
    """

    _axes = 3
