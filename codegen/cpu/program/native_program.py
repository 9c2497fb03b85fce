"""A schedule as one native program: kernels in order over a table of pointers, blocks in the order of decisions.

NOTE [the table]
Native code finds everything through one table of 64-bit words, so that its object code holds no address of this process
and can be cached. First the buffers, in the order of the schedule; then the kernels; then the number of items of the
batch; then the thread pool; then the bits of NOTE [variants]; then what NOTE [safepoints] needs. A caller copies the
program's table and fills in arguments, results, workspace and items.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from blockfuse.codegen.cpu.native.words import I8, I32, I64, POINTER, ROWS, call_at, counted, word
from blockfuse.codegen.cpu.process.safepoint import Breath, first_breath
from blockfuse.codegen.cpu.program.entry import Entry
from blockfuse.codegen.cpu.program.plan import POOL, Plan, is_native, native_entry
from blockfuse.codegen.cpu.program.running import RAISED
from blockfuse.codegen.kernels.cost import AWAKE_WORK, PARALLEL_WORK
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind
from blockfuse.codegen.scheduling.sharing import is_shared, shared_from
from blockfuse.codegen.scheduling.steps import HostCall, Launch, Strip
from blockfuse.codegen.variants import Way


def program_ir(plan: Plan) -> str:
    """LLVM IR: ``piece0``, ... (table) for the runs of launches; ``entry`` where no host call is between them."""
    module = ir.Module("program")
    pieces = {
        n: _Emitter(module, plan).piece(n) for n, steps in enumerate(plan.pieces) if is_native(plan, steps)
    }
    if plan.is_parallel:
        _alone(module)
    if native_entry(plan):
        breathe = Breath(module, plan.breath_place).emit() if plan.decides else None
        Entry(module, plan, _Driver(module, plan, pieces, breathe).emit()).emit()
    return str(module)


def _alone(module: ir.Module) -> None:
    """``alone``: what a program calls in the place of the pool's ``fork`` where nothing is to be shared."""
    signature = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, POINTER, I64, I64])
    function = ir.Function(module, signature, "alone")
    builder = ir.IRBuilder(function.append_basic_block())
    _, part, table, rows, _ = function.args
    none = ir.Constant(I64, 0)
    call_at(builder, builder.ptrtoint(part, I64), ir.VoidType(), table, none, rows, none)
    builder.ret_void()


# -- launches ------------------------------------------------------------------------------------------------


