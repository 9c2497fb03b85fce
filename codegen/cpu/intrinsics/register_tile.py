"""The product tile: rows x panels of accumulators in registers, as one Numba intrinsic built with llvmlite.

NOTE [the tile]
Accumulators start from the bias. The inner loop loads one step of each panel, broadcasts one element of each
row and multiplies and adds; with ``unroll`` > 1 that many independent accumulators take turns, so that a few
of them still hide the latency of a multiply-add. A long inner axis is summed in blocks of up to ``_SUMMED``
steps, whose sums are added up on the stack: a single sum of 1024 products is 2.5 times as far off as NumPy's.
Then the epilogue runs on the vectors, and each element is stored once. The last panel is zero beyond
``units``; its bias loads, epilogue loads and stores are masked.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba.core import types

from blockfuse.codegen.cpu.intrinsics.numba_intrinsic import Intrinsic
from blockfuse.codegen.cpu.intrinsics.values import Value, evaluated
from blockfuse.codegen.cpu.intrinsics.vectors import Vectors
from blockfuse.codegen.values.functions import FUNCTIONS
from blockfuse.codegen.values.llvm import I64, element_type

Load = tuple[str, str, tuple[int, ...]]
_SUMMED = 400  # steps of the inner axis in one sum


@dataclass(frozen=True)
class TileSpec:
    """What ``codegen.kernel.ProductKernel`` says, as it stands in the source of a kernel."""

    dtype: str
    rows: int
    panels: int
    panel: int
    unroll: int
    inner: int
    units: int
    arguments: tuple[str, ...]
    left: tuple[str, tuple[int, ...]]
    right: tuple[str, tuple[int, ...]]
    bias: str | None
    loads: tuple[Load, ...]
    store: tuple[str, tuple[int, ...]]
    epilogue: FunctionType | None


def product_tile(lanes: int, emitter: type[Tile], **columns: Any) -> Any:
    """The intrinsic ``tile(*pointers, [matrix,] row, panel)`` for vectors of ``lanes`` elements."""
    spec = TileSpec(**columns)

    def typed(context: Any, *arguments: Any) -> Any:
        def generate(_: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
            emitter(spec, lanes, builder, values).emit()
            return ir.Constant(ir.IntType(8).as_pointer(), None)

        return types.void(*arguments), generate

    return Intrinsic(typed)


class Tile(Vectors):
    def __init__(self, spec: TileSpec, lanes: int, builder: ir.IRBuilder, values: list[ir.Value]) -> None:
        super().__init__(lanes, builder, dict(zip(spec.arguments, values, strict=False)))
        self.spec = spec
        *batch, self.row, self.panel = values[len(spec.arguments) :]
        self.matrix = batch[0] if batch else None
        self.vector = ir.VectorType(element_type(spec.dtype), lanes)
        self.across = spec.panel // lanes
        self.masked = spec.units % spec.panel != 0

    # -- addresses -------------------------------------------------------------------------------------------

    def _row_place(self, strides: tuple[int, ...], row: int) -> ir.Value:
        """Where row ``row`` of the tile starts; strides are ([matrix,] row)."""
        from_matrix = self._times(self.matrix, strides[0]) if len(strides) == 2 else ir.Constant(I64, 0)
        line = self.builder.add(self.row, ir.Constant(I64, row))
        return self._sum(from_matrix, self._times(line, strides[-1]))

    def _column(self, panel: int, part: int) -> ir.Value:
        number = self.builder.add(self.panel, ir.Constant(I64, panel))
        return self._sum(self._times(number, self.spec.panel), ir.Constant(I64, part * self.lanes))

    def _mask(self, column: ir.Value) -> ir.Value:
        """Which lanes of the vector at ``column`` are columns of the result."""
        indices = ir.VectorType(I64, self.lanes)
        steps = ir.Constant(indices, list(range(self.lanes)))
        places = self.builder.add(self._splat(column, indices), steps)
        return self.builder.icmp_signed("<", places, ir.Constant(indices, [self.spec.units] * self.lanes))

    # -- the parts of the tile -------------------------------------------------------------------------------

    def emit(self) -> None:
        columns = [self._column(p, v) for p in range(self.spec.panels) for v in range(self.across)]
        masks = [self._mask(c) if self.masked else None for c in columns]
        totals = self._inner_loop(self._start(columns, masks))
        for row in range(self.spec.rows):
            for place, column in enumerate(columns):
                total = totals[row * len(columns) + place]
                self._finish(total, row, column, masks[place])

    def _start(self, columns: list[ir.Value], masks: list[ir.Value | None]) -> list[ir.Value]:
        """Bias, or zero, for every accumulator of the first of the ``unroll`` sets."""
        zero = ir.Constant(self.vector, None)
        if self.spec.bias is None:
            return [zero] * (self.spec.rows * len(columns))
        bias = [
            self._load(self._address(self.spec.bias, c, self.spec.dtype), self.vector.element, m)
            for c, m in zip(columns, masks, strict=True)
        ]
        return bias * self.spec.rows

    def _inner_loop(self, start: list[ir.Value]) -> list[ir.Value]:
        """Multiply and add along the inner axis: steps of ``unroll``, in blocks where there are many, then what is left."""
        spec = self.spec
        bases = self._bases()
        whole = spec.inner - spec.inner % spec.unroll
        if whole > _SUMMED:
            totals = self._in_blocks(start, bases, whole)
        elif whole:
            totals = self._sums(start, bases, ir.Constant(I64, 0), ir.Constant(I64, whole))
        else:
            totals = start
        for k in range(whole, spec.inner):
            totals = self._step(totals, bases, ir.Constant(I64, k))
        return totals

    def _in_blocks(self, start: list[ir.Value], bases: Any, whole: int) -> list[ir.Value]:
        """The sums of blocks of equal size, one after the other added to ``start``."""
        builder = self.builder
        blocks = -(-whole // _SUMMED)
        size = -(-whole // (blocks * self.spec.unroll)) * self.spec.unroll
        with builder.goto_entry_block():
            memory = [builder.alloca(self.vector) for _ in start]
        for place, value in zip(memory, start, strict=True):
            builder.store(value, place)
        before = builder.block
        block, after = builder.append_basic_block("block"), builder.append_basic_block("blocks.end")
        builder.branch(block)
        builder.position_at_end(block)
        first = builder.phi(I64)
        first.add_incoming(ir.Constant(I64, 0), before)
        following = builder.add(first, ir.Constant(I64, size))
        limit = ir.Constant(I64, whole)
        is_last = builder.icmp_signed(">=", following, limit)
        zeros = [ir.Constant(self.vector, None)] * len(start)
        for place, value in zip(
            memory, self._sums(zeros, bases, first, builder.select(is_last, limit, following)), strict=True
        ):
            builder.store(builder.fadd(builder.load(place, typ=self.vector), value), place)
        first.add_incoming(following, builder.block)
        builder.cbranch(is_last, after, block)
        builder.position_at_end(after)
        return [builder.load(place, typ=self.vector) for place in memory]

    def _sums(self, start: list[ir.Value], bases: Any, first: ir.Value, beyond: ir.Value) -> list[ir.Value]:
        """``start`` and the products of the steps from ``first`` on, several sums taking turns."""
        size, unroll = len(start), self.spec.unroll
        zeros = [ir.Constant(self.vector, None)] * (size * (unroll - 1))

        def steps(sums: list[ir.Value], k: ir.Value) -> list[ir.Value]:
            sets = (sums[n * size : (n + 1) * size] for n in range(unroll))
            places = (self.builder.add(k, ir.Constant(I64, n)) for n in range(unroll))
            return [v for one, at in zip(sets, places, strict=True) for v in self._step(one, bases, at)]

        sums = self._carried([*start, *zeros], first, beyond, unroll, steps)
        return [self._total(sums[n::size]) for n in range(size)]

    def _total(self, parts: list[ir.Value]) -> ir.Value:
        while len(parts) > 1:
            parts = [self.builder.fadd(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    def _bases(self) -> tuple[list[ir.Value], list[ir.Value]]:
        spec = self.spec
        name, strides = spec.left
        rows = [self._address(name, self._row_place(strides, r), spec.dtype) for r in range(spec.rows)]
        name, matrix = spec.right
        size = spec.inner * spec.panel
        offset = self._times(self.matrix, matrix[0]) if matrix else ir.Constant(I64, 0)
        panels = [
            self._address(
                name,
                self._sum(offset, self._times(self.builder.add(self.panel, ir.Constant(I64, p)), size)),
                spec.dtype,
            )
            for p in range(spec.panels)
        ]
        return rows, panels

    def _step(self, totals: list[ir.Value], bases: Any, k: ir.Value) -> list[ir.Value]:
        """One element of every row times one step of every panel."""
        rows, panels = bases
        element = self.vector.element
        place = self._times(k, self.spec.panel)
        right = []
        for base in panels:
            for part in range(self.across):
                at = self.builder.add(place, ir.Constant(I64, part * self.lanes))
                right.append(self._load(self.builder.gep(base, [at], source_etype=element), element, None))
        result = []
        for row, base in enumerate(rows):
            scalar = self.builder.load(self.builder.gep(base, [k], source_etype=element), typ=element)
            left = Value(self.builder, self._splat(scalar, self.vector))
            for number, panel in enumerate(right):
                total = Value(self.builder, totals[row * len(right) + number])
                result.append(multiply_add(left, Value(self.builder, panel), total).ir)
        return result

    def _finish(self, total: ir.Value, row: int, column: ir.Value, mask: ir.Value | None) -> None:
        value = Value(self.builder, total)
        if self.spec.epilogue is not None:
            loads = [self._epilogue_load(load, row, column, mask) for load in self.spec.loads]
            value = evaluated(self.spec.epilogue, value, value, *loads)
        dtype, strides = self.spec.store
        place = self.builder.add(self._row_place(strides[:-1], row), column)
        self._stored(value, "out", dtype, place, mask)

    def _epilogue_load(self, load: Load, row: int, column: ir.Value, mask: ir.Value | None) -> Value:
        name, dtype, strides = load
        place = self._row_place(strides[:-1], row)
        if not strides[-1]:
            return self._loaded(name, dtype, place, False, None)
        return self._loaded(name, dtype, self.builder.add(place, column), True, mask)


def multiply_add(x: Value, y: Value, z: Value) -> Value:
    return FUNCTIONS["multiply_add"](x, y, z)  # type: ignore[return-value]
