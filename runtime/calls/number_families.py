"""Python numbers among the arguments: which of them are part of a signature, and which are given at each call.

NOTE [numbers that change]
A number is part of the signature until a third value of it is met. Then it becomes an argument of the program, if a
rehearsal (``tracer/generalize/rehearsal.py``) shows that Python does the same with all values. Otherwise every value has
a program of its own; once these are made more often than they are used, calls with new values run eagerly.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Structure, with_numbers
from blockfuse.runtime.calls.recently_used import RecentlyUsed
from blockfuse.tracer.certificate.traced_numbers import Operand
from blockfuse.tracer.generalize.rehearsal import Operands, Refusal

_VALUES = 2  # of one number that get programs of their own before it is tried as an argument
_FAMILIES = 64  # kept; the one used longest ago goes
_PROGRAMS = 8  # made for values of a number before any of them is used again
_USES = 32  # of programs earn one more


@dataclass(eq=False)
class Family:
    """Calls that differ in the values of their numbers only.

    given: the places (among the static values) of numbers that programs take as arguments. refused: why others
    cannot be. seen: their values, as long as these may decide something.
    """

    given: frozenset[int] = frozenset()
    refused: dict[int, str] = field(default_factory=dict)
    seen: dict[int, set[str]] = field(default_factory=dict)
    programs: int = 0
    used: int = 0
    uses: int = 0  # of programs, by way of dispatch
    counters: list[Callable[[], int]] = field(default_factory=list)  # of uses that dispatch does not see

    def meet(self, values: list[Any]) -> None:
        """Count the values of a call."""
        for place, value in enumerate(values):
            if type(value) in (int, float) and place not in self.given and place not in self.refused:
                seen = self.seen.setdefault(place, set())
                seen.add(repr(value))
                if len(seen) > _VALUES:
                    self.given |= {place}

    def refuse(self, refusal: Refusal) -> None:
        self.given -= refusal.indices
        self.refused |= dict.fromkeys(refusal.indices, refusal.reason)

    @property
    def all_uses(self) -> int:
        return self.uses + sum(count() for count in self.counters)

    @property
    def exhausted(self) -> str:
        """Why no more values get programs of their own, or no text."""
        if not self.refused or self.programs < _PROGRAMS + self.all_uses // _USES:
            return ""
        return f"a number among the arguments changes too often, and {self.reason}"

    @property
    def reason(self) -> str:
        """Why a number cannot be an argument of a program, or no text."""
        return next(iter(self.refused.values()), "")


class Numbers:
    """The families of calls of one block or function."""

    def __init__(self) -> None:
        self.operands: Operands = {}
        self._families: RecentlyUsed[Any, Family] = RecentlyUsed(_FAMILIES)

    def family(self, structure: Structure, values: list[Any], rest: Any) -> Family | None:
        """The family of a call, which is counted; None where there are no numbers. rest: the rest of its signature."""
        places = {n for n, v in enumerate(values) if type(v) in (int, float)}
        if not places:
            return None
        key = with_numbers(structure, places), rest
        found = self._families.use(key, Family)
        self._families.trim()
        found.meet(values)
        return found


# -- at a call ---------------------------------------------------------------------------------------------------

Convert = Callable[[Sequence[Any]], "list[ndarray] | None"]


def conversion(operands: list[Operand]) -> Convert:
    """The static values of a call -> the arrays for ``operands``; None where only eager Python can say what happens.

    That is where an expression raises or gives another type than it did, or where a number does not fit its dtype.
    """
    # __name__: so that a recording takes it for ours
    scope: dict[str, Any] = {
        "__name__": __name__,
        "inf": math.inf,
        "nan": math.nan,
        "ndarray": ndarray,
        "array": numpy.array,
    }
    lines = [f"v{n} = {_expression(o)}" for n, o in enumerate(operands)]
    for place, operand in enumerate(operands):
        scope[f"t{place}"], scope[f"d{place}"] = operand.type, operand.dtype
        lines += [f"if not ({_condition(operand, place, scope)}):", "    return None"]
    made = ", ".join(f"ndarray(array(v{n}, d{n}))" for n in range(len(operands)))
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


def _condition(operand: Operand, place: int, scope: dict[str, Any]) -> str:
    """Whether the value is of the recorded type, and what NumPy makes of it beside an array is what its dtype says."""
    value, low, high = f"v{place}", f"l{place}", f"h{place}"
    same_type = f"type({value}) is t{place}"
    if operand.dtype.kind in "iu":
        limits: Any = numpy.iinfo(operand.dtype)
        scope[low], scope[high] = int(limits.min), int(limits.max)
    else:
        largest = float(numpy.finfo(operand.dtype).max)
        scope[high] = min(int(largest), _EXACT) if operand.type is int else largest
        scope[low] = -scope[high]
    fits = f"{low} <= {value} <= {high}"
    return (
        f"{same_type} and ({fits} or {value} - {value} != 0)"
        if operand.type is float
        else f"{same_type} and {fits}"
    )


_EXACT = 2**53  # ints up to here are float64 numbers
