"""The exponential and the logarithm, and what differs from them by one."""

from __future__ import annotations

import math

from blockfuse.codegen.values.basic import copysign, multiply_add, polynomial, select
from blockfuse.codegen.values.value import Value

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
    high = x.constant(_HIGHEST[x.bits])
    return decaying(select(x > high, high, x))


def decaying(x: Value) -> Value:
    """The same where x is known not to be so large that the result overflows, or nan."""
    if x.is_wide:
        return _by_roots(x)
    r, first, second = _reduced(x)
    return _exp_of_remainder(r) * _scale(x, first) * _scale(x, second)


def _by_roots(x: Value) -> Value:
    """With n in sixteenths: 2**floor(n), the root 2**(j / 16) for the rest, and a series for |r| <= ln 2 / 32."""
    bounded = _not_below_range(x)
    magic, lifted = _lifted(bounded, 0, 16)
    n = lifted - magic
    r = _without(n, bounded)
    root = lifted.call("root")
    series = multiply_add(r * r, multiply_add(r, r.constant(1 / 6), 0.5), r)
    return multiply_add(root, series, root).call("scalef", n)


def one_minus_decaying(x: Value) -> Value:
    """1 - exp(-x) = (1 - 2**n) - p 2**n with p = exp(r) - 1, where x is at least 0 and exp(-x) is normal, or nan.

    What r lost by one rounded ln 2 is n parts of its last bit, of which 2**n counts.
    """
    magic, lifted = _lifted(-x, _bias(x))
    r = multiply_add(lifted - magic, x.constant(-math.log(2)), -x)
    series = multiply_add(r * r, polynomial(r, _EXP[x.bits]), r)
    scale = _scale(x, lifted.bitcast(x.integer))
    return multiply_add(-series, scale, 1.0 - scale)


def _exp_of_remainder(r: Value) -> Value:
    return multiply_add(polynomial(r, (*_EXP[r.bits], 1.0)), r, 1.0)


def expm1(x: Value) -> Value:
    """exp(x) - 1 = (p 2**a + (2**a - 2**-b)) 2**b with p = exp(r) - 1 and a + b = n: near zero n is 0, and p all of it."""
    high = x.constant(_HIGHEST[x.bits])
    r, first, second = _reduced(select(x > high, high, x))
    series = multiply_add(r * r, polynomial(r, _EXP[x.bits]), r)
    inverse = _scale(x, 2 * _bias(x) - second)
    series_scaled = multiply_add(series, _scale(x, first), _scale(x, first) - inverse)
    return copysign(series_scaled * _scale(x, second), x)


_LOWEST, _HIGHEST = {32: -104.0, 64: -746.0}, {32: 89.0, 64: 710.0}  # beyond, ``exp`` is 0 and infinite


def _reduced(x: Value) -> tuple[Value, Value, Value]:
    """x = n ln 2 + r, |r| <= ln 2 / 2, where x is not above the range of ``exp``: r and the biased exponents of two factors,
    nearly the same, of 2**n.
    """
    r, whole = _remainder(_not_below_range(x), 2 * _bias(x))
    half = whole >> 1
    return r, half, whole - half


def _not_below_range(x: Value) -> Value:
    low = x.constant(_LOWEST[x.bits])
    return select(x < low, low, x)


def _remainder(x: Value, bias: int) -> tuple[Value, Value]:
    """r of x = n ln 2 + r, and an integer whose last bits are n + bias.

    n is rounded by adding 1.5 * 2**mantissa bits, which leaves it in the last bits of the sum: no conversion of a nan.
    """
    magic, lifted = _lifted(x, bias)
    return _without(lifted - magic, x), lifted.bitcast(x.integer)


def _without(n: Value, x: Value) -> Value:
    """What n ln 2 leaves of x."""
    ln2_high, ln2_low = LN2[x.bits]
    return multiply_add(n, x.constant(-ln2_low), multiply_add(n, x.constant(-ln2_high), x))


def _lifted(x: Value, bias: int, parts: int = 1) -> tuple[float, Value]:
    """A number, and a value that is n more than it, whose last bits are n + bias in ``parts`` of 1: see ``_remainder``."""
    magic = (1.5 * 2.0 ** _mantissa(x) + bias) / parts
    return magic, multiply_add(x, x.constant(math.log2(math.e)), magic)


