"""What a scheduler must know of the machine, and nothing more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from blockfuse.codegen.kernels.product_cuts import BlockTile


@dataclass(frozen=True)
class ProductShape:
    """A product as the choice of a tile sees it.

    A stack of ``matrices`` with ``height`` rows each (0: any number), times a weight in panels of ``panel`` columns.
    """

    matrices: int
    height: int
    inner: int
    units: int
    panel: int
    dtype: str


@dataclass(frozen=True)
class Machine:
    """vector_bytes: width of a vector; 0: there are none, see ``ir.passes.products``. accumulators: vector registers that
    a product tile may fill. features: the instruction sets, as LLVM names them, for the cache key. threads: how many a
    launch may use. stream_bytes: from what size on a result is written past the caches (0: never). block_tile: how a
    device cuts a product for blocks of threads; a CPU cuts it by its registers.
    """

    vector_bytes: int
    accumulators: int
    features: str
    threads: int = 1
    name: str = ""
    stream_bytes: int = 0
    block_tile: Callable[[ProductShape], BlockTile] | None = None

    def lanes(self, itemsize: int) -> int:
        return self.vector_bytes // itemsize
