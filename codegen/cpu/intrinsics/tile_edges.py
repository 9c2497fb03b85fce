"""What the tiles of products share: where operands lie, with what sums begin, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass
from types import FunctionType

from llvmlite import ir

from blockfuse.codegen.cpu.intrinsics.values import Value, evaluated
from blockfuse.codegen.cpu.intrinsics.vectors import Vectors, as_stored
from blockfuse.codegen.values.emitter import I64, Emitter, constant
from blockfuse.codegen.values.functions import FUNCTIONS
from blockfuse.codegen.values.llvm import element_type

Load = tuple[str, str, tuple[int, ...]]  # pointer, dtype, strides


@dataclass(frozen=True)
class TileSpec:
    """What ``codegen.kernels.kernel.ProductKernel`` says, as it stands in the source of a kernel.

    Strides are in elements: of the matrix, where there are several, then of its rows, then of its columns.
    """

    dtype: str  # of both operands, and of the sums
    rows: int  # of the tile
    panels: int  # of the tile
    panel: int  # columns in a panel
    unroll: int  # sums of one element that take turns
    inner: int  # steps of the inner axis
    units: int  # columns of the result
    arguments: tuple[str, ...]  # names of the pointers
    left: tuple[str, tuple[int, ...]]  # pointer, strides
    right: tuple[
        str, tuple[int, ...]
    ]  # pointer, strides of the matrix, of panels, and of steps of the inner axis
    bias: str | None  # pointer
    loads: tuple[Load, ...]  # what the epilogue takes besides the sum
    store: tuple[str, tuple[int, ...]]  # dtype, strides
    epilogue: FunctionType | None  # (sum, *loads) -> what is stored


class TileEdges:
    """Where the operands of a tile lie, with what its sums begin, and what becomes of them."""

    def __init__(self, spec: TileSpec, lanes: int, emit: Emitter, values: list[ir.Value]) -> None:
        self.spec, self.lanes, self.emit = spec, lanes, emit
        self.memory = Vectors(emit, lanes, dict(zip(spec.arguments, values, strict=False)))
        *batch, self.row, self.panel = values[len(spec.arguments) :]
        self.matrix = batch[0] if batch else None
        self.vector = ir.VectorType(element_type(spec.dtype), lanes)

    # -- indices and addresses ---------------------------------------------------------------------------------

    def left_rows(self) -> list[ir.Value]:
        """Where the rows of the left operand start."""
        name, strides = self.spec.left
        return [
            self.memory.address(name, self.row_index(strides[:-1], row), self.spec.dtype)
            for row in range(self.spec.rows)
        ]

    def right_start(self) -> ir.Value:
        """The index at which the matrix of the right operand starts."""
        *matrix, _, _ = self.spec.right[1]
        return self.emit.times(self.matrix, matrix[0]) if matrix else constant(0)

    def row_index(self, strides: tuple[int, ...], row: int) -> ir.Value:
        """Where row ``row`` of the tile starts; strides are ([matrix,] row)."""
        from_matrix = self.emit.times(self.matrix, strides[0]) if len(strides) == 2 else constant(0)
        line = self.emit.builder.add(self.row, constant(row))
        return self.emit.sum(from_matrix, self.emit.times(line, strides[-1]))

    def mask(self, column: ir.Value) -> ir.Value:
        """Which lanes of the vector at ``column`` are columns of the result."""
        indices = ir.VectorType(I64, self.lanes)
        steps = ir.Constant(indices, list(range(self.lanes)))
        columns = self.emit.builder.add(self.memory.splat(column, indices), steps)
        units = ir.Constant(indices, [self.spec.units] * self.lanes)
        return self.emit.builder.icmp_signed("<", columns, units)

    # -- before and after the sums -----------------------------------------------------------------------------

    def start(self, columns: list[ir.Value], masks: list[ir.Value | None]) -> list[ir.Value]:
        """Bias, or zero, for every vector of the tile, row by row."""
        if self.spec.bias is None:
            return [ir.Constant(self.vector, None)] * (self.spec.rows * len(columns))
        bias = [
            self.memory.load(
                self.memory.address(self.spec.bias, column, self.spec.dtype), self.vector.element, mask
            )
            for column, mask in zip(columns, masks, strict=True)
        ]
        return bias * self.spec.rows

    def finish(self, total: ir.Value, row: int, column: ir.Value, mask: ir.Value | None) -> None:
        """Run the epilogue on a vector of sums, and store it."""
        value = Value(self.emit.builder, total)
        if self.spec.epilogue is not None:
            loads = [self._epilogue_load(load, row, column, mask) for load in self.spec.loads]
            value = evaluated(self.spec.epilogue, value, value, *loads)
        dtype, strides = self.spec.store
        index = self.emit.builder.add(self.row_index(strides[:-1], row), column)
        stored = as_stored(value, dtype)
        self.memory.store(stored, self.memory.address("out", index, dtype), mask)

    def _epilogue_load(self, load: Load, row: int, column: ir.Value, mask: ir.Value | None) -> Value:
        name, dtype, strides = load
        index = self.row_index(strides[:-1], row)
        if not strides[-1]:
            return self.memory.loaded(name, dtype, index, False, None)
        return self.memory.loaded(name, dtype, self.emit.builder.add(index, column), True, mask)


def multiply_add(x: Value, y: Value, z: Value) -> Value:
    return FUNCTIONS["multiply_add"](x, y, z)  # type: ignore[return-value]
