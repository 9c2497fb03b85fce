"""NumPy as one would write it by hand: weights turned beforehand, in-place steps where they save memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy

from benchmarks import nets
from benchmarks.contender import UnsupportedNetError, Way
from benchmarks.contenders import reference


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
)


def build(net: nets.Net, threads: int) -> list[Way]:
    x, drawn = net.draw()
    fixed = net.forward in (nets.fixed_hidden, nets.chimera) and drawn[-3]
    parameters = [p if p.ndim == 1 or p is fixed else numpy.ascontiguousarray(p.T) for p in drawn]
    return [Way("call(F, x, *parameters)", {"call": net.forward, "F": F, "x": x, "parameters": parameters})]
