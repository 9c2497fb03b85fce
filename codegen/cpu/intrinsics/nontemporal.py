"""Stores past the caches, for results that no cache would hold until they are read.

NOTE [nontemporal stores]
A store to memory that no cache holds first reads the line. Stores marked as nontemporal do not, if they fill whole lines:
ten million elements take 1.47 instead of 1.83 ms. LLVM does not vectorise loops with such stores, so kernels write a piece
to near memory on the stack, and ``stream`` copies it to the result, a line at a time. ``drain`` orders these stores before
all that follow, as other threads expect.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy
from llvmlite import ir
from numba.core import types as _numba_types

from blockfuse.codegen.cpu.intrinsics.kernel_function import KernelFunction
from blockfuse.codegen.cpu.intrinsics.numba_intrinsic import Intrinsic
from blockfuse.codegen.cpu.intrinsics.vectors import element_bytes
from blockfuse.codegen.values.emitter import I1, I32, I64, Emitter, constant

types: Any = _numba_types  # its names are made at run time
_LINE_BYTES = 64  # of the largest vector, too


def _near_memory(size: int, dtype: str = "") -> Any:
    """The intrinsic ``near(out)``: stack memory for ``size`` elements of ``dtype``, or that of ``out``, in whole lines."""

    def near(context: Any, out: Any) -> Any:
        pointer = types.CPointer(getattr(types, dtype)) if dtype else out

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
            element = context.get_data_type(pointer.dtype)
            with builder.goto_entry_block():
                line = _LINE_BYTES // element_bytes(element)
                memory = builder.alloca(element, -(-size // line) * line)
                memory.align = _LINE_BYTES
            return builder.bitcast(memory, context.get_value_type(pointer))

        return pointer(out), generate

    return Intrinsic(near)


@lru_cache  # Numba keeps every function that it has met
def _stream(vector_bytes: int) -> Any:
    """The intrinsic ``stream(near, out, begin, end)``: ``out[begin:end]`` becomes what stands at the start of ``near``."""

    def copy(context: Any, near: Any, out: Any, begin: Any, end: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
            _Stream(Emitter(builder), context.get_data_type(out.dtype), vector_bytes).build(*values)
            return context.get_dummy_value()

        return types.void(near, out, begin, end), generate

    return Intrinsic(copy)


@Intrinsic
def _drain(context: Any) -> Any:
    """See NOTE [nontemporal stores]."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


class _Stream:
    """Writes the code of one call."""

    def __init__(self, emit: Emitter, element: ir.Type, vector_bytes: int) -> None:
        self.emit, self.element = emit, element
        self.itemsize = element_bytes(element)
        self.line = _LINE_BYTES // self.itemsize  # elements
        self.vector = ir.VectorType(element, vector_bytes // self.itemsize)

    def build(self, near: ir.Value, out: ir.Value, begin: ir.Value, end: ir.Value) -> None:
        """Up to the first whole line, whole lines, and the rest."""
        emit, builder = self.emit, self.emit.builder
        target = self._at(out, begin)
        count = builder.sub(end, begin)
        index = builder.udiv(emit.address(target), constant(self.itemsize))  # in the whole memory
        before = builder.and_(builder.neg(index), constant(self.line - 1))
        head = emit.smaller(before, count)
        lines = builder.sdiv(builder.sub(count, head), constant(self.line))
        tail = builder.add(head, emit.times(lines, self.line))
        self._copy(near, target, constant(0), head)
        self._lines(near, target, head, tail)
        self._copy(near, target, tail, count)

    def _at(self, pointer: ir.Value, index: ir.Value) -> ir.Value:
        return self.emit.at(pointer, index, self.element)

    def _copy(self, near: ir.Value, target: ir.Value, first: ir.Value, end: ir.Value) -> None:
        builder = self.emit.builder
        size = self.emit.times(builder.sub(end, first), self.itemsize)
        pointers = self._at(target, first), self._at(near, first)
        copy = builder.module.declare_intrinsic("llvm.memcpy", [*(p.type for p in pointers), I64])
        builder.call(copy, [*pointers, size, constant(0, I1)])

    def _lines(self, near: ir.Value, target: ir.Value, first: ir.Value, end: ir.Value) -> None:
        with self.emit.counted(first, end, self.line) as index:
            for vector in range(self.line // self.vector.count):
                at = self.emit.builder.add(index, constant(vector * self.vector.count))
                self._store(near, target, at)

    def _store(self, near: ir.Value, target: ir.Value, index: ir.Value) -> None:
        builder, vector = self.emit.builder, self.vector.as_pointer()
        source = builder.bitcast(self._at(near, index), vector)
        value = builder.load(source, align=self.itemsize, typ=self.vector)
        whole = self.vector.count * self.itemsize
        stored = builder.store(value, builder.bitcast(self._at(target, index), vector), align=whole)
        stored.set_metadata("nontemporal", builder.module.add_metadata([constant(1, I32)]))


# -- meaning -----------------------------------------------------------------------------------------------------


def _near_memory_meaning(size: int, dtype: str = "") -> Callable[[Any], Any]:
    from blockfuse.codegen.meaning.memory import Address, unwritten  # only who checks kernels pays for it

    def near(out: Any) -> Any:
        kind = dtype or out.memory.dtype
        line = _LINE_BYTES // numpy.dtype(kind).itemsize
        return Address(unwritten(-(-size // line) * line, kind))

    return near


def _stream_meaning(near: Any, out: Any, begin: int, end: int) -> None:
    dtype = out.memory.dtype
    out.write(dtype, (1,), near.read(dtype, (end - begin,), (1,)), begin)


def _drain_meaning() -> None:
    """Stores of NumPy are in order."""


NEAR_MEMORY = KernelFunction("near_memory", lambda _: _near_memory, _near_memory_meaning)
STREAM = KernelFunction("stream", lambda machine: _stream(machine.vector_bytes), _stream_meaning)
DRAIN = KernelFunction("drain", lambda _: _drain, _drain_meaning)
