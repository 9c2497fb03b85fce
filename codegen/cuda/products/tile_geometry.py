"""Who holds and fetches which elements of a block: see NOTE [the block] in ``tiled.py``."""

from __future__ import annotations

from blockfuse.codegen.cuda.products.elements import QUAD
from blockfuse.codegen.kernels.product_cuts import BlockTile


def left_line(block: BlockTile) -> int:
    """Elements from one step of the left operand to the next in shared memory."""
    return block.rows + QUAD


def left_fetches(block: BlockTile, width: int) -> int:
    """How many pieces of ``width`` a thread fetches of each step of the left operand."""
    return block.rows * block.depth // (width * block.threads)


def right_fetches(block: BlockTile) -> int:
    """How many pieces of four a thread fetches of each step of the weight."""
    return block.columns * block.depth // (QUAD * block.threads)


def piece_rows(block: BlockTile) -> int:
    """Rows of a piece."""
    return min(QUAD, block.height)


def warp_pieces(block: BlockTile) -> tuple[int, int]:
    """How the threads of a warp stand: so many pieces down, and across."""
    across = min(8, block.columns // block.width)
    return min(32 // across, block.rows // block.height), across


def shared_elements(block: BlockTile) -> int:
    """Both halves for both operands; at the end, one piece of each thread."""
    finishing = block.threads * piece_rows(block) * block.width
    return max(2 * block.depth * (left_line(block) + block.columns), finishing)


def added_to(text: str, number: int, form: str = "{}") -> str:
    return f"{text} + {form.format(number)}" if number else text


def row_of_thread(block: BlockTile) -> str:
    """Row number ``i`` of a thread, below its first."""
    return _spread("i", block.height, piece_rows(block), warp_pieces(block)[0])


def column_of_thread(block: BlockTile) -> str:
    """Column number ``j`` of a thread, after its first."""
    return _spread("j", block.width, QUAD, warp_pieces(block)[1])


def _spread(index: str, count: int, piece: int, lanes: int) -> str:
    """Pieces of one thread stand so far apart that those of the other lanes fit between them."""
    if count == piece:
        return f"uint32({index})"
    return f"uint32({index} // {piece} * {piece * lanes} + {index} % {piece})"
