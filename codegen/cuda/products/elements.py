"""Pieces of a product's source: which rows and columns a block has, offsets of elements, and the epilogue of one element.

NOTE [edges]
Rows and columns beyond the result are clamped to the last ones where operands are read, so that the loop needs no guards;
only stores are guarded, and reads along the inner axis where ``depth`` does not divide it. The weight begins at an address
that is a multiple of 16 bytes, as do the result and scratch memory; other operands may begin anywhere.
"""

from __future__ import annotations

from blockfuse.codegen.cuda.source.addresses import read
from blockfuse.codegen.cuda.source.addresses import stored as stored_as
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.product_cuts import BlockTile
from blockfuse.codegen.kernels.product_kernels import ChainKernel, ProductKernel
from blockfuse.codegen.kernels.source_lines import assignment, variable
from blockfuse.ir.errors import NoDeviceKernelError

_RESIDENT_THREADS = 512  # of a multiprocessor, with up to 128 registers each: some work while the others wait
QUAD = 4  # neighbours that a thread fetches, multiplies and stores


def head(kernel: ProductKernel | ChainKernel, name: str, scratch: bool) -> str:
    """The first line; its comment keeps apart kernels that differ in nothing but the dtypes they read."""
    names, dtypes = zip(*kernel.pointers, strict=True)
    taken = [*names, *(["scratch"] if scratch else []), "rows"]
    return f"def {name}({', '.join(taken)}):  # {', '.join(dtypes[:-1])} -> {dtypes[-1]}"


