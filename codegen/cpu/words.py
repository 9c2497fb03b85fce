"""Types and accesses that native code shares: everything is found in tables of 64-bit words."""

from __future__ import annotations

from llvmlite import ir

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
POINTER = ir.PointerType()
ROWS = ir.FunctionType(
    ir.VoidType(), [POINTER, I64, I64, I64]
)  # table, begin, end, memory of the thread or 0


def word(builder: ir.IRBuilder, table: ir.Value, place: int) -> ir.Value:
    """The 64-bit word number ``place``."""
    return builder.load(builder.gep(table, [ir.Constant(I64, place)], source_etype=I64), typ=I64)
