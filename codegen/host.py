"""Operators without a kernel: their NumPy meaning on arrays of the host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy

from blockfuse.codegen.schedule import Schedule
from blockfuse.codegen.steps import HostCall
from blockfuse.ir.errors import FaultError
from blockfuse.ir.layout import Layout
from blockfuse.ir.stream import STREAM


def host_result(call: HostCall, arrays: dict[int, numpy.ndarray]) -> numpy.ndarray:
    """What ``call`` gives; raises FaultError. arrays: number of a buffer -> its array."""
    operands = [_seen(arrays[number], layout) for number, layout in call.operands]
    try:
        with numpy.errstate(all="ignore"):
            return numpy.array(call.operator.meaning(*operands, **call.attrs), order="C")
    except Exception as error:  # which Python raises where the user can catch it
        raise FaultError(f"{call.operator.name} raised {error!r}") from error


@contextmanager
def nothing_drawn_in_vain(draws: bool) -> Iterator[None]:
    """A call that raises FaultError runs again, so where it ``draws``, the stream is set back."""
    stream = STREAM.generator.bit_generator
    before = stream.state if draws else None
    try:
        yield
    except FaultError:
        if before is not None:
            stream.state = before
        raise


def draws(schedule: Schedule) -> bool:
    """Whether some operator draws random numbers, and a call may come to nothing for another one."""
    hosts = [step.operator for step in schedule.steps if isinstance(step, HostCall)]
    others = schedule.fault is not None or not all(operator.random for operator in hosts)
    return others and any(operator.random for operator in hosts)


def _seen(array: numpy.ndarray, layout: Layout) -> numpy.ndarray:
    """A buffer through a layout."""
    flat = array.reshape(-1)[layout.offset :]
    strides = tuple(s * array.itemsize for s in layout.strides)
    return numpy.lib.stride_tricks.as_strided(flat, layout.shape, strides, writeable=False)