def resident_blocks(block: BlockTile) -> int:
    """How many blocks must fit on a multiprocessor at once."""
    return max(1, _RESIDENT_THREADS // block.threads)


# -- where a block stands ------------------------------------------------------------------------------------


def row_blocks(kernel: ProductKernel, block: BlockTile) -> int:
    """Blocks from the top to the bottom of one matrix of a stack."""
    return -(-kernel.height // block.rows)


def block_position(kernel: ProductKernel, block: BlockTile) -> list[str]:
    """The matrix, the first row and the first column of a block."""
    block_index, rows = "uint32(cuda.blockIdx.x)", f"uint32({block.rows})"
    text = [f"row = {block_index} * {rows}"]
    if kernel.batched:
        count = f"uint32({row_blocks(kernel, block)})"
        text = [f"matrix = {block_index} // {count}", f"row = {block_index} % {count} * {rows}"]
    column = f"column = uint32(cuda.blockIdx.y) * uint32({block.columns})"
    return ["thread = uint32(cuda.threadIdx.x)", *text, column]


def right_offset(kernel: ProductKernel, block: BlockTile) -> list[str]:
    """Where four columns, from ``right_column`` of the block on, begin in the weight: panels lie one behind the other."""
    panels = -(-kernel.units // block.panel)
    width, panel = panels * block.panel, f"uint32({block.panel})"
    column = clamped("column + right_column", width - QUAD if width % block.columns else None)
    where = f"c // {panel} * uint32({kernel.inner * block.panel}) + c % {panel}" if panels > 1 else "c"
    if kernel.batched:
        where = f"{offset(('matrix',), kernel.right.strides)} + {where}"
    return [f"c = {column}", f"right_place = {where}"]


def steps_of_split(steps: int, block: BlockTile) -> list[str]:
    """What a block does of ``steps`` along the inner axis: from ``first`` to ``beyond``, exclusive."""
    if block.splits == 1:
        return ["first = uint32(0)", f"beyond = uint32({steps})"]
    each = -(-steps // block.splits)
    return [
        f"first = {clamped(f'uint32(cuda.blockIdx.z) * uint32({each})', steps)}",
        f"beyond = {clamped(f'first + uint32({each})', steps)}",
    ]


# -- edges ---------------------------------------------------------------------------------------------------


def rows_of(kernel: ProductKernel) -> str:
    """How many rows a matrix has."""
    return f"uint32({kernel.height})" if kernel.batched else "rows"


def last_row(kernel: ProductKernel, block: BlockTile) -> str | None:
    """The last row, where a block may reach beyond it."""
    if kernel.height and kernel.height % block.rows == 0:
        return None
    return str(kernel.height - 1) if kernel.batched else "rows - uint32(1)"


def last_column(kernel: ProductKernel, block: BlockTile) -> int | None:
    return kernel.units - 1 if kernel.units % block.columns else None


def clamped(index: str, last: str | int | None) -> str:
    return index if last is None else f"minimum(uint32({index}), uint32({last}))"


def inside(kernel: ProductKernel, block: BlockTile) -> str:
    """The condition under which row ``r`` and column ``c`` are of the result; empty where they always are."""
    conditions = [f"r < {rows_of(kernel)}"] * (last_row(kernel, block) is not None)
    conditions += [f"c < uint32({kernel.units})"] * (last_column(kernel, block) is not None)
    return " and ".join(conditions)


# -- offsets ------------------------------------------------------------------------------------------------


def index_type(access: Access) -> str:
    """The type of offsets in an operand: the stride of a reversed axis is negative."""
    return "int64" if min(access.strides, default=0) < 0 else "uint32"


def is_wide(kernel: ProductKernel, block: BlockTile) -> bool:
    """Whether threads can share out the rows of the left operand in fours that are aligned if its pointer is."""
    if not block.slices and block.rows * block.depth % (QUAD * block.threads):
        return False
    return kernel.inner % QUAD == 0 and all(s >= 0 and s % QUAD == 0 for s in kernel.left.strides)


def offset(indices: tuple[str, ...], strides: tuple[int, ...]) -> str:
    """The sum of index times stride, without what is zero."""
    kind = "int64" if min(strides, default=0) < 0 else "uint32"
    typed = indices if kind == "uint32" else tuple(f"int64({i})" for i in indices)
    terms = [i if s == 1 else f"{i} * {kind}({s})" for i, s in zip(typed, strides, strict=True) if s]
    return " + ".join(terms) or "uint32(0)"


def max_rows(kernel: ProductKernel, block: BlockTile) -> int:
    """For how many rows (or matrices) 32 bits count all offsets; raises NoDeviceKernelError where for none."""
    stack = (kernel.height,) if kernel.batched else ()
    weight = -(-kernel.units // block.panel) * block.panel * kernel.inner
    walks = [
        ((*kernel.left.strides, 1), (*stack, kernel.inner)),
        ((*(kernel.right.strides or (0,)), 1), (weight,)),
        ((kernel.units * block.splits, 1), (kernel.units,)),
        *((access.strides, (*stack, kernel.units)) for access in (*kernel.loads, kernel.store)),
    ]
    limit = min(_max_rows(strides, extents) for strides, extents in walks)
    if limit < 1:
        raise NoDeviceKernelError(
            f"a product with a weight of {kernel.inner} x {kernel.units} has places beyond 2**32"
        )
    return limit


def _max_rows(strides: tuple[int, ...], extents: tuple[int, ...]) -> int:
    """For a walk from row to row by the first stride, and in a row by the others."""
    across, *inner = map(abs, strides)
    reach = sum(stride * (extent - 1) for stride, extent in zip(inner, extents, strict=True))
    return (2**32 - 1 - reach) // max(1, across)


# -- one element ---------------------------------------------------------------------------------------------


def start(kernel: ProductKernel, block: BlockTile, column: str = "c") -> str:
    """What the sum of an element begins with; the bias counts once, so the parts of a split begin with zero."""
    if kernel.bias is None or block.splits > 1:
        return f"{kernel.dtype}(0.0)"
    return f"{kernel.bias.name}[{column}]"


def finished(kernel: ProductKernel, block: BlockTile) -> tuple[list[str], str]:
    """What makes a result of the sum at row ``r`` and column ``c``, and the result; a split has none."""
    if block.splits > 1:
        return [], kernel.accumulator
    return epilogue(kernel), stored(kernel)


def epilogue(kernel: ProductKernel) -> list[str]:
    """Loads at row ``r`` and column ``c``, then the statements."""
    loads = []
    for load in kernel.loads:
        indices = ("matrix", "r", "c")[-len(load.strides) :]
        loads.append(f"{variable(load.value)} = {read(load, offset(indices, load.strides))}")
    return loads + [assignment(s) for s in kernel.body]


def stored(kernel: ProductKernel) -> str:
    return stored_as(kernel.result, kernel.store.dtype)


def target(kernel: ProductKernel, block: BlockTile) -> tuple[str, str]:
    """Pointer and offset of the element at row ``r`` and column ``c``; the sums of splits lie one behind the other."""
    if block.splits > 1:
        return "scratch", f"(uint32(cuda.blockIdx.z) * rows + r) * uint32({kernel.units}) + c"
    return "out", offset(("matrix", "r", "c")[-len(kernel.store.strides) :], kernel.store.strides)


def storage(kernel: ProductKernel, block: BlockTile) -> str:
    """The dtype of what is stored."""
    if block.splits > 1:
        return kernel.dtype
    return "uint8" if kernel.store.dtype == "bool" else kernel.store.dtype
