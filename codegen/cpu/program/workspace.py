"""The memory that an entry gives the values of a call: on the stack where they are small, kept between calls where not."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from blockfuse.codegen.cpu.program.frame import Frame
from blockfuse.codegen.scheduling.buffers import ALIGNMENT, ITEMS
from blockfuse.codegen.values.emitter import I8, POINTER, VOID, constant

STACK_BYTES = 16_384  # a larger workspace is kept between calls


class Workspace:
    """Memory whose addresses a table gets, around what needs it."""

    def __init__(self, frame: Frame, items: ir.Value | None, table: ir.Value) -> None:
        """items: of the batch, where the program is for any number."""
        self.frame, self.emit, self.words = frame, frame.emit, frame.words
        self.needed, self.items, self.table = frame.plan.schedule.workspace, items, table

    def around(self, run: Callable[[], ir.Value]) -> ir.Value:
        """What ``run`` gives, with the memory of the call in the table."""
        builder, needed = self.emit.builder, self.needed
        if not needed.growing and needed.fixed > STACK_BYTES:
            return self._around_in_kept(run, constant(needed.fixed))
        stack = builder.alloca(I8, STACK_BYTES if needed.growing else max(needed.fixed, 1))
        stack.align = ALIGNMENT

        def around_in_stack() -> ir.Value:
            self._fill_table(self.emit.address(stack))
            return run()

        if not needed.growing:
            return around_in_stack()
        size = builder.add(constant(needed.fixed), self.emit.times(self._reserved(), needed.growing))
        fits = self.emit.is_("<=", size, STACK_BYTES)
        return self.emit.choice(fits, around_in_stack, lambda: self._around_in_kept(run, size))

    def _around_in_kept(self, run: Callable[[], ir.Value], size: ir.Value) -> ir.Value:
        space = self._borrowed(size)
        self._fill_table(self.emit.builder.add(space, constant(ALIGNMENT)))
        answer = run()
        self._return(space)
        return answer

    def _reserved(self) -> ir.Value:
        """``items_reserved``."""
        more = self.emit.builder.add(self.items, constant(ITEMS - 1))
        return self.emit.builder.and_(more, constant(-ITEMS))

    def _fill_table(self, space: ir.Value) -> None:
        """space: the address of the memory."""
        builder, table = self.emit.builder, self.table
        growing = builder.add(space, constant(self.needed.fixed))
        reserved = self._reserved() if self.needed.growing else None
        for number, buffer in self.frame.plan.memory():
            if buffer.made_by_host:
                continue
            if buffer.rows_per_item:
                offset = self.emit.times(reserved, buffer.offset)
                self.emit.put(table, number, builder.add(growing, offset))
            else:
                self.emit.put(table, number, builder.add(space, constant(buffer.offset)))
        for number, word in self.frame.plan.limits().items():
            stack = self.frame.plan.schedule.buffers[number]
            self.emit.put(table, word, builder.add(space, constant(stack.offset + stack.reserved)))

    # -- memory that is kept -----------------------------------------------------------------------------------

    def _borrowed(self, size: ir.Value) -> ir.Value:
        """The memory that the last call left, or new one if another thread has it or it is too small.

        Its first word says how large it is; the memory for values starts after one line.
        """
        emit, builder = self.emit, self.emit.builder
        kept = builder.atomic_rmw("xchg", self.words.at("workspace"), constant(0), "acquire")
        check, fresh, ready = emit.block(), emit.block(), emit.block()
        builder.cbranch(emit.is_("!=", kept, 0), check, fresh)
        builder.position_at_end(check)
        large = emit.is_(">=", emit.word_at(kept), size)
        dropped = emit.block()
        builder.cbranch(large, ready, dropped)
        builder.position_at_end(dropped)
        self.words.call("free", VOID, emit.pointer(kept))
        emit.go_to(fresh)
        address = self._new(size)
        made_in = builder.block
        emit.go_to(ready)
        return emit.merged([(kept, check), (address, made_in)])

    def _new(self, size: ir.Value) -> ir.Value:
        builder = self.emit.builder
        more = builder.add(size, constant(2 * ALIGNMENT - 1))
        rounded = builder.and_(more, constant(-ALIGNMENT))
        made = self.words.call("aligned_alloc", POINTER, ALIGNMENT, rounded)
        address = self.emit.address(made)
        self.frame.require_memory(address)
        builder.store(size, made)
        return address

    def _return(self, space: ir.Value) -> None:
        builder = self.emit.builder
        other = builder.atomic_rmw("xchg", self.words.at("workspace"), space, "release")
        with builder.if_then(self.emit.is_("!=", other, 0)):
            self.words.call("free", VOID, self.emit.pointer(other))
