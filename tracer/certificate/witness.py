"""What a recorded call did besides array operators: which user functions ran, and whether anything they did has effects.

NOTE [the certificate]
A graph replaces Python, so it may only be used where Python did nothing else, and that rests on what is known. Every
function that ran is ours, or known code of a library (NOTE [known code]), or it was watched. Of what was watched,
``sys.setprofile`` shows each C function that it calls itself: those must be known. It names no stranger to hand to
others (NOTE [strangers]) and stores nothing to globals, enclosing variables and attributes of what was there before: which
lines name or store what is read from the byte code, whether the call comes to them is seen by ``sys.settrace`` (where
a debugger has its place, every such line counts). Changes to containers are found by comparing the reachable state
before and after (``tracer/state/``).

NOTE [imports of libraries]
NumPy imports parts of itself when a function first needs them. What such an import does, once in a process, is the
library's own business and no call's: nobody watches until it is over, where the code that imports is known. An import
that user code makes is watched: its module may do anything.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from itertools import chain
from typing import Any
from weakref import ref

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import AGNOSTIC, TELLING
from blockfuse.ir.graph import Source
from blockfuse.ir.signal_handlers import came_from_handler
from blockfuse.tracer.certificate.ownership import QUIET, is_ours, is_trusted, user_frame, user_source
from blockfuse.tracer.certificate.sizes import handles_exceptions
from blockfuse.tracer.code.attributes import Loads, Way, assigned_names, loads_of
from blockfuse.tracer.code.effects import Effect, Effects, effects_of
from blockfuse.tracer.code.known_functions import is_known, name_of
from blockfuse.tracer.code.known_libraries import Code, about, is_library
from blockfuse.tracer.code.naming import computes_names, named_in
from blockfuse.tracer.code.settings import Question, idle
from blockfuse.tracer.state.assignments import Assignments
from blockfuse.tracer.state.facts import is_watched
from blockfuse.tracer.state.picture import State
from blockfuse.tracer.state.stored import MISSING, attribute_of, data_descriptor

# what finds and runs a module, and what looks for modules among the names that are imported
_IMPORTING = frozenset(
    getattr(importlib._bootstrap, name).__code__ for name in ("_find_and_load", "_handle_fromlist")
)
# methods of arrays that give a number of Python
_GIVING = frozenset((ndarray.__float__.__code__, ndarray.item.__code__))


class Witness:
    """Watches one call. ``problem`` is the first thing that a graph could not repeat, or empty."""

    def __init__(
        self,
        follow: Callable[[types.FrameType], Any],
        give: Callable[[types.FrameType | None, Any], None],
        state: State,
        assignments: Assignments,
    ) -> None:
        """follow: gives the function that sees the steps of a frame which starts, or None. give: is told to which frame an
        array has given which number. state: before the call.
        assignments: is told what may read attributes, and says which assignments it is told of.
        """
        self.problem = ""
        self._follow_steps, self._give = follow, give
        self._state, self._assignments = state, assignments
        left_out = (name for _, name in state.left_out)
        self._assignable = frozenset[str](left_out).union(*map(assigned_names, state.codes))
        self._loads: dict[int, Loads] = {}  # id of code that ran -> attributes that may be assigned
        self._effects: dict[int, Effects] = {}  # id of code that ran -> its effects
        self.questions: dict[str, tuple[Question, Any]] = {}  # what known code asked, and the first answer
        self.functions: dict[types.CodeType, dict[str, Any]] = {}  # user code that ran -> its globals
        self._follows_lines = False
        # see NOTE [sizes that Python saw]; arrays of forgotten rounds go
        self.measured: list[tuple[ref[ndarray], Source | None]] = []
        self.catches = ""
        self._import: types.FrameType | None = None  # that goes on: NOTE [imports of libraries]

    def watching(self, call: Callable[[], Any]) -> Any:
        """The result of ``call``, seen by this witness."""
        draws = _numpy_stream()
        self._follows_lines = sys.gettrace() is None
        see, follow = self._see, self._follow
        if self._follows_lines:
            # CPython 3.12 shows instructions where one frame asked before.
            sys._getframe().f_trace_opcodes = True
            sys.settrace(follow)
        sys.setprofile(see)
        try:
            return call()
        finally:
            if sys.getprofile() is see:  # what the call itself has put there stays
                sys.setprofile(None)
            if sys.gettrace() is follow:
                sys.settrace(None)
            if not self.problem and draws != _numpy_stream():
                self.problem = (
                    "forward draws from numpy.random, whose stream is Python state: use blockfuse.np.random"
                )

    def _see(self, frame: types.FrameType, event: str, function: Any) -> None:
        if event == "return" and frame.f_code in _GIVING:
            self._give(frame.f_back, function)
        if frame.f_code.co_filename in QUIET:
            return
        if self._import is not None:
            if frame is self._import and event == "return":
                self._import = None
        elif event == "call":
            if frame.f_code in _IMPORTING and frame.f_back is not None and is_trusted(frame.f_back):
                self._import = frame
                return
            if not is_trusted(frame):
                self._see_function(frame)
            elif frame.f_code in TELLING:
                self._see_measure(frame)
            self._see_library(frame, about(frame.f_code))
            if self._assignable and not is_ours(frame) and is_library(frame.f_code):
                self._see_given(frame)
        elif event == "c_call" and not is_trusted(frame) and not is_known(function):
            conditions = idle(function, frame)
            if not conditions or not all(ask() for ask, _ in conditions):
                self._object(f"calls {name_of(function)}", frame, frame.f_lineno)
            self._ask(conditions)

    def _see_library(self, frame: types.FrameType, found: Code) -> None:
        if found.effect:
            self._object(found.effect, frame, frame.f_lineno)
        if found.asks is not None:
            try:
                self._ask(found.asks(frame))
            except Exception as error:  # the function itself is about to say so
                if came_from_handler(error):
                    raise
                self._object("cannot be asked again", frame, frame.f_lineno)

    def _see_given(self, frame: types.FrameType) -> None:
        """What a function of a library is given it may look at."""
        for value in frame.f_locals.values():
            if id(value) in self._state.known and is_watched(value):
                self._assignments.reads_all_of(value)

    def _ask(self, questions: list[Question]) -> None:
        for ask, text in questions:
            if text not in self.questions:
                self.questions[text] = (ask, text), ask()

    def _see_function(self, frame: types.FrameType) -> None:
        code = frame.f_code
        is_new = code not in self.functions
        self.functions.setdefault(code, frame.f_globals)
        if self.problem:
            return
        if self._follows_lines:
            self._come_to(code.co_firstlineno, frame)  # Python need not report this line again
        if is_new:
            self._see_code(frame)

    def _see_code(self, frame: types.FrameType) -> None:
        """What holds for every call of a function."""
        code = frame.f_code
        if not self._follows_lines:
            for line, effects in self._effects_of(code).items():
                self._object(effects[0].what, frame, line)
            for load in chain.from_iterable(self._loads_of(code).values()):
                self._assignments.reads(MISSING, load.name)
        if self._assignable and computes_names(code):
            self._assignments.reads_all()
        if not self.catches and handles_exceptions(code):
            self.catches = f"{code.co_name} handles exceptions"

    def _effects_of(self, code: types.CodeType) -> Effects:
        """Lines of user code that store something outside of the function or name a stranger -> what they do."""
        found = self._effects.get(id(code))
        if found is None:
            found = effects_of(code)
            for one in named_in(code) if self._state.strange else ():
                strange = self._state.strange.get((one.scope, one.name))
                if strange is not None and not one.asked and not (one.called and strange.shown):
                    effect = Effect(f"names {strange.what}, which is not known to be pure,")
                    found = {**found, one.line: (effect, *found.get(one.line, ()))}
            self._effects[id(code)] = found
        return found

    def _loads_of(self, code: types.CodeType) -> Loads:
        """Lines of user code that load attributes which somebody may assign."""
        found = self._loads.get(id(code))
        if found is None:
            lines = loads_of(code).items() if self._assignable else ()
            chosen = {line: tuple(x for x in loads if x.name in self._assignable) for line, loads in lines}
            found = self._loads[id(code)] = {line: loads for line, loads in chosen.items() if loads}
        return found

    def _come_to(self, line: int, frame: types.FrameType) -> None:
        for load in self._loads_of(frame.f_code).get(line, ()):
            self._assignments.reads(self._at(load.way, frame), load.name)
        for effect in self._effects_of(frame.f_code).get(line, ()):
            if not self._is_harmless(effect, frame):
                self._object(effect.what, frame, line)

    def _is_harmless(self, effect: Effect, frame: types.FrameType) -> bool:
        if len(effect.way) == 1 and self._state.is_new(frame.f_locals.get(effect.way[0])):
            return True
        holder = self._at(effect.way, frame)
        return holder is not MISSING and self._assignments.foresees(holder, effect.name)

    def _at(self, way: Way, frame: types.FrameType) -> Any:
        """The object at the end of a way, where all before it stay what they are; else ``MISSING``."""
        if not way or way[0] not in frame.f_locals:
            return MISSING
        found = frame.f_locals[way[0]]
        for name in way[1:]:
            certain = id(found) in self._state.known and data_descriptor(type(found), name) is None
            found = attribute_of(found, name) if certain else MISSING
        return found

    def _follow(self, frame: types.FrameType, event: str, _: Any) -> Any:  # noqa: ARG002 - Python passes it
        """See the lines of functions that would have effects, whether they come to it; and let others see steps."""
        if self.problem or frame.f_code.co_filename in QUIET or self._import is not None or is_trusted(frame):
            return None
        seen = self._effects_of(frame.f_code) or self._loads_of(frame.f_code)
        line = self._see_line if seen else None
        step = self._follow_steps(frame)
        if step is None and line is None:
            return None
        before = frame.f_trace, frame.f_trace_lines, frame.f_trace_opcodes

        def both(frame: types.FrameType, event: str, argument: Any) -> Any:
            if line is not None:
                line(frame, event, argument)
            if step is not None:
                step(frame, event)
            if event == "return":  # a generator goes on later, when somebody else may look on
                frame.f_trace, frame.f_trace_lines, frame.f_trace_opcodes = before
                return None
            return both

        # From CPython 3.13 on, only a frame that has its function already shows its instructions.
        frame.f_trace, frame.f_trace_lines, frame.f_trace_opcodes = both, line is not None, step is not None
        return both

    def _see_line(self, frame: types.FrameType, event: str, _: Any) -> None:
        if event == "line":
            self._come_to(frame.f_lineno, frame)

    def _see_measure(self, frame: types.FrameType) -> None:
        reader = frame.f_back
        if reader is None or not (is_trusted(reader) and reader.f_code in AGNOSTIC):
            self.measured.append((ref(frame.f_locals["self"]), user_source()))

    def _object(self, what: str, frame: types.FrameType, line: int) -> None:
        if self.problem:
            return
        code, found = frame.f_code, user_frame(frame)
        if found is not frame:
            what, line = f"calls {code.co_qualname}, which {what.removesuffix(',')},", found.f_lineno
        name = found.f_code.co_name
        self.problem = f"{name} {what} at {Source(found.f_code.co_filename, line, name)}"


class unwatched:  # noqa: N801 - read as a word after ``with``; a generator would cost ten events at each operator
    """Let the tracer use the standard library without a witness taking it for user code.

    Whoever else traces (a debugger, coverage) goes on: what C code has set, Python cannot set again.
    """

    __slots__ = ("_follower", "_seer")

    def __enter__(self) -> None:
        # The profile function first, and no calls before it is off: each of them would be shown to it.
        seer = sys.getprofile()
        self._seer = seer if type(seer) is types.MethodType and type(seer.__self__) is Witness else None
        if self._seer is not None:
            sys.setprofile(None)
        follower = sys.gettrace()
        found = type(follower) is types.MethodType and type(follower.__self__) is Witness
        self._follower = follower if found else None
        if found:
            sys.settrace(None)

    def __exit__(self, *_: object) -> None:
        if self._follower is not None:
            sys.settrace(self._follower)
        if self._seer is not None:
            sys.setprofile(self._seer)


def _numpy_stream() -> Any:
    """The state of NumPy's global generator; its functions are invisible to a profiler."""
    kind, key, *rest = numpy.random.get_state()  # noqa: NPY002 - the old stream is the one to watch
    return kind, numpy.asarray(key).tobytes(), rest
