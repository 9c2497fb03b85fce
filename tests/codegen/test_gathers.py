"""Kernels that pick by index arrays against NumPy, and what they do about an index beyond its axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from graphs import LEVELS, Native, graph, graph_for, meant
from hypothesis import given
from hypothesis import strategies as st
from patterns import INDEX_DTYPES, Picked, picked, rows_of
from sampling import sampled

from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.kernels.loop_kernels import MapKernel
from blockfuse.codegen.scheduling.steps import HostCall, Strip
from blockfuse.ir.errors import FaultError
from blockfuse.ir.graph import Graph
from blockfuse.ir.operators import contractions, indexing, movement, neural

pytestmark = pytest.mark.spread(3)


@given(picked(smallest=0), st.sampled_from(LEVELS))
@sampled(10, 40)
def test_kernels_pick_what_numpy_picks(case: Picked, level: str) -> None:
    def pick(x: Any, *arrays: Any) -> Any:
        return indexing.take_at(x, *arrays, pattern=case.pattern)

    values = [case.table, *case.arrays]
    native = Native(graph_for(pick, values), level)
    (found,) = native(*values)
    wanted = case.table[case.numpy_index]
    numpy.testing.assert_array_equal(found, wanted, strict=True)
    assert bool(wanted.size) == (not any(isinstance(s, HostCall) for s in native.schedule.steps))


@given(picked(), st.data())
@sampled(4, 25)
def test_an_index_beyond_its_axis_is_a_fault(case: Picked, data: st.DataObject) -> None:
    def pick(x: Any, *arrays: Any) -> Any:
        return indexing.take_at(x, *arrays, pattern=case.pattern)

    number = data.draw(st.integers(0, len(case.arrays) - 1))
    array, size = case.arrays[number], case.walked[number]
    place = data.draw(st.integers(0, array.size - 1))
    wrong = array.copy()
    beyond = (size, size + 7, 127) if array.dtype == "uint8" else (size, -size - 1, 127, -128)
    wrong.reshape(-1)[place] = data.draw(st.sampled_from(beyond))
    native = Native(graph_for(pick, [case.table, *case.arrays]))
    wanted = case.table[case.numpy_index]
    if not wanted.size:
        return
    for _ in range(2):
        with pytest.raises(FaultError):
            native(case.table, *case.arrays[:number], wrong, *case.arrays[number + 1 :])
        numpy.testing.assert_array_equal(native(case.table, *case.arrays)[0], wanted, strict=True)


@pytest.mark.spread(2)
@pytest.mark.parametrize("dtype", INDEX_DTYPES)
@pytest.mark.parametrize("size", [1, 2, 127])
def test_every_value_of_an_index_is_an_element_or_a_fault(dtype: str, size: int) -> None:
    table, bounds = numpy.arange(size) * 3, numpy.iinfo(dtype)
    native = Native(graph_for(rows_of, [table, numpy.zeros(1, dtype)]))
    near = {0, 1, -1, size - 1, size, -size, -size - 1, bounds.min, bounds.max}
    for index in (numpy.array([n], dtype) for n in near if bounds.min <= n <= bounds.max):
        try:
            wanted = table[index]
        except IndexError:
            with pytest.raises(FaultError):
                native(table, index)
        else:
            numpy.testing.assert_array_equal(native(table, index)[0], wanted)


def test_unsigned_indices_wrap_as_numpy_has_them() -> None:
    table, index = numpy.arange(5), numpy.array([2**64 - 1, 2, 2**64 - 5], "uint64")
    (found,) = Native(graph_for(rows_of, [table, index]))(table, index)
    numpy.testing.assert_array_equal(found, table[index])


@pytest.mark.spread(2)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("width", [1, 3, 16, 33])
def test_what_follows_is_in_the_same_kernel(level: str, width: int) -> None:
    rng = numpy.random.default_rng(1)
    values = [
        rng.random((10, width)).astype("float32"),
        rng.integers(-10, 10, (4, 3)),
        rng.random((3, width)).astype("float32"),
    ]
    recorded = graph_for(lambda w, i, p: neural.relu(rows_of(w, i) * 2.0 - p), values)
    native = Native(recorded, level)
    assert [launch.kernel.name for launch in native.schedule.launches] == ["take_at_multiply_subtract_relu"]
    numpy.testing.assert_allclose(native(*values)[0], meant(recorded, values)[0], rtol=1e-6)


def names(recorded: Graph) -> list[str]:
    """The kernels of a graph."""
    return [launch.kernel.name for launch in compile_flow(recorded, isa.machine()).schedule.launches]


INTS = {"w": "float32[10, 8]", "i": "int64[5]", "j": "int64[5]"}


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("function", "kernels"),
    [
        (lambda w, i, j: rows_of(w, i) + rows_of(w, j), ["take_at_take_at_add"]),
        (lambda w, i, j: rows_of(rows_of(w, i), j), ["take_at", "take_at"]),
        (lambda w, i, j: rows_of(w, i + j) * 2, ["add", "take_at_multiply"]),
        (
            lambda w, i, j: neural.softmax(rows_of(w, i), axis=1),
            ["take_at", "max_subtract_exp_and_2"],
        ),
        (
            lambda w, i, j: rows_of(w, i) * neural.softmax(rows_of(w, j) * 2, axis=1),
            ["take_at", "take_at", "multiply_max_subtract_and_4"],
        ),
        (lambda w, i, j: (rows_of(w, i), rows_of(w, i) + 1), ["take_at", "add"]),
    ],
    ids=["two", "of one", "of a sum", "folded", "beside a fold", "needed twice"],
)
def test_groups_with_gathers(function: Callable[..., Any], kernels: list[str]) -> None:
    recorded = graph(function, **INTS)
    assert sorted(names(recorded)) == sorted(kernels)
    rng = numpy.random.default_rng(2)
    values = [rng.random((10, 8)).astype("float32"), rng.integers(0, 5, 5), rng.integers(0, 5, 5)]
    for found, wanted in zip(Native(recorded)(*values), meant(recorded, values), strict=True):
        numpy.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_an_index_is_read_in_its_own_way_also_where_it_is_a_value() -> None:
    """The group reads ``i`` along its last axis, the gather along its first."""
    values = [numpy.arange(30.0).reshape(5, 6), numpy.array([1, 4, 0, 2, 3, 3])]
    recorded = graph_for(lambda w, i: rows_of(w, i) + i, values)
    numpy.testing.assert_array_equal(Native(recorded)(*values)[0], meant(recorded, values)[0])


@pytest.mark.parametrize("axis", [0, 1])
def test_an_axis_of_one_element_is_broadcast_along_the_indices(axis: int) -> None:
    """All of the steps along it are none: what lies behind the table is nobody's."""
    shapes = ((1, 5), (3, 2)) if axis else ((5, 1), (2, 3))
    values = [numpy.arange(5.0).reshape(shapes[0]), numpy.array([0, -1, 2, 3, -5, 4]).reshape(shapes[1])]
    recorded = graph_for(lambda w, i: indexing.along_axis(w, i, axis), values)
    assert names(recorded) == ["take_at"]
    wanted = numpy.take_along_axis(*values, axis=axis)
    numpy.testing.assert_array_equal(Native(recorded)(*values)[0], wanted, strict=True)


