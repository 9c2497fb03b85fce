"""Layers that slide a kernel along the axes of their input: convolutions and transposed ones."""

from __future__ import annotations

from typing import Any

from blockfuse.array import npx
from blockfuse.array.functions.windows import checked_layout, sizes_of
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.operators.windows import Sizes
from blockfuse.nn.block import Block
from blockfuse.nn.initializers import Init
from blockfuse.nn.layers.activations import activation_named
from blockfuse.nn.layers.counts import count_of
from blockfuse.nn.layers.inputs import array_for
from blockfuse.nn.parameter import Parameter

Extent = int | tuple[int, ...] | list[int]  # one number for all axes, or one for each


class Convolution(Block):
    """What convolutions have in common. The weight lies in the layout of the input, units in place of the batch."""

    _axes = 2
    _transposed = False

    def __init__(
        self,
        channels: int,
        kernel_size: Extent,
        strides: Extent = 1,
        padding: Extent = 0,
        dilation: Extent = 1,
        groups: int = 1,
        layout: str | None = None,
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Init | None = None,
        bias_initializer: Init = "zeros",
        in_channels: int = 0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix, params)
        kind = type(self).__name__
        channels, groups = count_of(kind, "channels", channels), count_of(kind, "groups", groups)
        in_channels = count_of(kind, "in_channels", in_channels, least=0)
        if channels % groups or in_channels % groups:
            raise UsageError(
                f"{kind} needs channels and in_channels that are multiples of groups; found "
                f"channels={channels}, in_channels={in_channels}, groups={groups}"
            )
        self._channels, self._groups = channels, groups
        self._layout = checked_layout(layout, self._axes)
        self._kernel = sizes_of(kernel_size, self._axes, "kernel_size", 1)
        self._strides = sizes_of(strides, self._axes, "strides", 1)
        self._padding = sizes_of(padding, self._axes, "padding", 0)
        self._dilation = sizes_of(dilation, self._axes, "dilation", 1)
        self._activation = activation
        self._activate = None if activation is None else activation_named(activation)
        self.weight = Parameter(
            "weight", shape=self._weight_shape(in_channels), init=weight_initializer, allow_deferred_init=True
        )
        self.bias = Parameter("bias", shape=(channels,), init=bias_initializer) if use_bias else None

    def _weight_shape(self, in_channels: int) -> Sizes:
        """From outside to inside: what the weight multiplies stands where the channels of the input do."""
        units, inner = self._channels, in_channels // self._groups
        if self._transposed:
            units, inner = in_channels, self._channels // self._groups
        return (units, *self._kernel, inner) if self._layout[-1] == "C" else (units, inner, *self._kernel)

    def _channels_before(self, shape: Sizes) -> int:
        """Those of the input that a weight of this shape takes."""
        return shape[0] if self._transposed else shape[self._layout.index("C")] * self._groups

    @size_agnostic
    def infer_shape(self, x: Any) -> None:
        channels = self._channels_of(x)
        if channels % self._groups or not channels:
            raise ShapeError(
                f"{self._label} expects a multiple of {self._groups} channels, as it has so many groups; found "
                f"{channels} in an input of shape {x.shape}"
            )
        self.weight.shape = self._weight_shape(channels)

    @size_agnostic
    def _channels_of(self, x: Any) -> int:
        shape = array_for(self, x).shape
        if len(shape) != self._axes + 2:
            raise ShapeError(
                f"{self._label} expects an input of {self._axes + 2} axes, {self._layout}; found one of shape {shape}"
                + ("; write x[None] for one item" if len(shape) == self._axes + 1 else "")
            )
        return shape[self._layout.index("C")]

    @size_agnostic
    def _check(self, x: Any) -> None:
        channels = self._channels_of(x)
        weight = self.weight.data()
        if weight.shape != self._weight_shape(channels):
            raise ShapeError(
                f"{self._label} expects {self._channels_before(weight.shape)} channels along axis "
                f"{self._layout.index('C')} ({self._layout}), as its "
                f"weight has shape {weight.shape}; found {channels} in an input of shape {x.shape}"
            )

    @size_agnostic
    def forward(self, x: Any) -> Any:
        self._check(x)
        y = npx.convolution(
            x,
            self.weight.data(),
            None if self.bias is None else self.bias.data(),
            stride=self._strides,
            dilate=self._dilation,
            pad=self._padding,
            num_group=self._groups,
            layout=self._layout,
        )
        return y if self._activate is None else self._activate(y)

    def __repr__(self) -> str:
        shape = self.weight.shape or self._weight_shape(0)
        inner = self._channels_before(shape)
        settings = {"kernel_size": self._kernel, "stride": self._strides, **self._unusual()}
        text = ", ".join(f"{name}={value}" for name, value in settings.items())
        end = f", Activation({self._activation})" if self._activation else ""
        return f"{type(self).__name__}({inner if inner > 0 else None} -> {self._channels}, {text}{end})"

    def _unusual(self) -> dict[str, Any]:
        """Settings that ``repr`` shows where they are not the default."""
        usual = {"padding": (0,) * self._axes, "dilation": (1,) * self._axes, "groups": 1, "bias": True}
        found = {
            "padding": self._padding,
            "dilation": self._dilation,
            "groups": self._groups,
            "bias": self.bias is not None,
        }
        return {name: value for name, value in found.items() if value != usual[name]}


class Conv1D(Convolution):
    """A convolution along one axis, of inputs (batch, channels, width): see ``Conv2D`` for arguments, sizes and errors.

    layout: 'NCW', which is also None, or 'NWC'.

    >>> from blockfuse import nn
    >>> nn.Conv1D(4, kernel_size=3, in_channels=2)
    Conv1D(2 -> 4, kernel_size=(3,), stride=(1,))
    """

    _axes = 1


