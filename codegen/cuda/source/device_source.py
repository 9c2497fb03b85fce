"""Device kernels as data: Python source over pointers, and how many blocks of threads run each of its functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One launch: ``name`` of the source over all pointers of the kernel and ``rows`` (uint32), in ``threads`` a block.

    A row holds ``pieces`` pieces of work, of which a block does ``share``; where there are none, one block does it all.
    columns, layers: the other two sides of the grid. shared_bytes: dynamic shared memory; arrays of a constant size are
    declared in the source. resident: so many blocks must fit on a multiprocessor at once, which bounds the registers of a
    thread.
    """

    name: str
    threads: int
    pieces: int = 1
    share: int = 1
    columns: int = 1
    layers: int = 1
    shared_bytes: int = 0
    resident: int = 1

    @property
    def entry(self) -> str:
        """The name in machine code; that of the function alone may be an instruction of PTX."""
        return f"kernel_{self.name}"

    def grid(self, rows: int) -> tuple[int, int, int]:
        """Blocks for so many rows, at least one."""
        return max(1, -(-rows * self.pieces // self.share)), self.columns, self.layers


@dataclass(frozen=True)
class DeviceSource:
    """A kernel as Python source for the device: its functions run one after the other as ``stages``.

    pointers: name and dtype of each, in calling order, a kernel's result last. Where ``scratch`` is not 0, a pointer
    ``scratch`` to ``scratch_dtype`` follows them: memory that holds nothing before and after, of so many bytes for each row.
    wide: every pointer must be a multiple of 16 bytes; where one is not, ``render`` makes a source without that.
    most_rows: places in memory are 32 bits wide, which do for so many rows.
    """

    name: str
    text: str
    pointers: tuple[tuple[str, str], ...]
    stages: tuple[Stage, ...]
    scratch: int = 0
    scratch_dtype: str = "float32"
    wide: bool = False
    most_rows: int = 2**32 - 1

    @property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Name and dtype of every pointer that the functions take, scratch memory included."""
        return (*self.pointers, ("scratch", self.scratch_dtype)) if self.scratch else self.pointers

    def parts(self, defined: Iterable[str]) -> list[str]:
        """The functions of the text that its stages call."""
        return [name for name in defined if name not in {stage.name for stage in self.stages}]
