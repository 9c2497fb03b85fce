"""The steps of a program as native code: ``piece<n>`` does all of piece n, ``rows<n>`` a part of step n."""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from blockfuse.codegen.cpu.process.thread_pool_layout import POOL
from blockfuse.codegen.cpu.program.plan import Plan
from blockfuse.codegen.kernels.cost import AWAKE_WORK, PARALLEL_WORK
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind
from blockfuse.codegen.scheduling.sharing import is_shared, shared_from
from blockfuse.codegen.scheduling.steps import HostCall, Launch, Strip
from blockfuse.codegen.values.emitter import I1, I32, I64, POINTER, VOID, Emitter, Words, constant

PART = ir.FunctionType(VOID, [POINTER, I64, I64, I64])  # table, begin, end, memory of the thread or 0


def emit_piece(module: ir.Module, plan: Plan, number: int) -> ir.Function:
    """``piece<number>(table)``."""
    function = ir.Function(module, ir.FunctionType(VOID, [POINTER]), f"piece{number}")
    piece = _Piece(module, plan, Emitter.of(function), function.args[0])
    for index in plan.pieces[number]:
        piece.emit_step(index)
    piece.emit.builder.ret_void()
    return function


class _Piece:
    """All rows of steps, by several threads where that pays."""

    def __init__(self, module: ir.Module, plan: Plan, emit: Emitter, table: ir.Value) -> None:
        self.module, self.plan, self.emit, self.table = module, plan, emit, table

    def emit_step(self, index: int) -> None:
        step = self.plan.schedule.steps[index]
        assert not isinstance(step, HostCall)
        part = _emit_part(self.module, self.plan, index, step)
        if step.grows:
            self._run_items(step, part)
            return
        rows = constant(step.rows)
        if is_shared(step, self.plan.machine):
            always = constant(is_shared(step, self.plan.machine, PARALLEL_WORK), I1)
            self._fork(part, rows, step.grain, always)
        else:
            self._run_alone(part, rows)

    def _run_items(self, step: Launch | Strip, part: ir.Function) -> None:
        """Of a batch of any size."""
        emit, plan = self.emit, self.plan
        items = emit.word(self.table, plan.items_index)
        rows = emit.times(items, step.rows_per_item)
        if plan.machine.threads == 1:
            self._run_alone(part, rows)
            return
        limits = (shared_from(step, plan.schedule.batch, work) for work in (AWAKE_WORK, PARALLEL_WORK))
        enough, many = (emit.is_(">=", items, limit) for limit in limits)
        with emit.builder.if_else(enough) as (then, otherwise):
            with then:
                self._fork(part, rows, step.grain, many)
            with otherwise:
                self._run_alone(part, rows)

    def _run_alone(self, part: ir.Function, rows: ir.Value) -> None:
        self.emit.call(part, self.table, 0, rows, 0)

    def _fork(self, part: ir.Function, rows: ir.Value, grain: int, always: ir.Value) -> None:
        """Hand rows to the thread pool, a part at a time; unless ``always``, only if its threads are awake."""
        pool = Words(self.emit, self.table, POOL, self.plan.pool_index)
        fork, awake, state = (pool.get(name) for name in POOL)
        builder = self.emit.builder
        operands = self.emit.pointer(state), builder.bitcast(part, POINTER), self.table, rows
        self.emit.call_at(builder.select(always, fork, awake), VOID, *operands, grain)


def _emit_part(module: ir.Module, plan: Plan, index: int, step: Launch | Strip) -> ir.Function:
    """``rows<index>``: rows of a step, for one thread of several."""
    function = ir.Function(module, PART, f"rows{index}")
    function.linkage = "internal"
    table, begin, end, memory = function.args
    part = _Part(plan, Emitter.of(function), table)
    if isinstance(step, Launch):
        part.launch(step, begin, end)
    else:
        part.run_strip(step, begin, end, memory)
    part.emit.builder.ret_void()
    return function


class _Part:
    """Rows of one step."""

    def __init__(self, plan: Plan, emit: Emitter, table: ir.Value) -> None:
        self.plan, self.emit, self.table = plan, emit, table

    def run_strip(self, strip: Strip, begin: ir.Value, end: ir.Value, memory: ir.Value) -> None:
        """All launches for at most ``part`` items, then for the next ones: parts of equal size, none below the grain."""
        emit, builder = self.emit, self.emit.builder
        is_own = emit.is_("!=", memory, 0)
        memory = builder.select(is_own, memory, emit.word(self.table, strip.memory))
        count = builder.sub(end, begin)
        parts = emit.rounded_quotient(count, strip.part)
        with emit.counted(0, parts) as number:
            following = builder.add(number, constant(1))
            first, stop = (
                builder.add(begin, builder.sdiv(builder.mul(count, n), parts)) for n in (number, following)
            )
            for launch in strip.launches:
                share = launch.rows // strip.items
                rows = emit.times(first, share), emit.times(stop, share)
                self.launch(launch, *rows, _StripMemory(strip, memory, first, stop))

    def launch(
        self, launch: Launch, begin: ir.Value, end: ir.Value, memory: _StripMemory | None = None
    ) -> None:
        """Call the kernel of ``launch`` for rows begin..end."""
        emit = self.emit
        operands = []
        for pointer in launch.pointers:
            buffer = self.plan.schedule.buffers[pointer.buffer]
            if buffer.kind == BufferKind.STRIP:
                assert memory is not None
                base = memory.address(emit, buffer)
            else:
                base = emit.word(self.table, pointer.buffer)
            offset = constant(pointer.offset * buffer.type.dtype.itemsize)
            operands.append(emit.pointer(emit.builder.add(base, offset)))
        unused = emit.local(I64)
        number = self.plan.kernel_of[launch.kernel]
        address = emit.word(self.table, len(self.plan.schedule.buffers) + number)
        emit.call_at(address, I32, unused, unused, *operands, begin, end)


@dataclass(frozen=True)
class _StripMemory:
    """The memory of a thread for items ``first`` to ``end`` of a strip."""

    strip: Strip
    memory: ir.Value  # address
    first: ir.Value
    end: ir.Value

    def address(self, emit: Emitter, buffer: Buffer) -> ir.Value:
        """Where item 0 would lie, so that kernels find theirs with the numbers of their rows."""
        count = emit.builder.sub(self.end, self.first)
        start = emit.builder.add(self.memory, emit.times(count, buffer.offset))
        before = emit.times(self.first, buffer.type.nbytes // self.strip.items)
        return emit.builder.sub(start, before)
