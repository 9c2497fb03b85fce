"""Rules of functions of one element of each operand, and of activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blockfuse.array import np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.keras.rules.table import Array, Op, Value, refuse_if, rule
from blockfuse.frontends.keras.rules.values import as_float, option

# Operation -> what it is of ours, of floats.
_FLOATS: dict[str, Callable[[Any], Any]] = {
    "Exp": np.exp,
    "Exp2": np.exp2,
    "Expm1": np.expm1,
    "Log": np.log,
    "Log2": np.log2,
    "Log10": np.log10,
    "Log1p": np.log1p,
    "Sqrt": np.sqrt,
    "Rsqrt": lambda x: 1 / np.sqrt(x),
    "Sin": np.sin,
    "Cos": np.cos,
    "Tan": np.tan,
    "Arcsin": np.arcsin,
    "Arccos": np.arccos,
    "Arctan": np.arctan,
    "Sinh": np.sinh,
    "Cosh": np.cosh,
    "Tanh": np.tanh,
    "Arcsinh": np.arcsinh,
    "Arccosh": np.arccosh,
    "Arctanh": np.arctanh,
    "Erf": npx.erf,
    "Deg2rad": np.deg2rad,
    "Rad2deg": np.rad2deg,
    "Reciprocal": np.reciprocal,
    "Sigmoid": npx.sigmoid,
    "Softplus": npx.softplus,
    "Softsign": npx.softsign,
    "Silu": npx.silu,
    "LogSigmoid": npx.log_sigmoid,
    "TanhShrink": lambda x: x - np.tanh(x),
    "HardSigmoid": lambda x: _hard_sigmoid(x),
    "HardSilu": lambda x: x * _hard_sigmoid(x),
    "HardTanh": lambda x: np.clip(x, -1, 1),
    "SparseSigmoid": lambda x: np.clip(x * 0.5 + 0.5, 0, 1),
    "SparsePlus": lambda x: np.where(
        x >= 1, x, np.where(x <= -1, np.zeros((), x.dtype), (x + 1) * (x + 1) * 0.25)
    ),
    "Selu": lambda x: _elu(x, 1.6732632423543772) * 1.0507009873554805,
}
# The same of those that keep the dtype, or give flags.
_KEPT: dict[str, Callable[[Any], Any]] = {
    "Absolute": np.abs,
    "Abs": np.abs,
    "Negative": np.negative,
    "Square": np.square,
    "Sign": np.sign,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Trunc": np.trunc,
    "Relu": npx.relu,
    "Relu6": lambda x: np.clip(x, 0, 6),
    "Isnan": np.isnan,
    "Isinf": np.isinf,
    "Isfinite": np.isfinite,
    "LogicalNot": lambda x: np.logical_not(x.astype(bool)),
    "StopGradient": lambda x: x,
    "Copy": lambda x: x.copy(),
    "BitwiseNot": np.bitwise_not,
    "BitwiseInvert": np.bitwise_not,
}
_OF_TWO: dict[str, Callable[[Any, Any], Any]] = {
    "Add": np.add,
    "Subtract": np.subtract,
    "Multiply": np.multiply,
    "Divide": np.divide,
    "TrueDivide": np.divide,
    "FloorDivide": np.floor_divide,
    "Mod": np.mod,
    "Power": np.power,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Arctan2": np.arctan2,
    "Hypot": np.hypot,
    "Logaddexp": np.logaddexp,
    "Equal": np.equal,
    "NotEqual": np.not_equal,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
}
_OF_FLAGS: dict[str, Callable[[Any, Any], Any]] = {
    "LogicalAnd": np.logical_and,
    "LogicalOr": np.logical_or,
    "LogicalXor": np.logical_xor,
}


def _hard_sigmoid(x: Array) -> Array:
    return np.clip(x / 6 + 0.5, 0, 1)


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _of_floats(function: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda op, x: function(as_float(x))


def _of_any(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda op, *operands: function(*operands)


def _of_flags(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda op, x, y: function(*(v.astype(bool) if isinstance(v, ndarray) else bool(v) for v in (x, y)))


for _name, _function in _FLOATS.items():
    rule(_name)(_of_floats(_function))
for _name, _function in _KEPT.items():
    rule(_name)(_of_any(_function))
for _name, _of_both in _OF_TWO.items():
    rule(_name)(_of_any(_of_both))
for _name, _of_both in _OF_FLAGS.items():
    rule(_name)(_of_flags(_of_both))


@rule("Elu", "Celu")
def elu(op: Op, x: Array) -> Array:
    """Clevert et al. 2016; Barron 2017 of ``x / alpha`` below 0."""
    if type(op).__name__ == "Elu":
        return _elu(x, op.alpha)
    return np.maximum(x, 0) + op.alpha * np.expm1(np.minimum(x, 0) / op.alpha)


@rule("LeakyRelu")
def leaky_relu(op: Op, x: Array) -> Array:
    """Maas et al. 2013."""
    return np.where(x > 0, x, x * op.negative_slope)


@rule("ReLU")
def relu(op: Op, x: Array) -> Array:
    """Keras's activation, with a slope below a threshold and a bound above."""
    refuse_if(op.threshold != 0, "a threshold")
    found = npx.relu(x) if op.negative_slope == 0 else np.where(x > 0, x, x * op.negative_slope)
    return found if op.max_value is None else np.minimum(found, op.max_value)


