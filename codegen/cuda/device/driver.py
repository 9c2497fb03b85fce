"""A CUDA device, through cuda.core and, for copies between raw addresses, the driver's own functions.

NOTE [streams]
A queue is a stream that waits for the default stream, and for which that waits: the libraries whose arrays are given use
the default stream, unless they say another one, which ``follow`` and ``lead`` then tie to the queue. Memory comes from the
driver's pool in the order of the stream that asked for it, and goes back in that order.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy
from cuda.bindings import driver as cu
from cuda.core import (
    LEGACY_DEFAULT_STREAM,
    PER_THREAD_DEFAULT_STREAM,
    LaunchConfig,
    LegacyPinnedMemoryResource,
    ObjectCode,
    Stream,
    StreamOptions,
    launch,
)
from cuda.core import Device as CoreDevice
from cuda.core.utils import StridedMemoryView

from blockfuse.codegen.cuda.device.device import Launcher, Resident
from blockfuse.codegen.cuda.device.probe import Found
from blockfuse.codegen.cuda.native import isa
from blockfuse.codegen.cuda.native.cubin import cubin
from blockfuse.codegen.cuda.products import cublas
from blockfuse.codegen.cuda.products.cublas import CublasLt
from blockfuse.codegen.cuda.products.providers import MIN_MULTIPLICATIONS, loaded_product
from blockfuse.codegen.cuda.render import render
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.kernels.product_kernels import ProductKernel
from blockfuse.codegen.store import Store
from blockfuse.ir.errors import CudaError, DeviceLostError, DeviceMemoryError, NoDeviceKernelError
from blockfuse.ir.layout import Layout

_DEFAULT_SHARED_BYTES = 48 * 1024  # bytes of shared memory that a kernel has without asking
# What leaves the context of a process broken, as the driver names it.
_FATAL = (
    "ILLEGAL_ADDRESS",
    "ILLEGAL_INSTRUCTION",
    "INVALID_ADDRESS_SPACE",
    "INVALID_PC",
    "MISALIGNED_ADDRESS",
    "LAUNCH_FAILED",
    "LAUNCH_TIMEOUT",
    "HARDWARE_STACK_ERROR",
    "ECC_UNCORRECTABLE",
    "CONTEXT_IS_DESTROYED",
    "DEVICE_UNAVAILABLE",
)


class CudaDevice:
    """The first device that this process sees."""

    def __init__(self, found: Found) -> None:
        self.number = 0
        self.name = f"{found.name}, sm_{found.capability[0]}{found.capability[1]}"
        self._process = os.getpid()
        self._threads = threading.local()  # those that CUDA knows
        self._lost = ""
        self.core = self.tried(CoreDevice, self.number)
        self.check()
        multiprocessors = self.tried(lambda: self.core.properties.multiprocessor_count)
        self.machine: Machine = isa.machine(found.capability, multiprocessors)
        self.copies = CudaQueue(self)

    def check(self) -> None:
        if os.getpid() != self._process:
            self._lost = "the process was forked after CUDA had started: use the start method 'spawn'"
        if self._lost:
            raise DeviceLostError(f"{self.name} cannot be used any more: {self._lost}. backend='cpu' works")
        if not hasattr(self._threads, "known"):
            self.tried(self.core.set_current)
            self._threads.known = True

    def tried(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What a function of CUDA's packages gives; its errors become ours."""
        try:
            return function(*arguments, **options)
        except Exception as error:  # cuda.core has one class for all that a driver reports
            raise self._error(str(error)) from error

    def require(self, status: Any) -> None:
        """Go on if a function of the driver succeeded."""
        if status != cu.CUresult.CUDA_SUCCESS:
            raise self._error(status.name)

    def _error(self, text: str) -> CudaError:
        if "OUT_OF_MEMORY" in text:
            return DeviceMemoryError(
                f"{self.name} has too little memory left ({text}): use smaller batches, or backend='cpu'"
            )
        if any(word in text for word in _FATAL):
            self._lost = text
            return DeviceLostError(f"{self.name} cannot be used any more: {text}. backend='cpu' works")
        return CudaError(f"{self.name}: {text}")

    def finish(self) -> None:
        (status,) = cu.cuCtxSynchronize()
        self.require(status)

    # -- what programs are made of ---------------------------------------------------------------------------

    def render(self, kernel: Kernel, wide: bool, alone: bool) -> DeviceSource:
        return render(kernel, wide=wide, alone=alone)

    def load(self, kernel: Kernel, source: DeviceSource, store: Store, precision: str) -> Any:
        if isinstance(kernel, ProductKernel):
            load = partial(self.compiled, store=store)
            return loaded_product(kernel, source, precision, self._library(), load, self._lasting)
        return self.compiled(source, store)

    def compiled(self, source: DeviceSource, store: Store) -> CudaKernel:
        try:
            code = cubin(source, self.machine, store)
        except Exception as error:  # Numba, NVVM and the linker have their own each
            raise NoDeviceKernelError(f"it does not compile: {' '.join(str(error).split())[:200]}") from error
        return CudaKernel(source, code, self)

    def _lasting(self, nbytes: int) -> CudaMemory:
        """Memory for work of any queue."""
        memory = self.copies.allocate(nbytes)
        self.copies.finish()  # it is there in the order of this queue
        return memory

    @property
    def precisions(self) -> tuple[str, ...]:
        return tuple(MIN_MULTIPLICATIONS) if self._library() else ("float32",)

    @lru_cache  # noqa: B019 - there is one device
    def _library(self) -> CublasLt | None:
        return cublas.found()

    def queue(self) -> CudaQueue:
        return CudaQueue(self)

    def pinned(self, nbytes: int) -> numpy.ndarray:
        buffer = self.tried(
            LegacyPinnedMemoryResource().allocate, max(nbytes, 1), stream=self.core.default_stream
        )
        memory = (ctypes.c_uint8 * nbytes).from_address(int(buffer.handle))
        memory.owner = buffer  # type: ignore[attr-defined]  # the array keeps one, which keeps the other
        return numpy.ctypeslib.as_array(memory)

    # -- other libraries -------------------------------------------------------------------------------------

    def exported(self, array: Resident, **options: Any) -> Any:
        stream = options.pop("stream", None)
        if stream not in (None, -1) and array.stream is not None:
            self.tried(_stream(stream).wait, _stream(array.stream))
        memory, _ = array.owner
        view = StridedMemoryView.from_buffer(memory.buffer, array.shape, dtype=array.dtype)
        return view.__dlpack__(stream=-1, **options)

    def imported(self, value: Any) -> Resident | None:
        view = self.tried(StridedMemoryView.from_dlpack, value, stream_ptr=self.copies.stream)
        shape = tuple(view.shape)
        if view.dtype is None or (view.strides and not Layout(shape, tuple(view.strides)).dense):
            return None
        return Resident(view.ptr, shape, view.dtype, self.copies.stream, view)


