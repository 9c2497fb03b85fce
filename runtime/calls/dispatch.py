"""What a call of a hybridized block or function does: find the program for its signature, or record one, or run eagerly.

call -> entry (native)                  everything is as recorded
     -> Hybrid.call -> Program.run      unusual memory layout, keyword arguments, host operators, unproven variants
                    -> record           a new signature, or the state changed: eager while a graph is written
                    -> Segmented        where no graph can stand for the call: Python, operators in compiled segments
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from textwrap import indent
from typing import TYPE_CHECKING, Any

from blockfuse.array import modes
from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Structure, Unstructured, containers, flatten, with_numbers
from blockfuse.codegen.compiler_thread import is_interrupted
from blockfuse.codegen.variants import Variant
from blockfuse.ir import interpreter
from blockfuse.ir.errors import AuditError, CudaError, TraceError
from blockfuse.ir.locks import BUSY, Turn
from blockfuse.runtime.arrays.conversion import ArrayConversion
from blockfuse.runtime.audit.audit import Audit, checked_share
from blockfuse.runtime.audit.selfcheck import Changed, checking
from blockfuse.runtime.calls.batch_families import Batches, Signature
from blockfuse.runtime.calls.case import Call, Case
from blockfuse.runtime.calls.explain import explanation
from blockfuse.runtime.calls.number_families import Numbers
from blockfuse.runtime.calls.recently_used import RecentlyUsed
from blockfuse.runtime.calls.segments import Segments
from blockfuse.runtime.programs import backend as backends
from blockfuse.runtime.programs.failures import CompilerFailures
from blockfuse.runtime.programs.program import PYTHON, UNKNOWN, Program
from blockfuse.tracer.generalize.rehearsal import rehearse
from blockfuse.tracer.lazy.segments import Segmented
from blockfuse.tracer.recording.record import Code, Recording, record
from blockfuse.tracer.recording.recorder import Recorder
from blockfuse.tracer.recording.surroundings import Surroundings

if TYPE_CHECKING:
    from blockfuse.codegen.cuda.device.device import Device

OPTIONS = ("backend", "threads", "precision", "audit", "check")
_SIGNATURES = 64  # kept; the one used longest ago goes
_PATHS = 64  # recorded for one signature; what takes another way runs eagerly


def asks_entry(call: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a ``__call__`` that begins by asking ``self._entry``: native code may do that in its place."""
    call.asks_entry = True  # type: ignore[attr-defined]
    return call


