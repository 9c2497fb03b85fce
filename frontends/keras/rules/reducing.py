"""Rules of sums and of other results of many elements, of sorting, and of places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blockfuse.array import np, npx
from blockfuse.frontends.keras.rules.table import Array, Op, refuse_if, rule
from blockfuse.frontends.keras.rules.values import as_float, axes_of

_FOLDS: dict[str, Callable[..., Any]] = {
    "Sum": np.sum,
    "Prod": np.prod,
    "Any": np.any,
    "All": np.all,
    "Amax": np.max,
    "Amin": np.min,
}
_OF_FLOATS: dict[str, Callable[..., Any]] = {"Mean": np.mean, "Var": np.var, "Std": np.std}


def _folding(function: Callable[..., Any], kind: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda op, x: function(kind(x), axis=axes_of(op.axis), keepdims=op.keepdims)


for _name, _function in _FOLDS.items():
    rule(_name)(_folding(_function, lambda x: x))
for _name, _function in _OF_FLOATS.items():
    rule(_name)(_folding(_function, as_float))


@rule("Max", "Min")
def extreme(op: Op, x: Array) -> Array:
    """The largest or the smallest element, or a bound of it."""
    largest = type(op).__name__ == "Max"
    found = (np.max if largest else np.min)(x, axis=axes_of(op.axis), keepdims=op.keepdims)
    return found if op.initial is None else (np.maximum if largest else np.minimum)(found, op.initial)


@rule("Argmax", "Argmin")
def place(op: Op, x: Array) -> Array:
    """Where the first largest or smallest element is."""
    return (np.argmax if type(op).__name__ == "Argmax" else np.argmin)(x, axis=op.axis, keepdims=op.keepdims)


@rule("Logsumexp")
def logsumexp(op: Op, x: Array) -> Array:
    """The logarithm of a sum of powers."""
    refuse_if(not isinstance(op.axis, int), "several axes")
    return npx.logsumexp(x, axis=op.axis, keepdims=op.keepdims)


@rule("Cumsum", "Cumprod")
def running(op: Op, x: Array) -> Array:
    """Sums or products so far."""
    return (np.cumsum if type(op).__name__ == "Cumsum" else np.cumprod)(x, axis=op.axis)


@rule("CountNonzero")
def count(op: Op, x: Array) -> Array:
    """How many elements are not 0."""
    return np.sum(x != 0, axis=axes_of(op.axis))


@rule("Moments")
def moments(op: Op, x: Array) -> tuple[Array, Array]:
    """Mean and variance."""
    refuse_if(op.synchronized, "several devices")
    axes = axes_of(op.axes)
    return np.mean(x, axis=axes, keepdims=op.keepdims), np.var(x, axis=axes, keepdims=op.keepdims)


@rule("Norm")
def norm(op: Op, x: Array) -> Array:
    """Of vectors, Euclid's."""
    vectors = isinstance(op.axis, int) or op.axis is None
    refuse_if(op.ord not in (None, 2) or not vectors or (op.ord == 2 and op.axis is None), "another norm")
    return np.sqrt(np.sum(np.square(as_float(x)), axis=op.axis, keepdims=op.keepdims))


@rule("Normalize")
def normalize(op: Op, x: Array) -> Array:
    """Vectors of length 1."""
    refuse_if(op.order != 2 or not isinstance(op.axis, int), "another norm")
    small = 1e-7 if op.epsilon is None else op.epsilon
    return x / np.sqrt(np.maximum(np.sum(np.square(x), axis=op.axis, keepdims=True), small * small))
