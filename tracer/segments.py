"""Calls that cannot be one program: operators wait until Python asks for a value, then run together.

NOTE [segments]
Python runs such a call from beginning to end, so its effects are those of an eager call. An operator only notes what
it would compute and returns a pending array. When somebody asks for a value (an escape, a write, an operator without
a kernel, the end of the call), everything noted since the last time, a segment, is computed: by a compiled program
if the segment was met before, else by NumPy, operator by operator.

Segments lie in a tree: each step is an operator with its attributes and the places of its operands, so that a known
operator costs a look into a dict. A step is computed at once when it is new. That shows whether its result is new
memory in C order, and may be pending from then on, or a view, or neither: such a step ends a segment every time.

NOTE [values at the time]
A pending operator must see its operands as they are now. Writes by way of blockfuse settle the segment first. Memory
that NumPy's own arrays share can be written without anyone seeing it, so of such operands a copy is kept.
"""

from __future__ import annotations

import sys
import threading
from math import isnan
from typing import Any

import numpy

from blockfuse.array import stamps
from blockfuse.array.eager import Eager, data_of
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.builder import literal_dtype
from blockfuse.ir.lowering import Composite, Contraction, Joining, Movement, Pointwise, Reduction
from blockfuse.ir.operator import Operator
from blockfuse.ir.passes.dedupe import frozen
from blockfuse.ir.types import type_of
from blockfuse.tracer.steps import DIRECT, PENDING, VIEW, Segment, Step, Tree, computed, numpy_work

_STEPS = 4096  # of one tree; operators beyond run at once
_LONGEST = 1024  # operators in a segment
_SAME_BUT_FOR_NUMBERS = 3  # steps; then the number is read at every call
_COMPILED_AT = 2  # runs of a segment
_OVERHEAD = 4000.0  # nanoseconds: what a segment costs besides its kernels
_DEFERRABLE = (Pointwise, Reduction, Contraction, Composite, Joining, Movement)


class Promised:
    """The promise of one value."""

    __slots__ = ("dtype", "number", "segment", "segmented", "shape", "step")

    def __init__(self, segmented: Segmented, segment: Segment, step: Step, number: int) -> None:
        self.segmented, self.segment, self.step, self.number = segmented, segment, step, number
        self.shape, self.dtype = step.shape, step.dtype

    def keep(self, array: ndarray) -> None:
        """Compute: the whole segment in the thread that notes it, this value alone in another one."""
        if self.segmented.is_noting(self.segment):
            self.segmented.settle()
        if array._promise is not None:
            _give(array, computed(self.step, self.segment, [self.number])[self.number])


_giving = threading.Lock()


def _give(array: ndarray, data: numpy.ndarray) -> None:
    """Two threads may have computed the value: both must see one and the same memory."""
    with _giving:
        if array._promise is not None:
            array._data = data
            array._promise = None