def test_a_table_may_be_a_view() -> None:
    def flipped(w: Any, i: Any) -> Any:
        view = movement.transpose(movement.flip(w, axis=(1,)), axes=(1, 0))
        return indexing.take_at(view, i, pattern=(("slice", 1, None, 2), ("array", 0)))

    values = [numpy.arange(35.0).reshape(5, 7), numpy.array([-1, 0, 3])]
    recorded = graph_for(flipped, values)
    assert names(recorded) == ["take_at"]
    numpy.testing.assert_array_equal(Native(recorded)(*values)[0], meant(recorded, values)[0])


@pytest.mark.spread(2)
@pytest.mark.parametrize("threads", [1, 2])
def test_large_results_are_written_past_the_caches(threads: int) -> None:
    rng = numpy.random.default_rng(3)
    for shape in ((600, 8192), (1 << 20,)):
        table = rng.random((64, *shape[1:])).astype("float64" if len(shape) > 1 else "float32")
        index = rng.integers(-64, 64, shape[0] if len(shape) > 1 else 5 << 20)
        native = Native(graph_for(rows_of, [table, index]), threads=threads)
        kernel = native.schedule.launches[0].kernel
        assert isinstance(kernel, MapKernel)
        assert kernel.nontemporal or len(shape) > 1
        numpy.testing.assert_array_equal(native(table, index)[0], table[index])
        index[-1] = 64
        with pytest.raises(FaultError):
            native(table, index)


def test_gathers_stand_in_strips() -> None:
    recorded = graph(
        lambda w, i, d: neural.relu(contractions.matmul(rows_of(w, i) * 2, d)),
        parameters="w d",
        w="float32[20000, 128]",
        i="int64[16384]",
        d="float32[128, 128]",
    )
    native = Native(recorded, threads=2)
    assert [type(s) for s in native.schedule.steps] == [Strip]
    rng = numpy.random.default_rng(9)
    values = [rng.random((20000, 128)), rng.integers(-20000, 20000, 16384), rng.random((128, 128)) - 0.5]
    given_values = [v.astype("float32") if v.dtype.kind == "f" else v for v in values]
    numpy.testing.assert_allclose(
        native(*given_values)[0], meant(recorded, given_values)[0], rtol=1e-4, atol=1e-4
    )
    given_values[1][300] = 20000
    with pytest.raises(FaultError):
        native(*given_values)


def test_a_table_that_a_strip_writes_is_not_picked_from_in_it() -> None:
    recorded = graph(
        lambda x, d, i: rows_of(neural.relu(contractions.matmul(x, d)), i) * 2,
        parameters="d",
        x="float32[512, 128]",
        d="float32[128, 128]",
        i="int64[512]",
    )
    native = Native(recorded, threads=2)
    rng = numpy.random.default_rng(10)
    values = [rng.random(s).astype("float32") - 0.5 for s in ((512, 128), (128, 128))]
    index = rng.permutation(512)
    for step in native.schedule.steps:
        launches = step.launches if isinstance(step, Strip) else (step,)
        assert len({"take_at" in getattr(one, "kernel", step).name for one in launches}) == 1
    numpy.testing.assert_allclose(
        native(*values, index)[0], meant(recorded, [*values, index])[0], rtol=1e-4, atol=1e-4
    )
