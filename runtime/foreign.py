"""Arrays in a device's memory: those of other libraries as arguments, and ours as results.

NOTE [arrays on a device]
An array that lies on a device stands in our code as an ``ndarray`` with a promise: it has a type, and no data until
Python asks for it, which copies it to the host. Programs of the device take it as it is. Its copy on the host cannot be
written, since the device's memory would not be.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.cuda.device import Device, Resident
from blockfuse.ir.errors import DTypeError, UsageError
from blockfuse.ir.layout import Layout
from blockfuse.ir.types import DTYPES

_CUDA = 2  # DLPack's number for memory of a CUDA device
_ORDERED = (0, 1)  # the default stream, for which queues wait by themselves


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
    """The promise of an array that lies on a device; NOTE [arrays on a device]."""

    segment = None  # no call notes it
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

    def keep(self) -> None:
        """Copy to the host."""
        data = downloaded(self.resident, self.device)
        data.flags.writeable = False
        array = self._array()
        if array is not None:
            array._data = data
            array._promise = None


def promised(resident: Resident, device: Device) -> ndarray:
    """An array that lies on the device."""
    array = ndarray.__new__(ndarray)
    array._promise = OnDevice(array, resident, device)
    return array


def resident_of(array: ndarray, device: Device | None) -> Resident | None:
    """Where ``array`` lies on ``device``, if it does."""
    promise = array._promise
    return promise.resident if isinstance(promise, OnDevice) and promise.device is device else None


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


def taken(value: Any, device: Device) -> Resident | None:
    """The array behind ``value``, an object of another library; None where it is none of a device."""
    interface = getattr(value, "__cuda_array_interface__", None)
    if interface is not None:
        return _of_interface(value, interface)
    ask = getattr(value, "__dlpack_device__", None)
    if ask is None or ask()[0] != _CUDA:
        return None
    found = device.imported(value)
    return _refuse_layout(value) if found is None else found


def _of_interface(value: Any, interface: dict[str, Any]) -> Resident:
    dtype, shape = numpy.dtype(interface["typestr"]), tuple(interface["shape"])
    address = interface["data"][0] or 0
    if dtype.name not in DTYPES:
        raise DTypeError(f"dtype {dtype} is not supported; use one of {', '.join(DTYPES)}")
    if interface.get("mask") is not None:
        raise UsageError("an array with a mask has values that count and values that do not: fill it first")
    strides = interface.get("strides")
    if strides is not None and not Layout(shape, tuple(s // dtype.itemsize for s in strides)).dense:
        _refuse_layout(value)
    if address % dtype.itemsize:
        raise UsageError(
            f"an argument of type {type(value).__name__} does not lie at a multiple of its item's size"
        )
    return Resident(address, shape, dtype, _stream_of(value, interface), value)


def _refuse_layout(value: Any) -> NoReturn:
    raise UsageError(
        f"an argument of type {type(value).__name__} does not lie in C order on the device: pass a contiguous copy"
    )


def _stream_of(value: Any, interface: dict[str, Any]) -> int | None:
    """The stream that a queue must wait for."""
    stream = interface.get("stream")
    if stream is None:
        root = _library(value)
        stream = _CURRENT[root](sys.modules[root]) if root in _CURRENT else None
    return None if stream in _ORDERED else stream


# Library -> the stream that its arrays are written in, where their interface does not say it.
_CURRENT: dict[str, Callable[[Any], int]] = {"torch": lambda torch: torch.cuda.current_stream().cuda_stream}


# -- results ---------------------------------------------------------------------------------------------------


def returned(resident: Resident, device: Device, like: Any) -> Any:
    """A result as an array of the library that ``like`` is of."""
    array = DeviceArray(resident, device)
    convert = getattr(sys.modules.get(_library(like)), "from_dlpack", None)
    return array if convert is None else convert(array)


def _library(value: Any) -> str:
    return type(value).__module__.partition(".")[0]
