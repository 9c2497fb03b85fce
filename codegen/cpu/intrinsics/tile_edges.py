"""What the tiles of products share: where operands lie, with what sums begin, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from llvmlite import ir

from blockfuse.codegen.cpu.intrinsics.narrow_vectors import NEIGHBOURS, bfloat16_halves, bfloat16_step
from blockfuse.codegen.cpu.intrinsics.values import Value, evaluated
from blockfuse.codegen.cpu.intrinsics.vectors import Vectors, as_stored
from blockfuse.codegen.kernels.product_cuts import steps_of_sums
from blockfuse.codegen.values.emitter import I64, Emitter, constant
from blockfuse.codegen.values.functions import FUNCTIONS
from blockfuse.codegen.values.llvm import element_type

Load = tuple[str, str, tuple[int, ...]]  # pointer, dtype, strides


@dataclass(frozen=True)
class TileSpec:
    """What ``codegen.kernels.kernel.ProductKernel`` says, as it stands in the source of a kernel.

    Strides are in elements: of the matrix, where there are several, then of its rows, then of its columns.

    NOTE [own elements]
    The last tile overlaps its neighbour. Where a tile reads what a result's memory holds, each element may be stored
    once, so such a tile is told from which row and panel on elements are its own.
    """

    dtype: str  # of the operands, and of the sums
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
    stores: tuple[Load, ...]  # results
    epilogue: FunctionType | None  # (sum, *loads) -> what is stored, or several of these
    stored: str = (
        ""  # dtype in which the right operand lies in memory, where it is narrower: NOTE [narrow weights]
    )
    fetch: int = 0  # tiles that share fetching the next panel: NOTE [fetching ahead]
    fetches_end: bool = False  # whether a tile begins by that: NOTE [fetching the end]
    # the result whose memory holds sums between slices; "": a tile takes all steps: NOTE [long inner axes]
    totals: str = ""

    @property
    def has_turn(self) -> bool:
        """Whether a tile is told how many rows passed its panels before."""
        return self.fetch > 1

    @property
    def right_dtype(self) -> str:
        """Of the memory of the right operand."""
        return self.stored or self.dtype

    @property
    def steps(self) -> int:
        """Of the inner axis that a tile takes, at most."""
        return steps_of_sums(self.inner) if self.totals else self.inner

    @property
    def has_own(self) -> bool:
        """Whether a tile is told which elements are its own: see NOTE [own elements]."""
        return bool(self.totals) or self.reads_results

    @property
    def reads_results(self) -> bool:
        """Whether the epilogue takes what the memory of a result holds."""
        written = {name for name, _, _ in self.stores}
        return any(name in written for name, _, _ in self.loads)


class TileEdges:
    """Where the operands of a tile lie, with what its sums begin, and what becomes of them."""

    def __init__(
        self, spec: TileSpec, lanes: int, emit: Emitter, values: list[ir.Value], kind: type[Value] = Value
    ) -> None:
        """kind: of what an epilogue computes."""
        self.spec, self.lanes, self.emit, self._values = spec, lanes, emit, values
        self.memory = Vectors(emit, lanes, dict(zip(spec.arguments, values, strict=False)), kind)
        where = values[len(spec.arguments) :]
        where, self.first_step = (where[:-1], where[-1]) if spec.totals else (where, constant(0))
        where, self.passed = (where[:-1], where[-1]) if spec.has_turn else (where, constant(0))
        where, self.own = (where[:-2], where[-2:]) if spec.has_own else (where, [])
        *batch, self.row, self.panel = where
        self.matrix = batch[0] if batch else None
        self.vector = ir.VectorType(element_type(spec.dtype), lanes)

    def of_lanes(self, lanes: int) -> TileEdges:
        """The same for vectors of so many lanes."""
        return TileEdges(self.spec, lanes, self.emit, self._values, self.memory.kind)

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

    def right_address(self, index: ir.Value) -> ir.Value:
        """A pointer to element ``index`` of the right operand."""
        return self.memory.address(self.spec.right[0], index, self.spec.right_dtype)

    def right_at(self, base: ir.Value, index: ir.Value) -> ir.Value:
        """A pointer to element ``index`` behind ``base``, which is one into the right operand."""
        return self.emit.at(base, index, element_type(self.spec.right_dtype))

    def right_vector(self, base: ir.Value, index: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        """Neighbours of the right operand as numbers of the dtype of the sums."""
        element = element_type(self.spec.right_dtype)
        found = self.memory.load(self.right_at(base, index), element, mask)
        return NEIGHBOURS[self.spec.stored](self.emit.builder, found, self.vector)

    def right_panel(self, base: ir.Value, step: ir.Value) -> list[ir.Value]:
        """The vectors of one step of a panel, as numbers of the dtype of the sums."""
        builder, (_, strides) = self.emit.builder, self.spec.right
        if self.spec.stored == "uint32":
            line = self.emit.times(builder.lshr(step, constant(1)), strides[-1])
            return [self._paired(base, line, step, at) for at in range(0, self.spec.panel, self.lanes)]
        index = self.emit.times(step, strides[-1])
        if self.spec.stored == "uint16":
            whole = Vectors(self.emit, self.spec.panel, {})
            bits = whole.load(self.right_at(base, index), element_type(self.spec.stored))
            return bfloat16_halves(builder, bits, self.vector)
        starts = range(0, self.spec.panel, self.lanes)
        return [self.right_vector(base, builder.add(index, constant(start))) for start in starts]

    def _paired(self, base: ir.Value, line: ir.Value, step: ir.Value, at: int) -> ir.Value:
        """A vector of columns of panels in pairs of steps."""
        address = self.right_at(base, self.emit.builder.add(line, constant(at)))
        words = self.memory.load(address, element_type(self.spec.stored))
        return bfloat16_step(self.emit.builder, words, step, self.vector)

    def row_index(self, strides: tuple[int, ...], row: int) -> ir.Value:
        """Where row ``row`` of the tile starts; strides are ([matrix,] row)."""
        from_matrix = self.emit.times(self.matrix, strides[0]) if len(strides) == 2 else constant(0)
        line = self.emit.builder.add(self.row, constant(row))
        return self.emit.sum(from_matrix, self.emit.times(line, strides[-1]))

    def mask(self, column: ir.Value) -> ir.Value:
        """Which lanes of the vector at ``column`` are columns of the result."""
        columns = self._columns(column)
        units = ir.Constant(columns.type, [self.spec.units] * self.lanes)
        return self.emit.builder.icmp_signed("<", columns, units)

    def lanes_from(self, column: ir.Value, first: ir.Value) -> ir.Value:
        """Which lanes of the vector at ``column`` are column ``first`` or a later one."""
        columns = self._columns(column)
        return self.emit.builder.icmp_signed(">=", columns, self.memory.splat(first, columns.type))

    def _columns(self, first: ir.Value) -> ir.Value:
        """The number of the column in each lane."""
        indices = ir.VectorType(I64, self.lanes)
        steps = ir.Constant(indices, list(range(self.lanes)))
        return self.emit.builder.add(self.memory.splat(first, indices), steps)

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
        """Run the epilogue on a vector of sums, and store what it gives."""
        value: Any = self.memory.kind(
            self.emit.builder, total
        )  # an epilogue of several results gives a tuple
        if self.spec.epilogue is not None:
            loads = [self._epilogue_load(load, row, column, mask) for load in self.spec.loads]
            value = evaluated(self.spec.epilogue, value, value, *loads)
        values = value if isinstance(value, tuple) else (value,)
        for (name, dtype, strides), one in zip(self.spec.stores, values, strict=True):
            index = self.emit.builder.add(self.row_index(strides[:-1], row), column)
            self.memory.store(as_stored(one, dtype), self.memory.address(name, index, dtype), mask)

    @contextmanager
    def if_own(self, row: int, panel: int) -> Iterator[None]:
        """What is emitted inside is done where a row and a panel of the tile are its own, see NOTE [own elements]."""
        with ExitStack() as stack:
            numbers = (self.row, row, self.spec.rows), (self.panel, panel, self.spec.panels)
            for first, (start, number, count) in zip(self.own, numbers, strict=False):
                if number < count - 1:  # the last one is
                    index = self.emit.builder.add(start, constant(number))
                    stack.enter_context(self.emit.builder.if_then(self.emit.is_(">=", index, first)))
            yield

    def _epilogue_load(self, load: Load, row: int, column: ir.Value, mask: ir.Value | None) -> Value:
        name, dtype, strides = load
        index = self.row_index(strides[:-1], row)
        if not strides[-1]:
            return self.memory.loaded(name, dtype, index, False, None)
        return self.memory.loaded(name, dtype, self.emit.builder.add(index, column), True, mask)


def multiply_add(x: Value, y: Value, z: Value) -> Value:
    return FUNCTIONS["multiply_add"](x, y, z)  # type: ignore[return-value]
