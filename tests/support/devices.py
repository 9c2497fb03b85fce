"""Devices of the tests: kernels are compiled for the processor, actions are logged, failures come when they are ordered."""

import re
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy
from graphs import Memory

from blockfuse.codegen.cuda.device.device import Launcher, Queue, Resident
from blockfuse.codegen.cuda.device.simulated_device import (
    SimulatedDevice,
    SimulatedMemory,
    SimulatedQueue,
    at,
)
from blockfuse.codegen.cuda.program.host_kernels import on_host
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.ir.errors import CudaError, DeviceLostError, NoDeviceKernelError

_KERNELS = Memory()


class FakeKernel:
    """A kernel of the processor in the place of one of a device."""

    scratch = 0

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = on_host(kernel, _KERNELS)

    def launch(self, addresses: Sequence[int], rows: int) -> None:
        self._kernel.launch(list(addresses), rows)


def stub(kernel: Kernel, wide: bool, kernels: dict[str, Kernel]) -> DeviceSource:
    """The source of a kernel that does nothing but say which one it is; ``kernels`` knows it by that."""
    said = f"{kernel}, {wide}"
    kernels[said] = kernel
    types = kernel.pointers
    taken = ", ".join(name for name, _ in types)
    text = f"def {kernel.name}({taken}, rows):  # {said}\n    pass\n"
    return DeviceSource(kernel.name, text, types, (Stage(kernel.name, 32),))


class FakeRegion:
    """The text of a region of stubs run by one thread, over kernels of the processor."""

    def __init__(self, source: DeviceSource, kernels: dict[str, Kernel]) -> None:
        self.scratch = source.scratch
        self._dtypes = [dtype for _, dtype in source.parameters]
        scope: dict[str, Any] = {"uint32": int, "cuda": SimpleNamespace(syncthreads=lambda: None)}
        scope["cuda"].threadIdx = SimpleNamespace(x=0)
        parts = re.findall(r"def (\w+_part\d+)\(.*  # (.*)", source.text)
        exec(source.text, scope)
        self._region = scope["region"]
        for name, said in parts:
            scope[name] = self._launched(FakeKernel(kernels[said]))

    @staticmethod
    def _launched(kernel: FakeKernel) -> Callable[..., None]:
        def launch(*arguments: Any) -> None:
            *memory, rows = arguments
            kernel.launch([m.address for m in memory], rows)

        return launch

    def launch(self, addresses: Sequence[int], start: int) -> None:
        memory = (FakeMemory(a, d) for a, d in zip(addresses, self._dtypes, strict=True))
        self._region(*memory, start)


class FakeMemory:
    """Elements of a dtype from an address on."""

    def __init__(self, address: int, dtype: str) -> None:
        self.address, self._dtype = address, dtype

    def __getitem__(self, place: int) -> Any:
        return at(self.address, (place + 1,), self._dtype)[place]

    def __setitem__(self, place: int, value: Any) -> None:
        at(self.address, (place + 1,), self._dtype)[place] = value


class FakeDevice(SimulatedDevice):
    """log: what happened. refused: words in names of kernels and regions that do not compile. fails: an action that raises
    an error.
    """

    name = "a device of the tests"
    precisions = ("float32", "tf32", "bf16")

    def __init__(self, capacity: int = 1 << 30) -> None:
        self.log: list[str] = []
        self.refused: tuple[str, ...] = ()
        self.fails: dict[str, CudaError] = {}
        self.lost = False
        self._queues = 0
        self._kernels: dict[str, Kernel] = {}  # what their source says -> kernels
        super().__init__(capacity=capacity)

    def does(self, action: str) -> None:
        self.log.append(action)
        error = self.fails.get(action.split()[0])
        if error is not None:
            self.lost = isinstance(error, DeviceLostError)
            raise error

    def check(self) -> None:
        if self.lost:
            raise DeviceLostError(f"{self.name} cannot be used any more")

    def render(self, kernel: Kernel, wide: bool, alone: bool) -> DeviceSource:  # noqa: ARG002
        return stub(kernel, wide, self._kernels)

    def load(self, kernel: Kernel, source: DeviceSource, store: Any, precision: str) -> Any:  # noqa: ARG002
        self.does(f"load {kernel.name} {precision}")
        if any(word in kernel.name for word in self.refused):
            raise NoDeviceKernelError("it does not compile: a test says so")
        return FakeKernel(kernel)

    def compiled(self, source: DeviceSource, store: Any) -> Any:  # noqa: ARG002
        self.does(f"load {source.name}")
        if source.name in self.refused:
            raise NoDeviceKernelError("it does not compile: a test says so")
        return FakeRegion(source, self._kernels)

    def queue(self) -> Queue:
        self._queues += 1
        return FakeQueue(self, 100 + self._queues)

    def taken(self) -> list[str]:
        """The log, which starts anew."""
        log, self.log = self.log, []
        return log


class FakeQueue(SimulatedQueue):
    device: FakeDevice

    def __init__(self, device: FakeDevice, stream: int) -> None:
        super().__init__(device)
        self.stream = stream

    def allocate(self, nbytes: int) -> SimulatedMemory:
        self.device.does("allocate")
        return super().allocate(nbytes)

    def upload(self, target: int, source: numpy.ndarray) -> None:
        self.device.does("upload")
        super().upload(target, source)

    def download(self, target: numpy.ndarray, source: int) -> None:
        self.device.does("download")
        super().download(target, source)

    def copy(self, target: int, source: Resident) -> None:
        self.device.does("copy")
        super().copy(target, source)

    def launch(self, kernel: Any, addresses: Sequence[int], rows: int) -> None:
        self.device.does("launch")
        super().launch(kernel, addresses, rows)

    def captured(self, work: Callable[[Launcher], None]) -> Callable[[], None]:
        self.device.does("capture")
        replay = super().captured(work)

        def logged() -> None:
            self.device.does("replay")
            replay()

        return logged

    def follow(self, stream: int) -> None:
        self.device.does(f"follow {stream}")

    def lead(self, stream: int) -> None:
        self.device.does(f"lead {stream}")

    def finish(self) -> None:
        self.device.does("finish")


class Tensor:
    """An array of another library that lies on a device."""

    def __init__(
        self, values: numpy.ndarray, device: SimulatedDevice, stream: int | None = None, strides: Any = None
    ) -> None:
        self._memory: Any = device.new_memory(max(values.nbytes, 1))
        at(self._memory.address, values.shape, values.dtype)[...] = values
        self.interface = {
            "shape": values.shape,
            "typestr": values.dtype.str,
            "data": (self._memory.address, False),
            "strides": strides,
            "stream": stream,
            "version": 3,
        }

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.interface

    def numpy(self) -> numpy.ndarray:
        """A copy on the host."""
        return at(self.interface["data"][0], self.interface["shape"], self.interface["typestr"]).copy()


def from_dlpack(value: Any) -> Tensor:
    """What a library makes of an array of another one, on the same memory."""
    made = Tensor.__new__(Tensor)
    made._memory = value
    made.interface = value.__cuda_array_interface__
    return made
