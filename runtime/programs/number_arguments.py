"""Python numbers among the arguments of a call as the 0-d arrays that a program takes for them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.tracer.certificate.traced_numbers import Operand

_MAX_EXACT_INT = 2**53  # ints up to here are float64 numbers

Convert = Callable[[Sequence[Any]], "list[Any] | None"]


def conversion(operands: list[Operand], kind: Callable[[numpy.ndarray], Any] = ndarray) -> Convert:
    """The static values of a call -> the arrays for ``operands``; None where only eager Python can say what happens.

    That is where an expression raises or gives another type than it did, or where a number does not fit its dtype.
    kind: what to make of a NumPy array.
    """
    # __name__: so that a recording takes it for ours
    scope: dict[str, Any] = {
        "__name__": __name__,
        "inf": math.inf,
        "nan": math.nan,
        "kind": kind,
        "array": numpy.array,
    }
    lines = [f"v{n} = {_expression(o)}" for n, o in enumerate(operands)]
    for number, operand in enumerate(operands):
        scope[f"t{number}"], scope[f"d{number}"] = operand.type, operand.dtype
        lines += [f"if not ({_condition(operand, number, scope)}):", "    return None"]
    made = ", ".join(f"kind(array(v{n}, d{n}))" for n in range(len(operands)))
    body = "\n        ".join([*lines, f"return [{made}]"])
    exec(_CONVERT.format(body=body), scope)
    return scope["convert"]  # type: ignore[no-any-return]


_CONVERT = """
def convert(n):
    try:
        {body}
    except (ArithmeticError, ValueError):
        return None
"""


def _expression(operand: Operand) -> str:
    return re.sub(r"\bn(\d+)\b", r"n[\1]", operand.text)


def _condition(operand: Operand, number: int, scope: dict[str, Any]) -> str:
    """Whether the value is of the recorded type, and what NumPy makes of it beside an array is what its dtype says."""
    value, low, high = f"v{number}", f"l{number}", f"h{number}"
    same_type = f"type({value}) is t{number}"
    if operand.dtype.kind in "iu":
        limits: Any = numpy.iinfo(operand.dtype)
        scope[low], scope[high] = int(limits.min), int(limits.max)
    else:
        largest = float(numpy.finfo(operand.dtype).max)
        scope[high] = min(int(largest), _MAX_EXACT_INT) if operand.type is int else largest
        scope[low] = -scope[high]
    fits = f"{low} <= {value} <= {high}"
    return (
        f"{same_type} and ({fits} or {value} - {value} != 0)"
        if operand.type is float
        else f"{same_type} and {fits}"
    )
