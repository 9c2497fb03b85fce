"""The source of kernels as plain Python over flat memory: intrinsics by their NumPy meanings, the rest as it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy

from blockfuse.codegen.cpu.intrinsics.product_tile import TileSpec
from blockfuse.codegen.cpu.intrinsics.row_sweep import SweepSpec
from blockfuse.codegen.cpu.source.render import render
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.kernels.source_lines import pointers
from blockfuse.codegen.meaning.expressions import FUNCTIONS
from blockfuse.codegen.meaning.folding import Totals, folded_by, width
from blockfuse.codegen.meaning.memory import Address, MeaningError, unwritten
from blockfuse.codegen.meaning.products import times_panels

_LINE = 64  # bytes: near memory is in whole lines


def source_meaning(kernel: Kernel, addresses: Mapping[str, Address], begin: int, end: int) -> None:
    """What the source of a kernel does to memory for rows ``begin`` to ``end``; number by number where it has loops."""
    named = pointers(kernel)
    for name, dtype in named:
        addresses[name].read(dtype, (0,), (1,))  # raises for another dtype
    function = source_function(render(kernel), kernel.name)
    with numpy.errstate(all="ignore"):
        function(*(addresses[name] for name, _ in named), begin, end)


@lru_cache(maxsize=1024)
def source_function(source: str, name: str) -> Callable[..., None]:
    """Function ``name`` of ``source``; its pointers are addresses."""
    scope: dict[str, Any] = dict(_SCOPE)
    defined: dict[str, Any] = {}
    exec(compile(source, f"<kernel {name}>", "exec"), scope, defined)
    function: Callable[..., None] = defined.pop(name)  # not in scope, as for ``frontend.lowered``
    scope.update(defined)
    return function


# -- products ----------------------------------------------------------------------------------------------------


def product_tile(**columns: Any) -> Callable[..., None]:
    """See NOTE [the tile]: some rows times some panels."""
    spec = TileSpec(**columns)
    return lambda *operands: _Tile(spec, operands).stored()


class _Tile:
    """One call of a tile. starts: its matrix, if there are several, its first row and its first column."""

    def __init__(self, spec: TileSpec, operands: tuple[Any, ...]) -> None:
        *given, self.row, self.panel = operands
        self.spec = spec
        self.addresses = dict(zip(spec.arguments, given, strict=False))
        self.matrix = given[len(spec.arguments) :]
        self.starts = (*self.matrix, self.row, self.panel * spec.panel)
        self.columns = min(spec.panels * spec.panel, spec.units - self.panel * spec.panel)

    def stored(self) -> None:
        spec = self.spec
        sums = self._sums()[:, : self.columns]
        if spec.bias is not None:
            bias = self.addresses[spec.bias]
            sums = sums + bias.read(spec.dtype, (self.columns,), (1,), self.starts[-1])
        if spec.epilogue is not None:
            loads = [self._load(*load) for load in spec.loads]
            sums = numpy.broadcast_to(spec.epilogue(sums, *loads), (spec.rows, self.columns))
        dtype, strides = spec.store
        self.addresses["out"].write(dtype, strides[-2:], sums, self._place(strides, self.starts))

    def _sums(self) -> Any:
        spec, (_, right) = self.spec, self.spec.right
        name, strides = spec.left
        left = self.addresses[name].read(
            spec.dtype, (spec.rows, spec.inner), (strides[-1], 1), self._place(strides, self.starts[:-1])
        )
        size = spec.inner * spec.panel
        panels = self.addresses[spec.right[0]].read(
            spec.dtype,
            (spec.panels, spec.inner, spec.panel),
            (size, spec.panel, 1),
            self._place(right, self.matrix) + self.panel * size,
        )
        return times_panels(left, panels)

    def _load(self, name: str, dtype: str, strides: tuple[int, ...]) -> Any:
        shape = (self.spec.rows, self.columns)
        return self.addresses[name].read(dtype, shape, strides[-2:], self._place(strides, self.starts))

    def _place(self, strides: tuple[int, ...], starts: Any) -> int:
        return int(sum(n * step for n, step in zip(starts, strides, strict=True)))


# -- sweeps ------------------------------------------------------------------------------------------------------


def row_sweep(**columns: Any) -> Callable[[FunctionType], Callable[..., Any]]:
    """See NOTE [sweeps]: what is done with an element, done along a row."""

    def of_row(element: FunctionType) -> Callable[..., Any]:
        spec = SweepSpec(**columns, element=element)
        return lambda *operands: _sweep(spec, operands)

    return of_row


def _sweep(spec: SweepSpec, operands: tuple[Any, ...]) -> Any:
    pointers, indices = len(spec.pointers), len(spec.pointers) + len(spec.indices)
    addresses = dict(zip(spec.pointers, operands, strict=False))
    around, scalars = operands[pointers:indices], operands[indices:]
    if len(scalars) != len(spec.scalars):
        raise MeaningError(f"{len(scalars)} scalars are given for {', '.join(spec.scalars)}")
    row_values = scalars[: len(scalars) - len(spec.joins)]
    starts = [numpy.full((1, width(spec.extent)), x) for x in scalars[len(row_values) :]]

    def step(totals: Totals, first: int, beyond: int) -> Totals:
        taken = [_along(access, addresses, around, first, beyond) for access in spec.loads]
        made = spec.element(*taken, *row_values, *totals)
        results = list(made) if isinstance(made, tuple) else [made]
        if spec.store is not None:
            name, dtype, strides = spec.store
            value = numpy.broadcast_to(results.pop(0), (beyond - first,))
            addresses[name].write(dtype, strides[-1:], value, _start(strides, around, first))
        return results

    found = folded_by(step, lambda n, a, b: spec.joins[n](a, b), starts, spec.extent)
    folds = tuple(total[0, 0] for total in found)
    return folds[0] if len(folds) == 1 else folds or None


def _along(
    access: tuple[str, str, tuple[int, ...]], addresses: Any, around: Any, first: int, beyond: int
) -> Any:
    """Elements ``first`` to ``beyond`` of a row."""
    name, dtype, strides = access
    return addresses[name].read(dtype, (beyond - first,), strides[-1:], _start(strides, around, first))


def _start(strides: tuple[int, ...], around: Any, first: int) -> int:
    return int(sum(n * step for n, step in zip((*around, first), strides, strict=True)))


# -- memory ------------------------------------------------------------------------------------------------------


def near_memory(size: int, dtype: str = "") -> Callable[[Address], Address]:
    """Memory for ``size`` elements of ``dtype``, or that of a pointer, in whole lines."""

    def near(out: Address) -> Address:
        kind = dtype or out.memory.dtype
        line = _LINE // numpy.dtype(kind).itemsize
        return Address(unwritten(-(-size // line) * line, kind))

    return near


def stream(near: Address, out: Address, begin: int, end: int) -> None:
    """See NOTE [nontemporal stores]."""
    dtype = out.memory.dtype
    out.write(dtype, (1,), near.read(dtype, (end - begin,), (1,)), begin)


def _drain() -> None:
    """Stores of NumPy are in order."""


def note_fault(fault: Address) -> None:
    """See NOTE [faults]."""
    fault[0] = numpy.int64(1)


_INTRINSICS = {
    "product_tile": product_tile,
    "row_sweep": row_sweep,
    "near_memory": near_memory,
    "stream": stream,
    "drain": _drain,
    "note_fault": note_fault,
}
_SCOPE: dict[str, Any] = {**FUNCTIONS, **_INTRINSICS, "range": range, "__builtins__": {}}
