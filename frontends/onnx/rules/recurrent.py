"""Rules of recurrent layers: Python's loop over times, with the products of all inputs before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.array import np, npx
from blockfuse.frontends.onnx.rules.elementwise import elu, hard_sigmoid, leaky_relu, thresholded_relu
from blockfuse.frontends.onnx.rules.table import Value, rule
from blockfuse.ir.errors import UsageError

Activation = Callable[[Value], Value]
Names = tuple[str, ...] | None
Numbers = tuple[float, ...] | None

# name in lower case -> the function of a value, alpha and beta; alpha and beta where they are not given
_ACTIVATIONS: dict[str, tuple[Callable[[Value, float, float], Value], float, float]] = {
    "affine": (lambda x, a, b: x * a + b, 1.0, 0.0),
    "elu": (lambda x, a, b: elu(x, a), 1.0, 0.0),
    "hardsigmoid": (lambda x, a, b: hard_sigmoid(x, a, b), 0.2, 0.5),
    "leakyrelu": (lambda x, a, b: leaky_relu(x, a), 0.01, 0.0),
    "relu": (lambda x, a, b: npx.relu(x), 0.0, 0.0),
    "scaledtanh": (lambda x, a, b: numpy.tanh(x * b) * a, 1.0, 1.0),
    "sigmoid": (lambda x, a, b: npx.sigmoid(x), 0.0, 0.0),
    "softplus": (lambda x, a, b: npx.softplus(x), 0.0, 0.0),
    "softsign": (lambda x, a, b: npx.softsign(x), 0.0, 0.0),
    "tanh": (lambda x, a, b: numpy.tanh(x), 0.0, 0.0),
    "thresholdedrelu": (lambda x, a, b: thresholded_relu(x, a), 1.0, 0.0),
}
# activation -> how many of alpha and beta it takes from the lists of a node
_TAKES = {"affine": 2, "hardsigmoid": 2, "scaledtanh": 2, "elu": 1, "leakyrelu": 1, "thresholdedrelu": 1}


@dataclass(frozen=True)
class Direction:
    """One direction of a layer: what a round does to its states."""

    projected: Value  # (times, batch, gates): the products of all inputs, with biases
    weights: Value  # of the state, (gates, hidden)
    bias: Value  # of the state, or None
    peepholes: Value  # or None
    functions: list[Activation]
    clip: float | None
    backwards: bool

    def clipped(self, x: Value) -> Value:
        """Bounded on both sides, where a bound is given."""
        return x if self.clip is None else numpy.minimum(numpy.maximum(x, -self.clip), self.clip)


States = tuple[Value, ...]
Step = Callable[[Direction, Value, States], States]


def _activations(
    names: Names, default: tuple[str, ...], alphas: Numbers, betas: Numbers, directions: int
) -> list[Activation]:
    chosen = [name.lower() for name in (names or default * directions)]
    first, second = list(alphas or ()), list(betas or ())
    result = []
    for name in chosen:
        if name not in _ACTIVATIONS:
            raise UsageError(f"there is no activation {name!r}")
        function, alpha, beta = _ACTIVATIONS[name]
        alpha = first.pop(0) if first and _TAKES.get(name, 0) > 0 else alpha
        beta = second.pop(0) if second and _TAKES.get(name, 0) > 1 else beta
        result.append(_bound(function, alpha, beta))
    return result


def _bound(function: Callable[[Value, float, float], Value], alpha: float, beta: float) -> Activation:
    return lambda x: function(x, alpha, beta)


def _layer(
    step: Step,
    count: int,
    default: tuple[str, ...],
    x: Value,
    w: Value,
    r: Value,
    b: Value,
    lengths: Value,
    initial: tuple[Value, ...],
    peepholes: Value,
    options: dict[str, Any],
) -> tuple[Value, ...]:
    """All directions of a layer. count: how many states there are; initial: those before the first time, or None."""
    layout, direction = options["layout"], options["direction"]
    x = numpy.swapaxes(x, 0, 1) if layout else x
    # Parts of a constant are no views of it: a program takes none whose memory others may write.
    initial = tuple(s if s is None else np.array(s) for s in initial)
    initial = tuple(s if s is None or not layout else numpy.swapaxes(s, 0, 1) for s in initial)
    directions, hidden = w.shape[0], r.shape[2]
    names = _activations(options["activations"], default, options["alpha"], options["beta"], directions)
    each = len(names) // directions
    outputs, finals = [], []
    for n in range(directions):
        gates = w.shape[1]
        product = numpy.matmul(x, numpy.transpose(w[n]))
        product = product if b is None else product + b[n, :gates]
        way = Direction(
            product,
            r[n],
            None if b is None else b[n, gates:],
            None if peepholes is None else np.array(peepholes)[n],
            names[n * each : (n + 1) * each],
            options["clip"],
            direction == "reverse" or n == 1,
        )
        states = tuple(numpy.zeros((x.shape[1], hidden), x.dtype) if s is None else s[n] for s in initial)
        output, final = _walked(step, way, states, lengths)
        outputs.append(output)
        finals.append(final)
    y = numpy.stack(outputs, axis=1)
    last = [numpy.stack([final[k] for final in finals]) for k in range(count)]
    if layout:
        return numpy.transpose(y, (2, 0, 1, 3)), *(numpy.swapaxes(s, 0, 1) for s in last)
    return y, *last


def _walked(step: Step, way: Direction, states: States, lengths: Value) -> tuple[Value, States]:
    """The output of each time, and the last states; items that are over keep theirs, and give zeros."""
    times = way.projected.shape[0]
    outputs: list[Value] = [None] * times
    for time in range(times - 1, -1, -1) if way.backwards else range(times):
        new = step(way, way.projected[time], states)
        if lengths is None:
            states, outputs[time] = new, new[0]
            continue
        goes_on = numpy.expand_dims(numpy.greater(lengths, time), 1)
        states = tuple(numpy.where(goes_on, a, b) for a, b in zip(new, states, strict=True))
        outputs[time] = numpy.where(goes_on, new[0], numpy.zeros((), new[0].dtype))
    return numpy.stack(outputs), states


def _options(
    layout: int, direction: str, activations: Names, alpha: Numbers, beta: Numbers, clip: float | None
) -> dict[str, Any]:
    return {
        "layout": layout,
        "direction": direction,
        "activations": activations,
        "alpha": alpha,
        "beta": beta,
        "clip": clip,
    }


# -- cells ---------------------------------------------------------------------------------------------------------


def _rnn_step(way: Direction, projected: Value, states: States) -> States:
    total = projected + numpy.matmul(states[0], numpy.transpose(way.weights))
    total = total if way.bias is None else total + way.bias
    return (way.functions[0](way.clipped(total)),)


def _lstm_step(way: Direction, projected: Value, states: States) -> States:
    hidden, cell = states
    total = projected + numpy.matmul(hidden, numpy.transpose(way.weights))
    total = total if way.bias is None else total + way.bias
    size = hidden.shape[-1]
    enter, leave, forget, candidate = (total[:, n * size : (n + 1) * size] for n in range(4))
    gate, squash, out = way.functions
    if way.peepholes is not None:
        enter, forget = enter + way.peepholes[:size] * cell, forget + way.peepholes[2 * size :] * cell
    new = gate(way.clipped(forget)) * cell + gate(way.clipped(enter)) * squash(way.clipped(candidate))
    if way.peepholes is not None:
        leave = leave + way.peepholes[size : 2 * size] * new
    return gate(way.clipped(leave)) * out(new), new


def _coupled_lstm_step(way: Direction, projected: Value, states: States) -> States:
    """What is forgotten is what does not enter."""
    hidden, cell = states
    total = projected + numpy.matmul(hidden, numpy.transpose(way.weights))
    total = total if way.bias is None else total + way.bias
    size = hidden.shape[-1]
    enter, leave, candidate = total[:, :size], total[:, size : 2 * size], total[:, 3 * size :]
    gate, squash, out = way.functions
    share = gate(way.clipped(enter if way.peepholes is None else enter + way.peepholes[:size] * cell))
    new = (1 - share) * cell + share * squash(way.clipped(candidate))
    leave = leave if way.peepholes is None else leave + way.peepholes[size : 2 * size] * new
    return gate(way.clipped(leave)) * out(new), new


def _gru_step(way: Direction, projected: Value, states: States) -> States:
    """The reset gate is applied before the product."""
    (hidden,) = states
    size = hidden.shape[-1]
    update, reset = _gru_gates(way, projected, hidden)
    inner = numpy.matmul(reset * hidden, numpy.transpose(way.weights[2 * size :])) + projected[:, 2 * size :]
    inner = inner if way.bias is None else inner + way.bias[2 * size :]
    new = way.functions[1](way.clipped(inner))
    return ((1 - update) * new + update * hidden,)


def _gru_step_reset_after(way: Direction, projected: Value, states: States) -> States:
    """The reset gate is applied to the product."""
    (hidden,) = states
    size = hidden.shape[-1]
    update, reset = _gru_gates(way, projected, hidden)
    product = numpy.matmul(hidden, numpy.transpose(way.weights[2 * size :]))
    product = product if way.bias is None else product + way.bias[2 * size :]
    new = way.functions[1](way.clipped(projected[:, 2 * size :] + reset * product))
    return ((1 - update) * new + update * hidden,)


def _gru_gates(way: Direction, projected: Value, hidden: Value) -> tuple[Value, Value]:
    size = hidden.shape[-1]
    total = projected[:, : 2 * size] + numpy.matmul(hidden, numpy.transpose(way.weights[: 2 * size]))
    total = total if way.bias is None else total + way.bias[: 2 * size]
    gates = way.functions[0](way.clipped(total))
    return gates[:, :size], gates[:, size:]


# -- operators -----------------------------------------------------------------------------------------------------


@rule("RNN", several=True)
def rnn(
    x: Value,
    w: Value,
    r: Value,
    b: Value = None,
    sequence_lens: Value = None,
    initial_h: Value = None,
    activation_alpha: Numbers = None,
    activation_beta: Numbers = None,
    activations: Names = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int = 0,
    layout: int = 0,
) -> tuple[Value, ...]:
    """Elman's cell."""
    options = _options(layout, direction, activations, activation_alpha, activation_beta, clip)
    return _layer(_rnn_step, 1, ("Tanh",), x, w, r, b, sequence_lens, (initial_h,), None, options)


