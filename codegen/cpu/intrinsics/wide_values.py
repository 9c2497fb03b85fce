"""Values on vectors of 64 bytes (AVX-512), which have instructions that others lack, and divide slowly.

NOTE [wide values]
A register holds sixteen float32, a table that one instruction looks up for all lanes: the roots ``2**(j/16)``, with which
an exponential needs half the polynomial. Another scales by powers of two, subnormal results included. The functions of
``codegen/values/`` ask ``is_wide`` and then take these forms; elsewhere they would be slower. A step of a flat map is
several registers in one value, so each instruction is one for each register.

Time an element, against the forms that all vectors have, 100,000 float32, Intel (Sapphire Rapids kind), one core, one run:
exp 0.67, sigmoid 0.76, softplus 0.74. A reciprocal of 14 bits, one of Newton's steps and a correction in the place of the
division of sigmoid and tanh took 1.1 and 1.02 times as long: divisions go on beside the rest.
"""

from __future__ import annotations

from typing import Any, Self

from llvmlite import ir

from blockfuse.codegen.cpu.intrinsics.values import Value
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.values.division import divided_by_one
from blockfuse.codegen.values.emitter import I32
from blockfuse.codegen.values.llvm import declared

_BYTES = 64
_FLOATS = ir.VectorType(ir.FloatType(), 16)
_INTEGERS = ir.VectorType(I32, 16)
_ROOTS = [2 ** (j / 16) for j in range(16)]
_ALL = ir.Constant(ir.IntType(16), -1)  # the mask of all lanes
_AS_SET = ir.Constant(I32, 4)  # rounding as the processor is set to


def values_of(machine: Machine) -> type[Value]:
    """How vector code for a machine writes what it computes."""
    return WideValue if machine.vector_bytes == _BYTES else Value


class WideValue(Value):
    """A value in whole registers of 64 bytes, or one like any other: of fewer lanes, or a scalar."""

    __slots__ = ()

    @property
    def is_wide(self) -> bool:  # type: ignore[override]
        return self._is_whole and isinstance(self.element, ir.FloatType)

    @property
    def _is_whole(self) -> bool:
        return isinstance(self.type, ir.VectorType) and self.type.count * self.bits % (8 * _BYTES) == 0

    def __truediv__(self, other: Any) -> Self:
        divisor = self.with_(other)
        one = _is_same_in_all_lanes(divisor.ir) and not _is_same_in_all_lanes(self.ir)
        if one and self._is_whole and self.is_float:
            return divided_by_one(self, divisor)  # type: ignore[return-value]
        return super().__truediv__(divisor)

    def call(self, name: str, *others: Self) -> Self:
        if name == "scalef":
            return self._by_registers("avx512.mask.scalef.ps.512", [*others], [_FLOATS, _ALL, _AS_SET])
        if name == "root":  # 2**(j / 16), j the last four bits
            roots = self.new(ir.Constant(self.type, _ROOTS * (self.type.count // len(_ROOTS))))
            return roots._by_registers("avx512.permvar.sf.512", [self.bitcast(I32)], [])
        return super().call(name, *others)

    def _by_registers(self, name: str, others: list[Self], rest: list[Any]) -> Self:
        """An instruction on each register. rest: operands besides; a type stands for zeros of it."""
        constants = [ir.Constant(r, None) if isinstance(r, ir.Type) else r for r in rest]
        parts = zip(*(_registers(value) for value in (self, *others)), strict=True)
        results = []
        for part in parts:
            operands = [*part, *constants]
            function = declared(self, f"llvm.x86.{name}", [o.type for o in operands], _FLOATS)
            results.append(self.builder.call(function, operands))
        while len(results) > 1:
            results = [self._beside(*pair) for pair in zip(results[::2], results[1::2], strict=True)]
        return self.new(results[0])

    def _beside(self, one: ir.Value, other: ir.Value) -> ir.Value:
        lanes = ir.Constant(ir.VectorType(I32, 2 * one.type.count), list(range(2 * one.type.count)))
        return self.builder.shuffle_vector(one, other, lanes)


def _registers(value: Value) -> list[ir.Value]:
    lanes = 16
    if value.type.count == lanes:
        return [value.ir]
    starts = range(0, value.type.count, lanes)
    undefined = ir.Constant(value.type, ir.Undefined)
    chosen = [ir.Constant(_INTEGERS, list(range(start, start + lanes))) for start in starts]
    return [value.builder.shuffle_vector(value.ir, undefined, c) for c in chosen]


def _is_same_in_all_lanes(vector: ir.Value) -> bool:
    """Whether a number was put into all lanes: a constant, a value of a row."""
    chosen = vector.operands[2] if isinstance(vector, ir.instructions.ShuffleVector) else vector
    lanes = chosen.constant if isinstance(chosen, ir.Constant) else ()
    return isinstance(lanes, list | tuple) and len(set(map(str, lanes))) == 1
