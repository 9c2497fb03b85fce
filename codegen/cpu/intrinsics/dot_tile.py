"""The tile of products with few columns: vectors run along the inner axis, and end as one number for each column.

NOTE [few columns]
The last layer of a classifier has ten columns, of which a vector of a panel would be filled by two thirds, and each of its
steps needs an element of every row in all lanes: loads, not arithmetic, are the limit. Where vectors hold neighbours of the
inner axis instead, nothing is empty and everything loaded is used for several results. At the end the lanes of a row's
vectors are added up pair by pair: each level halves the number of vectors and of what is left of each (``_in_lanes``).
"""

from __future__ import annotations

from functools import partial

from llvmlite import ir

from blockfuse.codegen.cpu.intrinsics.tile_edges import TileEdges, multiply_add
from blockfuse.codegen.cpu.intrinsics.values import Value
from blockfuse.codegen.values.emitter import I1, I32, constant


class DotTile:
    """All columns of a product, for some rows; ``right`` is (units, inner)."""

    def __init__(self, edges: TileEdges) -> None:
        self.edges, self.spec, self.emit, self.memory = edges, edges.spec, edges.emit, edges.memory
        self.lanes, self.vector = edges.lanes, edges.vector

    def build(self) -> None:
        first = constant(0)
        mask = self.edges.mask(first) if self.spec.units < self.lanes else None
        (bias,) = self.edges.start([first], [mask])[:1]
        sums = self._products()
        for row in range(self.spec.rows):
            of_row = sums[row * self.spec.units : (row + 1) * self.spec.units]
            total = self.emit.builder.fadd(self._in_lanes(of_row), bias)
            with self.edges.if_own(row, self.spec.panels - 1):  # all panels
                self.edges.finish(total, row, first, mask)

    def _products(self) -> list[ir.Value]:
        """For each row and column a vector whose lanes add up to the element."""
        rows, columns = self.edges.left_rows(), self._columns()
        whole = self.spec.inner - self.spec.inner % self.lanes
        sums = [ir.Constant(self.vector, None)] * (len(rows) * len(columns))
        if whole:
            step = partial(self._step, rows, columns)
            sums = self.emit.carried(sums, 0, whole, self.lanes, step)
        rest = self.spec.inner - whole
        if rest:
            lanes = ir.VectorType(I1, self.lanes)
            mask = ir.Constant(lanes, [int(lane < rest) for lane in range(self.lanes)])
            sums = self._step(rows, columns, sums, constant(whole), mask)
        return sums

    def _columns(self) -> list[ir.Value]:
        """Where the columns of the right operand start."""
        start, inner = self.edges.right_start(), self.spec.inner
        indices = [self.emit.sum(start, constant(unit * inner)) for unit in range(self.spec.units)]
        return [self.memory.address(self.spec.right[0], index, self.spec.dtype) for index in indices]

    def _step(
        self,
        rows: list[ir.Value],
        columns: list[ir.Value],
        sums: list[ir.Value],
        k: ir.Value,
        mask: ir.Value | None = None,
    ) -> list[ir.Value]:
        """As many steps of the inner axis as a vector has lanes."""
        element, builder = self.vector.element, self.emit.builder
        left, right = (
            [self.memory.load(self.emit.at(base, k, element), element, mask) for base in operand]
            for operand in (rows, columns)
        )
        pairs = [(row, column) for row in left for column in right]
        return [
            multiply_add(*(Value(builder, v) for v in (row, column, total))).ir
            for (row, column), total in zip(pairs, sums, strict=True)
        ]

    def _in_lanes(self, vectors: list[ir.Value]) -> ir.Value:
        """A vector of which lane n is the sum of the lanes of vector n."""
        width = self.lanes
        while width > 1:
            if len(vectors) % 2:
                vectors = [*vectors, ir.Constant(self.vector, None)]
            vectors = [self._pairs(a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
            width //= 2
        return vectors[0]

    def _pairs(self, first: ir.Value, second: ir.Value) -> ir.Value:
        """The sums of neighbours in ``first``, then of those in ``second``."""
        indices = ir.VectorType(I32, self.lanes)
        even, odd = (
            self.emit.builder.shuffle_vector(
                first, second, ir.Constant(indices, [2 * n + off for n in range(self.lanes)])
            )
            for off in (0, 1)
        )
        return self.emit.builder.fadd(even, odd)
