"""Rules of functions of one element of each operand, but for activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from blockfuse.array import np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.torch.rules.table import RULES, WRITING, Array, Tensor, Value, declare, rule
from blockfuse.frontends.torch.rules.values import cast, common, full, refuse_if

# Names -> what it is of ours, in the dtype of the result.
_FLOATS: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "sigmoid": npx.sigmoid,
    "expit": npx.sigmoid,
    "erf": npx.erf,
    "reciprocal": np.reciprocal,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "deg2rad": np.deg2rad,
    "rad2deg": np.rad2deg,
    **dict.fromkeys(("arcsin",), np.arcsin),
    **dict.fromkeys(("arccos",), np.arccos),
    **dict.fromkeys(("arctan",), np.arctan),
}
# The same of those that give the operand's dtype.
_KEPT: dict[str, Callable[[Any], Any]] = {
    "abs": np.abs,
    "absolute": np.abs,
    "neg": np.negative,
    "negative": np.negative,
    "square": np.square,
    "sign": lambda x: _sign(x),
    "sgn": lambda x: _sign(x),
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "fix": np.trunc,
    "positive": lambda x: x[...],
    "bitwise_not": np.bitwise_not,
    "relu": npx.relu,
    "frac": lambda x: x - np.trunc(x),
}
_FLAGS: dict[str, Callable[[Any], Any]] = {
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "signbit": np.signbit,
    "logical_not": np.logical_not,
}


def _sign(x: Array) -> Array:
    """-1, 0 or 1; 0 of what is no number."""
    return np.where(np.isnan(x), np.zeros((), x.dtype), np.sign(x)) if x.dtype.kind == "f" else np.sign(x)


def _of_floats(function: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda like, x: function(cast(x, like.dtype))


def _of_any(function: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda like, x: function(x)


for _name, _function in _FLOATS.items():
    declare(_name, _of_floats(_function))
for _name, _function in (_KEPT | _FLAGS).items():
    declare(_name, _of_any(_function))


RULES[torch.Tensor.__invert__] = _of_any(np.bitwise_not)


# -- two operands ----------------------------------------------------------------------------------------------

_COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("eq", "__eq__"), np.equal),
    **dict.fromkeys(("ne", "not_equal", "__ne__"), np.not_equal),
    **dict.fromkeys(("lt", "less", "__lt__"), np.less),
    **dict.fromkeys(("le", "less_equal", "__le__"), np.less_equal),
    **dict.fromkeys(("gt", "greater", "__gt__"), np.greater),
    **dict.fromkeys(("ge", "greater_equal", "__ge__"), np.greater_equal),
}
_COMPUTED: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("mul", "multiply", "__mul__", "__rmul__"), np.multiply),
    **dict.fromkeys(("maximum",), np.maximum),
    **dict.fromkeys(("minimum",), np.minimum),
    **dict.fromkeys(("fmax",), np.fmax),
    **dict.fromkeys(("fmin",), np.fmin),
    **dict.fromkeys(("remainder", "__mod__"), np.remainder),
    **dict.fromkeys(("fmod",), np.fmod),
    **dict.fromkeys(("floor_divide", "__floordiv__"), np.floor_divide),
    **dict.fromkeys(("pow", "__pow__"), np.power),
    **dict.fromkeys(("atan2", "arctan2"), np.arctan2),
    **dict.fromkeys(("hypot",), np.hypot),
    **dict.fromkeys(("bitwise_and", "__and__"), np.bitwise_and),
    **dict.fromkeys(("bitwise_or", "__or__"), np.bitwise_or),
    **dict.fromkeys(("bitwise_xor", "__xor__"), np.bitwise_xor),
}
_LOGICAL = {"logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor}


def _comparing(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda like, x, other: function(*common(x, other))


def _computing(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """In the dtype of the result, which is torch's choice."""

    def compute(like: Tensor, x: Value, other: Value) -> Array:
        left, right = (_in(v, like.dtype) for v in (x, other))
        return function(left, right)

    return compute


