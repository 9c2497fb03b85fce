"""What native loops do every few milliseconds: let other threads run Python, and look for signals.

NOTE [safepoints]
A loop may never end. So the driver of a program with decisions counts them down, and at zero takes a breath: it gives the
interpreter away and takes it back, runs the handlers of signals that have come, and goes on; what a handler raises, such
as KeyboardInterrupt, is raised by the call. How many decisions make ``_EVERY`` nanoseconds it measures from breath to
breath, so a decision costs one subtraction and one comparison, whatever it does. Parameters that somebody changes
meanwhile are those of the next call: whoever runs blocks that may breathe holds on to the present ones.
"""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.native.words import I32, I64, POINTER, call_at, word

# Words of the table. thread: whose interpreter was given away.
BREATH = ("clock", "save", "restore", "signals", "thread")
ALIVE, ENDED = 1, -1  # at least so many decisions until the next breath; a handler raised
# Nanoseconds between breaths. A thread that waits for the interpreter insists on it after 5 ms (``sys.setswitchinterval``)
# without a release: one that comes sooner only wakes it, too late, and lets it begin to wait anew.
_EVERY = 12_000_000
_FIRST = 1_000_000  # nanoseconds until the first one, as estimated
_MOST = 1 << 12  # decisions until the first breath: estimates may be wrong
_FASTER = 8  # times as many decisions, at most, as until the breath before
_LIMIT = 1 << 24
_MONOTONIC = 1


def first_breath(work: float) -> int:
    """Decisions until the first breath. work: estimated nanoseconds of all blocks."""
    return max(ALIVE, min(_MOST, int(_FIRST / max(work, 1.0))))


class Breath:
    """``breathe(table, state)``: decisions until the next breath, or ``ENDED``. state: those until this one, its time."""

    def __init__(self, module: ir.Module, place: int) -> None:
        """place: where the words stand in the table."""
        self._place = place
        self.function = ir.Function(module, ir.FunctionType(I64, [POINTER, POINTER]), "breathe")
        self.function.linkage = "internal"
        self.function.attributes.add("noinline")
        self.table, self.state = self.function.args
        self.builder = ir.IRBuilder(self.function.append_basic_block())

    def emit(self) -> ir.Function:
        builder = self.builder
        none = ir.Constant(I64, 0)
        thread = self._word("thread")
        holds = builder.icmp_signed("==", thread, none)
        with builder.if_then(holds):
            self._restore(builder.ptrtoint(self._call("save", POINTER), I64))
        with builder.if_then(builder.not_(holds)):
            self._restore(thread)
        raised = builder.icmp_signed("!=", self._call("signals", I32), ir.Constant(I32, 0))
        with builder.if_then(builder.not_(holds)):
            self._call("save", POINTER)
        with builder.if_then(raised):
            builder.ret(ir.Constant(I64, ENDED))
        builder.ret(self._following())
        return self.function

    def _following(self) -> ir.Value:
        """So many decisions as take ``_EVERY``, judged by those since the last breath."""
        builder = self.builder
        count, before = (word(builder, self.state, n) for n in range(2))
        now = self._now()
        passed = builder.sub(now, before)
        known = builder.icmp_signed("!=", before, ir.Constant(I64, 0))
        passed = builder.select(known, self._most(passed, ir.Constant(I64, 1)), ir.Constant(I64, _EVERY))
        wanted = builder.sdiv(builder.mul(count, ir.Constant(I64, _EVERY)), passed)
        wanted = self._least(wanted, builder.mul(count, ir.Constant(I64, _FASTER)))
        wanted = self._most(self._least(wanted, ir.Constant(I64, _LIMIT)), ir.Constant(I64, ALIVE))
        for place, value in enumerate((wanted, now)):
            builder.store(value, builder.gep(self.state, [ir.Constant(I64, place)], source_etype=I64))
        return wanted

    def _now(self) -> ir.Value:
        builder = self.builder
        time = builder.alloca(I64, 2)
        self._call("clock", I32, ir.Constant(I32, _MONOTONIC), time)
        seconds, nanoseconds = (word(builder, time, n) for n in range(2))
        return builder.add(builder.mul(seconds, ir.Constant(I64, 10**9)), nanoseconds)

    def _restore(self, thread: ir.Value) -> None:
        self._call("restore", ir.VoidType(), self.builder.inttoptr(thread, POINTER))

    def _least(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.builder.select(self.builder.icmp_signed("<", x, y), x, y)

    def _most(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.builder.select(self.builder.icmp_signed(">", x, y), x, y)

    def _word(self, name: str) -> ir.Value:
        return word(self.builder, self.table, self._place + BREATH.index(name))

    def _call(self, name: str, result: ir.Type, *operands: ir.Value) -> ir.Value:
        return call_at(self.builder, self._word(name), result, *operands)
