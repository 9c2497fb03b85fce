"""A product as register tiles over shared memory.

NOTE [the block]
A block of threads makes ``block.rows`` x ``block.columns`` elements of the result. Step by step along the inner axis its
threads fetch ``depth`` columns of the left operand and ``depth`` lines of the weight into registers, while they multiply
what the step before has put into shared memory; two halves of that memory take turns, so that one barrier a step is enough.
Each thread holds ``height`` x ``width`` sums in registers, in pieces of 4 x 4: neighbours read neighbouring pieces, without
conflicts between the banks of shared memory. The columns of the left operand are padded by 4 for the same reason.

At the end the sums go through shared memory, a piece of each thread at a time, so that neighbouring threads finish and store
neighbouring elements: the source of the epilogue stands in a loop, however long it is, and no array is indexed by what only
the running kernel knows, which would put it into slow memory.
"""

from __future__ import annotations

from blockfuse.codegen.cuda.products.elements import (
    QUAD,
    block_position,
    clamped,
    head,
    index_type,
    last_column,
    last_row,
    offset,
    right_offset,
    start,
    steps_of_split,
)
from blockfuse.codegen.cuda.products.tile_geometry import (
    added_to,
    column_of_thread,
    left_fetches,
    left_line,
    piece_rows,
    right_fetches,
    row_of_thread,
    shared_elements,
    warp_pieces,
)
from blockfuse.codegen.cuda.products.tile_results import finish_lines
from blockfuse.codegen.cuda.source.addresses import array_type
from blockfuse.codegen.kernels.product_cuts import BlockTile
from blockfuse.codegen.kernels.product_kernels import ProductKernel
from blockfuse.codegen.kernels.source_lines import indented

# of a thread, which the compiler gets in one piece: more of them it leaves in a loop
_UNROLLED_MULTIPLICATIONS = 64


