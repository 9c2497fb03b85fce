"""Recurrences over time: the step of each kind, a walk over a sequence, layers of walks, and ``npx.rnn``.

The gates of all times take one product of the whole sequence; a step adds one product of the state before it. A step is the
same operators at every time, so that all of them can be one loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from blockfuse.array.arguments import ArrayLike
from blockfuse.array.functions.creation import asarray, zeros
from blockfuse.array.functions.elementwise import clip, fmax, fmin
from blockfuse.array.functions.joining import concatenate, split, stack
from blockfuse.array.functions.layers import dropout, fully_connected
from blockfuse.array.functions.picking import times_within, where_kept
from blockfuse.array.functions.shaping import reshape
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.operators import neural, pointwise

States = tuple[Any, ...]  # the hidden state first; that of an LSTM has its cell behind it
Activate = Callable[[Any], Any]


@dataclass(frozen=True)
class Weights:
    """The arrays of one layer in one direction."""

    i2h_weight: Any  # (gates * hidden, features)
    h2h_weight: Any  # (gates * hidden, size of the hidden state)
    i2h_bias: Any  # (gates * hidden,)
    h2h_bias: Any
    h2r_weight: Any = None  # (projection, hidden): the hidden state of an LSTM is projected


@dataclass(frozen=True)
class Recurrence:
    """One kind of recurrence."""

    gates: int  # rows of the weights, in units of the hidden size
    cell: bool  # whether a second state stands behind the hidden one
    joins_biases: bool  # whether both are added alike, so that the product of the sequence adds them
    # (gates from the input, from the hidden state, states, activate, gate, axis of the gates) -> the next states
    step: Callable[..., States]
    activate: Activate
    gate: Activate = neural.sigmoid

    def weight_shapes(
        self, features: int, hidden: int, projection: int | None = None
    ) -> dict[str, tuple[int, ...]]:
        """Name in ``Weights`` -> shape, of those that there are."""
        rows = self.gates * hidden
        shapes: dict[str, tuple[int, ...]] = {
            "i2h_weight": (rows, features),
            "h2h_weight": (rows, projection or hidden),
            "i2h_bias": (rows,),
            "h2h_bias": (rows,),
        }
        return shapes if projection is None else {**shapes, "h2r_weight": (projection, hidden)}

    def state_sizes(self, hidden: int, projection: int | None = None) -> tuple[int, ...]:
        """Of the hidden state, and of the cell state behind it."""
        return (projection or hidden, hidden)[: 1 + self.cell]

    def project(self, x: Any, weights: Weights) -> Any:
        """What the input, of one time or of all, adds to the gates."""
        bias = weights.i2h_bias + weights.h2h_bias if self.joins_biases else weights.i2h_bias
        return fully_connected(x, weights.i2h_weight, bias, flatten=False)

    def advance(self, projected: Any, states: States, weights: Weights) -> States:
        """The states after one more time."""
        bias = None if self.joins_biases else weights.h2h_bias
        recurrent = fully_connected(states[0], weights.h2h_weight, bias, flatten=False)
        hidden, *others = self.stepped(projected, recurrent, states, -1)
        if weights.h2r_weight is not None:  # Sak et al. 2014
            hidden = fully_connected(hidden, weights.h2r_weight, flatten=False)
        return hidden, *others

    def stepped(self, projected: Any, recurrent: Any, states: States, axis: int) -> States:
        """The states that follow from what input and hidden state add to the gates, which lie one behind the other along
        ``axis``.
        """
        return self.step(projected, recurrent, states, self.activate, self.gate, axis)


# -- steps ---------------------------------------------------------------------------------------------------


def _elman(projected: Any, recurrent: Any, _states: States, activate: Activate, *_others: Any) -> States:
    """Elman 1990: ``activate(W x + U h)``."""
    return (activate(projected + recurrent),)


def _lstm(
    projected: Any, recurrent: Any, states: States, activate: Activate, gate: Activate, axis: int
) -> States:
    """Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000; gates in the order i, f, g, o."""
    i, f, g, o = split(projected + recurrent, 4, axis)
    cell = gate(f) * states[1] + gate(i) * activate(g)
    return gate(o) * activate(cell), cell


def _gru(
    projected: Any, recurrent: Any, states: States, activate: Activate, gate: Activate, axis: int
) -> States:
    """Cho et al. 2014, gates in the order r, z, n; as in cuDNN, r multiplies what the state adds to n, with its bias."""
    (hidden,) = states
    r, z, n = split(projected, 3, axis)
    of_r, of_z, of_n = split(recurrent, 3, axis)
    candidate = activate(n + gate(r + of_r) * of_n)
    update = gate(z + of_z)
    return (candidate + update * (hidden - candidate),)


# name -> the recurrence, in Gluon's words
RECURRENCES = {
    "rnn_relu": Recurrence(1, False, True, _elman, neural.relu),
    "rnn_tanh": Recurrence(1, False, True, _elman, pointwise.tanh),
    "lstm": Recurrence(4, True, True, _lstm, pointwise.tanh),
    "gru": Recurrence(3, False, False, _gru, pointwise.tanh),
}

# -- walks ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clipping:
    """The bounds of an LSTM's cell state. nan: whether NaN becomes a bound, too."""

    low: float | None = None
    high: float | None = None
    nan: bool = False

    def bounded(self, states: States) -> States:
        if self.low is None or self.high is None:
            return states
        hidden, cell = states
        if self.nan:
            return hidden, fmax(fmin(cell, self.high), self.low)
        return hidden, clip(cell, self.low, self.high)


