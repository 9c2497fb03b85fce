"""Buffers: the memory of one value each, and where those in the workspace lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from blockfuse.ir.placement import LINE_BYTES
from blockfuse.ir.types import TensorType


class BufferKind(Enum):
    """Whose memory a buffer is, and how long it lives."""

    ARGUMENT = "argument"
    PARAMETER = "parameter"  # also hoisted values and constants
    RESULT = "result"
    WORKSPACE = "workspace"  # memory of the program, for as long as some step needs the value
    REGISTER = "register"  # memory of the program, for as long as the call
    STACK = "stack"  # of the program for many values; the buffer is the one on top (NOTE [stacks])
    STRIP = "strip"  # memory of a thread, see ``steps.Strip``

    @property
    def is_numbered(self) -> bool:
        """Whether callers know the buffer by its number."""
        return self in (BufferKind.ARGUMENT, BufferKind.PARAMETER, BufferKind.RESULT)

    @property
    def is_given(self) -> bool:
        """Whether the value is there before the call, which does not write to it."""
        return self in (BufferKind.ARGUMENT, BufferKind.PARAMETER)

    @property
    def is_of_call(self) -> bool:
        """Whether each call has memory of its own for it."""
        return self in (BufferKind.ARGUMENT, BufferKind.RESULT)

    @property
    def is_planned(self) -> bool:
        """Whether it lies in the workspace of the program."""
        return self in (BufferKind.WORKSPACE, BufferKind.REGISTER, BufferKind.STACK)


@dataclass(frozen=True)
class Buffer:
    """Memory of one value."""

    name: str
    type: TensorType  # for ``Schedule.batch`` items, where the schedule is for any number of them
    kind: BufferKind
    number: int = 0  # which argument, parameter or result
    # in the workspace, in bytes; where the buffer grows, and in that of a strip, in bytes an item
    offset: int = 0
    made_by_host: bool = False  # NumPy allocates it
    rows_per_item: int = 0  # of the leading axis, where it grows with the items of the batch
    room: int = 1  # values of a stack

    def __str__(self) -> str:
        grows = f", {self.rows_per_item} * items" if self.rows_per_item else ""
        grows += f", room for {self.room}" if self.kind is BufferKind.STACK else ""
        index = self.number if self.kind.is_numbered else self.offset
        return f"{self.name} = {self.kind.value}[{index}] {self.type}{grows}"

    @property
    def step(self) -> int:
        """Bytes from one value of a stack to the next."""
        return rounded(self.type.nbytes, ALIGNMENT)

    @property
    def reserved(self) -> int:
        """Bytes of memory, where it does not grow."""
        return self.room * self.step if self.kind is BufferKind.STACK else self.type.nbytes

    def shape_for(self, items: int) -> tuple[int, ...]:
        """The shape of the value for a batch of so many items."""
        return (items * self.rows_per_item, *self.type.shape[1:]) if self.rows_per_item else self.type.shape


@dataclass(frozen=True)
class Workspace:
    """The memory of a program: ``fixed`` bytes, then what grows with the batch, rounded up to ``ITEMS`` items."""

    fixed: int
    growing: int = 0  # bytes an item

    def __str__(self) -> str:
        return f"{self.fixed} bytes" + (f" and {self.growing} an item" if self.growing else "")

    def bytes_for(self, items: int) -> int:
        return self.fixed + self.growing * items_reserved(items)


ALIGNMENT = LINE_BYTES  # also one AVX-512 vector
ITEMS = 16  # memory grows by so many items: with offsets of whole words an item, every offset is aligned


def items_reserved(items: int) -> int:
    """``items`` rounded up, so that offsets in bytes an item give aligned offsets."""
    return -(-items // ITEMS) * ITEMS


Lives = dict[int, tuple[int, int]]  # buffer -> the first and the last step that touches it


def planned(
    buffers: list[Buffer], lives: Lives, batch: int = 0, alignment: int = ALIGNMENT
) -> tuple[tuple[Buffer, ...], Workspace]:
    """Offsets for the workspace. What grows with the batch lies behind the rest, at offsets that grow with it.

    batch: the number of items for which the types are.
    """
    result, word = list(buffers), alignment // ITEMS
    fixed = arena(result, lives, lambda _, b: None if b.rows_per_item else rounded(b.reserved, alignment))
    growing = arena(
        result, lives, lambda _, b: rounded(b.type.nbytes // batch, word) if b.rows_per_item else None
    )
    return tuple(result), Workspace(fixed, growing)


def arena(buffers: list[Buffer], lives: Lives, size_of: Callable[[int, Buffer], int | None]) -> int:
    """Registers and stacks side by side, then first fit among what lives at the same time; the size of it all.

    size_of: number and buffer -> its size, or None where it lies elsewhere.
    """
    registers = 0
    for number, buffer in enumerate(buffers):
        size = size_of(number, buffer)
        if buffer.kind in (BufferKind.REGISTER, BufferKind.STACK) and size is not None:
            buffers[number] = replace(buffer, offset=registers)
            registers += size
    placed: list[tuple[int, int, int, int]] = []  # first step, last step, start, end
    for number, buffer in enumerate(buffers):
        size = size_of(number, buffer)
        if (
            size is None
            or buffer.kind is not BufferKind.WORKSPACE
            or buffer.made_by_host
            or number not in lives
        ):
            continue
        first, last = lives[number]
        start = registers
        beside = (p for p in placed if p[0] <= last and first <= p[1])
        for _, _, low, high in sorted(beside, key=lambda p: p[2]):
            if start + size <= low:
                break
            start = max(start, high)
        placed.append((first, last, start, start + size))
        buffers[number] = replace(buffer, offset=start)
    return max((p[3] for p in placed), default=registers)


def rounded(size: int, unit: int) -> int:
    return -(-max(size, 1) // unit) * unit
