"""Operators without a kernel: their NumPy meaning on arrays of the host."""

from __future__ import annotations

import numpy

from blockfuse.codegen.schedule import HostCall
from blockfuse.ir.layout import Layout


def host_result(call: HostCall, arrays: dict[int, numpy.ndarray]) -> numpy.ndarray:
    """What ``call`` gives. arrays: number of a buffer -> its array."""
    operands = [_seen(arrays[number], layout) for number, layout in call.operands]
    with numpy.errstate(all="ignore"):
        return numpy.array(call.operator.meaning(*operands, **call.attrs), order="C")


def _seen(array: numpy.ndarray, layout: Layout) -> numpy.ndarray:
    """A buffer through a layout."""
    flat = array.reshape(-1)[layout.offset :]
    strides = tuple(s * array.itemsize for s in layout.strides)
    return numpy.lib.stride_tricks.as_strided(flat, layout.shape, strides, writeable=False)
