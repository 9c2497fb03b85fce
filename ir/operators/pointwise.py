"""Elementwise operators: one scalar expression serves every backend."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy

from blockfuse.ir.errors import ShapeError
from blockfuse.ir.lowering import Conversion, Pointwise
from blockfuse.ir.operator import Example, Gradient, Operator, row
from blockfuse.ir.types import TensorType

Loop = Callable[..., tuple[numpy.dtype, ...]]


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return numpy.broadcast_shapes(*shapes)
    except ValueError as error:
        raise ShapeError(f"shapes {', '.join(map(str, shapes))} cannot be broadcast together") from error


def _type_by_loop(loop: Loop, *operands: TensorType, **attrs: Any) -> TensorType:
    return TensorType(
        broadcast_shapes(*(t.shape for t in operands)), loop(*(t.dtype for t in operands), **attrs)[-1]
    )


def pointwise(
    name: str,
    meaning: Callable[..., Any],
    expression: str,
    gradient: Gradient | None,
    *,
    loop: Loop,
    arity: int,
    kinds: str = "fiub",
    cost: int = 1,
    low: float = -2.0,
    high: float = 2.0,
    attrs: dict[str, Any] | None = None,
    lowering: type[Pointwise] = Pointwise,
) -> Operator:
    """A row whose result element depends on one element of each operand."""
    shapes = (((3, 5),), ((3, 5), (5,)), ((3, 5), (3, 1), (5,)))[arity - 1]
    return row(
        name,
        meaning,
        lowering(expression, kinds, cost),
        type_rule=partial(_type_by_loop, loop),
        gradient=gradient,
        loop=loop,
        examples=(Example(shapes, attrs or {}, low, high),),
    )


def ufunc(
    meaning: numpy.ufunc, expression: str, gradient: Gradient | None = None, *, name: str = "", **columns: Any
) -> Operator:
    """A row whose meaning and dtype rule are a NumPy ufunc's."""

    def loop(*dtypes: Any, **attrs: Any) -> tuple[numpy.dtype, ...]:
        return meaning.resolve_dtypes((*map(_promoting, dtypes), None))

    return pointwise(
        name or meaning.__name__, meaning, expression, gradient, loop=loop, arity=meaning.nin, **columns
    )


def _promoting(operand: Any) -> Any:
    """What NumPy promotes by: a dtype, or the type of a Python number; to NumPy ``True`` is no such number."""
    if isinstance(operand, numpy.dtype):
        return operand
    if isinstance(operand, bool):
        return numpy.dtype(bool)
    return int if isinstance(operand, int) else float if isinstance(operand, float) else type(operand)


def same(*dtypes: numpy.dtype, **attrs: Any) -> tuple[numpy.dtype, ...]:
    """Every operand and the result in the common dtype."""
    common = numpy.result_type(*dtypes)
    return (common,) * (len(dtypes) + 1)


def floating(*dtypes: numpy.dtype, **attrs: Any) -> tuple[numpy.dtype, ...]:
    """The common dtype, or float64 where that is not a float."""
    common = numpy.result_type(*dtypes)
    if common.kind != "f":
        common = numpy.dtype("float64")
    return (common,) * (len(dtypes) + 1)


def _selecting(condition: numpy.dtype, *dtypes: numpy.dtype, **attrs: Any) -> tuple[numpy.dtype, ...]:
    return (numpy.dtype(bool), *same(*dtypes))


def _zeros_like_all(g: Any, out: Any, *operands: Any, **attrs: Any) -> tuple[Any, ...]:
    return (None,) * len(operands)


FLAT: Gradient = _zeros_like_all  # piecewise constant: no gradient flows

# -- arithmetic ----------------------------------------------------------------------------------------------

add = ufunc(numpy.add, "({0} + {1})", lambda g, out, x, y: (g, g), kinds="fiu")
subtract = ufunc(numpy.subtract, "({0} - {1})", lambda g, out, x, y: (g, negative(g)), kinds="fiu")
multiply = ufunc(
    numpy.multiply, "({0} * {1})", lambda g, out, x, y: (lambda: g * y, lambda: g * x), kinds="fiu"
)
divide = ufunc(
    numpy.true_divide,
    "({0} / {1})",
    lambda g, out, x, y: (lambda: g / y, lambda: negative(g * out / y)),
    kinds="f",
    cost=6,
    name="divide",
    low=0.5,
)
negative: Operator = ufunc(numpy.negative, "-{0}", lambda g, out, x: (negative(g),), kinds="fi")
positive = ufunc(numpy.positive, "{0}", lambda g, out, x: (g,), kinds="fiu")


