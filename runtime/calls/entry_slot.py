"""What the next call of a block or function tries first, before anybody looks for its case: an entry for arrays by position,
and one for the last form of call that was another one.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import numpy

from blockfuse.array import modes
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.compiler_thread import is_interrupted
from blockfuse.ir import interpreter
from blockfuse.ir.argument_parts import OUT
from blockfuse.runtime.audit.audit import Audit
from blockfuse.runtime.calls.call import Call
from blockfuse.runtime.calls.case import Case
from blockfuse.runtime.calls.owner import Owner, is_asking_entry
from blockfuse.runtime.programs.arguments import Types
from blockfuse.runtime.programs.backend import Backend
from blockfuse.runtime.programs.program import Program
from blockfuse.runtime.tracebacks import fold

RunInPython = Callable[[Case, tuple[Any, ...], dict[str, Any]], Any]


class EntrySlot:
    """The entries of an owner, each of the program of its kind that ran last.

    A program that goes is not told of changes any more, so it must be forgotten here, too.
    """

    def __init__(self, owner: Owner, backend: Callable[[], Backend], audit: Audit | None) -> None:
        self._owner, self._backend, self._audit = owner, backend, audit
        self._quickened = False
        # of the entry for arrays by position, and of the one for another form: weak, as they leave with their cases
        self._program_of_arrays: Callable[[], Program | None] = _no_program
        self._program_of_other_form: Callable[[], Program | None] = _no_program

    def ask(self, args: tuple[Any, ...]) -> Any:
        entry = self._owner.entry
        return NotImplemented if entry is None else entry(*args)

    def ask_fast_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        fast_call = self._owner.fast_call
        return NotImplemented if fast_call is None else fast_call(args, kwargs)

    def forget(self) -> None:
        self._program_of_arrays = self._program_of_other_form = _no_program
        self._owner.ask_first(None)
        self._owner.ask_in_other_forms(None)

    def prefer(self, case: Case, program: Program, call: Call) -> None:
        """Let the next call try this program first, unless it is for arrays that are given twice."""
        if call.training or not call.arguments.has_distinct_arrays:
            return
        if program.fast_call is not None and self._audit is None:
            self._owner.ask_in_other_forms(program.fast_call)
            self._program_of_other_form = weakref.ref(program)
        if program.call is not None:
            self._program_of_arrays = weakref.ref(program)
            entry = program.call if self._audit is None else self._audit.entry(case, program)
            self._owner.ask_first(entry)
        self._quicken(program)

    def prefer_out(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Let the next call that brings memory for its results reach the entry that gave those of this call, if one did."""
        others = len(kwargs) > 1 or any(type(a) is not ndarray and type(a) is not numpy.ndarray for a in args)
        program = self._program_of_other_form() if others else self._program_of_arrays()
        if program is None or self._audit is not None or is_interrupted():
            return
        call = program.call_with_out(tuple(kwargs).index(OUT))
        if call is not None:
            self._owner.ask_in_other_forms(call)

    def _quicken(self, program: Program) -> None:
        """See NOTE [calls of instances]."""
        if not self._quickened and program.entry is not None and is_asking_entry(self._owner.called):
            self._backend().quicken(self._owner.called)
            self._quickened = True

    def prefer_python(self, case: Case, call: Call, run: RunInPython) -> None:
        """Let the next call with arrays of these types run in Python without a search for its case."""
        if not call.training and call.arguments.are_positional_arrays:
            self._owner.ask_first(_python_entry(case, call.arguments.types, run))


def _no_program() -> None:
    """There is none."""


def _python_entry(case: Case, types: Types, run: RunInPython) -> Callable[..., Any]:
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
        try:
            return run(case, arguments, {})
        except Exception as error:  # native code may have called this in the place of a block
            fold(error)
            raise

    return call


_NOTHING = (None, "", -1)
