"""Recurrent layers over whole sequences: ``RNN``, ``LSTM``, ``GRU``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict, Unpack

from blockfuse.array import np
from blockfuse.array.functions.recurrent import RECURRENCES, Clipping, Weights, layered
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.nn.block import Block
from blockfuse.nn.initializers import Init
from blockfuse.nn.layers.counts import count_of
from blockfuse.nn.layers.inputs import array_for
from blockfuse.nn.parameter import Parameter
from blockfuse.nn.recurrent.cell import as_states, begin_states
from blockfuse.nn.recurrent.sequences import time_axis

# what torch calls the kinds of weights, before the layer
_TORCH_KINDS = {
    "i2h_weight": "weight_ih",
    "h2h_weight": "weight_hh",
    "i2h_bias": "bias_ih",
    "h2h_bias": "bias_hh",
    "h2r_weight": "weight_hr",
}
_SIDES = ("l", "r")  # of the first letter of a parameter: forwards, backwards


class Options(TypedDict, total=False):
    """What recurrent layers take by name only; see ``RecurrentLayer``."""

    i2h_weight_initializer: Init | None
    h2h_weight_initializer: Init | None
    i2h_bias_initializer: Init
    h2h_bias_initializer: Init
    input_size: int
    dtype: Any
    use_sequence_length: bool
    prefix: str | None
    params: Any
    projection_size: int | None
    h2r_weight_initializer: Init | None


class RecurrentLayer(Block):
    """What recurrent layers have in common; ``RNN`` describes it."""

    _mode: str  # of ``RECURRENCES``

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        layout: str = "TNC",
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        i2h_weight_initializer: Init | None = None,
        h2h_weight_initializer: Init | None = None,
        i2h_bias_initializer: Init = "zeros",
        h2h_bias_initializer: Init = "zeros",
        input_size: int = 0,
        dtype: Any = "float32",
        use_sequence_length: bool = False,
        prefix: str | None = None,
        params: Any = None,
        projection_size: int | None = None,
        h2r_weight_initializer: Init | None = None,
    ) -> None:
        super().__init__(prefix, params)
        kind = type(self).__name__
        hidden_size = count_of(kind, "hidden_size", hidden_size)
        num_layers = count_of(kind, "num_layers", num_layers)
        input_size = count_of(kind, "input_size", input_size, least=0)
        self._recurrence = RECURRENCES[self._mode]
        if projection_size is not None:
            projection_size = count_of(kind, "projection_size", projection_size)
            if not self._recurrence.cell:
                raise UsageError(f"{kind} has no projection_size: only LSTM projects its state")
        if not 0 <= dropout < 1:
            raise UsageError(
                f"{kind} takes a dropout from 0 up to, but not including, 1; found dropout={dropout}"
            )
        self._hidden_size, self._output_size = hidden_size, projection_size or hidden_size
        self._num_layers, self._dropout = num_layers, dropout
        self._layout, self._axis = layout, time_axis(layout)
        self._sides = _SIDES[: 1 + bool(bidirectional)]
        self._use_sequence_length = use_sequence_length
        self._clipping = Clipping()
        inits = {
            "i2h_weight": i2h_weight_initializer,
            "h2h_weight": h2h_weight_initializer,
            "i2h_bias": i2h_bias_initializer,
            "h2h_bias": h2h_bias_initializer,
            "h2r_weight": h2r_weight_initializer,
        }
        for layer in range(num_layers):
            features = self._output_size * len(self._sides) if layer else input_size
            for side in self._sides:
                self._add_weights(f"{side}{layer}_", features, projection_size, dtype, inits)

    def _add_weights(
        self, prefix: str, features: int, projection: int | None, dtype: Any, inits: dict[str, Init | None]
    ) -> None:
        shapes = self._recurrence.weight_shapes(features, self._hidden_size, projection)
        for name, shape in shapes.items():
            parameter = Parameter(
                prefix + name, shape=shape, dtype=dtype, init=inits[name], allow_deferred_init=True
            )
            setattr(self, prefix + name, parameter)

    def _torch_name(self, name: str) -> str:
        side_and_layer, kind = name.split("_", 1)
        back = "_reverse" if side_and_layer[0] == "r" else ""
        return f"{_TORCH_KINDS[kind]}_l{side_and_layer[1:]}{back}"

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """The hidden state, and behind it the cell state of an LSTM: (layers * directions, batch, size) each."""
        sizes = self._recurrence.state_sizes(self._hidden_size, self._output_size)
        count = self._num_layers * len(self._sides)
        return [{"shape": (count, batch_size, size), "__layout__": "LNC"} for size in sizes]

    def begin_state(
        self, batch_size: int = 0, func: Callable[..., Any] = np.zeros, **kwargs: Any
    ) -> list[Any]:
        """States to begin with, ``func(shape=..., **kwargs)`` of each: zeros."""
        return begin_states(self, batch_size, func, kwargs)

    @size_agnostic
    def infer_shape(self, x: Any, *_: Any, **__: Any) -> None:
        self._check_input(x)
        for side in self._sides:
            weight = self._reg_params[f"{side}0_i2h_weight"]
            weight.shape = (self._recurrence.gates * self._hidden_size, x.shape[2])

    @size_agnostic
    def forward(self, x: Any, states: Any = None, sequence_length: Any = None) -> Any:
        self._check_input(x)
        if self._use_sequence_length and sequence_length is None:
            raise UsageError(f"{self._label} was made with use_sequence_length: give it sequence_length")
        batch = x.shape[1 - self._axis]
        begun = self._zeros(batch) if states is None else self._taken_apart(as_states(states), batch)
        weights = [[self._weights(f"{side}{n}_") for side in self._sides] for n in range(self._num_layers)]
        output, last = layered(
            x, weights, begun, self._recurrence, self._axis, self._dropout, sequence_length, self._clipping
        )
        if states is None:
            return output
        return output, [np.stack(part) for part in zip(*last, strict=True)]

    def _weights(self, prefix: str) -> Weights:
        found = {
            name.removeprefix(prefix): parameter.data()
            for name, parameter in self._reg_params.items()
            if name.startswith(prefix)
        }
        return Weights(**found)

    @size_agnostic
    def _zeros(self, batch: int) -> list[tuple[Any, ...]]:
        dtype = str(self._reg_params["l0_h2h_weight"].dtype)
        zeros = tuple(np.zeros((batch, info["shape"][2]), dtype) for info in self.state_info())
        return [zeros] * (self._num_layers * len(self._sides))

    @size_agnostic
    def _taken_apart(self, states: list[Any], batch: int) -> list[tuple[Any, ...]]:
        """The states of each layer and direction."""
        wanted = [info["shape"] for info in self.state_info(batch)]
        found = [state.shape if isinstance(state, ndarray) else type(state).__name__ for state in states]
        if found != wanted:
            raise ShapeError(f"{self._label} expects states of shapes {wanted}; found {found}")
        return [tuple(state[n] for state in states) for n in range(wanted[0][0])]

    @size_agnostic
    def _check_input(self, x: Any) -> None:
        array_for(self, x)
        features = (self._reg_params["l0_i2h_weight"].shape or (-1, -1))[1]
        if x.ndim != 3 or not x.shape[self._axis]:
            raise ShapeError(
                f"{self._label} expects an input of three axes in the layout {self._layout}, of one time or more; found "
                f"shape {x.shape}"
            )
        if features not in (-1, x.shape[2]):
            raise ShapeError(
                f"{self._label} expects {features} features; found {x.shape[2]} in an input of shape {x.shape}"
            )

    def __repr__(self) -> str:
        features = (self._reg_params["l0_i2h_weight"].shape or (-1, -1))[1]
        settings = [f"{features} -> {self._output_size}", self._layout]
        settings += [f"num_layers={self._num_layers}"] if self._num_layers > 1 else []
        settings += [f"dropout={self._dropout}"] if self._dropout else []
        settings += ["bidirectional"] if len(self._sides) > 1 else []
        return f"{type(self).__name__}({', '.join(settings)})"


class RNN(RecurrentLayer):
    """Elman's recurrence over sequences: ``layer(x)`` gives all outputs, ``layer(x, states)`` those and the last states.

    Called as ``layer(x, states=None, sequence_length=None)``.
    x: (time, batch, features), or (batch, time, features) in the layout ``"NTC"``; outputs likewise, with the hidden size,
    of both directions side by side, for features.
    states: a list of one array for each kind of state, (layers * directions, batch, size), as ``begin_state(batch_size)``
    makes them; one alone need be in no list.
    sequence_length: how many times of each sequence count, (batch,): the outputs behind them are 0, and the last states are
    those of the last time that counts.

    hidden_size, num_layers: results of a layer, and layers one above the other. activation: 'relu' or 'tanh'.
    layout: ``"TNC"`` or ``"NTC"``.
    dropout: the share that is dropped between layers, in training.
    bidirectional: whether each layer goes through the sequence backwards, too.
    i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer: what draws the first values.
    input_size: the number of features; 0 learns it in the first call. dtype: of the parameters.
    use_sequence_length: whether calls must have a sequence_length.
    projection_size, h2r_weight_initializer: of an ``LSTM`` alone.

    Parameters are named ``l0_i2h_weight``, ``l0_h2h_weight``, ``l0_i2h_bias``, ``l0_h2h_bias`` by layer, and ``r0_...`` of
    the way back.

    Raises UsageError for sizes that are none, another layout or activation, and a projection; a call raises ShapeError for
    inputs and states of other shapes.

    >>> from blockfuse import gluon, np
    >>> net = gluon.rnn.RNN(4, activation="tanh", layout="NTC", bidirectional=True)
    >>> net.initialize()
    >>> net(np.ones((1, 5, 3))).shape
    (1, 5, 8)
    """

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        activation: str = "relu",
        layout: str = "TNC",
        dropout: float = 0.0,
        bidirectional: bool = False,
        **options: Unpack[Options],
    ) -> None:
        if activation not in ("relu", "tanh"):
            raise UsageError(f"RNN has the activations 'relu' and 'tanh', not {activation!r}")
        self._mode = f"rnn_{activation}"
        super().__init__(hidden_size, num_layers, layout, dropout, bidirectional, **options)


class LSTM(RecurrentLayer):
    """Long short-term memory over whole sequences, with gates in the order i, f, g, o (Hochreiter and Schmidhuber 1997).

    Its states are the hidden and the cell state. Calls, all other arguments, and errors: those of ``RNN``.

    projection_size: project the hidden state to that size (Sak et al. 2014), by parameters ``l0_h2r_weight``.
    h2r_weight_initializer: what draws these first.
    state_clip_min, state_clip_max: bounds of the cell state. state_clip_nan: NaN becomes one of them.

    >>> from blockfuse import gluon, np
    >>> layer = gluon.rnn.LSTM(5, num_layers=2, input_size=3)
    >>> layer.initialize()
    >>> output, (hidden, cell) = layer(np.zeros((7, 4, 3)), layer.begin_state(4))
    >>> output.shape, cell.shape
    ((7, 4, 5), (2, 4, 5))
    """

    _mode = "lstm"

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        layout: str = "TNC",
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        state_clip_min: float | None = None,
        state_clip_max: float | None = None,
        state_clip_nan: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(hidden_size, num_layers, layout, dropout, bidirectional, **options)
        self._clipping = Clipping(state_clip_min, state_clip_max, state_clip_nan)


class GRU(RecurrentLayer):
    """Gated recurrent units over whole sequences, gates in the order r, z, n (Cho et al. 2014).

    As in cuDNN, r multiplies ``U h + c`` of n. Calls, arguments and errors: those of ``RNN``.

    >>> from blockfuse import gluon, np
    >>> net = gluon.rnn.GRU(4, num_layers=2)
    >>> net.initialize()
    >>> net(np.ones((5, 1, 3))).shape
    (5, 1, 4)
    """

    _mode = "gru"
