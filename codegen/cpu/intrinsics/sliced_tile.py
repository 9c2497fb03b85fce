"""A register tile that takes the steps of one sum at a time, and keeps totals in the memory of a result.

NOTE [long inner axes]
Rows that pass a panel stay in the second-level cache only while few steps of the inner axis make them short: of 2048 steps
one of 512 KB holds 18 rows, so that the weight is read once for every 18 rows. So where a panel takes much of the cache, a
block of rows passes all panels with the steps of one sum, then with those of the next one. Until the last of them, a
result's own memory holds the totals: what is added up, and in which order, is what a tile of all steps adds up (NOTE
[the tile]), to the bit.
"""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.intrinsics.panel_fetch import fetch_result
from blockfuse.codegen.cpu.intrinsics.register_tile import Masks, RegisterTile
from blockfuse.codegen.cpu.intrinsics.tile_edges import TileEdges
from blockfuse.codegen.kernels.product_cuts import SUM_STEPS
from blockfuse.codegen.values.emitter import constant


class SlicedTile(RegisterTile):
    """The steps of one sum, for some rows and a panel."""

    def __init__(self, edges: TileEdges) -> None:
        super().__init__(edges)
        self.totals = next(store for store in self.spec.stores if store[0] == self.spec.totals)
        self.whole = self.spec.inner - self.spec.inner % SUM_STEPS

    def compute(self, columns: list[ir.Value], masks: Masks) -> None:
        builder, first = self.emit.builder, self.edges.first_step
        end = builder.add(first, constant(self.spec.steps))
        is_last = self.emit.is_(">=", end, self.whole)
        fetch_result(self.edges, self.totals)
        zeros = [ir.Constant(self.vector, None)] * (self.spec.rows * len(columns))
        sums = self.sums(zeros, self.bases(), first, builder.select(is_last, constant(self.whole), end))
        before = self._before(columns, masks)
        totals = [builder.fadd(a, b) for a, b in zip(before, sums, strict=True)]
        with builder.if_else(is_last) as (at_last, else_):
            with at_last:
                self._end(totals, columns, masks)
            with else_:
                self.each_own(totals, columns, masks, self._keep_total)

    def _before(self, columns: list[ir.Value], masks: Masks) -> list[ir.Value]:
        """What the sums are added to: the bias, later the totals that the result's memory holds."""
        builder = self.emit.builder
        is_first = self.emit.is_("==", self.edges.first_step, 0)
        with builder.if_else(is_first) as (at_first, else_):
            with at_first:
                start, begun = self.edges.start(columns, masks), builder.block
            with else_:
                kept = [
                    self.memory.load(self._address(row, column), self.vector.element, mask)
                    for row in range(self.spec.rows)
                    for column, mask in zip(columns, masks, strict=True)
                ]
                later = builder.block
        return [self.emit.merged([(a, begun), (b, later)]) for a, b in zip(start, kept, strict=True)]

    def _keep_total(self, total: ir.Value, row: int, column: ir.Value, mask: ir.Value | None) -> None:
        self.memory.store(total, self._address(row, column), mask)

    def _address(self, row: int, column: ir.Value) -> ir.Value:
        name, dtype, strides = self.totals
        index = self.emit.builder.add(self.edges.row_index(strides[:-1], row), column)
        return self.memory.address(name, index, dtype)

    def _end(self, totals: list[ir.Value], columns: list[ir.Value], masks: Masks) -> None:
        """The few steps that are left, and what follows from all of them."""
        bases = self.bases()
        for k in range(self.whole, self.spec.inner):
            totals = self.step(totals, bases, constant(k))
        self.each_own(totals, columns, masks, self.edges.finish)
