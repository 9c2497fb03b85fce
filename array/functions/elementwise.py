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
from blockfuse.array.docstrings import (
    ALIKE,
    BITS,
    COUNTED,
    NARROW,
    NUMBERS,
    REAL,
    SHIFTED,
    TRUTH,
    Dtypes,
    of_each,
)
from blockfuse.array.eager import data_of
from blockfuse.array.functions import partly
from blockfuse.array.functions.creation import array, asarray
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.interpreter import current
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import neural, pointwise, special


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


def unary(operator: Operator, about: str, dtypes: Dtypes, call: str, result: str) -> Unary:
    """The function of one array for a row, with a docstring of these parts: see ``docstrings.of_each``."""

    def function(x: ArrayLike, /, out: ndarray | None = None, *, where: ArrayLike = True) -> ndarray:
        operand = x if type(x) is ndarray else asarray(x)
        if where is not True:
            return partly.computed(operator, (operand,), where, out)
        if out is not None:
            return into(out, operator, operand)
        return current().apply(operator, (operand,), {})

    flat = operator.gradient is pointwise.FLAT
    return _named(function, operator, of_each(about, dtypes, (call, result), 1, flat=flat))


def binary(operator: Operator, about: str, dtypes: Dtypes, call: str, result: str) -> Binary:
    """The function of two arrays for a row, with a docstring of these parts: see ``docstrings.of_each``."""
    flat = operator.gradient is pointwise.FLAT
    return binary_of(operator, of_each(about, dtypes, (call, result), 2, flat=flat))


def binary_of(operator: Operator, text: str) -> Binary:
    """The function of two arrays for an operator, with a docstring."""

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

    return _named(function, operator, text)


def _named(function: Any, operator: Operator, text: str) -> Any:
    function.__name__ = function.__qualname__ = operator.name
    function.__doc__ = text
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

