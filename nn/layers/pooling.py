"""Layers that take one number from each window: its maximum or its average."""

from __future__ import annotations

from typing import Any

from blockfuse.array import npx
from blockfuse.array.functions.windows import checked_layout, sizes_of
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.nn.block import Block
from blockfuse.nn.layers.convolution import Extent
from blockfuse.nn.layers.inputs import array_for


class Pooling(Block):
    """What poolings have in common; ``_axes`` and ``_type`` tell them apart."""

    _axes = 2
    _type = "max"
    _global = False
    _count_include_pad = True

    def __init__(
        self,
        pool_size: Extent = 2,
        strides: Extent | None = None,
        padding: Extent = 0,
        layout: str | None = None,
        ceil_mode: bool = False,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix, params)
        self._layout = checked_layout(layout, self._axes)
        self._kernel = sizes_of(pool_size, self._axes, "pool_size", 1)
        self._strides = sizes_of(self._kernel if strides is None else strides, self._axes, "strides", 1)
        self._padding = sizes_of(padding, self._axes, "padding", 0)
        self._ceil_mode = ceil_mode
        if any(p >= k for p, k in zip(self._padding, self._kernel, strict=True)):
            raise UsageError(
                f"{type(self).__name__} needs a padding below its pool_size of {self._kernel}; found {padding!r}"
            )

    @size_agnostic
    def forward(self, x: Any) -> Any:
        if array_for(self, x).ndim != self._axes + 2:
            raise ShapeError(
                f"{self._label} expects an input of {self._axes + 2} axes, {self._layout}; found one of shape {x.shape}"
            )
        return npx.pooling(
            x,
            self._kernel,
            self._strides,
            self._padding,
            self._type,
            "full" if self._ceil_mode else "valid",
            self._global,
            count_include_pad=self._count_include_pad,
            layout=self._layout,
        )

    def __repr__(self) -> str:
        settings = {
            "size": self._kernel,
            "stride": self._strides,
            "padding": self._padding,
            "ceil_mode": self._ceil_mode,
            "global_pool": self._global,
            "pool_type": self._type,
            "layout": self._layout,
        }
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in settings.items())})"


