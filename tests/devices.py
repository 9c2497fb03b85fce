"""A device made of the processor: memory is the host's, kernels are compiled for the processor, failures are ordered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
from graphs import Memory as Store

from blockfuse.codegen.cpu import isa
from blockfuse.codegen.cuda.device import Launcher, Resident
from blockfuse.codegen.cuda.host import HostKernel
from blockfuse.codegen.cuda.source import DeviceSource
from blockfuse.codegen.kernel import Kernel
from blockfuse.ir.errors import DeviceLostError, DeviceMemoryError, NoDeviceKernelError

_ALIGNMENT = 256
_STORE = Store()


class FakeMemory:
    """Bytes that nobody has written look like NaN."""

    def __init__(self, nbytes: int) -> None:
        space = numpy.full(nbytes + _ALIGNMENT, 0xFF, numpy.uint8)
        start = -space.ctypes.data % _ALIGNMENT
        self.bytes = space[start : start + nbytes]
        self.address = self.bytes.ctypes.data


@dataclass
class FakeKernel:
    kernel: HostKernel
    scratch: int = 0


class FakeQueue:
    """Everything happens at once; ``device.log`` says what."""

    def __init__(self, device: "FakeDevice", stream: int) -> None:
        self.device, self.stream = device, stream

    def _does(self, action: str) -> None:
        self.device.log.append(action)
        if action == self.device.fails_at:
            raise self.device.error

    def allocate(self, nbytes: int) -> FakeMemory:
        self._does("allocate")
        return FakeMemory(nbytes)

    def upload(self, target: int, source: numpy.ndarray) -> None:
        self._does("upload")
        _bytes(target, source.nbytes)[...] = source.reshape(-1).view(numpy.uint8)

    def download(self, target: numpy.ndarray, source: int) -> None:
        self._does("download")
        target.reshape(-1).view(numpy.uint8)[...] = _bytes(source, target.nbytes)

    def launch(self, kernel: FakeKernel, addresses: Sequence[int], rows: int) -> None:
        self._does("launch")
        kernel.kernel.launch(list(addresses), rows)

    def captured(self, work: Callable[[Launcher], None]) -> Callable[[], None]:
        self._does("capture")
        recorded: list[tuple[Any, list[int], int]] = []

        class Capture:
            def launch(self, kernel: Any, addresses: Sequence[int], rows: int) -> None:
                recorded.append((kernel, list(addresses), rows))

        work(Capture())

        def replay() -> None:
            self._does("replay")
            for kernel, addresses, rows in recorded:
                kernel.kernel.launch(addresses, rows)

        return replay

    def follow(self, stream: int) -> None:
        self._does(f"follow {stream}")

    def lead(self, stream: int) -> None:
        self._does(f"lead {stream}")

    def finish(self) -> None:
        self._does("finish")


@dataclass(eq=False)
class FakeDevice:
    """refused: words in names of kernels that do not compile. fails_at: what a queue does when ``error`` is raised."""

    refused: tuple[str, ...] = ()
    fails_at: str = ""
    error: Exception = field(
        default_factory=lambda: DeviceMemoryError("the device has too little memory left")
    )
    log: list[str] = field(default_factory=list)
    lost: bool = False
    name: str = "a device of the tests"
    number: int = 0

    def __post_init__(self) -> None:
        self.machine = isa.machine()
        self._streams = 100
        self.copies = self.queue()

    def check(self) -> None:
        if self.lost:
            raise DeviceLostError(f"{self.name} cannot be used any more")

    def load(self, kernel: Kernel, source: DeviceSource, store: Any, precision: str) -> FakeKernel:
        self.log.append(f"load {kernel.name} {precision}")
        if any(word in kernel.name for word in self.refused):
            raise NoDeviceKernelError("it does not compile: a test says so")
        return FakeKernel(HostKernel(kernel, self.machine, store))

    def queue(self) -> FakeQueue:
        self._streams += 1
        return FakeQueue(self, self._streams)

    def pinned(self, nbytes: int) -> numpy.ndarray:
        return numpy.full(nbytes, 0xFF, numpy.uint8)

    def exported(self, array: Resident, **options: Any) -> Any:
        return array, options

    def imported(self, value: Any) -> Resident | None:
        return value.resident


class Tensor:
    """An array of another library in the memory of a device: values that were put there, or a view of ours."""

    def __init__(self, values: numpy.ndarray, stream: int | None = None, strides: Any = None) -> None:
        self._memory = FakeMemory(values.nbytes)
        self._memory.bytes[...] = numpy.ascontiguousarray(values).reshape(-1).view(numpy.uint8)
        self._take(self._memory.address, values.shape, values.dtype, stream, strides)

    def _take(
        self, address: int, shape: tuple[int, ...], dtype: Any, stream: int | None, strides: Any
    ) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": numpy.dtype(dtype).str,
            "data": (address, False),
            "strides": strides,
            "stream": stream,
            "version": 3,
        }

    def numpy(self) -> numpy.ndarray:
        """A copy on the host."""
        interface = self.__cuda_array_interface__
        dtype = numpy.dtype(interface["typestr"])
        count = int(numpy.prod(interface["shape"])) * dtype.itemsize
        return _bytes(interface["data"][0], count).copy().view(dtype).reshape(interface["shape"])


def from_dlpack(value: Any) -> Tensor:
    """What a library makes of an array of another one, as a view."""
    made = Tensor(numpy.empty(0, "float32"))
    interface = value.__cuda_array_interface__
    made._memory = value
    made.__cuda_array_interface__ = interface
    return made


def _bytes(address: int, nbytes: int) -> numpy.ndarray:
    import ctypes

    return (
        numpy.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
        if nbytes
        else numpy.empty(0, numpy.uint8)
    )