def tiled(kernel: ProductKernel, block: BlockTile, wide: bool) -> list[str]:
    """See NOTE [the block]. wide: four neighbours in a row of the left operand are read at once."""
    width = QUAD if wide else 1
    body = [
        *_declarations(kernel, block, width),
        *block_position(kernel, block),
        *_thread_position(block),
        *_left_offsets(kernel, block, width),
        *_right_offsets(kernel, block),
        *_start(kernel, block),
        *steps_of_split(-(-kernel.inner // block.depth), block),
        *_fetch(kernel, block, "first", width),
        *_put(block, "first", width),
        "step = first",
        "while step < beyond:",
        *indented(1, _step(kernel, block, width)),
        *(
            line
            for part in range(block.height // piece_rows(block))
            for line in finish_lines(kernel, block, part)
        ),
    ]
    return [head(kernel, kernel.name, block.splits > 1), *indented(1, body)]


# -- before the loop -----------------------------------------------------------------------------------------


def _declarations(kernel: ProductKernel, block: BlockTile, width: int) -> list[str]:
    dtype, fetches = kernel.dtype, left_fetches(block, width)
    return [
        f"memory = cuda.shared.array({shared_elements(block)}, {dtype}, alignment=16)",
        f"total = cuda.local.array({block.height * block.width}, {dtype})",
        f"a = cuda.local.array({block.height}, {dtype})",
        f"b = cuda.local.array({block.width}, {dtype})",
        f"left = cuda.local.array({width * fetches}, {dtype})",
        f"right = cuda.local.array({QUAD * right_fetches(block)}, {dtype})",
        f"left_place = cuda.local.array({fetches}, {array_type(index_type(kernel.left))})",
    ]


def _thread_position(block: BlockTile) -> list[str]:
    """Where a thread's first piece stands in the block."""
    down, across = warp_pieces(block)
    warps = block.columns // block.width // across
    return [
        f"warp = thread // uint32({down * across})",
        f"lane = thread % uint32({down * across})",
        f"down = warp // uint32({warps}) * uint32({down * block.height})"
        f" + lane // uint32({across}) * uint32({piece_rows(block)})",
        f"across = warp % uint32({warps}) * uint32({across * block.width})"
        f" + lane % uint32({across}) * uint32({QUAD})",
    ]


def _left_offsets(kernel: ProductKernel, block: BlockTile, width: int) -> list[str]:
    """Which elements of the left operand a thread fetches: ``width`` of every so many rows."""
    across = block.depth // width
    row = f"row + left_row + uint32(n * {block.threads // across})"
    indices = ("matrix", "r", "left_step") if kernel.batched else ("r", "left_step")
    step = f"thread % uint32({across})"
    return [
        f"left_row = thread // uint32({across})",
        f"left_step = {step} * uint32({width})" if width > 1 else f"left_step = {step}",
        f"for n in range({left_fetches(block, width)}):",
        f"    r = {clamped(row, last_row(kernel, block))}",
        f"    left_place[n] = {offset(indices, (*kernel.left.strides, 1))}",
    ]


def _right_offsets(kernel: ProductKernel, block: BlockTile) -> list[str]:
    """Which elements of the weight a thread fetches: four of every ``4 threads / columns``-th line."""
    pieces = block.columns // QUAD
    return [
        f"right_step = thread // uint32({pieces})",
        f"right_column = thread % uint32({pieces}) * uint32({QUAD})",
        *right_offset(kernel, block),
        f"right_place = uint32(right_place + right_step * uint32({block.panel}))",
    ]


def _start(kernel: ProductKernel, block: BlockTile) -> list[str]:
    column = clamped(f"column + across + {column_of_thread(block)}", last_column(kernel, block))
    return [
        f"for j in range({block.width}):",
        f"    begin = {start(kernel, block, column)}",
        f"    for i in range({block.height}):",
        f"        total[i * {block.width} + j] = begin",
    ]


# -- the loop ------------------------------------------------------------------------------------------------


def _fetch(kernel: ProductKernel, block: BlockTile, step: str, width: int) -> list[str]:
    """Step number ``step`` of both operands into registers."""
    left = f"{kernel.left.name}[left_place[n] + {index_type(kernel.left)}(k)]"
    if width == QUAD:
        left = f"ldv4({kernel.left.name}, uint32(left_place[n] + k))"
    line = f"uint32(n * {QUAD * block.threads // block.columns})"
    right = f"ldv4({kernel.right.name}, uint32(right_place + (k + {line}) * uint32({block.panel})))"
    conditions = ["", ""]
    if kernel.inner % block.depth:
        conditions = [f"k + {s} < uint32({kernel.inner})" for s in ("left_step", f"right_step + {line}")]
    return [
        f"k = {step} * uint32({block.depth})",
        f"for n in range({left_fetches(block, width)}):",
        *indented(1, _read_if(conditions[0], _neighbours("left", width), left, kernel.dtype)),
        f"for n in range({right_fetches(block)}):",
        *indented(1, _read_if(conditions[1], _neighbours("right", QUAD), right, kernel.dtype)),
    ]


def _neighbours(name: str, count: int) -> list[str]:
    """Piece number ``n`` of an array."""
    if count == 1:
        return [f"{name}[n]"]
    return [f"{name}[{added_to(f'n * {count}', e)}]" for e in range(count)]


def _read_if(condition: str, names: list[str], value: str, dtype: str) -> list[str]:
    """Zeros where the condition does not hold: what lies there could be a nan."""
    read = f"{', '.join(names)} = {value}"
    if not condition:
        return [read]
    return [
        f"if {condition}:",
        *indented(1, [read]),
        "else:",
        *indented(1, [f"{n} = {dtype}(0.0)" for n in names]),
    ]


def _left_half(block: BlockTile) -> str:
    """Where the half that belongs to a step begins."""
    return f"half * uint32({block.depth * left_line(block)})"


def _right_half(block: BlockTile) -> str:
    return f"uint32({2 * block.depth * left_line(block)}) + half * uint32({block.depth * block.columns})"


def _put(block: BlockTile, step: str, width: int) -> list[str]:
    """What was fetched into the half of shared memory that belongs to the step."""
    line = f"(left_step + uint32(e)) * uint32({left_line(block)})"
    apart = width * block.threads // block.depth
    left = f"memory[{_left_half(block)} + {line} + left_row + uint32(n * {apart})]"
    right = f"{_right_half(block)} + right_step * uint32({block.columns}) + right_column"
    return [
        f"half = {step} % uint32(2)",
        f"for n in range({left_fetches(block, width)}):",
        f"    for e in range({width}):",
        f"        {left} = left[n * {width} + e]",
        f"for n in range({right_fetches(block)}):",
        f"    for e in range({QUAD}):",
        f"        memory[{right} + uint32(n * {QUAD * block.threads} + e)] = right[n * {QUAD} + e]",
        "cuda.syncthreads()",
    ]


def _step(kernel: ProductKernel, block: BlockTile, width: int) -> list[str]:
    """One step multiplied and added, while the next is on its way."""
    unroll = min(block.depth, max(2, _UNROLLED_MULTIPLICATIONS // (block.height * block.width)))
    left = f"{_left_half(block)} + k * uint32({left_line(block)}) + down + {row_of_thread(block)}"
    right = f"{_right_half(block)} + k * uint32({block.columns}) + across + {column_of_thread(block)}"
    return [
        "half = step % uint32(2)",
        "ahead = uint32(step + uint32(1))",
        "if ahead < beyond:",
        *indented(1, _fetch(kernel, block, "ahead", width)),
        f"for group in range({block.depth // unroll}):",
        f"    for u in range({unroll}):",
        f"        k = uint32(group * {unroll} + u)",
        f"        for i in range({block.height}):",
        f"            a[i] = memory[{left}]",
        f"        for j in range({block.width}):",
        f"            b[j] = memory[{right}]",
        f"        for i in range({block.height}):",
        f"            for j in range({block.width}):",
        f"                total[i * {block.width} + j] += a[i] * b[j]",
        "if ahead < beyond:",
        *indented(1, _put(block, "ahead", width)),
        "step = ahead",
    ]