@size_agnostic
def times_of(sequence: Any, axis: int) -> int:
    """Of an array with times along ``axis``, or a list of one array a time."""
    return len(sequence) if isinstance(sequence, list) else sequence.shape[axis]


@size_agnostic
def at_time(sequence: Any, axis: int, time: int) -> Any:
    """What such a sequence has at a time."""
    return sequence[time] if isinstance(sequence, list) else sequence[(slice(None),) * axis + (time,)]


@size_agnostic
def within_lengths(lengths: ArrayLike, times: int, batch: int, axis: int) -> ndarray:
    """Whether a time lies within each sequence, with time and batch as the two first axes. Raises ShapeError."""
    given = asarray(lengths)
    if given.shape != (batch,):
        raise ShapeError(
            f"lengths need one number for each of {batch} sequences; found an array of shape {given.shape}"
        )
    return times_within(given, times, axis)


@size_agnostic
def walk(
    x: Any,
    states: States,
    advance: Callable[[Any, States], tuple[Any, States]],
    axis: int,
    kept: Any = None,
    backwards: bool = False,
) -> tuple[list[Any], States]:
    """The outputs at all times, in the order of the sequence, and the last states.

    x: an array with its times along ``axis``, or a list of one input a time.
    advance: takes an input and states to an output and the next states.
    kept: see ``within_lengths``; behind its end the outputs of a sequence are 0 and its states stay.
    """
    times = times_of(x, axis)
    outputs: list[Any] = [None] * times
    for time in reversed(range(times)) if backwards else range(times):
        output, following = advance(at_time(x, axis, time), states)
        if kept is not None:
            now = at_time(kept, axis, time)
            output = where_kept(now, output, 0)
            following = tuple(where_kept(now, *pair) for pair in zip(following, states, strict=True))
        outputs[time], states = output, following
    return outputs, states


@size_agnostic
def layered(
    x: Any,
    layers: Sequence[Sequence[Weights]],
    states: Sequence[States],
    recurrence: Recurrence,
    axis: int,
    rate: float = 0.0,
    lengths: Any = None,
    clipping: Clipping = Clipping(),
) -> tuple[Any, list[States]]:
    """Layers one above the other, each in one direction or in both, whose outputs stand side by side.

    layers: the weights of each, those of the way back second.
    states: of each layer and direction.
    rate: of dropout between layers. Gives the outputs of the last layer, and the last states.
    """
    kept = None if lengths is None else within_lengths(lengths, x.shape[axis], x.shape[1 - axis], axis)
    given, last = iter(states), []
    for number, directions in enumerate(layers):
        if number:
            x = dropout(x, rate)
        outputs = []
        for weights, backwards in zip(directions, (False, True), strict=False):
            advance = _advancing(recurrence, weights, clipping)
            found, state = walk(
                recurrence.project(x, weights), next(given), advance, axis, kept, backwards=backwards
            )
            outputs.append(stack(found, axis))
            last.append(state)
        x = outputs[0] if len(outputs) == 1 else concatenate(outputs, -1)
    return x, last


def _advancing(
    recurrence: Recurrence, weights: Weights, clipping: Clipping
) -> Callable[[Any, States], tuple[Any, States]]:
    def advance(projected: Any, states: States) -> tuple[Any, States]:
        following = clipping.bounded(recurrence.advance(projected, states, weights))
        return following[0], following

    return advance


# -- one vector of weights -----------------------------------------------------------------------------------


