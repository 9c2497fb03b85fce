"""What a call of a program on a device runs first: arguments checked, wherever they lie, and results as they should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

import numpy

from blockfuse.array.modes import UNUSUAL
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.cuda.device.device import Device, Resident, Value
from blockfuse.codegen.cuda.program.executable import Executable
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind
from blockfuse.ir.errors import FaultError
from blockfuse.runtime.arrays.foreign import maker, pending_array, resident_of, returned, taken


def entry_of(executable: Executable) -> Callable[..., Any]:
    """A function of arrays that answers NotImplemented where dispatch must take over, as native entries do."""
    buffers = [buffer for _, buffer in executable.plan.buffers(BufferKind.ARGUMENT)]
    least, device = executable.plan.schedule.min_items, executable.device

    def entry(*arguments: Any) -> Any:
        if not executable.validity.holds or UNUSUAL[0] or len(arguments) != len(buffers):
            return NotImplemented
        if len(set(map(id, arguments))) < len(arguments):  # forward may ask whether two arguments are one
            return NotImplemented
        values = [_value(a, device) for a in arguments]
        if not _fit(values, buffers, least) or not executable.is_proven(_items(values, buffers)):
            return NotImplemented
        like = next((a for a in arguments if type(a) not in (ndarray, numpy.ndarray)), None)
        try:
            results = executable.run(values, make=None if like is None else maker(like))
        except FaultError:
            return NotImplemented
        if results is None:
            return NotImplemented
        executable.served[0] += 1
        made = [_made(r, device, like) for r in results]
        if arguments and all(type(a) is numpy.ndarray for a in arguments):
            made = [array._data for array in made]
        return made[0] if len(made) == 1 else tuple(made)

    return entry


def _value(argument: Any, device: Device) -> Value | None:
    """What a program takes for an argument; None for what it does not know, or cannot take as it lies."""
    if type(argument) not in (ndarray, numpy.ndarray):
        return taken(argument, device)
    if type(argument) is ndarray and argument._pending is not None:
        return resident_of(argument, device)
    data = argument if type(argument) is numpy.ndarray else argument._data
    return data if data.flags.c_contiguous and data.flags.aligned else None


def _fit(values: list[Value | None], buffers: list[Buffer], least: int) -> TypeGuard[list[Value]]:
    """Whether the arguments are of the recorded types, and of one size of the batch."""
    items = None
    for value, buffer in zip(values, buffers, strict=True):
        if value is None or value.dtype != buffer.type.dtype or len(value.shape) != buffer.type.ndim:
            return False
        if buffer.rows_per_item:
            items = value.shape[0] if items is None else items
            if items < least or value.shape != buffer.shape_for(items):
                return False
        elif value.shape != buffer.type.shape:
            return False
    return True


def _items(values: list[Value], buffers: list[Buffer]) -> int:
    """Of the batch, where the program is for any number."""
    return next((v.shape[0] for v, buffer in zip(values, buffers, strict=True) if buffer.rows_per_item), 0)


def _made(result: Value, device: Device, like: Any) -> Any:
    """A result as an array of ours, or of the library that ``like`` is of."""
    if like is not None:
        assert isinstance(result, Resident), "an argument on the device gives results there"
        return returned(result, device, like)
    return pending_array(result, device) if isinstance(result, Resident) else ndarray(result)
