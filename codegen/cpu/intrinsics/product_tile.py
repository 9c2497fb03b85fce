"""A product in kernel source: some rows times some panels. Which tile computes it, and what that means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy
from llvmlite import ir
from numba.core import types

from blockfuse.codegen.cpu.intrinsics.dot_tile import DotTile
from blockfuse.codegen.cpu.intrinsics.kernel_function import KernelFunction
from blockfuse.codegen.cpu.intrinsics.numba_intrinsic import Intrinsic
from blockfuse.codegen.cpu.intrinsics.register_tile import RegisterTile
from blockfuse.codegen.cpu.intrinsics.sliced_tile import SlicedTile
from blockfuse.codegen.cpu.intrinsics.tile_edges import Load, TileEdges, TileSpec
from blockfuse.codegen.cpu.intrinsics.wide_values import values_of
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.kernels.product_cuts import SUM_STEPS
from blockfuse.codegen.values.emitter import Emitter
from blockfuse.ir.operators.narrow import lines_of_panel, widened


def _native(machine: Machine, **columns: Any) -> Any:
    """The intrinsic ``tile(*pointers, [matrix,] row, panel[, own row, own panel][, rows passed before][, first step])``.

    columns: fields of ``TileSpec``.
    """
    spec = TileSpec(**columns)
    lanes = machine.lanes(8 if spec.dtype == "float64" else 4)
    kind = DotTile if spec.panel == 1 else SlicedTile if spec.totals else RegisterTile

    def typed(context: Any, *arguments: Any) -> Any:
        def generate(_: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
            kind(TileEdges(spec, lanes, Emitter(builder), values, values_of(machine))).build()
            return ir.Constant(ir.IntType(8).as_pointer(), None)

        return types.void(*arguments), generate

    return Intrinsic(typed)


# -- meaning -----------------------------------------------------------------------------------------------------


def _meaning(**columns: Any) -> Callable[..., None]:
    spec = TileSpec(**columns)
    return lambda *operands: TileMeaning(spec, operands).stored()


def _end_of_slice(spec: TileSpec, first: int) -> int:
    end = first + spec.steps
    return end if end < spec.inner - spec.inner % SUM_STEPS else spec.inner


class TileMeaning:
    """One call of a tile. starts: its matrix, if there are several, its first row and its first column."""

    def __init__(self, spec: TileSpec, operands: tuple[Any, ...]) -> None:
        operands, first = (operands[:-1], operands[-1]) if spec.totals else (operands, 0)
        if spec.has_turn:  # which says what is fetched, and nothing of what is computed
            operands = operands[:-1]
        own = operands[-2:]  # row and panel, where nothing else is said
        *given, self.row, self.panel = operands[:-2] if spec.has_own else operands
        self.spec = spec
        self.steps = range(first, _end_of_slice(spec, first))
        self.addresses = dict(zip(spec.arguments, given, strict=False))
        self.matrix = given[len(spec.arguments) :]
        self.starts = (*self.matrix, self.row, self.panel * spec.panel)
        self.columns = min(spec.panels * spec.panel, spec.units - self.panel * spec.panel)
        self.own = (
            max(own[0] - self.row, 0),
            max(own[1] - self.panel, 0) * spec.panel,
        )  # of the rows and columns

    def stored(self) -> None:
        spec = self.spec
        sums = self._sums()[:, : self.columns]
        if self.steps.start:
            sums = sums + self._load(*self._totals())
        elif spec.bias is not None:
            bias = self.addresses[spec.bias]
            sums = sums + bias.read(spec.dtype, (self.columns,), (1,), self.starts[-1])
        if self.steps.stop < spec.inner:
            self._store([self._totals()], sums)
            return
        if spec.epilogue is not None:
            loads = [self._load(*load) for load in spec.loads]
            sums = spec.epilogue(sums, *loads)
        self._store(spec.stores, sums)

    def _totals(self) -> Load:
        return next(store for store in self.spec.stores if store[0] == self.spec.totals)

    def _store(self, stores: Sequence[Load], values: Any) -> None:
        spec, (row, column) = self.spec, self.own
        results = values if isinstance(values, tuple) else (values,)
        whole = [numpy.array(numpy.broadcast_to(one, (spec.rows, self.columns))) for one in results]
        for (name, dtype, strides), one in zip(stores, whole, strict=True):
            first = self._index(strides, self.starts) + self._index(strides[-2:], self.own)
            self.addresses[name].write(dtype, strides[-2:], one[row:, column:], first)

    def _sums(self) -> Any:
        from blockfuse.codegen.meaning.products import times_panels  # only who checks kernels pays for it

        spec, (_, right) = self.spec, self.spec.right
        name, strides = spec.left
        left = self.addresses[name].read(
            spec.dtype,
            (spec.rows, len(self.steps)),
            strides[-2:],
            self._index(strides[:-1], self.starts[:-1]) + self.steps.start * strides[-1],
        )
        *matrix, stride, step = right
        panels = self.addresses[spec.right[0]].read(
            spec.right_dtype,
            (spec.panels, lines_of_panel(len(self.steps), spec.right_dtype), spec.panel),
            (stride, step, 1),
            self._index(tuple(matrix), self.matrix) + self.panel * stride + self.steps.start * step,
        )
        return times_panels(left, widened(panels)[..., : len(self.steps), :])

    def _load(self, name: str, dtype: str, strides: tuple[int, ...]) -> Any:
        shape = (self.spec.rows, self.columns)
        return self.addresses[name].read(dtype, shape, strides[-2:], self._index(strides, self.starts))

    def _index(self, strides: tuple[int, ...], starts: Any) -> int:
        return int(sum(n * step for n, step in zip(starts, strides, strict=True)))


PRODUCT_TILE = KernelFunction("product_tile", lambda machine: partial(_native, machine), _meaning)
