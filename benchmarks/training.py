"""The steps of training of the benchmark: dense nets and LeNet-5, softmax cross entropy, SGD with momentum or Adam.

NOTE [whole steps]
A step takes a batch as NumPy's arrays, and leaves new parameters and states where the next step finds them: conversion,
forward, backward and the optimizer are all in it. Every contender begins with the same parameters and takes the same
batches; after ``STEPS`` of them its parameters must be where the same formulas in float64 come to. How far they are off is
measured by the way that was gone: root mean squares over all parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy

from benchmarks.contender import Way
from benchmarks.layers_by_hand import DenseLayer, Layer, Shape, gradients
from benchmarks.picture_nets import LENET_LAYERS

STEPS = 4  # before parameters are compared
RATES = {"sgd": 0.01, "adam": 0.001}
MOMENTUM, BETA1, BETA2, EPSILON = 0.9, 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Training:
    """``target``: how many times faster than the best peer blockfuse wants to be."""

    item: Shape  # of one input
    layers: tuple[Layer, ...]
    batch: int
    optimizer: str  # a name of ``RATES``
    target: float | None = None
    label: str = ""  # in place of the sizes
    group = "training"
    floor = None
    tolerance = 2e-3  # of the way gone

    @property
    def name(self) -> str:
        sizes = (*self.item, *(after for _, (after, *_) in self.shapes))
        return f"{self.label or '-'.join(map(str, sizes))}, batch {self.batch}, {self.optimizer}"

    @property
    def shapes(self) -> list[tuple[Shape, Shape]]:
        """Of the weight and of an item of the result of each layer."""
        found, before = [], self.item
        for layer in self.layers:
            weight, before = layer.shapes(before)
            found.append((weight, before))
        return found

    @property
    def rate(self) -> float:
        return RATES[self.optimizer]

    def draw(self) -> tuple[numpy.ndarray, numpy.ndarray, list[numpy.ndarray]]:
        """Inputs, labels and parameters (weights as units times inputs, and biases), the same in every process."""
        rng = numpy.random.default_rng(0)
        x = rng.uniform(0, 1, (self.batch, *self.item)).astype(numpy.float32)
        labels = rng.integers(0, self.shapes[-1][1][0], self.batch)
        parameters = []
        for weight, _ in self.shapes:
            bound = (6 / prod(weight[1:])) ** 0.5
            parameters.append(rng.uniform(-bound, bound, weight).astype(numpy.float32))
            parameters.append(rng.uniform(-0.1, 0.1, weight[0]).astype(numpy.float32))
        return x, labels, parameters

    def forward(self, F: Any, x: Any, *parameters: Any) -> Any:
        """Scores, by the vocabulary of a contender."""
        for layer, weight, bias in zip(self.layers, parameters[::2], parameters[1::2], strict=True):
            x = layer.forward(F, x, weight, bias)
        return x

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
        grads = gradients(training.layers, x, labels, parameters)
        if training.optimizer == "sgd":
            parameters, states = sgd(training.rate, parameters, grads, states)
        else:
            parameters, states = adam(training.rate, parameters, grads, states, count, numpy.sqrt)
    return parameters


def _dense(*units: int) -> tuple[Layer, ...]:
    return (*map(DenseLayer, units[:-1]), DenseLayer(units[-1], relu=False))


_PICTURES = _dense(256, 128, 10)

TRAININGS = tuple(
    Training(item, layers, batch, optimizer, target, label)
    for item, layers, batch, target, label in (
        ((64,), _dense(64, 10), 32, 4.0, ""),
        ((784,), _PICTURES, 32, 2.0, ""),
        ((784,), _PICTURES, 128, 1.4, ""),
        ((784,), _PICTURES, 512, 1.25, ""),
        ((64,), _dense(*(64,) * 16), 64, 2.0, "16 layers of 64"),
        ((1, 28, 28), LENET_LAYERS, 64, 3.0, "LeNet-5"),
    )
    for optimizer in RATES
)
