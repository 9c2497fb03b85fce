"""What a recorded call did besides array operators: which user functions ran, and whether anything they did has effects.

NOTE [the certificate]
A graph replaces Python, so it may only be used where Python did nothing else. ``sys.setprofile`` shows every
Python function that starts and every C function that user code calls; C functions not known to be pure
(``random.random``, ``time.time``, ``print``, ``next``) stop the certificate, as do stores to globals,
enclosing variables and foreign attributes: which lines have some is read from the byte code, whether the call comes to
them is seen by ``sys.settrace`` (where a debugger has its place, every such line counts). Changes to containers are
found by comparing the reachable state before and after (``tracer.state``).
"""

from __future__ import annotations

import abc
import builtins
import contextlib
import dis
import enum
import functools
import math
import operator
import sys
import types
import typing
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy

import blockfuse.array
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import AGNOSTIC, TELLING
from blockfuse.ir.collector import resume_collector, stop_collector
from blockfuse.ir.graph import Source
from blockfuse.tracer.sizes import handles_exceptions

# Our folders, as they stand and as the package ``blockfuse`` links them.
_ROOTS = {str(Path(__file__).resolve().parent.parent), str(Path(blockfuse.array.__file__).parent.parent)}
_FOLDERS = ("ir", "array", "tracer", "codegen", "runtime", "nn", "gluon")
_OURS = tuple(f"{root}/{folder}/" for root in _ROOTS for folder in _FOLDERS)
_INTERIOR = tuple(f"{root}/{folder}/" for root in _ROOTS for folder in ("array", "tracer", "runtime"))
_TRUSTED = (
    *_OURS,
    *(str(Path(numpy.__file__).parent) + "/", "<frozen ", "<__array_function__"),
    *(str(module.__file__) for module in (abc, contextlib, enum, typing)),
)

_NUMPY_FILES = "_npyio_impl.py"  # reads and writes files

_PURE_BUILTINS = [
    "abs",
    "all",
    "any",
    "ascii",
    "bin",
    "callable",
    "chr",
    "divmod",
    "format",
    "getattr",
    "hasattr",
    "hex",
    "isinstance",
    "issubclass",
    "iter",
    "len",
    "max",
    "min",
    "oct",
    "ord",
    "pow",
    "repr",
    "round",
    "sorted",
    "sum",
]
_PURE_TYPES: tuple[type, ...] = (str, bytes, int, float, complex, bool, tuple, frozenset, range, slice)
_WATCHED_TYPES: tuple[type, ...] = (list, dict, set)  # their changes are found by comparing the state
_PURE: frozenset[Any] = frozenset(
    [getattr(builtins, n) for n in _PURE_BUILTINS]
    + [f for f in vars(math).values() if callable(f)]
    + [numpy.array, numpy.asarray, numpy.zeros, numpy.arange, numpy.promote_types, numpy.result_type]
    + [functools.reduce, tuple.__new__, object.__new__]
    + [
        f
        for n, f in vars(operator).items()
        if callable(f) and n not in ("setitem", "delitem") and not n.startswith("i")
    ]
)
_STORES = {
    "STORE_GLOBAL": "assigns the global",
    "DELETE_GLOBAL": "deletes the global",
    "STORE_ATTR": "assigns the attribute",
    "DELETE_ATTR": "deletes the attribute",
    "IMPORT_NAME": "imports",
}


_QUIET: set[str] = (
    set()
)  # files of trusted code in which nothing need be seen: asked at every event of a recording


@lru_cache(maxsize=4096)
def _is_trusted_file(file: str) -> bool:
    trusted = file.startswith(_TRUSTED)
    if trusted and not file.endswith(_NUMPY_FILES) and all(file != code.co_filename for code in TELLING):
        _QUIET.add(file)
    return trusted


def is_trusted(frame: types.FrameType) -> bool:
    """Whether the code of a frame is ours or NumPy's, whose effects are known."""
    file = frame.f_code.co_filename
    if file == "<string>":  # written by ``dataclass`` or ``namedtuple`` for a module
        return str(frame.f_globals.get("__name__", "")).partition(".")[0] in ("blockfuse", "numpy")
    return _is_trusted_file(file)


def is_interior(frame: types.FrameType) -> bool:
    """Whether the code of a frame is that of arrays, of the tracer itself or of dispatch, which only hand over."""
    return frame.f_code.co_filename.startswith(_INTERIOR)


def is_ours(frame: types.FrameType) -> bool:
    """Whether the code of a frame is part of this package."""
    return frame.f_code.co_filename.startswith(_OURS)


