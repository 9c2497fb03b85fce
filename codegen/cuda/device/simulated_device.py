"""A device in the host's memory: every action happens at once, kernels run in Numba's simulator."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from blockfuse.codegen.cuda.device.device import ALIGNMENT_BYTES, Launcher, Queue, Resident
from blockfuse.codegen.cuda.native import isa
from blockfuse.codegen.cuda.render import render
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.store import Store
from blockfuse.ir.errors import DeviceMemoryError

_THREADS = 32  # of a block: each is one of Python in the simulator


class SimulatedMemory:
    """Bytes of the host; those that nobody has written are NaN."""

    def __init__(self, nbytes: int) -> None:
        space = numpy.full(nbytes + ALIGNMENT_BYTES, 0xFF, numpy.uint8)
        start = -space.ctypes.data % ALIGNMENT_BYTES
        self.bytes = space[start : start + nbytes]
        self.address = self.bytes.ctypes.data


class SimulatedDevice:
    """A device of compute capability ``cc`` whose memory holds ``capacity`` bytes."""

    name = "the simulator"
    number = 0
    precisions: tuple[str, ...] = ("float32",)

    def __init__(self, cc: tuple[int, int] = (9, 0), capacity: int = 1 << 30) -> None:
        self.machine: Machine = isa.machine(cc)
        self._capacity = capacity
        self._memories: weakref.WeakSet[SimulatedMemory] = weakref.WeakSet()
        self.copies = self.queue()

    def check(self) -> None:
        """The host is always there."""

    def finish(self) -> None:
        """Everything is done."""

    def render(self, kernel: Kernel, wide: bool, alone: bool) -> DeviceSource:
        return render(kernel, _THREADS, wide, alone)

    def load(self, kernel: Kernel, source: DeviceSource, store: Store, precision: str) -> Any:  # noqa: ARG002 - the protocol's
        return self.compiled(source, store)

    def compiled(self, source: DeviceSource, store: Store) -> Any:  # noqa: ARG002 - the protocol's
        return SimulatedKernel(source, self)

    def queue(self) -> Queue:
        return SimulatedQueue(self)

    def pinned(self, nbytes: int) -> numpy.ndarray:
        return numpy.full(nbytes, 0xFF, numpy.uint8)

    def exported(self, array: Resident, **options: Any) -> Any:
        return at(array.address, array.shape, array.dtype).__dlpack__(**options)

    def imported(self, value: Any) -> Resident | None:
        data = numpy.from_dlpack(value)
        return (
            Resident(data.ctypes.data, data.shape, data.dtype, None, data)
            if data.flags.c_contiguous
            else None
        )

    def new_memory(self, nbytes: int) -> SimulatedMemory:
        if sum(m.bytes.size for m in self._memories) + nbytes > self._capacity:
            raise DeviceMemoryError(f"{self.name} has no {nbytes} bytes left of {self._capacity}")
        memory = SimulatedMemory(nbytes)
        self._memories.add(memory)
        return memory

    def around(self, address: int) -> SimulatedMemory:
        """The memory that an address lies in."""
        return next(m for m in self._memories if m.address <= address <= m.address + m.bytes.size)


class SimulatedKernel:
    """A kernel over pointers into memory; one that goes beyond its memory fails."""

    def __init__(self, source: DeviceSource, device: SimulatedDevice) -> None:
        self.scratch = source.scratch
        self._source, self._device = source, device

    def launch(self, addresses: Sequence[int], rows: int) -> None:
        from blockfuse.codegen.cuda.device import kernel_simulator

        pointers = []
        for address, (_, dtype) in zip(addresses, self._source.parameters, strict=True):
            memory, stored = self._device.around(address), numpy.dtype("uint8" if dtype == "bool" else dtype)
            whole = memory.bytes[: memory.bytes.size // stored.itemsize * stored.itemsize].view(stored)
            pointers.append(kernel_simulator.Pointer(whole, (address - memory.address) // stored.itemsize))
        kernel_simulator.run(self._source, pointers, rows)


class SimulatedQueue:
    """Actions of one caller, in the order of the calls."""

    stream = 3

    def __init__(self, device: SimulatedDevice) -> None:
        self.device = device

    def allocate(self, nbytes: int) -> SimulatedMemory:
        return self.device.new_memory(nbytes)

    def upload(self, target: int, source: numpy.ndarray) -> None:
        at(target, (source.nbytes,), numpy.uint8)[...] = source.reshape(-1).view(numpy.uint8)

    def download(self, target: numpy.ndarray, source: int) -> None:
        target.reshape(-1).view(numpy.uint8)[...] = at(source, (target.nbytes,), numpy.uint8)

    def copy(self, target: int, source: Resident) -> None:
        at(target, source.shape, source.dtype)[...] = at(source.address, source.shape, source.dtype)

    def launch(self, kernel: Any, addresses: Sequence[int], rows: int) -> None:
        kernel.launch(addresses, rows)

    def captured(self, work: Callable[[Launcher], None]) -> Callable[[], None]:
        capture = _Capture()
        work(capture)

        def replay() -> None:
            for one in capture.launches:
                self.launch(*one)

        return replay

    def follow(self, stream: int) -> None:
        """There is nothing to wait for."""

    def lead(self, stream: int) -> None:
        """Nobody has to wait."""

    def finish(self) -> None:
        """Everything is done."""


class _Capture:
    def __init__(self) -> None:
        self.launches: list[tuple[Any, tuple[int, ...], int]] = []

    def launch(self, kernel: Any, addresses: Sequence[int], rows: int) -> None:
        self.launches.append((kernel, tuple(addresses), rows))


def at(address: int, shape: tuple[int, ...], dtype: Any) -> numpy.ndarray:
    """The array at an address of the host."""
    dtype = numpy.dtype(dtype)
    nbytes = int(numpy.prod(shape)) * dtype.itemsize
    if not nbytes:
        return numpy.empty(shape, dtype)
    return numpy.frombuffer((ctypes.c_uint8 * nbytes).from_address(address), dtype).reshape(shape)
