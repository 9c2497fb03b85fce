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
    """An operand of a launch: ``buffer`` (by number) from element ``offset`` on."""

    buffer: int
    offset: int


@dataclass(frozen=True)
class Launch:
    """``kernel`` over ``rows`` rows.

    work: an estimate in nanoseconds on one core; grain: rows come in multiples of this. share: how many of the rows
    belong to each item of the batch, where the schedule is for any number of items (0: the rows are always as many).
    """

    kernel: Kernel
    pointers: tuple[Pointer, ...]
    rows: int
    work: float
    grain: int = 1
    share: int = 0

    @property
    def grows(self) -> bool:
        """Whether there are more rows where the batch has more items."""
        return self.share > 0


@dataclass(frozen=True)
class HostCall:
    """The NumPy meaning of an operator, called between launches."""

    operator: Operator
    attrs: dict[str, Any]
    operands: tuple[tuple[int, Layout], ...]
    result: int
    source: str


@dataclass(frozen=True)
class Strip:
    """Launches that each thread runs in turn for its own items, so that a call forks once for all of them.

    items: an equal share of the rows of every launch belongs to each; as many as the batch has where the schedule is for
    any number (``grows``). A thread takes ``grain`` to ``part`` of them at a time. room: bytes an item of the thread's own
    memory, where buffers of the kind ``strip`` lie; for the calling thread it is the buffer ``memory``.
    """

    launches: tuple[Launch, ...]
    items: int
    grain: int
    part: int
    room: int
    memory: int
    grows: bool = False

    @property
    def work(self) -> float:
        return sum(launch.work for launch in self.launches)


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
    for place, step in enumerate(steps):
        for buffer in touched_by(step):
            lives[buffer] = (lives.get(buffer, (place, place))[0], place)
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
