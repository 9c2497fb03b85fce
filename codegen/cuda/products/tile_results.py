"""The end of a product in tiles: sums go through shared memory, and are finished and stored by neighbouring threads."""

from __future__ import annotations

from blockfuse.codegen.cuda.products.elements import (
    QUAD,
    finished,
    inside,
    storage,
    target,
)
from blockfuse.codegen.cuda.products.tile_geometry import added_to, column_of_thread, piece_rows, warp_pieces
from blockfuse.codegen.cuda.source.addresses import array_type, guarded
from blockfuse.codegen.kernels.product_cuts import BlockTile
from blockfuse.codegen.kernels.product_kernels import ProductKernel
from blockfuse.codegen.kernels.source_lines import indented


def finish_lines(kernel: ProductKernel, block: BlockTile, part: int) -> list[str]:
    """Piece number ``part`` of every thread: into shared memory, then element by element out of it."""
    down, across = warp_pieces(block)
    warps = block.columns // block.width // across
    tall = piece_rows(block)
    line = (
        f"(warp // uint32({warps}) * uint32({down}) + lane // uint32({across})) * uint32({tall}) + uint32(i)"
    )
    wide = kernel.units % QUAD == 0
    count = tall * block.width // (QUAD if wide else 1)
    return [
        "cuda.syncthreads()",
        f"for i in range({tall}):",
        f"    for j in range({block.width}):",
        f"        p = ({line}) * uint32({block.columns}) + across + {column_of_thread(block)}",
        f"        memory[p] = total[{added_to('i * ' + str(block.width) + ' + j', part * tall * block.width)}]",
        "cuda.syncthreads()",
        *(
            [f"done = cuda.local.array({QUAD}, {array_type(storage(kernel, block))})"]
            if wide and not part
            else []
        ),
        f"for n in range({count}):",
        *indented(1, _elements(kernel, block, part, QUAD if wide else 1)),
    ]


def _elements(kernel: ProductKernel, block: BlockTile, part: int, width: int) -> list[str]:
    """``width`` neighbours finished and stored."""
    lanes, tall = warp_pieces(block)[0], piece_rows(block)
    columns, lines_of_warp = f"uint32({block.columns})", f"uint32({lanes * tall})"
    return [
        f"place = (thread + uint32(n * {block.threads})) * uint32({width})",
        f"line = place // {columns}",
        f"r = row + line // {lines_of_warp} * uint32({lanes * block.height})"
        + added_to(f" + line % {lines_of_warp}", part * lanes * tall, "uint32({})"),
        f"c = column + place % {columns}",
        *guarded(inside(kernel, block), _four(kernel, block) if width == QUAD else _one(kernel, block)),
    ]


def _one(kernel: ProductKernel, block: BlockTile) -> list[str]:
    text, result = finished(kernel, block)
    pointer, where = target(kernel, block)
    return [f"{kernel.accumulator} = memory[place]", *text, f"{pointer}[{where}] = {result}"]


def _four(kernel: ProductKernel, block: BlockTile) -> list[str]:
    text, result = finished(kernel, block)
    pointer, where = target(kernel, block)
    return [
        "corner = c",
        f"for e in range({QUAD}):",
        "    c = corner + uint32(e)",
        f"    {kernel.accumulator} = memory[place + uint32(e)]",
        *indented(1, text),
        f"    done[e] = {result}",
        "c = corner",
        f"stv4({pointer}, uint32({where}), {', '.join(f'done[{e}]' for e in range(QUAD))})",
    ]
