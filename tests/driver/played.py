"""The driver of ``driver.cpp`` in this process, and a device on it whose kernels the processor runs."""

import ctypes
import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy
from cuda.bindings import driver as cu
from devices import FakeRegion, stub
from graphs import Memory

from blockfuse.codegen.cuda.device.device import Resident
from blockfuse.codegen.cuda.device.driver import CudaDevice, CudaKernel
from blockfuse.codegen.cuda.device.probe import probe
from blockfuse.codegen.cuda.program.host_kernels import on_host
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.store import Store
from blockfuse.ir.errors import NoDeviceKernelError

_LAUNCH = ctypes.CFUNCTYPE(
    None, ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint64), ctypes.c_int, ctypes.c_uint
)


def loaded() -> ctypes.CDLL:
    """The driver, compiled and loaded under the name by which everybody asks for one."""
    compiler = shutil.which("g++")
    assert compiler is not None
    (package,) = importlib.util.find_spec("nvidia").submodule_search_locations  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "libcuda.so.1"
        command = [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden"]
        command += ["-I", f"{package}/cu13/include", "-Wl,-soname,libcuda.so.1", "-o", str(path)]
        subprocess.run([*command, str(Path(__file__).with_name("driver.cpp")), "-ldl"], check=True)
        library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    library.played_faults.restype = ctypes.c_char_p
    library.played_bytes.restype = ctypes.c_size_t
    library.played_capacity.argtypes = [ctypes.c_size_t]
    return library


LIBRARY = loaded()


class PlayedDevice(CudaDevice):
    """refused: words in the names of kernels that do not compile. entries: those that were launched, in order."""

    def __init__(self) -> None:
        super().__init__(probe())
        self.refused: tuple[str, ...] = ()
        self.entries: list[str] = []
        self._kernels: list[tuple[Any, int, str]] = []  # what runs, its pointers, the entry that runs it
        self._stubs: dict[str, Kernel] = {}  # of regions
        self._store = Memory()
        self._launch = _LAUNCH(self._run)
        LIBRARY.played_kernels(self._launch)

    def render(self, kernel: Kernel, wide: bool, alone: bool) -> DeviceSource:
        return stub(kernel, wide, self._stubs) if alone else super().render(kernel, wide, alone)

    def load(self, kernel: Kernel, source: DeviceSource, store: Store, precision: str) -> Any:
        if any(word in kernel.name for word in self.refused):
            raise NoDeviceKernelError("it does not compile: a test says so")
        count = len(source.parameters) - bool(source.scratch)
        self._kernels.append((on_host(kernel, self._store), count, source.stages[-1].entry))
        return super().load(kernel, source, store, precision)

    def compiled(self, source: DeviceSource, store: Store) -> CudaKernel:  # noqa: ARG002 - the device's
        if source.name == "region":
            if self.refused:
                raise NoDeviceKernelError("it does not compile: a test says so")
            region = FakeRegion(source, self._stubs)
            self._kernels.append((region, len(source.parameters), source.stages[-1].entry))
        code = f"kernel {len(self._kernels) - 1} {len(source.parameters)}\0"
        return CudaKernel(source, code.encode(), self)

    def _run(self, number: int, entry: bytes, addresses: Any, _: int, rows: int) -> None:
        kernel, count, last = self._kernels[number]
        self.entries.append(entry.decode())
        if entry.decode() == last:
            kernel.launch(addresses[:count], rows)


class Tensor:
    """An array of another library, made in the order of ``stream``, or of the default stream."""

    def __init__(self, values: numpy.ndarray, device: PlayedDevice, stream: Any = None) -> None:
        made_in = device.core.default_stream if stream is None else stream
        self._memory = device.core.memory_resource.allocate(max(values.nbytes, 1), stream=made_in)
        self._stream, self._shape, self._dtype = stream, values.shape, values.dtype
        cu.cuMemcpyHtoDAsync(self._memory.handle, values.ctypes.data, values.nbytes, int(made_in.handle))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self._shape,
            "typestr": self._dtype.str,
            "data": (int(self._memory.handle), False),
            "strides": None,
            "stream": None if self._stream is None else int(self._stream.handle),
            "version": 3,
        }


def resident(device: PlayedDevice, values: numpy.ndarray) -> Resident:
    """Values in the device's memory."""
    memory = device.copies.allocate(max(values.nbytes, 1))
    device.copies.upload(memory.address, values)
    return Resident(memory.address, values.shape, values.dtype, device.copies.stream, (memory, device.copies))


def faults() -> str:
    """What work did to memory that was not there, since the last time."""
    found: bytes = LIBRARY.played_faults()
    return found.decode()
