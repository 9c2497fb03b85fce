"""Which block of threads a product gets: the one whose estimated time is least.

NOTE [what a product costs]
The numbers are cycles of one multiprocessor, which multiplies and adds 128 float32 in each. They come from what vendors and
others have published of recent devices, not from runs of these kernels: ``benchmarks/gpu_products.py`` times all candidates
beside these estimates. Only ratios matter, and only roughly: a tile twice as fast wins anyway.

- A block makes ``rows * columns * depth`` products a step. A tile of 8 x 8 sums for each thread reads shared memory four
  times for 64 products and keeps the arithmetic busy; smaller ones wait for shared memory (``Shape.speed``).
- A step cannot be shorter than the way of a fetch and a barrier (``STEP_CYCLES``), whatever it computes, unless other blocks
  of the same multiprocessor fill the gap. So a small product wants many blocks, and threads that share the inner axis.
- A split costs a second launch (``LAUNCH_CYCLES``), and its partial sums are written and read.
- In a sliced product a multiprocessor gets ``WEIGHT_BYTES_PER_CYCLE``, and every row reads the left operand anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy

from blockfuse.codegen.kernels.machine import ProductShape
from blockfuse.codegen.kernels.product_cuts import BlockTile

MULTIPLICATIONS_PER_CYCLE = 128  # of float32
STEP_CYCLES = 700  # from one fetch to the next
BLOCK_CYCLES = 1500  # before the first step and after the last
LAUNCH_CYCLES = 3000  # of a launch that waits for the one before
WEIGHT_BYTES_PER_CYCLE = 48
PARTIAL_BYTES_PER_CYCLE = 2000  # of partial sums, for the whole device
SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
OPEN_ROWS = 1024  # a tile for any number of rows is the best one for so many: fewer take no longer with it than with others


@dataclass(frozen=True)
class Shape:
    """A tile that kernels may have: see ``BlockTile``."""

    rows: int
    columns: int
    height: int
    width: int
    depth: int
    speed: float  # the part of the arithmetic that it keeps busy when it is not waiting


FLOAT32_SHAPES = (
    Shape(128, 128, 8, 8, 8, 0.80),
    Shape(128, 64, 8, 8, 8, 0.75),
    Shape(64, 64, 8, 4, 16, 0.60),
    Shape(32, 64, 4, 4, 16, 0.45),
    Shape(32, 32, 4, 4, 16, 0.45),
    Shape(16, 32, 2, 4, 16, 0.30),
)
FLOAT64_SHAPES = (  # whose registers are twice as wide
    Shape(64, 64, 4, 4, 16, 0.25),
    Shape(32, 32, 4, 4, 16, 0.22),
    Shape(16, 32, 2, 4, 16, 0.15),
)
SLICED_COLUMNS = (16, 32)
SLICED_THREADS = 256
SLICED_BYTES = 32  # of the sums of one column: what slices exchange fits into 48 KiB of shared memory
SLICED_SPEED = 0.5


@dataclass(frozen=True)
class BlockTiling:
    """``Machine.block_tile`` of a device with so many multiprocessors."""

    multiprocessors: int = 132

    def __call__(self, product: ProductShape) -> BlockTile:
        return choose_tile(product, self.multiprocessors)


def choose_tile(product: ProductShape, multiprocessors: int = 132) -> BlockTile:
    """The block of least estimated time, of equals the smallest; see NOTE [what a product costs]."""
    return min(
        candidates(product),
        key=lambda t: (cycles(t, product, multiprocessors), t.rows * t.columns, t.splits),
    )


def candidates(product: ProductShape) -> tuple[BlockTile, ...]:
    """All blocks that a product may get."""
    if not product.height:
        return tuple(_register_tiles(product, (1,)))
    splits = SPLITS if product.matrices == 1 else (1,)
    return *_register_tiles(product, splits), *_slices(product, splits)


def _register_tiles(product: ProductShape, splits: tuple[int, ...]) -> Iterator[BlockTile]:
    for shape in FLOAT32_SHAPES if product.dtype == "float32" else FLOAT64_SHAPES:
        for parts in splits:
            if _divides(parts, -(-product.inner // shape.depth)):
                yield BlockTile(
                    shape.rows,
                    shape.columns,
                    product.panel,
                    shape.height,
                    shape.width,
                    shape.depth,
                    splits=parts,
                )


def _slices(product: ProductShape, splits: tuple[int, ...]) -> Iterator[BlockTile]:
    """Blocks of a few rows."""
    height = min(product.height, SLICED_BYTES // numpy.dtype(product.dtype).itemsize)
    for columns in SLICED_COLUMNS:
        slices = SLICED_THREADS * 4 // columns
        for parts in splits:
            if parts == 1 or product.inner // parts >= slices:
                yield BlockTile(height, columns, product.panel, height, 4, 1, slices, parts)


def _divides(parts: int, steps: int) -> bool:
    """Whether each of the parts gets a step, and no fewer than four where there is more than one."""
    each = -(-steps // parts)
    return parts == 1 or (each >= 4 and -(-steps // each) == parts)


def cycles(tile: BlockTile, product: ProductShape, multiprocessors: int) -> float:
    """The estimate for the busiest multiprocessor, and for what splits cost."""
    product = replace(product, height=product.height or OPEN_ROWS)
    down, across = -(-product.height // tile.rows), -(-product.units // tile.columns)
    blocks = -(-down * across * product.matrices * tile.splits // multiprocessors)
    computed = _sliced_cycles(tile, product, blocks) if tile.slices else _tiled_cycles(tile, product, blocks)
    if tile.splits == 1:
        return computed
    moved = 2 * tile.splits * product.height * product.units * numpy.dtype(product.dtype).itemsize
    return computed + LAUNCH_CYCLES + moved / PARTIAL_BYTES_PER_CYCLE


def _tiled_cycles(tile: BlockTile, product: ProductShape, blocks: int) -> float:
    """``blocks`` of them one after the other, as many at a time as fit."""
    together = min(blocks, max(1, 512 // tile.threads))
    work = (
        together
        * tile.rows
        * tile.columns
        * tile.depth
        / (MULTIPLICATIONS_PER_CYCLE * _speed(tile, product.dtype))
    )
    steps = -(-product.inner // (tile.depth * tile.splits))
    return -(-blocks // together) * (BLOCK_CYCLES + steps * max(work, STEP_CYCLES))


def _speed(tile: BlockTile, dtype: str) -> float:
    shapes = FLOAT32_SHAPES if dtype == "float32" else FLOAT64_SHAPES
    return next(s.speed for s in shapes if (s.rows, s.columns) == (tile.rows, tile.columns))


def _sliced_cycles(tile: BlockTile, product: ProductShape, blocks: int) -> float:
    steps = -(-product.inner // tile.splits)
    fetched = steps * tile.columns * numpy.dtype(product.dtype).itemsize / WEIGHT_BYTES_PER_CYCLE
    work = max(fetched, steps * tile.columns * tile.rows / (MULTIPLICATIONS_PER_CYCLE * SLICED_SPEED))
    together = min(blocks, max(1, 1024 // tile.threads))
    rounds = -(-steps // (4 * tile.slices))
    return -(-blocks // together) * (BLOCK_CYCLES + max(together * work, rounds * STEP_CYCLES))
