"""The functions of scalar expressions, written once over values: of LLVM (one number in a loop, the vectors of a tile, a
thread of a device) or of NumPy (the simulator of a device).

Accuracy, in units in the last place, stands in ``ULP``: above the largest error seen over all float32 numbers
from 2**-15 to 2**8, with and without multiply-add in one rounding, and over samples of all others and of
float64 (``tests/codegen/test_functions.py``). Other functions are those of the backend's library, number by number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

ULP = {"exp": 1.3, "log": 0.9, "tanh": 1.4, "sigmoid": 2.5, "erf": 1.3, "softplus": 2.3, "expm1": 1.9}


class Value(Protocol):
    """A number, or several side by side, of one dtype. Operands of an operator that are Python's take its dtype."""

    @property
    def is_float(self) -> bool: ...
    @property
    def bits(self) -> int: ...
    @property
    def element(self) -> Any: ...  # its dtype, as the backend names it
    @property
    def integer(self) -> Any: ...  # the dtype of integers with as many bits as a float has

    def constant(self, number: Any) -> Value: ...
    def to(self, element: Any) -> Value: ...
    def bitcast(self, element: Any) -> Value: ...
    def chosen(self, x: Any, y: Any) -> Value: ...  # of a bool: x where it is true
    def high_product(self, other: Any) -> Value: ...  # of unsigned integers: the upper half
    def call(self, name: str, *others: Any) -> Value: ...  # a function that the backend has itself

    def __neg__(self) -> Value: ...
    def __add__(self, other: Any) -> Value: ...
    def __radd__(self, other: Any) -> Value: ...
    def __sub__(self, other: Any) -> Value: ...
    def __rsub__(self, other: Any) -> Value: ...
    def __mul__(self, other: Any) -> Value: ...
    def __rmul__(self, other: Any) -> Value: ...
    def __truediv__(self, other: Any) -> Value: ...
    def __rtruediv__(self, other: Any) -> Value: ...
    def __and__(self, other: Any) -> Value: ...
    def __or__(self, other: Any) -> Value: ...
    def __xor__(self, other: Any) -> Value: ...
    def __lshift__(self, other: Any) -> Value: ...
    def __rshift__(self, other: Any) -> Value: ...
    def __lt__(self, other: Any) -> Value: ...
    def __le__(self, other: Any) -> Value: ...
    def __gt__(self, other: Any) -> Value: ...
    def __ge__(self, other: Any) -> Value: ...
    def __eq__(self, other: Any) -> Value: ...  # type: ignore[override]
    def __ne__(self, other: Any) -> Value: ...  # type: ignore[override]


# -- choice --------------------------------------------------------------------------------------------------


def select(condition: Value, x: Value, y: Value) -> Value:
    return truth(condition).chosen(x, y)


def truth(x: Value) -> Value:
    return x if x.bits == 1 and not x.is_float else x != 0


def negated(x: Value) -> Value:
    return truth(x) ^ 1


def maximum(x: Value, y: Value) -> Value:
    """NumPy's: a nan wins."""
    larger = select(x > y, x, y)
    return select(x != x, x, larger) if x.is_float else larger


def minimum(x: Value, y: Value) -> Value:
    smaller = select(x < y, x, y)
    return select(x != x, x, smaller) if x.is_float else smaller


def relu(x: Value) -> Value:
    """NumPy's maximum of x and 0: a nan stays, -0.0 becomes 0.0."""
    return select(x <= 0, x.constant(0), x)


def sign(x: Value) -> Value:
    one = x.constant(1)
    return select(x > 0, one, select(x < 0, -one, select(x == 0, x.constant(0), x)))


def literal(x: Value, number: Any) -> Value:
    """A number of the dtype of ``x``; Numba gives it as a value, an epilogue as it stands."""
    return x.constant(number) if isinstance(number, int | float) else number.to(x.element)


def one(x: Value) -> Value:
    return x.constant(1)


def infinity(x: Value) -> Value:
    return x.constant(math.inf)


# -- the backend's own ---------------------------------------------------------------------------------------


def _own(name: str) -> Callable[..., Value]:
    return lambda x, *others: x.call(name, *others)


sqrt, floor, ceil, trunc, rint = (_own(n) for n in ("sqrt", "floor", "ceil", "trunc", "rint"))
_fabs, _copysign, _fmuladd = _own("fabs"), _own("copysign"), _own("fmuladd")


def abs_(x: Value) -> Value:
    return _fabs(x) if x.is_float else select(x < 0, -x, x)


def multiply_add(x: Value, y: Value, z: Any) -> Value:
    """x * y + z, in one rounding where the machine has it."""
    return _fmuladd(x, _like(x, y), _like(x, z))


def _like(x: Value, other: Any) -> Value:
    return x.constant(other) if isinstance(other, int | float) else other


