"""Induction variables: numbers that count rounds, followed while a call is recorded so that their loops can close.

NOTE [induction variables]
A whole number in a variable that the function only copies, changes by a constant step and compares in tests, or that a
``for`` over a ``range`` sets, is followed in the byte code (``induction_sites.py``): it becomes a node, and every test of it
a decision like those about arrays. Where a loop closes, the number is carried in a register. Any other use of it is told
to the recorder: it bakes the number into the path, which is right only where the number is the same in every call.
64 bits are enough: starts and limits are bounded, steps are small, and a native call ends after some million decisions.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from blockfuse.ir.graph import Node, Source, literal
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import pointwise
from blockfuse.ir.types import TensorType, tensor
from blockfuse.tracer.code.bytecode import Anatomy, anatomy
from blockfuse.tracer.frames.induction_sites import (
    Copy,
    Iterate,
    Next,
    Operand,
    Plan,
    Site,
    Store,
    Test,
    Truth,
    Update,
    Use,
    plan,
)
from blockfuse.tracer.frames.operand_stack import Unknown, View, evaluate
from blockfuse.tracer.frames.program_points import InductionValue, InductionVariable

_NUMBER, _TRUTH = tensor((), "int64"), tensor((), "bool")
_MAX_MAGNITUDE = 1 << 61
_MAX_STEP = 1 << 20
_COMPARISONS: dict[str, tuple[Operator, Callable[[int, int], bool]]] = {
    "<": (pointwise.less, int.__lt__),
    "<=": (pointwise.less_equal, int.__le__),
    ">": (pointwise.greater, int.__gt__),
    ">=": (pointwise.greater_equal, int.__ge__),
    "==": (pointwise.equal, int.__eq__),
    "!=": (pointwise.not_equal, int.__ne__),
}
_CHANGES: dict[str, tuple[Operator, Callable[[int, int], int]]] = {
    "+": (pointwise.add, int.__add__),
    "-": (pointwise.subtract, int.__sub__),
}


class Writer(Protocol):
    """What is told of induction variables (the recorder)."""

    problem: str

    def induction_step(
        self, operator: Operator, operands: tuple[Node, ...], type: TensorType, source: Source
    ) -> Node: ...

    def decide(
        self, predicate: Node, outcome: bool, on_induction: bool = False, source: Source | None = None
    ) -> None: ...

    def use(self, node: Node, what: str) -> None: ...

    def impure(self, what: str) -> None: ...


@dataclass
class _Iteration:
    """How far a ``for`` is."""

    values: Any
    position: int = 0
    induction: InductionValue | None = None  # of a range, what comes next


@dataclass
class _FrameInduction:
    """The induction variables of one frame."""

    form: Anatomy
    plan: Plan
    values: dict[str, InductionValue] = field(default_factory=dict)
    iterations: dict[int, _Iteration] = field(default_factory=dict)  # index of the GET_ITER -> iteration
    last: int = -1  # the instruction of the last event


class InductionTracker:
    """Follows the induction variables of one call."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self._frames: dict[types.FrameType, _FrameInduction] = {}

    # -- what a point shows ----------------------------------------------------------------------------------

    def values_in(self, frame: types.FrameType) -> dict[str, InductionValue]:
        """The induction variables of ``frame``, by name."""
        numbers = self._frames.get(frame)
        if numbers is None:
            return {}
        names = numbers.plan.variables
        return {n: induction for n in names if (induction := self._induction(frame, numbers, n)) is not None}

    def iteration(self, frame: types.FrameType, index: int) -> tuple[Any, InductionValue | None] | None:
        """What the iterator made at ``index`` goes through and where it is; None if that is not known."""
        numbers = self._frames.get(frame)
        found = numbers.iterations.get(index) if numbers is not None else None
        if found is None:
            return None
        if found.induction is not None:
            return (_end(found.values), found.values.step), found.induction
        return (found.values, found.position), None

    # -- events ----------------------------------------------------------------------------------------------

    def enter(self, frame: types.FrameType) -> Callable[[types.FrameType, str], None] | None:
        """What follows a function that starts; None where there is nothing to follow."""
        found = plan(frame.f_code)
        if not found.sites:
            return None
        self._frames[frame] = _FrameInduction(anatomy(frame.f_code), found)
        return self._step

    def _step(self, frame: types.FrameType, event: str) -> None:
        if event == "return":
            self._frames.pop(frame, None)
        elif event == "opcode" and not self.writer.problem:
            numbers = self._frames[frame]
            form = numbers.form
            index = form.index(frame)
            after_prefix = numbers.last == index and form.instructions[index].offset == frame.f_lasti
            numbers.last = index
            for one in () if after_prefix else form.together(index):
                site = numbers.plan.sites.get(one)
                if site is not None:
                    self._at(site, frame, numbers, one)

    def _at(self, site: Site, frame: types.FrameType, numbers: _FrameInduction, index: int) -> None:
        if isinstance(site, Test):
            self._test(frame, numbers, site)
        elif isinstance(site, Truth):
            induction = self._induction(frame, numbers, site.variable)
            if induction is not None:
                self._decide(frame, "!=", (induction.value, induction.node), (0, _number(0)))
        elif isinstance(site, Update):
            self._update(frame, numbers, site)
        elif isinstance(site, Copy):
            induction = self._induction(frame, numbers, site.source)
            copy = (
                None if induction is None else (induction.value, self._change(frame, "+", induction.node, 0))
            )
            self._set(frame, numbers, site.target, copy)
        elif isinstance(site, Store):
            numbers.values.pop(site.target, None)
        elif isinstance(site, Use):
            self._use(numbers, site.variable)
        elif isinstance(site, Iterate):
            self._iterate(frame, numbers, index, site)
        else:
            self._next(frame, numbers, site)

    def _test(self, frame: types.FrameType, numbers: _FrameInduction, site: Test) -> None:
        left, right = (self._operand(frame, numbers, o) for o in site.operands)
        if left is not None and right is not None and site.operator in _COMPARISONS:
            self._decide(frame, site.operator, left, right)
        else:
            self._use(numbers, *site.operands)

    def _decide(
        self, frame: types.FrameType, operator: str, left: tuple[int, Node], right: tuple[int, Node]
    ) -> None:
        compare, meaning = _COMPARISONS[operator]
        source = _source(frame)
        predicate = self.writer.induction_step(compare, (left[1], right[1]), _TRUTH, source)
        self.writer.decide(predicate, meaning(left[0], right[0]), True, source)

    def _update(self, frame: types.FrameType, numbers: _FrameInduction, site: Update) -> None:
        variables = numbers.plan.variables
        left, right = (self._operand(frame, numbers, o) for o in site.operands)
        step = right if site.operands[0] in variables else left
        if left is None or right is None or step is None or abs(step[0]) > _MAX_STEP:
            self._use(numbers, *site.operands)
            self._set(frame, numbers, site.target, None)
            return
        change, meaning = _CHANGES[site.operator]
        node = self.writer.induction_step(change, (left[1], right[1]), _NUMBER, _source(frame))
        self._set(frame, numbers, site.target, (meaning(left[0], right[0]), node))

    def _iterate(self, frame: types.FrameType, numbers: _FrameInduction, index: int, site: Iterate) -> None:
        numbers.iterations.pop(index, None)
        if site.value is None:
            return
        try:
            values = evaluate(frame, *site.value)[0]
        except Unknown:
            return
        if not _has_positions(values):
            return
        induction = None
        if type(values) is range:
            if max(abs(values.start), abs(values.stop)) > _MAX_MAGNITUDE or abs(values.step) > _MAX_STEP:
                return
            induction = InductionValue(
                InductionVariable(frame.f_code, index), values.start, _number(values.start)
            )
        numbers.iterations[index] = _Iteration(values, 0, induction)

    def _next(self, frame: types.FrameType, numbers: _FrameInduction, site: Next) -> None:
        iteration = None if site.iterator is None else numbers.iterations.get(site.iterator)
        if iteration is None:
            if site.target is not None:
                self._set(frame, numbers, site.target, None)
            return
        induction, values = iteration.induction, iteration.values
        if induction is not None:
            end = _end(values)
            self._decide(
                frame, "<" if values.step > 0 else ">", (induction.value, induction.node), (end, _number(end))
            )
            if iteration.position == len(values):
                return
            if site.target is None:
                self.writer.use(induction.node, f"what {frame.f_code.co_name} iterates over")
            else:
                self._set(frame, numbers, site.target, (induction.value, induction.node))
            following = self._change(frame, "+", induction.node, values.step)
            iteration.induction = InductionValue(induction.variable, induction.value + values.step, following)
        elif site.target is not None:
            self._set(frame, numbers, site.target, None)
        iteration.position += 1

    # -- numbers ---------------------------------------------------------------------------------------------

    def _induction(
        self, frame: types.FrameType, numbers: _FrameInduction, name: str
    ) -> InductionValue | None:
        """An induction variable, if it holds a whole number now."""
        value, known = frame.f_locals.get(name), numbers.values.get(name)
        if type(value) is not int or abs(value) > _MAX_MAGNITUDE:
            return None
        if known is None:
            known = numbers.values[name] = InductionValue(
                InductionVariable(frame.f_code, name), value, _number(value)
            )
        elif known.value != value:
            self.writer.impure(f"changes {name} in a way that was not seen")
        return known

    def _operand(
        self, frame: types.FrameType, numbers: _FrameInduction, operand: Operand
    ) -> tuple[int, Node] | None:
        """A whole number and its node."""
        if isinstance(operand, str) and operand in numbers.plan.variables:
            induction = self._induction(frame, numbers, operand)
            return None if induction is None else (induction.value, induction.node)
        try:
            value = frame.f_locals.get(operand) if isinstance(operand, str) else evaluate(frame, *operand)[0]
        except Unknown:
            return None
        return (value, _number(value)) if type(value) is int and abs(value) <= _MAX_MAGNITUDE else None

    def _set(
        self, frame: types.FrameType, numbers: _FrameInduction, name: str, number: tuple[int, Node] | None
    ) -> None:
        numbers.values.pop(name, None)
        if number is not None:
            numbers.values[name] = InductionValue(InductionVariable(frame.f_code, name), *number)

    def _change(self, frame: types.FrameType, operator: str, node: Node, step: int) -> Node:
        operands = (node, _number(step))
        return self.writer.induction_step(_CHANGES[operator][0], operands, _NUMBER, _source(frame))

    def _use(self, numbers: _FrameInduction, *operands: Operand) -> None:
        for operand in operands:
            induction = numbers.values.get(operand) if isinstance(operand, str) else None
            if induction is not None:
                self.writer.use(induction.node, str(operand))


def _number(value: int) -> Node:
    return literal(value, _NUMBER.dtype)


def _source(frame: types.FrameType) -> Source:
    return Source(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


def _end(values: range) -> int:
    """What would come after the last value."""
    return values.start + len(values) * values.step


def _has_positions(values: Any) -> bool:
    """Whether an iterator over ``values`` is known by how far it is."""
    if type(values) is View:
        return all(_has_positions(v) or type(v) is int for v in values.of)
    return type(values) in (list, tuple, dict, range)
