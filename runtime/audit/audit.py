"""``hybridize(audit=p)``: that share of the compiled calls is run again eagerly, and the results are compared.

Which calls are audited is counted, not drawn: of the compiled calls of a block, number n is audited where n * p
reaches the next whole number. The compiled call is the usual one, native entry and guards included, behind a
Python function that counts. What is compared says NOTE [what is compared].
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import flatten
from blockfuse.ir import interpreter
from blockfuse.ir.errors import AuditError, CheckError, UsageError
from blockfuse.ir.signal_handlers import came_from_handler
from blockfuse.runtime.audit.comparison import Outcome, Repetition, stream_state
from blockfuse.runtime.audit.divergence import report
from blockfuse.runtime.audit.standard import standard_of
from blockfuse.runtime.programs.backend import Backend
from blockfuse.runtime.programs.no_result import NoResult
from blockfuse.runtime.programs.program import Program
from blockfuse.runtime.programs.updates import States

_FAST_TYPES = (ndarray, bool, int, float)  # of arguments that a fast call takes
Given = tuple[tuple[Any, ...], dict[str, Any]]


def checked_fraction(fraction: Any) -> float:
    """The option ``audit`` as a fraction of the calls."""
    if type(fraction) not in (int, float) or not 0 <= fraction <= 1:
        raise UsageError(
            f"audit is {fraction!r}; it must be a number from 0 (no call) to 1 (every compiled call)"
        )
    return float(fraction)


class Audit:
    """The audits of one block or function. call: its eager meaning."""

    def __init__(
        self, name: str, fraction: float, call: Callable[..., Any], backend: Callable[[], Backend]
    ) -> None:
        self._name, self._fraction, self._call, self._backend = name, fraction, call, backend
        self._calls = 0
        self._next = self._due_after(0)

    def entry(self, case: Any, program: Program) -> Callable[..., Any]:
        """``program.call`` with audits."""
        call = program.call
        assert call is not None

        def audited(*args: Any) -> Any:
            if self._calls + 1 < self._next:
                result = call(*args)
                self._calls += result is not NotImplemented
                return result
            if interpreter.current().recording or any(type(a) not in _FAST_TYPES for a in args):
                return NotImplemented
            return self.run(case, program, lambda: call(*args), (args, {}))

        return audited

    def run(self, case: Any, program: Program, call: Callable[[], Any], given: Given) -> Any:
        """What ``call`` (of ``program``) gives; raises AuditError, with nothing written, if the eager call gives something
        else.
        """
        due = self._calls + 1 >= self._next
        draws = bool(program.recording.draws)
        if due:
            states = States.now(program.updates, program.attributes)
            stream = stream_state() if draws else None
            repetition = Repetition(self._call, copy.deepcopy(given), stream, states)
        version = program.version
        result = call()
        if type(result) is NoResult or result is NotImplemented:
            return result
        self._calls += 1
        if due:
            case.audited += 1
            self._next = self._due_after(self._calls)
            try:
                self._compare(program, version, repetition.outcome_of(result), repetition)
            except AuditError:
                states.take_back()  # as if the call had not been made
                raise
        return result

    def _due_after(self, calls: int) -> int:
        """The number of the next call to audit."""
        return math.ceil((int(calls * self._fraction + 1e-9) + 1) / self._fraction - 1e-9)

    def _compare(self, program: Program, version: object, found: Outcome, repetition: Repetition) -> None:
        try:
            wanted = repetition.outcome()
        except Exception as error:
            if came_from_handler(error):
                raise
            if not repetition.sometimes_works() and program.is_current(version):
                raise AuditError(
                    f"{self._name}: the compiled call gave a result, the eager call raised"
                ) from error
            return
        arrays: list[ndarray] = []
        values: list[Any] = []
        flatten(repetition.given, arrays, values)
        with repetition.states.rewound():
            arguments = [*arrays, *(program.convert(values) or ())]
        try:
            standard = standard_of(self._name, program, arguments, repetition, wanted)
        except CheckError as error:
            if program.is_current(version):
                raise AuditError(str(error)) from None
            return
        difference = None if standard is None else standard.differs(found)
        if standard is None or difference is None or not program.is_current(version):
            return
        raise AuditError(report(self._name, standard, self._backend(), arguments, difference))
