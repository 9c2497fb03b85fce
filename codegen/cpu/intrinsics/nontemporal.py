"""Stores past the caches, for results that no cache would hold until they are read.

NOTE [streams]
A store to memory that no cache holds first reads the line. Stores marked as nontemporal do not, if they fill whole lines:
ten million elements take 1.47 instead of 1.83 ms. LLVM does not vectorise loops with such stores, so kernels write a piece
to near memory on the stack, and ``stream`` copies it to the result, a line at a time. ``drain`` orders these stores before
all that follow, as other threads expect.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from llvmlite import ir
from numba.core import types as _numba_types

from blockfuse.codegen.cpu.intrinsics.numba_intrinsic import Intrinsic
from blockfuse.codegen.cpu.intrinsics.vectors import element_bytes
from blockfuse.codegen.cpu.native.words import I32, I64, counted

types: Any = _numba_types  # its names are made at run time
_LINE = 64  # bytes: of the largest vector, too


def near_memory(size: int, dtype: str = "") -> Any:
    """The intrinsic ``near(out)``: stack memory for ``size`` elements of ``dtype``, or that of ``out``, in whole lines."""

    def near(context: Any, out: Any) -> Any:
        pointer = types.CPointer(getattr(types, dtype)) if dtype else out

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
            element = context.get_data_type(pointer.dtype)
            with builder.goto_entry_block():
                line = _LINE // element_bytes(element)
                memory = builder.alloca(element, -(-size // line) * line)
                memory.align = _LINE
            return builder.bitcast(memory, context.get_value_type(pointer))

        return pointer(out), generate

    return Intrinsic(near)


@lru_cache  # Numba keeps every function that it has met
def stream(vector_bytes: int) -> Any:
    """The intrinsic ``stream(near, out, begin, end)``: ``out[begin:end]`` becomes what stands at the start of ``near``."""

    def copy(context: Any, near: Any, out: Any, begin: Any, end: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
            _Stream(builder, context.get_data_type(out.dtype), vector_bytes).emit(*values)
            return context.get_dummy_value()

        return types.void(near, out, begin, end), generate

    return Intrinsic(copy)


@Intrinsic
def drain(context: Any) -> Any:
    """See NOTE [streams]."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


class _Stream:
    def __init__(self, builder: ir.IRBuilder, element: ir.Type, vector_bytes: int) -> None:
        self.builder, self.element = builder, element
        self.itemsize = element_bytes(element)
        self.line = _LINE // self.itemsize  # elements
        self.vector = ir.VectorType(element, vector_bytes // self.itemsize)

    def emit(self, near: ir.Value, out: ir.Value, begin: ir.Value, end: ir.Value) -> None:
        """Up to the first whole line, whole lines, and the rest."""
        builder = self.builder
        target = self._at(out, begin)
        count = builder.sub(end, begin)
        place = builder.udiv(builder.ptrtoint(target, I64), ir.Constant(I64, self.itemsize))
        before = builder.and_(builder.neg(place), ir.Constant(I64, self.line - 1))
        head = builder.select(builder.icmp_signed("<", before, count), before, count)
        lines = builder.sdiv(builder.sub(count, head), ir.Constant(I64, self.line))
        tail = builder.add(head, builder.mul(lines, ir.Constant(I64, self.line)))
        self._copy(near, target, ir.Constant(I64, 0), head)
        self._lines(near, target, head, tail)
        self._copy(near, target, tail, count)

    def _at(self, pointer: ir.Value, place: ir.Value) -> ir.Value:
        return self.builder.gep(pointer, [place], source_etype=self.element)

    def _copy(self, near: ir.Value, target: ir.Value, first: ir.Value, beyond: ir.Value) -> None:
        size = self.builder.mul(self.builder.sub(beyond, first), ir.Constant(I64, self.itemsize))
        pointers = self._at(target, first), self._at(near, first)
        copy = self.builder.module.declare_intrinsic("llvm.memcpy", [*(p.type for p in pointers), I64])
        self.builder.call(copy, [*pointers, size, ir.Constant(ir.IntType(1), 0)])

    def _lines(self, near: ir.Value, target: ir.Value, first: ir.Value, beyond: ir.Value) -> None:
        with counted(self.builder, first, beyond, self.line) as place:
            for part in range(self.line // self.vector.count):
                at = self.builder.add(place, ir.Constant(I64, part * self.vector.count))
                self._store(near, target, at)

    def _store(self, near: ir.Value, target: ir.Value, place: ir.Value) -> None:
        builder, vector = self.builder, self.vector.as_pointer()
        value = builder.load(
            builder.bitcast(self._at(near, place), vector), align=self.itemsize, typ=self.vector
        )
        whole = self.vector.count * self.itemsize
        stored = builder.store(value, builder.bitcast(self._at(target, place), vector), align=whole)
        stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(I32, 1)]))
