"""Values that wait: what was deferred since a value was last asked for, and the computation of some of it in any thread.

NOTE [who may compute]
The thread that defers a segment ends it with one program. Any other code that needs a value (another thread, a
finalizer in the middle of deferring) computes it with NumPy from the leaves. Of two that compute the same value the first
one counts, and a view is taken of the memory that counts. An array that nobody holds any more is computed for nobody.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy

from blockfuse.array import stamps
from blockfuse.array.ndarray import ndarray
from blockfuse.tracer.lazy.segment_tree import Step


class Session(Protocol):
    """The call that defers operators."""

    def settle(self, segment: Segment) -> None:
        """End ``segment``, if it is the present one and this thread defers it."""


class PendingValue(weakref.ref[ndarray]):
    """One deferred value: a weak reference to its array, which has no data as long as this is its ``_pending``."""

    __slots__ = ("dtype", "number", "segment", "shape", "step")
    dtype: numpy.dtype
    number: int
    segment: Segment
    shape: tuple[int, ...]
    step: Step

    def compute(self) -> None:
        """Compute: the whole segment in the thread that defers it, what this value needs in any other."""
        session = self.segment.session()
        if session is not None:
            session.settle(self.segment)
        self.segment.deliver([self])

    def give(self, data: numpy.ndarray) -> numpy.ndarray:
        """Let the array have ``data``, or what it was given before; that is returned."""
        data = self.segment.given.setdefault(self.number, data)
        array = self()
        if array is not None and array._pending is self:
            array._data = data
            array._pending = None
        return data


class Segment:
    """What is deferred since the last value was asked for."""

    __slots__ = ("closed", "given", "has_pending", "indices", "leaves", "nbytes", "session", "values")

    def __init__(self, session: Callable[[], Session | None]) -> None:
        self.session = session
        self.leaves: list[ndarray] = []
        self.values: list[PendingValue] = []
        # id of a leaf, or of a value that had data from the start -> its index
        self.indices: dict[int, int] = {}
        self.given: dict[int, numpy.ndarray] = {}  # number of a value that was delivered -> its data
        self.nbytes = 0  # of the leaves that are not parameters
        self.closed = False  # memory that it reads was written by somebody else; NOTE [who may compute]
        self.has_pending = False  # whether values may be pending

    def defer(self, array: ndarray, step: Step) -> PendingValue:
        """Let ``array`` wait as the value of ``step``."""
        pending = PendingValue(array)
        pending.segment, pending.step, pending.number = self, step, len(self.values)
        pending.shape, pending.dtype = step.shape, step.dtype
        self.values.append(pending)
        return pending

    def add_leaf(self, array: ndarray, nbytes: int) -> None:
        """nbytes: what the segment keeps alive by it."""
        self.leaves.append(array)
        self.indices[id(array)] = -len(self.leaves)
        self.nbytes += nbytes

    def pending(self) -> list[PendingValue]:
        """The values that somebody holds and that have no data yet."""
        return [p for p in tuple(self.values) if is_pending(p)]

    def touches(self, owner: numpy.ndarray) -> bool:
        """Whether a pending value may be computed from the memory of ``owner``."""
        arrays = (*self.leaves, *[p() for p in tuple(self.values)])
        return any(a is not None and a._pending is None and stamps.owner_of(a._data) is owner for a in arrays)

    def deliver(self, wanted: Iterable[PendingValue]) -> None:
        """Compute ``wanted`` with NumPy, and give them and what they need to whoever holds it."""
        values, leaves = self.values, self.leaves  # a thread that ends the segment leaves these lists alone
        needed = {p.number for p in wanted if is_pending(p)}
        for number in range(max(needed, default=-1), -1, -1):
            if number in needed and present(values[number]) is None:
                needed.update(o for o in values[number].step.operands if type(o) is int and o >= 0)
        known: dict[int, numpy.ndarray] = {}
        with numpy.errstate(all="ignore"):  # the operator was called elsewhere, perhaps where that is so
            for number in sorted(needed):
                pending = values[number]
                data = present(pending)
                if data is None:
                    step = pending.step
                    assert step.operator is not None
                    operands = [_operand(o, known, leaves) for o in step.operands]
                    data = pending.give(numpy.asarray(step.operator.meaning(*operands, **step.attrs)))
                known[number] = data

    def end(self) -> None:
        """All values are delivered: let go of the arrays."""
        self.leaves, self.values = [], []


def is_pending(pending: PendingValue) -> bool:
    array = pending()
    return array is not None and array._pending is pending


def present(pending: PendingValue) -> numpy.ndarray | None:
    """The data of a value that has some."""
    array = pending()
    if array is not None and array._pending is None:
        return array._data
    return pending.segment.given.get(pending.number)


def _operand(index: Any, known: dict[int, numpy.ndarray], leaves: list[ndarray]) -> Any:
    if type(index) is tuple:
        return index[1]
    return known[index] if index >= 0 else leaves[-1 - index]._data
