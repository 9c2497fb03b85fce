"""How a kernel notes a fault: see NOTE [faults] in ``codegen/kernels/kernel.py``."""

from __future__ import annotations

from typing import Any

import numpy
from llvmlite import ir
from numba.core import types as _numba_types

from blockfuse.codegen.cpu.intrinsics.kernel_function import KernelFunction
from blockfuse.codegen.cpu.intrinsics.numba_intrinsic import Intrinsic
from blockfuse.codegen.values.emitter import constant

types: Any = _numba_types  # its names are made at run time


@Intrinsic
def _note_fault(context: Any, fault: Any) -> Any:
    """Set the word. Several threads may at once, so the store is atomic; that also keeps LLVM from making vectors of it."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        builder.store_atomic(constant(1), values[0], "monotonic", 8)
        return context.get_dummy_value()

    return types.void(fault), generate


def _meaning(fault: Any) -> None:
    fault[0] = numpy.int64(1)


NOTE_FAULT = KernelFunction("note_fault", lambda _: _note_fault, _meaning)