add = binary(
    pointwise.add,
    "``x + y``; of bools, whether one is true.",
    ALIKE,
    "np.add(np.array([1, 2]), 10)",
    "array([11., 12.])",
)
subtract = binary(
    pointwise.subtract,
    "``x - y``.",
    NUMBERS,
    "np.subtract(np.array([[1, 2], [3, 4]]), np.array([1, 2]))",
    "array([[0., 0.],\n       [2., 2.]])",
)
multiply = binary(
    pointwise.multiply,
    "``x * y``; of bools, whether both are true.",
    ALIKE,
    "np.multiply(np.array([1, 2]), np.array([[1], [10]]))",
    "array([[ 1.,  2.],\n       [10., 20.]])",
)
divide = true_divide = binary(
    pointwise.divide,
    "``x / y``, also of integers.",
    REAL,
    'np.divide(np.array([1, 3], dtype="int32"), 2)',
    "array([0.5, 1.5])",
)
floor_divide = binary(
    pointwise.floor_divide,
    "The largest whole number that is not above ``x / y``.",
    COUNTED,
    "np.floor_divide(np.array([7, -7]), 2)",
    "array([ 3., -4.])",
)
mod = remainder = binary(
    pointwise.remainder,
    "What ``floor_divide`` leaves of ``x``: it has the sign of ``y``.",
    COUNTED,
    "np.remainder(np.array([7, -7]), 4)",
    "array([3., 1.])",
)
fmod = binary(
    pointwise.fmod,
    "What is left of ``x`` divided by ``y`` and cut off, as in C: it has the sign of ``x``.",
    COUNTED,
    "np.fmod(np.array([7, -7]), 4)",
    "array([ 3., -3.])",
)
negative = unary(
    pointwise.negative, "``-x``.", NUMBERS, "np.negative(np.array([1, -2]))", "array([-1.,  2.])"
)
positive = unary(
    pointwise.positive,
    "``+x``: the same numbers in memory of their own.",
    NUMBERS,
    "np.positive(np.array([1, -2]))",
    "array([ 1., -2.])",
)
absolute = abs = unary(
    pointwise.absolute,
    "``x`` without its sign.",
    ALIKE,
    "np.absolute(np.array([-1.5, 2]))",
    "array([1.5, 2. ])",
)
fabs = unary(
    pointwise.fabs,
    "``x`` without its sign, as a float.",
    NARROW,
    'np.fabs(np.array([-1, 2], dtype="int64"))',
    "array([1., 2.])",
)
sign = unary(
    pointwise.sign,
    "-1 below 0, 0 at 0, 1 above 0; nan of nan.",
    NUMBERS,
    "np.sign(np.array([-3, 0, 5]))",
    "array([-1.,  0.,  1.])",
)
square = unary(pointwise.square, "``x * x``.", COUNTED, "np.square(np.array([-3, 2]))", "array([9., 4.])")
sqrt = unary(
    pointwise.sqrt,
    "The root of ``x`` that is not negative; nan below 0.",
    NARROW,
    "np.sqrt(np.array([4, 2]))",
    "array([2.       , 1.4142135])",
)
cbrt = unary(
    pointwise.cbrt,
    "The third root of ``x``, which negative numbers have, too.",
    NARROW,
    "np.cbrt(np.array([27, -8])).round(4)",
    "array([ 3., -2.])",
)
reciprocal = unary(
    pointwise.reciprocal,
    "``1 / x``, of integers cut off to a whole number.",
    COUNTED,
    "np.reciprocal(np.array([2, -4]))",
    "array([ 0.5 , -0.25])",
)
maximum = binary(
    pointwise.maximum,
    "The larger of two elements; nan where one is nan.",
    ALIKE,
    "np.maximum(np.array([1, np.nan, -2]), 0)",
    "array([ 1., nan,  0.])",
)
minimum = binary(
    pointwise.minimum,
    "The smaller of two elements; nan where one is nan.",
    ALIKE,
    "np.minimum(np.array([1, np.nan, -2]), 0)",
    "array([ 0., nan, -2.])",
)
fmax = binary(
    pointwise.fmax,
    "The larger of two elements; where one is nan, the other.",
    ALIKE,
    "np.fmax(np.array([1, np.nan, -2]), 0)",
    "array([1., 0., 0.])",
)
fmin = binary(
    pointwise.fmin,
    "The smaller of two elements; where one is nan, the other.",
    ALIKE,
    "np.fmin(np.array([1, np.nan, -2]), 0)",
    "array([ 0.,  0., -2.])",
)
hypot = binary(
    pointwise.hypot,
    "``sqrt(x * x + y * y)`` without overflow.",
    NARROW,
    "np.hypot(np.array([3, 5]), np.array([4, 12]))",
    "array([ 5., 13.])",
)


def power(x: ArrayLike, y: ArrayLike, /, out: ndarray | None = None, *, where: ArrayLike = True) -> ndarray:
    """``x ** y`` of each element, with the operator's short cuts (``square`` for 2, ``sqrt`` for 0.5).

    Bools and float16 take none, which would give another dtype, and another root of -inf.

    x, y: arrays of shapes that broadcast; of a Python number beside an array only its kind counts for the dtype.
    out: an array that takes the result, which is a new one otherwise.
    where: bools that broadcast against both; elsewhere nothing is computed: ``out`` stays, and a new array is 0.

    Returns the shape that both broadcast to, in the dtype that theirs promote to, but int8 for bool. Raises ValueError
    for integers to negative powers.

    >>> from blockfuse import np
    >>> np.power(np.array([2, 3]), np.array([3, -1])).round(4)
    array([8.    , 0.3333])
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
    """Each element, moved into the closed range from ``a_min`` to ``a_max``.

    a: an array of any shape.
    a_min, a_max: numbers, or arrays that broadcast; ``None`` leaves a side open. ``min`` and ``max`` are the array
    API's words for the two.
    out: an array that takes the result, which is a new one otherwise.

    Returns the common shape, in the dtype that all three promote to.

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

