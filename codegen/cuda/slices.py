"""A product of a few rows for each block: a walk over the weight that many threads share.

NOTE [slices]
What counts is how much of the weight is under way. Each thread takes four columns and every ``slices``-th line of the
weight, with several fetches before it multiplies; its sums, for all rows of the block, meet those of the other slices in
shared memory, and are added up in order.
"""

from __future__ import annotations

from blockfuse.codegen.cuda.elements import (
    QUAD,
    block_place,
    clamped,
    finished,
    guarded,
    head,
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

_AHEAD = 4  # fetches of the weight under way in each thread


def sliced(kernel: ProductKernel, block: BlockTile) -> list[str]:
    """See NOTE [slices]."""
    dtype, rows, pieces = kernel.dtype, block.rows, block.columns // QUAD
    body = [
        f"parts = cuda.shared.array({block.slices * rows * block.columns}, {dtype}, alignment=16)",
        f"total = cuda.local.array({rows * QUAD}, {dtype})",
        f"b = cuda.local.array({_AHEAD * QUAD}, {dtype})",
        *block_place(kernel, block),
        f"right_step = thread // uint32({pieces})",
        f"right_column = thread % uint32({pieces}) * uint32({QUAD})",
        *right_place(kernel, block),
        f"for i in range({rows * QUAD}):",
        f"    total[i] = {dtype}(0.0)",
        *steps_of_split(kernel.inner, block),
        "k = uint32(first + right_step)",
        f"while k + uint32({(_AHEAD - 1) * block.slices}) < beyond:",
        *lines(1, _turn(kernel, block, _AHEAD)),
        "while k < beyond:",
        *lines(1, _turn(kernel, block, 1)),
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


def _turn(kernel: ProductKernel, block: BlockTile, count: int) -> list[str]:
    """``count`` lines of the weight, all of them fetched before the first is multiplied."""
    step = f"(k + uint32(u * {block.slices}))"
    names = ", ".join(f"b[u * {QUAD} + {c}]" for c in range(QUAD))
    indices = ("matrix", "r", step) if kernel.batched else ("r", step)
    return [
        f"for u in range({count}):",
        f"    {names} = ldv4({kernel.right.name}, uint32(right_place + {step} * uint32({block.panel})))",
        f"for u in range({count}):",
        f"    for i in range({block.rows}):",
        f"        r = {clamped('row + uint32(i)', last_row(kernel, block))}",
        f"        a = {kernel.left.name}[{place(indices, (*kernel.left.strides, 1))}]",
        f"        for j in range({QUAD}):",
        f"            total[i * {QUAD} + j] += a * b[u * {QUAD} + j]",
        f"k = uint32(k + uint32({count * block.slices}))",
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