class Conv2D(Convolution):
    """A convolution (cross-correlation) of inputs (batch, channels, height, width), plus a bias for each channel.

    channels: of the result.
    kernel_size, strides, padding, dilation: a number for both axes, or one for each; padding is zeros on both sides.
    groups: so many parts of the channels are convolved by themselves.
    layout: 'NCHW', which is also None, or 'NHWC'.
    activation: a name that ``Activation`` takes, or None. use_bias: whether there is a ``bias``, (channels,).
    weight_initializer, bias_initializer: what draws their first values; None takes that of ``initialize``.
    in_channels: the channels of the input; 0 learns them in the first call.

    An axis of n becomes ``(n + 2 * padding - dilation * (kernel_size - 1) - 1) // strides + 1``.
    weight: (channels, in_channels / groups, *kernel_size), or (channels, *kernel_size, in_channels / groups) for 'NHWC'.

    Raises UsageError for sizes that are none, another layout or activation, and channels that groups do not divide; a call
    raises ShapeError for another number of axes or channels, and where windows do not fit into the input.

    >>> from blockfuse import nn, np
    >>> net = nn.Conv2D(6, kernel_size=5, padding=2, activation="relu", in_channels=1)
    >>> net
    Conv2D(1 -> 6, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2), Activation(relu))
    >>> net.initialize()
    >>> net(np.ones((2, 1, 8, 8))).shape
    (2, 6, 8, 8)
    """


class Conv3D(Convolution):
    """A convolution along three axes, of inputs (batch, channels, depth, height, width): see ``Conv2D`` for all else.

    layout: 'NCDHW', which is also None, or 'NDHWC'.

    >>> from blockfuse import nn
    >>> nn.Conv3D(4, kernel_size=(1, 3, 3), in_channels=2)
    Conv3D(2 -> 4, kernel_size=(1, 3, 3), stride=(1, 1, 1))
    """

    _axes = 3


class TransposedConvolution(Convolution):
    """What transposed convolutions have in common."""

    _transposed = True

    def __init__(
        self,
        channels: int,
        kernel_size: Extent,
        strides: Extent = 1,
        padding: Extent = 0,
        output_padding: Extent = 0,
        dilation: Extent = 1,
        groups: int = 1,
        layout: str | None = None,
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Init | None = None,
        bias_initializer: Init = "zeros",
        in_channels: int = 0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(
            channels,
            kernel_size,
            strides,
            padding,
            dilation,
            groups,
            layout,
            activation,
            use_bias,
            weight_initializer,
            bias_initializer,
            in_channels,
            prefix,
            params,
        )
        self._output_padding = sizes_of(output_padding, self._axes, "output_padding", 0)
        if any(extra >= stride for extra, stride in zip(self._output_padding, self._strides, strict=True)):
            raise UsageError(
                f"{type(self).__name__} needs an output_padding below its strides of {self._strides}; found "
                f"{output_padding!r}"
            )

    @size_agnostic
    def forward(self, x: Any) -> Any:
        self._check(x)
        y = npx.deconvolution(
            x,
            self.weight.data(),
            None if self.bias is None else self.bias.data(),
            stride=self._strides,
            dilate=self._dilation,
            pad=self._padding,
            adj=self._output_padding,
            num_group=self._groups,
            no_bias=self.bias is None,
            layout=self._layout,
        )
        return y if self._activate is None else self._activate(y)

    def _unusual(self) -> dict[str, Any]:
        extra = {"output_padding": self._output_padding} if any(self._output_padding) else {}
        return {**super()._unusual(), **extra}


class Conv1DTranspose(TransposedConvolution):
    """A transposed convolution along one axis, of inputs (batch, channels, width): see ``Conv2DTranspose`` and ``Conv2D``.

    layout: 'NCW', which is also None, or 'NWC'.

    >>> from blockfuse import nn, np
    >>> net = nn.Conv1DTranspose(4, kernel_size=2, strides=2)
    >>> net.initialize()
    >>> net(np.ones((1, 3, 5))).shape
    (1, 4, 10)
    """

    _axes = 1


class Conv2DTranspose(TransposedConvolution):
    """What ``Conv2D`` does to gradients, as a layer: it makes images larger, ``strides`` times.

    output_padding: below strides; so many rows and columns more of the result. All other arguments, and errors, are those
    of ``Conv2D``, of inputs (batch, channels, height, width).

    An axis of n becomes ``(n - 1) * strides - 2 * padding + dilation * (kernel_size - 1) + 1 + output_padding``.
    weight: (in_channels, channels / groups, *kernel_size), or (in_channels, *kernel_size, channels / groups) for 'NHWC'.

    >>> from blockfuse import nn, np
    >>> net = nn.Conv2DTranspose(3, kernel_size=4, strides=2, padding=1, in_channels=8)
    >>> net
    Conv2DTranspose(8 -> 3, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1))
    >>> net.initialize()
    >>> net(np.ones((1, 8, 5, 5))).shape
    (1, 3, 10, 10)
    """


class Conv3DTranspose(TransposedConvolution):
    """A transposed convolution along three axes, of inputs (batch, channels, depth, height, width).

    layout: 'NCDHW', which is also None, or 'NDHWC'. See ``Conv2DTranspose`` and ``Conv2D`` for all else.

    >>> from blockfuse import nn, np
    >>> net = nn.Conv3DTranspose(4, kernel_size=2, strides=2)
    >>> net.initialize()
    >>> net(np.ones((1, 3, 2, 2, 2))).shape
    (1, 4, 4, 4, 4)
    """

    _axes = 3
