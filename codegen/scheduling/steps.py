"""Steps: what a program does one after the other, and on which memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.scheduling.buffers import Lives
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
    rows_per_item: int = (
        0  # of the batch, where the schedule is for any number of items; 0: the rows are always as many
    )

    @property
    def grows(self) -> bool:
        """Whether there are more rows where the batch has more items."""
        return self.rows_per_item > 0

    def rows_for(self, items: int) -> int:
        """How many rows there are for a batch of so many items."""
        return self.rows_per_item * items if self.grows else self.rows


@dataclass(frozen=True)
class HostCall:
    """The NumPy meaning of an operator, called between launches."""

    operator: Operator
    attrs: dict[str, Any]
    operands: tuple[tuple[int, Layout], ...]  # buffers, and how they are seen
    result: int  # a buffer
    source: str  # the line of the user


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


Step = Launch | HostCall | Strip


def launches_of(steps: Iterable[Step]) -> Iterator[Launch]:
    """All launches, also those in strips."""
    for step in steps:
        if isinstance(step, Launch):
            yield step
        elif isinstance(step, Strip):
            yield from step.launches


def lives_of(steps: Iterable[Step]) -> Lives:
    """Buffer -> the first and the last step that touches it."""
    lives: Lives = {}
    for index, step in enumerate(steps):
        for buffer in touched_by(step):
            lives[buffer] = (lives.get(buffer, (index, index))[0], index)
    return lives


def touched_by(step: Step) -> Iterator[int]:
    """The buffers that a step reads or writes."""
    if isinstance(step, HostCall):
        yield from (buffer for buffer, _ in step.operands)
        yield step.result
    else:
        for launch in launches_of([step]):
            yield from (pointer.buffer for pointer in launch.pointers)
        if isinstance(step, Strip):
            yield step.memory
