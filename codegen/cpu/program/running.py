"""How an entry runs the blocks of a program: which memory they work in, and who holds the interpreter lock.

NOTE [draws of an entry]
What a program draws through Python stands at its start and reads nothing. When nothing can send the call elsewhere any more,
the entry calls one Python function for all of it (``draw`` of the frame), puts the arrays that it gives into the table, and
runs the blocks. So a call that Python takes over has drawn nothing, and what drawing raises is raised by the call.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from blockfuse.codegen.cpu.native.words import I8, I64, POINTER, word
from blockfuse.codegen.cpu.process.cpython import ARRAY_DATA, TUPLE_ITEMS
from blockfuse.codegen.cpu.process.safepoint import BREATH
from blockfuse.codegen.cpu.program.frame import Frame, place_of
from blockfuse.codegen.cpu.program.plan import Plan
from blockfuse.codegen.scheduling.buffers import ALIGNMENT, ITEMS
from blockfuse.codegen.scheduling.sharing import items_for

RELEASE_WORK = 20_000.0  # nanoseconds: above this, other Python threads may run meanwhile
RAISED = -1  # in the place of what the blocks answer
STACK_WORKSPACE = 16_384  # bytes: a larger workspace is kept between calls


class Running(Frame):
    """Gives a program its workspace and runs it: ``drive`` is the function of its blocks."""

    def __init__(self, module: ir.Module, plan: Plan, drive: ir.Function) -> None:
        super().__init__(module, plan)
        self.drive = drive

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
            if buffer.made_by_host:
                continue
            place: ir.Value = ir.Constant(I64, buffer.offset)
            if buffer.rows_per_item:
                assert reserved is not None
                self._put(table, number, builder.add(growing, builder.mul(reserved, place)))
            else:
                self._put(table, number, builder.add(space, place))

    def _drive(self, table: ir.Value) -> ir.Value:
        """What the program draws, then the blocks; see NOTE [draws of an entry]. ``RAISED`` where drawing failed.

        Python runs in between, so hold on to the present parameters.
        """
        builder, draws = self.builder, self.plan.draws
        if not draws:
            return self._drive_blocks(table)
        binding = self._pointer(self._word("binding"))
        self._call("incref", ir.VoidType(), binding)
        drawn = self._call("call", POINTER, self._pointer(self._word("draw")))
        results: list[tuple[ir.Value, ir.Block]] = []
        there = builder.icmp_signed("!=", builder.ptrtoint(drawn, I64), ir.Constant(I64, 0))
        with builder.if_else(there) as (good, bad):
            with good:
                for place, step in enumerate(draws):
                    array = self._pointer(word(builder, drawn, TUPLE_ITEMS + place))
                    self._put(table, step.result, self._field(array, ARRAY_DATA))
                results.append((self._drive_blocks(table), builder.block))
                self._call("decref", ir.VoidType(), drawn)
            with bad:
                results.append((ir.Constant(I64, RAISED), builder.block))
        done = self._either(results)
        self._call("decref", ir.VoidType(), binding)
        return done

    def _drive_blocks(self, table: ir.Value) -> ir.Value:
        """The blocks, without the interpreter lock where they take long."""
        if self.items is None:
            if self.plan.schedule.work > RELEASE_WORK:
                return self._run_without_interpreter(table)
            return (
                self._run_holding_parameters(table)
                if self.plan.decides
                else self.builder.call(self.drive, [table])
            )
        many = ir.Constant(I64, items_for(self.plan.schedule.work, self.plan.schedule.batch, RELEASE_WORK))
        results: list[tuple[ir.Value, ir.Block]] = []
        with self.builder.if_else(self.builder.icmp_signed(">=", self.items, many)) as (long, short):
            with long:
                results.append((self._run_without_interpreter(table), self.builder.block))
            with short:
                results.append((self.builder.call(self.drive, [table]), self.builder.block))
        return self._either(results)

    def _run_without_interpreter(self, table: ir.Value) -> ir.Value:
        """Other threads run Python meanwhile."""

        def drive() -> ir.Value:
            thread = self._call("save_thread", POINTER)
            if self.plan.decides:
                place = self.plan.breath_place + BREATH.index("thread")
                self._put(table, place, self.builder.ptrtoint(thread, I64))
            done = self.builder.call(self.drive, [table])
            self._call("restore_thread", ir.VoidType(), thread)
            return done

        return self._holding_parameters(drive)

    def _run_holding_parameters(self, table: ir.Value) -> ir.Value:
        """The interpreter is given away for moments, NOTE [safepoints]."""
        return self._holding_parameters(lambda: self.builder.call(self.drive, [table]))

    def _holding_parameters(self, drive: Callable[[], ir.Value]) -> ir.Value:
        """Other threads may give the program new parameters meanwhile: hold on to the present ones."""
        binding = self._pointer(self._word("binding"))
        self._call("incref", ir.VoidType(), binding)
        done = drive()
        self._call("decref", ir.VoidType(), binding)
        return done

    # -- memory that is kept ------------------------------------------------------------------------------------

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
        self._require_memory(address)
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
