"""Python's operators on arrays, as NumPy takes them: importing this module attaches them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import contractions, filling, pointwise

OPERANDS = (ndarray, int, float, numpy.ndarray, numpy.generic, list, tuple)  # what may stand beside an array


def _binary(operator: Operator) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """``x + y``, ``y + x`` and ``x += y`` for one row."""

    def forward(self: ndarray, other: Any) -> Any:
        return operator(self, other) if isinstance(other, OPERANDS) else NotImplemented

    def reflected(self: ndarray, other: Any) -> Any:
        return operator(other, self) if isinstance(other, OPERANDS) else NotImplemented

    def in_place(self: ndarray, other: Any) -> ndarray:
        if not isinstance(other, OPERANDS):
            return NotImplemented
        if not self.ndim and not _can_hold(self, operator, other):
            return operator(self, other)
        interpreter.current().update(self, operator, (self, other), {})
        return self

    return forward, reflected, in_place


def _can_hold(number: ndarray, operator: Operator, other: Any) -> bool:
    """Whether what ``number`` becomes is a number of its own dtype.

    NOTE [numbers in place]
    ``y[2] *= 1.5`` of integers: NumPy's ``y[2]`` is no array, so it becomes a float, which the assignment to ``y`` cuts. So
    do arrays without axes here, where their dtype does not hold what they become.
    """
    is_array = isinstance(other, ndarray | numpy.ndarray | numpy.generic)
    if isinstance(other, list | tuple) or (is_array and other.ndim):
        return False
    if number.dtype.kind == "f" or operator.loop is None:
        return True
    result = operator.loop(number.dtype, other.dtype if is_array else other)[-1]
    return numpy.can_cast(result, number.dtype, "same_kind")


def _equality(operator: Operator, different: bool) -> Callable[[ndarray, Any], Any]:
    """``x == y`` or ``x != y``: NumPy compares with anything, and what is no number equals none."""
    constant = {"value": different, "dtype": "bool"}

    def compare(self: ndarray, other: Any) -> Any:
        if isinstance(other, OPERANDS) and not _is_text(other):
            return operator(self, other)
        if other is None or isinstance(other, str | bytes):
            return filling.full(shape=self.shape, **constant)
        if hasattr(type(other), "__array_ufunc__") and not _is_text(other):
            return NotImplemented  # somebody else's array, which answers
        data = self._leave(f"comparison with {type(other).__name__}")
        result = data != other if different else data == other
        return ndarray(numpy.asarray(result)) if isinstance(result, numpy.ndarray | numpy.bool_) else result

    return compare


def _is_text(other: Any) -> bool:
    """Whether an array or a list holds something else than numbers."""
    if isinstance(other, list | tuple):
        return any(_is_text(v) if isinstance(v, list | tuple) else not isinstance(v, OPERANDS) for v in other)
    return isinstance(other, numpy.ndarray | numpy.generic) and other.dtype.kind not in "fiub"


def _power(self: ndarray, exponent: Any) -> Any:
    if not isinstance(exponent, OPERANDS):
        return NotImplemented
    kind = self.dtype.kind
    # NumPy has the same short cuts.
    if type(exponent) is int or (type(exponent) is float and kind == "f"):
        if exponent == 2:
            return pointwise.square(self)
        if exponent == 0.5:
            return pointwise.sqrt(self)
        if exponent == 1 and kind != "b":
            return pointwise.positive(self)
    return pointwise.power(self, exponent)


def _divmod(self: ndarray, other: Any) -> Any:
    return pointwise.floor_divide(self, other), pointwise.remainder(self, other)


_BINARY = {
    "add": pointwise.add,
    "sub": pointwise.subtract,
    "mul": pointwise.multiply,
    "truediv": pointwise.divide,
    "floordiv": pointwise.floor_divide,
    "mod": pointwise.remainder,
    "pow": pointwise.power,
    "matmul": contractions.matmul,
    "and": pointwise.bitwise_and,
    "or": pointwise.bitwise_or,
    "xor": pointwise.bitwise_xor,
    "lshift": pointwise.left_shift,
    "rshift": pointwise.right_shift,
}
_COMPARISON = {
    "eq": pointwise.equal,
    "ne": pointwise.not_equal,
    "lt": pointwise.less,
    "le": pointwise.less_equal,
    "gt": pointwise.greater,
    "ge": pointwise.greater_equal,
}
_UNARY = {
    "neg": pointwise.negative,
    "pos": pointwise.positive,
    "abs": pointwise.absolute,
    "invert": pointwise.invert,
}

for _name, _row in _BINARY.items():
    _forward, _reflected, _in_place = _binary(_row)
    setattr(ndarray, f"__{_name}__", _forward)
    setattr(ndarray, f"__r{_name}__", _reflected)
    setattr(ndarray, f"__i{_name}__", _in_place)
for _name, _row in _COMPARISON.items():
    _compare = _equality(_row, _name == "ne") if _name in ("eq", "ne") else _binary(_row)[0]
    setattr(ndarray, f"__{_name}__", _compare)
for _name, _row in _UNARY.items():
    setattr(ndarray, f"__{_name}__", lambda self, _row=_row: _row(self))
ndarray.__pow__ = _power
ndarray.__divmod__ = _divmod
