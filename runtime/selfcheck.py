"""No program serves calls before it has given the right answer once: that of the eager call it was made from.

NOTE [self-check]
The recording call has just computed its result in Python. The new program runs on the same arguments, alone and in
several parts where threads may share its steps, then by way of its native entry, and must give the same (NOTE [what is
compared]). A program may hold code that this call does not take (NOTE [variants] in ``codegen.variants``): the first
call that takes such a variant goes by way of Python, is computed eagerly too, and proves it. So every variant costs one
native and at most one eager call, and calls whose variants are proven nothing; where a program was loaded from matters
to nobody.

Left out: a way out of a decision on a device is proven by its recording only, and a rounding that decides a branch
differently leaves the variant unproven, so that such calls go on being compared. ``hybridize(check=False)`` proves
everything unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.variants import Team, Variant
from blockfuse.ir.errors import CheckError, UsageError
from blockfuse.ir.graph import Node, constant
from blockfuse.runtime.backend import Backend
from blockfuse.runtime.case import Call
from blockfuse.runtime.comparison import Difference, Outcome, Repetition, outcome_of, stream_state
from blockfuse.runtime.faults import report
from blockfuse.runtime.program import PYTHON, UNKNOWN, Program
from blockfuse.tracer.record import Recording


def checking(
    wanted: Any, name: str, run: Callable[..., Any], backend: Callable[[], Backend]
) -> SelfCheck | None:
    """The option ``check`` of a block or function as what does it."""
    if type(wanted) is not bool:
        raise UsageError(f"check is {wanted!r}; it must be True or False")
    return SelfCheck(name, run, backend) if wanted else None


class SelfCheck:
    """The checks of one block or function. run: its eager meaning, of arguments and keywords."""

    def __init__(self, name: str, run: Callable[..., Any], backend: Callable[[], Backend]) -> None:
        self._name, self._run, self._backend = name, run, backend

    def prove(self, program: Program, recording: Recording, call: Call) -> None:
        """Hold a new program against the recording it was made from; raises CheckError if they differ."""
        stream = stream_state() if recording.draws else None
        repetition = Repetition(self._run, (call.args, call.kwargs), stream)
        wanted = repetition.outcome() if recording.draws else outcome_of(recording.result, False)
        self.hold(_Trial(program, call.arrays, call.values, repetition, wanted), apart=call.is_apart)

    def prove_variants(self, program: Program, result: Any, unproven: Iterable[Variant], call: Call) -> None:
        """Hold the result of a call that took new variants against the eager call; raises CheckError if they differ."""
        repetition = Repetition(self._run, (call.args, call.kwargs))
        try:
            wanted = repetition.outcome()
        except Exception as error:
            if repetition.sometimes_works():
                return
            raise CheckError(
                f"{self._name}: the compiled call gave a result, the eager call raised"
            ) from error
        trial = _Trial(program, call.arrays, call.values, repetition, wanted)
        self._require_same(trial, outcome_of(result, False))
        program.executable.prove(unproven)

    def prove_segment(self, program: Program, arguments: list[ndarray]) -> None:
        """Hold the program of a segment against its operators, one by one; raises CheckError if they differ."""
        repetition = Repetition(partial(_recomputed, program), (arguments,))
        self.hold(_Trial(program, arguments, [], repetition, repetition.outcome()))

    def hold(self, trial: _Trial, apart: bool = True) -> None:
        """Every team, then the entry. apart: no array is given twice, which the entry would refuse."""
        proven: set[Variant] = set()
        for team in trial.program.executable.teams:
            proven |= self._held(trial, team)
        trial.program.executable.prove(proven)
        if not apart:
            return
        with trial.repetition.drawing():
            result = trial.program.ask_entry(trial.arrays, trial.numbers)
            if result is NotImplemented:
                return
            found = trial.outcome_of(result)
        self._require_same(trial, found)

    def _held(self, trial: _Trial, team: Team) -> set[Variant]:
        """The variants that a call took, right as they were."""
        ran: set[Variant] = set()
        with trial.repetition.drawing():
            result = trial.program.run_by(team, trial.arrays, trial.numbers, ran)
            if result is UNKNOWN:
                return set()
            if result is PYTHON:
                raise CheckError(
                    f"{self._name}: the compiled call met an error that the eager call did not meet"
                )
            found = trial.outcome_of(result)
        self._require_same(trial, found)
        return ran

    def _require_same(self, trial: _Trial, found: Outcome) -> None:
        difference = trial.repetition.differs(found, trial.wanted, trial.program.flow)
        if difference is not None:
            raise CheckError(self._report(trial, difference))

    def _report(self, trial: _Trial, difference: Difference) -> str:
        text = f"{self._name}: the compiled call differs from the eager call: {difference.text}"
        with suppress(Exception):  # what looks for the fault runs the compiler again
            arguments = [a._data for a in (*trial.arrays, *trial.numbers)]
            text = report(
                self._name,
                trial.program,
                self._backend(),
                trial.repetition,
                arguments,
                trial.wanted,
                difference,
            )
        return text


@dataclass(frozen=True)
class _Trial:
    """A program, a call of it, and what the call must give."""

    program: Program
    arrays: list[ndarray]
    values: list[Any]
    repetition: Repetition
    wanted: Outcome

    @property
    def numbers(self) -> list[ndarray]:
        return self.program.convert(self.values) or []

    def outcome_of(self, result: Any) -> Outcome:
        return outcome_of(result, self.repetition.stream is not None)


def _recomputed(program: Program, arguments: list[ndarray]) -> Any:
    """The results of a straight program, operator by operator, by whoever interprets."""
    graph = program.flow.blocks[0].graph
    values = [*arguments, *(ndarray(origin.array()) for origin in program.origins)]
    known: dict[Node, Any] = dict(zip(program.flow.inputs, values, strict=True))
    for node in graph.nodes:
        if node.operator is constant:
            known[node] = ndarray(node.attrs["value"])
        else:
            known[node] = node.operator(*(known[o] for o in node.operands), **node.attrs)
    results = tuple(known[o] for o in graph.outputs)
    return results[0] if len(results) == 1 else results