def user_source() -> Source | None:
    """The innermost line of user code on the stack."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and is_trusted(frame):
        frame = frame.f_back
    if frame is None:
        return None
    return Source(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


class Witness:
    """Watches one call. ``problem`` is the first thing that a graph could not repeat, or empty."""

    def __init__(self, follow: Callable[[types.FrameType], Any]) -> None:
        """follow: gives the function that sees the steps of a frame which starts, or None."""
        self.problem = ""
        self._follow_steps = follow
        self.functions: dict[types.CodeType, dict[str, Any]] = {}  # user code that ran -> its globals
        self._follows_lines = False
        self.measured: list[tuple[ndarray, Source | None]] = []  # see NOTE [sizes that Python saw]
        self.catches = ""

    def watching(self, call: Callable[[], Any]) -> Any:
        """The result of ``call``, seen by this witness."""
        draws = _numpy_stream()
        stop_collector()  # finalizers of other objects would be taken for the call's doing
        self._follows_lines = sys.gettrace() is None
        if self._follows_lines:
            # CPython 3.12 shows instructions where one frame asked before.
            sys._getframe().f_trace_opcodes = True
            sys.settrace(self._follow)
        sys.setprofile(self._see)
        try:
            return call()
        finally:
            sys.setprofile(None)
            if self._follows_lines:
                sys.settrace(None)
            resume_collector()
            if not self.problem and draws != _numpy_stream():
                self.problem = (
                    "forward draws from numpy.random, whose stream is Python state: use blockfuse.np.random"
                )

    def _see(self, frame: types.FrameType, event: str, function: Any) -> None:
        if frame.f_code.co_filename in _QUIET:
            return
        if event == "call":
            if not is_trusted(frame):
                self._see_function(frame)
            elif frame.f_code in TELLING:
                self._see_measure(frame)
            elif frame.f_code.co_filename.endswith(_NUMPY_FILES):
                self._object("reads or writes a file", frame.f_code, frame.f_lineno)
        elif event == "c_call" and not is_trusted(frame) and not _is_pure(function):
            self._object(f"calls {_name_of(function)}", frame.f_code, frame.f_lineno)

    def _see_function(self, frame: types.FrameType) -> None:
        code = frame.f_code
        if code not in self.functions:
            self.functions[code] = frame.f_globals
            effects = _effects_of(code)
            for line, what in effects.items():
                entered = line == code.co_firstlineno  # Python need not report this line again
                if entered or not self._follows_lines:
                    self._object(what, code, line)
            if not self.catches and handles_exceptions(code):
                self.catches = f"{code.co_name} handles exceptions"

    def _follow(self, frame: types.FrameType, event: str, _: Any) -> Any:  # noqa: ARG002 - Python passes it
        """See the lines of functions that would have effects, whether they come to it; and let others see steps."""
        if is_trusted(frame):
            return None
        line = self._see_line if _effects_of(frame.f_code) else None
        step = self._follow_steps(frame)
        if step is None:
            return line

        def both(frame: types.FrameType, event: str, argument: Any) -> Any:
            if line is not None:
                line(frame, event, argument)
            step(frame, event)
            return both

        # From CPython 3.13 on, only a frame that has its function already shows its instructions.
        frame.f_trace, frame.f_trace_lines, frame.f_trace_opcodes = both, line is not None, True
        return both

    def _see_line(self, frame: types.FrameType, event: str, _: Any) -> Any:
        what = _effects_of(frame.f_code).get(frame.f_lineno) if event == "line" else None
        if what:
            self._object(what, frame.f_code, frame.f_lineno)
        return self._see_line

    def _see_measure(self, frame: types.FrameType) -> None:
        reader = frame.f_back
        if reader is None or not (is_trusted(reader) and reader.f_code in AGNOSTIC):
            self.measured.append((frame.f_locals["self"], user_source()))

    def _object(self, what: str, code: types.CodeType, line: int) -> None:
        if not self.problem:
            self.problem = f"{code.co_name} {what} at {Source(code.co_filename, line, code.co_name)}"


class unwatched:  # noqa: N801 - read as a word after ``with``; a generator would cost ten events at each operator
    """Let the tracer use the standard library without a witness taking it for user code."""

    __slots__ = ("_follower", "_witness")

    def __enter__(self) -> None:
        self._witness, self._follower = sys.getprofile(), sys.gettrace()
        sys.setprofile(None)
        sys.settrace(None)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._follower)
        sys.setprofile(self._witness)


def _numpy_stream() -> Any:
    """The state of NumPy's global generator; its functions are invisible to a profiler."""
    kind, key, *rest = numpy.random.get_state()  # noqa: NPY002 - the old stream is the one to watch
    return kind, numpy.asarray(key).tobytes(), rest


def _name_of(function: Any) -> str:
    owner = getattr(function, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType):
        return f"{type(owner).__name__}.{function.__name__}"
    module = getattr(function, "__module__", None)
    return f"{module}.{function.__name__}" if module and module != "builtins" else str(function.__name__)


def _is_pure(function: Any) -> bool:
    owner = getattr(function, "__self__", None)
    if isinstance(owner, _PURE_TYPES + _WATCHED_TYPES):
        return True
    if isinstance(owner, numpy.generic | numpy.dtype):
        return True
    try:
        return function in _PURE or getattr(function, "__objclass__", None) in _PURE_TYPES + _WATCHED_TYPES
    except TypeError:
        return False


@lru_cache(maxsize=4096)
def _effects_of(code: types.CodeType) -> dict[int, str]:
    """Lines with a store in the byte code that changes something outside of the function -> what it does."""
    effects: dict[int, str] = {}
    for instruction in dis.get_instructions(code):
        line = (instruction.positions and instruction.positions.lineno) or code.co_firstlineno
        name = instruction.opname
        if name in _STORES and not (name == "STORE_ATTR" and code.co_name == "__init__"):
            effects.setdefault(line, f"{_STORES[name]} {instruction.argval}")
        if name in ("STORE_DEREF", "DELETE_DEREF") and instruction.argval in code.co_freevars:
            effects.setdefault(line, f"assigns {instruction.argval} of the enclosing function")
    return effects
