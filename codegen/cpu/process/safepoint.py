"""What native loops do every few milliseconds: let other threads run Python, and look for signals.

NOTE [safepoints]
A loop may never end. So the driver of a program with decisions counts them down, and at zero comes to a safepoint: it
gives the interpreter away and takes it back, runs the handlers of signals that have come, and goes on; what a handler
raises, such as KeyboardInterrupt, is raised by the call. How many decisions make ``_INTERVAL_NS`` it measures from
safepoint to safepoint, so a decision costs one subtraction and one comparison, whatever it does. Parameters that somebody
changes meanwhile are those of the next call: whoever runs blocks that have safepoints holds on to the present ones.
"""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.process.frame_words import SAFEPOINT
from blockfuse.codegen.values.emitter import I32, I64, POINTER, VOID, Emitter, Words, constant

ALIVE, ENDED = 1, -1  # at least so many decisions until the next safepoint; a handler raised
# Nanoseconds between safepoints. A thread that waits for the interpreter insists on it after 5 ms
# (``sys.setswitchinterval``) without a release: one that comes sooner only wakes it, too late, and lets it begin to wait
# anew.
_INTERVAL_NS = 12_000_000
_FIRST_NS = 1_000_000  # until the first one, as estimated
_MAX_FIRST_DECISIONS = 1 << 12  # until the first safepoint: estimates may be wrong
_MAX_GROWTH = 8  # times as many decisions as until the safepoint before
_MAX_DECISIONS = 1 << 24
_CLOCK_MONOTONIC = 1


def first_safepoint(work: float) -> int:
    """Decisions until the first safepoint. work: estimated nanoseconds of all blocks."""
    return max(ALIVE, min(_MAX_FIRST_DECISIONS, int(_FIRST_NS / max(work, 1.0))))


def safepoint(module: ir.Module, first: int) -> ir.Function:
    """``safepoint(table, state)``: decisions until the next one, or ``ENDED``. state: those until this one, its time.

    first: index of the first of its words in the table.
    """
    function = ir.Function(module, ir.FunctionType(I64, [POINTER, POINTER]), "safepoint")
    function.linkage = "internal"
    function.attributes.add("noinline")
    table, state = function.args
    emit = Emitter.of(function)
    builder, words = emit.builder, Words(emit, table, SAFEPOINT, first)
    thread = words.get("thread")
    holds = emit.is_("==", thread, 0)
    with builder.if_then(holds):
        words.call("restore", VOID, emit.pointer(emit.address(words.call("save", POINTER))))
    with builder.if_then(builder.not_(holds)):
        words.call("restore", VOID, emit.pointer(thread))
    raised = emit.is_("!=", words.call("signals", I32), 0)
    with builder.if_then(builder.not_(holds)):
        words.call("save", POINTER)
    with builder.if_then(raised):
        builder.ret(constant(ENDED))
    builder.ret(_following(words, state))
    return function


def _following(words: Words, state: ir.Value) -> ir.Value:
    """So many decisions as take ``_INTERVAL_NS``, judged by those since the last safepoint."""
    emit, builder = words.emit, words.emit.builder
    count, before = (emit.word(state, n) for n in range(2))
    now = _now(words)
    passed = builder.sub(now, before)
    known = emit.is_("!=", before, 0)
    interval = constant(_INTERVAL_NS)
    passed = builder.select(known, emit.larger(passed, constant(1)), interval)
    wanted = builder.sdiv(builder.mul(count, interval), passed)
    wanted = emit.smaller(wanted, emit.times(count, _MAX_GROWTH))
    wanted = emit.larger(emit.smaller(wanted, constant(_MAX_DECISIONS)), constant(ALIVE))
    for index, value in enumerate((wanted, now)):
        emit.put(state, index, value)
    return wanted


def _now(words: Words) -> ir.Value:
    """Nanoseconds."""
    emit = words.emit
    time = emit.builder.alloca(I64, 2)
    words.call("clock", I32, constant(_CLOCK_MONOTONIC, I32), time)
    seconds, nanoseconds = (emit.word(time, n) for n in range(2))
    return emit.builder.add(emit.times(seconds, 10**9), nanoseconds)
