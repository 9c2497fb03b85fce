"""Functions of one element of each operand: arithmetic, comparison, rounding, exponents, angles.

>>> from blockfuse import np, npx
>>> np.add(np.array([[1], [2]]), np.array([10, 20]))
array([[11., 21.],
       [12., 22.]])
>>> npx.relu(np.array([-1, 2]))
array([0., 2.])
>>> np.floor_divide(np.array([7, -7], dtype="int32"), 2)
array([ 3, -4], dtype=int32)
>>> np.sqrt(np.array([4, 9]), out=np.zeros(2), where=np.array([True, False]))
array([2., 0.])
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy

from blockfuse.array.arguments import ArrayLike
from blockfuse.array.eager import data_of
from blockfuse.array.functions import partly
from blockfuse.array.functions.creation import array, asarray
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.interpreter import current
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import neural, pointwise


class Unary(Protocol):
    """``out`` takes the result; otherwise it is a new array. A Python number counts as float32.

    where: which elements are computed: others keep what ``out`` has there, and are 0 in a new array.
    """

    def __call__(
        self, x: ArrayLike, /, out: ndarray | None = None, *, where: ArrayLike = True
    ) -> ndarray: ...


class Binary(Protocol):
    """As ``Unary``; operands are broadcast, and a Python number beside an array takes the array's dtype."""

    def __call__(
        self, x: ArrayLike, y: ArrayLike, /, out: ndarray | None = None, *, where: ArrayLike = True
    ) -> ndarray: ...


# NOTE [thin wrappers]
# These two call the interpreter themselves, not the row: one Python frame less in each eager call.


def unary(operator: Operator) -> Unary:
    """The function of one array for a row."""

    def function(x: ArrayLike, /, out: ndarray | None = None, *, where: ArrayLike = True) -> ndarray:
        operand = x if type(x) is ndarray else asarray(x)
        if where is not True:
            return partly.computed(operator, (operand,), where, out)
        if out is not None:
            return into(out, operator, operand)
        return current().apply(operator, (operand,), {})

    return _named(function, operator)


def binary(operator: Operator) -> Binary:
    """The function of two arrays for a row."""

    def function(
        x: ArrayLike, y: ArrayLike, /, out: ndarray | None = None, *, where: ArrayLike = True
    ) -> ndarray:
        if type(x) is not ndarray and type(y) is not ndarray:
            x, y = beside(x, y)
        if where is not True:
            return partly.computed(operator, (x, y), where, out)
        if out is not None:
            return into(out, operator, x, y)
        return current().apply(operator, (x, y), {})

    return _named(function, operator)


def _named(function: Any, operator: Operator) -> Any:
    function.__name__ = function.__qualname__ = operator.name
    function.__doc__ = f"``{operator.name}`` of each element, as NumPy defines it."
    return function


def beside(x: ArrayLike, y: ArrayLike) -> tuple[Any, Any]:
    """Two operands, none of them ours: a number stays one beside an array, else it becomes an array."""
    if isinstance(x, int | float) and not isinstance(y, int | float):
        return x, asarray(y)
    return asarray(x), y if isinstance(y, int | float) else asarray(y)


def alike(x: ArrayLike, y: ArrayLike) -> tuple[ndarray, ndarray]:
    """Two arrays; a number beside an array becomes one of the dtype that they have together."""
    if _is_number(x) and not _is_number(y):
        y = asarray(y)
        return asarray(x, numpy.result_type(x, y.dtype)), y
    if _is_number(y) and not _is_number(x):
        x = asarray(x)
        return x, asarray(y, numpy.result_type(x.dtype, y))
    return asarray(x), asarray(y)


def _is_number(x: ArrayLike) -> bool:
    return isinstance(x, int | float) and not isinstance(x, numpy.generic)


def into(out: ndarray, operator: Operator, *operands: Any) -> ndarray:
    """The result written into ``out``."""
    if type(out) is not ndarray:
        raise TypeError(f"out= takes an array of blockfuse.np, not {type(out).__name__}")
    current().update(out, operator, operands, {})
    return out


# -- arithmetic ----------------------------------------------------------------------------------------------

