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

from blockfuse.codegen.cpu.intrinsics.register_tile import Tile, multiply_add
from blockfuse.codegen.cpu.intrinsics.values import Value
from blockfuse.codegen.cpu.native.words import I32, I64


class Dots(Tile):
    """All columns of a product, for some rows; ``right`` is (units, inner)."""

    def emit(self) -> None:
        first = ir.Constant(I64, 0)
        mask = self._mask(first) if self.spec.units < self.lanes else None
        (bias,) = self._start([first], [mask])[:1]
        sums = self._products()
        for row in range(self.spec.rows):
            of_row = sums[row * self.spec.units : (row + 1) * self.spec.units]
            self._finish(self.builder.fadd(self._in_lanes(of_row), bias), row, first, mask)

    def _products(self) -> list[ir.Value]:
        """For each row and column a vector whose lanes add up to the element."""
        rows, columns = self._rows_and_columns()
        whole = self.spec.inner - self.spec.inner % self.lanes
        sums = [ir.Constant(self.vector, None)] * (len(rows) * len(columns))
        if whole:
            limits = ir.Constant(I64, 0), ir.Constant(I64, whole)
            step = partial(self._step_of_lanes, rows, columns)
            sums = self._carried(sums, *limits, self.lanes, step)
        rest = self.spec.inner - whole
        if rest:
            lanes = ir.VectorType(ir.IntType(1), self.lanes)
            mask = ir.Constant(lanes, [int(lane < rest) for lane in range(self.lanes)])
            sums = self._step_of_lanes(rows, columns, sums, ir.Constant(I64, whole), mask)
        return sums

    def _rows_and_columns(self) -> tuple[list[ir.Value], list[ir.Value]]:
        """Where the rows of the left operand and the columns of the right one start."""
        spec = self.spec
        name, strides = spec.left
        rows = [self._address(name, self._row_place(strides, r), spec.dtype) for r in range(spec.rows)]
        name, matrix = spec.right
        start = self._times(self.matrix, matrix[0]) if matrix else ir.Constant(I64, 0)
        places = [self._sum(start, ir.Constant(I64, unit * spec.inner)) for unit in range(spec.units)]
        return rows, [self._address(name, place, spec.dtype) for place in places]

    def _step_of_lanes(
        self,
        rows: list[ir.Value],
        columns: list[ir.Value],
        sums: list[ir.Value],
        k: ir.Value,
        mask: ir.Value | None = None,
    ) -> list[ir.Value]:
        """As many steps of the inner axis as a vector has lanes."""
        element = self.vector.element
        left, right = (
            [self._load(self.builder.gep(base, [k], source_etype=element), element, mask) for base in operand]
            for operand in (rows, columns)
        )
        pairs = [(row, column) for row in left for column in right]
        return [
            multiply_add(*(Value(self.builder, v) for v in (row, column, total))).ir
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
            self.builder.shuffle_vector(
                first, second, ir.Constant(indices, [2 * n + off for n in range(self.lanes)])
            )
            for off in (0, 1)
        )
        return self.builder.fadd(even, odd)
