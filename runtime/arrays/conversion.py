"""Arrays of other libraries among the arguments of a call: ours on the same memory inside, theirs again in the result."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy

from blockfuse.array import stamps
from blockfuse.array.ndarray import ndarray
from blockfuse.runtime.arrays.foreign import (
    is_array_type,
    pending_array,
    resident_of,
    returned,
    taken,
    uploaded,
)

if TYPE_CHECKING:
    from blockfuse.codegen.cuda.device.device import Device


class ArrayConversion:
    """NumPy in, NumPy out: who passes plain arrays (and none of ours) gets plain arrays.

    Who passes an array that lies on a device gets arrays there. find_device: the one that programs run on, if any.
    """

    def __init__(self, find_device: Callable[[], Device | None] = lambda: None) -> None:
        self.made: list[ndarray] = []
        self.ours = False
        self.foreign: Any = None  # the first array that lies on the device
        self._find_device = find_device
        self._exposed = False
        self._met: dict[int, Any] = {}  # id of an array, list, tuple or dict -> what stands for it

    def expose(self) -> None:
        """Python will see the arrays, and NumPy's own may write their memory, and that of results."""
        self._exposed = True
        for array in self.made:
            stamps.expose(array._data)

    def wrapped(self, value: Any) -> Any:
        """``value`` with NumPy's arrays as ours, on the same memory."""
        kind = type(value)
        if kind is ndarray:
            self.ours = True
            return value
        if isinstance(value, numpy.ndarray) or kind is tuple or kind is list or kind is dict:
            if id(value) not in self._met:
                self._met[id(value)] = value  # it may hold itself
                self._met[id(value)] = self._wrapped_anew(value)
            return self._met[id(value)]
        return self._wrapped_foreign(value) if is_array_type(kind) else value

    def _wrapped_foreign(self, value: Any) -> Any:
        device = self._find_device()
        resident = None if device is None else taken(value, device)
        if device is None or resident is None:
            return value
        if id(value) not in self._met:
            self.foreign = value if self.foreign is None else self.foreign
            self._met[id(value)] = pending_array(resident, device)
            self.made.append(self._met[id(value)])
        return self._met[id(value)]

    def _wrapped_anew(self, value: Any) -> Any:
        if isinstance(value, numpy.ndarray):
            self.made.append(ndarray(_native(value)))
            return self.made[-1]
        if type(value) is dict:
            wrapped = {k: self.wrapped(v) for k, v in value.items()}
            return value if all(wrapped[k] is v for k, v in value.items()) else wrapped
        items = [self.wrapped(v) for v in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else type(value)(items)

    def unwrapped(self, value: Any) -> Any:
        if self.foreign is not None:
            return _with_data(value, self._on_device)
        return value if not self.made or self.ours else _with_data(value, self._left)

    def _left(self, array: ndarray) -> numpy.ndarray:
        data = array._leave("NumPy arrays in, NumPy arrays out")
        if self._exposed:
            stamps.expose(data)
        return data

    def _on_device(self, array: ndarray) -> Any:
        device = self._find_device()
        assert device is not None, "it took an argument"
        resident = resident_of(array, device)
        if resident is None:
            resident = uploaded(array._leave("arrays of a device in, arrays of the device out"), device)
        return returned(resident, device, self.foreign)


def plain_result(value: Any) -> Any:
    """What a program gave, with NumPy's arrays for ours."""
    return _with_data(value, attrgetter("_data"))


def _with_data(value: Any, data: Callable[[ndarray], numpy.ndarray]) -> Any:
    """``value`` with ``data(array)`` in the place of each of our arrays."""
    kind = type(value)
    if kind is ndarray:
        return data(value)
    if kind is tuple or kind is list:
        return kind(_with_data(v, data) for v in value)
    return {k: _with_data(v, data) for k, v in value.items()} if kind is dict else value


def _native(value: numpy.ndarray) -> numpy.ndarray:
    """A plain array in the machine's byte order."""
    if isinstance(value, numpy.ma.MaskedArray):
        raise TypeError("a masked array has values that count and values that do not: pass x.filled(...)")
    if not value.dtype.isnative:
        return value.astype(value.dtype.newbyteorder("="))
    return value if type(value) is numpy.ndarray else value.view(numpy.ndarray)