class _Emitter:
    """Functions of the steps: ``rows<n>`` does a part of step n, for one thread of several."""

    def __init__(self, module: ir.Module, plan: Plan) -> None:
        self.module, self.plan = module, plan
        self.first_kernel = len(plan.schedule.buffers)

    def piece(self, number: int) -> ir.Function:
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [POINTER]), f"piece{number}")
        builder = ir.IRBuilder(function.append_basic_block())
        for place in self.plan.pieces[number]:
            step = self.plan.schedule.steps[place]
            assert not isinstance(step, HostCall)
            self._step(builder, function.args[0], place, step)
        builder.ret_void()
        return function

    def _step(self, builder: ir.IRBuilder, table: ir.Value, place: int, step: Launch | Strip) -> None:
        """All rows of ``step``, by several threads where that pays."""
        part = self._part(place, step)
        if not step.grows:
            rows = ir.Constant(I64, step.rows)
            if is_shared(step, self.plan.machine):
                always = ir.Constant(ir.IntType(1), is_shared(step, self.plan.machine, PARALLEL_WORK))
                self._fork(builder, table, part, rows, step.grain, always)
            else:
                self._alone(builder, table, part, rows)
            return
        items = word(builder, table, self.plan.items_place)
        rows = builder.mul(items, ir.Constant(I64, step.rows_per_item))
        if self.plan.machine.threads == 1:
            self._alone(builder, table, part, rows)
            return
        enough, many = (
            builder.icmp_signed(
                ">=", items, ir.Constant(I64, shared_from(step, self.plan.schedule.batch, limit))
            )
            for limit in (AWAKE_WORK, PARALLEL_WORK)
        )
        with builder.if_else(enough) as (then, otherwise):
            with then:
                self._fork(builder, table, part, rows, step.grain, many)
            with otherwise:
                self._alone(builder, table, part, rows)

    def _alone(self, builder: ir.IRBuilder, table: ir.Value, part: ir.Function, rows: ir.Value) -> None:
        none = ir.Constant(I64, 0)
        builder.call(part, [table, none, rows, none])

    def _fork(
        self,
        builder: ir.IRBuilder,
        table: ir.Value,
        part: ir.Function,
        rows: ir.Value,
        grain: int,
        always: ir.Value,
    ) -> None:
        """Hand rows to the thread pool, a part at a time; unless ``always``, only if its threads are awake."""
        fork, awake, state = (word(builder, table, self.plan.pool_place + n) for n in range(len(POOL)))
        operands = builder.inttoptr(state, POINTER), builder.bitcast(part, POINTER), table, rows
        address = builder.select(always, fork, awake)
        call_at(builder, address, ir.VoidType(), *operands, ir.Constant(I64, grain))

    def _part(self, place: int, step: Launch | Strip) -> ir.Function:
        function = ir.Function(self.module, ROWS, f"rows{place}")
        function.linkage = "internal"
        builder = ir.IRBuilder(function.append_basic_block())
        table, begin, end, memory = function.args
        if isinstance(step, Launch):
            self._launch(builder, table, step, begin, end)
        else:
            own = builder.icmp_signed("!=", memory, ir.Constant(I64, 0))
            memory = builder.select(own, memory, word(builder, table, step.memory))
            self._in_parts(builder, table, step, begin, end, memory)
        builder.ret_void()
        return function

    def _in_parts(
        self,
        builder: ir.IRBuilder,
        table: ir.Value,
        strip: Strip,
        begin: ir.Value,
        end: ir.Value,
        memory: ir.Value,
    ) -> None:
        """All launches for at most ``part`` items, then for the next ones: parts of equal size, none below the grain."""
        count = builder.sub(end, begin)
        most = ir.Constant(I64, strip.part)
        parts = builder.sdiv(builder.add(count, ir.Constant(I64, strip.part - 1)), most)
        with counted(builder, ir.Constant(I64, 0), parts) as number:
            following = builder.add(number, ir.Constant(I64, 1))
            first, beyond = (
                builder.add(begin, builder.sdiv(builder.mul(count, n), parts)) for n in (number, following)
            )
            for launch in strip.launches:
                share = ir.Constant(I64, launch.rows // strip.items)
                rows = builder.mul(first, share), builder.mul(beyond, share)
                self._launch(builder, table, launch, *rows, _Own(strip, memory, first, beyond))

    def _launch(
        self,
        builder: ir.IRBuilder,
        table: ir.Value,
        launch: Launch,
        begin: ir.Value,
        end: ir.Value,
        own: _Own | None = None,
    ) -> None:
        """Call the kernel of ``launch`` for rows begin..end."""
        operands = []
        for pointer in launch.pointers:
            buffer = self.plan.schedule.buffers[pointer.buffer]
            if buffer.kind is BufferKind.STRIP:
                assert own is not None
                base = own.address(builder, buffer)
            else:
                base = word(builder, table, pointer.buffer)
            offset = ir.Constant(I64, pointer.offset * buffer.type.dtype.itemsize)
            operands.append(builder.inttoptr(builder.add(base, offset), POINTER))
        with builder.goto_entry_block():
            unused = builder.alloca(I64)
        address = word(builder, table, self.first_kernel + self.plan.kernel_of[launch.kernel])
        call_at(builder, address, I32, unused, unused, *operands, begin, end)


@dataclass(frozen=True)
class _Own:
    """The memory of a thread for items ``first`` to ``beyond`` of a strip."""

    strip: Strip
    memory: ir.Value
    first: ir.Value
    beyond: ir.Value

    def address(self, builder: ir.IRBuilder, buffer: Buffer) -> ir.Value:
        """Where item 0 would lie, so that kernels find theirs with the numbers of their rows."""
        count = builder.sub(self.beyond, self.first)
        start = builder.add(self.memory, builder.mul(count, ir.Constant(I64, buffer.offset)))
        before = builder.mul(self.first, ir.Constant(I64, buffer.type.nbytes // self.strip.items))
        return builder.sub(start, before)


class _Driver:
    """``drive(table)``: the blocks in the order that their decisions say.

    1 at an end; 0 where the flow is unknown or the way not proven (NOTE [variants]), and after a fault (NOTE [faults]);
    ``RAISED`` where a signal ended it (NOTE [safepoints]).
    """

    def __init__(
        self, module: ir.Module, plan: Plan, pieces: dict[int, ir.Function], breathe: ir.Function | None
    ) -> None:
        self.plan, self.pieces, self.breathe = plan, pieces, breathe
        self.function = ir.Function(module, ir.FunctionType(I64, [POINTER]), "drive")
        self.table = self.function.args[0]
        self.blocks = [
            self.function.append_basic_block(f"block{n}") for n in range(len(plan.schedule.blocks))
        ]
        self.builder = ir.IRBuilder(self.blocks[0])

    def emit(self) -> ir.Function:
        unknown = self.function.append_basic_block("unknown")
        left, breath = self._counted() if self.breathe is not None else (None, None)
        fault = self._fault_word()
        for number, block in enumerate(self.plan.schedule.blocks):
            self.builder.position_at_end(self.blocks[number])
            for piece in self.plan.block_pieces[number]:
                if piece in self.pieces:  # else it is one of NOTE [draws of an entry]
                    self.builder.call(self.pieces[piece], [self.table])
            if fault is not None:
                self._require_no(fault, unknown)
            decision = None if block.predicate is None else self._truth(block.predicate)
            for register, value in block.stores:
                self._exchange(register, value)
            if decision is None or block.successors is None:
                self.builder.ret(ir.Constant(I64, 1))
            else:
                self._count(left, breath)
                self._require_proven(number, decision, unknown)
                yes, no = (unknown if s is None else self.blocks[s] for s in block.successors)
                self.builder.cbranch(decision, yes, no)
        self.builder.position_at_end(unknown)
        self.builder.ret(ir.Constant(I64, 0))
        return self.function

    def _fault_word(self) -> ir.Value | None:
        """The address of the fault word, set to 0; None where no kernel has indices."""
        if self.plan.schedule.fault is None:
            return None
        address = self.builder.inttoptr(word(self.builder, self.table, self.plan.schedule.fault), POINTER)
        self.builder.store(ir.Constant(I64, 0), address)
        return address

    def _require_no(self, fault: ir.Value, unknown: ir.Block) -> None:
        onwards = self.function.append_basic_block()
        none = self.builder.icmp_signed("==", self.builder.load(fault, typ=I64), ir.Constant(I64, 0))
        self.builder.cbranch(none, onwards, unknown)
        self.builder.position_at_end(onwards)

    def _counted(self) -> tuple[ir.Value, ir.Value]:
        """How many decisions are left until a breath, and the state of NOTE [safepoints]."""
        left, state = self.builder.alloca(I64), self.builder.alloca(I64, 2)
        first = ir.Constant(I64, first_breath(self.plan.schedule.work))
        self.builder.store(first, left)
        for place, value in enumerate((first, ir.Constant(I64, 0))):
            self.builder.store(value, self.builder.gep(state, [ir.Constant(I64, place)], source_etype=I64))
        return left, state

    def _count(self, left: ir.Value, state: ir.Value) -> None:
        builder = self.builder
        fewer = builder.sub(builder.load(left, typ=I64), ir.Constant(I64, 1))
        builder.store(fewer, left)
        breath, ended, onwards = (self.function.append_basic_block(n) for n in ("breath", "ended", "onwards"))
        builder.cbranch(builder.icmp_signed(">", fewer, ir.Constant(I64, 0)), onwards, breath)
        builder.position_at_end(breath)
        following = builder.call(self.breathe, [self.table, state])
        builder.store(following, left)
        builder.cbranch(builder.icmp_signed(">", following, ir.Constant(I64, 0)), onwards, ended)
        builder.position_at_end(ended)
        builder.ret(ir.Constant(I64, RAISED))
        builder.position_at_end(onwards)

    def _require_proven(self, block: int, decision: ir.Value, unknown: ir.Block) -> None:
        """See NOTE [variants]."""
        builder = self.builder
        yes, no = (Way(block, outcome).bit for outcome in (True, False))  # of one word
        proven = word(builder, self.table, self.plan.ways_place + yes // 64)
        masks = (ir.Constant(I64, 1 << bit % 64) for bit in (yes, no))
        wanted = builder.and_(proven, builder.select(decision, *masks))
        onwards = self.function.append_basic_block()
        builder.cbranch(builder.icmp_signed("!=", wanted, ir.Constant(I64, 0)), onwards, unknown)
        builder.position_at_end(onwards)

    def _truth(self, buffer: int) -> ir.Value:
        address = self.builder.inttoptr(word(self.builder, self.table, buffer), POINTER)
        return self.builder.icmp_signed("!=", self.builder.load(address, typ=I8), ir.Constant(I8, 0))

    def _exchange(self, first: int, second: int) -> None:
        """Let two buffers change their memory: a store without a copy."""
        words = [word(self.builder, self.table, n) for n in (second, first)]
        for place, value in zip((first, second), words, strict=True):
            target = self.builder.gep(self.table, [ir.Constant(I64, place)], source_etype=I64)
            self.builder.store(value, target)
