"""What a register tile fetches ahead, from memory that no near cache holds: the panel that comes after its own.

NOTE [fetching ahead]
All tiles of rows pass a panel before the next one comes. The first of them would wait for memory at each step, while the
others find everything near, so a product takes the time of reading and that of multiplying, one after the other. A
processor's own prefetching follows a stream by a few lines, which is not enough. So the tiles that pass a panel share the
next one among them: each asks for its part of the lines, one line every ``fetch`` steps, so that reading goes on evenly.
Tiles beyond ``fetch`` ask for the last part again, which costs little. What follows the last panel is the weight of the next
layer, where weights lie side by side. Nothing is read that a tile may not read: prefetching what is not there does nothing.

Tiles of several panels do not fetch: these are as many streams, which processors follow side by side.
"""

from __future__ import annotations

import numpy
from llvmlite import ir

from blockfuse.codegen.cpu.intrinsics.tile_edges import TileEdges
from blockfuse.codegen.values.emitter import I32, POINTER, VOID, constant
from blockfuse.ir.placement import LINE_BYTES

_READ, _SECOND_LEVEL, _DATA = 0, 2, 1  # of ``llvm.prefetch``


class PanelFetch:
    """One tile's part of fetching the next panel."""

    def __init__(self, edges: TileEdges) -> None:
        self.edges, self.spec, self.emit = edges, edges.spec, edges.emit
        self.steps = self.spec.fetch  # of the inner axis, for each of the panel that is fetched

    def lines(self, panels: list[ir.Value], k: ir.Value) -> None:
        """Fetch what belongs to step ``k`` of a tile whose panels start at ``panels``."""
        *_, stride, step = self.spec.right[1]
        emit, builder = self.emit, self.emit.builder
        of_step = builder.udiv(k, constant(self.steps))
        first = emit.sum(constant(stride), emit.times(builder.add(self._part(), of_step), step))
        elements = LINE_BYTES // numpy.dtype(self.spec.right_dtype).itemsize
        for base in panels:
            for line in range(0, self.spec.panel, elements):
                self._fetch(self.edges.right_at(base, builder.add(first, constant(line))))

    def _part(self) -> ir.Value:
        """The step at which the part of this tile starts."""
        tile = self.emit.builder.udiv(self.edges.passed, constant(self.spec.rows))
        return self.emit.times(
            self.emit.smaller(tile, constant(self.steps - 1)), self.spec.inner // self.steps
        )

    def _fetch(self, address: ir.Value) -> None:
        module, name = self.emit.builder.module, "llvm.prefetch.p0"
        kind = ir.FunctionType(VOID, [POINTER, I32, I32, I32])
        function = module.globals.get(name) or ir.Function(module, kind, name)
        hints = (constant(hint, I32) for hint in (_READ, _SECOND_LEVEL, _DATA))
        self.emit.builder.call(function, [self.emit.builder.bitcast(address, POINTER), *hints])
