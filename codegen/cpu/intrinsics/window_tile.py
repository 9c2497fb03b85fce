"""A product of windows in kernel source: some windows of a line times some panels; see NOTE [windows in tiles]."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy
from llvmlite import ir
from numba.core import types

from blockfuse.codegen.cpu.intrinsics.kernel_function import KernelFunction
from blockfuse.codegen.cpu.intrinsics.numba_intrinsic import Intrinsic
from blockfuse.codegen.cpu.intrinsics.product_tile import TileMeaning
from blockfuse.codegen.cpu.intrinsics.register_tile import RegisterTile
from blockfuse.codegen.cpu.intrinsics.tile_edges import TileEdges, TileSpec
from blockfuse.codegen.cpu.intrinsics.values import Value
from blockfuse.codegen.cpu.intrinsics.wide_values import values_of
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.kernels.product_cuts import MAX_SUM_STEPS
from blockfuse.codegen.values.emitter import Emitter, constant
from blockfuse.ir.operators.narrow import widened

Axes = tuple[int, ...]
Line = tuple[int, int] | None  # windows of a line, and from one to the next, where tiles go on to it


class WindowEdges(TileEdges):
    """Where the operands lie, whose left one begins at an offset of the line, and the others with those of the group."""

    def __init__(
        self,
        spec: TileSpec,
        line: Line,
        lanes: int,
        emit: Emitter,
        values: list[ir.Value],
        kind: type[Value] = Value,
    ) -> None:
        pointers = len(spec.arguments)
        super().__init__(spec, lanes, emit, [*values[:pointers], *values[pointers + 1 : -1]], kind)
        self.line, self.offset, self.group = line, values[pointers], values[-1]

    def left_rows(self) -> list[ir.Value]:
        numbers = [self.emit.builder.add(self.row, constant(row)) for row in range(self.spec.rows)]
        name = self.spec.left[0]
        return [
            self.memory.address(name, self.emit.sum(self.offset, self._of_window(number)), self.spec.dtype)
            for number in numbers
        ]

    def _of_window(self, number: ir.Value) -> ir.Value:
        """Where a window begins, counted from the first line."""
        window = self.spec.left[1][0]
        if self.line is None:
            return self.emit.times(number, window)
        height, step = self.line
        line = self.emit.builder.udiv(number, constant(height))
        bend = self.emit.times(line, step - height * window)
        return self.emit.sum(self.emit.times(number, window), bend)

    def right_start(self) -> ir.Value:
        return self.emit.times(self.group, _group_size(self.spec))

    def start(self, columns: list[ir.Value], masks: list[ir.Value | None]) -> list[ir.Value]:
        return super().start([self._of_result(column) for column in columns], masks)

    def finish(self, total: ir.Value, row: int, column: ir.Value, mask: ir.Value | None) -> None:
        super().finish(total, row, self._of_result(column), mask)

    def _of_result(self, column: ir.Value) -> ir.Value:
        """A column of the group among all."""
        return self.emit.sum(self.emit.times(self.group, self.spec.units), column)


def _group_size(spec: TileSpec) -> int:
    """Elements of the packed weight of a group. spec: its units are those of a group."""
    return -(-spec.units // spec.panel) * spec.inner * spec.panel


# Steps of the loops within one from which on it gains nothing to be written out. LLVM would write the body of three by three
# taps nine times, each with its own rounds over channels: two thirds of its time for such a kernel.
LONG_STEPS = 64


class WindowTile(RegisterTile):
    """A register tile whose inner axis is several loops. along: from one step of each to the next."""

    def __init__(self, edges: TileEdges, inner: Axes, along: Axes) -> None:
        super().__init__(edges)
        self.inner, self.along = inner, along

    def _inner_loop(self, start: list[ir.Value]) -> list[ir.Value]:
        return self._nest(start, self.bases(), 0)

    def _nest(self, sums: list[ir.Value], bases: Any, level: int) -> list[ir.Value]:
        """The loops from ``level`` on; where many steps are added up, those of the last loop are by themselves."""
        extent, step = self.inner[level], self.along[level]
        below = prod(self.inner[level + 1 :])

        def moved(k: ir.Value) -> Any:
            rows, panels = bases
            element, width = self.vector.element, self.spec.right[1][-1]
            along, down = self.emit.times(k, step), self.emit.times(k, below * width)
            return (
                [self.emit.at(row, along, element) for row in rows],
                [self.edges.right_at(panel, down) for panel in panels],
            )

        if level < len(self.inner) - 1:
            return self.emit.carried(
                sums, 0, extent, 1, lambda now, k: self._nest(now, moved(k), level + 1), below < LONG_STEPS
            )
        if level == 0 or prod(self.inner) <= MAX_SUM_STEPS:
            return self.emit.carried(sums, 0, extent, 1, lambda now, k: self.step(now, bases, k))
        zeros = [ir.Constant(self.vector, None)] * len(sums)
        parts = self.emit.carried(zeros, 0, extent, 1, lambda now, k: self.step(now, bases, k))
        return [self.emit.builder.fadd(a, b) for a, b in zip(sums, parts, strict=True)]


def _spec(inner: Axes, along: Axes, columns: dict[str, Any]) -> TileSpec:
    """The inner axis as one, whose last steps are ``along``'s."""
    name, (window,) = columns["left"]
    return TileSpec(**{**columns, "inner": prod(inner), "left": (name, (window, along[-1]))})


