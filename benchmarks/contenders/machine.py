"""The machine itself: the time in which one core multiplies and adds, copies or reads what a net needs at least.

The multiply-add loop keeps as many independent vectors in registers as tiles of products do: one more than there are
registers, and the loop takes twice as long. Reading goes on in several places at a time, as processors follow some streams
side by side quicker than one (AMD EPYC of the Zen 3 kind, 12 MB: 48 to 70 GB/s instead of 16 to 20). Copying is NumPy's,
which is the C library's.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llvmlite.binding as llvm
import numpy

from benchmarks.contender import UnsupportedNetError, Way
from benchmarks.nets import Net
from blockfuse.codegen.cpu.native import isa

_STREAMS = 4  # a divisor of the accumulators of every level


def build(net: Net, threads: int) -> list[Way]:
    if net.floor is None or threads > 1:
        raise UnsupportedNetError("one core's speed is measured" if net.floor else "nothing to compare with")
    amount = int(net.floor.amount)
    if net.floor.kind == "fma":
        flop_a_round = 2 * _independent() * isa.machine().vector_bytes // 4
        scope = _native(_multiply_add()) | {"rounds": max(1, amount // flop_a_round)}
        return [_way("call(rounds, 0)", scope, net)]
    if net.floor.kind == "read":
        source = numpy.ones(amount // 4, numpy.float32)
        rounds = amount // (_independent() * isa.machine().vector_bytes)
        scope = _native(_read()) | {"rounds": rounds, "at": source.ctypes.data, "source": source}
        return [_way("call(rounds, at)", scope, net)]
    source, target = numpy.ones(amount // 8, numpy.float32), numpy.zeros(amount // 8, numpy.float32)
    return [_way("call(target, source)", {"call": numpy.copyto, "source": source, "target": target}, net)]


def _way(statement: str, scope: dict[str, Any], net: Net) -> Way:
    """Nothing is computed, so the result is the expected one."""
    x, parameters = net.draw()
    return Way(statement, scope, lambda _: net.expected(x, parameters))


def _native(text: str) -> dict[str, Any]:
    """A scope with the compiled loop; the code is in memory as long as the scope is."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu="", features=isa.machine().features, opt=3
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), target)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64, ctypes.c_void_p)
    return {"call": kind(engine.get_function_address("probe")), "engine": engine}


def _multiply_add() -> str:
    vector = _vector()
    return _loop(
        [
            f"%next{i} = call {vector} @llvm.fma({vector} %a{i}, {vector} %factor, {vector} %factor)"
            for i in range(_independent())
        ],
        f"declare {vector} @llvm.fma({vector}, {vector}, {vector})",
    )


def _read() -> str:
    vector, each = _vector(), _independent() // _STREAMS
    lines = [f"%apart = mul i64 %rounds, {each}", f"%row = mul i64 %round, {each}"]
    for i in range(each * _STREAMS):
        stream, place = i % _STREAMS, i // _STREAMS
        lines += [
            f"%start{i} = mul i64 %apart, {stream}",
            f"%line{i} = add i64 %row, {place}",
            f"%index{i} = add i64 %start{i}, %line{i}",
            f"%at{i} = getelementptr {vector}, ptr %p, i64 %index{i}",
            f"%x{i} = load {vector}, ptr %at{i}, align 4",
            f"%next{i} = fadd {vector} %a{i}, %x{i}",
        ]
    return _loop(lines)


def _independent() -> int:
    """Vectors in registers: as many chains as two units with a latency of four cycles need, and more."""
    return isa.machine().accumulators


def _vector() -> str:
    return f"<{isa.machine().vector_bytes // 4} x float>"


def _loop(lines: list[str], declarations: str = "") -> str:
    """A loop of ``rounds`` over accumulators ``%a``, whose next values are ``%next``; they are added up after it."""
    vector, count = _vector(), _independent()
    start = [f"%a{i} = phi {vector} [ zeroinitializer, %entry ], [ %next{i}, %loop ]" for i in range(count)]
    total = ["%s0 = fadd VECTOR %next0, zeroinitializer"]
    total += [f"%s{i} = fadd VECTOR %s{i - 1}, %next{i}" for i in range(1, count)]
    text = "\n  ".join
    return f"""
{declarations}
define float @probe(i64 %rounds, ptr %p) {{
entry:
  %one = insertelement {vector} zeroinitializer, float 0x3FE0000000000000, i32 0
  %factor = shufflevector {vector} %one, {vector} zeroinitializer, <{vector[1:].split()[0]} x i32> zeroinitializer
  br label %loop
loop:
  %round = phi i64 [ 0, %entry ], [ %following, %loop ]
  {text(start)}
  {text(lines)}
  %following = add i64 %round, 1
  %again = icmp slt i64 %following, %rounds
  br i1 %again, label %loop, label %end
end:
  {text(total).replace("VECTOR", vector)}
  %result = extractelement {vector} %s{count - 1}, i32 0
  ret float %result
}}
"""
