"""Products of float32 with weights of bfloat16 by a processor's registers of matrices (AMX).

NOTE [matrix tiles]
Such a register holds 16 rows of 32 numbers of bfloat16, and one instruction multiplies two of them and adds the
products to 16 x 16 sums of float32. Weights are bfloat16 where that was asked for, the left operand is not. So each of
its numbers is cut into three of 8 bits, whose sum it is: nothing is rounded but sums, as in every other tile, and what
a program gives is compared as closely as anywhere (NOTE [checks of narrow weights]). *Chosen over two parts*, which
lose up to 2^-15 of a number: a sum of few products is then further off than float32 allows.

The instruction takes what is below 2^-126 for zero, and a part of an infinity is nan. So a sum is taken again, with
vectors, where its row holds such a number, or none that is large enough for its parts, or where it came out tiny,
infinite or nan itself. What stays different: numbers below 2^-126 beside larger ones of a row, and weights and products
below it, are zeros in sums that are larger, or all of such summands.

A block of rows passes all panels for a few steps at a time: the parts of a tile's rows fit in a first-level cache then,
the weight's steps of a group of panels in the second one, beside the sums. Groups are so small that the stack of any
thread holds their sums. A few rows of any number are left to vectors (``RegisterTile``). Panels have pairs of steps as
words (``ir.operators.narrow.paired``), as the instruction wants it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from llvmlite import ir
from numba.core import types

from blockfuse.codegen.cpu.intrinsics.kernel_function import KernelFunction
from blockfuse.codegen.cpu.intrinsics.numba_intrinsic import Intrinsic
from blockfuse.codegen.cpu.intrinsics.panel_fetch import fetch_line
from blockfuse.codegen.cpu.intrinsics.product_tile import TileMeaning
from blockfuse.codegen.cpu.intrinsics.tile_edges import TileEdges, TileSpec, multiply_add
from blockfuse.codegen.cpu.intrinsics.values import Value
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.kernels.product_cuts import MATRIX_ROWS
from blockfuse.codegen.values.emitter import I8, I32, I64, POINTER, VOID, Emitter, constant
from blockfuse.codegen.values.llvm import element_type
from blockfuse.ir.operators.narrow import PAIRED_STEPS
from blockfuse.ir.placement import LINE_BYTES

_ROWS = 16  # of a register, and columns of one of sums
_REGISTER = _ROWS * LINE_BYTES  # bytes
_PARTS = 3  # of 8 bits, of a float32
_SLICE = 4  # registers along the inner axis that one pass over the panels takes
_BLOCK = 2 * MATRIX_ROWS  # rows of a block
_GROUP = 8  # panels of which the stack holds sums: 64 KiB. With 32 of them 1024^3 takes 5 to 13% less
_SUMS = 4 * _REGISTER // 4  # of a tile, in elements
_INFINITY = 0x7F800000
# of rows, as bits of float32: 2^-64, far enough above what is taken for zero
_SMALL_ROW = (127 - 64) << 23
_SMALL_SUM = (127 - 80) << 23  # of sums: 2^-80, the same
_CONFIGURATION = struct.pack("<2B14x16H16B", 1, 0, *[LINE_BYTES] * 8, *[0] * 8, *[_ROWS] * 8, *[0] * 8)


class MatrixTile:
    """All products of some rows."""

    def __init__(self, spec: TileSpec, lanes: int, emit: Emitter, values: list[ir.Value]) -> None:
        assert spec.panel == 2 * _ROWS == 2 * lanes, "a panel is two registers, and each row of one a vector"
        self.spec, self.emit, self.lanes = spec, emit, lanes
        *self.pointers, self.begin, self.end = values
        self.panels = -(-spec.units // spec.panel)
        self.steps = -(-spec.inner // PAIRED_STEPS)  # in registers
        self.floats, self.words = ir.VectorType(element_type("float32"), lanes), ir.VectorType(I32, lanes)
        self.edges = self._edges(self.begin, constant(0))
        self.parts = self._local(self.words, 2 * _SLICE * _PARTS * _ROWS)
        self.largest = self._local(self.words, _BLOCK)  # magnitude of each row, lane by lane
        self.sums = self._local(
            self.floats, _BLOCK // MATRIX_ROWS * min(_GROUP, self.panels) * _SUMS // lanes
        )

    def _edges(self, row: ir.Value, panel: ir.Value) -> TileEdges:
        """Those of one row in one panel."""
        own = [constant(0)] * (2 * self.spec.has_own)
        return TileEdges(self.spec, self.lanes, self.emit, [*self.pointers, row, panel, *own])

    def _local(self, type: ir.Type, count: int) -> ir.Value:
        """Memory of the stack."""
        memory = self.emit.local(type, count)
        memory.type = POINTER  # what lies there is words, numbers and registers in turn
        return memory

    def build(self) -> None:
        emit = self.emit
        self._configure()
        with emit.counted(self.begin, self.end, _BLOCK) as first:
            last = emit.smaller(emit.builder.add(first, constant(_BLOCK)), self.end)
            with emit.counted(0, self.panels, _GROUP) as group:
                end = emit.smaller(emit.builder.add(group, constant(_GROUP)), constant(self.panels))
                self._block(first, last, group, end)
        self._call("tilerelease")

    def _block(self, first: ir.Value, last: ir.Value, group: ir.Value, end: ir.Value) -> None:
        """A block of rows and a group of panels."""
        emit, builder = self.emit, self.emit.builder
        with emit.counted(0, self.steps, _SLICE) as step:
            after = emit.smaller(builder.add(step, constant(_SLICE)), constant(self.steps))
            is_last = emit.is_("==", after, self.steps)
            with emit.counted(first, last, MATRIX_ROWS) as row:
                tile = builder.udiv(builder.sub(row, first), constant(MATRIX_ROWS))
                below = emit.smaller(builder.add(row, constant(MATRIX_ROWS)), last)
                self._split(row, below, tile, step, after)
                is_tall = emit.is_(">", builder.sub(below, row), _ROWS)
                with emit.counted(group, end) as panel:
                    sums = self._sums_at(tile, builder.sub(panel, group))
                    with builder.if_else(is_tall) as branches:
                        for height, branch in zip((2, 1), branches, strict=True):
                            with branch:
                                self._multiply(height, sums, tile, panel, step, after)
                    with builder.if_then(is_last), emit.counted(row, below) as line:
                        self._finish(line, panel, builder.sub(line, row), tile, sums)

    def _sums_at(self, tile: ir.Value, panel: ir.Value) -> ir.Value:
        """Where the sums of a tile of rows and a panel lie, both counted from the first of the block."""
        index = self.emit.sum(self.emit.times(tile, min(_GROUP, self.panels)), panel)
        return self.emit.at(self.sums, self.emit.times(index, 4 * _REGISTER), I8)

    # -- the left operand --------------------------------------------------------------------------------------

    def _split(self, row: ir.Value, end: ir.Value, tile: ir.Value, step: ir.Value, after: ir.Value) -> None:
        """Put the parts of a tile's rows where registers are loaded from; rows from ``end`` on are zeros."""
        emit, builder = self.emit, self.emit.builder
        with emit.counted(row, end) as line:
            place = builder.sub(line, row)
            largest = self._largest_at(tile, place)
            is_first = emit.is_("==", step, 0)
            zeros = ir.Constant(self.words, None)
            start = builder.select(is_first, zeros, builder.load(largest, typ=self.words))
            found = emit.carried(
                [start], step, after, 1, lambda m, k: [self._split_one(m[0], line, place, k, step)]
            )
            builder.store(found[0], largest)
        with (
            emit.counted(builder.sub(end, row), MATRIX_ROWS) as place,
            emit.counted(0, builder.sub(after, step)) as k,
        ):
            for part in range(_PARTS):
                builder.store(zeros, self._part_at(place, k, part))

    def _largest_at(self, tile: ir.Value, place: ir.Value) -> ir.Value:
        """Where the largest magnitudes of row ``place`` of a tile lie."""
        row = self.emit.sum(self.emit.times(tile, MATRIX_ROWS), place)
        return self.emit.at(self.largest, row, self.words)

    def _part_at(self, place: ir.Value, k: ir.Value, part: int) -> ir.Value:
        """Where a line of a register of parts lies: of row ``place`` of the tile, ``k`` registers from the slice's start."""
        emit, builder = self.emit, self.emit.builder
        half, line = (f(place, constant(_ROWS)) for f in (builder.udiv, builder.urem))
        register = emit.sum(emit.times(half, _SLICE * _PARTS), emit.times(k, _PARTS), constant(part))
        return emit.at(self.parts, emit.sum(emit.times(register, _ROWS), line), self.words)

    def _split_one(
        self, largest: ir.Value, line: ir.Value, place: ir.Value, k: ir.Value, step: ir.Value
    ) -> ir.Value:
        """The parts of as much of a row as a register takes; the largest magnitudes of it and of what came before."""
        emit, builder = self.emit, self.emit.builder
        column = emit.times(k, PAIRED_STEPS)
        vectors = [self._left(line, builder.add(column, constant(at))) for at in (0, self.lanes)]
        for vector in vectors:
            largest = self._larger(largest, self._magnitude(vector))
        for part in range(_PARTS):
            halves = ir.VectorType(ir.IntType(16), 2 * self.lanes)
            odd = ir.Constant(ir.VectorType(I32, 2 * self.lanes), [2 * n + 1 for n in range(2 * self.lanes)])
            upper = builder.shuffle_vector(*(builder.bitcast(v, halves) for v in vectors), odd)
            builder.store(
                builder.bitcast(upper, self.words), self._part_at(place, builder.sub(k, step), part)
            )
            vectors = [builder.fsub(v, self._upper(builder.bitcast(v, self.words))) for v in vectors]
        return largest

    def _left(self, row: ir.Value, column: ir.Value) -> ir.Value:
        """Neighbours of a row of the left operand, zeros beyond its end."""
        emit, builder, memory = self.emit, self.emit.builder, self.edges.memory
        edges = self._edges(row, constant(0))
        (base,) = edges.left_rows()
        indices = ir.VectorType(I64, self.lanes)
        numbers = builder.add(memory.splat(column, indices), ir.Constant(indices, list(range(self.lanes))))
        mask = None
        if self.spec.inner % PAIRED_STEPS:
            mask = builder.icmp_unsigned("<", numbers, ir.Constant(indices, [self.spec.inner] * self.lanes))
        return memory.load(emit.at(base, column, self.floats.element), self.floats.element, mask)

    def _every(self, number: int) -> ir.Constant:
        return ir.Constant(self.words, [number] * self.lanes)

    def _upper(self, words: ir.Value) -> ir.Value:
        """The numbers of upper halves."""
        return self.emit.builder.bitcast(self.emit.builder.and_(words, self._every(0xFFFF0000)), self.floats)

    def _lower(self, words: ir.Value) -> ir.Value:
        return self.emit.builder.bitcast(self.emit.builder.shl(words, self._every(16)), self.floats)

    def _magnitude(self, vector: ir.Value) -> ir.Value:
        """Bits that are the larger the further a number is from zero."""
        return self.emit.builder.and_(self.emit.builder.bitcast(vector, self.words), self._every(0x7FFFFFFF))

    def _larger(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.emit.builder.select(self.emit.builder.icmp_unsigned(">", x, y), x, y)

    # -- registers ---------------------------------------------------------------------------------------------

    def _configure(self) -> None:
        """All registers have 16 rows."""
        memory = self._local(self.words, 1)
        for number, word in enumerate(struct.unpack("<8Q", _CONFIGURATION)):
            self.emit.put(memory, number, word)
        self._call("ldtilecfg", memory)

    def _multiply(
        self, height: int, sums: ir.Value, tile: ir.Value, panel: ir.Value, step: ir.Value, after: ir.Value
    ) -> None:
        """Add to sums, of registers of ``height`` times 16 rows and of a panel, what the steps of a slice give."""
        emit, builder = self.emit, self.emit.builder
        totals = [(half, across) for half in range(height) for across in range(2)]
        addresses = [emit.at(sums, n * _REGISTER, I8) for n in range(len(totals))]
        with builder.if_else(emit.is_("==", step, 0)) as (first, later):
            with first:
                for n in range(len(totals)):
                    self._call("tilezero", n)
            with later:
                for n, address in enumerate(addresses):
                    self._load(n, address, LINE_BYTES)
        *_, stride, _ = self.spec.right[1]
        start = emit.sum(emit.times(panel, stride), emit.times(step, _ROWS * self.spec.panel))
        base = self.edges.right_address(start)
        with emit.counted(0, builder.sub(after, step)) as k:
            at = emit.at(base, emit.times(k, 2 * _REGISTER), I8)
            self._fetch(at, stride * 4, tile)
            for across in range(2):
                self._load(6 + across, emit.at(at, across * LINE_BYTES, I8), 2 * LINE_BYTES)
            for part in range(_PARTS):
                for half in range(height):
                    self._load(4 + half, self._part_at(constant(half * _ROWS), k, part), LINE_BYTES)
                    for across in range(2):
                        self._call("tdpbf16ps", 2 * half + across, 4 + half, 6 + across)
        for n, address in enumerate(addresses):
            self._call("tilestored64", n, address, constant(LINE_BYTES))

    def _fetch(self, panel: ir.Value, stride: int, tile: ir.Value) -> None:
        """Lines of the same steps of the next panel: half of them with each tile of rows."""
        lines = 2 * _REGISTER // LINE_BYTES // 2
        start = self.emit.sum(constant(stride), self.emit.times(tile, lines * LINE_BYTES))
        for line in range(lines):
            index = self.emit.builder.add(start, constant(line * LINE_BYTES))
            fetch_line(self.emit, self.emit.at(panel, index, I8))

    def _load(self, register: int, address: ir.Value, stride: int) -> None:
        self._call("tileloadd64", register, address, constant(stride))

    def _call(self, name: str, *operands: ir.Value | int) -> None:
        """One of LLVM's functions for these registers, whose numbers are bytes."""
        values = [constant(operand, I8) if isinstance(operand, int) else operand for operand in operands]
        module, full = self.emit.builder.module, f"llvm.x86.{name}"
        kind = ir.FunctionType(
            VOID, [POINTER if isinstance(v.type, ir.PointerType) else v.type for v in values]
        )
        function = module.globals.get(full) or ir.Function(module, kind, full)
        self.emit.builder.call(function, values)

    # -- the end -----------------------------------------------------------------------------------------------

    def _finish(
        self, row: ir.Value, panel: ir.Value, place: ir.Value, tile: ir.Value, sums: ir.Value
    ) -> None:
        """What follows from the sums of one row in one panel. place: of the row in its tile."""
        emit, builder = self.emit, self.emit.builder
        half, line = (f(place, constant(_ROWS)) for f in (builder.udiv, builder.urem))
        edges = self._edges(row, panel)
        is_odd_row = self._is_odd_row(self._largest_at(tile, place))
        for across in range(2):
            column = emit.sum(emit.times(panel, self.spec.panel), constant(across * self.lanes))
            index = emit.sum(emit.times(half, 2 * _ROWS), constant(across * _ROWS), line)
            found = builder.load(emit.at(sums, index, self.floats), typ=self.floats)
            is_exact = builder.or_(is_odd_row, self._are_odd(found))
            total = emit.choice(is_exact, partial(self._summed_again, edges, across), partial(_same, found))
            mask = edges.mask(column) if self.spec.units % self.spec.panel else None
            (bias,) = edges.start([column], [mask])
            edges.finish(builder.fadd(total, bias), 0, column, mask)

    def _is_odd_row(self, largest_at: ir.Value) -> ir.Value:
        """Whether parts of a row are not what they must be."""
        builder = self.emit.builder
        lanes = builder.load(largest_at, typ=self.words)
        function = builder.module.globals.get(name := f"llvm.vector.reduce.umax.v{self.lanes}i32")
        function = function or ir.Function(builder.module, ir.FunctionType(I32, [self.words]), name)
        largest = builder.call(function, [lanes])
        is_small = builder.icmp_unsigned(
            "<", builder.sub(largest, constant(1, I32)), constant(_SMALL_ROW - 1, I32)
        )
        return builder.or_(is_small, builder.icmp_unsigned(">=", largest, constant(_INFINITY, I32)))

    def _are_odd(self, sums: ir.Value) -> ir.Value:
        """Whether any of them is tiny, but not zero, infinite or nan."""
        builder = self.emit.builder
        magnitude = self._magnitude(sums)
        above = builder.sub(magnitude, self._every(_SMALL_SUM))
        is_usual = builder.icmp_unsigned("<", above, self._every(_INFINITY - _SMALL_SUM))
        is_zero = builder.icmp_unsigned("==", magnitude, self._every(0))
        bits = builder.bitcast(builder.or_(is_usual, is_zero), ir.IntType(self.lanes))
        return builder.icmp_unsigned("!=", bits, constant((1 << self.lanes) - 1, bits.type))

    def _summed_again(self, edges: TileEdges, across: int) -> ir.Value:
        """The sums of a vector of columns, as other tiles compute them."""
        emit, spec = self.emit, self.spec
        (row,) = edges.left_rows()
        *_, stride, step = spec.right[1]
        start = emit.sum(emit.times(edges.panel, stride), constant(across * self.lanes))

        def added(total: ir.Value, pair: ir.Value, count: int) -> ir.Value:
            builder = self.emit.builder
            address = edges.right_address(emit.sum(start, emit.times(pair, step)))
            words = edges.memory.load(address, I32)
            for n, widen in enumerate((self._lower, self._upper)[:count]):
                at = emit.sum(emit.times(pair, 2), constant(n))
                scalar = builder.load(emit.at(row, at, self.floats.element), typ=self.floats.element)
                left = Value(builder, edges.memory.splat(scalar, self.floats))
                total = multiply_add(left, Value(builder, widen(words)), Value(builder, total)).ir
            return total

        zero, pairs = ir.Constant(self.floats, None), spec.inner // 2
        (total,) = emit.carried([zero], 0, pairs, 1, lambda t, pair: [added(t[0], pair, 2)], may_unroll=False)
        return added(total, constant(pairs), 1) if spec.inner % 2 else total


def _same(value: ir.Value) -> ir.Value:
    return value


def _native(machine: Machine, **columns: Any) -> Any:
    """The intrinsic ``tile(*pointers, first row, end of rows)``. columns: fields of ``TileSpec``."""
    spec = replace(TileSpec(**columns), rows=1, panels=1)

    def typed(context: Any, *arguments: Any) -> Any:
        def generate(_: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
            MatrixTile(spec, machine.lanes(4), Emitter(builder), list(values)).build()
            return ir.Constant(ir.IntType(8).as_pointer(), None)

        return types.void(*arguments), generate

    return Intrinsic(typed)


def _meaning(**columns: Any) -> Callable[..., None]:
    spec = TileSpec(**columns)

    def stored(*operands: Any) -> None:
        *pointers, begin, end = operands
        rows = replace(spec, rows=end - begin, panels=-(-spec.units // spec.panel))
        own = (begin, 0) if rows.has_own else ()
        TileMeaning(rows, (*pointers, begin, 0, *own)).stored()

    return stored


MATRIX_TILE = KernelFunction("matrix_tile", lambda machine: partial(_native, machine), _meaning)
