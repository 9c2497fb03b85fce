"""The induction variables of one frame: what each site of its code does to them.

See NOTE [induction variables] in ``induction.py``.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

from blockfuse.ir.graph import Node, Source, literal
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import pointwise
from blockfuse.ir.types import TensorType, tensor
from blockfuse.tracer.certificate.ownership import source_of
from blockfuse.tracer.frames.induction_sites import (
    Copy,
    Iterate,
    Next,
    Operand,
    Plan,
    Store,
    Test,
    Truth,
    Update,
    Use,
)
from blockfuse.tracer.frames.operand_stack import Unknown, View, evaluate, value_of
from blockfuse.tracer.frames.program_points import InductionValue, InductionVariable

_NUMBER, _TRUTH = tensor((), "int64"), tensor((), "bool")
_MAX_MAGNITUDE = 1 << 61
_MAX_STEP = 1 << 20
_LONG = 1 << 14  # rounds of a loop that is closed before it is recorded as a whole
_SHORT = 64  # operators of rounds that are one decision together
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
    decisions: int  # about arrays, so far
    sequence: list[Node]

    def induction_step(
        self, operator: Operator, operands: tuple[Node, ...], type: TensorType, source: Source
    ) -> Node: ...

    def decide(
        self,
        predicate: Node,
        outcome: bool,
        on_induction: bool = False,
        source: Source | None = None,
        closes: bool = False,
    ) -> None: ...

    def use(self, node: Node, what: str) -> None: ...

    def impure(self, what: str) -> None: ...


@dataclass
class _Iteration:
    """How far a ``for`` is.

    NOTE [strides]
    A long loop over a range asks once for ``stride`` rounds whether there are so many more, and not for the few that remain;
    if no array decided in the first round. How far a round is among them is part of where a call stands (``phase``).
    """

    values: Any
    position: int = 0
    induction: InductionValue | None = None  # of a range, what comes next
    stride: int = 1
    begun: tuple[int, int] = (0, 0)  # how many decisions and nodes there were before the first round
    remains: bool = False  # there are fewer rounds than a stride

    @property
    def remainder(self) -> int:
        """The position from which on there are fewer rounds than a stride."""
        return len(self.values) - (len(self.values) - 1) % self.stride

    @property
    def phase(self) -> int:
        if self.stride == 1:
            return 0
        if self.remains:
            return self.stride + 1 + self.position - self.remainder
        return (self.position - 1) % self.stride + 1


class FrameInduction:
    """Follows the induction variables of a frame that runs."""

    def __init__(self, frame: types.FrameType, plan: Plan, writer: Writer) -> None:
        self._frame, self._plan, self._writer = frame, plan, writer
        self._values: dict[str, InductionValue] = {}
        self._iterations: dict[int, _Iteration] = {}  # index of the GET_ITER -> iteration

    # -- what a point shows ----------------------------------------------------------------------------------

    def values(self) -> dict[str, InductionValue]:
        """The induction variables, by name."""
        names = self._plan.variables
        return {n: induction for n in names if (induction := self._induction(n)) is not None}

    def iteration(self, index: int) -> tuple[Any, InductionValue | None] | None:
        """What the iterator made at ``index`` goes through and where it is; None if that is not known."""
        found = self._iterations.get(index)
        if found is None:
            return None
        if found.induction is not None:
            return (_end(found.values), found.values.step, found.stride, found.phase), found.induction
        return (found.values, found.position), None

    def return_to(self, now: dict[Node, Node], gone: frozenset[Node]) -> None:
        """See NOTE [forgotten rounds]. What no point shows is not read before it is set."""
        self._values = {
            name: replace(known, node=now[known.node]) if known.node in now else known
            for name, known in self._values.items()
            if known.node in now or known.node not in gone
        }
        for index, iteration in list(self._iterations.items()):
            known = iteration.induction
            if known is not None and known.node in now:
                iteration.induction = replace(known, node=now[known.node])
            elif known is not None and known.node in gone:
                del self._iterations[index]

    # -- sites -----------------------------------------------------------------------------------------------

    @property
    def sites(self) -> Container[int]:
        """The instructions before which ``step`` has something to do."""
        return self._plan.sites

    def step(self, index: int) -> None:
        """The frame is about to run an instruction."""
        site = self._plan.sites.get(index)
        if site is not None:
            _AT[type(site)](self, index, site)

    def _test(self, _: int, site: Test) -> None:
        left, right = (self._operand(o) for o in site.operands)
        if left is not None and right is not None and site.operator in _COMPARISONS:
            self._decide(site.operator, left, right, abs(left[0] - right[0]))
        else:
            self._use(*site.operands)

    def _truth(self, _: int, site: Truth) -> None:
        induction = self._induction(site.variable)
        if induction is not None:
            self._decide("!=", (induction.value, induction.node), (0, _number(0)))

    def _decide(
        self, operator: str, left: tuple[int, Node], right: tuple[int, Node], rounds: int = 0
    ) -> None:
        """rounds: how often that will be decided."""
        compare, meaning = _COMPARISONS[operator]
        source = source_of(self._frame)
        predicate = self._writer.induction_step(compare, (left[1], right[1]), _TRUTH, source)
        self._writer.decide(predicate, meaning(left[0], right[0]), True, source, rounds >= _LONG)

    def _update(self, _: int, site: Update) -> None:
        variables = self._plan.variables
        left, right = (self._operand(o) for o in site.operands)
        step = right if site.operands[0] in variables else left
        if left is None or right is None or step is None or abs(step[0]) > _MAX_STEP:
            self._use(*site.operands)
            self._set(site.target, None)
            return
        change, meaning = _CHANGES[site.operator]
        node = self._writer.induction_step(change, (left[1], right[1]), _NUMBER, source_of(self._frame))
        self._set(site.target, (meaning(left[0], right[0]), node))

    def _copy(self, _: int, site: Copy) -> None:
        found = self._induction(site.source)
        self._set(site.target, None if found is None else (found.value, self._change("+", found.node, 0)))

    def _store(self, _: int, site: Store) -> None:
        self._values.pop(site.target, None)

    def _use_elsewhere(self, _: int, site: Use) -> None:
        self._use(site.variable)

    def _iterate(self, index: int, site: Iterate) -> None:
        self._iterations.pop(index, None)
        if site.value is None:
            return
        try:
            values = evaluate(self._frame, *site.value)[0]
        except Unknown:
            return
        if not _has_positions(values):
            return
        induction = None
        if type(values) is range:
            if max(abs(values.start), abs(values.stop)) > _MAX_MAGNITUDE or abs(values.step) > _MAX_STEP:
                return
            induction = InductionValue(
                InductionVariable(self._frame.f_code, index), values.start, _number(values.start)
            )
        self._iterations[index] = _Iteration(values, 0, induction)

    def _next(self, _: int, site: Next) -> None:
        iteration = None if site.iterator is None else self._iterations.get(site.iterator)
        if iteration is None:
            if site.target is not None:
                self._set(site.target, None)
            return
        if iteration.induction is not None:
            self._next_of_range(iteration, iteration.induction, site.target)
            return
        if site.target is not None:
            self._set(site.target, None)
        iteration.position += 1

    def _next_of_range(self, iteration: _Iteration, induction: InductionValue, target: str | None) -> None:
        values = iteration.values
        if len(values) >= _LONG and iteration.position < 2:
            self._pace(iteration)
        if iteration.phase <= 1:
            end = values.start + iteration.remainder * values.step if iteration.stride > 1 else _end(values)
            ahead = "<" if values.step > 0 else ">"
            self._decide(ahead, (induction.value, induction.node), (end, _number(end)), len(values))
            induction = iteration.induction or induction  # another node, where rounds were forgotten
            iteration.remains = iteration.stride > 1 and iteration.position == iteration.remainder
        if iteration.position == len(values):
            return
        if target is None:
            self._writer.use(induction.node, f"what {self._frame.f_code.co_name} iterates over")
        else:
            self._set(target, (induction.value, induction.node))
        following = self._change("+", induction.node, values.step)
        iteration.induction = InductionValue(induction.variable, induction.value + values.step, following)
        iteration.position += 1

    def _pace(self, iteration: _Iteration) -> None:
        """See NOTE [strides]."""
        now = self._writer.decisions, len(self._writer.sequence)
        if iteration.position == 0:
            iteration.begun = now
        elif now[0] == iteration.begun[0]:
            iteration.stride = max(1, _SHORT // max(1, now[1] - iteration.begun[1]))

    # -- numbers ---------------------------------------------------------------------------------------------

    def _induction(self, name: str) -> InductionValue | None:
        """An induction variable, if it holds a whole number now."""
        value, known = self._frame.f_locals.get(name), self._values.get(name)
        if type(value) is not int or abs(value) > _MAX_MAGNITUDE:
            return None
        if known is None:
            known = self._values[name] = InductionValue(
                InductionVariable(self._frame.f_code, name), value, _number(value)
            )
        elif known.value != value:
            self._writer.impure(f"changes {name} in a way that was not seen")
        return known

    def _operand(self, operand: Operand) -> tuple[int, Node] | None:
        """A whole number and its node."""
        if isinstance(operand, str) and operand in self._plan.variables:
            induction = self._induction(operand)
            return None if induction is None else (induction.value, induction.node)
        try:
            value = value_of(self._frame, operand)
        except Unknown:
            return None
        return (value, _number(value)) if type(value) is int and abs(value) <= _MAX_MAGNITUDE else None

    def _set(self, name: str, number: tuple[int, Node] | None) -> None:
        self._values.pop(name, None)
        if number is not None:
            self._values[name] = InductionValue(InductionVariable(self._frame.f_code, name), *number)

    def _change(self, operator: str, node: Node, step: int) -> Node:
        operands = (node, _number(step))
        return self._writer.induction_step(_CHANGES[operator][0], operands, _NUMBER, source_of(self._frame))

    def _use(self, *operands: Operand) -> None:
        for operand in operands:
            induction = self._values.get(operand) if isinstance(operand, str) else None
            if induction is not None:
                self._writer.use(induction.node, str(operand))


# Site -> what is done before it; with its index.
_AT: dict[type, Callable[[FrameInduction, int, Any], None]] = {
    Test: FrameInduction._test,
    Truth: FrameInduction._truth,
    Update: FrameInduction._update,
    Copy: FrameInduction._copy,
    Store: FrameInduction._store,
    Use: FrameInduction._use_elsewhere,
    Iterate: FrameInduction._iterate,
    Next: FrameInduction._next,
}


def _number(value: int) -> Node:
    """A node of its own; rounds of loops share the array that it holds."""
    known = _literal_of(value)
    return Node(known.operator, (), known.attrs, known.type)


@lru_cache(maxsize=4096)
def _literal_of(value: int) -> Node:
    return literal(value, _NUMBER.dtype)


def _end(values: range) -> int:
    """What would come after the last value."""
    return values.start + len(values) * values.step


def _has_positions(values: Any) -> bool:
    """Whether an iterator over ``values`` is known by how far it is."""
    if type(values) is View:
        return all(_has_positions(v) or type(v) is int for v in values.of)
    return type(values) in (list, tuple, dict, range)
