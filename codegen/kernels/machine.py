"""What a scheduler must know of the machine, and nothing more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from blockfuse.codegen.kernels.product_cuts import BlockTile


@dataclass(frozen=True)
class ProductShape:
    """A product as the choice of a tile sees it."""

    matrices: int  # of a stack
    height: int  # rows of each matrix; 0: any number
    inner: int
    units: int
    panel: int  # columns of a panel of the weight
    dtype: str


@dataclass(frozen=True)
class Machine:
    """What kernels are made for."""

    vector_bytes: int  # width of a vector; 0: there are none, see ``ir.passes.products``
    accumulators: int  # vector registers that a product tile may fill
    features: str  # the instruction sets, as LLVM names them, for the cache key
    threads: int = 1  # that a launch may use
    name: str = ""
    second_level_bytes: int = 1 << 20  # of the cache that each core has to itself
    min_nontemporal_bytes: int = 0  # from what size on a result is written past the caches; 0: never
    # whether programs write updates to parameters themselves; else their values are results, for the caller to write
    writes_updates: bool = True
    # the form to which weights of products are narrowed that are known before a call: NOTE [narrow weights]
    weights: str = "float32"
    # whether it has registers of matrices, for products of bfloat16: NOTE [matrix tiles]
    matrix_tiles: bool = False
    # how a device cuts a product for blocks of threads
    block_tile: Callable[[ProductShape], BlockTile] | None = None

    def lanes(self, itemsize: int) -> int:
        return self.vector_bytes // itemsize