class AveragePooling(Pooling):
    """Those that take averages. count_include_pad: whether elements of the padding count, as zeros."""

    _type = "avg"

    def __init__(
        self,
        pool_size: Extent = 2,
        strides: Extent | None = None,
        padding: Extent = 0,
        layout: str | None = None,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(pool_size, strides, padding, layout, ceil_mode, prefix, params)
        self._count_include_pad = count_include_pad


class GlobalPooling(Pooling):
    """Those with one window, as large as the input, whose axes become 1."""

    _global = True

    def __init__(self, layout: str | None = None, prefix: str | None = None, params: Any = None) -> None:
        super().__init__(1, None, 0, layout, True, prefix, params)


class MaxPool1D(Pooling):
    """The maxima of windows along one axis, of inputs (batch, channels, width): see ``MaxPool2D`` for arguments and errors.

    layout: 'NCW', which is also None, or 'NWC'.

    >>> from blockfuse import nn, np
    >>> nn.MaxPool1D()(np.array([[[1, 3, 5, 9]]]))
    array([[[3., 9.]]])
    """

    _axes = 1


class MaxPool2D(Pooling):
    """The maximum of each window of each channel, of inputs (batch, channels, height, width), in their dtype.

    pool_size, strides, padding: a number for both axes, or one for each; strides are the pool_size unless given.
    ceil_mode: one more window where elements are left, but none that begins behind the input.
    layout: 'NCHW', which is also None, or 'NHWC'.

    An axis of n becomes ``(n + 2 * padding - pool_size) // strides + 1``, with ceil_mode rounded up.

    Raises UsageError for sizes that are none, a padding that is not below the pool_size and another layout; a call raises
    ShapeError for another number of axes, and where windows do not fit into the input.

    >>> from blockfuse import nn, np
    >>> nn.MaxPool2D(pool_size=3, strides=2)
    MaxPool2D(size=(3, 3), stride=(2, 2), padding=(0, 0), ceil_mode=False, global_pool=False, pool_type=max, layout=NCHW)
    >>> nn.MaxPool2D()(np.arange(16).reshape(1, 1, 4, 4))
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """


class MaxPool3D(Pooling):
    """The maxima of windows along three axes, of inputs (batch, channels, depth, height, width): see ``MaxPool2D`` for all
    else.

    layout: 'NCDHW', which is also None, or 'NDHWC'.

    >>> from blockfuse import nn, np
    >>> nn.MaxPool3D()(np.ones((1, 3, 4, 4, 4))).shape
    (1, 3, 2, 2, 2)
    """

    _axes = 3


class AvgPool1D(AveragePooling):
    """The averages of windows along one axis, of inputs (batch, channels, width): see ``AvgPool2D`` and ``MaxPool2D``.

    layout: 'NCW', which is also None, or 'NWC'.

    >>> from blockfuse import nn, np
    >>> nn.AvgPool1D()(np.array([[[1, 3, 5, 9]]]))
    array([[[2., 7.]]])
    """

    _axes = 1


class AvgPool2D(AveragePooling):
    """The average of each window of each channel, of inputs (batch, channels, height, width); whole numbers become floats.

    count_include_pad: whether zeros of the padding count. Other arguments, sizes and errors: those of ``MaxPool2D``.

    >>> from blockfuse import nn, np
    >>> nn.AvgPool2D()(np.arange(16).reshape(1, 1, 4, 4))
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """


class AvgPool3D(AveragePooling):
    """The averages of windows along three axes, of inputs (batch, channels, depth, height, width).

    layout: 'NCDHW', which is also None, or 'NDHWC'. See ``AvgPool2D`` and ``MaxPool2D`` for all else.

    >>> from blockfuse import nn, np
    >>> nn.AvgPool3D()(np.ones((1, 3, 4, 4, 4))).shape
    (1, 3, 2, 2, 2)
    """

    _axes = 3


class GlobalMaxPool1D(GlobalPooling):
    """The maximum of each channel of (batch, channels, width), as (batch, channels, 1), in its dtype.

    layout: 'NCW', which is also None, or 'NWC', which gives (batch, 1, channels).

    >>> from blockfuse import nn, np
    >>> nn.GlobalMaxPool1D()(np.array([[[1, 3, 5]]]))
    array([[[5.]]])
    """

    _axes = 1


class GlobalMaxPool2D(GlobalPooling):
    """The maximum of each channel of (batch, channels, height, width), as (batch, channels, 1, 1), in its dtype.

    layout: 'NCHW', which is also None, or 'NHWC', which gives (batch, 1, 1, channels).

    >>> from blockfuse import nn, np
    >>> nn.GlobalMaxPool2D()(np.ones((2, 3, 5, 5))).shape
    (2, 3, 1, 1)
    """


class GlobalMaxPool3D(GlobalPooling):
    """The maximum of each channel of (batch, channels, depth, height, width), as (batch, channels, 1, 1, 1), in its dtype.

    layout: 'NCDHW', which is also None, or 'NDHWC', which gives (batch, 1, 1, 1, channels).

    >>> from blockfuse import nn, np
    >>> nn.GlobalMaxPool3D()(np.ones((2, 3, 5, 5, 5))).shape
    (2, 3, 1, 1, 1)
    """

    _axes = 3


class GlobalAvgPool1D(GlobalPooling):
    """The average of each channel of (batch, channels, width), as (batch, channels, 1).

    layout: 'NCW', which is also None, or 'NWC', which gives (batch, 1, channels).

    >>> from blockfuse import nn, np
    >>> nn.GlobalAvgPool1D()(np.array([[[1, 3, 5]]]))
    array([[[3.]]])
    """

    _axes = 1
    _type = "avg"


class GlobalAvgPool2D(GlobalPooling):
    """The average of each channel of (batch, channels, height, width), as (batch, channels, 1, 1).

    layout: 'NCHW', which is also None, or 'NHWC', which gives (batch, 1, 1, channels).

    >>> from blockfuse import nn, np
    >>> nn.GlobalAvgPool2D()(np.ones((2, 3, 5, 5))).shape
    (2, 3, 1, 1)
    """

    _type = "avg"


class GlobalAvgPool3D(GlobalPooling):
    """The average of each channel of (batch, channels, depth, height, width), as (batch, channels, 1, 1, 1).

    layout: 'NCDHW', which is also None, or 'NDHWC', which gives (batch, 1, 1, 1, channels).

    >>> from blockfuse import nn, np
    >>> nn.GlobalAvgPool3D()(np.ones((2, 3, 5, 5, 5))).shape
    (2, 3, 1, 1, 1)
    """

    _axes = 3
    _type = "avg"