def _native(machine: Machine, inner: Axes, along: Axes, line: Line = None, **columns: Any) -> Any:
    """The intrinsic ``tile(*pointers, offset, line, window, panel, group)``."""
    spec = _spec(inner, along, columns)
    lanes = machine.lanes(8 if spec.dtype == "float64" else 4)

    def typed(_: Any, *arguments: Any) -> Any:
        def generate(_: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
            edges = WindowEdges(spec, line, lanes, Emitter(builder), values, values_of(machine))
            WindowTile(edges, inner, along).build()
            return ir.Constant(ir.IntType(8).as_pointer(), None)

        return types.void(*arguments), generate

    return Intrinsic(typed)


# -- meaning -----------------------------------------------------------------------------------------------------


def _meaning(inner: Axes, along: Axes, line: Line = None, **columns: Any) -> Callable[..., None]:
    spec = _spec(inner, along, columns)
    return lambda *operands: _WindowMeaning(spec, operands, inner, along, line).stored()


class _WindowMeaning(TileMeaning):
    """One call of a tile."""

    def __init__(
        self, spec: TileSpec, operands: tuple[Any, ...], inner: Axes, along: Axes, line: Line
    ) -> None:
        pointers = len(spec.arguments)
        super().__init__(spec, (*operands[:pointers], *operands[pointers + 1 : -1]))
        self.offset, self.group, self.inner, self.along = operands[pointers], operands[-1], inner, along
        self.line = line
        self.starts = (*self.starts[:-1], self.starts[-1] + self.group * spec.units)

    def _sums(self) -> Any:
        from blockfuse.codegen.meaning.products import times_panels  # only who checks kernels pays for it

        spec, (name, (window, _)), (right, (step, width)) = self.spec, self.spec.left, self.spec.right
        numbers = [int(self.row) + row for row in range(spec.rows)]
        height, down = self.line or (max(numbers) + 1, 0)
        starts = [int(self.offset) + n // height * down + n % height * window for n in numbers]
        memory = self.addresses[name]
        left = numpy.stack([memory.read(spec.dtype, self.inner, self.along, start) for start in starts])
        first = int(self.group * _group_size(spec) + self.panel * step)
        panels = self.addresses[right].read(
            spec.right_dtype, (spec.panels, spec.inner, spec.panel), (step, width, 1), first
        )
        return times_panels(left.reshape(spec.rows, spec.inner), widened(panels))


WINDOW_TILE = KernelFunction("window_tile", lambda machine: partial(_native, machine), _meaning)
