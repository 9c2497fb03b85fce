"""No program serves calls before it has given the right answer once: that of the eager call it was made from.

NOTE [self-check]
The recording call has just computed its result in Python. The new program runs on the same arguments, alone and in
several parts where threads may share its steps, then by way of its native entry, and must give the same (NOTE [what is
compared]). A program may hold code that this call does not take (NOTE [variants] in ``codegen.variants``): the first
call that takes such a variant goes by way of Python, is computed eagerly too, and proves it. So every variant costs one
native and at most one eager call, and calls whose variants are proven nothing; where a program was loaded from matters
to nobody.

Another thread may change parameters between the eager call and the compiled one. So a difference counts only if nothing has
changed since the eager call: where something may have, both are made again.

Left out: a way out of a decision on a device is proven by its recording only, and a rounding that decides a branch
differently leaves the variant unproven, so that such calls go on being compared. ``hybridize(check=False)`` proves
everything unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.variants import ExecutionPolicy, Variant
from blockfuse.ir.errors import CheckError, TraceError
from blockfuse.ir.signal_handlers import came_from_handler
from blockfuse.runtime.audit.comparison import Difference, Outcome, Repetition, stream_state
from blockfuse.runtime.audit.divergence import report, sentence
from blockfuse.runtime.audit.standard import Standard, standard_of
from blockfuse.runtime.programs.arguments import Arguments
from blockfuse.runtime.programs.backend import Backend
from blockfuse.runtime.programs.meaning import program_applied
from blockfuse.runtime.programs.no_result import NoResult
from blockfuse.runtime.programs.program import Program
from blockfuse.runtime.programs.updates import States
from blockfuse.tracer.recording.record import Recording

MAX_TRIALS = 8  # of a program while others change what it reads


class Changed(TraceError):  # noqa: N818 - an answer, not a failure: the call runs eagerly
    """A program that nobody can check now: what it reads changes all the time."""


class SelfCheck:
    """The checks of one block or function. run: its eager meaning, of arguments and keywords."""

    def __init__(self, name: str, run: Callable[..., Any], backend: Callable[[], Backend]) -> None:
        self._name, self._run, self._backend = name, run, backend

    def prove(self, program: Program, recording: Recording, arguments: Arguments) -> None:
        """Hold a new program against the recording it was made from; raises CheckError if they differ."""
        stream = stream_state() if recording.draws else None
        states = States.of_recording(recording, program.updates.origins)
        repetition = Repetition(self._run, (arguments.args, arguments.kwargs), stream, states)
        wanted = repetition.outcome() if recording.draws else repetition.outcome_of(recording.result)
        version = program.version

        def unchanged() -> bool:
            return not (recording.changes and recording.changes.seen) and program.is_current(version)

        self.hold(
            _Trial(program, arguments.arrays, arguments.values, repetition, wanted, unchanged),
            arguments.has_distinct_arrays,
        )

    def prove_variants(
        self,
        program: Program,
        version: object,
        result: Any,
        unproven: Iterable[Variant],
        arguments: Arguments,
    ) -> None:
        """Hold the result of a call that took new variants against the eager call; raises CheckError if they differ.

        version: of the program before the call.
        """
        states = States.now(program.updates, program.attributes)
        repetition = Repetition(self._run, (arguments.args, arguments.kwargs), states=states)
        try:
            wanted = repetition.outcome()
        except Exception as error:
            if came_from_handler(error):
                raise
            if repetition.sometimes_works() or not program.is_current(version):
                return
            raise CheckError(
                f"{self._name}: the compiled call gave a result, the eager call raised"
            ) from error
        unchanged = partial(program.is_current, version)
        trial = _Trial(program, arguments.arrays, arguments.values, repetition, wanted, unchanged)
        self._hold(
            trial,
            lambda _, standard: _require_same(standard, repetition.outcome_of(result)),
            arguments.has_distinct_arrays,
        )
        program.executable.prove(unproven)

    def prove_graph(self, program: Program, arguments: list[ndarray]) -> None:
        """Hold a straight program against its operators, one by one; raises CheckError if they differ."""
        stream = stream_state() if program.recording.draws else None
        states = States.now(program.updates, program.attributes)
        repetition = Repetition(partial(program_applied, program), (arguments,), stream, states)
        unchanged = partial(program.is_current, program.version)
        self.hold(_Trial(program, arguments, [], repetition, repetition.outcome(), unchanged))

    def hold(self, trial: _Trial, apart: bool = True) -> None:
        """Every execution policy, then the entry. apart: no array is given twice, which the entry would refuse.

        Raises CheckError where the program is wrong, Changed where nobody can tell, as others change what it reads.
        """
        self._hold(trial, partial(self._hold_once, apart=apart), apart)

    def _hold(self, trial: _Trial, compare: Callable[[_Trial, Standard], None], apart: bool) -> None:
        """Compare; then, as long as others change something, hold the program against new eager calls."""
        for _ in range(MAX_TRIALS):
            if trial.program.refresh() is not None:  # nor was it bound when it was made
                break
            try:
                standard = trial.standard(self._name)
                if standard is not None:
                    compare(trial, standard)
            except (_Differs, CheckError) as error:
                if trial.unchanged():
                    self._refuse(trial, error)
            else:
                return
            version = trial.program.version
            unchanged = partial(trial.program.is_current, version)
            trial = replace(trial, wanted=trial.repetition.outcome(), unchanged=unchanged)
            compare = partial(self._hold_once, apart=apart)
        raise Changed("what it reads changed while it was checked")

    def _refuse(self, trial: _Trial, error: _Differs | CheckError) -> NoReturn:
        if isinstance(error, CheckError):
            raise error
        raise CheckError(self._report(trial, error)) from None

    def _hold_once(self, trial: _Trial, standard: Standard, apart: bool) -> None:
        proven: set[Variant] = set()
        for policy in trial.program.executable.policies:
            proven |= self._held(trial, standard, policy)
        trial.program.executable.prove(proven)
        if not apart:
            return
        with trial.repetition.again():
            result = trial.program.ask_entry(trial.arrays, trial.numbers)
            if result is NotImplemented:
                return
            found = trial.repetition.outcome_of(result)
        _require_same(standard, found)

    def _held(self, trial: _Trial, standard: Standard, policy: ExecutionPolicy) -> set[Variant]:
        """The variants that a call took, right as they were."""
        ran: set[Variant] = set()
        with trial.repetition.again():
            result = trial.program.run_by(policy, trial.arrays, trial.numbers, ran)
            if result is NoResult.UNKNOWN:
                return set()
            if result is NoResult.PYTHON and trial.program.has_doubts:
                return (
                    set()
                )  # nor has eager raised: what runs here is proven by the first call that gets through
            if result is NoResult.PYTHON:
                raise CheckError(
                    f"{self._name}: the compiled call met an error that the eager call did not meet"
                )
            found = trial.repetition.outcome_of(result)
        _require_same(standard, found)
        return ran

    def _report(self, trial: _Trial, error: _Differs) -> str:
        text = sentence(self._name, error.standard, error.difference)
        try:
            given = [*trial.arrays, *trial.numbers]
            text = report(self._name, error.standard, self._backend(), given, error.difference)
        except Exception as failure:  # what looks for the fault runs the compiler again
            if came_from_handler(failure):
                raise
        return text


def _require_same(standard: Standard, found: Outcome) -> None:
    difference = standard.differs(found)
    if difference is not None:
        raise _Differs(standard, difference)


class _Differs(Exception):  # noqa: N818 - an answer
    """A compiled call gave something else."""

    def __init__(self, standard: Standard, difference: Difference) -> None:
        self.standard, self.difference = standard, difference


@dataclass(frozen=True)
class _Trial:
    """A program, a call of it, and what the call must give."""

    program: Program
    arrays: list[ndarray]  # among the arguments
    values: list[Any]  # what else is among them
    repetition: Repetition  # of the call, in Python
    wanted: Outcome  # of the call, in Python
    unchanged: Callable[[], bool]  # whether nothing changed since that was computed

    @property
    def numbers(self) -> list[ndarray]:
        with self.repetition.states.rewound():
            return self.program.convert(self.values) or []

    def standard(self, name: str) -> Standard | None:
        """What the program must give; see ``standard_of``."""
        given = [*self.arrays, *self.numbers]
        return standard_of(name, self.program, given, self.repetition, self.wanted)