class Hybrid:
    """The programs of one block or function."""

    def __init__(self, owner: Any, options: dict[str, Any] | None = None, entry_holder: Any = None) -> None:
        """owner: a block (with ``_run``), or a plain function. options: those of ``OPTIONS``.

        entry_holder: whose ``_entry`` is set to the native entry; by default the owner's.
        """
        options = options or {}
        self.owner = owner
        self._entry_holder = owner if entry_holder is None else entry_holder
        self.options = options
        self.cases: RecentlyUsed[Signature, Case] = RecentlyUsed(_SIGNATURES)
        self._numbers = Numbers()
        self._batches = Batches()
        self._code: list[Code] = []
        self._others = Case()  # calls whose signatures are not kept
        chosen = options.get("backend", "auto"), options.get("threads"), options.get("precision", "float32")
        backends.check(*chosen)
        self._backend = partial(backends.backend, *chosen)
        self._failures = CompilerFailures(_name_of(owner))
        run = partial(_run_eagerly, owner)  # not a method of ours: what holds it must not hold us
        self._check = checking(options.get("check", True), _name_of(owner), run, self._backend)
        self._segments = Segments(owner, self._backend, self._failures, self._check)
        self._quick: list[Callable[[Any, Any], Any]] = []  # of the program that ran last
        self._recording = Turn()
        share = checked_share(options.get("audit", 0))
        self._audit = Audit(_name_of(owner), share, run, self._backend) if share else None

    # -- a call that the entry did not take ------------------------------------------------------------------

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        current = interpreter.current()
        if isinstance(current, Segmented) and not kwargs:
            current.settle()  # the entry refused arrays that are pending
            entry = vars(self._entry_holder)["_entry"]
            result = NotImplemented if entry is None else entry(*args)
            if result is not NotImplemented:
                return result
        for quick in self._quick:
            result = quick(args, kwargs)
            if result is not NotImplemented:
                return result
        plain = ArrayConversion(self._find_device)
        args, kwargs = plain.wrapped(args), plain.wrapped(kwargs)
        if current.recording:
            plain.expose()
            return plain.unwrapped(self._eager(args, kwargs))
        surroundings = Surroundings()
        try:
            return plain.unwrapped(self._call(args, kwargs, plain))
        except BaseException:
            surroundings.restore()
            raise

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], plain: ArrayConversion) -> Any:
        try:
            call, signature = self._taken_apart(args, kwargs, stay_on_device=plain.foreign is not None)
        except Unstructured:
            plain.expose()
            self._compile_children()
            return self._segmented(self._others, args, kwargs)  # an argument of a type that has no signature
        if call.family is not None and call.family.exhausted and signature not in self.cases:
            plain.expose()
            return self._worn_out(call, signature)
        every = self._batches.covering(signature)
        if every is None and signature not in self.cases and self._batches.is_one_too_many(signature):
            plain.expose()
            return self._segmented(self._others, args, kwargs)
        case = self._case(every or signature)
        case.calls += 1
        result = self._by_program(case, call, every is not None)
        if result is _OUTDATED and every is not None:
            self._batches.out_of_date(every)
            self._drop(every)
            return self._call(args, kwargs, plain)
        if result is _OUTDATED:
            case.outdate()
            self._forget_entry()
        elif result is not UNKNOWN and result is not PYTHON:
            return result
        plain.expose()
        if result is not PYTHON and case.wants_recording and not is_interrupted():
            result = self._recording.run(partial(self._recorded, case, signature, call))
            if result is not BUSY:
                return result
        case.eager_calls += 1
        if case.program is None:
            self._prefer_python(case, call, signature[1])
        return self._segmented(case, args, kwargs)

    def _by_program(self, case: Case, call: Call, every_size: bool) -> Any:
        """What the program of a case gives; UNKNOWN where there is none, PYTHON where it failed."""
        program = case.program
        if program is None:  # that for every size may have been forgotten, or have failed
            return _OUTDATED if every_size and not case.reason else UNKNOWN
        try:
            fresh = program.refresh()
            if fresh is BUSY:
                return PYTHON
            return self._run(case, program, call) if fresh else _OUTDATED
        except (AuditError, CudaError):
            raise
        except Changed:  # by another thread, while a new variant was checked
            return PYTHON
        except MemoryError as error:  # the next call may find some
            self._failures.warn(self._failures.tell(error))
        except Exception as error:
            case.drop()
            self._forget_entry()
            self._failed(case, error, program.recording)
        return PYTHON

    def _failed(self, case: Case, error: Exception, recording: Recording) -> None:
        """Something is wrong with us: calls that no program takes run in Python until something changes."""
        case.reason = self._failures.tell(error)
        case.retries.give_up()
        watched = self.owner, *recording.watched  # the owner: what it reads is not known where that failed
        for value in watched:
            if hasattr(value, "_watchers"):
                value._watchers.add(case)
        self._failures.warn(case.reason)

    def _taken_apart(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], stay_on_device: bool
    ) -> tuple[Call, Signature]:
        """A call and its signature; raises Unstructured."""
        arrays: list[ndarray] = []
        values: list[Any] = []
        structure = flatten((args, kwargs), arrays, values)
        # NumPy's array on the same memory may have been given another dtype.
        if not all(a.dtype.isnative for a in arrays):
            raise Unstructured("array in another byte order")
        first = {id(a): n for n, a in reversed(list(enumerate(arrays)))}  # an array may be passed twice
        types = tuple((a.shape, a.dtype.char, first[id(a)]) for a in arrays)
        training = modes.is_training()
        family = self._numbers.family(structure, values, (types, training)) if values else None
        given = family.given if family is not None else frozenset()
        call = Call(args, kwargs, arrays, values, structure, family, given, stay_on_device)
        return call, (call.form, types, training)

    def _worn_out(self, call: Call, signature: Signature) -> Any:
        """A call with a new value of a number whose values have had enough programs."""
        assert call.family is not None
        form = with_numbers(call.structure, range(len(call.values)))
        case = self._case((form, *signature[1:]))
        case.settled, case.reason = True, call.family.exhausted
        case.calls += 1
        case.eager_calls += 1
        return self._segmented(case, call.args, call.kwargs)

    def _case(self, signature: Signature) -> Case:
        case = self.cases.use(signature, Case)
        if self.cases.trim():
            self._forget_entry()
        return case

    def _find_device(self) -> Device | None:
        return self._backend().find_device()

    def _eager(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _run_eagerly(self.owner, args, kwargs)

    def _segmented(self, case: Case, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call in Python from beginning to end, its operators in compiled segments where that is quicker."""
        if case.segmented is False or isinstance(interpreter.current(), Segmented):
            return self._eager(args, kwargs)
        segmented = Segmented(self._segments.tree)
        try:
            segmented.begin()
            with interpreter.interpreting(segmented):
                return self._eager(args, kwargs)
        finally:
            segmented.finish()
            if case.segmented is None:
                case.weigh(segmented)

    def _compile_children(self) -> None:
        """Where a block runs in Python, each block in it has programs of its own."""
        for child in getattr(self.owner, "_children", {}).values():
            if child._hybrid is None:
                child._compile_by(self.options)

    def _run(self, case: Case, program: Program, call: Call) -> Any:
        """What the program gives, which later calls then try first: a result, UNKNOWN or PYTHON."""
        self._prefer(case, program, call)
        run = partial(self._proven, program, call)
        result = (
            run() if self._audit is None else self._audit.run(case, program, run, (call.args, call.kwargs))
        )
        if result is not UNKNOWN and result is not PYTHON:
            case.served += 1
            if call.family is not None:
                call.family.uses += 1
        return result

    def _proven(self, program: Program, call: Call) -> Any:
        """What the program gives, once more by Python if it took a variant that nobody has proven."""
        unproven: set[Variant] = set()
        version = program.version
        result = program.run(call.arrays, call.values, unproven)
        if unproven and result is not UNKNOWN and result is not PYTHON:
            if self._check is not None:
                self._check.prove_variants(program, version, result, unproven, call)
            else:
                program.executable.prove(unproven)
        return result

    def _prefer(self, case: Case, program: Program, call: Call) -> None:
        """Let the next call try this program first, unless it is for arrays that are given twice."""
        if not call.is_apart or modes.is_training():
            return
        self._quick = program.calls if self._audit is None else []
        if program.call is not None:
            entry = program.call if self._audit is None else self._audit.entry(case, program)
            before, vars(self._entry_holder)["_entry"] = vars(self._entry_holder)["_entry"], entry
            kind = type(self._entry_holder)
            native = program.entry is not None and before is None
            if native and getattr(kind.__call__, "asks_entry", False):
                self._backend().quicken(kind)

    def _prefer_python(self, case: Case, given: Call, types: tuple[Any, ...]) -> None:
        """Let the next call with arrays of these types run in Python without a search for its case."""
        if not given.is_plain or modes.is_training():
            return

        def call(*arguments: Any) -> Any:
            if case.wants_recording or interpreter.current().recording or modes.is_training():
                return NotImplemented
            for array, (shape, char, _) in zip_longest(arguments, types, fillvalue=_NOTHING):
                if type(array) is not ndarray or array.shape != shape or array.dtype.char != char:
                    return NotImplemented
            if len({id(a) for a in arguments}) < len(arguments):
                return NotImplemented
            case.calls += 1
            case.eager_calls += 1
            return self._segmented(case, arguments, {})

        vars(self._entry_holder)["_entry"] = call

    def _forget_entry(self) -> None:
        """A program that goes is not told of changes any more, so its entry must go with it."""
        vars(self._entry_holder)["_entry"], self._quick = None, []

    @property
    def _roots(self) -> list[tuple[Any, str]]:
        """From where the state of a call is reached."""
        return [(self.owner, _name_of(self.owner))]

    # -- recording -------------------------------------------------------------------------------------------

    def _recorded(self, case: Case, signature: Signature, call: Call) -> Any:
        case.attempts += 1
        run = partial(self._eager, call.args, call.kwargs)
        recording = record(run, Recorder(call.arrays), self._roots, self._code)
        result, program = recording.result, None
        try:
            program = self._learn(case, signature, call, recording)
        except CudaError:  # of the device, which was asked for
            raise
        except Exception as error:
            self._failed(case, error, recording)
        recording.result = None  # it is the caller's
        if program is not None:
            self._failures.warn_of_dtypes(program.schedule.steps, program.schedule.buffers)
        return result

    def _learn(self, case: Case, signature: Signature, call: Call, recording: Recording) -> Program | None:
        """The program that a recording gives or adds to, if it does; raises what went wrong in ours."""
        if recording.failure is not None:
            raise recording.failure
        self._code = recording.code
        given = (call.args, call.kwargs)
        if not recording.problem and _changed(call.structure, call.arrays, given):
            recording.problem = "forward changes a list or dict among its arguments"
        ids = {id(c) for c in containers(given)}
        if not recording.problem and any(id(c) in ids for c in containers(recording.result)):
            recording.problem = "forward returns a list or dict that it was given"
        if not recording.problem and call.given:
            wanted = call.given
            recording, call = self._rehearsed(recording, call)
            if call.given != wanted:  # some numbers are part of the signature after all
                self._drop(signature)
                case = self._case((call.form, *signature[1:]))
                case.calls += 1
                case.attempts += 1
        signature = (call.form, *signature[1:])
        every = self._for_every_size(signature, call, recording)
        if every is not None:
            self._take_every_size(*every, call)
            return every[1]
        self._add(case, recording, call)
        return case.program

    def _for_every_size(
        self, signature: Signature, call: Call, recording: Recording
    ) -> tuple[Signature, Program] | None:
        """The program for every size of the batch, with its signature, where there is one and it is right."""
        alone = None if call.given else recording  # programs that take numbers are for one size
        try:
            found = self._batches.program_for_every_size(
                signature, alone, self._backend(), call.stay_on_device
            )
            if found is not None and self._check is not None:
                self._check.prove(found[1], recording, call)
            return found
        except CudaError:
            raise
        except Changed:
            return None
        except Exception as error:
            reason = self._failures.tell(error)
            self._batches.refuse(signature, reason)
            self._failures.warn(reason)
            return None

    def _rehearsed(self, recording: Recording, call: Call) -> tuple[Recording, Call]:
        """The recording with its numbers as inputs, and the call with those that may be."""
        assert call.family is not None
        while call.given:
            found = rehearse(
                recording,
                lambda given: self._eager(*given),
                self._roots,
                (call.structure, call.arrays, call.values),
                call.given,
                self._numbers.operands,
            )
            if isinstance(found, Recording):
                return found, call
            call.family.refuse(found)
            call = replace(call, given=call.given - found.indices)
        return recording, call

    def _drop(self, signature: Signature) -> None:
        self.cases.pop(signature, None)
        self._forget_entry()

    def _add(self, case: Case, recording: Recording, call: Call) -> None:
        """What a recording is good for: another path of the program, or a reason."""
        case.reason = recording.problem
        if call.family is not None:
            case.note = call.family.reason
        if not recording.problem:
            self._compile(case, recording, call)
        else:
            case.failed(call, recording.again, recording.effects, recording.raised)
        if case.retries.failures and not recording.again:
            if case.program is None:
                self._compile_children()
            for value in recording.watched:  # until something changes
                value._watchers.add(case)
        if len(case.recordings) >= _PATHS:
            case.settled = True
            case.reason = f"its path changes too often ({_PATHS} recordings)"

    def _take_every_size(self, every: Signature, program: Program, call: Call) -> None:
        """From now on this program runs all sizes that it takes."""
        case = Case(program)
        self._batches.adopt(every, program.schedule.min_items)
        for signature in list(self.cases):
            if signature == every or self._batches.covering(signature) == every:
                case.take_over(self.cases.pop(signature, None))
        self.cases[every] = case
        self._forget_entry()
        self._prefer(case, program, call)

    def _compile(self, case: Case, recording: Recording, call: Call) -> None:
        """A program for the known paths and the new one; if they do not fit together, for the known ones."""
        try:
            self._forget_entry()
            recordings = [*case.recordings, recording]
            program = Program(recordings, self._backend(), call.form, stay_on_device=call.stay_on_device)
            if self._check is not None:
                self._check.prove(program, recording, call)
            case.program = program
            if call.family is not None and not case.recordings:
                call.family.programs += 1
                call.family.counters.append(case.program.executable.counter())
            case.recordings.append(recording)
            case.retries.succeeded()
            self._prefer(case, case.program, call)
        except TraceError as error:
            case.reason = str(error)
            case.failed(call, again=isinstance(error, Changed))

    # -- looking in ------------------------------------------------------------------------------------------

    def explain(self) -> str:
        """Per signature: what was compiled, what was fused, what runs eagerly and why, how often, and what it cost.

        Where the block runs in Python, the same for each block in it.
        """
        text = explanation(_name_of(self.owner), dict(self.cases), self._segments)
        text = "\n".join(filter(None, (text, str(self._batches))))
        if all(case.program is not None for case in list(self.cases.values())):
            return text
        inside = [(name, child._hybrid) for name, child in getattr(self.owner, "_children", {}).items()]
        parts = [f"{name}: {hybrid.explain()}" for name, hybrid in inside if hybrid is not None]
        return "\n".join([text, *(indent(part, "  ") for part in parts)])


def run_of(owner: Any) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
    """The eager meaning of a call of ``owner``."""
    run = getattr(owner, "_run", None)
    return run if run is not None else lambda args, kwargs: owner(*args, **kwargs)


def _run_eagerly(owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return run_of(owner)(args, kwargs)


_NOTHING = (None, "", -1)
_OUTDATED = object()  # in the place of a result: the state that a program rests on has changed


def _changed(structure: Structure, arrays: list[ndarray], value: Any) -> bool:
    """Whether ``value`` is not any more what it was when it was taken apart."""
    now: list[ndarray] = []
    try:
        return flatten(value, now) != structure or any(a is not b for a, b in zip(arrays, now, strict=True))
    except Unstructured:
        return True


def _name_of(owner: Any) -> str:
    return getattr(owner, "__name__", None) or type(owner).__name__


def call_block(block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of a block that its entry did not take."""
    if block._hybrid is not None:
        return block._hybrid.call(args, kwargs)
    plain = ArrayConversion()
    args, kwargs = plain.wrapped(args), plain.wrapped(kwargs)
    plain.expose()
    return plain.unwrapped(block._run(args, kwargs))
