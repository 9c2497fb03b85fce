"""The entry: the built-in function that Python calls for a whole program."""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.process.guard_check import HOLDS, RAISES
from blockfuse.codegen.cpu.program.arguments import Arguments
from blockfuse.codegen.cpu.program.drive import RAISED, UNKNOWN
from blockfuse.codegen.cpu.program.frame import Frame
from blockfuse.codegen.cpu.program.outs import Outs
from blockfuse.codegen.cpu.program.plan import Plan
from blockfuse.codegen.cpu.program.results import Results
from blockfuse.codegen.cpu.program.running import Running
from blockfuse.codegen.cpu.program.workspace import Workspace
from blockfuse.codegen.scheduling.buffers import BufferKind
from blockfuse.codegen.validity import VALID
from blockfuse.codegen.values.emitter import I64, NULL, POINTER, VOID, Emitter, constant


def emit_entry(module: ir.Module, plan: Plan, drive: ir.Function) -> None:
    """``entry(self, args, count)``: the METH_FASTCALL function of NOTE [the frame]. drive: runs the blocks.

    It answers NotImplemented, so that Python takes over, unless the program is valid, no unusual mode is on,
    and the arguments are exactly as many arrays of the recorded types, ours or NumPy's; what does not lie in C order is
    copied. Those of a program that writes lie in C order and apart from what it writes, and have no history. Where all are
    NumPy's, the results are.
    Behind the arguments may stand NumPy's arrays for the results, and the mark that dispatch gives: NOTE [results of a
    caller].
    Dispatch knows the mode of its thread, and has looked at all facts: it gives the array that counts unusual modes as one
    argument more, and is not counted.
    """
    function = ir.Function(module, ir.FunctionType(POINTER, [POINTER, POINTER, I64]), "entry")
    this, objects, count = function.args
    frame = Frame(Emitter.of(function, "start"), plan, this)
    _require_valid(frame)
    arguments = Arguments(frame, objects)
    outs = Outs(frame, objects, count)
    by_python = arguments.require_mode(count, outs.given)
    _require_guard(frame, by_python)
    addresses = arguments.check()
    arguments.require_apart(addresses)
    table = _filled_table(frame)
    if arguments.items is not None:
        arguments.require_proven_size(arguments.items)
        frame.emit.put(table, plan.items_index, arguments.items)
    for (number, _), address in zip(plan.buffers(BufferKind.ARGUMENT), addresses, strict=True):
        frame.emit.put(table, number, address)
    results = Results(frame, arguments.items, outs)
    outs.check(results, arguments.ranges(addresses))
    results.make(table)
    running = Running(frame, arguments.items, table, drive)
    _give_up_unless_done(frame, Workspace(frame, arguments.items, table).around(running.run))
    if plan.schedule.updates:
        _count(frame, "commits", constant(1))
    _count(frame, "calls", frame.emit.builder.zext(by_python, I64))  # others are counted by dispatch
    result = frame.emit.choice(outs.given, results.given_back, lambda: results.wrap(arguments.all_plain))
    frame.drop_copies()
    frame.emit.builder.ret(result)
    _emit_exits(frame)


def _require_valid(frame: Frame) -> None:
    frame.require(frame.emit.is_("==", frame.words.get("valid"), VALID))


def _require_guard(frame: Frame, by_python: ir.Value) -> None:
    """NOTE [native guards]; the table lives as long as the program is valid. A key's ``__eq__`` may change anything."""
    builder, emit, words = frame.emit.builder, frame.emit, frame.words
    guard = words.pointer("guard")
    asks = builder.and_(by_python, builder.not_(emit.is_null(guard)))
    with builder.if_then(asks):
        words.call("incref", VOID, guard)
        answer = words.call("holds", I64, guard)
        words.call("decref", VOID, guard)
        emit.require(emit.is_("!=", answer, RAISES), frame.failed)
        frame.require(emit.is_("==", answer, HOLDS))
        _require_valid(frame)


def _filled_table(frame: Frame) -> ir.Value:
    """The program's table, copied to the stack."""
    emit, size = frame.emit, frame.plan.table_size
    table = emit.builder.alloca(I64, size)
    for index in range(size):
        emit.put(table, index, emit.word(frame.base, frame.layout.table + index))
    return table


def _give_up_unless_done(frame: Frame, answer: ir.Value) -> None:
    """Where the flow is unknown, or an index was beyond its axis, Python runs the call from the start.

    Nothing was written but our own memory: NOTE [the commit]. What drawing or a signal's handler raised goes on.
    """
    schedule = frame.plan.schedule
    may_refuse = len(schedule.blocks) > 1 or schedule.fault is not None
    may_raise = bool(frame.plan.draws or frame.plan.decides)
    exits = [(UNKNOWN, frame.refused)] * may_refuse + [(RAISED, frame.failed)] * may_raise
    for number, exit in exits:
        with frame.emit.builder.if_then(frame.emit.is_("==", answer, number)):
            frame.give_up(exit)


def _count(frame: Frame, word: str, more: ir.Value) -> None:
    """Add to a word of the header; only the holder of the interpreter lock counts."""
    builder, counter = frame.emit.builder, frame.words.at(word)
    builder.store(builder.add(builder.load(counter, typ=I64), more), counter)


def _emit_exits(frame: Frame) -> None:
    builder = frame.emit.builder
    builder.position_at_end(frame.failed)
    frame.drop_copies()
    builder.ret(NULL)
    builder.position_at_end(frame.refused)
    frame.drop_copies()
    answer = frame.words.pointer("not_implemented")
    frame.words.call("incref", VOID, answer)
    builder.ret(answer)
