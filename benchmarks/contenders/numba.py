"""Numba by hand: the formula as one ``njit`` function over ``np.dot`` and loops, weights turned beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy

from benchmarks.contender import UnsupportedNetError, Way
from benchmarks.nets import Net

_compiled = numba.njit(fastmath={"contract", "nsz"}, error_model="numpy")


@_compiled
def dense(x: Any, turned: Any, bias: Any) -> Any:
    out = numpy.dot(x, turned)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] += bias[j]
    return out


@_compiled
def relu(x: Any) -> Any:
    return numpy.maximum(x, numpy.float32(0))


@_compiled
def sigmoid(x: Any) -> Any:
    return numpy.float32(1) / (numpy.float32(1) + numpy.exp(-x))


@_compiled
def softmax(x: Any) -> Any:
    out = numpy.empty_like(x)
    for i in range(x.shape[0]):
        largest, total = x[i].max(), numpy.float32(0)
        for j in range(x.shape[1]):
            out[i, j] = numpy.exp(x[i, j] - largest)
            total += out[i, j]
        out[i] /= total
    return out


@_compiled
def gelu(x: Any) -> Any:
    out, half, root = numpy.empty_like(x), numpy.float32(0.5), numpy.float32(math.sqrt(0.5))
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = half * x[i, j] * (numpy.float32(1) + math.erf(x[i, j] * root))
    return out


@_compiled
def layer_norm(x: Any, gain: Any, shift: Any) -> Any:
    out = numpy.empty_like(x)
    for i in range(x.shape[0]):
        mean = x[i].mean()
        centred = x[i] - numpy.float32(mean)
        variance = (centred * centred).mean()
        out[i] = centred * numpy.float32(1 / math.sqrt(variance + 1e-5)) * gain + shift
    return out


@_compiled
def halved(x: Any) -> Any:
    while numpy.abs(x).sum() > 1:
        x = x * numpy.float32(0.5)
    return x


_FUNCTIONS = {
    **{f.__name__: f for f in (dense, relu, sigmoid, softmax, gelu, layer_norm, halved)},
    "dot": numpy.dot,
    "exp": numpy.exp,
    "tanh": numpy.tanh,
    "sum": numpy.sum,
}


class _Value:
    """A name in the function, with the arithmetic that formulas use."""

    def __init__(self, name: str, writer: _Writer) -> None:
        self.name, self.writer = name, writer

    def __add__(self, other: Any) -> _Value:
        return self.writer.line("{} + {}", self, other)

    def __sub__(self, other: Any) -> _Value:
        return self.writer.line("{} - {}", self, other)

    def __mul__(self, other: Any) -> _Value:
        return self.writer.line("{} * {}", self, other)


class _Writer:
    """The vocabulary: each operator appends a line of the function."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., _Value]:
        if name not in _FUNCTIONS:
            raise UnsupportedNetError(f"nobody wrote {name} for it")
        return lambda *operands: self.line(f"{name}({', '.join('{}' for _ in operands)})", *operands)

    def line(self, text: str, *operands: Any) -> _Value:
        texts = [o.name if isinstance(o, _Value) else f"float32({o!r})" for o in operands]
        result = _Value(f"v{len(self.lines)}", self)
        self.lines.append(f"    {result.name} = {text.format(*texts)}")
        return result


def build(net: Net, threads: int) -> list[Way]:
    x, drawn = net.draw()
    writer = _Writer()
    names = [f"p{n}" for n in range(len(drawn))]
    result = net.forward(writer, _Value("x", writer), *(_Value(name, writer) for name in names))
    text = "\n".join([f"def net({', '.join(['x', *names])}):", *writer.lines, f"    return {result.name}"])
    scope: dict[str, Any] = {**_FUNCTIONS, "float32": numpy.float32}
    exec(text, scope)
    turned = [_turned(p, name, text) for p, name in zip(drawn, names, strict=True)]
    call = _compiled(scope["net"])
    return [Way("call(x, *p)", {"call": call, "x": x, "p": tuple(turned)}, arrays="both")]


def _turned(parameter: numpy.ndarray, name: str, text: str) -> numpy.ndarray:
    """Weights of dense layers as ``np.dot`` reads them best."""
    is_weight = parameter.ndim == 2 and any(f", {name}, " in line for line in text.splitlines()[1:])
    return numpy.ascontiguousarray(parameter.T) if is_weight else parameter
