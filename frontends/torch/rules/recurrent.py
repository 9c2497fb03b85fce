"""Rules of recurrent layers and cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blockfuse.array import np
from blockfuse.array.functions.recurrent import RECURRENCES, Weights, layered
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.torch.rules.table import Array, Tensor, rule
from blockfuse.frontends.torch.rules.values import refuse_if, shape_of


def _cut(params: Sequence[Array], biased: bool, layers: int, directions: int) -> list[list[Weights]]:
    """The flat weights of all layers and directions."""
    each = len(params) // (layers * directions)
    groups = [params[n : n + each] for n in range(0, len(params), each)]
    refuse_if(each not in ((4, 5) if biased else (2, 3)), "weights")
    found = [_weights(group, biased) for group in groups]
    return [found[n : n + directions] for n in range(0, len(found), directions)]


def _weights(group: Sequence[Array], biased: bool) -> Weights:
    rows = shape_of(group[0])[0]
    biases = group[2:4] if biased else [np.zeros(rows, group[0].dtype)] * 2
    projection = group[4:] if biased else group[2:]
    return Weights(group[0], group[1], *biases, *projection)


def _layers(
    kind: str,
    x: Array,
    states: Sequence[Array],
    params: Any,
    biased: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Any:
    refuse_if(not isinstance(params, list | tuple), "packed sequences")
    refuse_if(train and dropout > 0 and num_layers > 1, "draws")
    refuse_if(0 in shape_of(x), "no elements")
    directions = 1 + bool(bidirectional)
    count = num_layers * directions
    given = [tuple(state[n] for state in states) for n in range(count)]
    weights = _cut(params, biased, num_layers, directions)
    output, last = layered(x, weights, given, RECURRENCES[kind], int(batch_first), 0.0)
    return (output, *(np.stack(list(part)) for part in zip(*last, strict=True)))


@rule("lstm")
def lstm(like: Any, x: Array, hx: Any, params: Any, *options: Any) -> Any:
    """Hochreiter and Schmidhuber 1997: outputs, last hidden and cell states."""
    refuse_if(isinstance(hx, ndarray), "packed sequences")
    return _layers("lstm", x, hx, params, *options)


def _of_one_state(kind: str) -> Any:
    def compute(like: Any, x: Array, hx: Any, params: Any, *options: Any) -> Any:
        refuse_if(not isinstance(hx, ndarray) or isinstance(params, ndarray), "packed sequences")
        return _layers(kind, x, [hx], params, *options)

    return compute


for _kind in ("gru", "rnn_tanh", "rnn_relu"):
    rule(_kind)(_of_one_state(_kind))


def _cell(kind: str, x: Array, states: Any, weights: Sequence[Any]) -> Any:
    group = [w for w in weights if w is not None]
    refuse_if(x.ndim != 2, "one item")
    one = _weights(group, len(group) == 4)
    recurrence = RECURRENCES[kind]
    return recurrence.advance(recurrence.project(x, one), tuple(states), one)


@rule("lstm_cell")
def lstm_cell(like: Any, x: Array, hx: Any, *weights: Any) -> Any:
    """One step of an LSTM."""
    return _cell("lstm", x, hx, weights)


@rule("gru_cell")
def gru_cell(like: Tensor, x: Array, hx: Array, *weights: Any) -> Array:
    """One step of a GRU."""
    return _cell("gru", x, [hx], weights)[0]


@rule("rnn_tanh_cell")
def rnn_tanh_cell(like: Tensor, x: Array, hx: Array, *weights: Any) -> Array:
    """One step of Elman's."""
    return _cell("rnn_tanh", x, [hx], weights)[0]


@rule("rnn_relu_cell")
def rnn_relu_cell(like: Tensor, x: Array, hx: Array, *weights: Any) -> Array:
    """One step of Elman's, with relu."""
    return _cell("rnn_relu", x, [hx], weights)[0]
