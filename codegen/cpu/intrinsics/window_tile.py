"""A product of windows in kernel source: some windows of a line times some panels; see NOTE [windows in tiles]."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

from llvmlite import ir
from numba.core import types

from blockfuse.codegen.cpu.intrinsics.kernel_function import KernelFunction
from blockfuse.codegen.cpu.intrinsics.numba_intrinsic import Intrinsic
from blockfuse.codegen.cpu.intrinsics.product_tile import TileMeaning
from blockfuse.codegen.cpu.intrinsics.register_tile import RegisterTile
from blockfuse.codegen.cpu.intrinsics.tile_edges import TileEdges, TileSpec
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.kernels.product_cuts import MAX_SUM_STEPS
from blockfuse.codegen.values.emitter import Emitter, constant
from blockfuse.ir.operators.narrow import widened

Axes = tuple[int, ...]


class WindowEdges(TileEdges):
    """Where the operands lie, whose left one begins at an offset of the line, and the others with those of the group."""

    def __init__(self, spec: TileSpec, lanes: int, emit: Emitter, values: list[ir.Value]) -> None:
        pointers = len(spec.arguments)
        super().__init__(spec, lanes, emit, [*values[:pointers], *values[pointers + 1 : -1]])
        self.offset, self.group = values[pointers], values[-1]

    def left_rows(self) -> list[ir.Value]:
        name, (window, _) = self.spec.left
        found = []
        for row in range(self.spec.rows):
            line = self.emit.builder.add(self.row, constant(row))
            index = self.emit.sum(self.offset, self.emit.times(line, window))
            found.append(self.memory.address(name, index, self.spec.dtype))
        return found

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
            return self.emit.carried(sums, 0, extent, 1, lambda now, k: self._nest(now, moved(k), level + 1))
        if level == 0 or prod(self.inner) <= MAX_SUM_STEPS:
            return self.emit.carried(sums, 0, extent, 1, lambda now, k: self.step(now, bases, k))
        zeros = [ir.Constant(self.vector, None)] * len(sums)
        parts = self.emit.carried(zeros, 0, extent, 1, lambda now, k: self.step(now, bases, k))
        return [self.emit.builder.fadd(a, b) for a, b in zip(sums, parts, strict=True)]


def _spec(inner: Axes, along: Axes, columns: dict[str, Any]) -> TileSpec:
    """The inner axis as one, whose last steps are ``along``'s."""
    name, (window,) = columns["left"]
    return TileSpec(**{**columns, "inner": prod(inner), "left": (name, (window, along[-1]))})


def _native(machine: Machine, inner: Axes, along: Axes, **columns: Any) -> Any:
    """The intrinsic ``tile(*pointers, offset, line, window, panel, group)``."""
    spec = _spec(inner, along, columns)
    lanes = machine.lanes(8 if spec.dtype == "float64" else 4)

    def typed(_: Any, *arguments: Any) -> Any:
        def generate(_: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
            WindowTile(WindowEdges(spec, lanes, Emitter(builder), values), inner, along).build()
            return ir.Constant(ir.IntType(8).as_pointer(), None)

        return types.void(*arguments), generate

    return Intrinsic(typed)


# -- meaning -----------------------------------------------------------------------------------------------------


def _meaning(inner: Axes, along: Axes, **columns: Any) -> Callable[..., None]:
    spec = _spec(inner, along, columns)
    return lambda *operands: _WindowMeaning(spec, operands, inner, along).stored()


class _WindowMeaning(TileMeaning):
    """One call of a tile."""

    def __init__(self, spec: TileSpec, operands: tuple[Any, ...], inner: Axes, along: Axes) -> None:
        pointers = len(spec.arguments)
        super().__init__(spec, (*operands[:pointers], *operands[pointers + 1 : -1]))
        self.offset, self.group, self.inner, self.along = operands[pointers], operands[-1], inner, along
        self.starts = (*self.starts[:-1], self.starts[-1] + self.group * spec.units)

    def _sums(self) -> Any:
        from blockfuse.codegen.meaning.products import times_panels  # only who checks kernels pays for it

        spec, (name, (window, _)), (right, (step, width)) = self.spec, self.spec.left, self.spec.right
        left = self.addresses[name].read(
            spec.dtype, (spec.rows, *self.inner), (window, *self.along), int(self.offset + self.row * window)
        )
        first = int(self.group * _group_size(spec) + self.panel * step)
        panels = self.addresses[right].read(
            spec.right_dtype, (spec.panels, spec.inner, spec.panel), (step, width, 1), first
        )
        return times_panels(left.reshape(spec.rows, spec.inner), widened(panels))


WINDOW_TILE = KernelFunction("window_tile", lambda machine: partial(_native, machine), _meaning)
