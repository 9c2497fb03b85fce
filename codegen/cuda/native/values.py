"""LLVM values for a thread of a device: with the functions of libdevice, NVIDIA's library of mathematics."""

from __future__ import annotations

import math
from typing import Any, Self

from llvmlite import ir

from blockfuse.codegen.values import llvm
from blockfuse.codegen.values.exponential import exponential
from blockfuse.codegen.values.llvm import each_lane

# What libdevice calls otherwise.
_NAMES = {"fmuladd": "fma"}
# What a fold of floats is on a device, where the kernel itself says in which order it is done.
_FOLDS = {
    "fold_add": lambda x, y: x + y,
    "fold_multiply": lambda x, y: x * y,
    "fold_maximum": lambda x, y: (x != x).chosen(x, (x > y).chosen(x, y)),
    "fold_minimum": lambda x, y: (x != x).chosen(x, (x < y).chosen(x, y)),
}


class Value(llvm.Value):
    """A value of one thread."""

    __slots__ = ()
    hides_latency = True

    def call(self, name: str, *others: Self) -> Self:
        if name in _FOLDS:
            return _FOLDS[name](self, *others)  # type: ignore[no-any-return]
        if name == "exp":
            return exponential(self)  # type: ignore[return-value]
        symbol = f"__nv_{_NAMES.get(name, name)}{'f' if self.bits == 32 else ''}"
        return each_lane(self, symbol, others)  # type: ignore[no-any-return]

    def __neg__(self) -> Self:
        """NVVM reads the LLVM of a time that had no ``fneg``."""
        return self.constant(-0.0) - self if self.is_float else super().__neg__()

    def to(self, element: ir.Type, signed: bool = True) -> Self:
        """See NOTE [floats that no integer holds]; a device's own conversion gives the nearest integer."""
        converted = super().to(element, signed)
        if not (self.is_float and isinstance(element, ir.IntType)):
            return converted
        bound = math.ldexp(1.0, element.width - 1)
        held = (self >= -bound) & (self < bound)
        return type(self)(self.builder, held.chosen(converted, self._least(element)).ir, signed)

    def _frozen(self, value: ir.Value) -> ir.Value:
        """As it is: NVVM knows no ``freeze`` either, and ``to`` chooses."""
        return value

    def _least(self, element: ir.IntType) -> Any:
        return self.new(ir.Constant(element, -(1 << (element.width - 1))))
