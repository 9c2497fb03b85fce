"""The entry: the built-in function that Python calls for a whole program."""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.native.words import I8, I32, I64, POINTER, word
from blockfuse.codegen.cpu.process.cpython import (
    ARRAY_DATA,
    ARRAY_DESCR,
    ARRAY_DIMS,
    ARRAY_FLAGS,
    ARRAY_NDIM,
    C_CONTIGUOUS_AND_ALIGNED,
    OB_TYPE,
)
from blockfuse.codegen.cpu.program.frame import dtype_places, place_of
from blockfuse.codegen.cpu.program.results import Results
from blockfuse.codegen.cpu.program.running import RAISED, Running
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind
from blockfuse.codegen.validity import VALID
from blockfuse.codegen.variants import SLOTS


class Entry(Results, Running):
    """``entry(self, args, count)``: the METH_FASTCALL function of NOTE [the frame].

    It answers NotImplemented, so that Python takes over, unless the program is valid, no unusual mode is on,
    and the arguments are exactly as many C-contiguous arrays of the recorded types. Dispatch knows the mode of its thread:
    it gives the array that counts unusual ones as one argument more, and is not counted.
    """

    def emit(self) -> None:
        builder, plan = self.builder, self.plan
        this, arguments, count = self.function.args
        self.frame = self._pointer(self._field(this, ARRAY_DATA))
        self._require(builder.icmp_signed("==", self._word("valid"), ir.Constant(I64, VALID)))
        given = plan.buffers(BufferKind.ARGUMENT)
        asked_first = self._required_mode(arguments, count, len(given))
        self._require_different(arguments, len(given))
        data = [self._checked_argument(arguments, n, b) for n, (_, b) in enumerate(given)]
        table = self._filled_table()
        if self.items is not None:
            self._require_proven_size(self.items)
            self._put(table, plan.items_place, self.items)
        for (number, _), address in zip(given, data, strict=True):
            self._put(table, number, address)
        results = self._results(table)
        self._give_up_unless_done(self._run(table))
        self._count(asked_first)
        builder.ret(self._wrapped(results))
        self._emit_exits()

    def _required_mode(self, arguments: ir.Value, count: ir.Value, given: int) -> ir.Value:
        """Go on if the mode is right; whether that is so because no mode is unusual, and not because dispatch says it."""
        builder = self.builder
        unusual = builder.load(self._pointer(self._word("unusual")), typ=I64)
        usual = builder.icmp_signed("==", unusual, ir.Constant(I64, 0))
        asked_first = builder.and_(usual, builder.icmp_signed("==", count, ir.Constant(I64, given)))
        asked_by_dispatch, onwards = (self.function.append_basic_block() for _ in range(2))
        builder.cbranch(asked_first, onwards, asked_by_dispatch)
        builder.position_at_end(asked_by_dispatch)
        self._require(builder.icmp_signed("==", count, ir.Constant(I64, given + 1)))
        last = word(builder, arguments, given)
        self._require(builder.icmp_signed("==", last, self._word("mode")))
        builder.branch(onwards)
        builder.position_at_end(onwards)
        return asked_first

    def _count(self, asked_first: ir.Value) -> None:
        """One call more, unless dispatch counts it; only the holder of the interpreter lock counts."""
        place = ir.Constant(I64, place_of("calls"))
        counter = self.builder.gep(self.frame, [place], source_etype=I64)
        more = self.builder.zext(asked_first, I64)
        self.builder.store(self.builder.add(self.builder.load(counter, typ=I64), more), counter)

    def _give_up_unless_done(self, done: ir.Value) -> None:
        """Where the flow is unknown, or an index was beyond its axis, Python runs the call from the start.

        Nothing was written but our own memory. What drawing or a signal's handler raised goes on.
        """
        gives_up = len(self.plan.schedule.blocks) > 1 or self.plan.schedule.fault is not None
        exits = [(0, self.refused)] * gives_up + [(RAISED, self.failed)] * bool(
            self.plan.draws or self.plan.decides
        )
        for answer, exit in exits:
            with self.builder.if_then(self.builder.icmp_signed("==", done, ir.Constant(I64, answer))):
                self._give_up(exit)

    def _emit_exits(self) -> None:
        builder = self.builder
        builder.position_at_end(self.failed)
        builder.ret(ir.Constant(POINTER, None))
        builder.position_at_end(self.refused)
        answer = self._pointer(self._word("not_implemented"))
        self._call("incref", ir.VoidType(), answer)
        builder.ret(answer)

    # -- arguments -------------------------------------------------------------------------------------------

    def _require_different(self, arguments: ir.Value, count: int) -> None:
        """No array is passed twice: ``forward`` may ask whether two arguments are one."""
        objects = [word(self.builder, arguments, n) for n in range(count)]
        for number, one in enumerate(objects):
            for other in objects[:number]:
                self._require(self.builder.icmp_signed("!=", one, other))

    def _checked_argument(self, arguments: ir.Value, number: int, buffer: Buffer) -> ir.Value:
        """The address of an argument's elements."""
        builder, type = self.builder, buffer.type
        given = self._pointer(word(builder, arguments, number))
        self._require(builder.icmp_signed("==", self._field(given, OB_TYPE), self._word("wrapper")))
        slot = builder.gep(given, [self._word("slot")], source_etype=I8)
        array = builder.load(slot, typ=POINTER)
        there = builder.icmp_signed("!=", builder.ptrtoint(array, I64), ir.Constant(I64, 0))
        self._require(there)  # a pending array has no data yet
        self._require(builder.icmp_signed("==", self._field(array, OB_TYPE), self._word("array")))
        dtype = word(builder, self.frame, dtype_places(self.plan)[0] + number)
        self._require(builder.icmp_signed("==", self._field(array, ARRAY_DESCR), dtype))
        ndim = self._field(array, ARRAY_NDIM, I32)
        self._require(builder.icmp_signed("==", ndim, ir.Constant(I32, type.ndim)))
        sizes = self._pointer(self._field(array, ARRAY_DIMS)) if type.ndim else None
        for axis, size in enumerate(type.shape):
            found = word(builder, sizes, axis)
            if buffer.rows_per_item and axis == 0:
                self._require_items(found)
            else:
                self._require(builder.icmp_signed("==", found, ir.Constant(I64, size)))
        wanted = ir.Constant(I32, C_CONTIGUOUS_AND_ALIGNED)
        flags = builder.and_(self._field(array, ARRAY_FLAGS, I32), wanted)
        self._require(builder.icmp_signed("==", flags, wanted))
        return self._field(array, ARRAY_DATA)

    def _require_items(self, found: ir.Value) -> None:
        """The leading axis of the first argument that grows says how many items there are; the others agree."""
        if self.items is None:
            least = ir.Constant(I64, self.plan.schedule.min_items)
            self._require(self.builder.icmp_signed(">=", found, least))
            self.items = found
        else:
            self._require(self.builder.icmp_signed("==", found, self.items))

    def _require_proven_size(self, items: ir.Value) -> None:
        """See NOTE [variants]."""
        slot = self.builder.and_(items, ir.Constant(I64, SLOTS - 1))
        place = self.builder.gep(self._pointer(self._word("sizes")), [slot], source_etype=I64)
        self._require(self.builder.icmp_signed("==", self.builder.load(place, typ=I64), items))

    def _filled_table(self) -> ir.Value:
        """The program's table, copied to the stack."""
        size = self.plan.table_size
        table = self.builder.alloca(I64, size)
        start = dtype_places(self.plan)[2]
        for place in range(size):
            self._put(table, place, word(self.builder, self.frame, start + place))
        return table
