"""The exponential and the logarithm, and what differs from them by one."""

from __future__ import annotations

import math

from blockfuse.codegen.values.basic import copysign, multiply_add, polynomial, select
from blockfuse.codegen.values.value import Value


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


def normal_exponential(x: Value) -> Value:
    """The same where x is known to be such that the result is a normal number, or nan: scaled in one step."""
    r, lifted = _remainder(x)
    return polynomial(r, (*_EXP[x.bits], 1.0, 1.0)) * power_of_two(x, lifted.bitcast(x.integer))


def expm1(x: Value) -> Value:
    """exp(x) - 1 = (p 2**a + (2**a - 2**-b)) 2**b with p = exp(r) - 1 and a + b = n: near zero n is 0, and p all of it."""
    r, first, second = _reduced(x)
    series = multiply_add(r * r, polynomial(r, _EXP[x.bits]), r)
    rest = first - power_of_two(x, -second)
    return copysign(multiply_add(series, first, rest) * power_of_two(x, second), x)


def _reduced(x: Value) -> tuple[Value, Value, Value]:
    """x = n ln 2 + r, |r| <= ln 2 / 2, within the range of ``exp``: r, 2**a and b, where a + b = n are the halves of n."""
    low, high = (-104.0, 89.0) if x.bits == 32 else (-746.0, 710.0)
    r, lifted = _remainder(select(x < low, x.constant(low), select(x > high, x.constant(high), x)))
    whole = lifted.bitcast(x.integer)  # n and, in bits that a shift by the mantissa drops, what was added
    half = whole >> 1
    return r, power_of_two(x, half), whole - half


def _remainder(x: Value) -> tuple[Value, Value]:
    """r of x = n ln 2 + r, and n as the last bits of a float.

    n is rounded by adding 1.5 * 2**mantissa bits, which leaves it in the last bits of the sum: no conversion of a nan.
    """
    magic = 1.5 * 2.0 ** (23 if x.bits == 32 else 52)
    lifted = multiply_add(x, x.constant(math.log2(math.e)), magic)
    n = lifted - magic
    ln2_high, ln2_low = LN2[x.bits]
    return multiply_add(n, x.constant(-ln2_low), multiply_add(n, x.constant(-ln2_high), x)), lifted


# The odd series of log((1 + s) / (1 - s)) - 2 s in s**2, for 1 + f = (1 + s) / (1 - s): where f is small, in float64 from
# fdlibm's e_log.c (Sun Microsystems 1993), else the polynomial through its values at the Chebyshev nodes of all s**2.
_LOG = {
    32: (0.295821589, 0.399887318, 0.666666852),
    64: (
        1.479819860511658591e-01,
        1.531383769920937332e-01,
        1.818357216161805012e-01,
        2.222219843214978396e-01,
        2.857142874366239149e-01,
        3.999999999940941908e-01,
        6.666666666666735130e-01,
    ),
}
_LOG_TO_TWO = {  # f up to 1, s**2 up to 1/9
    32: (0.232243826, 0.217065655, 0.285923586, 0.399997063, 0.666666673),
    64: (
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
    ),
}


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
    series = polynomial(z, _LOG[bits]) * z
    half_square = f * f * 0.5
    ln2_high, ln2_low = LN2[bits]
    small = multiply_add(s, half_square + series, k_float * ln2_low)
    result = multiply_add(k_float, x.constant(ln2_high), (small - half_square) + f)
    result = select(x == math.inf, x, result)
    result = select(x == 0, x.constant(-math.inf), result)
    return select((x < 0) | (x != x), x.constant(math.nan), result)


def log_of_one_plus(t: Value) -> Value:
    """log(1 + t) for 0 <= t <= 1: the series of ``log`` in s = t / (2 + t), without a rounded sum 1 + t."""
    s = t / (t + 2.0)
    z = s * s
    half_square = t * t * 0.5
    return multiply_add(s, multiply_add(polynomial(z, _LOG_TO_TWO[t.bits]), z, half_square), -half_square) + t
