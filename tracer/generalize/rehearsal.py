"""Rehearsals: a recorded call gone through once more, to find out whether a program may take its numbers at each call.

NOTE [rehearsals]
The recording that is rehearsed was made just before, with the same arguments, and nothing that it rests on has
changed. So the rehearsal must do the same, node for node and decision for decision, as long as no value of a number
decides what Python does; and such a use is seen (NOTE [traced numbers]). Where a rehearsal departs from the
recording it stops at once. So it has no effects that the recording had not, and the recording had none. What could
tell a traced number from a number without using its value (``type(n)``, ``n is m``) refuses the rehearsal beforehand,
from the byte code, as do handlers of exceptions, which would run where a rehearsal stops.
"""

from __future__ import annotations

import dis
import operator
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Structure, rebuild
from blockfuse.ir.graph import Node, Source, constant
from blockfuse.ir.operator import Operator
from blockfuse.ir.passes.dedupe import frozen
from blockfuse.ir.signal_handlers import came_from_handler
from blockfuse.ir.types import TensorType
from blockfuse.tracer.certificate.traced_numbers import Escaped, Operand, TracedNumber
from blockfuse.tracer.code.identity import asks_identity
from blockfuse.tracer.code.naming import globals_in
from blockfuse.tracer.flow.origins import Origin
from blockfuse.tracer.flow.path import Decision, Path
from blockfuse.tracer.recording.record import Recording, record
from blockfuse.tracer.recording.recorder import Recorder
from blockfuse.tracer.state.assignments import meaning_of

Operands = dict[Operand, Operand]  # to itself: all paths that use an operand must find the same object


@dataclass(frozen=True)
class Refusal:
    """Why the numbers at ``indices`` stay constants."""

    indices: frozenset[int]
    reason: str


class _Departed(BaseException):
    """The rehearsal did something else than the recording."""


def rehearse(
    first: Recording,
    call: Callable[[Any], Any],
    roots: Iterable[tuple[Any, str]],
    given: tuple[Structure, list[ndarray], list[Any]],
    indices: frozenset[int],
    operands: Operands,
) -> Recording | Refusal:
    """The recording ``first`` with the numbers at ``indices`` (among the static ``values``) as inputs of its graph.

    call: what was recorded, as a function of the arguments; roots: as for ``record``. given: the structure of the
    arguments, their arrays and static values. operands: those known so far, to which new ones are added.
    """
    structure, arrays, values = given
    refused = _beforehand(first)
    if refused:
        return Refusal(indices, refused)
    traced = [TracedNumber(v, f"n{n}", frozenset((n,))) if n in indices else v for n, v in enumerate(values)]
    arguments = rebuild(structure, arrays.__getitem__, traced)
    assert first.path is not None
    rehearser = _Rehearser(arrays, first.path)
    try:
        with numpy.errstate(all="ignore"):
            second = record(lambda: call(arguments), rehearser, roots, first.code, left_out=first.left_out)
        rehearser.compare_end(second, first)
    except Escaped as escaped:
        return Refusal(escaped.indices & indices or indices, str(escaped))
    except _Departed:
        return Refusal(indices, "forward does something else with an object that acts as a number")
    except Exception as error:  # whatever user code makes of an object that only acts as a number
        if came_from_handler(error):
            raise
        return Refusal(indices, f"forward fails with an object that acts as a number: {error}")
    if second.problem:
        return Refusal(indices, second.problem)
    return _with_operands(second, rehearser, operands)


def _with_operands(second: Recording, rehearser: _Rehearser, operands: Operands) -> Recording:
    """The recording with its traced numbers as leaves whose origins are operands."""
    assert second.path is not None
    origins = {}
    for operand, node in rehearser.numbers.items():
        origins[node] = Origin(node.attrs["name"], operands.setdefault(operand, operand))
    path = second.path
    second.path = replace(path, leaves=path.leaves | {n: n for n in origins}, origins=path.origins | origins)
    return second


# -- step by step ------------------------------------------------------------------------------------------------