class Segmented(Eager):
    """Notes the operators of one call.

    gain: where ``weighing``, about how many nanoseconds the segments saved; None where some are not compiled yet.
    """

    def __init__(self, tree: Tree, weighing: bool) -> None:
        self._tree = tree
        self.gain: float | None = 0.0 if weighing else None
        self._thread = threading.get_ident()
        self._restart()

    def _restart(self) -> None:
        self._segment = Segment()
        self._step = self._tree.root

    def finish(self) -> None:
        """The call is over: what is still pending is computed."""
        self.settle()
        self._thread = 0

    def is_noting(self, segment: Segment) -> bool:
        """Whether ``segment`` is the present one, and this thread the one that notes it."""
        return segment is self._segment and threading.get_ident() == self._thread

    # -- what operators turn into ----------------------------------------------------------------------------

    def apply(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:  # the context was handed on to another thread
            return super().apply(operator, operands, attrs)
        key = self._key(operator, operands, attrs)
        step = self._step.children.get(key) or self._with_any_number(key)
        if step is None:
            return self._new(key, operator, operands, attrs)
        if step.kind is DIRECT:
            return self._direct(operator, operands, attrs)
        segment = self._segment
        number = len(segment.values)
        if step.kind is VIEW and not _is_pending(operands[0]):
            result = super().apply(operator, operands, attrs)
        else:
            result = ndarray.__new__(ndarray)
            result._promise = Promised(self, segment, step, number)
        segment.values.append(result)
        segment.places[id(result)] = number
        self._step = step
        if number >= _LONGEST:
            self.settle()
        return result

    def update(
        self, target: ndarray, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]
    ) -> None:
        self._settle_here()
        super().update(target, operator, operands, attrs)

    def assign(self, target: ndarray, index: Any, value: Any) -> None:
        self._settle_here()
        super().assign(target, index, value)

    def escape(self, kind: str, array: ndarray) -> None:  # noqa: ARG002 - every kind is the same here
        if self._segment.places.get(id(array), -1) >= 0:
            self._settle_here()

    def _settle_here(self) -> None:
        if threading.get_ident() == self._thread:
            self.settle()

    def _direct(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        self.settle()
        return super().apply(operator, operands, attrs)

    # -- places of operands ----------------------------------------------------------------------------------

    def _key(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> tuple[Any, ...]:
        """Operator, attributes and places; leaves that are met for the first time are noted, told by their types."""
        places = self._segment.places
        parts: list[Any] = [operator]
        for operand in operands:
            kind = type(operand)
            if kind is ndarray:
                place = places.get(id(operand))
                parts.append(self._leaf(operand) if place is None else place)
            elif kind is float:
                parts.append((kind, repr(operand) if not operand or isnan(operand) else operand))
            elif kind is int or kind is bool:
                parts.append((kind, operand))
            else:
                parts.append(self._copied(numpy.asarray(data_of(operand))))
        if attrs:
            parts.append(tuple([(name, frozen(value)) for name, value in attrs.items()]))
        return tuple(parts)

    def _leaf(self, array: ndarray) -> Any:
        data = array._data
        if id(array) in self._tree.held:
            self._note_leaf(array)
            return id(array), "held"
        if stamps.is_lent(data):
            return self._copied(data)
        self._note_leaf(array)
        if data.flags.c_contiguous:
            return data.shape, data.dtype.char, None
        return data.shape, data.dtype.char, data.strides

    def _copied(self, data: numpy.ndarray) -> Any:
        """Memory that may be written unseen."""
        copy = data.copy()  # in C order, whatever the order of ``data``
        self._note_leaf(ndarray(copy))
        return data.shape, data.dtype.char, data.strides, "copied"

    def _note_leaf(self, array: ndarray) -> None:
        segment = self._segment
        segment.leaves.append(array)
        segment.places[id(array)] = -len(segment.leaves)

    def _with_any_number(self, key: tuple[Any, ...]) -> Step | None:
        """The step that reads its number at every call, with the number as a leaf."""
        step = self._step.children.get(_without_number(key))
        if step is not None and step.number is not None:
            place, dtype = step.number
            self._note_leaf(ndarray(numpy.array(key[1 + place][1], dtype)))
        return step

    # -- new steps -------------------------------------------------------------------------------------------

    def _new(
        self, key: tuple[Any, ...], operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]
    ) -> Any:
        """A step that is not in the tree: it is computed at once."""
        tree, self.gain = self._tree, None
        if tree.finds_more(operands):
            self.settle()
            return self.apply(operator, operands, attrs)
        segment, parent = self._segment, self._step
        pending = [n for n, array in enumerate(segment.values) if array._promise is not None]
        for number, data in computed(parent, segment, pending).items():
            _give(segment.values[number], data)
        try:
            result = super().apply(operator, operands, attrs)
        except BaseException:
            self._restart()
            raise
        step = Step(parent, _kind_of(operator, operands, result))
        if tree.size < _STEPS:
            key = self._described(step, key, operator, operands, attrs, result)
            step = tree.add(parent, key, step)
        else:
            step.kind = DIRECT
        if step.kind is DIRECT:
            self._restart()
        else:
            segment.values.append(result)
            segment.places[id(result)] = len(segment.values) - 1
            self._step = step
        return result

    def _described(
        self,
        step: Step,
        key: tuple[Any, ...],
        operator: Operator,
        operands: tuple[Any, ...],
        attrs: dict[str, Any],
        result: ndarray,
    ) -> tuple[Any, ...]:
        """Fill in ``step``; its key, which has no number any more where too many steps differ in nothing else."""
        segment = self._segment
        parts = key[1 : 1 + len(operands)]
        fresh = [n for n, part in enumerate(parts) if type(part) is tuple and part[0] not in _NUMBERS]
        first = len(segment.leaves) - len(fresh) + 1
        places: list[Any] = [
            part if type(part) is int else (type(operand), operand)
            for part, operand in zip(parts, operands, strict=True)
        ]
        for count, place in enumerate(fresh):
            places[place] = -(first + count)
        held = self._tree.held
        leaves = [
            held[parts[n][0]] if parts[n][-1] == "held" else type_of(data_of(operands[n])) for n in fresh
        ]
        wide = _without_number(key)
        if wide is not None and self._step.children.get(wide) is None:
            alike = sum(1 for other in list(self._step.children) if _without_number(other) == wide)
            if alike >= _SAME_BUT_FOR_NUMBERS:
                place = next(n for n, part in enumerate(parts) if type(part) is tuple and part[0] is float)
                dtypes = [o.dtype if isinstance(o, ndarray) else o for o in operands]
                step.number = place, literal_dtype(operator, dtypes, place)
                self._note_leaf(ndarray(numpy.array(operands[place], step.number[1])))
                places[place], key = -len(segment.leaves), wide
                leaves.append(type_of(segment.leaves[-1]._data))
        step.operator, step.attrs, step.operands, step.leaves = operator, attrs, tuple(places), tuple(leaves)
        step.shape, step.dtype = result.shape, result.dtype
        step.work = numpy_work(operator, [numpy.asarray(data_of(o)) for o in operands], result._data)
        return key

    # -- the end of a segment --------------------------------------------------------------------------------

    def settle(self) -> None:
        """Compute what is pending and begin a new segment."""
        segment, step = self._segment, self._step
        if not segment.leaves and not segment.values:
            return
        self._restart()
        wanted, views = _asked_for(segment.values)
        if wanted:
            for number, data in zip(wanted, self._run(step, segment, wanted), strict=True):
                _give(segment.values[number], data)
        for number in views:
            (data,) = computed(_step_of(segment.values[number]), segment, [number]).values()
            _give(segment.values[number], data)

    def _run(self, step: Step, segment: Segment, wanted: tuple[int, ...]) -> list[numpy.ndarray]:
        run = step.runs.get(wanted, 0)
        if type(run) is int:
            self.gain = None
            step.runs[wanted] = run = run + 1
            if run == _COMPILED_AT:
                step.runs[wanted] = run = self._tree.compile(step, wanted)
        results = run(segment.leaves) if callable(run) else None
        if self.gain is not None:
            saved = sum(s.work for s in step.path()) - run.work if callable(run) else 0.0
            self.gain += saved - _OVERHEAD
        if results is None:
            known = computed(step, segment, wanted)
            return [known[n] for n in wanted]
        return results


_NUMBERS = (bool, int, float)


def _is_pending(operand: Any) -> bool:
    return type(operand) is ndarray and operand._promise is not None


def _without_number(key: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The key for any float in the place of its one float; None where it does not have exactly one."""
    floats = [n for n, part in enumerate(key) if type(part) is tuple and part and part[0] is float]
    if len(floats) != 1:
        return None
    return (*key[: floats[0]], "any float", *key[floats[0] + 1 :])


def _kind_of(operator: Operator, operands: tuple[Any, ...], result: ndarray) -> str:
    """What the first result of a step says of it; see NOTE [segments]."""
    arrays = [data_of(o) for o in operands if not isinstance(o, bool | int | float)]
    owner = stamps.owner_of(result._data)
    shares = any(stamps.owner_of(a) is owner for a in arrays)
    if operator.random or not isinstance(operator.lowering, _DEFERRABLE):
        return DIRECT
    if any(a.dtype.name == "float16" or not a.size for a in (result._data, *arrays)):
        return DIRECT
    if shares:
        return VIEW if isinstance(operator.lowering, Movement) and not stamps.is_lent(owner) else DIRECT
    return PENDING if result._data.flags.c_contiguous else DIRECT


def _asked_for(values: list[ndarray]) -> tuple[tuple[int, ...], list[int]]:
    """The values to compute, and the views to take then: those that somebody besides ``values`` holds."""
    wanted: set[int] = set()
    views: set[int] = set()
    for number in range(len(values)):
        if sys.getrefcount(values[number]) > _ALONE and values[number]._promise is not None:
            while number >= 0 and values[number]._promise is not None and number not in views:
                step = _step_of(values[number])
                (views if step.kind is VIEW else wanted).add(number)
                if step.kind is not VIEW:
                    break
                number = step.operands[0]
    return tuple(sorted(wanted)), sorted(views)


def _step_of(array: ndarray) -> Step:
    assert isinstance(array._promise, Promised)
    return array._promise.step


_ALONE = 2  # references: the list's and that of the question
