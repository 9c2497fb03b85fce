"""What a compiled call must give: the eager result, or, where weights are narrow, that of the operators on rounded ones.

NOTE [checks of narrow weights]
No eager call gives what a program with narrow weights gives (NOTE [narrow weights]), and a tolerance that is wide enough for
both would hide every other fault. So two things are compared, each as closely as float32 allows (NOTE [what is compared]):
what was recorded, up to where weights are narrowed, with the eager call; and the program with the same operators on the
rounded weights. What the operator ``rounded`` does lies between them, and its bounds are tested by themselves. Where a
rounded weight makes a call take a way that is not recorded, the eager call is all that there is to give.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.compiler_thread import in_compiler_thread
from blockfuse.ir.errors import CheckError
from blockfuse.ir.flow import Flow
from blockfuse.runtime.audit.comparison import Difference, Outcome, Repetition
from blockfuse.runtime.programs.meaning import flow_applied
from blockfuse.runtime.programs.program import Program


class UnknownWay(Exception):  # noqa: N818 - an answer
    """A call for which a flow does not say what follows a decision."""


@dataclass(frozen=True)
class Standard:
    """What a call must give, and how it is computed again."""

    program: Program
    repetition: Repetition  # in Python
    wanted: Outcome  # of it
    flow: Flow | None = None  # whose operators give it, where these are not simply what was recorded

    def differs(self, found: Outcome) -> Difference | None:
        """How a compiled call differs from it, in a way that rounding does not explain."""
        return self.repetition.differs(found, self.wanted, self.program.flow)


def standard_of(
    name: str, program: Program, arguments: list[ndarray], repetition: Repetition, wanted: Outcome
) -> Standard | None:
    """By what to judge a call with these arrays and numbers, whose eager result is ``wanted``. name: of the net.

    None where rounded weights make it take an unknown way, so that nothing can be said. Raises CheckError where already
    what was recorded, without rounding, gives something else: see NOTE [checks of narrow weights].
    """
    if program.compiled.weights == "float32":
        return Standard(program, repetition, wanted)
    recorded = program.flow_for([a._data for a in arguments])
    before, rounded = in_compiler_thread(lambda: program.compiled.rounding(recorded))
    exact = _repetition(program, before, arguments)
    found = _outcome(exact)
    difference = None if found is None else repetition.differs(found, wanted, program.flow)
    if difference is not None:
        raise CheckError(f"{name}: before weights are rounded, what was recorded differs: {difference.text}")
    narrow = _repetition(program, rounded, arguments)
    wanted_of_rounded = _outcome(narrow)
    return None if wanted_of_rounded is None else Standard(program, narrow, wanted_of_rounded, rounded)


def _repetition(program: Program, flow: Flow, arguments: list[ndarray]) -> Repetition:
    """A call of a flow, operator by operator."""
    return Repetition(partial(_applied, program, flow), (list(arguments),))


def _applied(program: Program, flow: Flow, arguments: list[ndarray]) -> Any:
    results = flow_applied(program, flow, arguments)
    if results is None:
        raise UnknownWay
    return program.structured(results)


def _outcome(repetition: Repetition) -> Outcome | None:
    try:
        return repetition.outcome()
    except UnknownWay:
        return None