equal = binary(
    pointwise.equal,
    "Whether ``x == y``; nan equals nothing.",
    TRUTH,
    "np.equal(np.array([1, 2, np.nan]), np.array([1, 3, np.nan]))",
    "array([ True, False, False])",
)
not_equal = binary(
    pointwise.not_equal,
    "Whether ``x != y``; nan differs from everything.",
    TRUTH,
    "np.not_equal(np.array([1, 2, np.nan]), np.array([1, 3, np.nan]))",
    "array([False,  True,  True])",
)
less = binary(
    pointwise.less,
    "Whether ``x < y``; nan is not less than anything.",
    TRUTH,
    "np.less(np.array([1, 2, 3]), 2)",
    "array([ True, False, False])",
)
less_equal = binary(
    pointwise.less_equal,
    "Whether ``x <= y``; False where one is nan.",
    TRUTH,
    "np.less_equal(np.array([1, 2, 3]), 2)",
    "array([ True,  True, False])",
)
greater = binary(
    pointwise.greater,
    "Whether ``x > y``; False where one is nan.",
    TRUTH,
    "np.greater(np.array([1, 2, 3]), 2)",
    "array([False, False,  True])",
)
greater_equal = binary(
    pointwise.greater_equal,
    "Whether ``x >= y``; False where one is nan.",
    TRUTH,
    "np.greater_equal(np.array([1, 2, 3]), 2)",
    "array([False,  True,  True])",
)
logical_and = binary(
    pointwise.logical_and,
    "Whether both elements are true, which all but 0 are.",
    TRUTH,
    "np.logical_and(np.array([0, 1, 2]), np.array([1, 0, 3]))",
    "array([False, False,  True])",
)
logical_or = binary(
    pointwise.logical_or,
    "Whether one of two elements is true, or both.",
    TRUTH,
    "np.logical_or(np.array([0, 0, 2]), np.array([0, 1, 3]))",
    "array([False,  True,  True])",
)
logical_xor = binary(
    pointwise.logical_xor,
    "Whether exactly one of two elements is true.",
    TRUTH,
    "np.logical_xor(np.array([0, 0, 2]), np.array([0, 1, 3]))",
    "array([False,  True, False])",
)
logical_not = unary(
    pointwise.logical_not,
    "Whether an element is 0 or False.",
    TRUTH,
    "np.logical_not(np.array([0, 0.5, 2]))",
    "array([ True, False, False])",
)
bitwise_and = binary(
    pointwise.bitwise_and,
    "The bits that both have; of bools, whether both are true.",
    BITS,
    'np.bitwise_and(np.array([12, 5], dtype="uint8"), 6)',
    "array([4, 4], dtype=uint8)",
)
bitwise_or = binary(
    pointwise.bitwise_or,
    "The bits that one of two has, or both; of bools, whether one is true.",
    BITS,
    'np.bitwise_or(np.array([12, 5], dtype="uint8"), 6)',
    "array([14,  7], dtype=uint8)",
)
bitwise_xor = binary(
    pointwise.bitwise_xor,
    "The bits that exactly one of two has; of bools, whether they differ.",
    BITS,
    'np.bitwise_xor(np.array([12, 5], dtype="uint8"), 6)',
    "array([10,  3], dtype=uint8)",
)
bitwise_not = bitwise_invert = invert = unary(
    pointwise.invert,
    "All bits turned over, ``~x``; of bools, whether one is false.",
    BITS,
    'np.invert(np.array([0, 5], dtype="int64"))',
    "array([-1, -6])",
)
left_shift = bitwise_left_shift = binary(
    pointwise.left_shift,
    "``x * 2 ** y`` by its bits; those that leave on the left are lost.",
    SHIFTED,
    'np.left_shift(np.array([1, 3], dtype="int64"), np.array([4, 1], dtype="int64"))',
    "array([16,  6])",
)
right_shift = bitwise_right_shift = binary(
    pointwise.right_shift,
    "``x // 2 ** y`` by its bits, of which those on the right are lost.",
    SHIFTED,
    'np.right_shift(np.array([16, 7], dtype="int64"), np.array([4, 1], dtype="int64"))',
    "array([1, 3])",
)
isnan = unary(
    pointwise.isnan,
    "Whether an element is nan.",
    TRUTH,
    "np.isnan(np.array([1, np.nan, np.inf]))",
    "array([False,  True, False])",
)
isinf = unary(
    pointwise.isinf,
    "Whether an element is positive or negative infinity.",
    TRUTH,
    "np.isinf(np.array([1, np.nan, -np.inf]))",
    "array([False, False,  True])",
)
isfinite = unary(
    pointwise.isfinite,
    "Whether an element is neither nan nor an infinity.",
    TRUTH,
    "np.isfinite(np.array([1, np.nan, np.inf]))",
    "array([ True, False, False])",
)
signbit = unary(
    pointwise.signbit,
    "Whether an element is negative, as -0.0 is, too.",
    TRUTH,
    "np.signbit(np.array([-1, -0.0, 0]))",
    "array([ True,  True, False])",
)


