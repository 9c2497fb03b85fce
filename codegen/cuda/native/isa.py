"""What a device can do, read from its compute capability; never from its name."""

from __future__ import annotations

from functools import lru_cache

from blockfuse.codegen.cuda.products.tile_choice import BlockTiling
from blockfuse.codegen.kernels.machine import Machine

OLDEST_CAPABILITY = (
    8,
    0,
)  # shuffles, asynchronous copies and 32-bit indices are written for Ampere and what followed


@lru_cache
def machine(cc: tuple[int, int], multiprocessors: int = 132) -> Machine:
    """The machine of compute capability ``cc``; products are cut for so many multiprocessors."""
    assert cc >= OLDEST_CAPABILITY, f"compute capability {cc} is below {OLDEST_CAPABILITY}"
    name = f"sm_{cc[0]}{cc[1]}"
    tiling = BlockTiling(multiprocessors)
    return Machine(
        vector_bytes=0, accumulators=0, features=name, name=name, block_tile=tiling, writes_updates=False
    )


def capability(machine: Machine) -> tuple[int, int]:
    """The compute capability that the name of a machine tells."""
    number = int(machine.name.removeprefix("sm_"))
    return number // 10, number % 10
