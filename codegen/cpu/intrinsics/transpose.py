"""A block of a matrix moved across its diagonal: squares of a vector's lanes in registers, what is left by elements.

NOTE [squares]
Where neighbours in the source are a stride apart in the target, a loop of copies moves one element at a time. A square of as
many rows as a vector has lanes is loaded row by row, turned in registers and stored row by row. First every 16 bytes of a
vector turn by themselves, which processors do with one instruction for two vectors; then the pieces of 16 bytes change
vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy
from llvmlite import ir
from numba.core import types

from blockfuse.codegen.cpu.intrinsics.kernel_function import KernelFunction
from blockfuse.codegen.cpu.intrinsics.numba_intrinsic import Intrinsic
from blockfuse.codegen.cpu.intrinsics.vectors import Vectors
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.values.emitter import I32, Emitter, constant
from blockfuse.codegen.values.llvm import element_type

_PIECE_BYTES = 16  # that one instruction turns


@dataclass(frozen=True)
class TransposeSpec:
    """``target[row * target_stride + column] = source[row + column * source_stride]``, for some rows and all columns."""

    dtype: str
    columns: int
    source_stride: int
    target_stride: int


def _native(machine: Machine, **fields: Any) -> Any:
    """The intrinsic ``transpose(source, target, first of the source, first of the target, rows)``."""
    spec = TransposeSpec(**fields)
    itemsize = numpy.dtype(spec.dtype).itemsize

    def typed(_: Any, *arguments: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _: Any, values: Any) -> ir.Value:
            _Block(spec, machine.lanes(itemsize), Emitter(builder), values).build()
            return context.get_dummy_value()

        return types.void(*arguments), generate

    return Intrinsic(typed)


class _Block:
    """Writes the code of one call."""

    def __init__(self, spec: TransposeSpec, lanes: int, emit: Emitter, operands: list[ir.Value]) -> None:
        source, target, self.first_source, self.first_target, self.rows = operands
        self.spec, self.lanes, self.emit = spec, lanes, emit
        self.memory = Vectors(emit, lanes, {"source": source, "target": target})
        self.element = element_type(spec.dtype)

    def build(self) -> None:
        emit, builder = self.emit, self.emit.builder
        whole = builder.sub(self.rows, builder.srem(self.rows, constant(self.lanes)))
        squares = self.spec.columns - self.spec.columns % self.lanes
        with emit.counted(0, whole, self.lanes) as row:
            with emit.counted(0, squares, self.lanes) as column:
                self._move_square(row, column)
            self._move_elements(row, builder.add(row, constant(self.lanes)), squares)
        self._move_elements(whole, self.rows, 0)

    def _move_square(self, row: ir.Value, column: ir.Value) -> None:
        numbers = [constant(n) for n in range(self.lanes)]
        add = self.emit.builder.add
        read = [self.memory.load(self._source(row, add(column, n)), self.element) for n in numbers]
        for number, vector in zip(numbers, self._turned(read), strict=True):
            self.memory.store(vector, self._target(add(row, number), column), None)

    def _move_elements(self, first: ir.Value, end: ir.Value, first_column: int) -> None:
        builder = self.emit.builder
        if first_column < self.spec.columns:
            counted = self.emit.counted
            with counted(first, end) as row, counted(first_column, self.spec.columns) as column:
                element = builder.load(self._source(row, column), typ=self.element)
                builder.store(element, self._target(row, column))

    def _source(self, row: ir.Value, column: ir.Value) -> ir.Value:
        index = self.emit.sum(self.first_source, row, self.emit.times(column, self.spec.source_stride))
        return self.memory.address("source", index, self.spec.dtype)

    def _target(self, row: ir.Value, column: ir.Value) -> ir.Value:
        index = self.emit.sum(self.first_target, self.emit.times(row, self.spec.target_stride), column)
        return self.memory.address("target", index, self.spec.dtype)

    # -- in registers ------------------------------------------------------------------------------------------

    def _turned(self, rows: list[ir.Value]) -> list[ir.Value]:
        """The columns of a square, given its rows: see NOTE [squares]."""
        side = max(_PIECE_BYTES * 8 // _bits(self.element), 1)
        groups = [self._pieces_turned(rows[n : n + side]) for n in range(0, self.lanes, side)]
        columns = [self._pieces_exchanged([group[n] for group in groups], side) for n in range(side)]
        return [columns[n][piece] for piece in range(self.lanes // side) for n in range(side)]

    def _pieces_turned(self, rows: list[ir.Value]) -> list[ir.Value]:
        """Vectors whose pieces are the columns of the squares of pieces: those of four rows of four, or of two of two."""
        if len(rows) == 2:
            return [self._paired(rows[0], rows[1], half) for half in (0, 1)]
        low, high = ([self._interleaved(rows[n], rows[n + 1], half) for n in (0, 2)] for half in (0, 1))
        return [self._halves(a, b, half) for a, b in (low, high) for half in (0, 1)]

    def _paired(self, first: ir.Value, second: ir.Value, half: int) -> ir.Value:
        """Of each piece of two, one of the elements of both vectors."""
        return self._picked(first, second, lambda n: n - n % 2 + half + (self.lanes if n % 2 else 0))

    def _interleaved(self, first: ir.Value, second: ir.Value, half: int) -> ir.Value:
        """Of each piece of four, the elements of one half of both vectors in turn."""

        def index(n: int) -> int:
            return n - n % 4 + 2 * half + n % 4 // 2 + (self.lanes if n % 2 else 0)

        return self._picked(first, second, index)

    def _halves(self, first: ir.Value, second: ir.Value, half: int) -> ir.Value:
        """Of each piece of four, one half of the first vector and one of the second."""

        def index(n: int) -> int:
            return n - n % 4 + 2 * half + n % 2 + (self.lanes if n % 4 >= 2 else 0)

        return self._picked(first, second, index)

    def _pieces_exchanged(self, vectors: list[ir.Value], side: int) -> list[ir.Value]:
        """Vector n, piece m becomes vector m, piece n."""
        distance = len(vectors) // 2
        while distance:
            for n in range(len(vectors)):
                if not n & distance:
                    pair = vectors[n], vectors[n + distance]
                    vectors[n], vectors[n + distance] = (
                        self._picked(*pair, partial(self._exchanged, distance, side, upper))
                        for upper in (False, True)
                    )
            distance //= 2
        return vectors

    def _exchanged(self, distance: int, side: int, upper: bool, n: int) -> int:
        """Which lane of two vectors in a row is lane ``n`` of the first, or the second, once blocks were exchanged."""
        is_upper = bool(n // side & distance)
        if is_upper == upper:
            return n + (self.lanes if upper else 0)
        return n + distance * side if upper else n - distance * side + self.lanes

    def _picked(self, first: ir.Value, second: ir.Value, index: Callable[[int], int]) -> ir.Value:
        lanes = ir.Constant(ir.VectorType(I32, self.lanes), [index(n) for n in range(self.lanes)])
        return self.emit.builder.shuffle_vector(first, second, lanes)


def _bits(element: ir.Type) -> int:
    return (
        int(element.width)
        if isinstance(element, ir.IntType)
        else 32
        if isinstance(element, ir.FloatType)
        else 64
    )


# -- meaning -----------------------------------------------------------------------------------------------------


def _meaning(**fields: Any) -> Callable[..., None]:
    spec = TransposeSpec(**fields)

    def moved(source: Any, target: Any, first_source: int, first_target: int, rows: int) -> None:
        shape = rows, spec.columns
        values = source.read(spec.dtype, shape, (1, spec.source_stride), first_source)
        target.write(spec.dtype, (spec.target_stride, 1), values, first_target)

    return moved


TRANSPOSE = KernelFunction("transpose_of", lambda machine: partial(_native, machine), _meaning)
