"""Rules of recurrent layers, whose loops over time are the backends' own functions in Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import activations, layers

from blockfuse.array import np
from blockfuse.array.functions.recurrent import RECURRENCES, Weights
from blockfuse.frontends.keras.rules.table import Array, Tensor, layer_rule, refuse_if
from blockfuse.frontends.keras.rules.values import shape_of

Step = Callable[[Any, list[Any]], tuple[Any, list[Any]]]  # input and states -> output and next states


@layer_rule(layers.RNN, layers.SimpleRNN, layers.LSTM, layers.GRU)
def recurrent(
    following: Any,
    layer: Any,
    sequences: Tensor,
    initial_state: Any = None,
    mask: Any = None,
    training: Any = False,
) -> Any:
    """Outputs of all times or of the last one, and last states where they are asked for."""
    refuse_if(layer.stateful, "states that stay from call to call")
    drops = getattr(layer.cell, "dropout", 0) or getattr(layer.cell, "recurrent_dropout", 0)
    refuse_if(training and drops, "draws")
    x, seen = sequences.array, _only(mask)
    refuse_if(0 in shape_of(x), "no elements")
    states = _zeros(layer, x) if initial_state is None else _arrays_of(initial_state)
    inputs, step = _usual(following, layer, x) or (x, _own(following, layer, training))
    outputs, last = _walk(inputs, states, step, layer, None if seen is None else seen.array)
    found = following.tensor(np.stack(outputs, axis=1) if layer.return_sequences else outputs[-1])
    return (found, *map(following.tensor, last)) if layer.return_state else found


# The usual cells begin with zeros.
_CELLS = (layers.SimpleRNNCell, layers.GRUCell, layers.LSTMCell)


def _zeros(layer: Any, x: Array) -> list[Array]:
    """The states before the first time."""
    if type(layer.cell) not in _CELLS:
        return _arrays_of(layer.get_initial_state(batch_size=x.shape[0]))
    sizes = layer.cell.state_size
    every = sizes if isinstance(sizes, list | tuple) else [sizes]
    return [np.zeros((shape_of(x)[0], size), layer.cell.compute_dtype) for size in every]


def _arrays_of(states: Any) -> list[Array]:
    return [state.array for state in (states if isinstance(states, list | tuple) else [states])]


def _only(mask: Any) -> Any:
    return mask[0] if isinstance(mask, list | tuple) else mask


def _walk(
    x: Array, states: list[Array], step: Step, layer: Any, seen: Array | None
) -> tuple[list[Array], list[Array]]:
    """The outputs in the order of the walk, and the last states. seen: whether a time counts, for each sequence."""
    times = range(shape_of(x)[1])
    outputs: list[Array] = []
    for time in reversed(times) if layer.go_backwards else times:
        output, after = step(x[:, time], states)
        if seen is not None:
            now = seen[:, time, None]
            before = outputs[-1] if outputs and not layer.zero_output_for_mask else np.zeros_like(output)
            output = np.where(now, output, before)
            after = [np.where(now, new, old) for new, old in zip(after, states, strict=True)]
        outputs.append(output)
        states = after
    return outputs, states


def _own(following: Any, layer: Any, training: Any) -> Step:
    """Any cell: its own ``call``, time by time."""
    options = {"training": training} if getattr(layer.cell, "_call_has_training_arg", False) else {}

    def step(now: Array, states: list[Array]) -> tuple[Array, list[Array]]:
        output, after = layer.cell(following.tensor(now), [following.tensor(s) for s in states], **options)
        return output.array, [s.array for s in (after if isinstance(after, list | tuple) else [after])]

    return step


def _usual(following: Any, layer: Any, x: Array) -> tuple[Array, Step] | None:
    """The usual cells: one product for what the inputs of all times add to the gates."""
    read = _READERS.get(type(layer.cell))
    found = None if read is None else read(following, layer.cell)
    if found is None:
        return None
    kind, weights = found
    recurrence = RECURRENCES[kind]

    def step(projected: Array, states: list[Array]) -> tuple[Array, list[Array]]:
        after = recurrence.advance(projected, tuple(states), weights)
        return after[0], list(after)

    return recurrence.project(x, weights), step


def _weights(following: Any, cell: Any, order: Callable[[Array], Array], biases: int) -> Weights:
    """Of shape (gates, in), gates in our order."""
    kernels = [order(following.variable(v).array) for v in (cell.kernel, cell.recurrent_kernel)]
    width = shape_of(kernels[0])[-1]
    zero = np.zeros((width,), kernels[0].dtype)
    bias = following.variable(cell.bias).array if cell.use_bias else None
    if bias is None:
        of_input, of_state = zero, zero
    elif biases == 2:
        both = order(bias)
        of_input, of_state = both[0], both[1]
    else:
        of_input, of_state = order(bias), zero
    return Weights(np.transpose(kernels[0]), np.transpose(kernels[1]), of_input, of_state)


def _is(function: Any, name: str) -> bool:
    return function is getattr(activations, name)


def _lstm(following: Any, cell: Any) -> tuple[str, Weights] | None:
    usual = _is(cell.activation, "tanh") and _is(cell.recurrent_activation, "sigmoid")
    return ("lstm", _weights(following, cell, lambda w: w, 1)) if usual else None


def _gru(following: Any, cell: Any) -> tuple[str, Weights] | None:
    usual = _is(cell.activation, "tanh") and _is(cell.recurrent_activation, "sigmoid") and cell.reset_after
    return ("gru", _weights(following, cell, _gates_of_gru, 2)) if usual else None


def _gates_of_gru(w: Array) -> Array:
    """r before z."""
    z, r, h = np.split(w, 3, axis=-1)
    return np.concatenate([r, z, h], axis=-1)


def _elman(following: Any, cell: Any) -> tuple[str, Weights] | None:
    kind = next((f"rnn_{n}" for n in ("tanh", "relu") if _is(cell.activation, n)), None)
    return None if kind is None else (kind, _weights(following, cell, lambda w: w, 1))


_READERS: dict[type, Callable[[Any, Any], tuple[str, Weights] | None]] = {
    keras.layers.LSTMCell: _lstm,
    keras.layers.GRUCell: _gru,
    keras.layers.SimpleRNNCell: _elman,
}


@layer_rule(layers.Bidirectional)
def bidirectional(
    following: Any,
    layer: Any,
    sequences: Tensor,
    initial_state: Any = None,
    mask: Any = None,
    training: Any = None,
) -> Any:
    """Two layers, one of which goes backwards, and their outputs in one."""
    options = {"mask": mask, "training": training}
    half = 0 if initial_state is None else len(initial_state) // 2
    given = (initial_state[:half], initial_state[half:]) if half else (None, None)
    found = [
        one(sequences, initial_state=state, **options)
        for one, state in zip((layer.forward_layer, layer.backward_layer), given, strict=True)
    ]
    outputs = [f[0] if layer.return_state else f for f in found]
    if layer.return_sequences:
        outputs[1] = following.tensor(np.flip(outputs[1].array, axis=1))
    merged = _merged(following, layer.merge_mode, *(output.array for output in outputs))
    states = tuple(state for f in found for state in f[1:]) if layer.return_state else ()
    if merged is None:
        return (*outputs, *states)
    return (merged, *states) if states else merged


def _merged(following: Any, mode: Any, forward: Array, backward: Array) -> Tensor | None:
    if mode is None:
        return None
    if mode == "concat":
        return following.tensor(np.concatenate([forward, backward], axis=-1))
    refuse_if(mode not in ("sum", "ave", "mul"), f"merge mode {mode}")
    merged = forward * backward if mode == "mul" else forward + backward
    return following.tensor(merged / 2 if mode == "ave" else merged)


@layer_rule(layers.TimeDistributed)
def time_distributed(
    following: Any, layer: Any, inputs: Tensor, training: Any = None, mask: Any = None
) -> Any:
    """A layer for each time."""
    refuse_if(mask is not None, "masked times")
    x = inputs.array
    options = {"training": training} if getattr(layer.layer, "_call_has_training_arg", False) else {}
    found = [layer.layer(following.tensor(x[:, time]), **options).array for time in range(shape_of(x)[1])]
    return following.tensor(np.stack(found, axis=1))
