"""Buffers: the memory of one value each, and where those in the workspace lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from blockfuse.ir.types import TensorType


@dataclass(frozen=True)
class Buffer:
    """Memory of one value.

    kind: argument, parameter (also hoisted values and constants), workspace, register (workspace that lives as
    long as the call), strip (see ``steps.Strip``) or result. place: which argument, parameter or result; otherwise the
    offset in bytes, of a strip's buffer in bytes an item.
    ``made_by_host``: NumPy allocates it. share: how much of the leading axis belongs to each item of the batch, where
    the schedule is for any number of items; the type is then that for ``Schedule.batch`` items, and the offset is
    in bytes an item.
    """

    name: str
    type: TensorType
    kind: str
    place: int
    made_by_host: bool = False
    share: int = 0

    def __str__(self) -> str:
        grows = f", {self.share} * items" if self.share else ""
        return f"{self.name} = {self.kind}[{self.place}] {self.type}{grows}"

    def shape_for(self, items: int) -> tuple[int, ...]:
        """The shape of the value for a batch of so many items."""
        return (items * self.share, *self.type.shape[1:]) if self.share else self.type.shape


@dataclass(frozen=True)
class Workspace:
    """``fixed`` bytes, then ``growing`` bytes for each item of the batch, whose number is rounded up to ``ITEMS``."""

    fixed: int
    growing: int = 0

    def __str__(self) -> str:
        return f"{self.fixed} bytes" + (f" and {self.growing} an item" if self.growing else "")

    def bytes_for(self, items: int) -> int:
        return self.fixed + self.growing * items_reserved(items)


ALIGNMENT = 64  # bytes: one cache line, one AVX-512 vector
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
    fixed = arena(result, lives, lambda _, b: None if b.share else rounded(b.type.nbytes, alignment))
    growing = arena(result, lives, lambda _, b: rounded(b.type.nbytes // batch, word) if b.share else None)
    return tuple(result), Workspace(fixed, growing)


def arena(buffers: list[Buffer], lives: Lives, size_of: Callable[[int, Buffer], int | None]) -> int:
    """Registers side by side, then first fit among what lives at the same time; the size of it all.

    size_of: number and buffer -> its size, or None where it lies elsewhere.
    """
    registers = 0
    for number, buffer in enumerate(buffers):
        size = size_of(number, buffer)
        if buffer.kind == "register" and size is not None:
            buffers[number] = replace(buffer, place=registers)
            registers += size
    placed: list[tuple[int, int, int, int]] = []  # first step, last step, start, end
    for number, buffer in enumerate(buffers):
        size = size_of(number, buffer)
        if size is None or buffer.kind != "workspace" or buffer.made_by_host or number not in lives:
            continue
        first, last = lives[number]
        start = registers
        beside = (p for p in placed if p[0] <= last and first <= p[1])
        for _, _, low, high in sorted(beside, key=lambda p: p[2]):
            if start + size <= low:
                break
            start = max(start, high)
        placed.append((first, last, start, start + size))
        buffers[number] = replace(buffer, place=start)
    return max((p[3] for p in placed), default=registers)


def rounded(size: int, unit: int) -> int:
    return -(-max(size, 1) // unit) * unit
