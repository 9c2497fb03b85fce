"""How a product is cut: into tiles for the registers of a processor, or for blocks of threads of a device."""

from __future__ import annotations

from dataclasses import dataclass

MAX_FETCH = 4  # tiles that share a panel, a power of two: NOTE [fetching ahead]
NEAR_WEIGHT_BYTES = 1 << 17  # of a weight that stays in the second-level cache beside what passes
MATRIX_ROWS = 32  # of a tile of two by two registers of matrices: NOTE [matrix tiles]
MAX_SUM_STEPS = 400  # of the inner axis in one sum: see NOTE [the tile]
SUM_STEPS = 8  # what the steps of one of several sums are a multiple of, and so of every stride: the same sums for all


def steps_of_sums(inner: int) -> int:
    """Steps of one of the sums of equal length that a long inner axis is summed in; the last one may be shorter."""
    whole = inner - inner % SUM_STEPS
    return -(-whole // (-(-whole // MAX_SUM_STEPS) * SUM_STEPS)) * SUM_STEPS


@dataclass(frozen=True)
class ProductTile:
    """What a tile of registers computes at a time."""

    rows: int
    panels: int
    panel: int  # columns of each
    unroll: int  # steps along the inner axis
    # of how many tiles that pass a panel each fetches a share of the next one: NOTE [fetching ahead]; 0: none does
    fetch: int = 0


@dataclass(frozen=True)
class RegisterTiles:
    """How a product is cut for a processor."""

    # one tile; or, where only a launch knows how many rows there are, the tallest one and those for what it leaves over
    tiles: tuple[ProductTile, ...]
    by_panels: bool = False  # a launch walks groups of panels instead of rows, of which there are few
    # rows that pass all panels before the next ones do, so that they stay in the second-level cache; 0: all rows
    block: int = 0
    # where this is not 0: as many rows do so for the steps of one sum, then for the next ones: NOTE [long inner axes]
    sliced: int = 0

    @property
    def panel(self) -> int:
        """Columns of a panel of the weight."""
        return self.tiles[0].panel


@dataclass(frozen=True)
class BlockTile:
    """How a product is cut for a device."""

    rows: int  # of the result, for each block of threads
    columns: int
    panel: int  # columns of a panel of the weight
    height: int  # rows for each thread
    width: int  # columns for each thread
    depth: int = 8  # steps of the inner axis that lie in shared memory at a time
    # where it is not 0, nothing is shared: so many threads take turns along the inner axis, for all rows, and their sums
    # are added up at the end
    slices: int = 0
    splits: int = 1  # blocks that share the inner axis; their sums are added up by a launch of its own

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.rows * self.columns // (self.height * self.width) * max(1, self.slices)
