"""Rules of operators that go through elements: arithmetic, comparisons, activations, casts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array import npx
from blockfuse.frontends.onnx.rules.table import Value, rule
from blockfuse.frontends.onnx.rules.values import along, dtype_of, size_of

_UNARY: dict[str, Callable[..., Any]] = {
    "Abs": numpy.absolute,
    "Acos": numpy.arccos,
    "Acosh": numpy.arccosh,
    "Asin": numpy.arcsin,
    "Asinh": numpy.arcsinh,
    "Atan": numpy.arctan,
    "Atanh": numpy.arctanh,
    "BitwiseNot": numpy.invert,
    "Ceil": numpy.ceil,
    "Cos": numpy.cos,
    "Cosh": numpy.cosh,
    "Erf": npx.erf,
    "Exp": numpy.exp,
    "Floor": numpy.floor,
    "IsNaN": numpy.isnan,
    "Log": numpy.log,
    "Mish": npx.mish,
    "Neg": numpy.negative,
    "Not": numpy.logical_not,
    "Reciprocal": numpy.reciprocal,
    "Round": numpy.rint,
    "Sigmoid": npx.sigmoid,
    "Sign": numpy.sign,
    "Sin": numpy.sin,
    "Sinh": numpy.sinh,
    "Softplus": npx.softplus,
    "Softsign": npx.softsign,
    "Sqrt": numpy.sqrt,
    "Tan": numpy.tan,
    "Tanh": numpy.tanh,
}
_BINARY: dict[str, Callable[..., Any]] = {
    "Add": numpy.add,
    "And": numpy.logical_and,
    "BitwiseAnd": numpy.bitwise_and,
    "BitwiseOr": numpy.bitwise_or,
    "BitwiseXor": numpy.bitwise_xor,
    "Equal": numpy.equal,
    "Greater": numpy.greater,
    "GreaterOrEqual": numpy.greater_equal,
    "Less": numpy.less,
    "LessOrEqual": numpy.less_equal,
    "Mul": numpy.multiply,
    "Or": numpy.logical_or,
    "Sub": numpy.subtract,
    "Xor": numpy.logical_xor,
}


def _declare_unary(operator: str, function: Callable[..., Any]) -> None:
    @rule(operator)
    def apply(x: Value) -> Value:
        return function(x)


def _declare_binary(operator: str, function: Callable[..., Any]) -> None:
    @rule(operator)
    def apply(a: Value, b: Value) -> Value:
        return function(a, b)


for _name, _function in _UNARY.items():
    _declare_unary(_name, _function)
for _name, _function in _BINARY.items():
    _declare_binary(_name, _function)


# -- arithmetic --------------------------------------------------------------------------------------------------


@rule("Div")
def divided(a: Value, b: Value) -> Value:
    """Of integers, the quotient towards zero."""
    if a.dtype.kind == "f":
        return numpy.divide(a, b)
    quotient = numpy.floor_divide(a, b)
    if a.dtype.kind == "u":
        return quotient
    below = numpy.logical_and(numpy.not_equal(numpy.remainder(a, b), 0), numpy.less(a, 0) != numpy.less(b, 0))
    return quotient + below.astype(a.dtype)


@rule("Mod")
def modulo(a: Value, b: Value, fmod: int = 0) -> Value:
    """The sign is the divisor's, or with ``fmod`` the dividend's."""
    return numpy.fmod(a, b) if fmod else numpy.remainder(a, b)


@rule("Pow")
def power(x: Value, y: Value) -> Value:
    """The dtype is that of the base."""
    if x.dtype.kind == "f":
        return numpy.power(x, y.astype(x.dtype))
    if y.dtype.kind == "f":
        return numpy.power(x.astype("float64"), y).astype(x.dtype)
    return numpy.power(x, y.astype(x.dtype))


@rule("BitShift")
def bit_shift(x: Value, y: Value, direction: str = "LEFT") -> Value:
    """The count is of the same unsigned dtype."""
    return numpy.left_shift(x, y) if direction == "LEFT" else numpy.right_shift(x, y)


@rule("Max")
def largest(*values: Value) -> Value:
    """Of any number of values, broadcast."""
    return _folded(numpy.maximum, values)


@rule("Min")
def smallest(*values: Value) -> Value:
    """As ``Max``."""
    return _folded(numpy.minimum, values)


@rule("Sum")
def summed(*values: Value) -> Value:
    """As ``Max``."""
    return _folded(numpy.add, values)


@rule("Mean")
def averaged(*values: Value) -> Value:
    """As ``Max``."""
    return _folded(numpy.add, values) / len(values)


def _folded(function: Callable[..., Any], values: tuple[Value, ...]) -> Value:
    total = values[0]
    for value in values[1:]:
        total = function(total, value)
    return total


@rule("Clip")
def clip(x: Value, min: Value = None, max: Value = None) -> Value:
    """Where the bounds cross, the upper one counts."""
    x = x if min is None else numpy.maximum(x, _bound(min, x))
    return x if max is None else numpy.minimum(x, _bound(max, x))


def _bound(value: Value, x: Value) -> Value:
    return numpy.array(value, x.dtype) if isinstance(value, float) else value


# -- choices and tests ---------------------------------------------------------------------------------------------


@rule("Where")
def where(condition: Value, x: Value, y: Value) -> Value:
    """``x`` where the condition holds."""
    return numpy.where(condition, x, y)


@rule("IsInf")
def is_infinite(x: Value, detect_negative: int = 1, detect_positive: int = 1) -> Value:
    """Of the signs that are asked for."""
    found = numpy.isinf(x)
    if not detect_negative:
        found = numpy.logical_and(found, numpy.greater(x, 0))
    return found if detect_positive else numpy.logical_and(found, numpy.less(x, 0))


@rule("Identity")
def identity(x: Value) -> Value:
    """The value itself."""
    return x


# -- dtypes --------------------------------------------------------------------------------------------------------


@rule("Cast")
def cast(x: Value, to: int = 1, saturate: int = 1, round_mode: str = "up") -> Value:  # of 8-bit floats
    """As NumPy converts."""
    return x.astype(dtype_of(to))


@rule("CastLike")
def cast_like(x: Value, like: Value, saturate: int = 1, round_mode: str = "up") -> Value:
    """As NumPy converts."""
    return x.astype(like.dtype)


@rule("BitCast")
def bit_cast(x: Value, to: int = 1) -> Value:
    """The same bits in another dtype of that width: an escape."""
    return numpy.asarray(x).view(dtype_of(to))


# -- activations ---------------------------------------------------------------------------------------------------


@rule("Relu")
def relu(x: Value) -> Value:
    """Nothing below zero."""
    return npx.relu(x) if x.dtype.kind == "f" else numpy.maximum(x, numpy.zeros((), x.dtype))


@rule("LeakyRelu")
def leaky_relu(x: Value, alpha: float = 0.01) -> Value:
    """A slope below zero."""
    return numpy.where(numpy.less(x, 0), x * alpha, x)


@rule("PRelu")
def prelu(x: Value, slope: Value) -> Value:
    """A slope below zero that is learnt."""
    return numpy.where(numpy.less(x, 0), x * slope, x)


@rule("Elu")
def elu(x: Value, alpha: float = 1.0) -> Value:
    """An exponential below zero."""
    return numpy.where(numpy.less(x, 0), numpy.expm1(numpy.minimum(x, 0)) * alpha, x)


@rule("Celu")
def celu(x: Value, alpha: float = 1.0) -> Value:
    """As ``Elu``, smooth at zero."""
    return numpy.maximum(x, 0) + numpy.minimum(numpy.expm1(numpy.minimum(x, 0) / alpha) * alpha, 0)


@rule("Selu")
def selu(
    x: Value, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> Value:
    """``Elu`` times ``gamma``."""
    return numpy.where(numpy.greater(x, 0), x, numpy.expm1(numpy.minimum(x, 0)) * alpha) * gamma


@rule("Gelu")
def gelu(x: Value, approximate: str = "none") -> Value:
    """By the error function, or by tanh."""
    if approximate == "tanh":
        return x * 0.5 * (numpy.tanh((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)) + 1)
    return npx.gelu(x)


@rule("HardSigmoid")
def hard_sigmoid(x: Value, alpha: float = 0.2, beta: float = 0.5) -> Value:
    """A line between 0 and 1."""
    return numpy.minimum(numpy.maximum(x * alpha + beta, 0), 1)


@rule("HardSwish")
def hard_swish(x: Value) -> Value:
    """The value times a line between 0 and 1."""
    return x * hard_sigmoid(x, 1 / 6, 0.5)


@rule("Swish")
def swish(x: Value, alpha: float = 1.0) -> Value:
    """The value times the sigmoid of ``alpha`` times it."""
    return x * npx.sigmoid(x * alpha)


@rule("SwiGLU")
def swiglu(a: Value, b: Value, alpha: float = 1.0) -> Value:
    """``b`` behind a gate."""
    return swish(a, alpha) * b


@rule("Shrink")
def shrink(x: Value, bias: float = 0.0, lambd: float = 0.5) -> Value:
    """Zero near zero, and nearer to it elsewhere."""
    moved = numpy.where(numpy.less(x, -lambd), x + bias, numpy.where(numpy.greater(x, lambd), x - bias, 0))
    return moved.astype(x.dtype)


@rule("ThresholdedRelu")
def thresholded_relu(x: Value, alpha: float = 1.0) -> Value:
    """Zero up to ``alpha``."""
    return numpy.where(numpy.greater(x, alpha), x, numpy.zeros((), x.dtype))


# -- along an axis -------------------------------------------------------------------------------------------------


@rule("Softmax", since=13)
def softmax(x: Value, axis: int = -1) -> Value:
    """Along one axis."""
    return npx.softmax(x, axis=axis)


@rule("LogSoftmax", since=13)
def log_softmax(x: Value, axis: int = -1) -> Value:
    """Along one axis."""
    return npx.log_softmax(x, axis=axis)


@rule("Hardmax", since=13)
def hardmax(x: Value, axis: int = -1) -> Value:
    """One at the first of the largest, zero elsewhere."""
    places = along(numpy.arange(size_of(x, axis)), axis, x.ndim)
    return numpy.equal(places, numpy.expand_dims(numpy.argmax(x, axis=axis), axis)).astype(x.dtype)


def _of_matrix(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(x: Value, axis: int = 1) -> Value:
        """Over all axes from ``axis`` on together."""
        axis = axis % max(x.ndim, 1)
        rows = math.prod(x.shape[:axis])
        return function(x.reshape((rows, -1)), -1).reshape(x.shape)

    return apply


rule("Softmax", until=12)(_of_matrix(softmax))
rule("LogSoftmax", until=12)(_of_matrix(log_softmax))
rule("Hardmax", until=12)(_of_matrix(hardmax))
