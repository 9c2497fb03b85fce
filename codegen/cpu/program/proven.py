"""Which variants of a program somebody has proven right, and the words in which its entry reads that: NOTE [variants]."""

from __future__ import annotations

from collections.abc import Iterable

import numpy

from blockfuse.codegen.cpu.process.frame_words import header_index
from blockfuse.codegen.cpu.program.frame import frame_layout
from blockfuse.codegen.cpu.program.plan import Plan
from blockfuse.codegen.variants import SIZE_SLOTS, Size, Variant, size_of


class Proven:
    """Variants that the entry may run."""

    def __init__(self, plan: Plan, frame: numpy.ndarray) -> None:
        self._plan = plan
        self._variants: set[Variant] = set()
        self.sizes = numpy.full(SIZE_SLOTS, -1, numpy.int64)  # of the batch; the entry reads them
        frame[header_index("sizes")] = self.sizes.ctypes.data
        self._ways = frame[frame_layout(plan).table + plan.ways_index :]

    def add(self, variants: Iterable[Variant]) -> None:
        for variant in variants:
            self._variants.add(variant)
            if isinstance(variant, Size):
                self._admit(variant)
            else:
                word, bit = divmod(variant.bit, 64)
                self._ways[word] |= numpy.uint64(1 << bit).view(numpy.int64)

    def _admit(self, size: Size) -> None:
        """Let the entry run a size of the batch, and all small ones of the same variant."""
        self.sizes[size.items % SIZE_SLOTS] = size.items
        small = range(max(size.min_items, self._plan.schedule.min_items), min(2 * size.min_items, SIZE_SLOTS))
        for items in small if size.items < SIZE_SLOTS else ():
            if size_of(self._plan.schedule, self._plan.machine, items) == size:
                self.sizes[items] = items

    def missing(self, ran: set[Variant]) -> set[Variant]:
        """Those nobody has proven; a size of a variant that is proven may run from now on."""
        new = ran - self._variants
        for variant in ran if not new else ():
            if isinstance(variant, Size):
                self.sizes[variant.items % SIZE_SLOTS] = variant.items
        return new
