"""Kernels of scans against NumPy bit for bit, whoever has which lines."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from graphs import LEVELS, Native, graph, graph_for
from hypothesis import given
from hypothesis import strategies as st
from sampling import sampled
from stages import hold_together

from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.kernels.scan_kernel import ScanKernel
from blockfuse.codegen.scheduling.steps import HostCall
from blockfuse.ir.operators import movement, sorting

SCANS = {"cumsum": numpy.cumsum, "cumprod": numpy.cumprod}


@st.composite
def scanned(draw: st.DrawFn) -> tuple[str, numpy.ndarray, int]:
    """A scan, and numbers of any size, so that the order of additions shows."""
    shape = tuple(draw(st.lists(st.integers(0, 7), min_size=1, max_size=4)))
    dtype = draw(st.sampled_from(("float32", "float64", "float16", "int8", "int64", "uint8", "bool")))
    rng = numpy.random.default_rng(draw(st.integers(0, 99)))
    values = rng.normal(size=shape) * 10.0 ** rng.integers(-2, 3, shape)
    return (
        draw(st.sampled_from(sorted(SCANS))),
        values.astype("int16").astype(dtype),
        draw(st.integers(0, len(shape) - 1)),
    )


def function_of(name: str, axis: int, turned: bool) -> Any:
    """The scan of an array, or of a view that no kernel walks as it lies."""

    def function(x: Any) -> Any:
        seen = (
            movement.flip(movement.transpose(x, axes=tuple(reversed(range(x.ndim)))), axis=(0,))
            if turned
            else x
        )
        return getattr(sorting, name)(seen, axis=axis)

    return function


def wanted(name: str, values: numpy.ndarray, axis: int, turned: bool) -> numpy.ndarray:
    with numpy.errstate(all="ignore"):
        return SCANS[name](numpy.flip(values.T, 0) if turned else values, axis)


@given(scanned(), st.booleans(), st.sampled_from(LEVELS), st.sampled_from([1, 2]))
@sampled(4, 80)
def test_kernels_scan_as_numpy(
    case: tuple[str, numpy.ndarray, int], turned: bool, level: str, threads: int
) -> None:
    name, values, axis = case
    native = Native(graph_for(function_of(name, axis, turned), [values]), level, threads)
    numpy.testing.assert_array_equal(native(values)[0], wanted(name, values, axis, turned), strict=True)
    hosted = any(isinstance(step, HostCall) for step in native.schedule.steps)
    assert hosted == (values.dtype == "float16")


@given(scanned(), st.booleans())
@sampled(10, 60)
def test_all_stages_mean_the_same(case: tuple[str, numpy.ndarray, int], turned: bool) -> None:
    name, values, axis = case
    recorded = graph_for(function_of(name, axis, turned), [values])
    hold_together(recorded, [values], [], isa.machine(), source=True, compiled=False)


@pytest.mark.parametrize(
    ("shape", "axis", "rows", "neighbours"),
    [((64, 9), 1, 64, False), ((64, 9), 0, 9, True), ((4, 9, 5), 1, 4, False), ((99,), 0, 1, False)],
)
def test_lines_are_shared_out(shape: tuple[int, ...], axis: int, rows: int, neighbours: bool) -> None:
    recorded = graph(lambda x: sorting.cumsum(x, axis=axis), x=f"float32{list(shape)}")
    (launch,) = Native(recorded).schedule.launches
    assert isinstance(launch.kernel, ScanKernel)
    assert (launch.rows, launch.kernel.rows_are_neighbours) == (rows, neighbours)


def test_the_first_element_keeps_its_sign() -> None:
    values = numpy.array([[-0.0, -0.0], [-0.0, 1.0]], "float32")
    (found,) = Native(graph_for(lambda x: sorting.cumsum(x, axis=1), [values]))(values)
    numpy.testing.assert_array_equal(numpy.signbit(found), numpy.signbit(numpy.cumsum(values, 1)))


def test_two_threads_add_in_the_order_of_one() -> None:
    rng = numpy.random.default_rng(2)
    values = (rng.normal(size=(900, 200)) * 10.0 ** rng.integers(-3, 4, (900, 200))).astype("float32")
    for axis in (0, 1):
        native = Native(graph_for(lambda x, a=axis: sorting.cumsum(x, axis=a), [values]), threads=2)
        numpy.testing.assert_array_equal(native(values)[0], numpy.cumsum(values, axis), strict=True)
