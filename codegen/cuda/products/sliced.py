"""A product of a few rows for each block: a walk over the weight that many threads share.

NOTE [slices]
What counts is how much of the weight is under way. Each thread takes four columns and four lines of the weight, then the
four that lie ``4 * slices`` lines below, and fetches all of them before it multiplies. Its sums, for all rows of the block,
meet those of the other slices in shared memory, and are added up in order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy

from blockfuse.codegen.cuda.products.elements import (
    QUAD,
    block_position,
    clamped,
    finished,
    head,
    index_type,
    inside,
    last_row,
    offset,
    right_offset,
    start,
    steps_of_split,
    target,
)
from blockfuse.codegen.cuda.products.tile_choice import SLICED_THREADS
from blockfuse.codegen.cuda.source.addresses import guarded
from blockfuse.codegen.kernels.product_cuts import BlockTile
from blockfuse.codegen.kernels.product_kernels import ProductKernel
from blockfuse.codegen.kernels.source_lines import indented

_ROWS_ALONE = 4  # with them 16 KiB are shared


def sliced(kernel: ProductKernel, block: BlockTile, wide: bool) -> list[str]:
    """See NOTE [slices]. wide: four neighbours in a row of the left operand are read at once."""
    body = [
        *arrays(kernel.dtype, block.rows, block.slices * block.columns),
        *block_position(kernel, block),
        *piece_of_thread(block.columns),
        *right_offset(kernel, block),
        *_range(kernel, block),
        *walk(
            kernel,
            block.rows,
            block.slices,
            lambda count: _left(kernel, block, wide and count == QUAD, count),
        ),
        *exchanged(block.rows, block.columns),
        *elements(block.rows * block.columns, block.threads, _element(kernel, block)),
    ]
    return [head(kernel, kernel.name, block.splits > 1), *indented(1, body)]


def block_alone(kernel: ProductKernel, block: BlockTile) -> BlockTile:
    """The block for one that does the whole product: no more slices than have something to do, and little shared memory."""
    slices = next(n for n in (8, 16, 32, 64) if n == 64 or QUAD * n >= kernel.inner)
    rows = min(kernel.height or _ROWS_ALONE, _ROWS_ALONE * 4 // numpy.dtype(kernel.dtype).itemsize)
    return BlockTile(rows, QUAD * SLICED_THREADS // slices, block.panel, rows, QUAD, 1, slices)


def arrays(dtype: str, rows: int, columns: int) -> list[str]:
    """columns: of all slices together."""
    return [
        f"parts = cuda.shared.array({rows * columns}, {dtype}, alignment=16)",
        f"total = cuda.local.array({rows * QUAD}, {dtype})",
        f"a = cuda.local.array({QUAD}, {dtype})",
        f"b = cuda.local.array({QUAD * QUAD}, {dtype})",
    ]


def piece_of_thread(columns: int) -> list[str]:
    """Which slice a thread belongs to, and its first column."""
    pieces = f"uint32({columns // QUAD})"
    return [f"right_step = thread // {pieces}", f"right_column = thread % {pieces} * uint32({QUAD})"]


def walk(kernel: ProductKernel, rows: int, slices: int, left: Callable[[int], list[str]]) -> list[str]:
    """A thread's way from ``k`` to ``end``: its sums of all rows.

    left: what puts so many elements of row ``i`` of the block, from ``k`` on, into ``a``.
    """
    text = [
        f"for i in range({rows * QUAD}):",
        f"    total[i] = {kernel.dtype}(0.0)",
        f"while k + uint32({QUAD - 1}) < end:",
        *indented(1, _steps(kernel, rows, QUAD, left)),
        f"    k = uint32(k + uint32({QUAD * slices}))",
    ]
    if kernel.inner % QUAD:  # no whole four is left for one slice
        text += [
            "while k < end:",
            *indented(1, _steps(kernel, rows, 1, left)),
            "    k = uint32(k + uint32(1))",
        ]
    return text


def exchanged(rows: int, columns: int) -> list[str]:
    """The sums of a thread where all others find them."""
    return [
        f"for i in range({rows}):",
        f"    for j in range({QUAD}):",
        f"        p = (right_step * uint32({rows}) + uint32(i)) * uint32({columns}) + right_column",
        f"        parts[p + uint32(j)] = total[i * {QUAD} + j]",
        "cuda.syncthreads()",
    ]


def elements(count: int, threads: int, text: list[str]) -> list[str]:
    """``text`` for every element of the block, each at its index ``place``."""
    return [
        "place = thread",
        f"while place < uint32({count}):",
        *indented(1, text),
        f"    place = uint32(place + uint32({threads}))",
    ]


def added(kernel: ProductKernel, count: int, slices: int) -> list[str]:
    """The sums of all slices for one of ``count`` elements, the first slice first."""
    return [
        f"for s in range({slices}):",
        f"    {kernel.accumulator} += parts[uint32(s * {count}) + place]",
    ]


def _range(kernel: ProductKernel, block: BlockTile) -> list[str]:
    """The first step ``k`` of a thread, and where those of its block end."""
    if block.splits == 1:
        return [f"k = uint32(right_step * uint32({QUAD}))", f"end = uint32({kernel.inner})"]
    return [
        *steps_of_split(-(-kernel.inner // QUAD), block),
        f"k = uint32((first + right_step) * uint32({QUAD}))",
        f"end = {clamped(f'beyond * uint32({QUAD})', kernel.inner)}",
    ]


def _steps(kernel: ProductKernel, rows: int, count: int, left: Callable[[int], list[str]]) -> list[str]:
    """``count`` steps from ``k`` on: all lines of the weight first, then row by row."""
    names = ", ".join(f"b[u * {QUAD} + {c}]" for c in range(QUAD))
    right = f"right_place + (k + uint32(u)) * uint32({kernel.block.panel})"
    return [
        f"for u in range({count}):",
        f"    {names} = ldv4({kernel.right.name}, uint32({right}))",
        f"for i in range({rows}):",
        *indented(1, left(count)),
        f"    for u in range({count}):",
        f"        for j in range({QUAD}):",
        f"            total[i * {QUAD} + j] += a[u] * b[u * {QUAD} + j]",
    ]


def _left(kernel: ProductKernel, block: BlockTile, wide: bool, count: int) -> list[str]:
    """``count`` elements of row ``i`` of the left operand."""
    row = f"r = {clamped('row + uint32(i)', last_row(kernel, block))}"
    left = offset(("matrix", "r", "k") if kernel.batched else ("r", "k"), (*kernel.left.strides, 1))
    if wide:
        fours = ", ".join(f"a[{u}]" for u in range(QUAD))
        return [row, f"{fours} = ldv4({kernel.left.name}, uint32({left}))"]
    element = f"{kernel.left.name}[{left} + {index_type(kernel.left)}(u)]"
    return [row, f"for u in range({count}):", f"    a[u] = {element}"]


def _element(kernel: ProductKernel, block: BlockTile) -> list[str]:
    """One element of the block: the sums of all slices, then the epilogue."""
    columns = f"uint32({block.columns})"
    text, result = finished(kernel, block)
    pointer, where = target(kernel, block)
    body = [
        f"{kernel.accumulator} = {start(kernel, block)}",
        *added(kernel, block.rows * block.columns, block.slices),
        *text,
        f"{pointer}[{where}] = {result}",
    ]
    return [
        f"r = row + place // {columns}",
        f"c = column + place % {columns}",
        *guarded(inside(kernel, block), body),
    ]
