"""What the next call of a block or function tries first, before anybody looks for its case."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

from blockfuse.array import modes
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.runtime.audit.audit import Audit
from blockfuse.runtime.calls.call import Call
from blockfuse.runtime.calls.case import Case
from blockfuse.runtime.calls.owner import Owner, is_asking_entry
from blockfuse.runtime.programs.arguments import Types
from blockfuse.runtime.programs.backend import Backend
from blockfuse.runtime.programs.program import Program

RunInPython = Callable[[Case, tuple[Any, ...], dict[str, Any]], Any]


class EntrySlot:
    """The entry of an owner, and its fast calls: both of the program that ran last.

    A program that goes is not told of changes any more, so it must be forgotten here, too.
    """

    def __init__(self, owner: Owner, backend: Callable[[], Backend], audit: Audit | None) -> None:
        self._owner, self._backend, self._audit = owner, backend, audit
        self.fast_calls: list[Callable[[Any, Any], Any]] = []  # of args and kwargs; they answer as entries do

    def ask(self, args: tuple[Any, ...]) -> Any:
        entry = self._owner.entry
        return NotImplemented if entry is None else entry(*args)

    def forget(self) -> None:
        self.fast_calls = []
        self._owner.exchange_entry(None)

    def prefer(self, case: Case, program: Program, call: Call) -> None:
        """Let the next call try this program first, unless it is for arrays that are given twice."""
        if call.training or not call.arguments.has_distinct_arrays:
            return
        self.fast_calls = program.calls if self._audit is None else []
        if program.call is None:
            return
        entry = program.call if self._audit is None else self._audit.entry(case, program)
        before = self._owner.exchange_entry(entry)
        if before is None and program.entry is not None and is_asking_entry(self._owner.called):
            self._backend().quicken(self._owner.called)

    def prefer_python(self, case: Case, call: Call, run: RunInPython) -> None:
        """Let the next call with arrays of these types run in Python without a search for its case."""
        if not call.training and call.arguments.are_positional_arrays:
            self._owner.exchange_entry(_python_entry(case, call.arguments.types, run))


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
        return run(case, arguments, {})

    return call


_NOTHING = (None, "", -1)