class _Rehearser(Recorder):
    """Records, and stops where it departs from a path that is known."""

    def __init__(self, arguments: list[ndarray], path: Path) -> None:
        super().__init__(arguments)
        self.path = path
        self._same = dict(zip(self.arguments, path.arguments, strict=True))  # node -> that of the known path

    def _node(self, operator: Operator, operands: tuple[Node, ...], attrs: dict[str, Any]) -> Node:
        node = super()._node(operator, operands, attrs)
        index = len(self.sequence) - 1
        _require(index < len(self.path.sequence))
        known = self.path.sequence[index]
        _require(known.operator is operator and known.type == node.type)
        _require(_frozen(known.attrs) == _frozen(attrs) and len(operands) == len(known.operands))
        for mine, theirs in zip(operands, known.operands, strict=True):
            self._require_same(mine, theirs)
        self._same[node] = known
        return node

    def induction_step(
        self, operator: Operator, operands: tuple[Node, ...], type: TensorType, source: Source
    ) -> Node:
        node = super().induction_step(operator, operands, type, source)
        index = len(self.sequence) - 1
        _require(index < len(self.path.sequence))
        known = self.path.sequence[index]
        _require(known in self.path.induction_nodes and known.operator is operator)
        for mine, theirs in zip(operands, known.operands, strict=True):
            self._require_same(mine, theirs)
        self._same[node] = known
        return node

    def escape(self, kind: str, array: ndarray) -> None:
        super().escape(kind, array)
        _require(not self.problem)

    def decide(
        self,
        predicate: Node,
        outcome: bool,
        on_induction: bool = False,
        source: Source | None = None,
        closes: bool = False,
        compares: bool = False,
    ) -> None:
        super().decide(predicate, outcome, on_induction, source, closes, compares)
        self._compare_events()

    def use(self, node: Node, what: str) -> None:
        super().use(node, what)
        self._compare_events()

    def _compare_events(self) -> None:
        """Whether the last event, if there is any, is that of the path."""
        if not self.events:
            return
        _require(len(self.events) <= len(self.path.events))
        mine, theirs = self.events[-1], self.path.events[len(self.events) - 1]
        _require(mine.position == theirs.position)
        if not isinstance(mine, Decision) or not isinstance(theirs, Decision):
            _require(type(mine) is type(theirs) and not isinstance(mine, Decision))
            return
        _require(mine.outcome == theirs.outcome and mine.on_induction == theirs.on_induction)
        slots = mine.point.slots, theirs.point.slots
        _require(len(slots[0]) == len(slots[1]))
        self._require_same(mine.predicate, theirs.predicate)
        for one, other in zip(*slots, strict=True):
            self._require_same(one.node, other.node)

    def _require_same(self, mine: Node, theirs: Node) -> None:
        mine = self.constants.get(mine, mine)
        if mine.operator is constant:
            _require(theirs.operator is constant and _frozen(mine.attrs) == _frozen(theirs.attrs))
        elif mine in self.memory.found:  # what it is turns out in the end
            _require(theirs in self.path.leaves and mine.type == theirs.type)
            _require(self._same.setdefault(mine, theirs) is theirs)
        else:
            _require(self._same.get(mine) is theirs)

    def compare_end(self, second: Recording, first: Recording) -> None:
        """Whether the results are those of the path, and the arrays that it found the same."""
        if second.problem:
            return
        path = second.path
        assert path is not None
        _require(len(path.sequence) == len(self.path.sequence))
        _require(len(path.events) == len(self.path.events))
        _require(second.structure == first.structure)
        _require(meaning_of(second.assigned) == meaning_of(first.assigned))
        for mine, theirs in zip(path.outputs, self.path.outputs, strict=True):
            self._require_same(mine, theirs)
        for mine in self._same.keys() & self.memory.found.keys():
            one, other = path.leaves[mine], self.path.leaves[self._same[mine]]
            if one.operator is constant:
                _require(other.operator is constant and _frozen(one.attrs) == _frozen(other.attrs))
            else:
                _require(path.origins[one].key == self.path.origins[other].key)


def _frozen(attrs: dict[str, Any]) -> Any:
    return frozen(tuple(sorted(attrs.items())))


def _require(condition: bool) -> None:
    if not condition:
        raise _Departed


# -- beforehand --------------------------------------------------------------------------------------------------

# sum adds floats in its own way
_TELLING = frozenset({"type", "id", "dir", "vars", "locals", "eval", "exec", "sum"})
_TELLING_OBJECTS = (type, id, dir, vars, sum, operator.is_, operator.is_not)
_HARMLESS_NAMES = frozenset({"__init__", "__call__", "__class__", "__name__", "__doc__"})


def _beforehand(first: Recording) -> str:
    """Why a traced number could be told from a number by the code of a recording, or no text."""
    assert first.state is not None
    if first.path is not None and first.path.forgets:
        return "forward goes round a loop too often to do it once more"
    if first.draws:
        return "forward draws random numbers"
    if first.read:
        return f"forward reads {first.read[0].text}, which it also assigns"
    telling = next((f.text for f in first.state.items if any(f.value is t for t in _TELLING_OBJECTS)), "")
    if telling:
        return f"forward can reach {telling}, which tells objects apart"
    return next((reason for reason in map(_telling, first.functions) if reason), "")


@lru_cache(maxsize=4096)
def _telling(code: types.CodeType) -> str:
    """What in the code could tell a traced number from a number, or would run where a rehearsal stops."""
    names = globals_in(code) & _TELLING
    names |= {n for n in code.co_names if n.startswith("__") and n not in _HARMLESS_NAMES}
    if names:
        return f"{code.co_name} uses {min(names)}, which may tell objects apart"
    if asks_identity(code):
        return f"{code.co_name} asks whether two objects are one"
    if any(instruction.opname == "PUSH_EXC_INFO" for instruction in dis.get_instructions(code)):
        return f"{code.co_name} handles exceptions"
    return ""