def _scale(x: Value, exponent: Value) -> Value:
    """A float like ``x`` with the last bits of an integer as its exponent; 0 is that of the subnormals."""
    return (exponent << _mantissa(x)).bitcast(x.element)


def _mantissa(x: Value) -> int:
    return 23 if x.bits == 32 else 52


def _bias(x: Value) -> int:
    return 127 if x.bits == 32 else 1023


# (log(1 + f) - f + f**2 / 2) / f**3, the highest power first, for f from -1/3 to 1/3: minimax of the relative error of
# log(1 + f), 2**-27.6, fitted by linear programming over coefficients that are float32.
_LOG = (
    -0.128802091,
    0.139845937,
    -0.121874474,
    0.140057340,
    -0.166801974,
    0.200104266,
    -0.249998063,
    0.333332151,
)


def log(x: Value) -> Value:
    """x = 2**k (1 + f) with 1 + f near 1; nan and infinity are their own results."""
    tiny, lift = (2.0**-126, 2.0**25) if x.bits == 32 else (2.0**-1022, 2.0**54)
    subnormal = x < tiny
    raw = select(subnormal, x * lift, x).bitcast(x.integer)
    smallest = 0x3F2AAAAB if x.bits == 32 else 0x3FE6A09E667F3BCD  # the bits of 2/3, of sqrt(1/2)
    k = (raw - smallest) >> _mantissa(x)
    f = (raw - (k << _mantissa(x))).bitcast(x.element) - 1.0
    k_float = k.to(x.element) - select(subnormal, x.constant(math.log2(lift)), x.constant(0.0))
    result = select(x < math.inf, (_log32 if x.bits == 32 else _log64)(f, k_float), x)
    result = select(x.bitcast(x.integer) < 0, x.constant(math.nan), result)
    return select(x == 0, x.constant(-math.inf), result)


def _log32(f: Value, k: Value) -> Value:
    """Without a division, which takes as long as eight coefficients."""
    square = f * f
    near_one = multiply_add(square, multiply_add(polynomial(f, _LOG), f, -0.5), f)
    return multiply_add(k, f.constant(math.log(2)), near_one)


def _log64(f: Value, k: Value) -> Value:
    """fdlibm's series (e_log.c, Sun Microsystems 1993) of log((1 + s) / (1 - s)) - 2 s in s**2, s = f / (2 + f)."""
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    ln2_high, ln2_low = LN2[64]
    small = multiply_add(s, multiply_add(polynomial(z, _LOG64), z, half_square), k * ln2_low)
    return multiply_add(k, f.constant(ln2_high), (small - half_square) + f)


_LOG64 = (
    1.479819860511658591e-01,
    1.531383769920937332e-01,
    1.818357216161805012e-01,
    2.222219843214978396e-01,
    2.857142874366239149e-01,
    3.999999999940941908e-01,
    6.666666666666735130e-01,
)
# (log(1 + t) - t) / t**2 for t from 0 to 1, fitted as ``_LOG`` to 2**-27.5
_LOG_OF_ONE_PLUS = (
    -0.003290468594059348,
    0.020086241886019707,
    -0.05745723098516464,
    0.10661128163337708,
    -0.15344880521297455,
    0.19692102074623108,
    -0.24958018958568573,
    0.33330464363098145,
    -0.4999993145465851,
)
_LOG_TO_TWO = (  # the series of ``_log64`` through its values at the Chebyshev nodes of s**2 up to 1/9, f up to 1
    0.15630577887041414,
    0.07492143750164487,
    0.10845178405016058,
    0.11734279060054055,
    0.1333517863154194,
    0.15384543964856312,
    0.1818181989796283,
    0.22222222198236768,
    0.285714285716001,
    0.39999999999999525,
    0.6666666666666666,
)


def log_of_one_plus(t: Value) -> Value:
    """log(1 + t) for 0 <= t <= 1, without a rounded sum 1 + t: the series of ``log``."""
    if t.bits == 32:
        return multiply_add(t * t, polynomial(t, _LOG_OF_ONE_PLUS), t)
    s = t / (t + 2.0)
    z = s * s
    half_square = t * t * 0.5
    return multiply_add(s, multiply_add(polynomial(z, _LOG_TO_TWO), z, half_square), -half_square) + t