def _power_gradient(g: Any, out: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Zero where the limit is: of ``x ** 0`` by x, of ``0 ** y`` by y."""

    def by_base() -> Any:
        if isinstance(y, int | float):
            return g * y * power(x, y - 1) if y else cast(less(x, x), dtype=str(x.dtype))
        return where(equal(y, 0), 0, g * y * power(x, where(equal(y, 0), 1, y - 1)))

    def by_exponent() -> Any:
        limit = logical_and(equal(x, 0), greater_equal(y, 0))
        return where(limit, 0, g * out * log(where(limit, 1, x)))

    return by_base, by_exponent


power = ufunc(numpy.power, "pow({0}, {1})", _power_gradient, kinds="f", cost=60, low=0.5)
square = ufunc(numpy.square, "({0} * {0})", lambda g, out, x: (g * x * 2,), kinds="fiu")
sqrt = ufunc(numpy.sqrt, "sqrt({0})", lambda g, out, x: (g / (out * 2),), kinds="f", cost=8, low=0.5)
cbrt = ufunc(numpy.cbrt, "cbrt({0})", lambda g, out, x: (g / (out * out * 3),), kinds="f", cost=40, low=0.5)
reciprocal = ufunc(
    numpy.reciprocal,
    "(one({0}) / {0})",
    lambda g, out, x: (negative(g * out * out),),
    kinds="f",
    cost=6,
    low=0.5,
)
absolute = ufunc(numpy.absolute, "abs({0})", lambda g, out, x: (g * sign(x),), kinds="fiu", low=0.5)
fabs = ufunc(numpy.fabs, "abs({0})", lambda g, out, x: (g * sign(x),), kinds="f", low=0.5)
sign: Operator = ufunc(numpy.sign, "sign({0})", FLAT, kinds="fiu")
floor_divide: Operator = ufunc(
    numpy.floor_divide, "floor_divide({0}, {1})", FLAT, kinds="fiu", cost=80, low=0.5
)
remainder = ufunc(
    numpy.remainder,
    "remainder({0}, {1})",
    lambda g, out, x, y: (g, negative(g * floor_divide(x, y))),
    kinds="fiu",
    cost=80,
    low=0.5,
)
fmod = ufunc(
    numpy.fmod,
    "fmod({0}, {1})",
    lambda g, out, x, y: (g, negative(g * trunc(x / y))),
    kinds="fiu",
    cost=60,
    low=0.5,
)


def _unless(beaten: Any, tied: Any, g: Any) -> Any:
    """The gradient of an operand of an extreme: equal ones share it, as in torch and JAX."""
    return where(beaten, 0, where(tied, g * 0.5, g))


maximum = ufunc(
    numpy.maximum,
    "maximum({0}, {1})",
    lambda g, out, x, y: (
        lambda: _unless(less(x, y), equal(x, y), g),
        lambda: _unless(less(y, x), equal(x, y), g),
    ),
    kinds="fiu",
)
minimum = ufunc(
    numpy.minimum,
    "minimum({0}, {1})",
    lambda g, out, x, y: (
        lambda: _unless(greater(x, y), equal(x, y), g),
        lambda: _unless(greater(y, x), equal(x, y), g),
    ),
    kinds="fiu",
)


def _without_nan(beats: Callable[[Any, Any], Any]) -> Gradient:
    """The gradient of an extreme in which a number beats nan."""

    def share(g: Any, x: Any, y: Any) -> Any:
        beaten = logical_or(beats(y, x), logical_and(isnan(x), logical_not(isnan(y))))
        tied = logical_or(equal(x, y), logical_and(isnan(x), isnan(y)))
        return _unless(beaten, tied, g)

    return lambda g, out, x, y: (lambda: share(g, x, y), lambda: share(g, y, x))


_NUMBER = (
    "select({{0}} != {{0}}, {{1}}, select({{1}} != {{1}}, {{0}}, {}({{0}}, {{1}})))"  # of two, if one is
)
fmax = ufunc(numpy.fmax, _NUMBER.format("maximum"), _without_nan(lambda x, y: greater(x, y)), kinds="fiu")
fmin = ufunc(numpy.fmin, _NUMBER.format("minimum"), _without_nan(lambda x, y: less(x, y)), kinds="fiu")
hypot = ufunc(
    numpy.hypot,
    "hypot({0}, {1})",
    lambda g, out, x, y: (g * x / out, g * y / out),
    kinds="f",
    cost=40,
    low=0.5,
)

# -- comparison and logic ------------------------------------------------------------------------------------

equal: Operator = ufunc(numpy.equal, "({0} == {1})", FLAT)
not_equal: Operator = ufunc(numpy.not_equal, "({0} != {1})", FLAT)
less: Operator = ufunc(numpy.less, "({0} < {1})", FLAT, kinds="fiu")
less_equal: Operator = ufunc(numpy.less_equal, "({0} <= {1})", FLAT, kinds="fiu")
greater: Operator = ufunc(numpy.greater, "({0} > {1})", FLAT, kinds="fiu")
greater_equal: Operator = ufunc(numpy.greater_equal, "({0} >= {1})", FLAT, kinds="fiu")
logical_and: Operator = ufunc(numpy.logical_and, "(truth({0}) & truth({1}))", FLAT)
logical_or: Operator = ufunc(numpy.logical_or, "(truth({0}) | truth({1}))", FLAT)
logical_xor = ufunc(numpy.logical_xor, "(truth({0}) ^ truth({1}))", FLAT)
logical_not: Operator = ufunc(numpy.logical_not, "negated({0})", FLAT)
bitwise_and = ufunc(numpy.bitwise_and, "({0} & {1})", FLAT, kinds="iub")
bitwise_or = ufunc(numpy.bitwise_or, "({0} | {1})", FLAT, kinds="iub")
bitwise_xor = ufunc(numpy.bitwise_xor, "({0} ^ {1})", FLAT, kinds="iub")
invert = ufunc(numpy.invert, "(~{0})", FLAT, kinds="iu")
left_shift = ufunc(numpy.left_shift, "left_shift({0}, {1})", FLAT, kinds="iu", cost=4)
right_shift = ufunc(numpy.right_shift, "right_shift({0}, {1})", FLAT, kinds="iu", cost=4)
isnan: Operator = ufunc(numpy.isnan, "({0} != {0})", FLAT, kinds="f")
isinf = ufunc(numpy.isinf, "(abs({0}) == infinity({0}))", FLAT, kinds="f")
isfinite = ufunc(numpy.isfinite, "(abs({0}) < infinity({0}))", FLAT, kinds="f")
signbit = ufunc(numpy.signbit, "signbit({0})", FLAT, kinds="f")

# -- rounding ------------------------------------------------------------------------------------------------

floor: Operator = ufunc(numpy.floor, "floor({0})", FLAT, kinds="f")
ceil = ufunc(numpy.ceil, "ceil({0})", FLAT, kinds="f")
trunc: Operator = ufunc(numpy.trunc, "trunc({0})", FLAT, kinds="f")
rint = ufunc(numpy.rint, "rint({0})", FLAT, kinds="f")

# -- exponential, trigonometric, hyperbolic ------------------------------------------------------------------

exp: Operator = ufunc(numpy.exp, "exp({0})", lambda g, out, x: (g * out,), kinds="f", cost=14)
exp2 = ufunc(numpy.exp2, "exp2({0})", lambda g, out, x: (g * out * math.log(2),), kinds="f", cost=40)
expm1 = ufunc(numpy.expm1, "expm1({0})", lambda g, out, x: (g * (out + 1),), kinds="f", cost=16)
log = ufunc(numpy.log, "log({0})", lambda g, out, x: (g / x,), kinds="f", cost=20, low=0.5)
log2 = ufunc(numpy.log2, "log2({0})", lambda g, out, x: (g / (x * math.log(2)),), kinds="f", cost=40, low=0.5)
log10 = ufunc(
    numpy.log10, "log10({0})", lambda g, out, x: (g / (x * math.log(10)),), kinds="f", cost=40, low=0.5
)
log1p = ufunc(numpy.log1p, "log1p({0})", lambda g, out, x: (g / (x + 1),), kinds="f", cost=40, low=-0.5)


def _logaddexp_gradient(g: Any, out: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """The softmax; an infinity outweighs all but its like."""

    def share(x: Any, y: Any) -> Any:
        alone = logical_and(equal(x, out), not_equal(x, y))
        return g * where(alone, 1, exp(x - where(alone, 0, out)))

    return lambda: share(x, y), lambda: share(y, x)


logaddexp = ufunc(  # equal ones may be infinities, which have no distance
    numpy.logaddexp,
    f"select({{0}} == {{1}}, {{0}} + literal({{0}}, {math.log(2)}), maximum({{0}}, {{1}}) + softplus(-abs({{0}} - {{1}})))",
    _logaddexp_gradient,
    kinds="f",
    cost=60,
    low=-0.3,
)
sin = ufunc(numpy.sin, "sin({0})", lambda g, out, x: (g * cos(x),), kinds="f", cost=40)
cos: Operator = ufunc(numpy.cos, "cos({0})", lambda g, out, x: (negative(g * sin(x)),), kinds="f", cost=40)
tan = ufunc(
    numpy.tan, "tan({0})", lambda g, out, x: (g * (out * out + 1),), kinds="f", cost=60, low=-1.0, high=1.0
)
arcsin = ufunc(
    numpy.arcsin,
    "asin({0})",
    lambda g, out, x: (g / sqrt(1 - x * x),),
    kinds="f",
    cost=60,
    low=-0.9,
    high=0.9,
)
arccos = ufunc(
    numpy.arccos,
    "acos({0})",
    lambda g, out, x: (negative(g / sqrt(1 - x * x)),),
    kinds="f",
    cost=60,
    low=-0.9,
    high=0.9,
)
arctan = ufunc(numpy.arctan, "atan({0})", lambda g, out, x: (g / (x * x + 1),), kinds="f", cost=60)


def _arctan2_gradient(g: Any, out: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Zero where both operands are, as in torch."""
    square_norm = x * x + y * y
    scaled = g / where(equal(square_norm, 0), 1, square_norm)
    return lambda: scaled * y, lambda: negative(scaled * x)


arctan2 = ufunc(
    numpy.arctan2,
    "atan2({0}, {1})",
    _arctan2_gradient,
    kinds="f",
    cost=80,
    low=0.5,
)
sinh = ufunc(numpy.sinh, "sinh({0})", lambda g, out, x: (g * cosh(x),), kinds="f", cost=60)
cosh: Operator = ufunc(numpy.cosh, "cosh({0})", lambda g, out, x: (g * sinh(x),), kinds="f", cost=60)
tanh = ufunc(numpy.tanh, "tanh({0})", lambda g, out, x: (g * (1 - out * out),), kinds="f", cost=20)
arcsinh = ufunc(numpy.arcsinh, "asinh({0})", lambda g, out, x: (g / sqrt(x * x + 1),), kinds="f", cost=60)
arccosh = ufunc(
    numpy.arccosh,
    "acosh({0})",
    lambda g, out, x: (g / sqrt(x * x - 1),),
    kinds="f",
    cost=60,
    low=1.5,
    high=3.0,
)
arctanh = ufunc(
    numpy.arctanh, "atanh({0})", lambda g, out, x: (g / (1 - x * x),), kinds="f", cost=60, low=-0.9, high=0.9
)
degrees = ufunc(
    numpy.degrees,
    "({0} * literal({0}, 57.29577951308232))",
    lambda g, out, x: (g * (180 / math.pi),),
    kinds="f",
)
radians = ufunc(
    numpy.radians,
    "({0} * literal({0}, 0.017453292519943295))",
    lambda g, out, x: (g * (math.pi / 180),),
    kinds="f",
)

# -- choice and conversion -----------------------------------------------------------------------------------

where: Operator = pointwise(
    "where",
    numpy.where,
    "select({0}, {1}, {2})",
    lambda g, out, c, x, y: (None, where(c, g, 0), where(c, 0, g)),
    loop=_selecting,
    arity=3,
)


def _cast(x: numpy.ndarray, dtype: str) -> numpy.ndarray:
    return numpy.asarray(x).astype(dtype)


def _cast_loop(source: numpy.dtype, dtype: str = "float64") -> tuple[numpy.dtype, ...]:
    """The default is for those who only ask what the operand (a Python number) is seen as."""
    return numpy.result_type(source), numpy.dtype(dtype)


cast: Operator = pointwise(
    "cast",
    _cast,
    "{0}",
    lambda g, out, x, dtype: (cast(g, dtype=str(x.dtype)),),
    loop=_cast_loop,
    arity=1,
    attrs={"dtype": "float64"},
    lowering=Conversion,
)
