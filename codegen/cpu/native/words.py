"""Types and accesses that native code shares: everything is found in tables of 64-bit words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llvmlite import ir

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
POINTER = ir.PointerType()
ROWS = ir.FunctionType(
    ir.VoidType(), [POINTER, I64, I64, I64]
)  # table, begin, end, memory of the thread or 0


def word(builder: ir.IRBuilder, table: ir.Value, place: int) -> ir.Value:
    """The 64-bit word number ``place``."""
    return builder.load(builder.gep(table, [ir.Constant(I64, place)], source_etype=I64), typ=I64)


def call_at(builder: ir.IRBuilder, address: ir.Value, result: ir.Type, *operands: ir.Value) -> ir.Value:
    """Call the function at an address that a word holds."""
    signature = ir.FunctionType(result, [o.type for o in operands])
    return builder.call(builder.inttoptr(address, signature.as_pointer()), list(operands))


@contextmanager
def counted(builder: ir.IRBuilder, first: ir.Value, beyond: ir.Value, step: int = 1) -> Iterator[ir.Value]:
    """What is emitted inside is done for each number from ``first`` on, as long as it is below ``beyond``."""
    before = builder.block
    head, inside, after = (builder.append_basic_block(n) for n in ("each", "inside", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    number = builder.phi(I64)
    number.add_incoming(first, before)
    builder.cbranch(builder.icmp_signed("<", number, beyond), inside, after)
    builder.position_at_end(inside)
    yield number
    number.add_incoming(builder.add(number, ir.Constant(I64, step)), builder.block)
    builder.branch(head)
    builder.position_at_end(after)