@rule("LSTM", several=True)
def lstm(
    x: Value,
    w: Value,
    r: Value,
    b: Value = None,
    sequence_lens: Value = None,
    initial_h: Value = None,
    initial_c: Value = None,
    p: Value = None,
    activation_alpha: Numbers = None,
    activation_beta: Numbers = None,
    activations: Names = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int = 0,
    input_forget: int = 0,
    layout: int = 0,
) -> tuple[Value, ...]:
    """Long short-term memory, with peepholes where there are some."""
    options = _options(layout, direction, activations, activation_alpha, activation_beta, clip)
    step = _coupled_lstm_step if input_forget else _lstm_step
    return _layer(
        step, 2, ("Sigmoid", "Tanh", "Tanh"), x, w, r, b, sequence_lens, (initial_h, initial_c), p, options
    )


@rule("GRU", several=True)
def gru(
    x: Value,
    w: Value,
    r: Value,
    b: Value = None,
    sequence_lens: Value = None,
    initial_h: Value = None,
    activation_alpha: Numbers = None,
    activation_beta: Numbers = None,
    activations: Names = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int = 0,
    layout: int = 0,
    linear_before_reset: int = 0,
) -> tuple[Value, ...]:
    """Gated recurrent units."""
    options = _options(layout, direction, activations, activation_alpha, activation_beta, clip)
    step = _gru_step_reset_after if linear_before_reset else _gru_step
    return _layer(step, 1, ("Sigmoid", "Tanh"), x, w, r, b, sequence_lens, (initial_h,), None, options)
