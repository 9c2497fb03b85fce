"""NumPy's numbers as values that ``values/functions.py`` is written over: what the simulator of a device computes with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.codegen.values.exponential import exponential
from blockfuse.ir.operators.special import gamma_of, gammaln_of


class Number:
    """A number, or an array of them."""

    hides_latency = True
    is_wide = False

    def __init__(self, number: Any) -> None:
        self.number = number

    # -- what it is ------------------------------------------------------------------------------------------

    @property
    def element(self) -> numpy.dtype:
        return self.number.dtype  # type: ignore[no-any-return]

    @property
    def is_float(self) -> bool:
        return self.element.kind == "f"

    @property
    def signed(self) -> bool:
        return self.element.kind == "i"

    @property
    def bits(self) -> int:
        return 1 if self.element.kind == "b" else 8 * self.element.itemsize

    @property
    def integer(self) -> numpy.dtype:
        return numpy.dtype(f"int{self.bits}")

    def constant(self, number: Any) -> Number:
        return Number(self.element.type(number))

    def _plain(self, other: Any) -> Any:
        return other.number if isinstance(other, Number) else self.element.type(other)

    # -- choice, conversion, functions -----------------------------------------------------------------------

    def chosen(self, x: Number, y: Number) -> Number:
        """Of a bool: x where it is true, else y."""
        return Number(numpy.where(self.number, x.number, y.number)[()])

    def to(self, element: numpy.dtype) -> Number:
        return Number(self.number.astype(element))

    def bitcast(self, element: numpy.dtype) -> Number:
        return Number(self.number.view(element))

    def call(self, name: str, *others: Number) -> Number:
        if name == "exp":
            return exponential(self)  # type: ignore[return-value]
        result = LIBRARY[name](self.number, *(o.number for o in others))
        return Number(numpy.asarray(result).astype(self.element)[()])

    # -- operators -------------------------------------------------------------------------------------------

    def __neg__(self) -> Number:
        return Number(-self.number)

    def __add__(self, other: Any) -> Number:
        return Number(self.number + self._plain(other))

    def __radd__(self, other: Any) -> Number:
        return Number(self._plain(other) + self.number)

    def __sub__(self, other: Any) -> Number:
        return Number(self.number - self._plain(other))

    def __rsub__(self, other: Any) -> Number:
        return Number(self._plain(other) - self.number)

    def __mul__(self, other: Any) -> Number:
        return Number(self.number * self._plain(other))

    def __rmul__(self, other: Any) -> Number:
        return Number(self._plain(other) * self.number)

    def __truediv__(self, other: Any) -> Number:
        return Number(self.number / self._plain(other))

    def __rtruediv__(self, other: Any) -> Number:
        return Number(self._plain(other) / self.number)

    def __and__(self, other: Any) -> Number:
        return Number(self.number & self._plain(other))

    def __or__(self, other: Any) -> Number:
        return Number(self.number | self._plain(other))

    def __xor__(self, other: Any) -> Number:
        return Number(self.number ^ self._plain(other))

    def high_product(self, other: Number) -> Number:
        return Number(self.element.type(int(self.number) * int(other.number) >> self.bits))

    def quotient(self, other: Any) -> Number:
        """NumPy's is rounded down."""
        divisor = self._plain(other)
        rest = numpy.fmod(self.number, divisor)
        return Number((self.number - rest) // divisor)

    def __lshift__(self, other: Any) -> Number:
        return Number(self.number << self._plain(other))

    def __rshift__(self, other: Any) -> Number:
        return Number(self.number >> self._plain(other))

    def __lt__(self, other: Any) -> Number:
        return Number(self.number < self._plain(other))

    def __le__(self, other: Any) -> Number:
        return Number(self.number <= self._plain(other))

    def __gt__(self, other: Any) -> Number:
        return Number(self.number > self._plain(other))

    def __ge__(self, other: Any) -> Number:
        return Number(self.number >= self._plain(other))

    def __eq__(self, other: Any) -> Number:  # type: ignore[override]
        return Number(self.number == self._plain(other))

    def __ne__(self, other: Any) -> Number:  # type: ignore[override]
        return Number(self.number != self._plain(other))

    __hash__ = None  # type: ignore[assignment]


def _multiply_add(x: Any, y: Any, z: Any) -> Any:
    """In one rounding where float64 holds the product; in float64 itself in two."""
    return numpy.asarray(x, "float64") * y + z


_ARC = {f"a{name}{h}": getattr(numpy, f"arc{name}{h}") for name in ("sin", "cos", "tan") for h in ("", "h")}

# name -> the function that a device's library has under it
LIBRARY: dict[str, Callable[..., Any]] = {
    **{n: getattr(numpy, n) for n in ("sqrt", "floor", "ceil", "trunc", "rint", "fabs", "copysign", "fmod")},
    **{n: getattr(numpy, n) for n in ("exp2", "cbrt", "log2", "log10", "log1p", "hypot")},
    **{n: getattr(numpy, n) for n in ("sin", "cos", "tan", "sinh", "cosh")},
    **_ARC,
    "atan2": numpy.arctan2,
    "pow": numpy.power,
    "erf": numpy.vectorize(math.erf),
    "lgamma": numpy.vectorize(gammaln_of),
    "tgamma": numpy.vectorize(gamma_of),
    "fmuladd": _multiply_add,
    "fold_add": numpy.add,
    "fold_multiply": numpy.multiply,
    "fold_maximum": numpy.maximum,
    "fold_minimum": numpy.minimum,
}