def polynomial(x: Value, coefficients: tuple[float, ...]) -> Value:
    """Horner's scheme, the highest power first."""
    result = x.constant(coefficients[0])
    for c in coefficients[1:]:
        result = multiply_add(result, x, c)
    return result


# -- folds: the order of additions is free -------------------------------------------------------------------


def fold_add(total: Value, x: Value) -> Value:
    return total.call("fold_add", x) if total.is_float else total + x


def fold_multiply(total: Value, x: Value) -> Value:
    return total.call("fold_multiply", x) if total.is_float else total * x


def fold_maximum(best: Value, x: Value) -> Value:
    return best.call("fold_maximum", x) if best.is_float else maximum(best, x)


def fold_minimum(best: Value, x: Value) -> Value:
    return best.call("fold_minimum", x) if best.is_float else minimum(best, x)


# -- exponential and logarithm -------------------------------------------------------------------------------


def power_of_two(x: Value, n: Value) -> Value:
    """2**n as a float like ``x``, n an integer value within the normal exponents."""
    mantissa, bias = (23, 127) if x.bits == 32 else (52, 1023)
    return ((n + bias) << mantissa).bitcast(x.element)


LN2 = {
    32: (0.693359375, -2.12194440e-4),
    64: (6.93145751953125e-1, 1.42860682030941723212e-6),
}  # high and low part


def exp(x: Value) -> Value:
    return x.call("exp")


# (exp(r) - 1 - r) / r**2 for |r| <= ln 2 / 2, the highest power first: in float32 the polynomial through the values at
# the Chebyshev nodes (exp(r) comes out to 0.2 ulp), in float64 the Taylor series.
_EXP = {
    32: (1.3926184e-3, 8.363179e-3, 4.1666556e-2, 1.6666576e-1, 0.5),
    64: tuple(1 / math.factorial(k) for k in range(13, 1, -1)),
}


def exponential(x: Value) -> Value:
    """``exp`` of a backend that has none that suits it better: a polynomial for exp(r), see ``_reduced``, scaled in two
    steps so that subnormals come out.
    """
    r, first, second = _reduced(x)
    return polynomial(r, (*_EXP[x.bits], 1.0, 1.0)) * first * power_of_two(x, second)


def expm1(x: Value) -> Value:
    """exp(x) - 1 = (p 2**a + (2**a - 2**-b)) 2**b with p = exp(r) - 1 and a + b = n: near zero n is 0, and p all of it."""
    r, first, second = _reduced(x)
    series = multiply_add(r * r, polynomial(r, _EXP[x.bits]), r)
    rest = first - power_of_two(x, -second)
    return _copysign(multiply_add(series, first, rest) * power_of_two(x, second), x)


def _reduced(x: Value) -> tuple[Value, Value, Value]:
    """x = n ln 2 + r, |r| <= ln 2 / 2, within the range of ``exp``: r, 2**a and b, where a + b = n are the halves of n.

    n is rounded by adding 1.5 * 2**mantissa bits, which leaves it in the last bits of the sum: no conversion of a nan.
    """
    low, high, mantissa = (-104.0, 89.0, 23) if x.bits == 32 else (-746.0, 710.0, 52)
    bounded = select(x < low, x.constant(low), select(x > high, x.constant(high), x))
    magic = 1.5 * 2.0**mantissa
    lifted = multiply_add(bounded, x.constant(math.log2(math.e)), magic)
    n = lifted - magic
    ln2_high, ln2_low = LN2[x.bits]
    r = multiply_add(n, x.constant(-ln2_low), multiply_add(n, x.constant(-ln2_high), bounded))
    whole = lifted.bitcast(x.integer)  # n and, in bits that a shift by the mantissa drops, what was added
    half = whole >> 1
    return r, power_of_two(x, half), whole - half


# The odd series of log((1 + s) / (1 - s)) - 2 s in s**2, from fdlibm's e_log.c (Sun Microsystems 1993).
_LOG = (
    1.479819860511658591e-01,
    1.531383769920937332e-01,
    1.818357216161805012e-01,
    2.222219843214978396e-01,
    2.857142874366239149e-01,
    3.999999999940941908e-01,
    6.666666666666735130e-01,
)


