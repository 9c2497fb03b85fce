"""The arguments of an entry: whether they are those that the program is for, and where their elements lie."""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.process.cpython import (
    ARRAY_DATA,
    ARRAY_DESCR,
    ARRAY_DIMS,
    ARRAY_FLAGS,
    ARRAY_NDIM,
    C_CONTIGUOUS_AND_ALIGNED,
    DESCR_KIND,
    OB_TYPE,
)
from blockfuse.codegen.cpu.program.frame import Frame
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind
from blockfuse.codegen.values.emitter import I8, I32, I64, POINTER, constant
from blockfuse.codegen.variants import SIZE_SLOTS


class Arguments:
    """Lets an entry go on if its arguments are as recorded."""

    def __init__(self, frame: Frame, objects: ir.Value) -> None:
        """objects: the entry's ``args``."""
        self.frame, self.emit, self._objects = frame, frame.emit, objects
        self._buffers = frame.plan.buffers(BufferKind.ARGUMENT)
        self.items: ir.Value | None = None  # of the batch, where the program is for any number; once checked
        self.all_plain: ir.Value | None = (
            None  # whether all are NumPy's, none ours; None where there are none
        )

    def require_mode(self, count: ir.Value, bring_results: ir.Value) -> ir.Value:
        """Go on if the mode is right; whether that is so because no mode is unusual, and not because dispatch says it.

        bring_results: whether arrays for results are among the arguments.
        """
        emit, builder, words, given = self.emit, self.emit.builder, self.frame.words, len(self._buffers)
        unusual = builder.load(words.pointer("unusual"), typ=I64)
        usual = emit.is_("==", unusual, 0)
        by_python = builder.and_(usual, builder.or_(bring_results, emit.is_("==", count, given)))
        by_dispatch, onwards = emit.block(), emit.block()
        builder.cbranch(by_python, onwards, by_dispatch)
        builder.position_at_end(by_dispatch)
        self.frame.require(emit.is_("==", count, given + 1))
        last = emit.word(self._objects, given)
        self.frame.require(emit.is_("==", last, words.get("mode")))
        emit.go_to(onwards)
        return by_python

    def check(self) -> list[ir.Value]:
        """The addresses of the elements of all arguments, if they are as recorded."""
        self._require_different()
        return [self._checked(number, buffer) for number, (_, buffer) in enumerate(self._buffers)]

    def _require_different(self) -> None:
        """No array is passed twice: ``forward`` may ask whether two arguments are one."""
        objects = [self.emit.word(self._objects, number) for number in range(len(self._buffers))]
        for number, one in enumerate(objects):
            for other in objects[:number]:
                self.frame.require(self.emit.is_("!=", one, other))

    def _checked(self, number: int, buffer: Buffer) -> ir.Value:
        """The address of an argument's elements."""
        emit, frame, type = self.emit, self.frame, buffer.type
        array = self._array(emit.pointer(emit.word(self._objects, number)))
        dtype = emit.pointer(emit.field(array, ARRAY_DESCR))
        frame.require(emit.is_("==", emit.field(dtype, DESCR_KIND), frame.argument_dtype(number)))
        frame.require(emit.is_("==", emit.field(array, ARRAY_NDIM, I32), type.ndim))
        if type.ndim:
            self._require_shape(emit.pointer(emit.field(array, ARRAY_DIMS)), buffer)
        return emit.field(self._in_order(array), ARRAY_DATA)

    def _array(self, given: ir.Value) -> ir.Value:
        """The NumPy array that an argument is, or that lies behind an array of ours."""
        emit, builder = self.emit, self.emit.builder
        is_plain = emit.is_("==", emit.field(given, OB_TYPE), self.frame.words.get("array"))
        self.all_plain = builder.and_(is_plain, self.all_plain) if self.all_plain else is_plain
        return emit.choice(is_plain, lambda: given, lambda: self._array_behind(given))

    def _array_behind(self, given: ir.Value) -> ir.Value:
        emit, frame = self.emit, self.frame
        self._require_type(given, "wrapper")
        if frame.plan.schedule.updates:
            self._require_no_history(given)
        array = emit.builder.load(emit.at(given, frame.words.get("slot"), I8), typ=POINTER)
        there = emit.is_("!=", emit.address(array), 0)
        frame.require(there)  # a pending array has no data yet
        self._require_type(array, "array")
        return array

    def _in_order(self, array: ir.Value) -> ir.Value:
        """The array, or a copy of one whose elements do not lie in order.

        A program that writes takes none: where its memory reaches, ``require_apart`` must see.
        """
        emit = self.emit
        wanted = constant(C_CONTIGUOUS_AND_ALIGNED, I32)
        flags = emit.builder.and_(emit.field(array, ARRAY_FLAGS, I32), wanted)
        in_order = emit.is_("==", flags, wanted)
        if self.frame.plan.schedule.updates:
            self.frame.require(in_order)
            return array
        return emit.choice(in_order, lambda: array, lambda: self.frame.copied(array))

    def _require_no_history(self, given: ir.Value) -> None:
        """Where gradients are followed, one may go to the argument, or to what it was computed from."""
        emit, words = self.emit, self.frame.words
        history = emit.builder.load(emit.at(given, words.get("history"), I8), typ=I64)
        absent = emit.builder.or_(emit.is_("==", history, 0), emit.is_("==", history, words.get("none")))
        self.frame.require(absent)

    def _require_type(self, object: ir.Value, name: str) -> None:
        type = self.emit.field(object, OB_TYPE)
        self.frame.require(self.emit.is_("==", type, self.frame.words.get(name)))

    def _require_shape(self, sizes: ir.Value, buffer: Buffer) -> None:
        for axis, size in enumerate(buffer.type.shape):
            found = self.emit.word(sizes, axis)
            if buffer.rows_per_item and axis == 0:
                self._require_items(found)
            else:
                self.frame.require(self.emit.is_("==", found, size))

    def _require_items(self, found: ir.Value) -> None:
        """The leading axis of the first argument that grows says how many items there are; the others agree."""
        if self.items is None:
            self.frame.require(self.emit.is_(">=", found, self.frame.plan.schedule.min_items))
            self.items = found
        else:
            self.frame.require(self.emit.is_("==", found, self.items))

    def ranges(self, addresses: list[ir.Value]) -> list[tuple[ir.Value, ir.Value]]:
        """Where each argument begins and ends."""
        pairs = zip(self._buffers, addresses, strict=True)
        return [(start, self.emit.builder.add(start, self._nbytes(b))) for (_, b), start in pairs]

    def require_apart(self, addresses: list[ir.Value]) -> None:
        """No argument lies in memory that the program writes to: it may be read after it was written."""
        emit, frame = self.emit, self.frame
        for start, end in self.ranges(addresses):
            for number in frame.plan.schedule.updates:
                written = emit.word(frame.base, frame.layout.table + number)
                beyond = emit.builder.add(written, constant(frame.plan.schedule.buffers[number].type.nbytes))
                before, behind = emit.is_("<=", end, written), emit.is_("<=", beyond, start)
                frame.require(emit.builder.or_(before, behind))

    def _nbytes(self, buffer: Buffer) -> ir.Value:
        if not buffer.rows_per_item:
            return constant(buffer.type.nbytes)
        return self.emit.times(self.items, buffer.type.nbytes // buffer.type.shape[0])

    def require_proven_size(self, items: ir.Value) -> None:
        """See NOTE [variants]."""
        slot = self.emit.builder.and_(items, constant(SIZE_SLOTS - 1))
        proven = self.emit.word(self.frame.words.pointer("sizes"), slot)
        self.frame.require(self.emit.is_("==", proven, items))
