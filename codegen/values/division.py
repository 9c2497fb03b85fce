"""Division with a remainder, and shifts: NumPy's results also where a machine's instructions have none, or trap.

NOTE [many quotients by one divisor]
Wide vectors divide slowly: sixteen float32 take nine cycles and more, two multiplications and additions one. Where many
numbers are divided by one (the elements of a row by its sum, or by a constant), its reciprocal is computed once. A
quotient ``q`` that is the product with it is off by a unit or so in the last place; what it leaves, ``q * y - x``, is exact
where it is one rounding with the product, and corrects ``q`` to the quotient that a division gives (Markstein 1990, IBM J.
Res. Dev. 34), but for the last place where that rest, or the result, is subnormal. A divisor whose reciprocal is none, or
subnormal, is scaled by a power of two, and so are the numbers; with its sign, too, so that zeros have the sign that they
should have. Infinities leave nan behind, in the place of which the product is right.
"""

from __future__ import annotations

from blockfuse.codegen.values.basic import copysign, fabs, floor, multiply_add, own, select
from blockfuse.codegen.values.value import Value

_fmod = own("fmod")


def floor_divide(x: Value, y: Value) -> Value:
    return _floored_quotient(x, y) if x.is_float else _floored_integer(x, y)


def remainder(x: Value, y: Value) -> Value:
    """With the sign of the divisor; Python's ``%``."""
    rest = fmod(x, y)
    moved = select(_opposed(rest, y), rest + y, rest)
    return select(rest == 0, copysign(x.constant(0), y), moved) if x.is_float else moved


def fmod(x: Value, y: Value) -> Value:
    """With the sign of the dividend; an integer by 0 leaves 0."""
    if x.is_float:
        return _fmod(x, y)
    divisor = _harmless(y)
    return select(divisor == y, x - x.quotient(divisor) * divisor, x.constant(0))


def _opposed(rest: Value, y: Value) -> Value:
    return (rest != 0) & ((rest < 0) ^ (y < 0))


def _floored_quotient(x: Value, y: Value) -> Value:
    """The whole number nearest to what is left without the remainder, so that both fit together; the sign of a zero is that
    of the quotient.
    """
    rest = _fmod(x, y)
    quotient = (x - rest) / y
    quotient = select(_opposed(rest, y), quotient - 1, quotient)
    whole = floor(quotient)
    whole = select(quotient - whole > 0.5, whole + 1, whole)
    ratio = x / y
    return select(y == 0, ratio, select(quotient == 0, copysign(x.constant(0), ratio), whole))


def _floored_integer(x: Value, y: Value) -> Value:
    """0 for a divisor of 0; what no integer holds wraps."""
    divisor = _harmless(y)
    quotient = x.quotient(divisor)
    if x.signed:
        below = _opposed(x - quotient * divisor, divisor)
        quotient = select(y == -1, -x, select(below, quotient - 1, quotient))
    return select(y == 0, x.constant(0), quotient)


def _harmless(y: Value) -> Value:
    """1 in place of a divisor by which a machine may not divide: 0, and -1, whose quotient no integer may hold."""
    trap = (y == 0) | (y == -1) if y.signed else y == 0
    return select(trap, y.constant(1), y)


def left_shift(x: Value, y: Value) -> Value:
    return select(_is_shift(x, y), x << (y & (x.bits - 1)), x.constant(0))


def right_shift(x: Value, y: Value) -> Value:
    """A shift by all bits, or by a negative number of them, leaves the sign alone."""
    rest = select(x < 0, x.constant(-1), x.constant(0)) if x.signed else x.constant(0)
    return select(_is_shift(x, y), x >> (y & (x.bits - 1)), rest)


def _is_shift(x: Value, y: Value) -> Value:
    return (y >= 0) & (y < x.bits) if y.signed else y < x.bits


def divided_by_one(x: Value, y: Value) -> Value:
    """x / y, floats, where one ``y`` divides many: what follows from it alone is computed before the loop over them."""
    size = fabs(y)
    limit, large, small = (2.0**1022, 2.0**-4, 2.0**128) if x.bits == 64 else (2.0**126, 2.0**-4, 2.0**64)
    scale = select(
        size > limit, y.constant(large), select(size < 1 / limit, y.constant(small), y.constant(1))
    )
    divisor, scale = size * scale, copysign(scale, y)
    reciprocal = y.constant(1) / divisor
    scaled = x * scale
    product = scaled * reciprocal
    quotient = multiply_add(-multiply_add(product, divisor, -scaled), reciprocal, product)
    return select(quotient == quotient, quotient, product)


def signbit(x: Value) -> Value:
    return x.bitcast(x.integer) < 0
