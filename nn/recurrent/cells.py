"""Cells with weights: Elman's, the LSTM, the LSTM with a projected state, and the GRU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from blockfuse.array.functions.recurrent import RECURRENCES, Recurrence, Weights, at_time
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir import interpreter
from blockfuse.ir.errors import ShapeError
from blockfuse.nn.deferred import complete
from blockfuse.nn.initializers import Init
from blockfuse.nn.layers.activations import activation_named
from blockfuse.nn.layers.counts import count_of
from blockfuse.nn.layers.inputs import array_for
from blockfuse.nn.parameter import Parameter
from blockfuse.nn.recurrent.cell import RecurrentCell, Step, as_states
from blockfuse.nn.recurrent.sequences import as_array


class WeightedCell(RecurrentCell):
    """What cells with weights have in common: ``i2h_weight``, ``h2h_weight``, ``i2h_bias``, ``h2h_bias``.

    An unrolled one takes the product with the inputs of all times at once.
    """

    i2h_weight: Parameter

    _torch_names: ClassVar[dict[str, str]] = {
        "i2h_weight": "weight_ih",
        "h2h_weight": "weight_hh",
        "i2h_bias": "bias_ih",
        "h2h_bias": "bias_hh",
    }

    def __init__(
        self,
        recurrence: Recurrence,
        hidden_size: int,
        input_size: int,
        initializers: tuple[Init | None, ...],
        dtype: Any,
        prefix: str | None,
        params: Any,
        projection_size: int | None = None,
        h2r_weight_initializer: Init | None = None,
    ) -> None:
        super().__init__(prefix, params)
        kind = type(self).__name__
        hidden_size = count_of(kind, "hidden_size", hidden_size)
        input_size = count_of(kind, "input_size", input_size, least=0)
        if projection_size is not None:
            projection_size = count_of(kind, "projection_size", projection_size)
        self._recurrence, self._hidden_size = recurrence, hidden_size
        self._output_size = projection_size or hidden_size
        shapes = recurrence.weight_shapes(input_size, hidden_size, projection_size)
        for (name, shape), init in zip(shapes.items(), (*initializers, h2r_weight_initializer), strict=False):
            setattr(
                self, name, Parameter(name, shape=shape, dtype=dtype, init=init, allow_deferred_init=True)
            )

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """The hidden state, and behind it the cell state of an LSTM: (batch, size) each."""
        sizes = self._recurrence.state_sizes(self._hidden_size, self._output_size)
        return [{"shape": (batch_size, size), "__layout__": "NC"} for size in sizes]

    def infer_shape(self, inputs: Any, states: Any = None) -> None:  # noqa: ARG002 - what forward takes
        self._check_input(inputs)
        self.i2h_weight.shape = (self._recurrence.gates * self._hidden_size, inputs.shape[-1])

    @size_agnostic
    def forward(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        self._check(inputs, states)
        return self._advanced(self._recurrence.project(inputs, self._weights()), states)

    def _advanced(self, projected: Any, states: Any) -> tuple[Any, list[Any]]:
        following = self._recurrence.advance(projected, tuple(as_states(states)), self._weights())
        return following[0], list(following)

    def _weights(self) -> Weights:
        return Weights(**{name: parameter.data() for name, parameter in self._reg_params.items()})

    @size_agnostic
    def _steps(self, sequence: Any, states: list[Any], axis: int) -> tuple[Any, Step]:
        if not self._is_plain(WeightedCell):
            return sequence, self
        first = at_time(sequence, axis, 0)
        interpreter.current().visit(self)  # as a call does
        complete(self, (first, states), {})
        self._check(first, states)
        return self._recurrence.project(as_array(sequence, axis), self._weights()), self._advanced

    @size_agnostic
    def _check_input(self, inputs: Any) -> None:
        if array_for(self, inputs).ndim != 2:
            raise ShapeError(
                f"{self._label} expects an input of shape (batch, features); found {inputs.shape}"
                + (": unroll() takes sequences" if inputs.ndim == 3 else "")
            )

    @size_agnostic
    def _check(self, inputs: Any, states: Any) -> None:
        self._check_input(inputs)
        wanted = self.i2h_weight.data().shape[1]
        if inputs.shape[1] != wanted:
            raise ShapeError(
                f"{self._label} expects {wanted} features; found {inputs.shape[1]} in an input of shape {inputs.shape}"
            )
        shapes = [info["shape"] for info in self.state_info(inputs.shape[0])]
        found = [state.shape for state in as_states(states)]
        if found != shapes:
            raise ShapeError(f"{self._label} expects states of shapes {shapes}; found {found}")

    def __repr__(self) -> str:
        features = (self.i2h_weight.shape or (-1, -1))[1]
        return f"{type(self).__name__}({features} -> {self._output_size})"


class RNNCell(WeightedCell):
    """``activation(W x + b + U h + c)`` of inputs x (batch, features) and the state h (batch, hidden_size) (Elman 1990).

    The next state is also the output.

    hidden_size: the number of results. activation: a name that ``nn.Activation`` takes.
    i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer: what draws W, U, b and c
    first; None takes that of ``initialize``.
    input_size: the number of features; 0 learns it in the first call.
    dtype: of the parameters, ``i2h_weight`` (hidden_size, features), ``h2h_weight``, ``i2h_bias``, ``h2h_bias``.

    Raises UsageError for sizes that are none and another activation; a call raises ShapeError for inputs and states of
    other shapes. See ``RecurrentCell`` for ``begin_state`` and ``unroll``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.RNNCell(3, input_size=2)
    >>> cell.initialize()
    >>> output, states = cell(np.ones((4, 2)), cell.begin_state(4))
    >>> output.shape
    (4, 3)
    """

    def __init__(
        self,
        hidden_size: int,
        activation: str = "tanh",
        i2h_weight_initializer: Init | None = None,
        h2h_weight_initializer: Init | None = None,
        i2h_bias_initializer: Init = "zeros",
        h2h_bias_initializer: Init = "zeros",
        input_size: int = 0,
        dtype: Any = "float32",
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        recurrence = replace(RECURRENCES["rnn_tanh"], activate=activation_named(activation))
        initializers = (
            i2h_weight_initializer,
            h2h_weight_initializer,
            i2h_bias_initializer,
            h2h_bias_initializer,
        )
        super().__init__(recurrence, hidden_size, input_size, initializers, dtype, prefix, params)


class _GatedCell(WeightedCell):
    """A cell whose gates have an activation of their own."""

    _mode: str  # of ``RECURRENCES``

    def __init__(
        self,
        hidden_size: int,
        i2h_weight_initializer: Init | None = None,
        h2h_weight_initializer: Init | None = None,
        i2h_bias_initializer: Init = "zeros",
        h2h_bias_initializer: Init = "zeros",
        input_size: int = 0,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        dtype: Any = "float32",
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        recurrence = replace(
            RECURRENCES[self._mode],
            activate=activation_named(activation),
            gate=activation_named(recurrent_activation),
        )
        initializers = (
            i2h_weight_initializer,
            h2h_weight_initializer,
            i2h_bias_initializer,
            h2h_bias_initializer,
        )
        super().__init__(recurrence, hidden_size, input_size, initializers, dtype, prefix, params)


class LSTMCell(_GatedCell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), with gates in the order i, f, g, o.

    Its states are the hidden and the cell state, (batch, hidden_size) each; the output is the hidden one. Weights have
    ``4 * hidden_size`` rows.

    activation: of what enters the cell state and of what leaves it. recurrent_activation: of the gates. All other
    arguments, and errors: those of ``RNNCell``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.LSTMCell(2, input_size=3)
    >>> cell.initialize()
    >>> output, states = cell(np.ones((1, 3)), cell.begin_state(batch_size=1))
    >>> output.shape, len(states)
    ((1, 2), 2)
    """

    _mode = "lstm"


