"""What a call of a hybridized block or function does: find the program for its signature, or record one, or run eagerly.

call -> entry (native)                  everything is as recorded
     -> Hybrid.call -> Program.run      unusual memory layout, keyword arguments, host operators
                    -> record           a new signature, or the state changed: eager while a graph is written
                    -> eager            where no graph can stand for the call; explain() says why
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import zip_longest
from textwrap import indent
from typing import Any

import numpy

from blockfuse.array import modes, stamps
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.errors import TraceError
from blockfuse.runtime import backend as backends
from blockfuse.runtime.explain import explanation
from blockfuse.runtime.program import UNKNOWN, Program
from blockfuse.runtime.segments import Segments
from blockfuse.tracer.record import Code, Recording, record
from blockfuse.tracer.segments import Segmented
from blockfuse.tracer.structure import Structure, Unstructured, containers, flatten

_SIGNATURES = 64  # kept; the one used longest ago goes
_PATHS = 64  # recorded for one signature; what takes another way runs eagerly
_CHANGING = 64  # calls with segments that are new; then they run one by one
_TRIALS = 5  # calls with compiled segments, and as many without; the best of each are compared
_PATIENCE = 8  # recordings that fail one after the other
_ATTEMPTS = 128  # recordings for one signature, also because its state changed

# structure, (shape, dtype, which argument is this array too) of each array, train mode
Signature = tuple[Structure, tuple[tuple[tuple[int, ...], str, int], ...], bool]


@dataclass(eq=False)
class Case:
    """What is known of one signature.

    program: None where calls run eagerly. recordings: the paths in the program. reason: why calls (or, where there
    is a program, calls that take a path it does not have) run eagerly. settled: nothing more is recorded. segmented:
    whether those calls gain from compiled segments; None as long as that is not known. failures: recordings that failed
    one after the other. resting: calls before the next. changing: calls in segments with something new. times: what some
    calls took in segments (True) and without.
    """

    program: Program | None = None
    recordings: list[Recording] = field(default_factory=list)
    reason: str = ""
    attempts: int = 0
    calls: int = 0
    eager_calls: int = 0
    settled: bool = False
    retry: bool = True
    failures: int = 0
    resting: int = 0
    segmented: bool | None = None
    changing: int = 0
    times: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})

    @property
    def wants_recording(self) -> bool:
        return self.retry and not self.settled and self.calls > self.resting

    def rest(self) -> None:
        """Where recordings fail again and again, as with a counter among the attributes, try less and less often."""
        self.failures += 1
        if self.failures >= _PATIENCE:
            self.resting = self.calls + 2**self.failures

    @property
    def tries_segments(self) -> bool:
        """Whether the next call in Python runs in segments: until it is known which is quicker, every other one does."""
        if self.segmented is not None:
            return self.segmented
        return len(self.times[True]) <= len(self.times[False])

    def weigh(self, call: Segmented | None, seconds: float) -> None:
        """Compare a call in segments, or one without (None), with those before."""
        if call is None or not call.changing:
            self.times[call is not None].append(seconds)
        else:
            self.changing += 1
        if call is not None and (call.crowded or self.changing >= _CHANGING):
            self.segmented = False
        elif self.segmented is None and min(len(times) for times in self.times.values()) >= _TRIALS:
            self.segmented = min(self.times[True]) < min(self.times[False])

    def invalidate(self) -> None:
        """A block or parameter changed: an eager case may be worth another recording."""
        self.retry = True


class Hybrid:
    """The programs of one block or function."""

    def __init__(self, owner: Any, options: dict[str, Any] | None = None, entry_holder: Any = None) -> None:
        """owner: a block (with ``_run``), or a plain function. options: backend, threads.

        entry_holder: whose ``_entry`` is set to the native entry; by default the owner's.
        """
        options = options or {}
        self.owner = owner
        self._entry_holder = owner if entry_holder is None else entry_holder
        self.options = options
        self.cases: OrderedDict[Signature, Case] = OrderedDict()
        self._code: list[Code] = []
        self._others = Case()  # calls with arguments that have no signature
        self._segments = Segments(owner, self._backend)
        self._recording = threading.Lock()
        self._finding = threading.Lock()
        backends.check(options.get("backend", "auto"), options.get("threads"))

    # -- a call that the entry did not take ------------------------------------------------------------------

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        current = interpreter.current()
        if isinstance(current, Segmented) and not kwargs:
            current.settle()  # the entry refused arrays that are pending
            entry = vars(self._entry_holder)["_entry"]
            result = NotImplemented if entry is None else entry(*args)
            if result is not NotImplemented:
                return result
        plain = _PlainArrays()
        args, kwargs = plain.wrapped(args), plain.wrapped(kwargs)
        if current.recording:
            return plain.unwrapped(self._eager(args, kwargs))
        return plain.unwrapped(self._call(args, kwargs, plain))

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], plain: _PlainArrays) -> Any:
        arrays: list[ndarray] = []
        try:
            structure = flatten((args, kwargs), arrays)
        except Unstructured:
            plain.lend()
            self._compile_children()
            return self._segmented(self._others, args, kwargs)  # an argument of a type that has no signature
        first = {id(a): n for n, a in reversed(list(enumerate(arrays)))}  # an array may be passed twice
        types = tuple((a.shape, a.dtype.char, first[id(a)]) for a in arrays)
        signature = (structure, types, modes.is_training())
        case = self._case(signature)
        case.calls += 1
        program = case.program
        if program is not None and program.refresh():
            self._prefer(program, structure, args)
            result = program.run(arrays)
            if result is not UNKNOWN:
                return result
        elif program is not None:
            case.program, case.recordings = None, []
            self._forget_entry()
        plain.lend()
        if not case.wants_recording or not self._recording.acquire(blocking=False):
            case.eager_calls += 1
            self._prefer_python(case, structure, types, args)
            return self._segmented(case, args, kwargs)
        try:
            return self._recorded(case, structure, arrays, args, kwargs)
        finally:
            self._recording.release()

    def _case(self, signature: Signature) -> Case:
        with self._finding:
            case = self.cases.setdefault(signature, Case())
            self.cases.move_to_end(signature)
            if len(self.cases) > _SIGNATURES:
                self.cases.popitem(last=False)
                self._forget_entry()
            return case

    def _eager(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return run_of(self.owner)(args, kwargs)

    def _segmented(self, case: Case, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call in Python from beginning to end, its operators in compiled segments where that is quicker."""
        if case.segmented is False or isinstance(interpreter.current(), Segmented):
            return self._eager(args, kwargs)
        segmented = Segmented(self._segments.tree) if case.tries_segments else None
        started = time.perf_counter()
        try:
            if segmented is None:
                return self._eager(args, kwargs)
            try:
                with interpreter.interpreting(segmented):
                    return self._eager(args, kwargs)
            finally:
                segmented.finish()
        finally:
            if case.segmented is None:
                case.weigh(segmented, time.perf_counter() - started)

    def _compile_children(self) -> None:
        """Where a block runs in Python, each block in it has programs of its own."""
        for child in getattr(self.owner, "_children", {}).values():
            if child._hybrid is None:
                child._compile_by(self.options)

    def _prefer(self, program: Program, structure: Structure, args: tuple[Any, ...]) -> None:
        """Let the next call try this program first."""
        if program.call is not None and _is_plain(structure, args) and not modes.is_training():
            vars(self._entry_holder)["_entry"] = program.call

    def _prefer_python(
        self, case: Case, structure: Structure, types: tuple[Any, ...], args: tuple[Any, ...]
    ) -> None:
        """Let the next call with arrays of these types run in Python without a search for its case."""
        if not _is_plain(structure, args) or modes.is_training():
            return

        def call(*arguments: Any) -> Any:
            if case.wants_recording or interpreter.current().recording or modes.is_training():
                return NotImplemented
            for given, (shape, char, _) in zip_longest(arguments, types, fillvalue=_NOTHING):
                if type(given) is not ndarray or given.shape != shape or given.dtype.char != char:
                    return NotImplemented
            if len({id(a) for a in arguments}) < len(arguments):
                return NotImplemented
            case.calls += 1
            case.eager_calls += 1
            return self._segmented(case, arguments, {})

        vars(self._entry_holder)["_entry"] = call

    def _forget_entry(self) -> None:
        """A program that goes is not told of changes any more, so its entry must go with it."""
        vars(self._entry_holder)["_entry"] = None

    # -- recording -------------------------------------------------------------------------------------------

    def _recorded(
        self,
        case: Case,
        structure: Structure,
        arrays: list[ndarray],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        case.attempts += 1
        roots = [(self.owner, _name_of(self.owner))]
        recording = record(lambda: self._eager(args, kwargs), arrays, roots, self._code)
        self._code = recording.code
        if not recording.problem and _changed(structure, arrays, (args, kwargs)):
            recording.problem = "forward changes a list or dict among its arguments"
        given = {id(c) for c in containers((args, kwargs))}
        if not recording.problem and any(id(c) in given for c in containers(recording.result)):
            recording.problem = "forward returns a list or dict that it was given"
        case.reason = recording.problem
        if not recording.problem:
            self._compile(case, recording, structure, args)
        elif not recording.again and case.program is None:
            case.retry = False  # until something changes
            case.rest()
            self._compile_children()
            for value in recording.watched:
                value._watchers.add(case)
        if case.attempts >= _ATTEMPTS or len(case.recordings) >= _PATHS:
            case.settled = True
            case.reason = (
                case.reason or f"its state or its path changes too often ({case.attempts} recordings)"
            )
        return recording.result

    def _compile(self, case: Case, recording: Recording, structure: Structure, args: tuple[Any, ...]) -> None:
        """A program for the known paths and the new one; if they do not fit together, for the known ones."""
        try:
            self._forget_entry()
            case.program = Program([*case.recordings, recording], self._backend())
            case.recordings.append(recording)
            case.failures = 0
            self._prefer(case.program, structure, args)
        except TraceError as error:
            case.reason = str(error)
            case.retry = case.program is not None

    def _backend(self) -> backends.Backend:
        return backends.backend(self.options.get("backend", "auto"), self.options.get("threads"))

    # -- looking in ------------------------------------------------------------------------------------------

    def explain(self) -> str:
        """Per signature: what was compiled, what was fused, what runs eagerly and why, how often, and what it cost.

        Where the block runs in Python, the same for each block in it.
        """
        text = explanation(_name_of(self.owner), self.cases, self._segments)
        if all(case.program is not None for case in self.cases.values()):
            return text
        inside = [(name, child._hybrid) for name, child in getattr(self.owner, "_children", {}).items()]
        parts = [f"{name}: {hybrid.explain()}" for name, hybrid in inside if hybrid is not None]
        return "\n".join([text, *(indent(part, "  ") for part in parts)])


def run_of(owner: Any) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
    """The eager meaning of a call of ``owner``."""
    run = getattr(owner, "_run", None)
    return run if run is not None else lambda args, kwargs: owner(*args, **kwargs)


_NOTHING = (None, "", -1)


def _is_plain(structure: Structure, args: tuple[Any, ...]) -> bool:
    """Whether all arguments are arrays, given by their places and each once."""
    apart = len({id(a) for a in args}) == len(args)
    return apart and all(type(a) is ndarray for a in args) and not structure.parts[1].parts  # type: ignore[union-attr]


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
    plain = _PlainArrays()
    args, kwargs = plain.wrapped(args), plain.wrapped(kwargs)
    plain.lend()
    return plain.unwrapped(block._run(args, kwargs))


class _PlainArrays:
    """NumPy in, NumPy out: who passes plain arrays (and none of ours) gets plain arrays."""

    def __init__(self) -> None:
        self.made: list[ndarray] = []
        self.ours = False
        self.lent = False

    @property
    def numpy(self) -> bool:
        return bool(self.made)

    def lend(self) -> None:
        """Python will see the arrays, and NumPy's own may write their memory, and that of results."""
        self.lent = True
        for array in self.made:
            stamps.lend(array._data)

    def wrapped(self, value: Any) -> Any:
        """``value`` with NumPy's arrays as ours, on the same memory."""
        kind = type(value)
        if kind is ndarray:
            self.ours = True
            return value
        if isinstance(value, numpy.ndarray):
            self.made.append(ndarray(_native(value)))
            return self.made[-1]
        if kind is tuple or kind is list:
            items = [self.wrapped(v) for v in value]
            return value if all(a is b for a, b in zip(items, value, strict=True)) else kind(items)
        if kind is dict:
            wrapped = {k: self.wrapped(v) for k, v in value.items()}
            return value if all(wrapped[k] is v for k, v in value.items()) else wrapped
        return value

    def unwrapped(self, value: Any) -> Any:
        if not self.numpy or self.ours:
            return value
        kind = type(value)
        if kind is ndarray:
            data = value._leave("NumPy arrays in, NumPy arrays out")
            if self.lent:
                stamps.lend(data)
            return data
        if kind is tuple or kind is list:
            return kind(self.unwrapped(v) for v in value)
        return {k: self.unwrapped(v) for k, v in value.items()} if kind is dict else value


def _native(value: numpy.ndarray) -> numpy.ndarray:
    """A plain array in the machine's byte order."""
    if isinstance(value, numpy.ma.MaskedArray):
        raise TypeError("a masked array has values that count and values that do not: pass x.filled(...)")
    if not value.dtype.isnative:
        return value.astype(value.dtype.newbyteorder("="))
    return value if type(value) is numpy.ndarray else value.view(numpy.ndarray)
