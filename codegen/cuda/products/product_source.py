"""Products as device source: one launch, or two where the inner axis is split between blocks.

NOTE [order of additions]
Every sum is made in an order that the kernel fixes, without atomics: the same operands give the same bits. The blocks of a
split product put their sums into scratch memory, and a launch of its own adds them up, the first split first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy

from blockfuse.codegen.cuda.products.elements import (
    epilogue,
    head,
    is_wide,
    max_rows,
    resident_blocks,
    row_blocks,
    stored,
)
from blockfuse.codegen.cuda.products.sliced import block_alone, sliced
from blockfuse.codegen.cuda.products.tiled import tiled
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage
from blockfuse.codegen.kernels.product_cuts import BlockTile
from blockfuse.codegen.kernels.product_kernels import ProductKernel
from blockfuse.codegen.kernels.source_lines import indented

_SUMMING_THREADS = 256  # threads in a block that adds up what was split


def render_product(kernel: ProductKernel, wide: bool = True, alone: bool = False) -> DeviceSource:
    """The source of one product; equal kernels have equal source. wide: whether all pointers are multiples of 16 bytes.

    alone: for one block of threads that does all, and other kernels too.
    """
    block = kernel.block
    if alone:
        block = block_alone(kernel, block)
        kernel = replace(kernel, cut=block)
    wide = wide and is_wide(kernel, block)
    write = sliced if block.slices else tiled
    text = write(kernel, block, wide)
    stages, scratch = [_stage(kernel, block)], 0
    if block.splits > 1:
        start = f"{kernel.bias.name}[c]" if kernel.bias else f"{kernel.dtype}(0.0)"
        text += ["", "", *_summed(kernel, _sum_name(kernel), start, block.splits)]
        stages.append(Stage(_sum_name(kernel), _SUMMING_THREADS, kernel.units, _SUMMING_THREADS))
        scratch = numpy.dtype(kernel.dtype).itemsize * block.splits * kernel.units
    return DeviceSource(
        kernel.name,
        "\n".join(text) + "\n",
        kernel.pointers,
        tuple(stages),
        scratch,
        kernel.dtype,
        wide,
        max_rows=max_rows(kernel, block),
    )


def _stage(kernel: ProductKernel, block: BlockTile) -> Stage:
    columns = -(-kernel.units // block.columns)
    pieces, share = (row_blocks(kernel, block), 1) if kernel.batched else (1, block.rows)
    return Stage(
        kernel.name, block.threads, pieces, share, columns, block.splits, resident=resident_blocks(block)
    )


def finishing_source(kernel: ProductKernel) -> DeviceSource:
    """The epilogue alone, of sums (with the bias) that a library has put into scratch memory."""
    stage = Stage(kernel.name, _SUMMING_THREADS, _elements(kernel), _SUMMING_THREADS)
    scratch = numpy.dtype(kernel.dtype).itemsize * _elements(kernel)
    text = _summed(kernel, kernel.name, "scratch[place]", 0)
    limit = (2**32 - 1) // _elements(kernel)
    return DeviceSource(
        kernel.name,
        "\n".join(text) + "\n",
        kernel.pointers,
        (stage,),
        scratch,
        kernel.dtype,
        max_rows=limit,
    )


def _elements(kernel: ProductKernel) -> int:
    """Of the result, for each row of a launch."""
    return kernel.units * (kernel.height if kernel.batched else 1)


def _sum_name(kernel: ProductKernel) -> str:
    return f"{kernel.name}_sum"


def _summed(kernel: ProductKernel, name: str, start: str, splits: int) -> list[str]:
    """A thread for each element; see NOTE [order of additions]."""
    units, whole = f"uint32({kernel.units})", f"uint32({_elements(kernel)})"
    rows = f" % uint32({kernel.height})" if kernel.batched else ""
    body = [
        *([f"matrix = place // {whole}"] if kernel.batched else []),
        f"r = place // {units}{rows}",
        f"c = place % {units}",
        f"{kernel.accumulator} = {start}",
        *([f"for split in range({splits}):"] if splits else []),
        *([f"    {kernel.accumulator} += scratch[uint32(split) * rows * {units} + place]"] if splits else []),
        *epilogue(kernel),
        f"out[place] = {stored(kernel)}",
    ]
    return [
        head(kernel, name, scratch=True),
        f"    place = uint32(cuda.blockIdx.x) * uint32({_SUMMING_THREADS}) + uint32(cuda.threadIdx.x)",
        f"    if place < rows * {whole}:",
        *indented(2, body),
    ]
