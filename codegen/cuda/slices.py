"""A product of a few rows for each block: a walk over the weight that many threads share.

NOTE [slices]
What counts is how much of the weight is under way. Each thread takes four columns and four lines of the weight, then the
four that lie ``4 * slices`` lines below, and fetches all of them before it multiplies. Its sums, for all rows of the block,
meet those of the other slices in shared memory, and are added up in order.
"""

from __future__ import annotations

from blockfuse.codegen.cuda.elements import (
    QUAD,
    block_place,
    clamped,
    finished,
    guarded,
    head,
    index_type,
    inside,
    last_row,
    lines,
    place,
    right_place,
    start,
    steps_of_split,
    target,
)
from blockfuse.codegen.kernel import BlockTile, ProductKernel


def sliced(kernel: ProductKernel, block: BlockTile, wide: bool) -> list[str]:
    """See NOTE [slices]. wide: four neighbours in a row of the left operand are read at once."""
    dtype, rows, pieces = kernel.dtype, block.rows, block.columns // QUAD
    body = [
        f"parts = cuda.shared.array({block.slices * rows * block.columns}, {dtype}, alignment=16)",
        f"total = cuda.local.array({rows * QUAD}, {dtype})",
        f"a = cuda.local.array({QUAD}, {dtype})",
        f"b = cuda.local.array({QUAD * QUAD}, {dtype})",
        *block_place(kernel, block),
        f"right_step = thread // uint32({pieces})",
        f"right_column = thread % uint32({pieces}) * uint32({QUAD})",
        *right_place(kernel, block),
        f"for i in range({rows * QUAD}):",
        f"    total[i] = {dtype}(0.0)",
        *_range(kernel, block),
        f"while k + uint32({QUAD - 1}) < end:",
        *lines(1, _steps(kernel, block, QUAD, wide)),
        f"    k = uint32(k + uint32({QUAD * block.slices}))",
        *_remaining(kernel, block),
        f"for i in range({rows}):",
        f"    for j in range({QUAD}):",
        f"        p = (right_step * uint32({rows}) + uint32(i)) * uint32({block.columns}) + right_column",
        f"        parts[p + uint32(j)] = total[i * {QUAD} + j]",
        "cuda.syncthreads()",
        "place = thread",
        f"while place < uint32({rows * block.columns}):",
        *lines(1, _element(kernel, block)),
        f"    place = uint32(place + uint32({block.threads}))",
    ]
    return [head(kernel, kernel.name, block.splits > 1), *lines(1, body)]


def _range(kernel: ProductKernel, block: BlockTile) -> list[str]:
    """The first step ``k`` of a thread, and where those of its block end."""
    if block.splits == 1:
        return [f"k = uint32(right_step * uint32({QUAD}))", f"end = uint32({kernel.inner})"]
    return [
        *steps_of_split(-(-kernel.inner // QUAD), block),
        f"k = uint32((first + right_step) * uint32({QUAD}))",
        f"end = {clamped(f'beyond * uint32({QUAD})', kernel.inner)}",
    ]


def _remaining(kernel: ProductKernel, block: BlockTile) -> list[str]:
    """The last steps, where they are no whole four: one slice has them."""
    if kernel.inner % QUAD == 0:
        return []
    return ["while k < end:", *lines(1, _steps(kernel, block, 1, False)), "    k = uint32(k + uint32(1))"]


def _steps(kernel: ProductKernel, block: BlockTile, count: int, wide: bool) -> list[str]:
    """``count`` steps from ``k`` on: all lines of the weight first, then row by row."""
    names = ", ".join(f"b[u * {QUAD} + {c}]" for c in range(QUAD))
    indices = ("matrix", "r", "k") if kernel.batched else ("r", "k")
    left = place(indices, (*kernel.left.strides, 1))
    fours = ", ".join(f"a[{u}]" for u in range(QUAD))
    right = f"right_place + (k + uint32(u)) * uint32({block.panel})"
    read = [f"{fours} = ldv4({kernel.left.name}, uint32({left}))"]
    if not wide:
        read = [
            f"for u in range({count}):",
            f"    a[u] = {kernel.left.name}[{left} + {index_type(kernel.left)}(u)]",
        ]
    return [
        f"for u in range({count}):",
        f"    {names} = ldv4({kernel.right.name}, uint32({right}))",
        f"for i in range({block.rows}):",
        f"    r = {clamped('row + uint32(i)', last_row(kernel, block))}",
        *lines(1, read),
        f"    for u in range({count}):",
        f"        for j in range({QUAD}):",
        f"            total[i * {QUAD} + j] += a[u] * b[u * {QUAD} + j]",
    ]


def _element(kernel: ProductKernel, block: BlockTile) -> list[str]:
    """One element of the block: the sums of all slices, then the epilogue."""
    columns = f"uint32({block.columns})"
    text, result = finished(kernel, block)
    pointer, where = target(kernel, block)
    body = [
        f"{kernel.accumulator} = {start(kernel, block)}",
        f"for s in range({block.slices}):",
        f"    {kernel.accumulator} += parts[uint32(s * {block.rows * block.columns}) + place]",
        *text,
        f"{pointer}[{where}] = {result}",
    ]
    return [
        f"r = row + place // {columns}",
        f"c = column + place % {columns}",
        *guarded(inside(kernel, block), body),
    ]