def _in(value: Value, kind: torch.dtype) -> Value:
    """An operand in a dtype; Python's numbers take the other one's."""
    if isinstance(value, ndarray):
        return cast(value, kind)
    refuse_if(type(value) not in (bool, int, float), f"an operand of type {type(value).__name__}")
    refuse_if(isinstance(value, float) and not kind.is_floating_point, "a fraction beside whole numbers")
    return int(value) if isinstance(value, bool) and kind != torch.bool else value


for _name, _two in _COMPARED.items():
    declare(_name, _comparing(_two))
for _name, _two in _COMPUTED.items():
    declare(_name, _computing(_two))
for _name, _two in _LOGICAL.items():
    declare(_name, lambda like, x, other, f=_two: f(x, other))


def _scaled(value: Value, alpha: Value, kind: torch.dtype) -> Value:
    value = _in(value, kind)
    return value if type(alpha) in (int, float) and alpha == 1 else value * _in(alpha, kind)


@rule("add", "__add__", "__radd__")
def add(like: Tensor, x: Value, other: Value, alpha: Value = 1) -> Array:
    """The sum, with the second operand times ``alpha``."""
    refuse_if(like.dtype == torch.bool, "a sum of flags")
    return np.add(_in(x, like.dtype), _scaled(other, alpha, like.dtype))


@rule("sub", "subtract", "__sub__")
def sub(like: Tensor, x: Value, other: Value, alpha: Value = 1) -> Array:
    """The difference."""
    return np.subtract(_in(x, like.dtype), _scaled(other, alpha, like.dtype))


@rule("rsub", "__rsub__")
def rsub(like: Tensor, x: Value, other: Value, alpha: Value = 1) -> Array:
    """The difference of the operands in the other order."""
    return np.subtract(_in(other, like.dtype), _scaled(x, alpha, like.dtype))


@rule("div", "divide", "true_divide", "__div__", "__truediv__")
def div(like: Tensor, x: Value, other: Value, rounding_mode: str | None = None) -> Array:
    """The quotient; whole numbers are divided as floats unless it is rounded."""
    left, right = _in(x, like.dtype), _in(other, like.dtype)
    if rounding_mode == "floor":
        return np.floor_divide(left, right)
    refuse_if(rounding_mode == "trunc" and not like.dtype.is_floating_point, "whole numbers rounded to zero")
    return np.trunc(np.divide(left, right)) if rounding_mode == "trunc" else np.divide(left, right)


@rule("__rdiv__", "__rtruediv__")
def rdiv(like: Tensor, x: Value, other: Value) -> Array:
    """The quotient of the operands in the other order."""
    return np.divide(_in(other, like.dtype), _in(x, like.dtype))


@rule("__rpow__")
def rpow(like: Tensor, x: Value, other: Value) -> Array:
    """A power of the second operand."""
    return np.power(_in(other, like.dtype), _in(x, like.dtype))


@rule("float_power")
def float_power(like: Tensor, x: Value, exponent: Value) -> Array:
    """A power in float64."""
    return np.power(_in(x, like.dtype), _in(exponent, like.dtype))


@rule("logaddexp")
def logaddexp(like: Tensor, x: Array, other: Array) -> Array:
    """The logarithm of a sum of exponentials."""
    return np.logaddexp(_in(x, like.dtype), _in(other, like.dtype))


@rule("xlogy")
def xlogy(like: Tensor, x: Value, other: Value) -> Array:
    """``x log(y)``, 0 where ``x`` is, unless ``y`` is no number."""
    left, right = (cast(v, like.dtype) if isinstance(v, ndarray) else full(like, v) for v in (x, other))
    product = np.where(left == 0, np.zeros((), left.dtype), left * np.log(right))
    return np.where(np.isnan(right), right, product)


@rule("logit")
def logit(like: Tensor, x: Array, eps: float | None = None) -> Array:
    """The inverse of a sigmoid, of bounded probabilities."""
    inside = cast(x, like.dtype)
    inside = inside if eps is None else np.minimum(np.maximum(inside, eps), 1 - eps)
    return np.log(inside / (1 - inside))


