"""The register tile of products: rows x panels of accumulators in registers.

NOTE [the tile]
Accumulators start from the bias. The inner loop loads one step of each panel, broadcasts one element of each
row and multiplies and adds; with ``unroll`` > 1 that many independent accumulators take turns, so that a few
of them still hide the latency of a multiply-add. A long inner axis is summed in blocks of up to ``MAX_SUM_STEPS``
steps, whose sums are added up on the stack: a single sum of 1024 products is 2.5 times as far off as NumPy's.
Then the epilogue runs on the vectors, and each element is stored once. The last panel is zero beyond
``units``; its bias loads, epilogue loads and stores are masked.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from blockfuse.codegen.cpu.intrinsics.panel_fetch import PanelFetch, fetch_end
from blockfuse.codegen.cpu.intrinsics.tile_edges import TileEdges, multiply_add
from blockfuse.codegen.cpu.intrinsics.values import Value
from blockfuse.codegen.kernels.product_cuts import MAX_SUM_STEPS, SUM_STEPS, steps_of_sums
from blockfuse.codegen.values.emitter import VOID, constant

Bases = tuple[
    list[ir.Value], list[ir.Value]
]  # pointers to the rows of the left operand, to panels of the right one
Masks = list[ir.Value | None]  # which lanes of each vector are columns of the result; None: all


class RegisterTile:
    """Some rows times some panels."""

    def __init__(self, edges: TileEdges) -> None:
        self.edges, self.spec, self.emit, self.memory = edges, edges.spec, edges.emit, edges.memory
        self.vector = edges.vector
        self.across = self.spec.panel // edges.lanes  # vectors in a panel
        self.fetch = PanelFetch(edges) if self.spec.fetch else None
        self.stride = (
            self.fetch.steps if self.fetch else self.spec.unroll
        )  # steps of one round of the inner loop

    def build(self) -> None:
        is_masked = self.spec.units % self.spec.panel != 0
        columns = [self._column(p, v) for p in range(self.spec.panels) for v in range(self.across)]
        masks = [self.edges.mask(c) if is_masked else None for c in columns]
        if self.spec.fetches_end:
            fetch_end(self.edges)
        self.compute(columns, masks)

    def compute(self, columns: list[ir.Value], masks: Masks) -> None:
        """All sums, and what follows from them."""
        self.each_own(self._inner_loop(self.edges.start(columns, masks)), columns, masks, self.edges.finish)

    def each_own(
        self, totals: list[ir.Value], columns: list[ir.Value], masks: Masks, then: Callable[..., None]
    ) -> None:
        """``then(total, row, column, mask)`` for each vector of the tile's own."""
        for row in range(self.spec.rows):
            for number, column in enumerate(columns):
                with self.edges.if_own(row, number // self.across):
                    then(totals[row * len(columns) + number], row, column, masks[number])

    def _column(self, panel: int, vector: int) -> ir.Value:
        number = self.emit.builder.add(self.edges.panel, constant(panel))
        return self.emit.sum(self.emit.times(number, self.spec.panel), constant(vector * self.edges.lanes))

    def _inner_loop(self, start: list[ir.Value]) -> list[ir.Value]:
        """Multiply and add along the inner axis: rounds of steps, in blocks where there are many, then what is left."""
        spec = self.spec
        bases = self.bases()
        whole = spec.inner - spec.inner % (SUM_STEPS if spec.inner > MAX_SUM_STEPS else self.stride)
        if whole > MAX_SUM_STEPS:
            totals = self._in_blocks(start, bases, whole)
        elif whole:
            totals = self.sums(start, bases, constant(0), constant(whole))
        else:
            totals = start
        for k in range(whole, spec.inner):
            totals = self.step(totals, bases, constant(k))
        return totals

    def _in_blocks(self, start: list[ir.Value], bases: Bases, whole: int) -> list[ir.Value]:
        """The sums of blocks of equal size, one after the other added to ``start``."""
        emit, builder = self.emit, self.emit.builder
        size = steps_of_sums(self.spec.inner)
        memory = emit.local(self.vector, len(start))
        totals = [emit.at(memory, n, self.vector) for n in range(len(start))]
        for total, value in zip(totals, start, strict=True):
            builder.store(value, total)
        before = builder.block
        block, after = emit.block("block"), emit.block("blocks.end")
        emit.go_to(block)
        first = emit.merged([(constant(0), before)])
        following = builder.add(first, constant(size))
        is_last = emit.is_(">=", following, whole)
        zeros = [ir.Constant(self.vector, None)] * len(start)
        self._keep(memory)
        sums = self.sums(zeros, bases, first, builder.select(is_last, constant(whole), following))
        for total, value in zip(totals, sums, strict=True):
            builder.store(builder.fadd(builder.load(total, typ=self.vector), value), total)
        first.add_incoming(following, builder.block)
        builder.cbranch(is_last, after, block)
        builder.position_at_end(after)
        return [builder.load(total, typ=self.vector) for total in totals]

    def _keep(self, memory: ir.Value) -> None:
        """No code, but LLVM must think that it reads and writes ``memory``, and so leaves registers to the inner loop."""
        kind = ir.FunctionType(VOID, [memory.type])
        self.emit.builder.call(ir.InlineAsm(kind, "", "r,~{memory}", side_effect=True), [memory])

    def sums(self, start: list[ir.Value], bases: Bases, first: ir.Value, end: ir.Value) -> list[ir.Value]:
        """``start`` and the products of the steps from ``first`` on, several sums taking turns."""
        size, unroll = len(start), self.spec.unroll
        zeros = [ir.Constant(self.vector, None)] * (size * (unroll - 1))

        def steps(sums: list[ir.Value], k: ir.Value) -> list[ir.Value]:
            sets = [sums[n * size : (n + 1) * size] for n in range(unroll)]
            if self.fetch:
                self.fetch.lines(bases[1], k)
            for n in range(self.stride):
                at = self.emit.builder.add(k, constant(n))
                sets[n % unroll] = self.step(sets[n % unroll], bases, at)
            return [v for one in sets for v in one]

        sums = self.emit.carried([*start, *zeros], first, end, self.stride, steps)
        return [self._total(sums[n::size]) for n in range(size)]

    def _total(self, parts: list[ir.Value]) -> ir.Value:
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [self.emit.builder.fadd(a, b) for a, b in pairs]
        return parts[0]

    def bases(self) -> Bases:
        """Where the tile's rows and panels begin."""
        rows, start = self.edges.left_rows(), self.edges.right_start()
        return rows, [self._panel_base(start, panel) for panel in range(self.spec.panels)]

    def _panel_base(self, start: ir.Value, panel: int) -> ir.Value:
        number = self.emit.builder.add(self.edges.panel, constant(panel))
        index = self.emit.sum(start, self.emit.times(number, self.spec.right[1][-2]))
        return self.edges.right_address(index)

    def step(self, totals: list[ir.Value], bases: Bases, k: ir.Value) -> list[ir.Value]:
        """One element of every row times one step of every panel."""
        rows, panels = bases
        builder, element = self.emit.builder, self.vector.element
        along = self.emit.times(k, self.spec.left[1][-1])
        right = [vector for base in panels for vector in self.edges.right_panel(base, k)]
        result = []
        for row, base in enumerate(rows):
            scalar = builder.load(self.emit.at(base, along, element), typ=element)
            left = Value(builder, self.memory.splat(scalar, self.vector))
            for number, panel in enumerate(right):
                total = Value(builder, totals[row * len(right) + number])
                result.append(multiply_add(left, Value(builder, panel), total).ir)
        return result
