"""The vocabulary in NumPy, for any float type: in float64 it says what results ought to be."""

from __future__ import annotations

import math
from typing import Any

import numpy

exp, tanh, sum, dot = numpy.exp, numpy.tanh, numpy.sum, numpy.dot  # the names of the vocabulary

_erf = numpy.vectorize(math.erf, otypes=[numpy.float64])


def relu(x: Any) -> Any:
    return numpy.maximum(x, 0)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + numpy.exp(-x))


def gelu(x: Any) -> Any:
    return x * (1 + _erf(x / math.sqrt(2))) / 2


def dense(x: Any, weight: Any, bias: Any) -> Any:
    return x @ weight.T + bias


def softmax(x: Any) -> Any:
    e = numpy.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def layer_norm(x: Any, gain: Any, shift: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred / numpy.sqrt(variance + 1e-5) * gain + shift


def halved(x: Any) -> Any:
    while numpy.abs(x).sum() > 1:
        x = x / 2
    return x
