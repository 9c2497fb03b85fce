"""The steps of training of the benchmark: dense nets with ReLU, softmax cross entropy, SGD with momentum or Adam.

NOTE [whole steps]
A step takes a batch as NumPy's arrays, and leaves new parameters and states where the next step finds them: conversion,
forward, backward and the optimizer are all in it. Every contender begins with the same parameters and takes the same
batches; after ``STEPS`` of them its parameters must be where the same formulas in float64 come to. How far they are off is
measured by the way that was gone: root mean squares over all parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy

from benchmarks.contender import Way

STEPS = 4  # before parameters are compared
RATES = {"sgd": 0.01, "adam": 0.001}
MOMENTUM, BETA1, BETA2, EPSILON = 0.9, 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Training:
    """``target``: how many times faster than the best peer blockfuse wants to be."""

    units: tuple[int, ...]  # of the input and of each layer
    batch: int
    optimizer: str  # a name of ``RATES``
    target: float | None = None
    label: str = ""  # in place of the units
    group = "training"
    floor = None
    tolerance = 2e-3  # of the way gone

    @property
    def name(self) -> str:
        return f"{self.label or '-'.join(map(str, self.units))}, batch {self.batch}, {self.optimizer}"

    @property
    def rate(self) -> float:
        return RATES[self.optimizer]

    def draw(self) -> tuple[numpy.ndarray, numpy.ndarray, list[numpy.ndarray]]:
        """Inputs, labels and parameters (weights as units times inputs, and biases), the same in every process."""
        rng = numpy.random.default_rng(0)
        x = rng.uniform(0, 1, (self.batch, self.units[0])).astype(numpy.float32)
        labels = rng.integers(0, self.units[-1], self.batch)
        parameters = []
        for before, after in pairwise(self.units):
            bound = (6 / before) ** 0.5
            parameters.append(rng.uniform(-bound, bound, (after, before)).astype(numpy.float32))
            parameters.append(rng.uniform(-0.1, 0.1, after).astype(numpy.float32))
        return x, labels, parameters

    def drift(self, step: Step) -> float:
        """How far a step's parameters are off after ``STEPS``, over the way that they should have gone."""
        x, labels, start = self.draw()
        for _ in range(STEPS):
            step.value()
        ends = _trained(self, x.astype(float), labels, [p.astype(float) for p in start])
        found = step.parameters()
        if [p.shape for p in found] != [p.shape for p in start]:
            return numpy.inf
        off = sum(float(((a - b) ** 2).sum()) for a, b in zip(found, ends, strict=True))
        gone = sum(float(((a - b) ** 2).sum()) for a, b in zip(start, ends, strict=True))
        return float(numpy.nan_to_num((off / gone) ** 0.5, nan=numpy.inf))


@dataclass(frozen=True)
class Step(Way):
    """A step ready to be made, again and again. parameters: as NumPy's arrays, as they are then."""

    parameters: Callable[[], list[numpy.ndarray]] = field(default=list)


def forward(F: Any, x: Any, *parameters: Any) -> Any:
    """Scores, by the vocabulary of a contender."""
    for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
        x = F.relu(F.dense(x, weight, bias))
    return F.dense(x, *parameters[-2:])


def sgd(
    rate: float, parameters: list[Any], grads: list[Any], states: list[Any]
) -> tuple[list[Any], list[Any]]:
    """New parameters and velocities, by anybody's arithmetic."""
    states = [velocity * MOMENTUM - rate * grad for velocity, grad in zip(states, grads, strict=True)]
    return [p + velocity for p, velocity in zip(parameters, states, strict=True)], states


def adam(
    rate: float, parameters: list[Any], grads: list[Any], states: list[Any], count: Any, sqrt: Any
) -> tuple[list[Any], list[Any]]:
    """New parameters, and averages of gradients and of their squares, by anybody's arithmetic. count: of steps, this one
    included.
    """
    half = len(parameters)
    means = [m * BETA1 + (1 - BETA1) * g for m, g in zip(states[:half], grads, strict=True)]
    squares = [s * BETA2 + (1 - BETA2) * g * g for s, g in zip(states[half:], grads, strict=True)]
    pace, size = rate / (1 - BETA1**count), 1 / (1 - BETA2**count) ** 0.5
    new = [
        p - pace * m / (sqrt(s) * size + EPSILON) for p, m, s in zip(parameters, means, squares, strict=True)
    ]
    return new, [*means, *squares]


def _trained(
    training: Training, x: numpy.ndarray, labels: numpy.ndarray, parameters: list[Any]
) -> list[numpy.ndarray]:
    """The parameters after ``STEPS``, in float64."""
    states = [numpy.zeros_like(p) for p in parameters * (2 if training.optimizer == "adam" else 1)]
    for count in range(1, STEPS + 1):
        grads = gradients(x, labels, parameters)
        if training.optimizer == "sgd":
            parameters, states = sgd(training.rate, parameters, grads, states)
        else:
            parameters, states = adam(training.rate, parameters, grads, states, count, numpy.sqrt)
    return parameters


def gradients(x: numpy.ndarray, labels: numpy.ndarray, parameters: list[Any]) -> list[numpy.ndarray]:
    """Of the mean cross entropy, by hand."""
    weights, biases = parameters[::2], parameters[1::2]
    values = [x]  # that each layer takes
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        values.append(numpy.maximum(values[-1] @ weight.T + bias, 0))
    scores = values[-1] @ weights[-1].T + biases[-1]
    scores -= scores.max(axis=1, keepdims=True)
    numpy.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    scores[numpy.arange(len(x)), labels] -= 1
    scores /= len(x)
    grads: list[numpy.ndarray] = []
    for place in range(len(weights) - 1, -1, -1):
        grads[:0] = scores.T @ values[place], scores.sum(axis=0)
        if place:
            scores = scores @ weights[place]
            scores *= values[place] > 0
    return grads


_PICTURES = (784, 256, 128, 10)
_DEEP = (64,) * 17

TRAININGS = tuple(
    Training(units, batch, optimizer, target, label)
    for units, batch, target, label in (
        ((64, 64, 10), 32, 4.0, ""),
        (_PICTURES, 32, 2.0, ""),
        (_PICTURES, 128, 1.4, ""),
        (_PICTURES, 512, 1.25, ""),
        (_DEEP, 64, 2.0, "16 layers of 64"),
    )
    for optimizer in RATES
)
