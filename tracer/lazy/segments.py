"""Calls that cannot be one program: operators wait until Python asks for a value, then run together.

NOTE [segments]
Python runs such a call from beginning to end, so its effects are those of an eager call. An operator only says what
it would compute and returns a pending array. When somebody asks for a value (an escape, a write, an operator without
a kernel, the end of the call), everything deferred since the last time, a segment, is computed: by a compiled program
if the segment was met before, else by NumPy, operator by operator.

Segments lie in a tree: each step is an operator with its attributes and the indices of its operands, so that a known
operator costs a look into a dict. A step is computed at once when it is new. That shows whether its result is new
memory in C order, and may be pending from then on, or a view, or neither: such a step ends a segment every time.

NOTE [values at the time]
A pending operator must see its operands as they are now. Writes by way of blockfuse settle the segment first. Memory
that NumPy's own arrays share can be written without anyone seeing it, so of such operands a copy is kept.

NOTE [exceptions of operators]
What an operator raises must be raised where it is called. Shapes, dtypes and attributes decide that for operators with a
kernel, and those are the same at every visit of a step. Operators without one, whose values may matter, are not kept
waiting, nor is any while NumPy is told to raise or to call somebody for the values it meets (``numpy.errstate``).

NOTE [deferring is not interrupted]
The garbage collector may run a finalizer between any two lines, and that may use arrays. While an operator is deferred or
a segment ends, the session therefore belongs to no thread: such code computes by itself.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy
from numpy._core import umath  # what ``numpy.errstate`` itself uses

from blockfuse.array import stamps
from blockfuse.array.eager import Eager
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.operator import Operator
from blockfuse.tracer.lazy.pending import PendingValue, Segment, present
from blockfuse.tracer.lazy.segment_tree import (
    DEFERRAL_NANOSECONDS,
    DIRECT,
    SEGMENT_NANOSECONDS,
    VIEW,
    Step,
    Tree,
    kind_of,
)
from blockfuse.tracer.lazy.step_keys import described, key_of, step_with_any_number

_MAX_OPERATORS = 1024  # operators in a segment
_MAX_KEPT_BYTES = 1 << 26  # bytes that only a segment keeps alive
_NOBODY = 0  # no thread has this identifier

_identifier = threading.get_ident
_made = ndarray.__new__


class Segmented(Eager):
    """Defers the operators of one call.

    changing: whether something was new, or is not compiled yet. crowded: whether it never will be, for the tree is full.
    gain: about how many nanoseconds segments saved.
    """

    defers = True
    outlived = False

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.changing = self.crowded = False
        self.gain = 0.0
        self._thread = _identifier()
        self._errors: Any = None  # NumPy's error state that was found to be quiet
        self._open: list[Segment] = []  # that are being ended, or could not be
        self._reference: weakref.ref[Segmented] = weakref.ref(self)
        self._restart()

    def begin(self) -> None:
        """From now on whoever writes tells."""
        stamps.readers.add(self._reference)

    def _restart(self) -> None:
        self._segment = Segment(self._reference)
        self._step = self._tree.root

    def finish(self) -> None:
        """The call is over: what is still pending is computed."""
        try:
            self.settle()
        finally:
            stamps.readers.discard(self._reference)
            self._thread = _NOBODY

    # -- what operators turn into ----------------------------------------------------------------------------

    def apply(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        thread = _identifier()
        if (
            thread != self._thread
        ):  # NOTE [deferring is not interrupted]; or the context went to another thread
            return super().apply(operator, operands, attrs)
        self._thread = _NOBODY
        try:
            errors = _error_state()
            if errors is not self._errors and not self._is_quiet(errors):
                return self._direct(operator, operands, attrs)
            if self._segment.closed or self._open:
                self._end()
            return self._deferred(operator, operands, attrs)
        except BaseException:
            del self._segment.values[self._step.count :]  # what was deferred in part
            self._end()
            raise
        finally:
            self._thread = thread

    def _deferred(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        key = key_of(self._segment, self._tree.held, operator, operands, attrs)
        if key is None:
            return self._direct(operator, operands, attrs)
        step = self._step.children.get(key) or step_with_any_number(self._segment, self._step, key)
        if step is None:
            return self._new(key, operator, operands, attrs)
        if step.kind is DIRECT:
            return self._direct(operator, operands, attrs)
        segment = self._segment
        if step.kind is VIEW and not _is_pending(operands[0]):
            result = super().apply(operator, operands, attrs)
            pending = segment.defer(result, step)
            segment.indices[id(result)] = pending.number
        else:
            result = _made(ndarray)
            result._pending = pending = segment.defer(result, step)
            segment.has_pending = True
        self._step = step
        if pending.number >= _MAX_OPERATORS or segment.nbytes > _MAX_KEPT_BYTES:
            self._shorten()
        return result

    def update(
        self, target: ndarray, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]
    ) -> None:
        self.settle()
        super().update(target, operator, operands, attrs)

    def assign(self, target: ndarray, index: Any, value: Any) -> None:
        self.settle()
        super().assign(target, index, value)

    def escape(self, kind: str, array: ndarray) -> None:  # noqa: ARG002 - every kind is the same here
        if _is_pending(array):
            self.settle()

    def visit(self, block: Any) -> None:
        self._tree.meet(block)

    def read(self, owners: Sequence[numpy.ndarray]) -> None:
        """Memory is about to be written by somebody else; see NOTE [who may compute]."""
        for segment in (self._segment, *self._open):  # in this order: ending goes the other way
            if any(map(segment.touches, owners)):
                segment.closed = True
                segment.deliver(segment.pending())

    def _direct(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        self._end()
        return super().apply(operator, operands, attrs)

    def _is_quiet(self, errors: Any) -> bool:
        """Whether NumPy keeps quiet, or only warns, in the present error state."""
        quiet = all(mode in ("ignore", "warn") for mode in numpy.geterr().values())
        self._errors = errors if quiet else None
        return quiet

    # -- new steps -------------------------------------------------------------------------------------------

    def _new(
        self, key: tuple[Any, ...], operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]
    ) -> Any:
        """A step that is not in the tree: it is computed at once."""
        tree, self.changing = self._tree, True
        if tree.full:
            self.crowded = True
            return self._direct(operator, operands, attrs)
        if tree.finds_more(operands):
            self._end()
            return self._deferred(operator, operands, attrs)
        segment, parent = self._segment, self._step
        if segment.has_pending:
            segment.deliver(segment.pending())
            segment.has_pending = False
        result = super().apply(operator, operands, attrs)
        step = Step(parent, kind_of(operator, operands, attrs, result))
        key = described(segment, step, key, operator, operands, attrs, result)
        step = tree.add(parent, key, step)
        if step.kind is DIRECT:
            self._restart()
        else:
            segment.indices[id(result)] = segment.defer(result, step).number
            self._step = step
        return result

    # -- the end of a segment --------------------------------------------------------------------------------

    def settle(self, segment: Segment | None = None) -> None:
        """Compute what is pending and begin a new segment; only in the thread that defers, and only ``segment`` if given."""
        thread = _identifier()
        if thread != self._thread or (segment is not None and segment is not self._segment):
            return
        self._thread = _NOBODY
        try:
            self._end()
        finally:
            self._thread = thread

    def _end(self) -> None:
        while self._open:  # an exception stopped these: they are not compiled
            self._open[-1].deliver(self._open[-1].pending())
            self._open.pop().end()
        segment, step = self._segment, self._step
        if not step.count and not segment.leaves:
            return
        self._open.append(segment)
        self._restart()
        pending = segment.pending() if segment.has_pending else []
        if pending and not segment.closed:
            self._run(step, segment, pending)
        segment.deliver(pending)
        segment.end()
        self._open.remove(segment)

    def _run(self, step: Step, segment: Segment, pending: list[PendingValue]) -> None:
        """Compute by a program, if there is one: the pending values that are not views, and the bases of those that are."""
        wanted = tuple(sorted({n for n in map(_base, pending) if n is not None}))
        if not wanted:
            return
        run, changing = self._tree.runner(step, wanted)
        self.changing = self.changing or changing
        self.gain += (
            (step.work - run.work if run is not None else 0)
            - SEGMENT_NANOSECONDS
            - DEFERRAL_NANOSECONDS * step.count
        )
        results = run(segment.leaves) if run is not None else None
        for number, data in zip(wanted, results or (), strict=results is not None):
            segment.values[number].give(data)

    def _shorten(self) -> None:
        """End a segment that is too long, or that keeps too much memory which nobody else needs."""
        segment = self._segment
        kept = sum(a._data.nbytes for a in segment.leaves if sys.getrefcount(a) <= _REFERENCES_OF_UNHELD)
        segment.nbytes = 0
        if len(segment.values) > _MAX_OPERATORS or kept > _MAX_KEPT_BYTES:
            self._end()


_REFERENCES_OF_UNHELD = 3  # references: the list's, the loop's and that of the question
_STATE = getattr(umath, "_extobj_contextvar", None)
_error_state: Callable[[], Any] = object if _STATE is None else _STATE.get  # equal where nothing changed


def _is_pending(operand: Any) -> bool:
    return type(operand) is ndarray and operand._pending is not None


def _base(pending: PendingValue) -> int | None:
    """The value that has the memory of this one; None where that is there already."""
    values, number = pending.segment.values, pending.number
    while number >= 0 and present(values[number]) is None:
        step = values[number].step
        if step.kind is not VIEW:
            return number
        number = step.operands[0]
    return None