class GRUCell(_GatedCell):
    """Gated recurrent unit (Cho et al. 2014), with gates in the order r, z, n, where r multiplies ``U h + c`` of n, as in
    cuDNN.

    Its state and output are (batch, hidden_size); weights have ``3 * hidden_size`` rows.

    activation: of n. recurrent_activation: of r and z. All other arguments, and errors: those of ``RNNCell``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.GRUCell(2, input_size=3)
    >>> cell.initialize()
    >>> output, states = cell(np.ones((1, 3)), cell.begin_state(batch_size=1))
    >>> output.shape, len(states)
    ((1, 2), 1)
    """

    _mode = "gru"


class LSTMPCell(WeightedCell):
    """An LSTM whose hidden state is projected to ``projection_size`` (Sak et al. 2014), by ``h2r_weight``.

    Its states are the hidden one (batch, projection_size), which is the output, and the cell state (batch, hidden_size).

    h2r_weight_initializer: what draws the projection first. All other arguments, and errors: those of ``RNNCell``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.LSTMPCell(4, projection_size=2, input_size=3)
    >>> cell.initialize()
    >>> output, states = cell(np.ones((1, 3)), cell.begin_state(batch_size=1))
    >>> output.shape, [state.shape for state in states]
    ((1, 2), [(1, 2), (1, 4)])
    """

    def __init__(
        self,
        hidden_size: int,
        projection_size: int,
        i2h_weight_initializer: Init | None = None,
        h2h_weight_initializer: Init | None = None,
        h2r_weight_initializer: Init | None = None,
        i2h_bias_initializer: Init = "zeros",
        h2h_bias_initializer: Init = "zeros",
        input_size: int = 0,
        dtype: Any = "float32",
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        initializers = (
            i2h_weight_initializer,
            h2h_weight_initializer,
            i2h_bias_initializer,
            h2h_bias_initializer,
        )
        super().__init__(
            RECURRENCES["lstm"],
            hidden_size,
            input_size,
            initializers,
            dtype,
            prefix,
            params,
            projection_size,
            h2r_weight_initializer,
        )
