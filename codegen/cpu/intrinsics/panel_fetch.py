"""What a register tile fetches ahead, from memory that no near cache holds: the next panel, and what its end needs.

NOTE [fetching ahead]
All tiles of rows pass a panel before the next one comes. The first of them would wait for memory at each step, while the
others find everything near, so a product takes the time of reading and that of multiplying, one after the other. A
processor's own prefetching follows a stream by a few lines, which is not enough. So the tiles that pass a panel share the
next one among them: each asks for its part of the lines, one line every ``fetch`` steps, so that reading goes on evenly.
Tiles beyond ``fetch`` ask for the last part again, which costs little. What follows the last panel is the weight of the next
layer, where weights lie side by side. Nothing is read that a tile may not read: prefetching what is not there does nothing.

Tiles of several panels do not fetch: these are as many streams, which processors follow side by side.

NOTE [fetching the end]
Where rows pass a panel, the results of one tile and the next lie whole rows apart, which no processor's prefetching follows.
An epilogue that reads as much (the gradient of a weight, with its optimizer: the weight, momentum, the gradient's memory)
would wait for all of it after the sums. So such a tile asks for these lines when it begins; the sums take longer than they
need to come. AMD EPYC (Zen 3), whole steps of training, times in ratio from alternating runs: 784-256-128-10 with SGD 0.89
at batch 128 and 512, with Adam 0.84. For results alone it is no gain: their stores wait in the processor's queue.
"""

from __future__ import annotations

import numpy
from llvmlite import ir

from blockfuse.codegen.cpu.intrinsics.tile_edges import Load, TileEdges
from blockfuse.codegen.values.emitter import I32, POINTER, VOID, Emitter, constant
from blockfuse.ir.placement import LINE_BYTES

_READ, _WRITE, _SECOND_LEVEL, _FIRST_LEVEL, _DATA = 0, 1, 2, 3, 1  # of ``llvm.prefetch``


class PanelFetch:
    """One tile's part of fetching the next panel."""

    def __init__(self, edges: TileEdges) -> None:
        self.edges, self.spec, self.emit = edges, edges.spec, edges.emit
        self.steps = self.spec.fetch  # of the inner axis, for each of the panel that is fetched

    def lines(self, panels: list[ir.Value], k: ir.Value) -> None:
        """Fetch what belongs to step ``k`` of a tile whose panels start at ``panels``."""
        *_, stride, step = self.spec.right[1]
        emit, builder = self.emit, self.emit.builder
        begin = self.edges.first_step
        of_step = builder.udiv(builder.sub(k, begin), constant(self.steps))
        line_step = emit.sum(begin, self._part(), of_step)
        first = emit.sum(constant(stride), emit.times(line_step, step))
        elements = LINE_BYTES // numpy.dtype(self.spec.right_dtype).itemsize
        for base in panels:
            for line in range(0, self.spec.panel, elements):
                address = self.edges.right_at(base, builder.add(first, constant(line)))
                _prefetch(emit, address, _READ, _SECOND_LEVEL)

    def _part(self) -> ir.Value:
        """The step at which the part of this tile starts."""
        tile = self.emit.builder.udiv(self.edges.passed, constant(self.spec.rows))
        return self.emit.times(
            self.emit.smaller(tile, constant(self.steps - 1)), self.spec.steps // self.steps
        )


def fetch_end(edges: TileEdges) -> None:
    """What the epilogue of a tile reads and writes: NOTE [fetching the end]."""
    spec = edges.spec
    written = {name: (dtype, strides) for name, dtype, strides in spec.stores}
    read = {name: (dtype, strides) for name, dtype, strides in spec.loads if strides[-1]}
    for row in range(spec.rows):
        for name, (dtype, strides) in {**read, **written}.items():
            _fetch_row(edges, row, (name, dtype, strides), _WRITE if name in written else _READ)


def fetch_result(edges: TileEdges, result: Load) -> None:
    """The lines of a result that a tile reads and writes."""
    for row in range(edges.spec.rows):
        _fetch_row(edges, row, result, _WRITE)


def _fetch_row(edges: TileEdges, row: int, operand: Load, access: int) -> None:
    """What a tile's columns of one row need of an operand."""
    spec, emit, (name, dtype, strides) = edges.spec, edges.emit, operand
    start = emit.builder.add(edges.row_index(strides[:-1], row), emit.times(edges.panel, spec.panel))
    for column in range(0, spec.panels * spec.panel, LINE_BYTES // numpy.dtype(dtype).itemsize):
        address = edges.memory.address(name, emit.builder.add(start, constant(column)), dtype)
        _prefetch(emit, address, access, _FIRST_LEVEL)


def fetch_line(emit: Emitter, address: ir.Value) -> None:
    """A line that is read soon."""
    _prefetch(emit, address, _READ, _FIRST_LEVEL)


def _prefetch(emit: Emitter, address: ir.Value, access: int, level: int) -> None:
    module, name = emit.builder.module, "llvm.prefetch.p0"
    kind = ir.FunctionType(VOID, [POINTER, I32, I32, I32])
    function = module.globals.get(name) or ir.Function(module, kind, name)
    hints = (constant(hint, I32) for hint in (access, level, _DATA))
    emit.builder.call(function, [emit.builder.bitcast(address, POINTER), *hints])
