"""Memory of kernels in NumPy: flat, of exactly the size of a value, and strict about every access.

NOTE [what an access may do]
Whatever lies outside of a buffer, was never written, or has another dtype than a kernel says, is an error and not a number:
a program that reads it may look right for the values of today. Arguments and parameters cannot be written to, but parameters
that a program updates, from its commit on.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

_GARBAGE = 0xCB  # each byte of an integer that nobody has written


class MeaningError(Exception):
    """A kernel or a schedule does what has no meaning: see NOTE [what an access may do]. kernel: the name of the kernel."""

    kernel = ""


class Memory:
    """The elements of one value, one behind the other; bools are bytes.

    written: which of them hold something; None where all do. first: the number of the element that lies at the start,
    where only a part of the value has memory.
    """

    def __init__(
        self, flat: numpy.ndarray, dtype: str, written: numpy.ndarray | None = None, first: int = 0
    ) -> None:
        self.flat, self.dtype, self.written, self.first = flat, dtype, written, first

    @property
    def array(self) -> numpy.ndarray:
        """All elements, if every one was written."""
        self.require(numpy.s_[:])
        return self.flat.view(self.dtype)

    def require(self, where: Any) -> None:
        """Raise where some of these elements were never written."""
        if self.written is None:
            return
        if not self.written[where].all():
            raise MeaningError("what is read was never written")
        if self.written.all():
            self.written = None


def given(array: numpy.ndarray, is_written: bool = False) -> Memory:
    """The memory of an argument or a parameter; a copy where the call writes to it, which nobody may do elsewhere."""
    flat = numpy.array(array, order="C") if is_written else numpy.ascontiguousarray(array)
    flat = flat.reshape(-1)
    flat = flat.view("uint8") if array.dtype == bool else flat.view()
    flat.flags.writeable = is_written
    return Memory(flat, array.dtype.name)


def unwritten(size: int, dtype: str, first: int = 0) -> Memory:
    """Memory in which there is nothing yet."""
    held = numpy.dtype("uint8" if dtype == "bool" else dtype)
    if held.kind == "f":
        flat = numpy.full(size, numpy.nan, held)
    else:
        flat = numpy.full(size * held.itemsize, _GARBAGE, "uint8").view(held)
    return Memory(flat, dtype, numpy.zeros(size, bool), first)


@dataclass(frozen=True)
class Address:
    """Element ``start`` of a memory: what a kernel gets as a pointer. Its accesses count from there."""

    memory: Memory
    start: int = 0

    def read(self, dtype: str, shape: Sequence[int], strides: Sequence[int], first: int = 0) -> numpy.ndarray:
        """Elements through strides, from ``first`` on; bools as bools. A view where it can be one: it sees later writes."""
        flat, written = self._flat(dtype), self.memory.written
        found = self._window(flat, shape, strides, first)
        if written is not None:
            if not self._window(written, shape, strides, first).all():
                raise MeaningError(f"what is read through strides {tuple(strides)} was never written")
            self.memory.require(numpy.s_[:0])
        return found != 0 if dtype == "bool" else found

    def pick(self, dtype: str, offsets: numpy.ndarray) -> numpy.ndarray:
        """Elements at ``offsets``."""
        flat, indices = self._flat(dtype), self._picked(offsets)
        self.memory.require(indices)
        found: numpy.ndarray = flat[indices]
        return found != 0 if dtype == "bool" else found

    def put(self, dtype: str, offsets: numpy.ndarray, value: numpy.ndarray) -> None:
        """Store elements at ``offsets``, where something is already; no two of them are equal."""
        self._require_writable(dtype, value)
        if len(numpy.unique(offsets)) < offsets.size:
            raise MeaningError("several elements are stored in one place at once")
        self._flat(dtype)[self._picked(offsets)] = value

    def write(self, dtype: str, strides: Sequence[int], value: numpy.ndarray, first: int = 0) -> None:
        """Store elements through strides, no two of them at one offset."""
        self._require_writable(dtype, value)
        if value.size and any(not step and n > 1 for n, step in zip(value.shape, strides, strict=True)):
            raise MeaningError(
                f"strides {tuple(strides)} store several elements of {value.shape} in one place"
            )
        self._window(self._flat(dtype), value.shape, strides, first)[...] = value
        if self.memory.written is not None:
            self._window(self.memory.written, value.shape, strides, first)[...] = True

    def _require_writable(self, dtype: str, value: numpy.ndarray) -> None:
        if not self.memory.flat.flags.writeable:
            raise MeaningError("an argument or a parameter is written to")
        if value.dtype != dtype:
            raise MeaningError(f"{value.dtype} is stored as {dtype}")

    def _picked(self, offsets: numpy.ndarray) -> numpy.ndarray:
        """The elements at ``offsets``, counted from the start of the memory."""
        indices: numpy.ndarray = offsets + (self.start - self.memory.first)
        size = self.memory.flat.size
        if indices.size and not (indices.min() >= 0 and indices.max() < size):
            raise MeaningError(
                f"elements up to {indices.max()} of {size} are picked, from {indices.min()} on"
            )
        return indices

    def _flat(self, dtype: str) -> numpy.ndarray:
        """The memory as a kernel takes it: float16 moves as bits."""
        memory = self.memory
        if dtype == memory.dtype:
            return memory.flat
        if (dtype, memory.dtype) == ("uint16", "float16"):
            return memory.flat.view("uint16")
        raise MeaningError(f"memory of {memory.dtype} is taken for {dtype}")

    def _window(
        self, flat: numpy.ndarray, shape: Sequence[int], strides: Sequence[int], first: int
    ) -> numpy.ndarray:
        itemsize = flat.itemsize
        start = self.start + first - self.memory.first
        steps = [step * itemsize for step in strides]
        if 0 in shape:  # for which NumPy would still look at the start
            return numpy.empty(shape, flat.dtype)
        try:
            return numpy.ndarray(shape, flat.dtype, flat, start * itemsize, steps)
        except ValueError:
            text = f"{tuple(shape)} elements with strides {tuple(strides)} from {start} on"
            raise MeaningError(f"{text} are not all within {flat.size}") from None

    # -- one element after the other, as the source of a kernel has it ---------------------------------------

    def __getitem__(self, index: Any) -> Any:
        position = self._position(index)
        self.memory.require(numpy.s_[position : position + 1])
        return self.memory.flat[position]

    def __setitem__(self, index: Any, value: Any) -> None:
        position, flat = self._position(index), self.memory.flat
        if not flat.flags.writeable:
            raise MeaningError("an argument or a parameter is written to")
        if numpy.asarray(value).dtype != flat.dtype:
            raise MeaningError(f"{numpy.asarray(value).dtype} is stored as {flat.dtype}")
        flat[position] = value
        if self.memory.written is not None:
            self.memory.written[position] = True

    def _position(self, index: Any) -> int:
        position = self.start + operator.index(index) - self.memory.first
        if not 0 <= position < self.memory.flat.size:
            raise MeaningError(f"element {position} of {self.memory.flat.size}")
        return position
