"""Expressions of kernels in NumPy, all elements at once, each by a row of its own: not those of ``values/functions.py``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from types import CodeType
from typing import Any

import numpy

from blockfuse.codegen.kernels.expression import Term
from blockfuse.codegen.kernels.kernel import Statement
from blockfuse.codegen.meaning.memory import MeaningError
from blockfuse.ir.operators.special import gamma_of, gammaln_of

Values = dict[str, numpy.ndarray]  # name -> what it stands for, side by side


def computed(statements: Iterable[Statement], values: Values) -> None:
    """Add what statements say to ``values``, which has all that they may name."""
    for statement in statements:
        value = value_of(statement.expression, values)
        if value.dtype != statement.dtype:
            raise MeaningError(f"{statement} is of {value.dtype}")
        values[statement.name] = value


def value_of(expression: Term, values: Mapping[str, Any]) -> numpy.ndarray:
    """What an expression over ``values``, and nothing else, stands for."""
    return value_of_text(expression.text(), values)


def value_of_text(text: str, values: Mapping[str, Any]) -> numpy.ndarray:
    try:
        return numpy.asarray(eval(_compiled(text), _SCOPE, values))
    except NameError as error:
        raise MeaningError(f"{error} where {text!r} stands; there are {', '.join(values)}") from error


@lru_cache(maxsize=1 << 14)
def _compiled(text: str) -> CodeType:
    return compile(text, "<expression of a kernel>", "eval")


# -- what an expression may name ---------------------------------------------------------------------------------


def _converted(dtype: numpy.dtype, x: Any) -> Any:
    """``x`` as C converts it."""
    return numpy.asarray(x).astype(dtype)[()]


def truth(x: Any) -> Any:
    x = numpy.asarray(x)
    return x if x.dtype == bool else x != 0


def _select(condition: Any, x: Any, y: Any) -> Any:
    return numpy.where(truth(condition), x, y)[()]


def _literal(x: Any, number: Any) -> Any:
    return x.dtype.type(number)


def _sigmoid(x: Any) -> Any:
    small = numpy.exp(-numpy.abs(x))
    return numpy.where(x < 0, small, _literal(x, 1)) / (1 + small)


def _number_by_number(function: Callable[..., Any], x: Any) -> Any:
    x = numpy.asarray(x)
    return numpy.fromiter(map(function, x.reshape(-1).tolist()), x.dtype, x.size).reshape(x.shape)[()]


def _high_product(x: Any, y: Any) -> Any:
    """The upper half of 128 bits."""
    return numpy.uint64(int(x) * int(y) >> 64)


def _mixed(low: Any, high: Any) -> Any:
    """XSL-RR, see ``ir.stream``."""
    word, turn = int(low ^ high), int(high) >> 58
    return numpy.uint64((word >> turn | word << (64 - turn)) & 0xFFFF_FFFF_FFFF_FFFF)


_DTYPES = ("float32", "float64", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)))
_OWN = ("sqrt", "floor", "ceil", "trunc", "rint", "exp", "log", "tanh", "abs", "sign", "maximum", "minimum")
_LIBRARY = ("hypot", "exp2", "expm1", "cbrt", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh")
_DIVIDING = ("floor_divide", "remainder", "fmod", "left_shift", "right_shift", "signbit")
_ARC = ("sin", "cos", "tan", "tan2", "sinh", "cosh", "tanh")

# name in an expression -> what it means
FUNCTIONS: dict[str, Any] = {
    **{name: partial(_converted, numpy.dtype(name)) for name in _DTYPES},
    **{name: getattr(numpy, name) for name in (*_OWN, *_LIBRARY, *_DIVIDING)},
    **{f"a{name}": getattr(numpy, f"arc{name}") for name in _ARC},
    "inf": math.inf,
    "nan": math.nan,
    "pow": numpy.power,
    "select": _select,
    "truth": truth,
    "negated": lambda x: ~truth(x),
    "relu": lambda x: numpy.where(x <= 0, _literal(x, 0), x)[()],
    "sigmoid": _sigmoid,
    "softplus": lambda x: numpy.logaddexp(x, _literal(x, 0)),
    "erf": partial(_number_by_number, math.erf),
    "lgamma": partial(_number_by_number, gammaln_of),
    "tgamma": partial(_number_by_number, gamma_of),
    "literal": _literal,
    "one": lambda x: _literal(x, 1),
    "infinity": lambda x: _literal(x, math.inf),
    "multiply_add": lambda x, y, z: x * y + z,
    "fold_add": numpy.add,
    "fold_multiply": numpy.multiply,
    "fold_maximum": numpy.maximum,
    "fold_minimum": numpy.minimum,
    "high_product": _high_product,
    "mixed": _mixed,
}
_SCOPE: dict[str, Any] = {"__builtins__": {}, **FUNCTIONS}
