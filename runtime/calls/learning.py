"""What a call teaches: it is recorded, and the recording becomes a program, or a reason why there is none.

NOTE [who writes]
A recorded call that writes (a step of training) has run in Python, and its program was held against that. What stays is what
the program wrote: so a step comes to the same bits whether it was recorded or not, and a training that goes on from a
checkpoint, in a process that knows no programs yet, comes to those that it would have come to.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from blockfuse.codegen.variants import ExecutionPolicy
from blockfuse.ir.errors import CudaError, TraceError
from blockfuse.ir.locks import BUSY, Busy
from blockfuse.runtime.audit.comparison import Repetition, stream_state
from blockfuse.runtime.audit.selfcheck import Changed, SelfCheck
from blockfuse.runtime.calls.call import Call, Signature
from blockfuse.runtime.calls.case import Case
from blockfuse.runtime.calls.cases import Cases
from blockfuse.runtime.calls.entry_slot import EntrySlot
from blockfuse.runtime.calls.owner import Owner
from blockfuse.runtime.programs.arguments import Arguments
from blockfuse.runtime.programs.backend import Backend
from blockfuse.runtime.programs.failures import CompilerFailures
from blockfuse.runtime.programs.program import Program
from blockfuse.runtime.programs.updates import States, Updated, taken_back
from blockfuse.tracer.generalize.rehearsal import Refusal, rehearse
from blockfuse.tracer.recording.record import Code, Recording, record
from blockfuse.tracer.recording.recorder import Recorder
from blockfuse.tracer.recording.turn import RecordingTurn
from blockfuse.tracer.state.assignments import Attribute, Attributes, Key

MAX_RECORDINGS = 64  # for one signature; what takes another way runs eagerly


class Learner:
    """Learns from calls of one block or function; one thread at a time."""

    def __init__(
        self,
        owner: Owner,
        backend: Callable[[], Backend],
        cases: Cases,
        entry: EntrySlot,
        failures: CompilerFailures,
        check: SelfCheck | None,
    ) -> None:
        self._owner, self._backend = owner, backend
        self._cases, self._entry = cases, entry
        self._failures, self._check = failures, check
        self._code: list[Code] = []  # functions that recordings met outside of the known state
        self._assigned: dict[Key, Attribute] = {}  # attributes that recordings met
        self._turn = RecordingTurn()

    def learn(self, case: Case, call: Call) -> Any | Busy:
        """The result of a call that is run eagerly and recorded; ``BUSY``, with nothing run, where that cannot be now."""
        if self._failures.prevents_recording(partial(setattr, case, "reason")):
            return BUSY
        return self._turn.run(partial(self._recorded, case, call))

    def path_of(self, arguments: Arguments) -> Recording | None:
        """A call run eagerly and recorded, from which no program is made; None where that cannot be now."""
        if self._failures.prevents_recording():
            return None
        recording = self._turn.run(partial(self._path_of, arguments))
        return recording if isinstance(recording, Recording) else None

    def _path_of(self, arguments: Arguments) -> Recording:
        recorder = Recorder(arguments.arrays)
        run = partial(self._owner.run, arguments.args, arguments.kwargs)
        with taken_back(recorder):
            recording = record(run, recorder, self._roots, self._code, left_out=self._assigned)
        recording.problem = recording.problem or arguments.problem_with(recording.result)
        self._code = recording.code
        recording.release()
        return recording

    def failed(self, case: Case, error: Exception, recording: Recording) -> None:
        """Something is wrong with us: calls that no program takes run in Python until something changes."""

        def keep(reason: str) -> None:
            case.give_up(reason)
            self._owner.watch(case)  # what it reads is not known where that failed
            case.watch(recording.watched)

        self._failures.tell(error, keep)

    @property
    def _roots(self) -> list[tuple[Any, str]]:
        """From where the state of a call is reached."""
        return [(self._owner.subject, self._owner.name)]

    def _recorded(self, case: Case, call: Call) -> Any:
        case.attempts += 1
        arguments = call.arguments
        run = partial(self._owner.run, arguments.args, arguments.kwargs)
        stream = stream_state()
        recorder = Recorder(arguments.arrays)
        with taken_back(recorder):
            recording = record(run, recorder, self._roots, self._code, left_out=self._left_out(case))
        states = States.of_recording(recording)
        result, program = self._by_itself(arguments, recording, states), None
        again = Repetition(run, (), stream if recording.draws else None, states).again
        changes = recording.changes
        try:
            program = self._program(case, call, recording)
        except CudaError:  # of the device, which was asked for
            raise
        except Exception as error:
            self.failed(case, error, recording)
        if program is not None:
            self._failures.warn_of_promotions(program.flow)
            if program.updates and not recording.problem:
                updated = _updated(program, call, again)
                if updated is not None and changes is not None and not changes.seen:
                    result = program.finished(updated)
        recording.release()  # the result is the caller's
        return result

    def _by_itself(self, arguments: Arguments, recording: Recording, states: States) -> Any:
        """The result of a recorded call. Where rules stood for code that was not followed, that code gives it, too, and the
        recording is worth nothing if they differ. What has effects is not run twice; no program comes of it.
        """
        if not (recording.repeatable and self._owner.is_followed_by_rules) or recording.failure is not None:
            return recording.result
        with states.rewound():
            result = self._owner.run(arguments.args, arguments.kwargs)
        difference = self._owner.disagreement(recording.result, result)
        if not difference:
            return recording.result
        recording.again = False
        recording.problem = (
            f"its own code gives something else than the rules that stand for it: {difference}"
        )
        return result

    def _program(self, case: Case, call: Call, recording: Recording) -> Program | None:
        """The program that a recording gives or adds to, if it does; raises what went wrong in ours."""
        if recording.failure is not None:
            raise recording.failure
        self._code = recording.code
        self._note_assignments(case, recording)
        recording.problem = recording.problem or call.arguments.problem_with(recording.result)
        if not recording.problem and call.given:
            recording, rehearsed = self._rehearsed(recording, call)
            if rehearsed.given != call.given:  # some numbers are part of the signature after all
                self._cases.drop(call.signature)
                case = self._cases.use(rehearsed.signature)
                case.calls += 1
                case.attempts += 1
            call = rehearsed
        backend = self._backend()
        every = self._program_for_every_size(call, recording, backend)
        if every is not None:
            signature, program = every
            self._entry.prefer(self._cases.adopt(signature, program), program, call)
            return program
        self._add(case, recording, call, backend)
        recording.release()  # that of a rehearsal, perhaps
        return case.program

    def _left_out(self, case: Case) -> Attributes:
        """The attributes that are no state of a call: NOTE [assigned attributes]."""
        return {key: attribute for key, attribute in self._assigned.items() if key not in case.kept}

    def _note_assignments(self, case: Case, recording: Recording) -> None:
        """What the next recording leaves out."""
        if recording.met.keys() & case.kept:  # what some calls read, others may not assign
            recording.again, recording.effects = False, True
        self._assigned = {**recording.met, **self._assigned}
        case.kept |= recording.kept

    def _rehearsed(self, recording: Recording, call: Call) -> tuple[Recording, Call]:
        """The recording with its numbers as inputs, and the call with those that may be."""
        specialization = call.specialization
        assert specialization is not None
        while call.given:
            found = self._rehearsal(recording, call)
            if isinstance(found, Recording):
                return found, call
            specialization.refuse(found)
            call = call.specialized(found.indices)
        return recording, call

    def _rehearsal(self, recording: Recording, call: Call) -> Recording | Refusal:
        """The call once more, from what was there when it was recorded; what it writes and assigns is not kept, but is there
        as long as the recording is judged.
        """
        arguments = call.arguments
        with States.of_recording(recording).rewound():
            return rehearse(
                recording,
                lambda given: self._owner.run(*given),
                self._roots,
                (arguments.structure, arguments.arrays, arguments.values),
                call.given,
                self._cases.specializations.operands,
            )

    def _program_for_every_size(
        self, call: Call, recording: Recording, backend: Backend
    ) -> tuple[Signature, Program] | None:
        """The program for every size of the batch, with its signature, where there is one and it is right."""
        batches = self._cases.batches
        alone = None if call.given else recording  # programs that take numbers are for one size
        try:
            found = batches.program_for_every_size(call.signature, alone, backend, call.stay_on_device)
            if found is not None and self._check is not None:
                self._check.prove(found[1], recording, call.arguments)
            return found
        except CudaError:
            raise
        except Changed:
            return None
        except Exception as error:
            self._failures.tell(error, partial(batches.refuse, call.signature))
            return None

    def _add(self, case: Case, recording: Recording, call: Call, backend: Backend) -> None:
        """What a recording is good for: another path of the program, or a reason."""
        case.reason = recording.problem
        if call.specialization is not None:
            case.note = call.specialization.reason
        if not recording.problem:
            self._compile(case, recording, call, backend)
        else:
            self._nothing_learnt(case, call, recording.again, recording.effects, recording.raised)
        if case.retries.failures and not recording.again:
            if case.program is None:
                self._owner.compile_children()
            case.watch(recording.watched)  # until something changes
        if len(case.recordings) >= MAX_RECORDINGS:
            case.settle(f"its path changes too often ({MAX_RECORDINGS} recordings)")

    def _compile(self, case: Case, recording: Recording, call: Call, backend: Backend) -> None:
        """A program for the known paths and the new one; if they do not fit together, for the known ones."""
        try:
            self._entry.forget()
            # they rest on one picture of state
            before = [r for r in case.recordings if r.left_out.keys() == recording.left_out.keys()]
            recordings = [*before, recording]
            if before:
                recording.join(before[-1])
            program = Program(recordings, backend, call.form, stay_on_device=call.stay_on_device)
            if self._check is not None:
                self._check.prove(program, recording, call.arguments)
            case.program = program
            if call.specialization is not None and not case.recordings:
                call.specialization.programs += 1
                call.specialization.counters.append(program.executable.counter())
            case.recordings = recordings
            case.retries.succeeded()
            self._entry.prefer(case, program, call)
        except TraceError as error:
            case.reason = str(error)
            self._nothing_learnt(case, call, again=isinstance(error, Changed))

    def _nothing_learnt(
        self, case: Case, call: Call, again: bool, effects: bool = False, raised: bool = False
    ) -> None:
        """raised: an operator did, for the values of this call."""
        other_ways = case.program is not None or bool(call.given) or raised
        case.retries.failed(case.calls, again, effects, other_ways)


def _updated(
    program: Program, call: Call, again: Callable[[], AbstractContextManager[None]]
) -> Updated | None:
    """What a program gives and would write for the call that it was just made from: NOTE [who writes].

    again: the context in which the call meets and draws what it met and drew.
    None where the program does not run the call, or somebody changes what it reads meanwhile.
    """
    arguments, version = call.arguments, program.version
    with again():
        numbers = program.convert(arguments.values)
        if numbers is None or program.updates.reach([*arguments.arrays, *numbers]):
            return None
        result = program.run_by(ExecutionPolicy.ADAPTIVE, arguments.arrays, numbers, set())
    return result if type(result) is Updated and program.is_current(version) else None
