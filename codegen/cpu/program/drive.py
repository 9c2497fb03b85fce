"""The blocks of a program as one native function, in the order that their decisions say."""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.process.safepoint import first_safepoint
from blockfuse.codegen.cpu.program.plan import Plan
from blockfuse.codegen.values.emitter import I8, I64, POINTER, Emitter, constant
from blockfuse.codegen.variants import Way

# What ``drive`` answers.
DONE = 1  # at an end
UNKNOWN = (
    0  # where the flow is unknown or the way not proven (NOTE [variants]), and after a fault (NOTE [faults])
)
RAISED = -1  # where a signal ended it (NOTE [safepoints])


class Drive:
    """``drive(table)``."""

    def __init__(
        self, module: ir.Module, plan: Plan, pieces: dict[int, ir.Function], safepoint: ir.Function | None
    ) -> None:
        """pieces: their functions, by number. safepoint: where there are decisions."""
        self.plan, self.pieces, self.safepoint = plan, pieces, safepoint
        self.function = ir.Function(module, ir.FunctionType(I64, [POINTER]), "drive")
        self.table = self.function.args[0]
        self.emit = Emitter.of(self.function, "block0")
        self.blocks = [
            self.emit.builder.block,
            *(self.emit.block(f"block{n}") for n in range(1, len(plan.schedule.blocks))),
        ]

    def build(self) -> ir.Function:
        emit, builder = self.emit, self.emit.builder
        unknown = emit.block("unknown")
        left, state = self._countdown() if self.safepoint is not None else (None, None)
        fault = self._fault_word()
        for number, block in enumerate(self.plan.schedule.blocks):
            builder.position_at_end(self.blocks[number])
            for stack in block.pops:
                self._move(stack, -1)
            for stack, values in block.takes:
                self._move(stack, -values)
            before, behind = self._pieces_at_commit(number)
            self._run_pieces(before)
            if fault is not None:
                emit.require(emit.is_("==", builder.load(fault, typ=I64), 0), unknown)
            self._run_pieces(behind)
            decision = None if block.predicate is None else self._truth(block.predicate)
            for register, value in block.stores:
                self._exchange(register, value)
            if decision is None or block.successors is None:
                builder.ret(constant(DONE))
            else:
                self._push(block.pushes, unknown)
                self._count_down(left, state)
                self._require_proven(number, decision, unknown)
                yes, no = (unknown if s is None else self.blocks[s] for s in block.successors)
                builder.cbranch(decision, yes, no)
        builder.position_at_end(unknown)
        builder.ret(constant(UNKNOWN))
        return self.function

    def _pieces_at_commit(self, block: int) -> tuple[list[int], list[int]]:
        """The pieces before NOTE [the commit], and those behind it, after which there is no fault."""
        commit, pieces = self.plan.schedule.blocks[block].commit, self.plan.block_pieces[block]
        is_behind = [commit is not None and self.plan.pieces[piece][0] >= commit for piece in pieces]
        count = is_behind.count(False)
        return list(pieces[:count]), list(pieces[count:])

    def _run_pieces(self, pieces: list[int]) -> None:
        for piece in pieces:
            if piece in self.pieces:  # else it is one of NOTE [draws of an entry]
                self.emit.call(self.pieces[piece], self.table)

    def _fault_word(self) -> ir.Value | None:
        """A pointer to the fault word, set to 0; None where no kernel has indices."""
        if self.plan.schedule.fault is None:
            return None
        pointer = self.emit.pointer(self.emit.word(self.table, self.plan.schedule.fault))
        self.emit.builder.store(constant(0), pointer)
        return pointer

    def _truth(self, buffer: int) -> ir.Value:
        pointer = self.emit.pointer(self.emit.word(self.table, buffer))
        return self.emit.is_("!=", self.emit.builder.load(pointer, typ=I8), 0)

    def _exchange(self, first: int, second: int) -> None:
        """Let two buffers change their memory: a store without a copy."""
        words = [self.emit.word(self.table, number) for number in (second, first)]
        for number, value in zip((first, second), words, strict=True):
            self.emit.put(self.table, number, value)

    def _move(self, stack: int, values: int) -> ir.Value:
        """Let a buffer be the value so many values above; its address."""
        step = constant(values * self.plan.schedule.buffers[stack].step)
        top = self.emit.builder.add(self.emit.word(self.table, stack), step)
        self.emit.put(self.table, stack, top)
        return top

    def _push(self, stacks: tuple[int, ...], unknown: ir.Block) -> None:
        """Values lie on stacks where they were computed: go to what comes next, where there is room."""
        for stack in stacks:
            end = self.emit.word(self.table, self.plan.limits()[stack])
            self.emit.require(self.emit.builder.icmp_unsigned("<", self._move(stack, 1), end), unknown)

    # -- decisions ---------------------------------------------------------------------------------------------

    def _countdown(self) -> tuple[ir.Value, ir.Value]:
        """How many decisions are left until a safepoint, and the state of NOTE [safepoints]."""
        builder = self.emit.builder
        left, state = builder.alloca(I64), builder.alloca(I64, 2)
        first = constant(first_safepoint(self.plan.schedule.work))
        builder.store(first, left)
        for index, value in enumerate((first, constant(0))):
            self.emit.put(state, index, value)
        return left, state

    def _count_down(self, left: ir.Value, state: ir.Value) -> None:
        emit, builder = self.emit, self.emit.builder
        fewer = builder.sub(builder.load(left, typ=I64), constant(1))
        builder.store(fewer, left)
        safepoint, ended, onwards = (emit.block(name) for name in ("safepoint", "ended", "onwards"))
        builder.cbranch(emit.is_(">", fewer, 0), onwards, safepoint)
        builder.position_at_end(safepoint)
        following = emit.call(self.safepoint, self.table, state)
        builder.store(following, left)
        builder.cbranch(emit.is_(">", following, 0), onwards, ended)
        builder.position_at_end(ended)
        builder.ret(constant(RAISED))
        builder.position_at_end(onwards)

    def _require_proven(self, block: int, decision: ir.Value, unknown: ir.Block) -> None:
        """See NOTE [variants]."""
        yes, no = (Way(block, outcome).bit for outcome in (True, False))  # of one word
        proven = self.emit.word(self.table, self.plan.ways_index + yes // 64)
        masks = (constant(1 << bit % 64) for bit in (yes, no))
        wanted = self.emit.builder.and_(proven, self.emit.builder.select(decision, *masks))
        self.emit.require(self.emit.is_("!=", wanted, 0), unknown)
