"""The cost model: how long kernels take by estimate, and what is worth several threads. Nothing is measured at run time.

All times are nanoseconds on one core of some 4 GHz. They need not be right, only in proportion: what hangs on them is which
tile a product gets, whether a step is shared between threads, and whether a strip is worth its memory. No result does.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from blockfuse.codegen.kernels.loop_kernels import MapKernel
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.ir.graph import Graph, Node

CACHE_BANDWIDTH = 64  # bytes of a weight a nanosecond
FAR_BANDWIDTH = CACHE_BANDWIDTH / 6  # the same where no near cache holds it
MATRIX_SPEED = 2.5  # of registers of matrices, as a multiple of that of vectors
DEVICE_FLOPS = 20_000.0  # multiplications and additions a nanosecond of a device
PARALLEL_WORK = 20_000.0  # below this, waking a thread costs more than it saves
AWAKE_WORK = 5_000.0  # above this, threads that are awake may share the work
WORD_NANOSECONDS = 0.5  # of a word of the random stream, with the numbers in it
LINE_ELEMENTS = 64  # threads that write next to each other keep to cache lines of their own


def line_grain(shape: Sequence[int]) -> int:
    return LINE_ELEMENTS if len(shape) == 1 else 1


def cost_of(body: Graph) -> float:
    """For one element: about eight simple vector operations of eight lanes a nanosecond."""
    return (sum(n.operator.lowering.instructions for n in body.nodes) + 2.0) / 32


def cost_of_picking(kernel: MapKernel) -> float:
    """For one element, more than that: one from somewhere in memory for each index that changes from element to element."""
    return sum(1.0 if load.strides[-1] else 0.05 for load in kernel.index_loads.values())


def work_of_product(product: Node, machine: Machine) -> float:
    """4 operations a cycle and lane, more in matrices, or the weight from a cache; or what a device does at once."""
    left, right, *_ = product.operands
    flops = 2.0 * prod(product.shape) * left.shape[-1]
    if machine.block_tile:
        return flops / DEVICE_FLOPS
    speed = MATRIX_SPEED if right.dtype.name == "uint32" else 1.0
    lanes = machine.lanes(product.dtype.itemsize)
    return max(flops / (16 * lanes * speed), right.type.nbytes / CACHE_BANDWIDTH)


def time_of_tiles(rows: int, height: int, threads: int) -> float:
    """Of tiles of ``rows`` rows, in rows: the longest thread's, and the loads of the weight that each tile repeats."""
    tiles = -(-height // rows)
    return -(-tiles // threads) * rows * (1 + 0.5 / rows)
