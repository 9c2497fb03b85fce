"""Calls on a device: arrays put there, results over memory that holds NaN, and how long calls take."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy

import blockfuse
from benchmarks.gpu_cases import Family, Shape
from blockfuse import nn, np
from blockfuse.codegen.cuda.device.device import Device, Resident
from blockfuse.runtime.arrays.foreign import DeviceArray, downloaded, uploaded
from blockfuse.runtime.inspection import settled

_ROUNDS = 9
_ROUND = 0.02  # seconds; a call that takes as long is timed once


@dataclass(frozen=True)
class Found:
    """One case of a family. relative: the largest difference from float64, over the largest element."""

    family: str
    shapes: tuple[Shape, ...]
    relative: float
    passed: bool
    hosted: tuple[str, ...]  # kernels that ran on the processor


def hybridized(net: Any) -> Any:
    """A net or function for the device."""
    if isinstance(net, nn.Block):
        net.hybridize(backend="cuda")
        return net
    return blockfuse.hybridize(net, backend="cuda")


def drawn(shapes: tuple[Shape, ...], dtype: str = "float32") -> list[numpy.ndarray]:
    """Random values: between -1 and 1, or whole numbers below 100."""
    generator = numpy.random.default_rng()
    if numpy.dtype(dtype).kind == "f":
        return [generator.uniform(-1, 1, shape).astype(dtype) for shape in shapes]
    return [generator.integers(0, 100, shape, dtype=dtype) for shape in shapes]


def checked(family: Family, shapes: tuple[Shape, ...], device: Device) -> Found:
    """A program of the family, run on the device over results that hold NaN, beside NumPy in float64."""
    data, net = drawn(shapes, family.dtype), family.make()
    wanted = _in_float64(net, data)
    compiled = hybridized(net)
    program = settled(compiled, [np.array(x) for x in data]).program
    assert program is not None, f"{family.name} has no program"
    executable: Any = program.executable
    executable.run(_put(data, device), make=_poisoned(device))  # launches one by one, then as a graph
    results = [executable.run(_put(data, device), make=_poisoned(device)) for _ in range(3)]
    relative = max(_difference(wanted, downloaded(result[0], device)) for result in results)
    hosted = tuple(kernel.name for kernel in executable.plan.reasons)
    return Found(family.name, shapes, relative, relative <= family.limit, hosted)


def _put(data: list[numpy.ndarray], device: Device) -> list[Resident]:
    return [uploaded(x, device) for x in data]


def _poisoned(device: Device) -> Callable[[Shape, numpy.dtype], tuple[int, Any]]:
    def make(shape: Shape, dtype: numpy.dtype) -> tuple[int, Any]:
        bytes = numpy.full((*shape, dtype.itemsize), 0xFF, numpy.uint8)
        made = uploaded(bytes, device)
        return made.address, made.owner

    return make


def _in_float64(net: Any, data: list[numpy.ndarray]) -> numpy.ndarray:
    wide = [x.astype("float64") if x.dtype.kind == "f" else x for x in data]
    if isinstance(net, nn.Block):
        net = copy.deepcopy(net)
        net.cast("float64")
    result: numpy.ndarray = net(*map(np.array, wide)).asnumpy()
    return result


def _difference(wanted: numpy.ndarray, found: numpy.ndarray) -> float:
    if wanted.shape != found.shape or not numpy.isfinite(found).all():
        return float("inf")
    return float(numpy.abs(found - wanted).max(initial=0) / (numpy.abs(wanted).max(initial=0) or 1.0))


# -- times -----------------------------------------------------------------------------------------------------


def microseconds(call: Callable[[], Any], finish: Callable[[], None]) -> float:
    """Of a call when many are given one after the other: the median of several rounds."""
    for _ in range(2):  # the second one makes graphs
        call()
    finish()
    count = 1
    while (took := _time_of(call, finish, count)) < _ROUND:
        count *= 2
    times = [took] + [_time_of(call, finish, count) for _ in range(_ROUNDS if count > 1 else 0)]
    return statistics.median(times) / count * 1e6


def _time_of(call: Callable[[], Any], finish: Callable[[], None], count: int) -> float:
    started = perf_counter()
    for _ in range(count):
        call()
    finish()
    return perf_counter() - started


def device_arrays(data: list[numpy.ndarray], device: Device, torch: Any) -> list[Any]:
    """Arguments on the device, torch's where it is there."""
    if torch is not None:
        return [torch.as_tensor(x, device="cuda") for x in data]
    return [DeviceArray(uploaded(x, device), device) for x in data]


def copy_speeds(device: Device, nbytes: int) -> dict[str, float]:
    """Gigabytes a second: read plus written within the device, and to and from pinned memory of the host."""
    queue, host = device.queue(), device.pinned(nbytes)
    one, other = queue.allocate(nbytes), queue.allocate(nbytes)
    whole = Resident(one.address, (nbytes,), numpy.dtype("uint8"), None, one)
    within = microseconds(lambda: queue.copy(other.address, whole), queue.finish)
    there = microseconds(lambda: queue.upload(one.address, host), queue.finish)
    back = microseconds(lambda: queue.download(host, one.address), queue.finish)
    return {"within": 2e-3 * nbytes / within, "to": 1e-3 * nbytes / there, "from": 1e-3 * nbytes / back}