@size_agnostic
def rnn(
    data: ArrayLike,
    parameters: ArrayLike,
    state: ArrayLike | None = None,
    state_cell: ArrayLike | None = None,
    state_size: int = 0,
    num_layers: int = 1,
    mode: str = "lstm",
    bidirectional: bool = False,
    p: float = 0.0,
    state_outputs: bool = False,
    projection_size: int | None = None,
    sequence_length: ArrayLike | None = None,
    use_sequence_length: bool = False,
    lstm_state_clip_min: float | None = None,
    lstm_state_clip_max: float | None = None,
    lstm_state_clip_nan: bool = False,
) -> Any:
    """Recurrent layers over a sequence, as ``rnn.LSTM`` and its like, of one vector of parameters.

    data: (time, batch, features).
    parameters: the weights of all layers and directions (i2h, h2h, and h2r of a projection), then all biases in that
    order.
    mode: 'rnn_relu', 'rnn_tanh', 'lstm' or 'gru'.
    p: dropout between layers.
    state, state_cell: (layers * directions, batch, size); zeros where there are none.
    bidirectional: whether a second direction goes from the last step to the first.
    sequence_length: (batch,), how many steps of each item count, with ``use_sequence_length``.
    lstm_state_clip_min, lstm_state_clip_max: between which the cell of an LSTM is kept; ``lstm_state_clip_nan``: also nan.

    Returns (time, batch, directions * size) in the float dtype that ``data`` and ``parameters`` promote to; with
    ``state_outputs`` a list of it and the last states. Raises ShapeError where sizes do not fit, UsageError for other
    modes.

    >>> from blockfuse import np, npx
    >>> weights = np.zeros(2 * 3 + 2 * 2 + 2 * 2)
    >>> npx.rnn(np.ones((5, 1, 3)), weights, np.zeros((1, 1, 2)), state_size=2, mode="rnn_tanh").shape
    (5, 1, 2)
    """
    if mode not in RECURRENCES:
        raise UsageError(f"mode={mode!r}; use {', '.join(map(repr, RECURRENCES))}")
    x, recurrence, directions = asarray(data), RECURRENCES[mode], 1 + bidirectional
    if x.ndim != 3:
        raise ShapeError(f"rnn expects data of shape (time, batch, features); found {x.shape}")
    layers = _cut(
        asarray(parameters), x.shape[2], state_size, num_layers, directions, recurrence, projection_size
    )
    sizes = recurrence.state_sizes(state_size, projection_size)
    shape = (num_layers * directions, x.shape[1])
    given = [
        _whole_state(found, (*shape, size), x)
        for found, size in zip((state, state_cell), sizes, strict=False)
    ]
    states = [tuple(part[n] for part in given) for n in range(shape[0])]
    lengths = sequence_length if use_sequence_length else None
    clipping = Clipping(lstm_state_clip_min, lstm_state_clip_max, lstm_state_clip_nan)
    output, last = layered(x, layers, states, recurrence, 0, p, lengths, clipping)
    return [output, *(stack(part) for part in zip(*last, strict=True))] if state_outputs else output


@size_agnostic
def _whole_state(given: ArrayLike | None, shape: tuple[int, ...], x: ndarray) -> ndarray:
    state = zeros(shape, x.dtype) if given is None else asarray(given)
    if state.shape != shape:
        raise ShapeError(f"rnn needs a state of shape {shape}; found {state.shape}")
    return state


def _cut(
    vector: ndarray,
    features: int,
    hidden: int,
    count: int,
    directions: int,
    recurrence: Recurrence,
    projection: int | None,
) -> list[list[Weights]]:
    """The vector of ``rnn`` as the weights of each layer and direction."""
    rows, width = recurrence.gates * hidden, projection or hidden
    shapes: list[tuple[int, ...]] = []
    for layer in range(count):
        matrices = [(rows, width * directions if layer else features), (rows, width)]
        shapes += (matrices + ([(projection, hidden)] if projection else [])) * directions
    each = len(shapes) // (count * directions)
    shapes += [(rows,)] * (2 * count * directions)
    needed = sum(map(prod, shapes))
    if vector.shape != (needed,):
        raise ShapeError(
            f"rnn of {count} layers of {hidden} over {features} features needs {needed} parameters; found an array "
            f"of shape {vector.shape}"
        )
    parts = list(_parts(vector, shapes))
    biases = iter(parts[-2 * count * directions :])
    groups = [
        Weights(parts[n], parts[n + 1], next(biases), next(biases), parts[n + 2] if projection else None)
        for n in range(0, each * count * directions, each)
    ]
    return [groups[n : n + directions] for n in range(0, len(groups), directions)]


def _parts(vector: ndarray, shapes: Sequence[tuple[int, ...]]) -> Iterator[ndarray]:
    start = 0
    for shape in shapes:
        size = prod(shape)
        yield reshape(vector[start : start + size], shape)
        start += size
