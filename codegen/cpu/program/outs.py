"""The memory that a caller brings for results: whether it is as they are, and whether kernels may write to it.

An entry is given NumPy's arrays, which nobody but the caller rests on (``codegen/cpu/process/outs_ir.py``). Kernels write to
one at once if it lies in C order, apart from all that the program reads and from the other ones, and if nothing can give the
call back to Python once they run. Else they write to a new array, which is copied at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Protocol

from llvmlite import ir

from blockfuse.codegen.cpu.process.cpython import (
    ARRAY_DATA,
    ARRAY_DESCR,
    ARRAY_DIMS,
    ARRAY_FLAGS,
    ARRAY_NDIM,
    ARRAY_STRIDES,
    C_CONTIGUOUS_AND_ALIGNED,
    DESCR_KIND,
)
from blockfuse.codegen.cpu.program.frame import Frame
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind
from blockfuse.codegen.values.emitter import I32, I64, VOID, constant

Range = tuple[ir.Value, ir.Value]  # the address of the first byte, and the one behind the last


class Sizes(Protocol):
    """What is known of results."""

    @property
    def items(self) -> ir.Value | None:
        """Of the batch, where the program is for any number."""

    def nbytes(self, buffer: Buffer, /) -> ir.Value: ...


class Outs:
    """Those of a call that has them."""

    def __init__(self, frame: Frame, objects: ir.Value, count: ir.Value) -> None:
        """objects, count: the arguments of the entry."""
        self._frame, self._emit, self._objects = frame, frame.emit, objects
        self._buffers = [buffer for _, buffer in frame.plan.buffers(BufferKind.RESULT)]
        self._first = len(frame.plan.buffers(BufferKind.ARGUMENT))
        self._direct = frame.emit.local(I64, max(len(self._buffers), 1))  # whether kernels write to each
        for order in range(len(self._buffers)):
            frame.emit.put(self._direct, order, 0)
        self.given = self._are_given(count)

    def _are_given(self, count: ir.Value) -> ir.Value:
        """Whether there are some: as many as results, and the mark behind them."""
        emit, last = self._emit, self._first + len(self._buffers)
        if not self._buffers:
            return constant(0, ir.IntType(1))
        fits = emit.is_("==", count, last + 1)
        with emit.builder.if_then(fits):
            mark = emit.word(self._objects, last)
            self._frame.require(emit.is_("==", mark, self._frame.words.get("mode")))
        return fits

    def _array(self, order: int) -> ir.Value:
        return self._emit.pointer(self._emit.word(self._objects, self._first + order))

    # -- whether they fit --------------------------------------------------------------------------------------

    def check(self, sizes: Sizes, read: list[Range]) -> None:
        """Go on if they are as the results, and no two lie in one place. read: where the arguments lie."""
        if not self._buffers:
            return
        emit = self._emit
        with emit.builder.if_then(self.given):
            ranges = [self._checked(order, buffer, sizes) for order, buffer in enumerate(self._buffers)]
            for one, other in combinations(ranges, 2):
                self._frame.require(self._apart(one, other))
            if _is_never_given_back(self._frame):
                for order, written in enumerate(ranges):
                    nowhere = self._is_read_nowhere(written, read)
                    free = emit.builder.and_(self._in_order(self._array(order)), nowhere)
                    emit.put(self._direct, order, emit.builder.zext(free, I64))

    def _checked(self, order: int, buffer: Buffer, sizes: Sizes) -> Range:
        """Where one lies that has the dtype and the shape of its result."""
        emit, frame, array = self._emit, self._frame, self._array(order)
        dtype, wanted = (emit.pointer(emit.field(array, ARRAY_DESCR)), frame.result_dtype(order))
        same = emit.is_("==", emit.field(dtype, DESCR_KIND), emit.field(wanted, DESCR_KIND))
        frame.require(same)
        frame.require(emit.is_("==", emit.field(array, ARRAY_NDIM, I32), buffer.type.ndim))
        dims = emit.pointer(emit.field(array, ARRAY_DIMS))
        for axis, size in enumerate(buffer.type.shape):
            grows = axis == 0 and buffer.rows_per_item
            length = emit.times(sizes.items, buffer.rows_per_item) if grows else constant(size)
            frame.require(emit.is_("==", emit.word(dims, axis), length))
        start = emit.field(array, ARRAY_DATA)
        return start, emit.builder.add(start, self._span(array, dims, buffer, sizes))

    def _span(self, array: ir.Value, dims: ir.Value, buffer: Buffer, sizes: Sizes) -> ir.Value:
        """How many bytes it reaches over; axes must lie inside of each other, as in C order, perhaps with gaps."""
        emit, frame, strides = (
            self._emit,
            self._frame,
            self._emit.pointer(self._emit.field(array, ARRAY_STRIDES)),
        )

        def with_gaps() -> ir.Value:
            span: ir.Value = constant(buffer.type.dtype.itemsize)
            for axis in reversed(range(buffer.type.ndim)):
                stride, length = emit.word(strides, axis), emit.word(dims, axis)
                frame.require(emit.is_(">=", stride, span))
                frame.require(emit.is_(">", length, 0))
                steps = emit.builder.sub(length, constant(1))
                span = emit.builder.add(emit.builder.mul(stride, steps), span)
            return span

        return emit.choice(self._in_order(array), lambda: sizes.nbytes(buffer), with_gaps)

    def _in_order(self, array: ir.Value) -> ir.Value:
        wanted = constant(C_CONTIGUOUS_AND_ALIGNED, I32)
        flags = self._emit.builder.and_(self._emit.field(array, ARRAY_FLAGS, I32), wanted)
        return self._emit.is_("==", flags, wanted)

    # -- whether kernels may write to them -----------------------------------------------------------------------

    def _is_read_nowhere(self, written: Range, read: list[Range]) -> ir.Value:
        emit, words = self._emit, self._frame.words
        free = emit.local(I64)
        emit.put(free, 0, 1)
        for one in read:
            self._note(free, self._apart(written, one))
        bounds = words.pointer("bounds")
        with emit.counted(0, words.get("bound")) as number:
            place = emit.times(number, 2)
            start, end = emit.word(bounds, place), emit.word(bounds, emit.builder.add(place, constant(1)))
            self._note(free, self._apart(written, (start, end)))
        return emit.is_("!=", emit.word(free, 0), 0)

    def _note(self, free: ir.Value, holds: ir.Value) -> None:
        emit = self._emit
        emit.put(free, 0, emit.builder.and_(emit.word(free, 0), emit.builder.zext(holds, I64)))

    def _apart(self, one: Range, other: Range) -> ir.Value:
        before = self._emit.is_("<=", one[1], other[0], signed=False)
        behind = self._emit.is_("<=", other[1], one[0], signed=False)
        return self._emit.builder.or_(before, behind)

    # -- what results are made of --------------------------------------------------------------------------------

    def _is_direct(self, order: int) -> ir.Value:
        return self._emit.is_("!=", self._emit.word(self._direct, order), 0)

    def taken(self, order: int, new: Callable[[], ir.Value]) -> ir.Value:
        """The array of a result, with a reference of its own: that of the caller, or a new one."""
        if not _is_never_given_back(self._frame):
            return new()
        return self._emit.choice(self._is_direct(order), lambda: self._borrowed(order), new)

    def _borrowed(self, order: int) -> ir.Value:
        array = self._array(order)
        self._frame.words.call("incref", VOID, array)
        return array

    def fill(self, order: int, array: ir.Value, nbytes: ir.Value) -> None:
        """Copy a result of so many bytes into the array of the caller, if it is not there."""
        emit, target = self._emit, self._array(order)
        elsewhere = emit.is_("!=", emit.address(array), emit.address(target))
        with emit.builder.if_then(elsewhere), emit.builder.if_else(self._in_order(target)) as (whole, gaps):
            with whole:
                addresses = (emit.field(one, ARRAY_DATA) for one in (target, array))
                self._frame.words.call("memcpy", I64, *addresses, nbytes)
            with gaps:
                self._copy_into(target, array)

    def _copy_into(self, target: ir.Value, array: ir.Value) -> None:
        answer = self._frame.words.call("copy_into", I32, target, array)
        with self._emit.builder.if_then(self._emit.is_("!=", answer, 0)):
            self._frame.give_up(self._frame.failed)


def _is_never_given_back(frame: Frame) -> bool:
    """Whether Python never takes over what has begun: then nothing but results is ever written."""
    plan = frame.plan
    return not (plan.decides or plan.schedule.fault is not None or plan.draws)
