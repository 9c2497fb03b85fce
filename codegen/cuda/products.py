"""Products as device source: one launch, or two where the inner axis is split between blocks.

NOTE [order of additions]
Every sum is made in an order that the kernel fixes, without atomics: the same operands give the same bits. The blocks of a
split product put their sums into scratch memory, and a launch of its own adds them up, the first split first.
"""

from __future__ import annotations

import numpy

from blockfuse.codegen.cuda.blocks import tiled
from blockfuse.codegen.cuda.elements import epilogue, head, lines, most_rows, pointers, row_blocks, stored
from blockfuse.codegen.cuda.slices import sliced
from blockfuse.codegen.cuda.source import DeviceSource, Stage
from blockfuse.codegen.kernel import BlockTile, ProductKernel

_RESIDENT = (
    512  # threads on a multiprocessor, with up to 128 registers each: half of them work while the others wait
)
_SUMMING = 256  # threads in a block that adds up what was split


def render_product(kernel: ProductKernel) -> DeviceSource:
    """The source of one product; equal kernels have equal source."""
    block = kernel.block
    assert block is not None, "a product for a device has a block, see Machine.block_tile"
    text = sliced(kernel, block) if block.slices else tiled(kernel, block)
    stages, scratch = [_stage(kernel, block)], 0
    if block.splits > 1:
        text += ["", "", *_sum_of_splits(kernel, block)]
        stages.append(Stage(_sum_name(kernel), _SUMMING, kernel.units, _SUMMING))
        scratch = numpy.dtype(kernel.dtype).itemsize * block.splits * kernel.units
    return DeviceSource(
        kernel.name,
        "\n".join(text) + "\n",
        pointers(kernel),
        tuple(stages),
        scratch,
        kernel.dtype,
        most_rows=most_rows(kernel, block),
    )


def _stage(kernel: ProductKernel, block: BlockTile) -> Stage:
    columns = -(-kernel.units // block.columns)
    pieces, share = (row_blocks(kernel, block), 1) if kernel.batched else (1, block.rows)
    resident = max(1, _RESIDENT // block.threads)
    return Stage(kernel.name, block.threads, pieces, share, columns, block.splits, resident=resident)


def _sum_name(kernel: ProductKernel) -> str:
    return f"{kernel.name}_sum"


def _sum_of_splits(kernel: ProductKernel, block: BlockTile) -> list[str]:
    """A thread for each element; see NOTE [order of additions]."""
    units = f"uint32({kernel.units})"
    body = [
        f"r = place // {units}",
        f"c = place % {units}",
        f"{kernel.accumulator} = {f'{kernel.bias.name}[c]' if kernel.bias else f'{kernel.dtype}(0.0)'}",
        f"for split in range({block.splits}):",
        f"    {kernel.accumulator} += scratch[uint32(split) * rows * {units} + place]",
        *epilogue(kernel),
        f"out[place] = {stored(kernel)}",
    ]
    return [
        head(kernel, _sum_name(kernel), block),
        f"    place = uint32(cuda.blockIdx.x) * uint32({_SUMMING}) + uint32(cuda.threadIdx.x)",
        f"    if place < rows * {units}:",
        *lines(2, body),
    ]
