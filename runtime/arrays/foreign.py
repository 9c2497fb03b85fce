"""Arrays in a device's memory: those of other libraries as arguments, and ours as results.

NOTE [arrays on a device]
An array that lies on a device stands in our code as an ``ndarray`` that is pending: it has a type, and no data until
Python asks for it, which copies it to the host. Programs of the device take it as it is. Its copy on the host cannot be
written, since the device's memory would not be.
"""

from __future__ import annotations

import sys
import weakref
from functools import partial
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.cuda.device.device import Device, Make, Resident
from blockfuse.ir.errors import UsageError
from blockfuse.ir.layout import Layout
from blockfuse.runtime.arrays.libraries import LIBRARIES, dtype_named, library_of, refused_layout

_CUDA = 2  # DLPack's number for memory of a CUDA device
_ORDERED = (None, 0, 1)  # the default stream, for which queues wait by themselves


class DeviceArray:
    """A result in a device's memory, for callers whose library has no ``from_dlpack``."""

    def __init__(self, resident: Resident, device: Device) -> None:
        self._resident, self._device = resident, device

    @property
    def shape(self) -> tuple[int, ...]:
        return self._resident.shape

    @property
    def dtype(self) -> numpy.dtype:
        return self._resident.dtype

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3 of the interface; whoever reads waits for ``stream``."""
        one = self._resident
        return {
            "shape": one.shape,
            "typestr": one.dtype.str,
            "data": (one.address, False),
            "strides": None,
            "stream": one.stream,
            "version": 3,
        }

    def __dlpack__(self, **options: Any) -> Any:
        return self._device.exported(self._resident, **options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA, self._device.number

    def asnumpy(self) -> numpy.ndarray:
        """A NumPy copy of the values."""
        return downloaded(self._resident, self._device)

    def __repr__(self) -> str:
        return f"DeviceArray({self.dtype}{list(self.shape)} on {self._device.name})"


class OnDevice:
    """Stands for the data of an array that lies on a device; NOTE [arrays on a device]."""

    segment = None  # no call defers it
    number = -1

    def __init__(self, array: ndarray, resident: Resident, device: Device) -> None:
        self._array = weakref.ref(array)
        self.resident, self.device = resident, device

    @property
    def shape(self) -> tuple[int, ...]:
        return self.resident.shape

    @property
    def dtype(self) -> numpy.dtype:
        return self.resident.dtype

    def compute(self) -> None:
        """Copy to the host."""
        data = downloaded(self.resident, self.device)
        data.flags.writeable = False
        array = self._array()
        if array is not None:
            array._data = data
            array._pending = None


def pending_array(resident: Resident, device: Device) -> ndarray:
    """An array that lies on the device."""
    array = ndarray.__new__(ndarray)
    array._pending = OnDevice(array, resident, device)
    return array


def resident_of(array: ndarray, device: Device | None) -> Resident | None:
    """Where ``array`` lies on ``device``, if it does."""
    pending = array._pending
    return pending.resident if isinstance(pending, OnDevice) and pending.device is device else None


def downloaded(resident: Resident, device: Device) -> numpy.ndarray:
    """A copy on the host."""
    device.check()
    data = numpy.empty(resident.shape, resident.dtype)
    if data.size:
        queue = device.copies
        if resident.stream is not None:
            queue.follow(resident.stream)
        queue.download(data, resident.address)
    return data


def uploaded(data: numpy.ndarray, device: Device) -> Resident:
    """A copy on the device."""
    device.check()
    queue = device.copies
    memory = queue.allocate(max(data.nbytes, 1))
    queue.upload(memory.address, numpy.ascontiguousarray(data))
    queue.finish()
    return Resident(memory.address, data.shape, data.dtype, queue.stream, (memory, queue))


# -- arguments -------------------------------------------------------------------------------------------------


def is_array_type(kind: type) -> bool:
    """Whether objects of a type may lie on a device. Asked of the type: numbers that are recorded see who asks them."""
    return hasattr(kind, "__cuda_array_interface__") or hasattr(kind, "__dlpack__")


def taken(value: Any, device: Device) -> Resident | None:
    """The array behind ``value``, an object of another library; None where it is none of a device."""
    if not is_array_type(type(value)):
        return None
    library = LIBRARIES.get(library_of(value))
    if library is not None and library.read is not None:
        return library.read(value)
    interface = getattr(value, "__cuda_array_interface__", None)
    if interface is not None:
        return _of_interface(value, interface)
    ask = getattr(value, "__dlpack_device__", None)
    if ask is None or ask()[0] != _CUDA:
        return None
    found = device.imported(value)
    if found is None:
        raise refused_layout(value)
    return found


def _of_interface(value: Any, interface: dict[str, Any]) -> Resident:
    dtype, shape = dtype_named(interface["typestr"]), interface["shape"]
    address, strides = interface["data"][0] or 0, interface.get("strides")
    if interface.get("mask") is not None:
        raise UsageError("an array with a mask has values that count and values that do not: fill it first")
    if strides is not None and not Layout(shape, tuple(s // dtype.itemsize for s in strides)).dense:
        return _of_interface(copy := _contiguous(value), copy.__cuda_array_interface__)
    stream = interface.get("stream")
    return Resident(address, shape, dtype, None if stream in _ORDERED else stream, value)


def _contiguous(value: Any) -> Any:
    """A copy in C order, made by the library of ``value``."""
    library = LIBRARIES.get(library_of(value))
    if library is None:
        raise refused_layout(value)
    return library.contiguous(value)


# -- results ---------------------------------------------------------------------------------------------------


def maker(like: Any) -> Make | None:
    """What makes arrays of the library that ``like`` is of, where it is quicker than ``returned`` of our own memory."""
    library = LIBRARIES.get(library_of(like))
    return None if library is None else partial(library.empty, like)


def returned(resident: Resident, device: Device, like: Any) -> Any:
    """A result as an array of the library that ``like`` is of."""
    if type(resident.owner) is type(like):
        return resident.owner
    array = DeviceArray(resident, device)
    convert = getattr(sys.modules.get(library_of(like)), "from_dlpack", None)
    return array if convert is None else convert(array)
