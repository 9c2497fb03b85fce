"""What a call of a hybridized block or function does: find the program for its signature, or record one, or run eagerly.

call -> entry (native)                  everything is as recorded
     -> Hybrid.call -> Program.run      unusual memory layout, keyword arguments, host operators, unproven variants
                    -> Learner.learn    a new signature, or the state changed: eager while a graph is written
                    -> Segments.run     where no graph can stand for the call: Python, operators in compiled segments
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from textwrap import indent
from typing import TYPE_CHECKING, Any

from blockfuse.array.pytree import Unstructured
from blockfuse.codegen.compiler_thread import is_interrupted
from blockfuse.codegen.variants import Variant
from blockfuse.ir import interpreter
from blockfuse.ir.argument_parts import OUT
from blockfuse.ir.errors import AuditError, CudaError
from blockfuse.ir.interpreter import Interpreter
from blockfuse.ir.locks import BUSY
from blockfuse.runtime.arrays.conversion import ArrayConversion
from blockfuse.runtime.arrays.out import called_with_out, takes_out
from blockfuse.runtime.audit.audit import Audit
from blockfuse.runtime.audit.selfcheck import Changed, SelfCheck
from blockfuse.runtime.calls.call import Call
from blockfuse.runtime.calls.case import Case
from blockfuse.runtime.calls.cases import Cases
from blockfuse.runtime.calls.entry_slot import EntrySlot
from blockfuse.runtime.calls.explain import explanation, standing
from blockfuse.runtime.calls.learning import Learner
from blockfuse.runtime.calls.options import Options
from blockfuse.runtime.calls.owner import Owner
from blockfuse.runtime.calls.pieces import Pieces, are_asked_for
from blockfuse.runtime.calls.segments import Segments
from blockfuse.runtime.explanation import Explanation
from blockfuse.runtime.programs.arguments import Arguments
from blockfuse.runtime.programs.failures import CompilerFailures
from blockfuse.runtime.programs.no_result import NoResult
from blockfuse.runtime.programs.program import Program
from blockfuse.tracer.lazy.segments import Segmented
from blockfuse.tracer.recording.record import Recording
from blockfuse.tracer.recording.surroundings import Surroundings

if TYPE_CHECKING:
    from blockfuse.codegen.cuda.device.device import Device

_LEARNABLE = (NoResult.UNKNOWN, NoResult.OUTDATED)  # a recording may give what there is no program for


class Hybrid:
    """The programs of one block or function, and the way of a call to them."""

    def __init__(self, owner: Owner, given: Mapping[str, Any]) -> None:
        """given: options of ``hybridize``; raises what is wrong with them."""
        options = Options.read(given)
        name, run, self._backend = owner.name, owner.run, options.backend
        self.owner = owner
        self._failures = CompilerFailures(name)
        self._check = SelfCheck(name, run, self._backend) if options.check else None
        self._audit = Audit(name, options.audit, run, self._backend) if options.audit else None
        self._entry = EntrySlot(owner, self._backend, self._audit)
        self.cases = Cases(self._entry)
        self._segments = Segments(owner, options.exact, self._failures, self._check)
        self._learner = Learner(owner, self._backend, self.cases, self._entry, self._failures, self._check)
        problem = "results are audited" if options.audit else ""
        self.pieces = Pieces(owner, options.exact, self._failures, self._check, problem)
        self.precision = options.precision
        self._others = Case()  # calls whose signatures are not kept

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that the entry did not take."""
        if OUT in kwargs and not takes_out(self.owner.definition):
            return self._with_out(args, kwargs)
        current = interpreter.current()
        if current.recording:
            return self._while_recording(current, args, kwargs)
        if isinstance(current, Segmented) and not kwargs:
            current.settle()  # the entry refused arrays that are pending
            result = self._entry.ask(args)
            if result is not NotImplemented:
                return result
        result = self._entry.ask_fast_call(args, kwargs)
        if result is not NotImplemented:
            return result
        conversion = ArrayConversion(args, kwargs, self._find_device)
        return self._restoring(conversion, self._routed)

    def _with_out(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See NOTE [results of a caller]."""
        if not interpreter.current().recording:
            result = self._entry.ask_fast_call(args, kwargs)
            if result is not NotImplemented:
                return result
        result = called_with_out(self._without_out, args, kwargs)
        try:
            self._entry.prefer_out(args, kwargs)
        except Exception as error:  # of the compiler: the next call comes here again
            self._failures.tell(error)
        return result

    def _without_out(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = NotImplemented if kwargs else self._entry.ask(args)
        return self.call(args, kwargs) if result is NotImplemented else result

    def _while_recording(self, current: Interpreter, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that is part of a graph, or on the tape."""
        on_tape = are_asked_for(current)
        if on_tape and not kwargs:
            result = self.pieces.quick(args)
            if type(result) is not NoResult:
                return result
        conversion = ArrayConversion(args, kwargs, self._find_device)
        conversion.expose()
        if conversion.foreign is None and on_tape:
            return self._restoring(conversion, self._as_piece)
        return conversion.unwrapped(self.owner.run(conversion.args, conversion.kwargs))

    def _as_piece(self, conversion: ArrayConversion) -> Any:
        return self.pieces.call(conversion.args, conversion.kwargs)

    def _restoring(self, conversion: ArrayConversion, route: Callable[[ArrayConversion], Any]) -> Any:
        """What a route gives; where it is interrupted, everything around it is put back."""
        surroundings = Surroundings()
        try:
            return conversion.unwrapped(route(conversion))
        except BaseException:
            surroundings.restore()
            raise

    def _routed(self, conversion: ArrayConversion) -> Any:
        """The result by the program of the call's case, or by a recording, or by Python."""
        args, kwargs = conversion.args, conversion.kwargs
        try:
            call, case = self.cases.find(args, kwargs, stay_on_device=conversion.foreign is not None)
        except Unstructured:  # an argument of a type that has no signature
            conversion.expose()
            self.owner.compile_children()
            return self._segments.run(self._others, args, kwargs)
        may_be_recorded = True
        if case is not None:
            case.calls += 1
            program = case.program
            if program is not None:
                if program.assigned:  # attributes may hold arguments and results
                    conversion.expose()
                result = self._by_program(case, program, call)
                if type(result) is not NoResult:
                    return result
                may_be_recorded = result in _LEARNABLE
                if result is NoResult.OUTDATED:
                    case = self.cases.renewed(case, program, call)
        conversion.expose()
        if case is None:
            return self._segments.run(self._others, args, kwargs)
        return self._by_python(case, call, may_be_recorded)

    def _by_python(self, case: Case, call: Call, may_be_recorded: bool) -> Any:
        """What Python gives, perhaps while the call is recorded."""
        if may_be_recorded and case.wants_recording and not is_interrupted():
            case = self.cases.of_one_size(case, call)
            result = self._learner.learn(case, call)
            if result is not BUSY:
                return result
        case.eager_calls += 1
        if case.program is None:
            self._entry.prefer_python(case, call, self._segments.run)
        return self._segments.run(case, call.arguments.args, call.arguments.kwargs)

    def _by_program(self, case: Case, program: Program, call: Call) -> Any:
        """What the program of a case gives: a result or NoResult."""
        try:
            trouble = program.refresh()
            return self._served(case, program, call) if trouble is None else trouble
        except (AuditError, CudaError):
            raise
        except Changed:  # by another thread, while a new variant was checked
            return NoResult.PYTHON
        except MemoryError as error:  # the next call may find some
            self._failures.tell(error)
        except Exception as error:
            case.drop_program()
            self._entry.forget()
            self._learner.failed(case, error, program.recording)
        return NoResult.PYTHON

    def _served(self, case: Case, program: Program, call: Call) -> Any:
        """What the program gives, which later calls then try first."""
        self._entry.prefer(case, program, call)
        if self._audit is None:
            result = self._proven(program, call)
        else:
            given = (call.arguments.args, call.arguments.kwargs)
            result = self._audit.run(case, program, partial(self._proven, program, call), given)
        if type(result) is not NoResult:
            case.served += 1
            if call.specialization is not None:
                call.specialization.uses += 1
        return result

    def _proven(self, program: Program, call: Call) -> Any:
        """What the program gives, once more by Python if it took a variant that nobody has proven."""
        unproven: set[Variant] = set()
        version = program.version
        result = program.run(call.arguments.arrays, call.arguments.values, unproven)
        if unproven and type(result) is not NoResult:
            if self._check is not None:
                self._check.prove_variants(program, version, result, unproven, call.arguments)
            else:
                program.executable.prove(unproven)
        return program.finished(result)

    def recorded(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recording | None:
        """A call recorded for its path alone, unless it has a problem; None where that cannot be now."""
        return self._learner.path_of(Arguments.taken_apart(args, kwargs))

    def _find_device(self) -> Device | None:
        return self._backend().find_device()

    @property
    def standing(self) -> tuple[str, str]:
        """In a few words, what became of all calls so far; and whether that is good, or a warning."""
        return standing(self.cases.values(), self.pieces)

    def explain(self) -> Explanation:
        """Per signature: what was compiled, what was fused, what runs eagerly and why, how often, and what it cost.

        Where the block runs in Python, the same for each block in it.
        """
        text = explanation(self.owner.name, dict(self.cases), self._segments, self.pieces, self.precision)
        text = "\n".join(filter(None, (text, str(self.cases.batches))))
        cases, pieces = list(self.cases.values()), list(self.pieces.cases.values())
        if all(case.program is not None for case in cases) and all(p.piece is not None for p in pieces):
            return Explanation(text)
        parts = [f"{name}: {hybrid.explain()}" for name, hybrid in self.owner.compiled_children()]
        return Explanation("\n".join([text, *(indent(part, "  ") for part in parts)]))
