"""Operators of neural networks, most of them written with simpler ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy

from blockfuse.ir.lowering import Composite
from blockfuse.ir.operator import Example, Operator, row
from blockfuse.ir.operators.pointwise import (
    absolute,
    cast,
    exp,
    expm1,
    floating,
    greater,
    less_equal,
    log,
    negative,
    pointwise,
    same,
    square,
    tanh,
    where,
)
from blockfuse.ir.operators.reductions import max_, sum_
from blockfuse.ir.types import TensorType

# NOTE [halves]
# The meanings below compute float16 in float32, and round once: a sum of 70000 weights of a softmax, or the square of 300,
# is beyond the largest half. No kernel computes float16, so this is what programs do, too.


def in_float32(meaning: Callable[..., numpy.ndarray]) -> Callable[..., numpy.ndarray]:
    """``meaning`` with a first operand of float16 taken as float32; see NOTE [halves]."""

    @wraps(meaning)
    def widened(x: numpy.ndarray, *others: numpy.ndarray, **attrs: Any) -> numpy.ndarray:
        if x.dtype != numpy.float16:
            return meaning(x, *others, **attrs)
        dtype = numpy.result_type(x, *others)
        with numpy.errstate(over="ignore"):  # an infinity that NumPy's own halves would give
            return meaning(x.astype(numpy.float32), *others, **attrs).astype(dtype)

    return widened


def floated(x: Any) -> Any:
    """``x``, or float64 where it is not a float: integers wrap, and NumPy takes the exponential of int8 in float16."""
    return x if x.dtype.kind == "f" else cast(x, dtype="float64")


# -- activations ---------------------------------------------------------------------------------------------


def _relu(x: numpy.ndarray) -> numpy.ndarray:
    return numpy.maximum(x, numpy.zeros((), x.dtype))


relu: Operator = pointwise(
    "relu",
    _relu,
    "relu({0})",
    lambda g, out, x: (where(less_equal(out, 0), 0, g),),
    loop=same,
    arity=1,
    kinds="fiu",
    low=0.5,
)


@in_float32
def _sigmoid(x: numpy.ndarray) -> numpy.ndarray:
    """1 / (1 + exp(-x)) without overflow, in the dtype of x."""
    x = x.astype(floating(x.dtype)[0])
    with numpy.errstate(over="ignore", under="ignore"):
        small = numpy.exp(-numpy.abs(x))
        return numpy.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype)


sigmoid: Operator = pointwise(
    "sigmoid",
    _sigmoid,
    "sigmoid({0})",
    lambda g, out, x: (g * out * (1 - out),),
    loop=floating,
    arity=1,
    kinds="f",
    cost=24,
)


def _erf(x: numpy.ndarray) -> numpy.ndarray:
    """The error function, from the C library in double precision."""
    values = numpy.asarray(x, floating(x.dtype)[0])
    return _erf_of(values.astype("float64")).astype(values.dtype)


_erf_of = numpy.vectorize(math.erf, otypes=["float64"])
erf: Operator = pointwise(
    "erf",
    _erf,
    "erf({0})",
    lambda g, out, x: (g * exp(negative(square(x))) * (2 / math.sqrt(math.pi)),),
    loop=floating,
    arity=1,
    kinds="f",
    cost=30,
)


@in_float32
def _softplus(x: numpy.ndarray) -> numpy.ndarray:
    """log(1 + exp(x)) without overflow."""
    values = numpy.asarray(x, floating(x.dtype)[0])
    with numpy.errstate(under="ignore"):
        return numpy.asarray(
            numpy.maximum(values, 0) + numpy.log1p(numpy.exp(-numpy.abs(values))), values.dtype
        )


softplus: Operator = pointwise(
    "softplus",
    _softplus,
    "softplus({0})",
    lambda g, out, x: (g * sigmoid(x),),
    loop=floating,
    arity=1,
    kinds="f",
    cost=50,
)


def _leaky(x: Any, slope: float) -> Any:
    return where(greater(x, 0), x, x * slope)


def _elu(x: Any, alpha: float) -> Any:
    values = floated(x)
    return where(greater(values, 0), values, expm1(where(greater(values, 0), 0, values)) * alpha)


def _silu(x: Any) -> Any:
    return x * sigmoid(x)


def _gelu(x: Any, approximate: bool) -> Any:
    x = floated(x)
    if approximate:  # Hendrycks and Gimpel 2016, equation in section 2
        return x * sigmoid((x + x * square(x) * 0.044715) * (2 * math.sqrt(2 / math.pi)))
    return x * (erf(x * math.sqrt(0.5)) + 1) * 0.5


def _floating_type(x: TensorType, **attrs: Any) -> TensorType:
    return TensorType(x.shape, floating(x.dtype)[0])


def _leaky_meaning(x: numpy.ndarray, slope: float) -> numpy.ndarray:
    return numpy.where(x > 0, x, x * slope)


@in_float32
def _elu_meaning(x: numpy.ndarray, alpha: float) -> numpy.ndarray:
    values = x.astype(floating(x.dtype)[0])
    return numpy.where(values > 0, values, numpy.expm1(numpy.where(values > 0, 0, values)) * alpha)


@in_float32
def _silu_meaning(x: numpy.ndarray) -> numpy.ndarray:
    return x * _sigmoid(x)


@in_float32
def _gelu_meaning(x: numpy.ndarray, approximate: bool) -> numpy.ndarray:
    x = x.astype(floating(x.dtype)[0])
    if approximate:
        return x * _sigmoid((x + 0.044715 * x * x * x) * (2 * math.sqrt(2 / math.pi)))
    return x * (1 + _erf(x * math.sqrt(0.5))) * 0.5


def _silu_gradient(g: Any, out: Any, x: Any) -> tuple[Any]:
    gate = sigmoid(x)
    return (g * (gate + out * (1 - gate)),)


def _gelu_gradient(g: Any, out: Any, x: Any, approximate: bool) -> tuple[Any]:
    if not approximate:
        density = exp(square(x) * -0.5) * (1 / math.sqrt(2 * math.pi))
        return (g * ((erf(x * math.sqrt(0.5)) + 1) * 0.5 + x * density),)
    slope = (square(x) * (3 * 0.044715) + 1) * (2 * math.sqrt(2 / math.pi))
    gate = sigmoid((x + x * square(x) * 0.044715) * (2 * math.sqrt(2 / math.pi)))
    return (g * (gate + out * (1 - gate) * slope),)


_AWAY_FROM_ZERO = 0.5
leaky_relu = row(
    "leaky_relu",
    _leaky_meaning,
    Composite(_leaky),
    type_rule=_floating_type,
    gradient=lambda g, out, x, slope: (where(greater(x, 0), g, g * slope),),
    examples=(Example(((3, 5),), {"slope": 0.25}, _AWAY_FROM_ZERO),),
)
elu = row(
    "elu",
    _elu_meaning,
    Composite(_elu),
    type_rule=_floating_type,
    gradient=lambda g, out, x, alpha: (where(greater(x, 0), g, g * (out + alpha)),),
    examples=(Example(((3, 5),), {"alpha": 1.0}, _AWAY_FROM_ZERO),),
)
silu = row(
    "silu",
    _silu_meaning,
    Composite(_silu),
    type_rule=_floating_type,
    gradient=_silu_gradient,
    examples=(Example(((3, 5),)),),
)
gelu = row(
    "gelu",
    _gelu_meaning,
    Composite(_gelu),
    type_rule=_floating_type,
    gradient=_gelu_gradient,
    examples=(Example(((3, 5),), {"approximate": False}), Example(((3, 5),), {"approximate": True})),
)

# -- activations that no row is needed for -------------------------------------------------------------------


def softsign(x: Any) -> Any:
    """``x / (1 + abs(x))``."""
    values = floated(x)
    return values / (absolute(values) + 1)


def log_sigmoid(x: Any) -> Any:
    """``log(sigmoid(x))`` without overflow."""
    return negative(softplus(negative(floated(x))))


def mish(x: Any) -> Any:
    """``x * tanh(softplus(x))``."""
    return x * tanh(softplus(x))


# -- softmax -------------------------------------------------------------------------------------------------


def _shifted(x: Any, axis: int) -> Any:
    return floated(x) - floated(max_(x, axis=(axis,), keepdims=True))


def _softmax(x: Any, axis: int) -> Any:
    weights = exp(_shifted(x, axis))
    return weights / sum_(weights, axis=(axis,), keepdims=True)


def _log_softmax(x: Any, axis: int) -> Any:
    shifted = _shifted(x, axis)
    return shifted - log(sum_(exp(shifted), axis=(axis,), keepdims=True))


@in_float32
def _softmax_meaning(x: numpy.ndarray, axis: int) -> numpy.ndarray:
    values = numpy.asarray(x, floating(x.dtype)[0])
    weights = numpy.exp(values - values.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True)


@in_float32
def _log_softmax_meaning(x: numpy.ndarray, axis: int) -> numpy.ndarray:
    values = numpy.asarray(x, floating(x.dtype)[0])
    shifted = values - values.max(axis=axis, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(axis=axis, keepdims=True))


def softmax_gradient(g: Any, out: Any, axis: int) -> Any:
    """Of any softmax: where its result is 0, no gradient flows."""
    return (g - sum_(g * out, axis=(axis,), keepdims=True)) * out


_ONE_AXIS = (Example(((3, 5),), {"axis": 1}), Example(((2, 3, 4),), {"axis": 1}))
softmax = row(
    "softmax",
    _softmax_meaning,
    Composite(_softmax),
    type_rule=_floating_type,
    gradient=lambda g, out, x, axis: (softmax_gradient(g, out, axis),),
    examples=_ONE_AXIS,
)
log_softmax = row(
    "log_softmax",
    _log_softmax_meaning,
    Composite(_log_softmax),
    type_rule=_floating_type,
    gradient=lambda g, out, x, axis: (g - exp(out) * sum_(g, axis=(axis,), keepdims=True),),
    examples=_ONE_AXIS,
)
