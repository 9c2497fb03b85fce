"""Functions of a few instructions: choice, what backends have themselves, folds, random words."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from blockfuse.codegen.values.value import Value

# -- choice ----------------------------------------------------------------------------------------------------


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


# -- the backend's own -----------------------------------------------------------------------------------------


def own(name: str) -> Callable[..., Value]:
    return lambda x, *others: x.call(name, *others)


sqrt, floor, ceil, trunc, rint = (own(n) for n in ("sqrt", "floor", "ceil", "trunc", "rint"))
fabs, copysign, _fmuladd = own("fabs"), own("copysign"), own("fmuladd")


def abs_(x: Value) -> Value:
    return fabs(x) if x.is_float else select(x < 0, -x, x)


def multiply_add(x: Value, y: Value, z: Any) -> Value:
    """x * y + z, in one rounding where the machine has it."""
    return _fmuladd(x, _like(x, y), _like(x, z))


def _like(x: Value, other: Any) -> Value:
    return x.constant(other) if isinstance(other, int | float) else other


def polynomial(x: Value, coefficients: tuple[float, ...]) -> Value:
    """Coefficients of the highest power first. Pairs of them are added at once, then follows Horner's scheme in x**2: one
    product more, but half the latency, and it is latency that the reordering window of a core is too small to hide. A
    device hides it behind other threads, and pairs would take registers from these.
    """
    if len(coefficients) < _LONG or x.hides_latency:
        return _horner(x, [x.constant(c) for c in coefficients])
    odd = len(coefficients) % 2
    pairs = zip(coefficients[odd::2], coefficients[odd + 1 :: 2], strict=True)
    first = [x.constant(c) for c in coefficients[:odd]]
    return _horner(x * x, [*first, *(multiply_add(x, x.constant(a), b) for a, b in pairs)])


_LONG = 4  # coefficients


def _horner(x: Value, coefficients: list[Value]) -> Value:
    result, *others = coefficients
    for c in others:
        result = multiply_add(result, x, c)
    return result


# -- folds: the order of additions is free ---------------------------------------------------------------------


def fold_add(total: Value, x: Value) -> Value:
    return total.call("fold_add", x) if total.is_float else total + x


def fold_multiply(total: Value, x: Value) -> Value:
    return total.call("fold_multiply", x) if total.is_float else total * x


def fold_maximum(best: Value, x: Value) -> Value:
    return best.call("fold_maximum", x) if best.is_float else maximum(best, x)


def fold_minimum(best: Value, x: Value) -> Value:
    return best.call("fold_minimum", x) if best.is_float else minimum(best, x)


# -- random words ----------------------------------------------------------------------------------------------


def high_product(x: Value, y: Value) -> Value:
    return x.high_product(y)


def mixed(low: Value, high: Value) -> Value:
    """The word of a state of the random stream: XSL-RR, see ``ir.stream``."""
    word, turn = low ^ high, high >> 58
    return (word >> turn) | (word << ((64 - turn) & 63))
