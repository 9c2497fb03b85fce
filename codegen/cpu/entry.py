"""The entry: the built-in function that Python calls for a whole program.

NOTE [the frame]
The entry's ``self`` is a NumPy array of words: the header (``HEADER``), the dtype objects of arguments and
results, then the table.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from llvmlite import ir

from blockfuse.codegen.buffers import ALIGNMENT, ITEMS, Buffer
from blockfuse.codegen.cost import items_for
from blockfuse.codegen.cpu.cpython import (
    ARRAY_DATA,
    ARRAY_DESCR,
    ARRAY_DIMS,
    ARRAY_FLAGS,
    ARRAY_NDIM,
    C_CONTIGUOUS_AND_ALIGNED,
    OB_TYPE,
    TUPLE_ITEMS,
)
from blockfuse.codegen.cpu.keeper import LEAST
from blockfuse.codegen.cpu.plan import Plan
from blockfuse.codegen.cpu.words import I8, I32, I64, POINTER, word

RELEASE_WORK = 20_000.0  # nanoseconds: above this, other Python threads may run meanwhile
STACK_WORKSPACE = 16_384  # bytes: a larger workspace is kept between calls

HEADER = (
    *(
        "valid",
        "unusual",
        "wrapper",
        "slot",
        "array",
        "new_array",
        "new_object",
        "incref",
        "decref",
        "not_implemented",
    ),
    *("save_thread", "restore_thread", "aligned_alloc", "free", "workspace", "new_tuple", "binding", "calls"),
    *("promise", "none", "set_handler", "keeper"),
)


def place_of(name: str) -> int:
    """Where a word of the header stands in the frame."""
    return HEADER.index(name)


def dtype_places(plan: Plan) -> tuple[int, int, int]:
    """Where in the frame the dtype objects of arguments, those of results, and the table start."""
    arguments, results = len(plan.buffers("argument")), len(plan.buffers("result"))
    return len(HEADER), len(HEADER) + arguments, len(HEADER) + arguments + results


def may_be_large(buffer: Buffer) -> bool:
    """Whether a result can be so large that it has memory of NOTE [kept memory]."""
    return buffer.share > 0 or buffer.type.nbytes >= LEAST


class Entry:
    """``entry(self, args, count)``: the METH_FASTCALL function of NOTE [the frame].

    It answers NotImplemented, so that Python takes over, unless the program is valid, no unusual mode is on,
    and the arguments are exactly as many C-contiguous arrays of the recorded types.
    """

    def __init__(self, module: ir.Module, plan: Plan, drive: ir.Function) -> None:
        self.plan, self.drive = plan, drive
        signature = ir.FunctionType(POINTER, [POINTER, POINTER, I64])
        self.function = ir.Function(module, signature, "entry")
        self.builder = ir.IRBuilder(self.function.append_basic_block("start"))
        self.refused = self.function.append_basic_block("refused")
        self.failed = self.function.append_basic_block("failed")
        self.frame: ir.Value = None
        self.items: ir.Value | None = None  # of the batch, where the program is for any number

    def emit(self) -> None:
        builder, plan = self.builder, self.plan
        this, arguments, count = self.function.args
        self.frame = self._pointer(self._field(this, ARRAY_DATA))
        self._require(builder.icmp_signed("==", self._word("valid"), ir.Constant(I64, 1)))
        unusual = builder.load(self._pointer(self._word("unusual")), typ=I64)
        self._require(builder.icmp_signed("==", unusual, ir.Constant(I64, 0)))
        given = plan.buffers("argument")
        self._require(builder.icmp_signed("==", count, ir.Constant(I64, len(given))))
        self._require_different(arguments, len(given))
        data = [self._checked_argument(arguments, n, b) for n, (_, b) in enumerate(given)]
        self._count()
        table = self._filled_table()
        if self.items is not None:
            self._put(table, plan.items_place, self.items)
        for (number, _), address in zip(given, data, strict=True):
            self._put(table, number, address)
        results = self._results(table)
        self._give_up_unless_done(self._run(table), results)
        builder.ret(self._wrapped(results))
        self._emit_exits()

    def _count(self) -> None:
        """One call more; only the holder of the interpreter lock counts."""
        place = ir.Constant(I64, place_of("calls"))
        counter = self.builder.gep(self.frame, [place], source_etype=I64)
        self.builder.store(
            self.builder.add(self.builder.load(counter, typ=I64), ir.Constant(I64, 1)), counter
        )

    # -- small things ----------------------------------------------------------------------------------------

    def _pointer(self, value: ir.Value) -> ir.Value:
        return self.builder.inttoptr(value, POINTER)

    def _field(self, base: ir.Value, offset: int, type: ir.Type = I64) -> ir.Value:
        place = self.builder.gep(base, [ir.Constant(I64, offset)], source_etype=I8)
        return self.builder.load(place, typ=type, align=4 if type == I32 else 8)

    def _word(self, name: str) -> ir.Value:
        return word(self.builder, self.frame, place_of(name))

    def _put(self, table: ir.Value, place: int, value: ir.Value) -> None:
        self.builder.store(value, self.builder.gep(table, [ir.Constant(I64, place)], source_etype=I64))

    def _require(self, condition: ir.Value) -> None:
        """Go on if ``condition`` holds, else let Python take over."""
        onwards = self.function.append_basic_block()
        self.builder.cbranch(condition, onwards, self.refused)
        self.builder.position_at_end(onwards)

    def _require_made(self, made: ir.Value) -> None:
        """Go on if an allocation succeeded, else raise what it raised."""
        onwards = self.function.append_basic_block()
        address = self.builder.ptrtoint(made, I64)
        self.builder.cbranch(
            self.builder.icmp_signed("!=", address, ir.Constant(I64, 0)), onwards, self.failed
        )
        self.builder.position_at_end(onwards)

    def _call(self, name: str, result: ir.Type, *operands: ir.Value) -> ir.Value:
        signature = ir.FunctionType(result, [o.type for o in operands])
        return self.builder.call(
            self.builder.inttoptr(self._word(name), signature.as_pointer()), list(operands)
        )

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
            if buffer.share and axis == 0:
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
            least = ir.Constant(I64, self.plan.schedule.least)
            self._require(self.builder.icmp_signed(">=", found, least))
            self.items = found
        else:
            self._require(self.builder.icmp_signed("==", found, self.items))

    def _filled_table(self) -> ir.Value:
        """The program's table, copied to the stack."""
        size = self.plan.table_size
        table = self.builder.alloca(I64, size)
        start = dtype_places(self.plan)[2]
        for place in range(size):
            self._put(table, place, word(self.builder, self.frame, start + place))
        return table

    # -- results ---------------------------------------------------------------------------------------------

    def _results(self, table: ir.Value) -> list[ir.Value]:
        """New NumPy arrays; their addresses go into the table."""
        builder = self.builder
        arrays = []
        for place, (number, buffer) in enumerate(self.plan.buffers("result")):
            dtype = self._pointer(word(builder, self.frame, dtype_places(self.plan)[1] + place))
            self._call("incref", ir.VoidType(), dtype)  # PyArray_NewFromDescr takes the reference
            sizes = builder.alloca(I64, max(buffer.type.ndim, 1))
            for axis, size in enumerate(buffer.type.shape):
                self._put(sizes, axis, ir.Constant(I64, size))
            if buffer.share:
                self._put(sizes, 0, builder.mul(self.items, ir.Constant(I64, buffer.share)))
            made = self._made(buffer, partial(self._new_array, dtype, buffer, sizes))
            self._require_made(made)
            self._put(table, number, self._field(made, ARRAY_DATA))
            arrays.append(made)
        return arrays

    def _new_array(self, dtype: ir.Value, buffer: Buffer, sizes: ir.Value) -> ir.Value:
        nothing = ir.Constant(POINTER, None)
        return self._call(
            "new_array",
            POINTER,
            *(self._pointer(self._word("array")), dtype, ir.Constant(I32, buffer.type.ndim), sizes),
            *(nothing, nothing, ir.Constant(I32, 0), nothing),
        )

    def _made(self, buffer: Buffer, make: Callable[[], ir.Value]) -> ir.Value:
        """A result, in memory that is kept where it is large."""
        if not buffer.share:
            return self._with_keeper(make) if may_be_large(buffer) else make()
        many = ir.Constant(I64, -(-LEAST * self.plan.schedule.batch // max(buffer.type.nbytes, 1)))
        results: list[tuple[ir.Value, ir.Block]] = []
        with self.builder.if_else(self.builder.icmp_signed(">=", self.items, many)) as (large, small):
            with large:
                results.append((self._with_keeper(make), self.builder.block))
            with small:
                results.append((make(), self.builder.block))
        return self._either(results)

    def _with_keeper(self, make: Callable[[], ir.Value]) -> ir.Value:
        """What ``make`` makes, in memory of NOTE [kept memory]."""
        before = self._call("set_handler", POINTER, self._pointer(self._word("keeper")))
        self._require_made(before)
        made = make()
        ours = self._call("set_handler", POINTER, before)
        self._call("decref", ir.VoidType(), ours)
        self._call("decref", ir.VoidType(), before)
        return made

    def _wrapped(self, arrays: list[ir.Value]) -> ir.Value:
        """The arrays as blockfuse arrays: one alone, several as a tuple."""
        builder = self.builder
        wrappers = []
        for array in arrays:
            wrapper = self._call(
                "new_object", POINTER, self._pointer(self._word("wrapper")), ir.Constant(I64, 0)
            )
            self._require_made(wrapper)
            builder.store(array, builder.gep(wrapper, [self._word("slot")], source_etype=I8))
            none = self._pointer(self._word("none"))
            self._call("incref", ir.VoidType(), none)
            builder.store(none, builder.gep(wrapper, [self._word("promise")], source_etype=I8))
            wrappers.append(wrapper)
        if len(wrappers) == 1:
            return wrappers[0]
        made = self._call("new_tuple", POINTER, ir.Constant(I64, len(wrappers)))
        self._require_made(made)
        for place, wrapper in enumerate(wrappers):
            self._put(made, TUPLE_ITEMS + place, builder.ptrtoint(wrapper, I64))
        return made

    # -- running ---------------------------------------------------------------------------------------------

    def _run(self, table: ir.Value) -> ir.Value:
        """Run the blocks; whether an end was reached."""
        builder, workspace = self.builder, self.plan.schedule.workspace
        stack = None
        if workspace.growing or workspace.fixed <= STACK_WORKSPACE:
            room = STACK_WORKSPACE if workspace.growing else max(workspace.fixed, 1)
            stack = builder.alloca(I8, room)
            stack.align = ALIGNMENT
        if stack is not None and not workspace.growing:
            self._place_memory(table, builder.ptrtoint(stack, I64))
            return self._drive(table)
        size: ir.Value = ir.Constant(I64, workspace.fixed)
        if stack is None:
            return self._run_in_borrowed(table, size)
        size = builder.add(size, builder.mul(self._reserved(), ir.Constant(I64, workspace.growing)))
        fits = builder.icmp_signed("<=", size, ir.Constant(I64, STACK_WORKSPACE))
        results: list[tuple[ir.Value, ir.Block]] = []
        with builder.if_else(fits) as (small, large):
            with small:
                self._place_memory(table, builder.ptrtoint(stack, I64))
                results.append((self._drive(table), builder.block))
            with large:
                results.append((self._run_in_borrowed(table, size), builder.block))
        return self._either(results)

    def _either(self, results: list[tuple[ir.Value, ir.Block]]) -> ir.Value:
        value = self.builder.phi(results[0][0].type)
        for result, block in results:
            value.add_incoming(result, block)
        return value

    def _run_in_borrowed(self, table: ir.Value, size: ir.Value) -> ir.Value:
        space = self._borrowed_workspace(size)
        self._place_memory(table, self.builder.add(space, ir.Constant(I64, ALIGNMENT)))
        done = self._drive(table)
        self._return_workspace(space)
        return done

    def _reserved(self) -> ir.Value:
        """``items_reserved``."""
        assert self.items is not None
        more = self.builder.add(self.items, ir.Constant(I64, ITEMS - 1))
        return self.builder.and_(more, ir.Constant(I64, -ITEMS))

    def _place_memory(self, table: ir.Value, space: ir.Value) -> None:
        builder, workspace = self.builder, self.plan.schedule.workspace
        growing = builder.add(space, ir.Constant(I64, workspace.fixed))
        reserved = self._reserved() if workspace.growing else None
        for number, buffer in self.plan.memory():
            place: ir.Value = ir.Constant(I64, buffer.place)
            if buffer.share:
                assert reserved is not None
                self._put(table, number, builder.add(growing, builder.mul(reserved, place)))
            else:
                self._put(table, number, builder.add(space, place))

    def _drive(self, table: ir.Value) -> ir.Value:
        """The blocks, without the interpreter lock where they take long."""
        if self.items is None:
            if self.plan.schedule.work > RELEASE_WORK:
                return self._run_without_interpreter(table)
            return self.builder.call(self.drive, [table])
        many = ir.Constant(I64, items_for(self.plan.schedule.work, self.plan.schedule.batch, RELEASE_WORK))
        results: list[tuple[ir.Value, ir.Block]] = []
        with self.builder.if_else(self.builder.icmp_signed(">=", self.items, many)) as (long, short):
            with long:
                results.append((self._run_without_interpreter(table), self.builder.block))
            with short:
                results.append((self.builder.call(self.drive, [table]), self.builder.block))
        return self._either(results)

    def _run_without_interpreter(self, table: ir.Value) -> ir.Value:
        """Other threads may run Python meanwhile, even give the program new parameters: hold on to the present ones."""
        binding = self._pointer(self._word("binding"))
        self._call("incref", ir.VoidType(), binding)
        thread = self._call("save_thread", POINTER)
        done = self.builder.call(self.drive, [table])
        self._call("restore_thread", ir.VoidType(), thread)
        self._call("decref", ir.VoidType(), binding)
        return done

    def _give_up_unless_done(self, done: ir.Value, results: list[ir.Value]) -> None:
        """Where the flow is unknown, Python runs the call from the start: nothing was written but our own memory."""
        if len(self.plan.schedule.blocks) == 1:
            return
        with self.builder.if_then(self.builder.icmp_signed("==", done, ir.Constant(I64, 0))):
            for array in results:
                self._call("decref", ir.VoidType(), array)
            self.builder.branch(self.refused)

    def _workspace_slot(self) -> ir.Value:
        return self.builder.gep(self.frame, [ir.Constant(I64, place_of("workspace"))], source_etype=I64)

    def _borrowed_workspace(self, size: ir.Value) -> ir.Value:
        """The workspace that the last call left, or new memory if another thread has it or it is too small.

        Its first word says how large it is; the memory for values starts after one line.
        """
        builder = self.builder
        none, line = ir.Constant(I64, 0), ir.Constant(I64, ALIGNMENT)
        kept = builder.atomic_rmw("xchg", self._workspace_slot(), none, "acquire")
        check, fresh, ready = (self.function.append_basic_block() for _ in range(3))
        builder.cbranch(builder.icmp_signed("!=", kept, none), check, fresh)
        builder.position_at_end(check)
        large = builder.icmp_signed(">=", builder.load(self._pointer(kept), typ=I64), size)
        dropped = self.function.append_basic_block()
        builder.cbranch(large, ready, dropped)
        builder.position_at_end(dropped)
        self._call("free", ir.VoidType(), self._pointer(kept))
        builder.branch(fresh)
        builder.position_at_end(fresh)
        rounded = builder.and_(
            builder.add(size, ir.Constant(I64, 2 * ALIGNMENT - 1)), ir.Constant(I64, -ALIGNMENT)
        )
        made = self._call("aligned_alloc", POINTER, line, rounded)
        address = builder.ptrtoint(made, I64)
        self._require(builder.icmp_signed("!=", address, none))
        builder.store(size, made)
        made_in = builder.block
        builder.branch(ready)
        builder.position_at_end(ready)
        space = builder.phi(I64)
        space.add_incoming(kept, check)
        space.add_incoming(address, made_in)
        return space

    def _return_workspace(self, space: ir.Value) -> None:
        builder = self.builder
        other = builder.atomic_rmw("xchg", self._workspace_slot(), space, "release")
        with builder.if_then(builder.icmp_signed("!=", other, ir.Constant(I64, 0))):
            self._call("free", ir.VoidType(), self._pointer(other))

    def _emit_exits(self) -> None:
        builder = self.builder
        builder.position_at_end(self.failed)
        builder.ret(ir.Constant(POINTER, None))
        builder.position_at_end(self.refused)
        answer = self._pointer(self._word("not_implemented"))
        self._call("incref", ir.VoidType(), answer)
        builder.ret(answer)
