"""Calls inside of ``autograd.record()``: by the programs of their piece, or in Python, from where a piece is learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from blockfuse.array import modes
from blockfuse.array.eager import EAGER
from blockfuse.array.history import node_of
from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Structure, Unstructured
from blockfuse.array.tape import Tape
from blockfuse.codegen.compiler_thread import is_interrupted
from blockfuse.ir.errors import GradientError, TraceError
from blockfuse.ir.interpreter import Interpreter, interpreting
from blockfuse.ir.locks import BUSY
from blockfuse.runtime.audit.confirmation import Confirmation
from blockfuse.runtime.audit.selfcheck import Changed, SelfCheck
from blockfuse.runtime.calls.owner import Owner
from blockfuse.runtime.calls.recently_used import RecentlyUsed
from blockfuse.runtime.calls.retries import RetryPolicy
from blockfuse.runtime.programs.arguments import Arguments, Types
from blockfuse.runtime.programs.backend import Backend, CpuBackend
from blockfuse.runtime.programs.failures import CompilerFailures
from blockfuse.runtime.programs.halves import forward_program, halves_of
from blockfuse.runtime.programs.no_result import NoResult
from blockfuse.runtime.programs.piece import Piece
from blockfuse.tracer.recording.gradient_recording import GradientRecording
from blockfuse.tracer.recording.record import Code, Recording, record
from blockfuse.tracer.recording.recorder import Recorder
from blockfuse.tracer.recording.turn import RecordingTurn

MAX_PIECES = 64  # kept; the one used longest ago goes
FREE_PIECES = (
    8  # are recorded at their first calls; each further one has to come twice as often as the one before
)
MAX_DOUBLINGS = 10

# structure and types of the arguments, train mode, which arrays have a history
Signature = tuple[Structure, Types, bool, tuple[bool, ...]]


@dataclass(eq=False)
class PieceCase:
    """What is known of the calls of one signature."""

    piece: Piece | None = None
    reason: str = ""  # why calls run in Python
    calls: int = 0
    training: bool = False  # the mode of the calls
    patience: int = 0  # calls before the first recording
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    used: int = 0  # when it was last

    def invalidate(self) -> None:
        """A block or parameter changed: an eager case may be worth another recording."""
        self.retries.changed(self.calls)

    def watch(self, recording: Recording) -> None:
        """Let blocks and parameters tell when they change."""
        for value in recording.watched:
            value._watchers.add(self)

    def take(self, piece: Piece) -> None:
        """Calls are compiled from now on."""
        self.piece, self.reason = piece, ""
        self.retries.succeeded()

    @property
    def wants_recording(self) -> bool:
        return self.calls > self.patience and self.retries.ready(self.calls)


_ARRAYS = {ndarray}


def are_asked_for(current: Interpreter) -> bool:
    """Whether calls are on the tape, and nobody writes a graph below it."""
    return type(current) is Tape and current.below is EAGER


class Pieces:
    """Those of one block or function."""

    def __init__(
        self,
        owner: Owner,
        backend: Callable[[], Backend],
        failures: CompilerFailures,
        check: SelfCheck | None,
        problem: str = "",  # why there are none
    ) -> None:
        self._owner, self._backend, self._failures, self._check = owner, backend, failures, check
        self.problem = problem
        self.cases: RecentlyUsed[Signature, PieceCase] = RecentlyUsed(MAX_PIECES, self._new_case)
        self._begun = 0  # cases
        self._last: PieceCase | None = None  # whose call had nothing but arrays
        self._code: list[Code] = []  # functions that recordings met outside of the known state
        self._turn = RecordingTurn()

    def quick(self, args: tuple[Any, ...]) -> Any:
        """The result of a call on the tape by the piece that gave the last one; NoResult where it does not."""
        case = self._last
        if case is None or case.training is not modes.is_training() or {*map(type, args)} != _ARRAYS:
            return NoResult.UNKNOWN
        piece = case.piece
        try:
            result = NoResult.UNKNOWN if piece is None or piece.count != len(args) else piece.quick(args)
        except GradientError:  # an argument has lost its history, which matters where it is used
            return NoResult.PYTHON
        if type(result) is not NoResult:
            case.calls += 1
        return result

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a call on the tape."""
        if self.problem:
            return self._owner.run(args, kwargs)
        try:
            arguments = Arguments.taken_apart(args, kwargs)
            signature = _signature(arguments)
        except (Unstructured, GradientError):  # of a history that is lost, which matters where it is used
            return self._owner.run(args, kwargs)
        case = self.cases.use(signature)
        case.calls, case.training = case.calls + 1, modes.is_training()
        if case.piece is not None:
            result = self._by_piece(case, case.piece, arguments)
            if type(result) is not NoResult:
                self._last = case if arguments.are_positional_arrays else self._last
                return result
        if case.piece is None and case.wants_recording and not is_interrupted():
            if self._failures.prevents_recording(partial(setattr, case, "reason")):
                return self._owner.run(args, kwargs)
            result = self._turn.run(partial(self._recorded, case, arguments))
            if result is not BUSY:
                return result
        return self._owner.run(args, kwargs)

    def _new_case(self) -> PieceCase:
        self._begun += 1
        doublings = min(self._begun - FREE_PIECES, MAX_DOUBLINGS)
        return PieceCase(patience=2**doublings if doublings > 0 else 0)

    def _by_piece(self, case: PieceCase, piece: Piece, arguments: Arguments) -> Any:
        try:
            result = piece.run(arguments.arrays)
        except MemoryError as error:  # the next call may find some
            self._failures.tell(error)
            return NoResult.PYTHON
        except GradientError:
            return NoResult.PYTHON
        except Exception as error:
            self._failed(case, error)
            return NoResult.PYTHON
        if result is NoResult.OUTDATED:
            case.piece = None
            if case.retries.outdated(case.calls, piece.calls):
                case.reason = "its state changes too often"
        return result

    # -- learning --------------------------------------------------------------------------------------------

    def _recorded(self, case: PieceCase, arguments: Arguments) -> Any:
        recorder = Recorder(arguments.arrays)
        gradients = GradientRecording(partial(self._owner.run, arguments.args, arguments.kwargs), recorder)
        with interpreting(EAGER):
            recording = record(
                gradients.run, recorder, [(self._owner.subject, self._owner.name)], self._code, gradients.pull
            )
        result = recording.result
        try:
            case.take(self._learnt(recording, gradients, recorder, arguments))
        except Changed:
            case.retries.failed(case.calls, again=True, effects=False, other_ways=False)
        except TraceError as error:
            self._refused(case, str(error), recording)
        except Exception as error:
            self._failed(case, error)
            case.watch(recording)
        recording.release()  # the result is the caller's
        return result

    def _learnt(
        self, recording: Recording, gradients: GradientRecording, recorder: Recorder, arguments: Arguments
    ) -> Piece:
        """The piece of a recording, held against it; raises TraceError where there is none."""
        if recording.failure is not None:
            raise recording.failure
        self._code = recording.code
        if recording.met:
            recording.again = False
            raise TraceError(
                f"forward assigns {next(iter(recording.met.values()))}, and attributes are given no gradients by programs"
            )
        told = "forward asks whether two objects are one" if recording.told_apart else ""
        problem = recording.problem or told or gradients.problem or arguments.problem_with(recording.result)
        backend = self._backend()
        if not problem and not isinstance(backend, CpuBackend):
            problem = "there are no programs of it for a device"
        if problem:
            raise TraceError(problem)
        assert recording.path is not None
        joint = gradients.joint(recording.path)
        prove = None if self._check is None else self._check.prove_graph
        with interpreting(EAGER):
            halves = halves_of(joint)
            if prove is not None:
                Confirmation(self._owner.name, recording, recorder, joint).confirm(halves, gradients.grads)
            forward = forward_program(halves, recording, backend)
            if prove is not None:
                prove(forward, arguments.arrays)
        self._failures.warn_of_promotions(forward.flow)
        followed = [node_of(a) is not None for a in arguments.arrays]
        return Piece(
            *(self._owner.name, joint, halves, forward, recording, followed),
            *(self._backend, prove, self._failures.tell),
        )

    def _refused(self, case: PieceCase, reason: str, recording: Recording) -> None:
        """Calls run in Python, their blocks as pieces of their own."""
        case.reason = reason
        case.retries.failed(case.calls, recording.again, recording.effects, recording.raised)
        if not recording.again:
            self._owner.compile_children()
            case.watch(recording)

    def _failed(self, case: PieceCase, error: Exception) -> None:
        def keep(reason: str) -> None:
            case.piece, case.reason = None, reason
            case.retries.give_up()
            self._owner.watch(case)

        self._failures.tell(error, keep)


def _signature(arguments: Arguments) -> Signature:
    followed = tuple(node_of(a) is not None for a in arguments.arrays)
    return arguments.structure, arguments.types, modes.is_training(), followed
