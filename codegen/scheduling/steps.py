"""Steps: what a program does one after the other, and on which memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.scheduling.buffers import Buffer, Lives
from blockfuse.ir.layout import Layout
from blockfuse.ir.operator import Operator


@dataclass(frozen=True)
class Pointer:
    """An operand of a launch."""

    buffer: int  # by number
    offset: int  # in elements


@dataclass(frozen=True)
class Launch:
    """A kernel over some rows."""

    kernel: Kernel
    pointers: tuple[Pointer, ...]
    rows: int
    work: float  # an estimate in nanoseconds on one core
    grain: int = 1  # threads take rows in multiples of this
    # of the batch, where the schedule is for any number of items; 0: the rows are always as many
    rows_per_item: int = 0

    @property
    def grows(self) -> bool:
        """Whether there are more rows where the batch has more items."""
        return self.rows_per_item > 0

    def rows_for(self, items: int) -> int:
        """How many rows there are for a batch of so many items."""
        return self.rows_per_item * items if self.grows else self.rows

    @property
    def launches(self) -> tuple[Launch, ...]:
        return (self,)

    @property
    def touched(self) -> tuple[int, ...]:
        """The buffers that it reads or writes."""
        return tuple(pointer.buffer for pointer in self.pointers)

    @property
    def written(self) -> tuple[int, ...]:
        """Those that it writes, the last of ``touched``."""
        return self.touched[len(self.pointers) - self.kernel.results :]

    def lines(self, buffers: Sequence[Buffer]) -> list[str]:
        """How a schedule prints it."""
        shown = [buffers[p.buffer].name + (f"+{p.offset}" if p.offset else "") for p in self.pointers]
        rows = f"{self.rows_per_item} * items" if self.grows else self.rows
        work = f"~{self.work / 1000:.1f} us"
        return [f"launch {self.kernel.name}({', '.join(shown)}) rows={rows} grain={self.grain} {work}"]


@dataclass(frozen=True)
class HostCall:
    """The NumPy meaning of an operator, called between launches."""

    operator: Operator
    attrs: dict[str, Any]
    operands: tuple[tuple[int, Layout], ...]  # buffers, and how they are seen
    result: int  # a buffer
    source: str  # the line of the user

    @property
    def launches(self) -> tuple[Launch, ...]:
        return ()

    @property
    def touched(self) -> tuple[int, ...]:
        """The buffers that it reads or writes."""
        return (*(buffer for buffer, _ in self.operands), self.result)

    @property
    def written(self) -> tuple[int, ...]:
        return (self.result,)

    def lines(self, buffers: Sequence[Buffer]) -> list[str]:
        """How a schedule prints it."""
        operands = ", ".join(buffers[b].name for b, _ in self.operands)
        return [f"numpy {self.operator.name}({operands}) -> {buffers[self.result].name}"]


@dataclass(frozen=True)
class Strip:
    """Launches that each thread runs in turn for its own items, so that a call forks once for all of them."""

    launches: tuple[Launch, ...]
    items: int  # an equal part of the rows of every launch belongs to each; as many as the batch has, where it ``grows``
    grain: int  # items that a thread takes at least
    part: int  # items that a thread takes at most
    bytes_per_item: int  # of the thread's own memory, where buffers of the kind STRIP lie
    memory: int  # the buffer that is this memory for the calling thread
    grows: bool = False  # whether the schedule is for any number of items

    @property
    def work(self) -> float:
        return sum(launch.work for launch in self.launches)

    @property
    def rows(self) -> int:
        """What threads share."""
        return self.items

    @property
    def rows_per_item(self) -> int:
        return 1

    @property
    def touched(self) -> tuple[int, ...]:
        """The buffers that it reads or writes."""
        return (*(buffer for launch in self.launches for buffer in launch.touched), self.memory)

    def lines(self, buffers: Sequence[Buffer]) -> list[str]:
        """How a schedule prints it."""
        items = "items" if self.grows else f"{self.items} items"
        parts = f"{self.grain} to {self.part} at a time, {self.bytes_per_item} bytes each"
        inside = [f"  {line}" for launch in self.launches for line in launch.lines(buffers)]
        return [f"strip of {items}, {parts}, ~{self.work / 1000:.1f} us:", *inside]


Plain = Launch | HostCall  # before some launches become strips
Step = Plain | Strip


def lives_of(steps: Iterable[Step]) -> Lives:
    """Buffer -> the first and the last step that touches it."""
    lives: Lives = {}
    for index, step in enumerate(steps):
        for buffer in step.touched:
            lives[buffer] = (lives.get(buffer, (index, index))[0], index)
    return lives
