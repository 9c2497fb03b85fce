"""Device kernels as data: Python source over pointers, and how many blocks of threads run each of its functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One launch of a function of the source, over all pointers of the kernel and ``rows`` (uint32)."""

    name: str  # of the function
    threads: int  # in a block
    pieces: int = 1  # of work in a row
    pieces_per_block: int = 1  # of all rows one after the other; where there are none, one block does it all
    columns: int = 1  # the second side of the grid
    layers: int = 1  # the third side
    shared_bytes: int = 0  # of dynamic shared memory; arrays of a constant size are declared in the source
    # blocks that must fit on a multiprocessor at once, which bounds the registers of a thread
    resident: int = 1

    @property
    def entry(self) -> str:
        """The name in machine code; that of the function alone may be an instruction of PTX."""
        return f"kernel_{self.name}"

    def grid(self, rows: int) -> tuple[int, int, int]:
        """Blocks for so many rows, at least one."""
        return max(1, -(-rows * self.pieces // self.pieces_per_block)), self.columns, self.layers


@dataclass(frozen=True)
class DeviceSource:
    """A kernel as Python source for the device: its functions run one after the other as ``stages``."""

    name: str
    text: str
    pointers: tuple[tuple[str, str], ...]  # name and dtype of each, in calling order, a kernel's result last
    stages: tuple[Stage, ...]
    # bytes a row of memory that holds nothing before and after, whose pointer follows the others
    scratch: int = 0
    scratch_dtype: str = "float32"
    wide: bool = False  # whether every pointer must be a multiple of 16 bytes; ``render`` also makes a source without that
    max_rows: int = 2**32 - 1  # for which 32 bits count all offsets

    @property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Name and dtype of every pointer that the functions take, scratch memory included."""
        return (*self.pointers, ("scratch", self.scratch_dtype)) if self.scratch else self.pointers

    def parts(self, defined: Iterable[str]) -> list[str]:
        """The functions of the text that its stages call."""
        return [name for name in defined if name not in {stage.name for stage in self.stages}]