@rule("Gelu")
def gelu(op: Op, x: Array) -> Array:
    """Hendrycks and Gimpel 2016."""
    return npx.gelu(x, "tanh" if op.approximate else "erf")


@rule("Squareplus")
def squareplus(op: Op, x: Array) -> Array:
    """Barron 2021."""
    return (x + np.sqrt(np.square(x) + op.b)) / 2


@rule("Threshold")
def threshold(op: Op, x: Array) -> Array:
    """Another value for what is not above one."""
    return np.where(x > op.threshold, x, np.full((), op.default_value, x.dtype))


@rule("HardShrink")
def hard_shrink(op: Op, x: Array) -> Array:
    """0 near 0."""
    return np.where(np.abs(x) > op.threshold, x, np.zeros((), x.dtype))


@rule("SoftShrink")
def soft_shrink(op: Op, x: Array) -> Array:
    """Nearer to 0, and 0 near 0."""
    return np.sign(x) * np.maximum(np.abs(x) - op.threshold, 0)


@rule("Glu")
def glu(op: Op, x: Array) -> Array:
    """Dauphin et al. 2017."""
    first, second = np.split(x, 2, axis=op.axis)
    return first * npx.sigmoid(second)


@rule("Softmax", "LogSoftmax")
def softmax(op: Op, x: Array) -> Array:
    """Along one axis."""
    refuse_if(not isinstance(op.axis, int), "several axes")
    compute = npx.softmax if type(op).__name__ == "Softmax" else npx.log_softmax
    return compute(as_float(x), axis=op.axis)


@rule("Clip")
def clip(op: Op, x: Array) -> Array:
    """Within bounds."""
    return np.clip(x, option(op.x_min), option(op.x_max))


@rule("Round")
def round_(op: Op, x: Array) -> Array:
    """To so many decimals, halves to even."""
    return np.round(x, op.decimals)


@rule("Where")
def where(op: Op, condition: Array, x: Value = None, y: Value = None) -> Array:
    """One operand or the other."""
    refuse_if(x is None or y is None, "places")
    flags = condition if condition.dtype.kind == "b" else condition != 0
    return np.where(flags, x, y)


@rule("Cast", "ConvertToTensor")
def cast(op: Op, x: Array) -> Array:
    """In another dtype."""
    return x if op.dtype is None or x.dtype.name == op.dtype else x.astype(op.dtype)


@rule("DivideNoNan")
def divide_no_nan(op: Op, x: Value, y: Array) -> Array:
    """0 where the divisor is 0."""
    zero = y == 0
    return np.where(zero, np.zeros((), "float32"), x / np.where(zero, np.ones((), y.dtype), y))