def log(x: Value) -> Value:
    """x = 2**k (1 + f) with 1 + f near 1; log(1 + f) by fdlibm's series in s = f / (2 + f)."""
    bits, integer = x.bits, x.integer
    mantissa, tiny, lift = (23, 2.0**-126, 2.0**25) if bits == 32 else (52, 2.0**-1022, 2.0**54)
    subnormal = x < tiny
    lifted = select(subnormal, x * lift, x)
    raw = lifted.bitcast(integer)
    root_half = 0x3F3504F3 if bits == 32 else 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)
    shifted = raw - root_half
    k = shifted >> mantissa
    f = (raw - (k << mantissa)).bitcast(x.element) - 1.0
    k_float = k.to(x.element) - select(subnormal, x.constant(math.log2(lift)), x.constant(0.0))
    s = f / (f + 2.0)
    z = s * s
    series = polynomial(z, _LOG) * z
    half_square = f * f * 0.5
    ln2_high, ln2_low = LN2[bits]
    small = multiply_add(s, half_square + series, k_float * ln2_low)
    result = multiply_add(k_float, x.constant(ln2_high), (small - half_square) + f)
    result = select(x == math.inf, x, result)
    result = select(x == 0, x.constant(-math.inf), result)
    return select((x < 0) | (x != x), x.constant(math.nan), result)


def _log_of_one_plus(t: Value) -> Value:
    """log(1 + t) for 0 <= t <= 1; the rounding of 1 + t is put right to first order."""
    u = t + 1.0
    return log(u) - ((u - 1.0) - t) / u


# -- activations ---------------------------------------------------------------------------------------------

# tanh(x) = x + x**3 P(x**2) for |x| < 0.625, coefficients of Cephes (Moshier 1989): tanhf.c and tanh.c.
_TANH = {  # bits -> numerator and denominator of P
    32: (
        (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1),
        (),
    ),
    64: (
        (-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3),
        (1.0, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3),
    ),
}


def tanh(x: Value) -> Value:
    size = _fabs(x)
    z = x * x
    above, below = _TANH[x.bits]
    series = polynomial(z, above) / polynomial(z, below) if below else polynomial(z, above)
    near_zero = multiply_add(x * z, series, x)
    far = 1.0 - 2.0 / (exp(size * 2.0) + 1.0)
    return _copysign(select(size < 0.625, near_zero, far), x)


def sigmoid(x: Value) -> Value:
    """With exp(-|x|), which does not overflow: the subnormal results come out, too."""
    small = exp(-_fabs(x))
    return select(x < 0, small, x.constant(1.0)) / (small + 1.0)


def softplus(x: Value) -> Value:
    return maximum(x, x.constant(0)) + _log_of_one_plus(exp(-_fabs(x)))


# erf in float32: a minimax polynomial near zero, 1 - exp(polynomial) beyond (N. Juffa's published fits).
_ERF_NEAR = (-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1)
_ERF_FAR = (
    -1.72853470e-5,
    3.83197126e-4,
    -3.88396438e-3,
    2.42546219e-2,
    -1.06777877e-1,
    -6.34846687e-1,
    -1.28717512e-1,
)


def erf(x: Value) -> Value:
    if x.bits != 32:
        return x.call("erf")
    size = _fabs(x)
    bounded = select(size > 4.0, x.constant(4.0), size)
    far = _copysign(1.0 - exp(multiply_add(polynomial(bounded, _ERF_FAR), bounded, -bounded)), x)
    near = multiply_add(polynomial(x * x, _ERF_NEAR), x, x)
    return select(x != x, x, select(size > 0.927734375, far, near))


# -- random words --------------------------------------------------------------------------------------------


def high_product(x: Value, y: Value) -> Value:
    return x.high_product(y)


def mixed(low: Value, high: Value) -> Value:
    """The word of a state of the random stream: XSL-RR, see ``ir.stream``."""
    word, turn = low ^ high, high >> 58
    return (word >> turn) | (word << ((64 - turn) & 63))


# -- all of them ---------------------------------------------------------------------------------------------

LIBRARY = (
    *("pow", "hypot", "exp2", "cbrt", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan"),
    *("atan2", "sinh", "cosh", "asinh", "acosh", "atanh"),
)

FUNCTIONS: dict[str, Callable[..., Value]] = {
    **{name: _own(name) for name in LIBRARY},
    **{f.__name__: f for f in (select, truth, negated, maximum, minimum, relu, sign, literal, one, infinity)},
    **{f.__name__: f for f in (fold_add, fold_multiply, fold_maximum, fold_minimum)},
    **{f.__name__: f for f in (high_product, mixed)},
    **{f.__name__: f for f in (exp, expm1, log, tanh, sigmoid, softplus, erf, multiply_add)},
    "sqrt": sqrt,
    "floor": floor,
    "ceil": ceil,
    "trunc": trunc,
    "rint": rint,
    "abs": abs_,
}
# name -> number of operands
ARITY = dict.fromkeys(FUNCTIONS, 1) | {
    **dict.fromkeys(("pow", "hypot", "atan2", "maximum", "minimum", "literal"), 2),
    **dict.fromkeys(("high_product", "mixed"), 2),
    **dict.fromkeys(("fold_add", "fold_multiply", "fold_maximum", "fold_minimum"), 2),
    **dict.fromkeys(("select", "multiply_add"), 3),
}
BOOLEAN = frozenset({"truth", "negated"})  # functions with a bool as result, whatever their operand
