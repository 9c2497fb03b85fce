"""LLVM values for processors: with LLVM's own functions and those of the C library."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, Self

from llvmlite import ir

from blockfuse.codegen.values import llvm
from blockfuse.codegen.values.exponential import exponential
from blockfuse.codegen.values.functions import FUNCTIONS
from blockfuse.codegen.values.llvm import conversion, declared, each_lane


class Value(llvm.Value):
    """A value that the C library and LLVM's intrinsics take."""

    __slots__ = ()

    def call(self, name: str, *others: Self) -> Self:
        if name in _FREE:
            flags = () if isinstance(self.type, ir.VectorType) else ("reassoc",)
            return self.new(_FREE[name](self.builder)(self.ir, others[0].ir, flags=flags))
        if name == "exp":
            return exponential(self)  # type: ignore[return-value]
        if name in _INTRINSICS:
            return self._intrinsic(_INTRINSICS[name], others)
        return each_lane(self, name + ("f" if self.bits == 32 else ""), others)  # type: ignore[no-any-return]

    def _intrinsic(self, name: str, others: tuple[Self, ...]) -> Self:
        lanes = f"v{self.type.count}" if isinstance(self.type, ir.VectorType) else ""
        function = declared(
            self, f"llvm.{name}.{lanes}f{self.bits}", [self.type] * (1 + len(others)), self.type
        )
        flags = ("nsz",) if name in _EITHER_ZERO else ()
        return self.new(self.builder.call(function, [self.ir, *(o.ir for o in others)], fastmath=flags))


# The order of additions in a fold is free, and LLVM may choose it in loops; code over vectors has chosen.
_FREE: dict[str, Callable[[ir.IRBuilder], Callable[..., ir.Value]]] = {
    "fold_add": lambda builder: builder.fadd,
    "fold_multiply": lambda builder: builder.fmul,
}
# LLVM's tell 0.0 from -0.0, which takes a fold three times as long; NumPy's give one or the other.
_EITHER_ZERO = ("maximum", "minimum")
# name -> that of LLVM
_INTRINSICS = {
    **{n: n for n in ("sqrt", "floor", "ceil", "trunc", "rint", "fabs", "copysign", "fmuladd")},
    "fold_maximum": "maximum",
    "fold_minimum": "minimum",
}


_NUMBERS = ("float32", "float64", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)))


def evaluated(function: FunctionType, like: Value, *operands: Value) -> Any:
    """What a function in the source of a kernel gives for vectors: the same text that is shown, with the functions of
    ``codegen/values/functions.py``. like: a value with as many lanes as numbers in the text get.
    """
    scope = {**function.__globals__, **FUNCTIONS, **{name: conversion(name, like) for name in _NUMBERS}}
    return FunctionType(function.__code__, scope)(*operands)
