"""Elementwise operators in ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy

from blockfuse.frontends.onnx.writing.table import Call, NoFormError, Value, form
from blockfuse.frontends.onnx.writing.writer import Writer

# operator -> the node that it is, over operands of the dtypes of its loop
_NODES = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "negative": "Neg",
    "positive": "Identity",
    "power": "Pow",
    "sqrt": "Sqrt",
    "reciprocal": "Reciprocal",
    "absolute": "Abs",
    "fabs": "Abs",
    "sign": "Sign",
    "maximum": "Max",
    "minimum": "Min",
    "equal": "Equal",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "isnan": "IsNaN",
    "isinf": "IsInf",
    "floor": "Floor",
    "ceil": "Ceil",
    "rint": "Round",
    "exp": "Exp",
    "log": "Log",
    "sin": "Sin",
    "cos": "Cos",
    "tan": "Tan",
    "arcsin": "Asin",
    "arccos": "Acos",
    "arctan": "Atan",
    "sinh": "Sinh",
    "cosh": "Cosh",
    "tanh": "Tanh",
    "arcsinh": "Asinh",
    "arccosh": "Acosh",
    "arctanh": "Atanh",
    "erf": "Erf",
    "sigmoid": "Sigmoid",
    "relu": "Relu",
    "softplus": "Softplus",
    "where": "Where",
}


def _over_loop(writer: Writer, call: Call) -> tuple[Value, ...]:
    """The operands in the dtypes in which the operator sees them."""
    assert call.operator.loop is not None
    dtypes = call.operator.loop(*(x.dtype for x in call.operands), **call.attrs)
    return tuple(writer.cast(x, dtype) for x, dtype in zip(call.operands, dtypes, strict=False))


def _one_node(kind: str, writer: Writer, call: Call, *_: Value) -> Value:
    return writer.elementwise(kind, _over_loop(writer, call), call.dtype, call.shape)


for _name, _kind in _NODES.items():
    form(_name)(partial(_one_node, _kind))


@form("cast")
def _cast(writer: Writer, call: Call, x: Value, dtype: str) -> Value:
    return writer.cast(x, dtype)


# -- written with several --------------------------------------------------------------------------------------------


class _Arithmetic:
    """What forms of several nodes are written with: nodes over one dtype and one shape."""

    def __init__(self, writer: Writer, call: Call) -> None:
        self.writer, self.shape = writer, call.shape
        self.operands = _over_loop(writer, call)
        self.dtype = self.operands[0].dtype

    def __call__(self, kind: str, *operands: Value | float, **attributes: Any) -> Value:
        values = [x if isinstance(x, Value) else self.number(x) for x in operands]
        return self.writer.node(kind, values, self.dtype, self.shape, **attributes)

    def number(self, value: float) -> Value:
        return self.writer.constant(value, self.dtype)

    def truth(self, kind: str, *operands: Value | float) -> Value:
        values = [x if isinstance(x, Value) else self.number(x) for x in operands]
        return self.writer.node(kind, values, bool, self.shape)

    def where(self, condition: Value, x: Value | float, y: Value | float) -> Value:
        values = [v if isinstance(v, Value) else self.number(v) for v in (x, y)]
        return self.writer.node("Where", [condition, *values], self.dtype, self.shape)


Written = Callable[..., Value]


def _written(name: str, kinds: str = "f") -> Callable[[Written], Written]:
    """A form that is a function of ``_Arithmetic`` and the operands, over these kinds of dtypes."""

    def declared(function: Written) -> Written:
        def written(writer: Writer, call: Call, *_: Value, **__: Any) -> Value:
            on = _Arithmetic(writer, call)
            if on.dtype.kind not in kinds:
                raise NoFormError(f"of {on.dtype}")
            return function(on, *on.operands)

        form(name)(written)
        return function

    return declared


@_written("square", "fiu")
def _square(on: _Arithmetic, x: Value) -> Value:
    return on("Mul", x, x)


@_written("exp2")
def _exp2(on: _Arithmetic, x: Value) -> Value:
    return on("Pow", 2.0, x)


@_written("log2")
def _log2(on: _Arithmetic, x: Value) -> Value:
    return on("Div", on("Log", x), math.log(2))


@_written("log10")
def _log10(on: _Arithmetic, x: Value) -> Value:
    return on("Div", on("Log", x), math.log(10))


@_written("cbrt")
def _cbrt(on: _Arithmetic, x: Value) -> Value:
    return on("Mul", on("Sign", x), on("Pow", on("Abs", x), 1 / 3))


@_written("degrees")
def _degrees(on: _Arithmetic, x: Value) -> Value:
    return on("Mul", x, 180 / math.pi)


@_written("radians")
def _radians(on: _Arithmetic, x: Value) -> Value:
    return on("Mul", x, math.pi / 180)


@_written("expm1")
def _expm1(on: _Arithmetic, x: Value) -> Value:
    """Near zero ``2 t / (1 - t)`` with the tangent of the half, which keeps its digits there."""
    half = on("Tanh", on("Mul", x, 0.5))
    near = on("Div", on("Mul", half, 2.0), on("Sub", 1.0, half))
    return on.where(on.truth("Less", on("Abs", x), 1.0), near, on("Sub", on("Exp", x), 1.0))


@_written("log1p")
def _log1p(on: _Arithmetic, x: Value) -> Value:
    """Near zero ``2 atanh(x / (2 + x))``."""
    near = on("Mul", on("Atanh", on("Div", x, on("Add", x, 2.0))), 2.0)
    return on.where(on.truth("Less", on("Abs", x), 0.5), near, on("Log", on("Add", x, 1.0)))


@_written("logaddexp")
def _logaddexp(on: _Arithmetic, x: Value, y: Value) -> Value:
    """Equal ones may be infinities, which have no distance."""
    apart = on("Softplus", on("Neg", on("Abs", on("Sub", x, y))))
    whole = on("Add", on("Max", x, y), apart)
    return on.where(on.truth("Equal", x, y), on("Add", on("Max", x, y), math.log(2)), whole)


@_written("trunc")
def _trunc(on: _Arithmetic, x: Value) -> Value:
    return on.where(on.truth("Less", x, 0.0), on("Ceil", x), on("Floor", x))


@_written("fmod", "fiu")
def _fmod(on: _Arithmetic, x: Value, y: Value) -> Value:
    return on("Mod", x, y, fmod=1)


@_written("remainder", "fiu")
def _remainder(on: _Arithmetic, x: Value, y: Value) -> Value:
    """Of the sign of ``y``; the standard has that for integers only."""
    if on.dtype.kind != "f":
        return on("Mod", x, y)
    rest = on("Mod", x, y, fmod=1)
    return on.where(_other_sign(on, rest, y), on("Add", rest, y), rest)


def _other_sign(on: _Arithmetic, x: Value, y: Value) -> Value:
    return on.truth("Less", on("Mul", on("Sign", x), on("Sign", y)), 0.0)


@_written("floor_divide", "fiu")
def _floor_divide(on: _Arithmetic, x: Value, y: Value) -> Value:
    """What is left when the rest is gone divides without one; a rest of the other sign is of the next number below."""
    if on.dtype.kind != "f":
        return on("Div", on("Sub", x, on("Mod", x, y)), y)
    rest = on("Mod", x, y, fmod=1)
    count = on("Round", on("Div", on("Sub", x, rest), y))
    below = on.where(_other_sign(on, rest, y), on("Sub", count, 1.0), count)
    return on.where(on.truth("Equal", y, 0.0), on("Div", x, y), below)


def _number_of(kind: str, on: _Arithmetic, x: Value, y: Value) -> Value:
    """An extreme in which a number beats nan."""
    if on.dtype.kind != "f":
        return on(kind, x, y)
    without = on.where(on.truth("IsNaN", y), x, on(kind, x, y))
    return on.where(on.truth("IsNaN", x), y, without)


_written("fmax", "fiu")(partial(_number_of, "Max"))
_written("fmin", "fiu")(partial(_number_of, "Min"))

# -- truths ----------------------------------------------------------------------------------------------------------


@form("not_equal")
def _not_equal(writer: Writer, call: Call, *_: Value) -> Value:
    return writer.like("Not", _one_node("Equal", writer, call))


@form("isfinite")
def _isfinite(writer: Writer, call: Call, x: Value) -> Value:
    strange = [writer.node(kind, [x], bool, x.shape) for kind in ("IsNaN", "IsInf")]
    return writer.like("Not", writer.like("Or", *strange))


def _truths(kind: str, writer: Writer, call: Call, *operands: Value) -> Value:
    return writer.node(kind, [writer.cast(x, bool) for x in operands], bool, call.shape)


for _name, _kind in (("and", "And"), ("or", "Or"), ("xor", "Xor"), ("not", "Not")):
    form(f"logical_{_name}")(partial(_truths, _kind))


def _bits(kind: str, writer: Writer, call: Call, *operands: Value) -> Value:
    """Of integers bit by bit; a bool is one bit."""
    node = kind if call.dtype == numpy.bool_ else f"Bitwise{kind}"
    return writer.node(node, [writer.cast(x, call.dtype) for x in operands], call.dtype, call.shape)


for _name, _kind in (
    ("bitwise_and", "And"),
    ("bitwise_or", "Or"),
    ("bitwise_xor", "Xor"),
    ("invert", "Not"),
):
    form(_name)(partial(_bits, _kind))

# -- composites that the standard has --------------------------------------------------------------------------------


@form("leaky_relu")
def _leaky_relu(writer: Writer, call: Call, x: Value, slope: float) -> Value:
    return writer.like("LeakyRelu", writer.cast(x, call.dtype), alpha=float(slope))


@form("elu")
def _elu(writer: Writer, call: Call, x: Value, alpha: float) -> Value:
    return writer.like("Elu", writer.cast(x, call.dtype), alpha=float(alpha))