@lru_cache(maxsize=64)
def _stream(handle: int) -> Any:
    """A stream of another library; two numbers stand for the streams that every thread and every process have."""
    defaults = {0: LEGACY_DEFAULT_STREAM, 1: LEGACY_DEFAULT_STREAM, 2: PER_THREAD_DEFAULT_STREAM}
    return defaults.get(handle) or Stream.from_handle(handle)


class CudaMemory:
    """Memory of the driver's pool."""

    def __init__(self, buffer: Any) -> None:
        self.buffer, self.address = buffer, int(buffer.handle)


class CudaKernel:
    """A cubin in the device: one function for each stage."""

    def __init__(self, source: DeviceSource, code: bytes, device: CudaDevice) -> None:
        self.scratch = source.scratch
        self._stages = source.stages
        self._code = ObjectCode.from_cubin(code)
        self._entries = [device.tried(self._code.get_kernel, stage.entry) for stage in source.stages]
        self._launches: tuple[int, list[Any]] = (-1, [])  # rows of the last launch, and its configurations
        for stage, entry in zip(source.stages, self._entries, strict=True):
            if stage.shared_bytes > _DEFAULT_SHARED_BYTES:
                wanted = cu.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                (status,) = cu.cuKernelSetAttribute(wanted, stage.shared_bytes, entry.handle, device.number)
                device.require(status)

    def launch(self, target: Any, addresses: Sequence[int], rows: int) -> None:
        """Into a stream, or into a graph that is being built."""
        known, configurations = self._launches
        if known != rows:
            configurations = [
                LaunchConfig(grid=s.grid(rows), block=s.threads, shmem_size=s.shared_bytes)
                for s in self._stages
            ]
            self._launches = rows, configurations
        for configuration, entry in zip(configurations, self._entries, strict=True):
            launch(target, configuration, entry, *addresses, numpy.uint32(rows))


class _Capture:
    """Launches into a graph that is being built."""

    def __init__(self, device: CudaDevice, builder: Any) -> None:
        self._device, self._builder = device, builder

    def launch(self, kernel: Any, addresses: Sequence[int], rows: int) -> None:
        self._device.tried(kernel.launch, self._builder, addresses, rows)


class CudaQueue:
    """A stream; NOTE [streams]."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        options = StreamOptions(nonblocking=False)
        self._stream = device.tried(device.core.create_stream, options=options)
        self.stream = int(self._stream.handle)

    def allocate(self, nbytes: int) -> CudaMemory:
        resource = self._device.core.memory_resource
        return CudaMemory(self._device.tried(resource.allocate, nbytes, stream=self._stream))

    def upload(self, target: int, source: numpy.ndarray) -> None:
        if source.nbytes:
            (status,) = cu.cuMemcpyHtoDAsync(target, source.ctypes.data, source.nbytes, self.stream)
            self._device.require(status)

    def download(self, target: numpy.ndarray, source: int) -> None:
        if target.nbytes:
            (status,) = cu.cuMemcpyDtoHAsync(target.ctypes.data, source, target.nbytes, self.stream)
            self._device.require(status)
        self.finish()

    def copy(self, target: int, source: Resident) -> None:
        nbytes = prod(source.shape) * source.dtype.itemsize
        (status,) = cu.cuMemcpyDtoDAsync(target, source.address, nbytes, self.stream)
        self._device.require(status)

    def launch(self, kernel: Any, addresses: Sequence[int], rows: int) -> None:
        self._device.tried(kernel.launch, self._stream, addresses, rows)

    def captured(self, work: Callable[[Launcher], None]) -> Callable[[], None]:
        # A stream of its own, without ties to the default stream: what others do there in between would be an error.
        builder = self._device.tried(self._device.core.create_graph_builder)
        self._device.tried(builder.begin_building)
        try:
            work(_Capture(self._device, builder))
        finally:
            self._device.tried(builder.end_building)
        graph = self._device.tried(builder.complete)
        self._device.tried(graph.upload, self._stream)
        return lambda: self._device.tried(graph.launch, self._stream)

    def follow(self, stream: int) -> None:
        self._device.tried(self._stream.wait, _stream(stream))

    def lead(self, stream: int) -> None:
        self._device.tried(_stream(stream).wait, self._stream)

    def finish(self) -> None:
        self._device.tried(self._stream.sync)
