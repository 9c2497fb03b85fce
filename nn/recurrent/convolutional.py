"""Cells whose products are convolutions: their inputs and states are images, or lines, or volumes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from blockfuse.array import np, npx
from blockfuse.array.functions.recurrent import RECURRENCES
from blockfuse.array.functions.windows import checked_layout, sizes_of
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir import interpreter
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.operators.windows import Sizes, window_counts
from blockfuse.nn.initializers import Init
from blockfuse.nn.layers.activations import activation_named
from blockfuse.nn.layers.convolution import Extent
from blockfuse.nn.layers.counts import count_of
from blockfuse.nn.layers.inputs import array_for
from blockfuse.nn.parameter import Parameter
from blockfuse.nn.recurrent.cell import RecurrentCell, Step, as_states
from blockfuse.nn.recurrent.sequences import as_array


class ConvolutionalCell(RecurrentCell):
    """What convolutional cells have in common; ``Conv2DRNNCell`` describes it."""

    i2h_weight: Parameter
    h2h_weight: Parameter
    _axes: int
    _mode: str  # of ``RECURRENCES``

    def __init__(
        self,
        input_shape: tuple[int, ...],
        hidden_channels: int,
        i2h_kernel: Extent,
        h2h_kernel: Extent,
        i2h_pad: Extent = 0,
        i2h_dilate: Extent = 1,
        h2h_dilate: Extent = 1,
        i2h_weight_initializer: Init | None = None,
        h2h_weight_initializer: Init | None = None,
        i2h_bias_initializer: Init = "zeros",
        h2h_bias_initializer: Init = "zeros",
        conv_layout: str | None = None,
        activation: str = "tanh",
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix, params)
        kind, n = type(self).__name__, self._axes
        self._recurrence = replace(RECURRENCES[self._mode], activate=activation_named(activation))
        self._layout = checked_layout(conv_layout, n)
        self._channel_axis = self._layout.index("C")
        self._input_shape = sizes_of(input_shape, n + 1, "input_shape", 1)
        self._hidden = count_of(kind, "hidden_channels", hidden_channels)
        self._i2h_kernel = sizes_of(i2h_kernel, n, "i2h_kernel", 1)
        self._h2h_kernel = sizes_of(h2h_kernel, n, "h2h_kernel", 1)
        if not all(k % 2 for k in self._h2h_kernel):
            raise UsageError(f"{kind} takes an h2h_kernel of odd numbers; found h2h_kernel={h2h_kernel!r}")
        self._i2h_pad = sizes_of(i2h_pad, n, "i2h_pad", 0)
        self._i2h_dilate = sizes_of(i2h_dilate, n, "i2h_dilate", 1)
        self._h2h_dilate = sizes_of(h2h_dilate, n, "h2h_dilate", 1)
        self._h2h_pad = tuple(
            (k - 1) * d // 2 for k, d in zip(self._h2h_kernel, self._h2h_dilate, strict=True)
        )
        self._state_shape = self._shaped(self._hidden, self._state_sizes())
        self._add_weight(
            "i2h_weight", self._input_shape[self._channel_axis - 1], self._i2h_kernel, i2h_weight_initializer
        )
        self._add_weight("h2h_weight", self._hidden, self._h2h_kernel, h2h_weight_initializer)
        rows = (self._recurrence.gates * self._hidden,)
        self.i2h_bias = Parameter("i2h_bias", shape=rows, init=i2h_bias_initializer)
        self.h2h_bias = Parameter("h2h_bias", shape=rows, init=h2h_bias_initializer)

    def _add_weight(self, name: str, channels: int, kernel: Sizes, init: Init | None) -> None:
        shape = (self._recurrence.gates * self._hidden, *self._shaped(channels, kernel))
        setattr(self, name, Parameter(name, shape=shape, init=init))

    def _shaped(self, channels: int, sizes: Sizes) -> Sizes:
        """Channels among other sizes, as the layout has them."""
        return (*sizes, channels) if self._layout[-1] == "C" else (channels, *sizes)

    def _state_sizes(self) -> Sizes:
        """Of the axes that windows slide along."""
        channels = self._channel_axis - 1
        sizes = tuple(size for axis, size in enumerate(self._input_shape) if axis != channels)
        padding = tuple((p, p) for p in self._i2h_pad)
        return window_counts(sizes, self._i2h_kernel, (1,) * self._axes, self._i2h_dilate, padding)

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """The hidden state, and behind it the cell state of an LSTM, of the same shape."""
        info = {"shape": (batch_size, *self._state_shape), "__layout__": self._layout}
        return [dict(info) for _ in range(1 + self._recurrence.cell)]

    @size_agnostic
    def forward(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        self._check(inputs, states)
        return self._advanced(self._projected(inputs), states)

    def _projected(self, inputs: Any) -> Any:
        """What inputs add to the gates."""
        bias = self.i2h_bias.data()
        if self._recurrence.joins_biases:
            bias = bias + self.h2h_bias.data()
        return npx.convolution(
            inputs,
            self.i2h_weight.data(),
            bias,
            pad=self._i2h_pad,
            dilate=self._i2h_dilate,
            layout=self._layout,
        )

    def _advanced(self, projected: Any, states: Any) -> tuple[Any, list[Any]]:
        given = tuple(as_states(states))
        bias = None if self._recurrence.joins_biases else self.h2h_bias.data()
        recurrent = npx.convolution(
            given[0],
            self.h2h_weight.data(),
            bias,
            pad=self._h2h_pad,
            dilate=self._h2h_dilate,
            layout=self._layout,
        )
        following = self._recurrence.stepped(projected, recurrent, given, self._channel_axis)
        return following[0], list(following)

    @size_agnostic
    def _steps(self, sequence: Any, states: list[Any], axis: int) -> tuple[Any, Step]:
        if not self._is_plain(ConvolutionalCell):
            return sequence, self
        interpreter.current().visit(self)  # as a call does
        whole = as_array(sequence, axis)
        self._check(whole[(slice(None),) * axis + (0,)], states)
        items = np.reshape(whole, (-1, *whole.shape[2:]))
        projected = self._projected(items)
        return np.reshape(projected, (*whole.shape[:2], *projected.shape[1:])), self._advanced

    @size_agnostic
    def _check(self, inputs: Any, states: Any) -> None:
        array_for(self, inputs)
        if inputs.shape[1:] != self._input_shape or not inputs.ndim:
            wanted = ", ".join(map(str, self._input_shape))
            raise ShapeError(
                f"{self._label} expects an input of shape (batch, {wanted}); found {inputs.shape}"
            )
        shapes = [info["shape"] for info in self.state_info(inputs.shape[0])]
        found = [state.shape for state in as_states(states)]
        if found != shapes:
            raise ShapeError(f"{self._label} expects states of shapes {shapes}; found {found}")

    def __repr__(self) -> str:
        shapes = f"{self._input_shape} -> {self._state_shape}"
        return (
            f"{type(self).__name__}({shapes}, i2h_kernel={self._i2h_kernel}, h2h_kernel={self._h2h_kernel})"
        )


class Conv1DRNNCell(ConvolutionalCell):
    """``RNNCell`` with convolutions along one axis, of inputs (batch, channels, width).

    Arguments, shapes of states and errors: see ``Conv2DRNNCell``. Gates and their order: those of ``RNNCell``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.Conv1DRNNCell((3, 8), hidden_channels=2, i2h_kernel=3, h2h_kernel=3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(np.ones((1, 3, 8)), cell.begin_state(batch_size=1))[0].shape
    (1, 2, 8)
    """

    _axes, _mode = 1, "rnn_tanh"


class Conv2DRNNCell(ConvolutionalCell):
    """``RNNCell`` with convolutions of images (batch, channels, height, width) (Shi et al. 2015, section 3.1, without
    peepholes).

    Called as ``output, states = cell(inputs, states)``; all have the same shape but for their channels.

    input_shape: of one item, without the batch, in the order of conv_layout.
    hidden_channels: those of the output and of each state, whose other sizes are those of the input convolved with
    i2h_kernel.
    i2h_kernel, i2h_pad, i2h_dilate: of the convolution of the input, a number for all axes, or one for each.
    h2h_kernel, h2h_dilate: of the convolution of the state, which keeps its sizes: the kernel has odd numbers.
    i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer: what draws the first values.
    conv_layout: 'NCHW', which is also None, or 'NHWC'; of other cells with so many axes.
    activation: a name that ``nn.Activation`` takes.

    Parameters: ``i2h_weight`` (gates * hidden_channels, channels, *i2h_kernel), ``h2h_weight`` (gates * hidden_channels,
    hidden_channels, *h2h_kernel), or in the other layout, ``i2h_bias`` and ``h2h_bias``. An unrolled cell convolves the
    inputs of all times at once.

    Raises UsageError for an h2h_kernel with even numbers, sizes that are none, another layout or activation; a call raises
    ShapeError for inputs and states of other shapes.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.Conv2DRNNCell((3, 8, 8), hidden_channels=4, i2h_kernel=3, h2h_kernel=3, i2h_pad=1)
    >>> cell
    Conv2DRNNCell((3, 8, 8) -> (4, 8, 8), i2h_kernel=(3, 3), h2h_kernel=(3, 3))
    >>> cell.initialize()
    >>> output, states = cell(np.ones((2, 3, 8, 8)), cell.begin_state(2))
    >>> output.shape
    (2, 4, 8, 8)
    """

    _axes, _mode = 2, "rnn_tanh"


class Conv3DRNNCell(ConvolutionalCell):
    """``RNNCell`` with convolutions of volumes, of inputs (batch, channels, depth, height, width).

    Arguments, shapes of states and errors: see ``Conv2DRNNCell``. Gates and their order: those of ``RNNCell``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.Conv3DRNNCell((3, 4, 4, 4), hidden_channels=2, i2h_kernel=3, h2h_kernel=3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(np.ones((1, 3, 4, 4, 4)), cell.begin_state(batch_size=1))[0].shape
    (1, 2, 4, 4, 4)
    """

    _axes, _mode = 3, "rnn_tanh"


class Conv1DLSTMCell(ConvolutionalCell):
    """``LSTMCell`` with convolutions along one axis, of inputs (batch, channels, width).

    Arguments, shapes of states and errors: see ``Conv2DRNNCell``. Gates and their order: those of ``LSTMCell``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.Conv1DLSTMCell((3, 8), hidden_channels=2, i2h_kernel=3, h2h_kernel=3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(np.ones((1, 3, 8)), cell.begin_state(batch_size=1))[0].shape
    (1, 2, 8)
    """

    _axes, _mode = 1, "lstm"


class Conv2DLSTMCell(ConvolutionalCell):
    """``LSTMCell`` with convolutions of images, of inputs (batch, channels, height, width).

    Arguments, shapes of states and errors: see ``Conv2DRNNCell``. Gates and their order: those of ``LSTMCell``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.Conv2DLSTMCell((3, 8, 8), hidden_channels=2, i2h_kernel=3, h2h_kernel=3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(np.ones((1, 3, 8, 8)), cell.begin_state(batch_size=1))[0].shape
    (1, 2, 8, 8)
    """

    _axes, _mode = 2, "lstm"


class Conv3DLSTMCell(ConvolutionalCell):
    """``LSTMCell`` with convolutions of volumes, of inputs (batch, channels, depth, height, width).

    Arguments, shapes of states and errors: see ``Conv2DRNNCell``. Gates and their order: those of ``LSTMCell``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.Conv3DLSTMCell((3, 4, 4, 4), hidden_channels=2, i2h_kernel=3, h2h_kernel=3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(np.ones((1, 3, 4, 4, 4)), cell.begin_state(batch_size=1))[0].shape
    (1, 2, 4, 4, 4)
    """

    _axes, _mode = 3, "lstm"


class Conv1DGRUCell(ConvolutionalCell):
    """``GRUCell`` with convolutions along one axis, of inputs (batch, channels, width).

    Arguments, shapes of states and errors: see ``Conv2DRNNCell``. Gates and their order: those of ``GRUCell``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.Conv1DGRUCell((3, 8), hidden_channels=2, i2h_kernel=3, h2h_kernel=3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(np.ones((1, 3, 8)), cell.begin_state(batch_size=1))[0].shape
    (1, 2, 8)
    """

    _axes, _mode = 1, "gru"


class Conv2DGRUCell(ConvolutionalCell):
    """``GRUCell`` with convolutions of images, of inputs (batch, channels, height, width).

    Arguments, shapes of states and errors: see ``Conv2DRNNCell``. Gates and their order: those of ``GRUCell``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.Conv2DGRUCell((3, 8, 8), hidden_channels=2, i2h_kernel=3, h2h_kernel=3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(np.ones((1, 3, 8, 8)), cell.begin_state(batch_size=1))[0].shape
    (1, 2, 8, 8)
    """

    _axes, _mode = 2, "gru"


class Conv3DGRUCell(ConvolutionalCell):
    """``GRUCell`` with convolutions of volumes, of inputs (batch, channels, depth, height, width).

    Arguments, shapes of states and errors: see ``Conv2DRNNCell``. Gates and their order: those of ``GRUCell``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.Conv3DGRUCell((3, 4, 4, 4), hidden_channels=2, i2h_kernel=3, h2h_kernel=3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(np.ones((1, 3, 4, 4, 4)), cell.begin_state(batch_size=1))[0].shape
    (1, 2, 4, 4, 4)
    """

    _axes, _mode = 3, "gru"
