"""NumPy as one would write it by hand: weights turned beforehand, in-place steps where they save memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy

from benchmarks import nets
from benchmarks.contender import UnsupportedNetError, Way
from benchmarks.contenders import reference
from benchmarks.layers_by_hand import gradients
from benchmarks.training import BETA1, BETA2, EPSILON, MOMENTUM, Step, Training


def relu(x: Any) -> Any:
    return numpy.maximum(x, 0, out=x)


def dense(x: Any, turned: Any, bias: Any) -> Any:
    x = x @ turned
    x += bias
    return x


def sigmoid(x: Any) -> Any:
    x = numpy.exp(-x)
    x += 1
    return numpy.reciprocal(x, out=x)


def softmax(x: Any) -> Any:
    x -= x.max(axis=-1, keepdims=True)
    numpy.exp(x, out=x)
    x /= x.sum(axis=-1, keepdims=True)
    return x


def gelu(x: Any) -> Any:
    raise UnsupportedNetError("NumPy has no erf")


def halved(x: Any) -> Any:
    while numpy.abs(x).sum() > 1:
        x /= 2
    return x


F = SimpleNamespace(
    dense=dense,
    relu=relu,
    dot=numpy.dot,
    exp=numpy.exp,
    tanh=numpy.tanh,
    sigmoid=sigmoid,
    softmax=softmax,
    gelu=gelu,
    halved=halved,
    layer_norm=reference.layer_norm,
    sum=numpy.sum,
    flat=reference.flat,
    relu6=reference.relu6,
    convolution=reference.convolution,
    batch_norm=reference.batch_norm,
    max_pool=reference.max_pool,
    wide_pool=reference.wide_pool,
    mean_of_channels=reference.mean_of_channels,
)


def build(net: nets.Net, threads: int) -> list[Way]:
    x, drawn = net.draw()
    if net.group == "sequences":
        scope = {"call": net.forward, "F": reference, "x": x, "parameters": drawn}
        return [Way("call(F, x, *parameters)", scope)]
    fixed = net.forward in (nets.fixed_hidden, nets.chimera) and drawn[-3]
    parameters = [numpy.ascontiguousarray(p.T) if p.ndim == 2 and p is not fixed else p for p in drawn]
    scope = {"call": net.forward, "F": F, "x": x, "parameters": parameters}
    return [Way("call(F, x, *parameters)", scope, arrays="both")]


class ByHand:
    """A step whose parameters and states are written in place."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.parameters = [p.copy() for p in training.draw()[2]]
        self.states = [numpy.zeros_like(p) for p in self.parameters]
        self.squares = [numpy.zeros_like(p) for p in self.parameters]
        self.count = 0
        self.update = self._sgd if training.optimizer == "sgd" else self._adam

    def __call__(self, x: numpy.ndarray, labels: numpy.ndarray) -> None:
        self.count += 1
        self.update(gradients(self.training.layers, x, labels, self.parameters))

    def _sgd(self, grads: list[numpy.ndarray]) -> None:
        rate = numpy.float32(self.training.rate)
        for parameter, velocity, grad in zip(self.parameters, self.states, grads, strict=True):
            velocity *= numpy.float32(MOMENTUM)
            grad *= rate
            velocity -= grad
            parameter += velocity

    def _adam(self, grads: list[numpy.ndarray]) -> None:
        pace = numpy.float32(self.training.rate / (1 - BETA1**self.count))
        size = numpy.float32(1 / (1 - BETA2**self.count) ** 0.5)
        for parameter, mean, square, grad in zip(
            self.parameters, self.states, self.squares, grads, strict=True
        ):
            mean *= numpy.float32(BETA1)
            mean += grad * numpy.float32(1 - BETA1)
            square *= numpy.float32(BETA2)
            grad *= grad
            grad *= numpy.float32(1 - BETA2)
            square += grad
            numpy.sqrt(square, out=grad)
            grad *= size
            grad += numpy.float32(EPSILON)
            numpy.divide(mean, grad, out=grad)
            grad *= pace
            parameter -= grad


def train(training: Training, threads: int) -> list[Step]:
    x, labels, _ = training.draw()
    step = ByHand(training)
    return [Step("step(x, y)", {"step": step, "x": x, "y": labels}, parameters=lambda: step.parameters)]
