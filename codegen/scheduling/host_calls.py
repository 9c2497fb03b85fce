"""Operators without a kernel: their NumPy meaning on arrays of the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy

from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.scheduling.steps import HostCall
from blockfuse.ir.errors import FaultError
from blockfuse.ir.layout import Layout
from blockfuse.ir.signal_handlers import came_from_handler
from blockfuse.ir.stream import STREAM


def host_result(call: HostCall, arrays: dict[int, numpy.ndarray]) -> numpy.ndarray:
    """What ``call`` gives; raises FaultError. arrays: number of a buffer -> its array."""
    operands = [_seen(arrays[number], layout) for number, layout in call.operands]
    try:
        with numpy.errstate(all="ignore"):
            return numpy.array(call.operator.meaning(*operands, **call.attrs), order="C")
    except Exception as error:  # which Python raises where the user can catch it
        if came_from_handler(error):
            raise
        raise FaultError(f"{call.operator.name} raised {error!r}") from error


def around_calls(schedule: Schedule) -> Callable[[], AbstractContextManager[None]]:
    """What a call runs in: one that raises FaultError runs again, and must not have drawn in vain."""
    return _nothing_drawn_in_vain if _draws(schedule) else nullcontext


@contextmanager
def _nothing_drawn_in_vain() -> Iterator[None]:
    """Set the random stream back where a call raises FaultError."""
    stream = STREAM.generator.bit_generator
    before = stream.state
    try:
        yield
    except FaultError:
        stream.state = before
        raise


def _draws(schedule: Schedule) -> bool:
    """Whether some operator draws random numbers, and a call may come to nothing for another one."""
    hosts = [step.operator for step in schedule.steps if isinstance(step, HostCall)]
    others = schedule.fault is not None or not all(operator.random for operator in hosts)
    return others and any(operator.random for operator in hosts)


def _seen(array: numpy.ndarray, layout: Layout) -> numpy.ndarray:
    """A buffer through a layout."""
    flat = array.reshape(-1)[layout.offset :]
    strides = tuple(s * array.itemsize for s in layout.strides)
    return numpy.lib.stride_tricks.as_strided(flat, layout.shape, strides, writeable=False)
