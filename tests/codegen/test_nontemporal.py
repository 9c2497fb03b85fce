"""Results written past the caches are the same results, whatever their size and wherever they start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from graphs import LEVELS, Native, graph, graph_for, meant
from tolerances import TOLERANCES

from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.ir.operators import neural, pointwise, reductions

ALWAYS = Machine(vector_bytes=64, accumulators=28, features="", name="avx512", min_nontemporal_bytes=1)


@pytest.fixture
def _always(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every result is large."""
    monkeypatch.setattr(isa, "MIN_NONTEMPORAL_BYTES", 1)
    isa.machine.cache_clear()
    yield
    isa.machine.cache_clear()


def numbers(*shape: int, dtype: str = "float32") -> Any:
    return numpy.random.default_rng(7).uniform(-2, 2, shape).astype(dtype)


def check(function: Callable[..., Any], *values: numpy.ndarray, level: str = "", threads: int = 1) -> None:
    recorded = graph_for(function, values)
    native = Native(recorded, level, threads)
    assert all(launch.kernel.nontemporal for launch in native.schedule.launches)  # type: ignore[attr-defined]
    assert "stream(near, out" in native.sources[0]
    rtol, atol = TOLERANCES[values[0].dtype.name]
    for found, wanted in zip(native(*values), meant(recorded, values), strict=True):
        numpy.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol)


@pytest.mark.spread(3)
@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("size", [2, 15, 16, 63, 1024, 1025, 5003])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_flat_maps(size: int, dtype: str) -> None:
    check(lambda x: x * 2 + 1, numbers(size, dtype=dtype))


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("columns", [2, 3, 16, 17, 250])
def test_maps_with_a_row_that_is_repeated(columns: int) -> None:
    check(lambda x, b: neural.relu(x + b), numbers(37, columns), numbers(columns))


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("columns", [1, 5, 16, 33, 256])
def test_rows(columns: int) -> None:
    check(lambda x: neural.softmax(x * 3, axis=1), numbers(29, columns))


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("level", LEVELS)
def test_every_level_of_instructions(level: str) -> None:
    check(lambda x: x * 2, numbers(777), level=level)


@pytest.mark.usefixtures("_always")
def test_several_threads() -> None:
    check(lambda x: pointwise.tanh(x) * x, numbers(300_001), threads=3)
    check(lambda x: neural.softmax(x, axis=1), numbers(1501, 67), threads=3)


def streams(function: Callable[..., Any], machine: Machine = ALWAYS, **types: str) -> list[bool]:
    found = compile_flow(graph(function, **types), machine).schedule
    return [getattr(launch.kernel, "nontemporal", False) for launch in found.launches]


def test_only_large_results_that_nobody_reads_again_are_streamed() -> None:
    def read_again(x: Any) -> Any:
        total = reductions.sum_(x * 2, axis=(0,), keepdims=False)
        return x * 2, total

    small = Machine(
        vector_bytes=64, accumulators=28, features="", name="avx512", min_nontemporal_bytes=1 << 24
    )
    assert streams(lambda x: x * 2, x="float32[1000]") == [True]
    assert streams(lambda x: x * 2, small, x="float32[1000]") == [False]
    assert streams(lambda x: x * 2, x="int32[1000]") == [False]
    assert True not in streams(read_again, x="float32[1000, 3]")[:1]
    assert streams(lambda x: neural.softmax(x, axis=1), x="float32[3, 5000]") == [False]
