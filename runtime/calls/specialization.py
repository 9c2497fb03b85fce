"""Python numbers among the arguments: which of them are part of a signature, and which are given at each call.

NOTE [numbers that change]
A number is part of the signature until a third value of it is met: programs are specialized for it. Then it becomes an
argument of the program, if a rehearsal (NOTE [rehearsals]) shows that Python does the same with all values.
Otherwise every value has a program of its own; once these are made more often than they are used, calls with new values
run eagerly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from blockfuse.array.pytree import Structure, with_numbers
from blockfuse.runtime.calls.recently_used import RecentlyUsed
from blockfuse.tracer.generalize.rehearsal import Operands, Refusal

MAX_SPECIALIZED_VALUES = 2  # of one number that get programs of their own before it is tried as an argument
MAX_SPECIALIZATIONS = 64  # kept; the one used longest ago goes
MIN_PROGRAMS = 8  # made for values of a number before any of them is used again
USES_PER_PROGRAM = 32  # of programs earn one more


@dataclass(eq=False)
class Specialization:
    """What programs are specialized for, of the calls that differ in the values of their numbers only."""

    # Keys are positions among the values of a call.
    given: frozenset[int] = frozenset()  # numbers that are arguments of programs instead
    refused: dict[int, str] = field(default_factory=dict)  # why a number cannot be one
    seen: dict[int, set[str]] = field(default_factory=dict)  # values, while they may decide something
    programs: int = 0  # made for one value of each number
    used: int = 0  # when it was last
    uses: int = 0  # of programs, by way of dispatch
    counters: list[Callable[[], int]] = field(default_factory=list)  # of uses that dispatch does not see

    def meet(self, values: list[Any]) -> None:
        """Count the values of a call."""
        for position, value in enumerate(values):
            known = position in self.given or position in self.refused
            if type(value) in (int, float) and not known:
                seen = self.seen.setdefault(position, set())
                seen.add(repr(value))
                if len(seen) > MAX_SPECIALIZED_VALUES:
                    self.given |= {position}

    def refuse(self, refusal: Refusal) -> None:
        self.given -= refusal.indices
        self.refused |= dict.fromkeys(refusal.indices, refusal.reason)

    @property
    def all_uses(self) -> int:
        return self.uses + sum(count() for count in self.counters)

    @property
    def exhausted(self) -> str:
        """Why no more values get programs of their own, or no text."""
        if not self.refused or self.programs < MIN_PROGRAMS + self.all_uses // USES_PER_PROGRAM:
            return ""
        return f"a number among the arguments changes too often, and {self.reason}"

    @property
    def reason(self) -> str:
        """Why a number cannot be an argument of a program, or no text."""
        return next(iter(self.refused.values()), "")


class Specializations:
    """Those of one block or function."""

    def __init__(self) -> None:
        self.operands: Operands = {}
        self._kept: RecentlyUsed[Any, Specialization] = RecentlyUsed(MAX_SPECIALIZATIONS, Specialization)

    def of(self, structure: Structure, values: list[Any], rest: Any) -> Specialization | None:
        """That of a call, which is counted; None where there are no numbers. rest: the rest of its signature."""
        positions = {n for n, v in enumerate(values) if type(v) in (int, float)}
        if not positions:
            return None
        key = with_numbers(structure, positions), rest
        found = self._kept.use(key)
        found.meet(values)
        return found
