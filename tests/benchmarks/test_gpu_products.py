"""The measurement of products, over memory of the host: what it calls, and that it sees wrong results."""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import pytest

from benchmarks.gpu_products import SHAPES, product_times
from blockfuse.codegen.cuda.products.tile_choice import candidates, choose_tile
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.kernels.machine import ProductShape

SHAPE = (6, 20, 10)


class Memory:
    def __init__(self, nbytes: int) -> None:
        self.bytes = numpy.full(nbytes, 0xFF, "uint8")
        self.address = self.bytes.ctypes.data


class Queue:
    """A device's queue whose memory is the host's."""

    allocate = Memory

    def upload(self, target: int, source: numpy.ndarray) -> None:
        ctypes.memmove(target, source.ctypes.data, source.nbytes)

    def download(self, target: numpy.ndarray, source: int) -> None:
        ctypes.memmove(target.ctypes.data, source, target.nbytes)

    def launch(self, kernel: Any, addresses: Sequence[int], rows: int) -> None:
        kernel(addresses, rows)

    def finish(self) -> None:
        pass


class Kernel:
    """Dense with ReLU, plus ``wrong`` in one element."""

    def __init__(self, source: DeviceSource, wrong: float) -> None:
        self.scratch, self.wrong, self.pointers = source.scratch, wrong, len(source.parameters)

    def __call__(self, addresses: Sequence[int], rows: int) -> None:
        assert len(addresses) == self.pointers
        _, inner, units = SHAPE
        x, weight, bias, out = (
            numpy.frombuffer((ctypes.c_float * size).from_address(address), "float32")
            for address, size in zip(addresses, (rows * inner, inner * 12, units, rows * units), strict=False)
        )
        result = numpy.maximum(x.reshape(rows, inner) @ weight.reshape(inner, 12)[:, :units] + bias, 0)
        out[:] = result.ravel()
        out[7] += self.wrong


def timed(call: Callable[[], None], finish: Callable[[], None]) -> float:
    call()
    finish()
    return 2.0


@pytest.mark.parametrize(("wrong", "passes"), [(0.0, True), (1.0, False)])
def test_every_candidate_is_checked_and_timed(wrong: float, passes: bool) -> None:
    times = product_times(SHAPE, lambda source: Kernel(source, wrong), Queue(), timed)
    wanted = ProductShape(1, *SHAPE, 12, "float32")
    assert len(times) == len(candidates(wanted)) == len({t.by for t in times})
    assert all((t.relative < 1e-6) == passes for t in times)
    assert times[0].teraflops == pytest.approx(2 * 6 * 20 * 10 / 2.0 * 1e-6)
    (chosen,) = [t for t in times if t.chosen]
    assert f"{choose_tile(wanted).rows}x{choose_tile(wanted).columns}" in chosen.by


def test_the_shapes_are_those_of_the_measures() -> None:
    assert {(64, 784, 512), (64, 512, 256), (64, 256, 10), (4096, 1024, 4096)} <= set(SHAPES)
