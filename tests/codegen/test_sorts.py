"""Kernels of sorts against NumPy's stable ones: equal elements, nan, both zeros, along every axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from graphs import LEVELS, Native, graph, graph_for
from hypothesis import given
from hypothesis import strategies as st
from sampling import sampled
from stages import hold_together

from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.scheduling.steps import HostCall
from blockfuse.ir.operators import movement, sorting

SORTS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sort": (sorting.sort, numpy.sort),
    "argsort": (sorting.argsort, numpy.argsort),
}
SPECIAL = (numpy.nan, -numpy.inf, numpy.inf, 0.0, -0.0, 1.0, -1.0)


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, numpy.ndarray, int]:
    """A sort and elements many of which are equal."""
    shape = tuple(draw(st.lists(st.integers(0, 6), min_size=1, max_size=3)))
    dtype = draw(st.sampled_from(("float32", "float64", "float16", "int8", "int64", "uint64", "bool")))
    rng = numpy.random.default_rng(draw(st.integers(0, 99)))
    values = rng.choice(SPECIAL, shape) if dtype.startswith("float") else rng.integers(0, 4, shape)
    return draw(st.sampled_from(sorted(SORTS))), values.astype(dtype), draw(st.integers(0, len(shape) - 1))


def wanted(name: str, values: numpy.ndarray, axis: int) -> numpy.ndarray:
    result: numpy.ndarray = SORTS[name][1](values, axis=axis, kind="stable")
    return result


@given(lines(), st.booleans(), st.sampled_from(LEVELS), st.sampled_from([1, 2]))
@sampled(3, 80)
def test_kernels_sort_as_numpy(
    case: tuple[str, numpy.ndarray, int], turned: bool, level: str, threads: int
) -> None:
    name, values, axis = case

    def function(x: Any) -> Any:
        return SORTS[name][0](movement.flip(x, axis=(axis,)) if turned else x, axis=axis)

    native = Native(graph_for(function, [values]), level, threads)
    (found,), expected = native(values), wanted(name, numpy.flip(values, axis) if turned else values, axis)
    numpy.testing.assert_array_equal(found, expected, strict=True)
    if values.dtype.kind == "f":
        numpy.testing.assert_array_equal(
            numpy.signbit(found[found == 0]), numpy.signbit(expected[expected == 0])
        )
    hosted = any(isinstance(step, HostCall) for step in native.schedule.steps)
    assert hosted == (values.dtype == "float16" or not values.shape[axis])


@given(lines())
@sampled(10, 60)
def test_all_stages_mean_the_same(case: tuple[str, numpy.ndarray, int]) -> None:
    name, values, axis = case
    recorded = graph_for(lambda x: SORTS[name][0](x, axis=axis), [values])
    hold_together(recorded, [values], [], isa.machine(), source=True, compiled=False)


@pytest.mark.parametrize(("extent", "hosted"), [(32, False), (33, True)])
def test_long_lines_are_numpys(extent: int, hosted: bool) -> None:
    (step,) = Native(graph(lambda x: sorting.sort(x, axis=1), x=f"float32[3, {extent}]")).schedule.steps
    assert isinstance(step, HostCall) == hosted
