"""Native guards as programs have them, for facts that a test makes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from blockfuse.codegen.compiler_thread import in_compiler_thread
from blockfuse.codegen.cpu.native.object_code import object_code
from blockfuse.codegen.cpu.process.guard_check import GuardCheck, NativeGuard, guard_check, guard_check_ir
from blockfuse.ir.comparisons import Comparison
from blockfuse.runtime.programs.backend import CpuBackend, backend


def native_guard(*facts: Sequence[Comparison]) -> NativeGuard:
    return _check().guard(facts)


@cache
def _check() -> GuardCheck:
    cpu = backend("cpu")
    assert isinstance(cpu, CpuBackend)

    def code() -> bytes:
        return object_code("guard_check", guard_check_ir, cpu.machine, cpu.store)

    return in_compiler_thread(lambda: guard_check(code, cpu.machine))
