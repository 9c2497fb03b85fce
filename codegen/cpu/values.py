"""LLVM values for processors: with LLVM's own functions and those of the C library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from llvmlite import ir

from blockfuse.codegen import llvm
from blockfuse.codegen.functions import exponential
from blockfuse.codegen.llvm import declared, each_lane


class Value(llvm.Value):
    """A value that the C library and LLVM's intrinsics take."""

    __slots__ = ()

    def call(self, name: str, *others: Self) -> Self:
        if name in _FREE:
            return self.new(_FREE[name](self.builder)(self.ir, others[0].ir, flags=("reassoc",)))
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


# The order of additions in a fold is free.
_FREE: dict[str, Callable[[ir.IRBuilder], Callable[..., ir.Value]]] = {
    "fold_add": lambda builder: builder.fadd,
    "fold_multiply": lambda builder: builder.fmul,
}
# name -> that of LLVM
_INTRINSICS = {
    **{n: n for n in ("sqrt", "floor", "ceil", "trunc", "rint", "fabs", "copysign", "fmuladd")},
    "fold_maximum": "maximum",
    "fold_minimum": "minimum",
}
# LLVM's tell 0.0 from -0.0, which takes a fold three times as long; NumPy's give one or the other, depending on the place.
_EITHER_ZERO = ("maximum", "minimum")
