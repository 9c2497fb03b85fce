"""A schedule as one native program: kernels in order over a table of pointers, blocks in the order of decisions.

NOTE [the table]
Native code finds everything through one table of 64-bit words, so that its object code holds no address of
this process and can be cached. First the buffers, in the order of the schedule; then the kernels; then the
number of items of the batch; then the thread pool. A caller copies the program's table and fills in arguments,
results, workspace and items.
"""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.entry import Entry
from blockfuse.codegen.cpu.plan import Plan, is_native, native_entry
from blockfuse.codegen.cpu.words import I8, I32, I64, POINTER, word
from blockfuse.codegen.schedule import Launch

MOST_DECISIONS = 1 << 22  # of one native call


def program_ir(plan: Plan) -> str:
    """LLVM IR: ``piece0``, ... (table) for the runs of launches; ``entry`` where there are no host calls."""
    module = ir.Module("program")
    pieces = {
        n: _Emitter(module, plan).piece(n) for n, steps in enumerate(plan.pieces) if is_native(plan, steps)
    }
    if native_entry(plan):
        Entry(module, plan, _Driver(module, plan, pieces).emit()).emit()
    return str(module)


# -- launches ------------------------------------------------------------------------------------------------


class _Emitter:
    def __init__(self, module: ir.Module, plan: Plan) -> None:
        self.module, self.plan = module, plan
        self.first_kernel = len(plan.schedule.buffers)

    def piece(self, number: int) -> ir.Function:
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [POINTER]), f"piece{number}")
        builder = ir.IRBuilder(function.append_basic_block())
        for place in self.plan.pieces[number]:
            step = self.plan.schedule.steps[place]
            assert isinstance(step, Launch)
            self._step(builder, function.args[0], place, step)
        builder.ret_void()
        return function

    def _step(self, builder: ir.IRBuilder, table: ir.Value, place: int, step: Launch) -> None:
        """All rows of ``step``, by several threads where that pays."""
        none = ir.Constant(I64, 0)
        if not step.share:
            rows = ir.Constant(I64, step.rows)
            if self.plan.forks(step):
                self._fork(builder, table, place, step, rows)
            else:
                self._launch(builder, table, place, step, none, rows)
            return
        items = word(builder, table, self.plan.items_place)
        rows = builder.mul(items, ir.Constant(I64, step.share))
        if self.plan.machine.threads == 1:
            self._launch(builder, table, place, step, none, rows)
            return
        many = builder.icmp_signed(">=", items, ir.Constant(I64, self.plan.forks_from(step)))
        with builder.if_else(many) as (then, otherwise):
            with then:
                self._fork(builder, table, place, step, rows)
            with otherwise:
                self._launch(builder, table, place, step, none, rows)

    def _launch(
        self, builder: ir.IRBuilder, table: ir.Value, place: int, step: Launch, begin: ir.Value, end: ir.Value
    ) -> None:
        """Call the kernel of ``step`` for rows begin..end."""
        operands = []
        for pointer in step.pointers:
            itemsize = self.plan.schedule.buffers[pointer.buffer].type.dtype.itemsize
            base = word(builder, table, pointer.buffer)
            operands.append(
                builder.inttoptr(builder.add(base, ir.Constant(I64, pointer.offset * itemsize)), POINTER)
            )
        with builder.goto_entry_block():
            unused = builder.alloca(I64)
        signature = ir.FunctionType(I32, [POINTER] * (2 + len(operands)) + [I64, I64])
        address = word(builder, table, self.first_kernel + self.plan.kernel_of[place])
        kernel = builder.inttoptr(address, signature.as_pointer())
        builder.call(kernel, [unused, unused, *operands, begin, end])

    def _fork(self, builder: ir.IRBuilder, table: ir.Value, place: int, step: Launch, rows: ir.Value) -> None:
        """Hand ``step`` to the thread pool, in ranges of rows."""
        signature = ir.FunctionType(ir.VoidType(), [POINTER, I64, I64])
        part = ir.Function(self.module, signature, f"rows{place}")
        inner = ir.IRBuilder(part.append_basic_block())
        self._launch(inner, part.args[0], place, step, part.args[1], part.args[2])
        inner.ret_void()
        pool = self.plan.table_size - 2
        fork = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, POINTER, I64, I64])
        function = builder.inttoptr(word(builder, table, pool), fork.as_pointer())
        state = builder.inttoptr(word(builder, table, pool + 1), POINTER)
        grain = ir.Constant(I64, step.grain)
        builder.call(function, [state, builder.bitcast(part, POINTER), table, rows, grain])


class _Driver:
    """``drive(table)``: the blocks in the order that their decisions say.

    1 at an end; 0 where the flow is unknown, or after so many decisions that a loop may never end: Python can then be
    interrupted, native code could not.
    """

    def __init__(self, module: ir.Module, plan: Plan, pieces: dict[int, ir.Function]) -> None:
        self.plan, self.pieces = plan, pieces
        self.function = ir.Function(module, ir.FunctionType(I64, [POINTER]), "drive")
        self.table = self.function.args[0]
        self.blocks = [
            self.function.append_basic_block(f"block{n}") for n in range(len(plan.schedule.blocks))
        ]
        self.builder = ir.IRBuilder(self.blocks[0])

    def emit(self) -> ir.Function:
        unknown = self.function.append_basic_block("unknown")
        count = self.builder.alloca(I64)
        self.builder.store(ir.Constant(I64, 0), count)
        for number, block in enumerate(self.plan.schedule.blocks):
            self.builder.position_at_end(self.blocks[number])
            for piece in self.plan.block_pieces[number]:
                self.builder.call(self.pieces[piece], [self.table])
            decision = None if block.predicate is None else self._truth(block.predicate)
            for register, value in block.stores:
                self._exchange(register, value)
            if decision is None or block.successors is None:
                self.builder.ret(ir.Constant(I64, 1))
            else:
                self._count(count, unknown)
                yes, no = (unknown if s is None else self.blocks[s] for s in block.successors)
                self.builder.cbranch(decision, yes, no)
        self.builder.position_at_end(unknown)
        self.builder.ret(ir.Constant(I64, 0))
        return self.function

    def _count(self, count: ir.Value, unknown: ir.Block) -> None:
        taken = self.builder.add(self.builder.load(count, typ=I64), ir.Constant(I64, 1))
        self.builder.store(taken, count)
        onwards = self.function.append_basic_block()
        few = self.builder.icmp_signed("<", taken, ir.Constant(I64, MOST_DECISIONS))
        self.builder.cbranch(few, onwards, unknown)
        self.builder.position_at_end(onwards)

    def _truth(self, buffer: int) -> ir.Value:
        address = self.builder.inttoptr(word(self.builder, self.table, buffer), POINTER)
        return self.builder.icmp_signed("!=", self.builder.load(address, typ=I8), ir.Constant(I8, 0))

    def _exchange(self, first: int, second: int) -> None:
        """Let two buffers change their memory: a store without a copy."""
        words = [word(self.builder, self.table, n) for n in (second, first)]
        for place, value in zip((first, second), words, strict=True):
            target = self.builder.gep(self.table, [ir.Constant(I64, place)], source_etype=I64)
            self.builder.store(value, target)
