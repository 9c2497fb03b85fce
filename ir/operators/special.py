"""The gamma function and its logarithm, the digamma function, and the inverse of the error function."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.ir.lowering import Composite
from blockfuse.ir.operator import Example, Operator, row
from blockfuse.ir.operators import pointwise
from blockfuse.ir.operators.pointwise import cast, exp, floating, square
from blockfuse.ir.types import TensorType

# -- of the C library ----------------------------------------------------------------------------------------


def gamma_of(x: float) -> float:
    """The gamma function of a number, as C's ``tgamma``: nan at negative whole numbers, an infinity beyond the largest."""
    try:
        return math.gamma(x)
    except ValueError:
        return math.copysign(math.inf, x) if x == 0 else math.nan
    except OverflowError:
        return math.copysign(math.inf, x)  # of a negative number only next to 0


def gammaln_of(x: float) -> float:
    """The logarithm of the gamma function's size, as C's ``lgamma``: inf at poles and beyond the largest float."""
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):
        return math.inf


def _number_by_number(function: Callable[[float], float]) -> Callable[[numpy.ndarray], numpy.ndarray]:
    each = numpy.vectorize(function, otypes=["float64"])

    def meaning(x: numpy.ndarray) -> numpy.ndarray:
        with numpy.errstate(over="ignore", under="ignore"):  # a float32 may not hold what a float64 does
            return numpy.asarray(each(x.astype("float64")), floating(x.dtype)[0])

    return meaning


gammaln: Operator = pointwise.pointwise(
    "gammaln",
    _number_by_number(gammaln_of),
    "lgamma({0})",
    lambda g, out, x: (g * digamma(x),),
    loop=floating,
    arity=1,
    kinds="f",
    cost=80,
    low=0.5,
)
gamma: Operator = pointwise.pointwise(
    "gamma",
    _number_by_number(gamma_of),
    "tgamma({0})",
    lambda g, out, x: (g * out * digamma(x),),
    loop=floating,
    arity=1,
    kinds="f",
    cost=100,
    low=0.5,
)

# -- written with simpler ones -------------------------------------------------------------------------------

# NOTE [computed in float64]
# Both functions subtract numbers of like size, digamma around its zero, erfinv 1 from its operand, so a float32 or float16
# is computed as float64 and rounded once. `on` is what they are written with: NumPy for the meaning, rows for the program.


def _in_float64(name: str, body: Callable[[Any, Any], Any], **columns: Any) -> Operator:
    def meaning(x: numpy.ndarray) -> numpy.ndarray:
        with numpy.errstate(all="ignore"):
            return numpy.asarray(body(x.astype("float64"), numpy), floating(x.dtype)[0])

    def expanded(x: Any) -> Any:
        dtype = str(floating(x.dtype)[0])
        result = body(x if x.dtype == numpy.float64 else cast(x, dtype="float64"), pointwise)
        return result if dtype == "float64" else cast(result, dtype=dtype)

    return row(name, meaning, Composite(expanded), type_rule=_floating_type, **columns)


def _floating_type(x: TensorType) -> TensorType:
    return TensorType(x.shape, floating(x.dtype)[0])


def _polynomial(x: Any, coefficients: tuple[float, ...]) -> Any:
    """By Horner's rule, the highest power first."""
    total: Any = coefficients[0]
    for coefficient in coefficients[1:]:
        total = x * total + coefficient
    return total


# Bernoulli numbers B(2 k) / (2 k), k from 7 down to 1: Abramowitz and Stegun 1964, 6.3.18
_ASYMPTOTIC = (1 / 12, -691 / 32760, 1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12)
_FAR = 10.0  # from where the series above has the digits of float64


def _digamma(x: Any, on: Any) -> Any:
    """Recurrence up to ``_FAR`` (6.3.5), the asymptotic series there, and reflection of negative numbers (6.3.7)."""
    negative = on.less(x, 0)
    zero = on.equal(x, 0)
    y = on.where(zero, 1, on.where(negative, 1 - x, x))
    steps: Any = 0.0
    for _ in range(int(_FAR)):
        near = on.less(y, _FAR)
        steps = steps + on.where(near, 1 / y, 0.0)
        y = on.where(near, y + 1, y)
    z = 1 / y
    positive = on.log(y) - z * 0.5 - z * z * _polynomial(z * z, _ASYMPTOTIC) - steps
    part = x - on.rint(x)
    pole = on.equal(part, 0)
    reflected = positive - math.pi / on.tan(on.where(pole, 0.25, part) * math.pi)
    result = on.where(negative, on.where(pole, math.nan, reflected), positive)
    return on.where(zero, on.where(on.signbit(x), math.inf, -math.inf), result)


digamma: Operator = _in_float64("digamma", _digamma, examples=(Example(((3, 5),), {}, 0.5),))

# Numerators and denominators of Wichura 1988, algorithm AS 241 (PPND16), the highest power first: around the middle, in the
# tails, and far out in them.
_MIDDLE = (
    (
        *(2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457),
        *(13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608),
    ),
    (
        *(5226.495278852854561, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867),
        *(5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0),
    ),
)
_TAIL = (
    (
        *(7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258),
        *(3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734),
    ),
    (
        *(1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966),
        *(0.14810397642748007459, 0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0),
    ),
)
_FAR_TAIL = (
    (
        *(2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386),
        *(0.026532189526576123093, 0.29656057182850489123, 1.7848265399172913358, 5.4637849111641143699),
        6.6579046435011037772,
    ),
    (
        *(2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5),
        *(
            7.868691311456132591e-4,
            0.0148753612908506148525,
            0.13692988092273580531,
            0.59983220655588793769,
            1.0,
        ),
    ),
)


def _ratio(x: Any, polynomials: tuple[tuple[float, ...], tuple[float, ...]]) -> Any:
    above, below = polynomials
    return _polynomial(x, above) / _polynomial(x, below)


def _erfinv(x: Any, on: Any) -> Any:
    """``sqrt(1/2)`` times the quantile of the normal distribution at ``(1 + x) / 2``."""
    size = on.absolute(x)
    half = x * 0.5
    middle = half * _ratio(0.180625 - half * half, _MIDDLE)
    end = on.equal(size, 1)
    far = on.sqrt(0 - on.log(on.where(end, 0.5, (1 - size) * 0.5)))
    tail = on.where(on.less_equal(far, 5), _ratio(far - 1.6, _TAIL), _ratio(far - 5, _FAR_TAIL))
    tail = on.where(end, math.inf, tail)
    signed = on.where(on.less(x, 0), 0 - tail, tail)
    return on.where(on.less_equal(size, 0.85), middle, signed) * math.sqrt(0.5)


erfinv: Operator = _in_float64(
    "erfinv",
    _erfinv,
    gradient=lambda g, out, x: (g * exp(square(out)) * (math.sqrt(math.pi) / 2),),
    examples=(Example(((3, 5),), {}, -0.9, 0.9),),
)
