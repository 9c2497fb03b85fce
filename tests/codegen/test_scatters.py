"""Kernels that add or put at the places of index arrays, against NumPy bit for bit; an index beyond its axis."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from graphs import LEVELS, Native, graph, graph_for, meant
from hypothesis import given
from hypothesis import strategies as st
from patterns import Picked, picked
from sampling import sampled
from stages import hold_together

from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.kernels.kernel import Reach
from blockfuse.codegen.kernels.scatter_kernel import ScatterKernel
from blockfuse.codegen.scheduling.steps import HostCall, Launch
from blockfuse.ir.errors import FaultError
from blockfuse.ir.operators import indexing, movement

ROWS = (("array", 0),)
EMBEDDED = "float32[50, 24]"


OPERATORS = st.sampled_from((indexing.add_at, indexing.put_at))


def scattered(case: Picked, operator: Any = indexing.add_at) -> Any:
    return lambda x, value, *arrays: operator(x, value, *arrays, pattern=case.pattern)


@st.composite
def added(draw: st.DrawFn) -> tuple[Picked, numpy.ndarray]:
    """An index, and what is added there: numbers of any size, so that their order shows, broadcast in some way."""
    case = draw(picked())
    shape = case.table[case.numpy_index].shape
    shape = tuple(n if draw(st.booleans()) else 1 for n in shape)[draw(st.integers(0, len(shape))) :]
    rng = numpy.random.default_rng(draw(st.integers(0, 99)))
    values = rng.normal(size=shape) * 10.0 ** rng.integers(-2, 3, shape)
    return case, values.astype(case.table.dtype)


def launched(native: Native) -> ScatterKernel:
    (kernel,) = (s.kernel for s in native.schedule.launches if isinstance(s.kernel, ScatterKernel))
    return kernel


@given(added(), OPERATORS, st.sampled_from(LEVELS), st.sampled_from([1, 2]))
@sampled(4, 80)
def test_kernels_do_what_numpy_does(
    case: tuple[Picked, numpy.ndarray], operator: Any, level: str, threads: int
) -> None:
    picks, value = case
    values = [picks.table, value, *picks.arrays]
    native = Native(graph_for(scattered(picks, operator), values), level, threads)
    wanted = picks.table.copy()
    if operator is indexing.add_at:
        numpy.add.at(wanted, picks.numpy_index, value)
    else:
        wanted[picks.numpy_index] = value
    numpy.testing.assert_array_equal(native(*values)[0], wanted, strict=True)
    hosted = any(isinstance(step, HostCall) for step in native.schedule.steps)
    assert hosted == (picks.table.dtype == "float16")


@given(added(), OPERATORS)
@sampled(10, 60)
def test_all_stages_mean_the_same(case: tuple[Picked, numpy.ndarray], operator: Any) -> None:
    picks, value = case
    values = [picks.table, value, *picks.arrays]
    recorded = graph_for(scattered(picks, operator), values)
    hold_together(recorded, values, [], isa.machine(), source=True, compiled=False)


@given(added(), st.data())
@sampled(4, 25)
def test_an_index_beyond_its_axis_is_a_fault(case: tuple[Picked, numpy.ndarray], data: st.DataObject) -> None:
    picks, value = case
    if not picks.table[picks.numpy_index].size:
        return
    number = data.draw(st.integers(0, len(picks.arrays) - 1))
    array, size = picks.arrays[number], picks.walked[number]
    wrong = array.copy()
    wrong.reshape(-1)[data.draw(st.integers(0, array.size - 1))] = data.draw(st.sampled_from((size, 127)))
    values = [picks.table, value, *picks.arrays]
    native = Native(graph_for(scattered(picks), values), threads=2)
    with pytest.raises(FaultError):
        native(*values[: 2 + number], wrong, *values[3 + number :])


@pytest.mark.parametrize(
    ("types", "pattern", "by_place"),
    [
        ({"x": EMBEDDED, "v": "float32[9, 24]", "i": "int64[9]"}, ROWS, True),
        (
            {"x": EMBEDDED, "v": "float32[50, 9]", "i": "int64[9]"},
            (("slice", None, None, None), *ROWS),
            False,
        ),
        ({"x": EMBEDDED, "v": "float32[50, 3]", "i": "int64[50, 3]"}, (("along", 0, 2), ("array", 0)), False),
        ({"x": EMBEDDED, "v": "float32[3, 24]", "i": "int64[3, 24]"}, (("array", 0), ("along", 1, 2)), True),
        ({"x": "float32[50]", "v": "float32[]", "i": "int64[]"}, ROWS, True),
    ],
    ids=["rows", "columns", "along rows", "along columns", "one"],
)
def test_threads_share_rows_that_do_not_meet_or_else_places(types: Any, pattern: Any, by_place: bool) -> None:
    recorded = graph(lambda x, v, i: indexing.add_at(x, v, i, pattern=pattern), **types)
    rng = numpy.random.default_rng(1)
    shapes = [leaf.shape for leaf in recorded.inputs]
    values = [rng.normal(size=s).astype("float32") for s in shapes[:2]]
    values.append(rng.integers(-24, 24, shapes[2]))
    native = Native(recorded)
    assert launched(native).by_place == by_place
    numpy.testing.assert_array_equal(native(*values)[0], meant(recorded, values)[0], strict=True)


def test_of_several_values_for_one_place_the_last_stays_with_two_threads_too() -> None:
    rng = numpy.random.default_rng(2)
    x, value = numpy.zeros((97, 64), "float32"), rng.normal(size=(20000, 64)).astype("float32")
    index = rng.integers(0, 97, 20000)
    native = Native(
        graph_for(lambda x, v, i: indexing.put_at(x, v, i, pattern=ROWS), [x, value, index]), threads=2
    )
    (step,) = (s for s in native.schedule.launches if isinstance(s.kernel, ScatterKernel))
    assert step.rows >= 2 * step.grain
    wanted = x.copy()
    wanted[index] = value
    numpy.testing.assert_array_equal(native(x, value, index)[0], wanted, strict=True)


def test_two_threads_add_in_the_order_of_one() -> None:
    rng = numpy.random.default_rng(2)
    value = (rng.normal(size=(20000, 64)) * 10.0 ** rng.integers(-3, 4, (20000, 1))).astype("float32")
    index = rng.integers(0, 97, 20000)

    def summed(v: Any, i: Any) -> Any:
        return indexing.add_at(movement.filled(0, (97, 64), v.dtype), v, i, pattern=ROWS)

    native = Native(graph_for(summed, [value, index]), threads=2)
    (step,) = (s for s in native.schedule.launches if isinstance(s.kernel, ScatterKernel))
    assert step.rows >= 2 * step.grain
    wanted = numpy.zeros((97, 64), "float32")
    numpy.add.at(wanted, index, value)
    for _ in range(3):
        numpy.testing.assert_array_equal(native(value, index)[0], wanted, strict=True)


def test_nothing_dense_is_made_of_a_table_but_its_gradient() -> None:
    recorded = graph(
        lambda v, i: indexing.add_at(movement.filled(0, (5000, 64), v.dtype), v, i, pattern=ROWS),
        v="float32[32, 64]",
        i="int64[32]",
    )
    schedule = Native(recorded).schedule
    assert schedule.workspace.fixed < 1000
    assert all(b.type.size < 5000 for b in schedule.buffers if b.name != "out0")


@pytest.mark.parametrize("empty", [(0,), (0, 4)])
def test_nothing_is_added_where_there_are_no_indices(empty: tuple[int, ...]) -> None:
    x, index = numpy.arange(12.0).reshape(3, 4), numpy.zeros(empty[:1], "int64")
    native = Native(
        graph_for(
            lambda x, v, i: indexing.add_at(x, v, i, pattern=ROWS), [x, numpy.zeros((*empty[:1], 4)), index]
        )
    )
    assert all(isinstance(step, Launch) for step in native.schedule.steps)
    numpy.testing.assert_array_equal(native(x, numpy.zeros((*empty[:1], 4)), index)[0], x, strict=True)


def test_other_dtypes_than_that_of_the_result_are_numpys() -> None:
    values = [numpy.zeros(3, "float32"), numpy.array([0.1, 0.2]), numpy.array([1, 1])]
    native = Native(graph_for(lambda x, v, i: indexing.add_at(x, v, i, pattern=ROWS), values))
    assert [type(step) for step in native.schedule.steps] == [HostCall]
    wanted = values[0].copy()
    numpy.add.at(wanted, values[2], values[1])
    numpy.testing.assert_array_equal(native(*values)[0], wanted, strict=True)


def test_a_scatter_says_what_a_row_touches() -> None:
    recorded = graph(
        lambda x, v, i: indexing.add_at(x, v, i, pattern=(("along", 0, 2), ("array", 0))),
        x="float32[8, 5]",
        v="float32[8, 3]",
        i="int32[8, 3]",
    )
    kernel = launched(Native(recorded))
    assert [name for name, _ in kernel.pointers] == ["x0", "x1", "fault", "out"]
    assert kernel.reaches() == [[Reach(3, 0, 2)], [Reach(3, 0, 2)], [Reach(0, 0, 0)], [Reach(5, 0, 4)]]