def isclose(
    a: ArrayLike, b: ArrayLike, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> ndarray:
    """Whether elements differ by at most ``atol + rtol * abs(b)``.

    a, b: arrays of shapes that broadcast.
    equal_nan: whether two nan are close.

    Returns their common shape, bool.

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

floor = unary(
    pointwise.floor,
    "The largest whole number that is not above ``x``.",
    ALIKE,
    "np.floor(np.array([1.7, -1.2]))",
    "array([ 1., -2.])",
)
ceil = unary(
    pointwise.ceil,
    "The smallest whole number that is not below ``x``.",
    ALIKE,
    "np.ceil(np.array([1.2, -1.7]))",
    "array([ 2., -1.])",
)
trunc = fix = unary(
    pointwise.trunc,
    "``x`` without what is behind its point.",
    ALIKE,
    "np.trunc(np.array([1.7, -1.7]))",
    "array([ 1., -1.])",
)
rint = unary(
    pointwise.rint,
    "The nearest whole number; of two that are as near, the even one.",
    NARROW,
    "np.rint(np.array([0.5, 1.5, -1.7]))",
    "array([ 0.,  2., -2.])",
)


def round(x: ArrayLike, decimals: int = 0) -> ndarray:
    """Each element rounded to ``decimals`` digits after the point, halves to the even neighbour.

    x: an array of any shape.
    decimals: negative ones round before the point.

    Returns the shape of ``x`` in its dtype, but float16 for bool.

    >>> from blockfuse import np
    >>> np.round(np.array([0.125, 2.5, -1.26]), 1)
    array([ 0.1,  2.5, -1.3])
    >>> np.round(np.array([1250, 350]), -2)
    array([1200.,  400.])
    """
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

exp = unary(
    pointwise.exp,
    "e to the power of ``x``.",
    NARROW,
    "np.exp(np.array([0, 1, -np.inf])).round(4)",
    "array([1.    , 2.7183, 0.    ])",
)
exp2 = unary(
    pointwise.exp2,
    "2 to the power of ``x``.",
    NARROW,
    "np.exp2(np.array([3, -1])).round(4)",
    "array([8. , 0.5])",
)
expm1 = unary(
    pointwise.expm1,
    "``exp(x) - 1``, precise near 0.",
    NARROW,
    "np.expm1(np.array([0, 1])).round(4)",
    "array([0.    , 1.7183])",
)
log = unary(
    pointwise.log,
    "The power of e that ``x`` is; nan below 0.",
    NARROW,
    "np.log(np.array([1, np.e])).round(4)",
    "array([0., 1.])",
)
log2 = unary(
    pointwise.log2,
    "The power of 2 that ``x`` is; nan below 0.",
    NARROW,
    "np.log2(np.array([8, 0.5])).round(4)",
    "array([ 3., -1.])",
)
log10 = unary(
    pointwise.log10,
    "The power of 10 that ``x`` is; nan below 0.",
    NARROW,
    "np.log10(np.array([1000, 0.1])).round(4)",
    "array([ 3., -1.])",
)
log1p = unary(
    pointwise.log1p,
    "``log(1 + x)``, precise near 0.",
    NARROW,
    "np.log1p(np.array([0, 1])).round(4)",
    "array([0.    , 0.6931])",
)
logaddexp = binary(
    pointwise.logaddexp,
    "``log(exp(x) + exp(y))`` without overflow.",
    NARROW,
    "np.logaddexp(np.array([0, -np.inf]), np.array([0, 1])).round(4)",
    "array([0.6931, 1.    ])",
)
sin = unary(
    pointwise.sin,
    "The sine of an angle in radians.",
    NARROW,
    "np.sin(np.array([0, np.pi / 2])).round(4)",
    "array([0., 1.])",
)
cos = unary(
    pointwise.cos,
    "The cosine of an angle in radians.",
    NARROW,
    "np.cos(np.array([0, np.pi / 3])).round(4)",
    "array([1. , 0.5])",
)
tan = unary(
    pointwise.tan,
    "The tangent of an angle in radians.",
    NARROW,
    "np.tan(np.array([0, np.pi / 4])).round(4)",
    "array([0., 1.])",
)
arcsin = asin = unary(
    pointwise.arcsin,
    "The angle from -pi / 2 to pi / 2 whose sine is ``x``; nan beyond -1 and 1.",
    NARROW,
    "np.arcsin(np.array([0, 1])).round(4)",
    "array([0.    , 1.5708])",
)
arccos = acos = unary(
    pointwise.arccos,
    "The angle from 0 to pi whose cosine is ``x``; nan beyond -1 and 1.",
    NARROW,
    "np.arccos(np.array([1, 0])).round(4)",
    "array([0.    , 1.5708])",
)
arctan = atan = unary(
    pointwise.arctan,
    "The angle from -pi / 2 to pi / 2 whose tangent is ``x``.",
    NARROW,
    "np.arctan(np.array([1, np.inf])).round(4)",
    "array([0.7854, 1.5708])",
)
arctan2 = atan2 = binary(
    pointwise.arctan2,
    "The angle of the point with the coordinates ``(y, x)``, from -pi to pi; the gradient at the origin is 0.",
    NARROW,
    "np.arctan2(np.array([0, 1, -1]), np.array([-1, 0, 0])).round(4)",
    "array([ 3.1416,  1.5708, -1.5708])",
)
sinh = unary(
    pointwise.sinh,
    "``(exp(x) - exp(-x)) / 2``.",
    NARROW,
    "np.sinh(np.array([0, 1])).round(4)",
    "array([0.    , 1.1752])",
)
cosh = unary(
    pointwise.cosh,
    "``(exp(x) + exp(-x)) / 2``.",
    NARROW,
    "np.cosh(np.array([0, 1])).round(4)",
    "array([1.    , 1.5431])",
)
tanh = unary(
    pointwise.tanh,
    "``sinh(x) / cosh(x)``, between -1 and 1.",
    NARROW,
    "np.tanh(np.array([0, 1, 100])).round(4)",
    "array([0.    , 0.7616, 1.    ])",
)
arcsinh = asinh = unary(
    pointwise.arcsinh,
    "The number whose ``sinh`` is ``x``.",
    NARROW,
    "np.arcsinh(np.array([0, 1])).round(4)",
    "array([0.    , 0.8814])",
)
arccosh = acosh = unary(
    pointwise.arccosh,
    "The number from 0 on whose ``cosh`` is ``x``; nan below 1.",
    NARROW,
    "np.arccosh(np.array([1, 2])).round(4)",
    "array([0.   , 1.317])",
)
arctanh = atanh = unary(
    pointwise.arctanh,
    "The number whose ``tanh`` is ``x``; nan beyond -1 and 1.",
    NARROW,
    "np.arctanh(np.array([0, 0.5])).round(4)",
    "array([0.    , 0.5493])",
)
degrees = rad2deg = unary(
    pointwise.degrees,
    "``x * 180 / pi``: an angle in radians as degrees.",
    NARROW,
    "np.degrees(np.array([np.pi, np.pi / 2])).round(4)",
    "array([180.,  90.])",
)
radians = deg2rad = unary(
    pointwise.radians,
    "``x * pi / 180``: an angle in degrees as radians.",
    NARROW,
    "np.radians(np.array([180, 90])).round(4)",
    "array([3.1416, 1.5708])",
)


# -- of neural networks: part of npx -------------------------------------------------------------------------

relu = unary(
    neural.relu,
    "``maximum(x, 0)``; its gradient at 0 is 0.",
    ALIKE,
    "npx.relu(np.array([-1, 0, 2]))",
    "array([0., 0., 2.])",
)
sigmoid = unary(
    neural.sigmoid,
    "``1 / (1 + exp(-x))`` without overflow.",
    REAL,
    "npx.sigmoid(np.array([-1000, 0, 1])).round(4)",
    "array([0.    , 0.5   , 0.7311])",
)
erf = unary(
    neural.erf,
    "The error function, ``2 / sqrt(pi)`` times the integral of ``exp(-t * t)`` from 0 to ``x``.",
    REAL,
    "npx.erf(np.array([0, 1])).round(4)",
    "array([0.    , 0.8427])",
)
softplus = unary(
    neural.softplus,
    "``log(1 + exp(x))`` without overflow: a smooth ``relu``.",
    REAL,
    "npx.softplus(np.array([-1, 0, 100])).round(4)",
    "array([  0.3133,   0.6931, 100.    ])",
)
gamma = unary(
    special.gamma,
    "The gamma function, ``(x - 1)!`` of whole numbers; nan at -inf and negative whole numbers, an infinity at 0.",
    REAL,
    "npx.gamma(np.array([5, 0.5])).round(4)",
    "array([24.    ,  1.7725])",
)
gammaln = unary(
    special.gammaln,
    "The logarithm of the gamma function's size, ``log(abs(gamma(x)))``; inf at 0 and negative whole numbers.",
    REAL,
    "npx.gammaln(np.array([5, 0.5])).round(4)",
    "array([3.1781, 0.5724])",
)
digamma = unary(
    special.digamma,
    "The slope of ``gammaln``, ``gamma'(x) / gamma(x)``; nan at -inf and negative whole numbers, an infinity at 0.",
    REAL,
    "npx.digamma(np.array([1, 0.5])).round(4)",
    "array([-0.5772, -1.9635])",
)
erfinv = unary(
    special.erfinv,
    "The number whose ``erf`` is ``x``, by Wichura's algorithm (1988); infinities at -1 and 1, nan beyond.",
    REAL,
    "npx.erfinv(np.array([0, 0.5])).round(4)",
    "array([0.    , 0.4769])",
)

# -- choice --------------------------------------------------------------------------------------------------


def where(condition: ArrayLike, x: ArrayLike | None = None, y: ArrayLike | None = None) -> Any:
    """Elements of ``x`` where the condition holds, else of ``y``; without both, the places where it holds.

    condition, x, y: arrays of shapes that broadcast. Any element that is not 0 is true.

    Returns their common shape and dtype; without both what ``nonzero`` gives. Raises ValueError where one of the two is
    missing.

    >>> from blockfuse import np
    >>> np.where(np.array([True, False]), np.array([1, 2]), 0)
    array([1., 0.])
    """
    if x is None and y is None:
        return nonzero(condition)
    if x is None or y is None:
        raise ValueError("where takes the condition alone, or the condition and both x and y")
    if type(x) is not ndarray and type(y) is not ndarray:
        x, y = beside(x, y)
    return current().apply(pointwise.where, (asarray(condition), x, y), {})


def nonzero(a: ArrayLike) -> tuple[ndarray, ...]:
    """The places of elements that are not zero.

    Returns a vector an axis, int64, all of the size that values decide: an escape, without a gradient.

    >>> from blockfuse import np
    >>> np.nonzero(np.array([[0, 1], [2, 0]]))
    (array([0, 1]), array([1, 0]))
    """
    indices = numpy.nonzero(asarray(a)._leave("nonzero()"))
    return tuple(ndarray(p) for p in indices)
