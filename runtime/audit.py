"""``hybridize(audit=p)``: that share of the compiled calls is run again eagerly, and the results are compared.

NOTE [what an audit compares]
The eager call works on copies of the arguments, with the random stream set back; afterwards the stream is where the
compiled call left it. It may not change anything else, as only calls without effects have programs. Structure, shapes,
dtypes, whole numbers and truths must be equal, and the stream must come to the same place. Floats may differ by
``tolerance``; beyond it they may where rounding explains it (``runtime.rounding``).

Which calls are audited is counted, not drawn: of the compiled calls of a block, number n is audited where n * p
reaches the next whole number. The compiled call is the usual one, native entry and guards included, behind a
Python function that counts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.array import modes
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.errors import AuditError, UsageError
from blockfuse.ir.flow import Flow
from blockfuse.ir.lowering import Composite, Contraction, Reduction
from blockfuse.ir.stream import STREAM
from blockfuse.runtime.backend import Backend
from blockfuse.runtime.faults import Difference, Log, described, largest
from blockfuse.runtime.program import PYTHON, UNKNOWN, Program
from blockfuse.runtime.rounding import NOISES, SPREADS, Noisy, Repeating, distance
from blockfuse.tracer.structure import Structure, Unstructured, flatten

_QUICK = (ndarray, bool, int, float)  # the types of arguments that a quick call takes
Given = tuple[tuple[Any, ...], dict[str, Any]]


def checked_share(share: Any) -> float:
    """The option ``audit`` as a share of calls."""
    if type(share) not in (int, float) or not 0 <= share <= 1:
        raise UsageError(
            f"audit is {share!r}; it must be a number from 0 (no call) to 1 (every compiled call)"
        )
    return float(share)


@dataclass(frozen=True)
class Outcome:
    """What a call gave: the structure of its result, the arrays in it, and where the random stream is then."""

    structure: Structure
    arrays: list[numpy.ndarray]
    stream: Any


class Audit:
    """The audits of one block or function. call: its eager meaning."""

    def __init__(
        self, name: str, share: float, call: Callable[..., Any], backend: Callable[[], Backend]
    ) -> None:
        self._name, self._share, self._call, self._backend = name, share, call, backend
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
            if interpreter.current().recording or any(type(a) not in _QUICK for a in args):
                return NotImplemented
            return self.run(case, program, lambda: call(*args), (args, {}))

        return audited

    def run(self, case: Any, program: Program, call: Callable[[], Any], given: Given) -> Any:
        """What ``call`` (of ``program``) gives; raises AuditError if the eager call gives something else."""
        due = self._calls + 1 >= self._next
        draws = bool(program.recording.draws)
        if due:
            given, before = copy.deepcopy(given), _stream(draws)
        result = call()
        if result is UNKNOWN or result is PYTHON or result is NotImplemented:
            return result
        self._calls += 1
        if due:
            case.audited += 1
            self._next = self._due_after(self._calls)
            found = _outcome(result, draws)
            try:
                self._compare(program, found, given, before)
            finally:
                _set_stream(found.stream)
        return result

    def _due_after(self, calls: int) -> int:
        """The number of the next call to audit."""
        return math.ceil((int(calls * self._share + 1e-9) + 1) / self._share - 1e-9)

    def _compare(self, program: Program, found: Outcome, given: Given, before: Any) -> None:
        try:
            wanted = self._again(given, before, Repeating())
        except Exception as error:
            if program.is_current and not self._sometimes_works(given, before):
                raise AuditError(
                    f"{self._name}: the compiled call gave a result, the eager call raised"
                ) from error
            return
        fault = _fault(found, wanted, program.flow)
        if fault is None or not program.is_current or self._is_rounding(fault, wanted, given, before):
            return
        arrays: list[ndarray] = []
        values: list[Any] = []
        flatten(given, arrays, values)
        types = ", ".join(f"{a.dtype}{list(a.shape)}" for a in arrays)
        text = f"{self._name}({types}): the compiled call differs from the eager call: {fault.text}"
        if fault.place is not None:
            log = Log()
            self._again(given, before, log)
            _set_stream(before)
            difference = Difference(wanted.arrays[fault.place], fault.place, fault.size, log)
            arguments = [a._data for a in (*arrays, *(program.convert(values) or ()))]
            text += "\n" + described(self._name, program, self._backend(), arguments, difference)
        raise AuditError(text)

    def _again(self, given: Given, before: Any, repeating: Repeating) -> Outcome:
        """The call in Python, from the same arguments and the same place of the stream."""
        args, kwargs = copy.deepcopy(given)
        _set_stream(before)
        with modes.unusual(), interpreter.interpreting(repeating):
            return _outcome(self._call(args, kwargs), before is not None)

    def _sometimes_works(self, given: Given, before: Any) -> bool:
        """Whether rounding decides that the eager call raises."""
        for seed in range(NOISES):
            try:
                self._again(given, before, Noisy(seed))
            except Exception:
                continue
            return True
        return False

    def _is_rounding(self, fault: Fault, wanted: Outcome, given: Given, before: Any) -> bool:
        spread = 0.0
        for seed in range(NOISES):
            try:
                noisy = self._again(given, before, Noisy(seed))
            except Exception:  # rounding decides whether it fails
                return True
            if _kinds(noisy) != _kinds(wanted) or not _equal_but_floats(noisy, wanted):
                return True
            if fault.place is not None:
                spread = max(spread, distance(noisy.arrays[fault.place], wanted.arrays[fault.place]))
        return fault.size <= SPREADS * spread


@dataclass(frozen=True)
class Fault:
    """``place``: which array of the result differs, by ``size`` at most; None where the results are of other kinds."""

    text: str
    place: int | None = None
    size: float = math.inf


def _fault(found: Outcome, wanted: Outcome, flow: Flow) -> Fault | None:
    if _kinds(found) != _kinds(wanted):
        return Fault(f"structure, shapes or dtypes\n  compiled {_kinds(found)}\n  eager    {_kinds(wanted)}")
    for place, (a, b) in enumerate(zip(found.arrays, wanted.arrays, strict=True)):
        size, limit = distance(a, b), tolerance(b, flow)
        if size > limit:
            count = int(numpy.sum(a != b))
            text = f"array {place} of the result, {b.dtype}{list(b.shape)}, by up to {size:.3g}"
            return Fault(f"{text} in {count} of {b.size} elements (tolerance {limit:.3g})", place, size)
    if found.stream != wanted.stream:
        return Fault("they draw random numbers differently")
    return None


def tolerance(wanted: numpy.ndarray, flow: Flow) -> float:
    """The difference that is taken for rounding without a closer look: for a float dtype its epsilon times the largest
    element times 16 + 2 * sqrt(n), where n is the length of the longest sum in the program; 0 for other dtypes.
    """
    if wanted.dtype.kind != "f" or not wanted.size:
        return 0.0
    return float(numpy.finfo(wanted.dtype).eps) * largest(wanted) * (16 + 2 * math.sqrt(_longest_sum(flow)))


def _longest_sum(flow: Flow) -> int:
    lengths = [1]
    for node in (n for block in flow.blocks for n in block.graph.nodes if n.operands):
        operand = node.operands[0]
        if isinstance(node.operator.lowering, Contraction):
            lengths.append(operand.shape[-1] if operand.shape else 1)
        elif isinstance(node.operator.lowering, Reduction | Composite):
            lengths.append(operand.type.size)
    return max(lengths)


# -- outcomes --------------------------------------------------------------------------------------------------


def _outcome(result: Any, draws: bool) -> Outcome:
    arrays: list[ndarray] = []
    statics: list[Any] = []
    try:
        structure = flatten(result, arrays, statics)
    except Unstructured as error:
        raise TypeError(f"the result holds a {error}") from error
    return Outcome(structure, [a._data for a in arrays], _stream(draws))


def _kinds(outcome: Outcome) -> Any:
    return outcome.structure, [(a.dtype.name, a.shape) for a in outcome.arrays]


def _equal_but_floats(a: Outcome, b: Outcome) -> bool:
    pairs = zip(a.arrays, b.arrays, strict=True)
    return all(numpy.array_equal(x, y) for x, y in pairs if x.dtype.kind != "f")


def _stream(draws: bool) -> Any:
    """Where the random stream is; None for a call that does not draw."""
    return STREAM.generator.bit_generator.state if draws else None


def _set_stream(state: Any) -> None:
    if state is not None:
        STREAM.generator.bit_generator.state = state
