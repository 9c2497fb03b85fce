"""Vectors of narrow weights as vectors of float32: see NOTE [narrow weights].

Processors move the elements of a vector apart at half the rate, or less, at which they load. So panels of bfloat16 have
their two halves interleaved: two neighbours in memory are one word of 32 bits, whose lower half belongs to the first vector
of the panel and the upper half to the second. Measured (AMD EPYC with AVX2, one core, 3 layers of 1024 at batch 1, as a
multiple of float32 in the same run): 2.0, in the order of columns 1.0. For int8 the order of columns is the quicker one.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from blockfuse.codegen.values.emitter import I32, constant


def _bfloat16(builder: ir.IRBuilder, bits: ir.Value, vector: ir.VectorType) -> ir.Value:
    words = ir.VectorType(I32, vector.count)
    return _lower(builder, builder.zext(bits, words), vector)


def bfloat16_halves(builder: ir.IRBuilder, bits: ir.Value, vector: ir.VectorType) -> list[ir.Value]:
    """One step of a panel as its two vectors."""
    words = builder.bitcast(bits, ir.VectorType(I32, vector.count))
    upper = builder.and_(words, _every(words, 0xFFFF0000))
    return [_lower(builder, words, vector), builder.bitcast(upper, vector)]


def bfloat16_step(builder: ir.IRBuilder, words: ir.Value, step: ir.Value, vector: ir.VectorType) -> ir.Value:
    """One of the two steps that words hold, by its number: LLVM knows which where it knows whether that is even."""
    is_odd = builder.icmp_signed("!=", builder.and_(step, constant(1)), constant(0))
    upper = builder.bitcast(builder.and_(words, _every(words, 0xFFFF0000)), vector)
    return builder.select(is_odd, upper, _lower(builder, words, vector))


def _lower(builder: ir.IRBuilder, words: ir.Value, vector: ir.VectorType) -> ir.Value:
    """The numbers whose upper halves are the lower halves of words."""
    return builder.bitcast(builder.shl(words, _every(words, 16)), vector)


def _every(like: ir.Value, number: int) -> ir.Constant:
    return ir.Constant(like.type, [number] * like.type.count)


# dtype in memory ("": that of the sums) -> neighbours, not interleaved, as one vector of float32
NEIGHBOURS: dict[str, Callable[[ir.IRBuilder, ir.Value, ir.VectorType], ir.Value]] = {
    "": lambda _, found, __: found,
    "uint16": _bfloat16,
    "int8": lambda builder, codes, vector: builder.sitofp(codes, vector),
}