add = binary(pointwise.add)
subtract = binary(pointwise.subtract)
multiply = binary(pointwise.multiply)
divide = true_divide = binary(pointwise.divide)
floor_divide = binary(pointwise.floor_divide)
mod = remainder = binary(pointwise.remainder)
fmod = binary(pointwise.fmod)
negative = unary(pointwise.negative)
positive = unary(pointwise.positive)
absolute = abs = unary(pointwise.absolute)
fabs = unary(pointwise.fabs)
sign = unary(pointwise.sign)
square = unary(pointwise.square)
sqrt = unary(pointwise.sqrt)
cbrt = unary(pointwise.cbrt)
reciprocal = unary(pointwise.reciprocal)
maximum = binary(pointwise.maximum)
minimum = binary(pointwise.minimum)
fmax = binary(pointwise.fmax)
fmin = binary(pointwise.fmin)
hypot = binary(pointwise.hypot)


def power(x: ArrayLike, y: ArrayLike, /, out: ndarray | None = None, *, where: ArrayLike = True) -> ndarray:
    """``x ** y`` of each element, with the operator's short cuts (``square`` for 2, ``sqrt`` for 0.5).

    Those of bools have another dtype than NumPy's function, and those of halves another root of -inf.
    """
    if where is not True:
        ours = type(x) is ndarray or type(y) is ndarray
        return partly.computed(pointwise.power, (x, y) if ours else beside(x, y), where, out)
    if out is not None:
        return into(out, pointwise.power, x, y)
    if type(x) is ndarray and x.dtype.name not in ("bool", "float16"):
        return x**y
    ours = type(x) is ndarray or type(y) is ndarray
    return current().apply(pointwise.power, (x, y) if ours else beside(x, y), {})


pow = power


def clip(
    a: ArrayLike,
    a_min: ArrayLike | None = None,
    a_max: ArrayLike | None = None,
    out: ndarray | None = None,
    *,
    min: ArrayLike | None = None,
    max: ArrayLike | None = None,
) -> ndarray:
    """Each element, moved into the closed range from ``a_min`` to ``a_max``; ``None`` leaves a side open.

    ``min`` and ``max`` are the array API's words for the two.

    >>> from blockfuse import np
    >>> np.clip(np.array([-5, 0.5, 5]), 0, 1)
    array([0. , 0.5, 1. ])
    """
    x = asarray(a)
    lower = _bound(min if a_min is None else a_min, x.dtype, -1)
    upper = _bound(max if a_max is None else a_max, x.dtype, 1)
    result = x
    if lower is not None and upper is not None:  # promotion is of all three
        common = numpy.result_type(x.dtype, _promoting(lower), _promoting(upper))
        result = x if common == x.dtype else pointwise.cast(x, dtype=str(common))
    if lower is not None:
        result = maximum(result, lower if result.dtype.kind != "f" else _as_float(lower))
    if upper is not None:
        result = minimum(result, upper if result.dtype.kind != "f" else _as_float(upper))
    if out is not None:
        out[...] = result
        return out
    return array(result) if result is a else result


def _bound(value: ArrayLike | None, dtype: numpy.dtype, side: int) -> Any:
    """A bound, if it is one: a Python int beyond the least (side -1) or largest (1) integer is none."""
    if type(value) is int and dtype.kind in "iu":
        limits = numpy.iinfo(dtype)
        return None if (value <= limits.min if side < 0 else value >= limits.max) else value
    return data_of(value) if isinstance(value, list | tuple) else value


def _promoting(bound: Any) -> Any:
    """What a bound promotes by: a number of Python by its kind alone."""
    if isinstance(bound, ndarray | numpy.ndarray | numpy.generic):
        return bound.dtype
    return numpy.dtype(bool) if isinstance(bound, bool) else 0 if isinstance(bound, int) else 0.0


def _as_float(bound: Any) -> Any:
    return float(bound) if type(bound) is int else bound


# -- comparison and logic ------------------------------------------------------------------------------------

equal = binary(pointwise.equal)
not_equal = binary(pointwise.not_equal)
less = binary(pointwise.less)
less_equal = binary(pointwise.less_equal)
greater = binary(pointwise.greater)
greater_equal = binary(pointwise.greater_equal)
logical_and = binary(pointwise.logical_and)
logical_or = binary(pointwise.logical_or)
logical_xor = binary(pointwise.logical_xor)
logical_not = unary(pointwise.logical_not)
bitwise_and = binary(pointwise.bitwise_and)
bitwise_or = binary(pointwise.bitwise_or)
bitwise_xor = binary(pointwise.bitwise_xor)
bitwise_not = bitwise_invert = invert = unary(pointwise.invert)
left_shift = bitwise_left_shift = binary(pointwise.left_shift)
right_shift = bitwise_right_shift = binary(pointwise.right_shift)
isnan = unary(pointwise.isnan)
isinf = unary(pointwise.isinf)
isfinite = unary(pointwise.isfinite)
signbit = unary(pointwise.signbit)