@rule("isclose")
def isclose(
    like: Tensor, x: Array, other: Array, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Array:
    """Whether elements are equal, but for rounding."""
    refuse_if(x.dtype != other.dtype or x.dtype.kind != "f", "whole numbers")
    return np.isclose(x, other, rtol, atol, equal_nan)


# -- more operands ---------------------------------------------------------------------------------------------


@rule("where")
def where(like: Tensor, condition: Array, x: Value, y: Value) -> Array:
    """One of two elements."""
    refuse_if(not isinstance(condition, ndarray) or condition.dtype != bool, "a condition of numbers")
    return np.where(condition, _in(x, like.dtype), _in(y, like.dtype)).astype(cast_name(like))


def cast_name(like: Tensor) -> Any:
    """The dtype of torch's result."""
    return str(like.dtype).removeprefix("torch.")


@rule("clamp", "clip")
def clamp(like: Tensor, x: Array, min: Value = None, max: Value = None) -> Array:
    """Elements within bounds, either of which may be left out; the upper one counts where they cross."""
    result = _in(x, like.dtype)
    if min is not None:
        result = np.maximum(result, _in(min, like.dtype))
    return result if max is None else np.minimum(result, _in(max, like.dtype))


@rule("clamp_min")
def clamp_min(like: Tensor, x: Array, min: Value) -> Array:
    """Elements from a bound on."""
    return clamp(like, x, min)


@rule("clamp_max")
def clamp_max(like: Tensor, x: Array, max: Value) -> Array:
    """Elements up to a bound."""
    return clamp(like, x, None, max)


@rule("lerp")
def lerp(like: Tensor, x: Array, end: Array, weight: Value) -> Array:
    """A point between two, from the nearer end as torch goes."""
    part, between = _in(weight, like.dtype), end - x
    return np.where(np.abs(part) < 0.5, x + part * between, end - between * (1 - part))


@rule("addcmul")
def addcmul(like: Tensor, x: Array, first: Array, second: Array, *, value: Value = 1) -> Array:
    """A product, times a number, is added."""
    x, first, second = (_in(v, like.dtype) for v in (x, first, second))
    return x + _scaled(first * second, value, like.dtype)


@rule("addcdiv")
def addcdiv(like: Tensor, x: Array, first: Array, second: Array, *, value: Value = 1) -> Array:
    """A quotient, times a number, is added."""
    x, first, second = (_in(v, like.dtype) for v in (x, first, second))
    return x + _scaled(first / second, value, like.dtype)


@rule("round")
def round_(like: Tensor, x: Array, *, decimals: int = 0) -> Array:
    """The nearest whole number, the even one of two."""
    refuse_if(decimals or not like.dtype.is_floating_point, "decimals, or whole numbers")
    return np.rint(x)


@rule("masked_fill")
def masked_fill(like: Tensor, x: Array, mask: Array, value: Value) -> Array:
    """A number where a flag says so."""
    refuse_if(mask.dtype != bool, "a mask of numbers")
    return np.where(mask, _in(value, like.dtype), x).astype(cast_name(like))


@rule("nan_to_num")
def nan_to_num(
    like: Tensor, x: Array, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Array:
    """Numbers in the place of what is none."""
    return np.nan_to_num(x, nan=nan or 0.0, posinf=posinf, neginf=neginf)


maximum_of, minimum_of = _computing(np.maximum), _computing(np.minimum)


# -- values that are only written ------------------------------------------------------------------------------


def _filled(like: Tensor, x: Array, value: Value = 0) -> Array:
    return _in(value, like.dtype)


for _writing in (torch.Tensor.zero_, torch.Tensor.fill_, torch.Tensor.copy_):
    WRITING[_writing] = _writing
    RULES[_writing] = _filled


@rule("broadcast_tensors")
def broadcast_tensors(like: Any, *tensors: Any) -> Any:
    """All in one shape."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors
    return [np.broadcast_to(x, tuple(one.shape)) for x, one in zip(given, like, strict=True)]
