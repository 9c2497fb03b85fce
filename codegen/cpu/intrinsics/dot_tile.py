"""The tile of products whose vectors run along the inner axis, and end as one number for each column.

NOTE [few columns]
The last layer of a classifier has ten columns, of which a vector of a panel would be filled by two thirds, and each of its
steps needs an element of every row in all lanes: loads, not arithmetic, are the limit. Where vectors hold neighbours of the
inner axis instead, nothing is empty and everything loaded is used for several results. At the end the lanes of a row's
vectors are added up pair by pair: each level halves the number of vectors and of what is left of each (``_in_lanes``).

NOTE [weights where they lie]
So do rows of a weight of shape (units, inner) that nobody packed, as the next call may find another one: for a few rows
turning it would take longer than the product. A tile computes some columns of some rows; the last group of columns overlaps
its neighbour.
"""

from __future__ import annotations

from functools import partial

from llvmlite import ir

from blockfuse.codegen.cpu.intrinsics.tile_edges import TileEdges, multiply_add
from blockfuse.codegen.cpu.intrinsics.values import Value
from blockfuse.codegen.values.emitter import I1, I32, constant


class DotTile:
    """Some columns, or all, of some rows; ``right`` is (units, inner)."""

    def __init__(self, edges: TileEdges) -> None:
        self.edges, self.spec, self.emit, self.memory = edges, edges.spec, edges.emit, edges.memory
        self.lanes, self.vector = edges.lanes, edges.vector
        count = self.spec.panels
        # Numbers of a row as a vector. One that no lane is left over of needs no mask, which costs as much as ten stores.
        self.ends = edges.of_lanes(count) if count & (count - 1) == 0 else edges

    def build(self) -> None:
        spec, first, mask = self.spec, self.edges.panel, self._mask()
        (bias,) = self.ends.start([first], [mask])[:1]
        sums = self._products()
        for row in range(spec.rows):
            of_row = self._in_lanes(sums[row * spec.panels : (row + 1) * spec.panels])
            total = self.emit.builder.fadd(self._narrowed(of_row), bias)
            with self.edges.if_own(row, spec.panels - 1):  # which columns are, the mask says
                self.ends.finish(total, row, first, mask)

    def _mask(self) -> ir.Value | None:
        """Which lanes are columns of the tile, and its own: see NOTE [own elements]."""
        lanes, builder = self.ends.lanes, self.emit.builder
        mask = None
        if lanes != self.spec.panels:
            columns = [int(lane < self.spec.panels) for lane in range(lanes)]
            mask = ir.Constant(ir.VectorType(I1, lanes), columns)
        if self.spec.reads_results and self.spec.panels < self.spec.units:
            own = self.ends.lanes_from(self.edges.panel, self.edges.own[1])
            mask = own if mask is None else builder.and_(mask, own)
        return mask

    def _narrowed(self, vector: ir.Value) -> ir.Value:
        """The lanes that are columns."""
        if self.ends is self.edges:
            return vector
        lanes = ir.Constant(ir.VectorType(I32, self.ends.lanes), list(range(self.ends.lanes)))
        return self.emit.builder.shuffle_vector(vector, vector, lanes)

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
        stride = self.spec.right[1][-2]
        start = self.emit.sum(self.edges.right_start(), self.emit.times(self.edges.panel, stride))
        indices = [self.emit.sum(start, constant(unit * stride)) for unit in range(self.spec.panels)]
        return [self.edges.right_address(index) for index in indices]

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

        def of_row(base: ir.Value) -> Value:
            return Value(builder, self.memory.load(self.emit.at(base, k, element), element, mask))

        def of_column(base: ir.Value) -> Value:
            return Value(builder, self.edges.right_vector(base, k, mask))

        # The fewer ones stay in registers, while the others come and go one by one.
        by_column = len(rows) <= len(columns)
        kept, others = (rows, columns) if by_column else (columns, rows)
        of_kept, of_other = (of_row, of_column) if by_column else (of_column, of_row)
        held, results = [of_kept(base) for base in kept], list(sums)
        for other, base in enumerate(others):
            one = of_other(base)
            for number, value in enumerate(held):
                row, column = (number, other) if by_column else (other, number)
                at = row * len(columns) + column
                results[at] = multiply_add(value, one, Value(builder, sums[at])).ir
        return results

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