def isclose(
    a: ArrayLike, b: ArrayLike, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> ndarray:
    """Whether elements differ by at most ``atol + rtol * abs(b)``.

    >>> from blockfuse import np
    >>> np.isclose(np.array([1.0]), np.array([1.0 + 1e-7]))
    array([ True])
    """
    x, y = asarray(a), asarray(b)
    y = y if y.dtype.kind == "f" else asarray(y, "float64")
    near = logical_and(less_equal(absolute(x - y), atol + rtol * absolute(y)), isfinite(y))
    close = logical_or(near, equal(x, y))
    return logical_or(close, logical_and(isnan(x), isnan(y))) if equal_nan else close


# -- rounding ------------------------------------------------------------------------------------------------

floor = unary(pointwise.floor)
ceil = unary(pointwise.ceil)
trunc = fix = unary(pointwise.trunc)
rint = unary(pointwise.rint)


def round(x: ArrayLike, decimals: int = 0) -> ndarray:
    """Each element rounded to ``decimals`` digits after the point, halves to the even neighbour."""
    values = asarray(x)
    if values.dtype == bool:
        return rint(values)
    if values.dtype.kind in "iu" and decimals >= 0:
        return asarray(pointwise.cast(values, dtype=str(values.dtype)))
    if decimals == 0:
        return rint(values)
    scaled = (
        rint(values * 10.0**decimals) / 10.0**decimals if decimals > 0 else _round_left(values, -decimals)
    )
    return asarray(scaled, values.dtype)


def _round_left(values: ndarray, digits: int) -> ndarray:
    return rint(values / 10.0**digits) * 10.0**digits


around = round

# -- exponential, trigonometric, hyperbolic ------------------------------------------------------------------

exp = unary(pointwise.exp)
exp2 = unary(pointwise.exp2)
expm1 = unary(pointwise.expm1)
log = unary(pointwise.log)
log2 = unary(pointwise.log2)
log10 = unary(pointwise.log10)
log1p = unary(pointwise.log1p)
logaddexp = binary(pointwise.logaddexp)
sin = unary(pointwise.sin)
cos = unary(pointwise.cos)
tan = unary(pointwise.tan)
arcsin = asin = unary(pointwise.arcsin)
arccos = acos = unary(pointwise.arccos)
arctan = atan = unary(pointwise.arctan)
arctan2 = atan2 = binary(pointwise.arctan2)
sinh = unary(pointwise.sinh)
cosh = unary(pointwise.cosh)
tanh = unary(pointwise.tanh)
arcsinh = asinh = unary(pointwise.arcsinh)
arccosh = acosh = unary(pointwise.arccosh)
arctanh = atanh = unary(pointwise.arctanh)
degrees = rad2deg = unary(pointwise.degrees)
radians = deg2rad = unary(pointwise.radians)


# -- of neural networks: part of npx -------------------------------------------------------------------------

relu = unary(neural.relu)
sigmoid = unary(neural.sigmoid)
erf = unary(neural.erf)
softplus = unary(neural.softplus)

# -- choice --------------------------------------------------------------------------------------------------


def where(condition: ArrayLike, x: ArrayLike | None = None, y: ArrayLike | None = None) -> Any:
    """Elements of ``x`` where the condition holds, else of ``y``; without both, the places where it holds.

    >>> from blockfuse import np
    >>> np.where(np.array([True, False]), 1.0, 2.0)
    array([1., 2.])
    """
    if x is None and y is None:
        return nonzero(condition)
    if x is None or y is None:
        raise ValueError("where takes the condition alone, or the condition and both x and y")
    if type(x) is not ndarray and type(y) is not ndarray:
        x, y = beside(x, y)
    return current().apply(pointwise.where, (asarray(condition), x, y), {})


def nonzero(a: ArrayLike) -> tuple[ndarray, ...]:
    """The places of elements that are not zero, one int64 array an axis: an escape."""
    indices = numpy.nonzero(asarray(a)._leave("nonzero()"))
    return tuple(ndarray(p) for p in indices)
