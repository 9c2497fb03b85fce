"""Device kernels in the simulator against the NumPy meaning of their graphs; ``test_cuda_simulator.py`` starts this file."""

import threading
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy
import pytest
from graphs import graph_for, meant
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from patterns import Picked, picked
from simulated import Simulated
from test_kernels import DTYPES_OF, GROUPS, assert_same, graphs, operands_of, random, values_with_ties

from blockfuse.codegen.cuda.device.kernel_simulator import Pointer, run
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage
from blockfuse.ir.graph import Graph
from blockfuse.ir.lowering import Contraction
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import (
    drawing,
    indexing,
    movement,
    neural,
    normalization,
    pointwise,
    reductions,
    sorting,
)
from blockfuse.ir.stream import STREAM


def assert_simulated(
    function: Callable[..., Any], values: list[numpy.ndarray], ulp: float = 8, **options: Any
) -> Simulated:
    """The kernels of a function, run by the simulator, give what its graph means."""
    recorded = graph_for(function, values)
    program = Simulated(recorded, **options)
    for found, wanted in zip(program(*values), meant(recorded, values), strict=True):
        assert_same(found, wanted, ulp)
    return program


def assert_accurate(function: Callable[..., Any], values: list[numpy.ndarray], **options: Any) -> Simulated:
    """No further from the result in float64 than twice what NumPy is in float32, plus one unit."""
    recorded = graph_for(function, values)
    program = Simulated(recorded, **options)
    (found,), (plain,) = program(*values), meant(recorded, values)
    (wanted,) = meant(recorded, [v.astype("float64") for v in values])
    assert (found.shape, found.dtype) == (plain.shape, plain.dtype)
    ours, theirs = (numpy.abs(v.astype("float64") - wanted).max() for v in (found, plain))
    assert ours <= 2 * theirs + numpy.spacing(numpy.float32(numpy.abs(wanted).max()))
    return program


# -- along the lines of an axis ------------------------------------------------------------------------------


@given(
    st.sampled_from(["float32", "float64", "int8", "bool"]),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.data(),
)
@settings(max_examples=20)
def test_kernels_scan_in_the_order_of_numpy(dtype: str, shape: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    scan = data.draw(st.sampled_from([sorting.cumsum, sorting.cumprod]))
    values = random(tuple(shape), dtype)
    assert_simulated(lambda x: scan(movement.flip(x, axis=(axis,)), axis=axis), [values], ulp=0)


@given(
    st.sampled_from(["float32", "float64", "int8", "bool"]),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.data(),
)
@settings(max_examples=20)
def test_kernels_sort_as_numpy(dtype: str, shape: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    sort = data.draw(st.sampled_from([sorting.sort, sorting.argsort]))
    choices = [numpy.nan, -1.0, 0.0, -0.0, 1.0] if dtype.startswith("float") else [0, 1, 2]
    values = numpy.random.default_rng(data.draw(st.integers(0, 99))).choice(choices, shape).astype(dtype)
    assert_simulated(lambda x: sort(movement.flip(x, axis=(axis,)), axis=axis), [values], ulp=0)


# -- picking by index ----------------------------------------------------------------------------------------


@given(picked())
@settings(max_examples=30)
def test_kernels_pick_what_numpy_picks(case: Picked) -> None:
    wanted = case.table[case.numpy_index]
    assume(wanted.size)
    values = [case.table, *case.arrays]
    program = Simulated(
        graph_for(lambda x, *arrays: indexing.take_at(x, *arrays, pattern=case.pattern), values)
    )
    numpy.testing.assert_array_equal(program(*values)[0], wanted, strict=True)
    assert not program.fault


def test_parts_of_rows_that_are_not_aligned_are_picked_one_by_one() -> None:
    table, index = random((9, 7), "float32"), numpy.array([3, -9, 8])
    pattern = (("array", 0), ("slice", 0, 4, None))
    assert_simulated(lambda w, i: indexing.take_at(w, i, pattern=pattern), [table, index])


def test_a_table_may_be_seen_backwards() -> None:
    table, index = random((9, 8), "float32"), numpy.array([3, -9, 8])

    def flipped(w: Any, i: Any) -> Any:
        return indexing.take_at(movement.flip(w, axis=(0, 1)), i, pattern=(("array", 0),))

    assert_simulated(flipped, [table, index])


def test_picked_rows_may_stand_beside_a_transposed_matrix() -> None:
    table, index, x = random((20, 16), "float32"), numpy.arange(-9, 0), random((16, 9), "float32", seed=1)

    def added(w: Any, i: Any, x: Any) -> Any:
        return indexing.take_at(w, i, pattern=(("array", 0),)) + movement.transpose(x, axes=(1, 0))

    assert len(assert_simulated(added, [table, index, x]).sources) == 1


@pytest.mark.parametrize("width", [1, 7, 8, 132])
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bool"])
def test_rows_of_a_table_are_picked_in_wide_loads_or_not(width: int, wide: bool, dtype: str) -> None:
    table, index = random((9, width), "float32") > 0, numpy.array([[3, -9, 8], [0, -1, 2]])
    table = table if dtype == "bool" else random((9, width), "float32").astype(dtype)
    recorded = graph_for(lambda w, i: indexing.take_at(w, i, pattern=(("array", 0),)), [table, index])
    program = Simulated(recorded, wide=wide)
    assert ("ldv4" in program.sources[0].text) == (wide and width % 4 == 0)
    numpy.testing.assert_array_equal(program(table, index)[0], table[index], strict=True)
    for beyond in (9, -10, 2**62, -(2**63)):
        index[1, 2] = beyond
        program(table, index)
        assert program.fault


# -- adding and putting by index ------------------------------------------------------------------------------


@given(picked(), st.integers(0, 99), st.sampled_from([32, 64]))
@settings(max_examples=30)
def test_kernels_add_what_numpy_adds(case: Picked, seed: int, threads: int) -> None:
    wanted, rng = case.table.copy(), numpy.random.default_rng(seed)
    shape = case.table[case.numpy_index].shape
    assume(wanted.dtype != "float16" and all(shape))
    value = (rng.normal(size=shape) * 10.0 ** rng.integers(-2, 3, shape)).astype(wanted.dtype)
    values = [case.table, value, *case.arrays]
    recorded = graph_for(lambda x, v, *a: indexing.add_at(x, v, *a, pattern=case.pattern), values)
    program = Simulated(recorded, threads=threads)
    numpy.add.at(wanted, case.numpy_index, value)
    numpy.testing.assert_array_equal(program(*values)[0], wanted, strict=True)
    assert not program.fault


@given(picked(), st.integers(0, 99), st.sampled_from([32, 64]))
@settings(max_examples=15)
def test_kernels_put_what_numpy_puts(case: Picked, seed: int, threads: int) -> None:
    wanted, rng = case.table.copy(), numpy.random.default_rng(seed)
    shape = case.table[case.numpy_index].shape
    assume(wanted.dtype != "float16" and all(shape))
    values = [case.table, rng.normal(size=shape).astype(wanted.dtype), *case.arrays]
    recorded = graph_for(lambda x, v, *a: indexing.put_at(x, v, *a, pattern=case.pattern), values)
    wanted[case.numpy_index] = values[1]
    numpy.testing.assert_array_equal(Simulated(recorded, threads=threads)(*values)[0], wanted, strict=True)


@pytest.mark.parametrize("shape", [(70, 3), (3, 70), (300,), (3, 5, 9)])
@pytest.mark.parametrize("axis", [0, 1])
def test_many_elements_come_to_few_places_in_order(shape: tuple[int, ...], axis: int) -> None:
    """The steps of an index are shared out among threads by the places that they come to."""
    rng, axis = numpy.random.default_rng(3), min(axis, len(shape) - 1)
    pattern = (*(("slice", None, None, None),) * axis, ("array", 0))
    index = rng.integers(-shape[axis], shape[axis], 50)
    picks = numpy.zeros(shape, "float32")[(*(slice(None),) * axis, index)].shape
    value = (rng.normal(size=picks) * 10.0 ** rng.integers(-3, 4, picks)).astype("float32")
    x = random(shape, "float32")
    recorded = graph_for(lambda x, v, i: indexing.add_at(x, v, i, pattern=pattern), [x, value, index])
    program, wanted = Simulated(recorded), x.copy()
    assert "part" in program.sources[-1].text
    numpy.add.at(wanted, (*(slice(None),) * axis, index), value)
    numpy.testing.assert_array_equal(program(x, value, index)[0], wanted, strict=True)
    index[20] = shape[axis]
    program(x, value, index)
    assert program.fault


# -- pointwise -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", DTYPES_OF, ids=lambda r: r.name)
def test_maps_give_the_meaning_of_the_row_in_every_dtype(row: Operator) -> None:
    arity = len(row.examples[0].shapes)
    operands = [operands_of(row, dtype, *[(19,)] * arity) for dtype in DTYPES_OF[row]]

    def each(*xs: Any) -> tuple[Any, ...]:
        return tuple(row(*xs[n : n + arity], **row.examples[0].attrs) for n in range(0, len(xs), arity))

    assert_simulated(each, [x for xs in operands for x in xs])


@pytest.mark.parametrize("size", [1, 3, 4, 127, 128, 129])
@pytest.mark.parametrize("wide", [True, False])
def test_maps_end_where_the_array_ends(size: int, wide: bool) -> None:
    assert_simulated(lambda x: x * 3, [random((size,), "float32")], wide=wide)


BROADCASTS = [
    ((5, 8), (8,)),
    ((5, 7), (7,)),
    ((4, 1), (1, 8)),
    ((2, 3, 4), (3, 1)),
    ((), (4, 3)),
    ((3, 8), (3, 1)),
]


@pytest.mark.parametrize("shapes", BROADCASTS)
def test_operands_are_broadcast(shapes: tuple[tuple[int, ...], ...]) -> None:
    assert_simulated(pointwise.subtract, [random(s, "float32", seed=n) for n, s in enumerate(shapes)])


@pytest.mark.parametrize(
    "view",
    [
        lambda x: movement.flip(x, axis=(0, 1)),
        lambda x: movement.flip(x, axis=(0,)),
        lambda x: movement.get_item(x, index=(("slice", 1, 12, 2), ("slice", 4, 12, 1))),
        lambda x: movement.get_item(x, index=(("slice", 11, -1, -2), ("slice", 0, 12, 3))),
        lambda x: movement.reshape(
            movement.get_item(x, index=(("slice", 0, 12, 2), ("slice", 0, 12, 1))), shape=(72,)
        ),
    ],
)
def test_views_are_read_in_place(view: Callable[[Any], Any]) -> None:
    program = assert_simulated(lambda x: view(x) * 2, [random((12, 12), "float32")])
    assert len(program.launches) <= 2


@pytest.mark.parametrize("source", ["float32", "float64", "int32", "uint8", "int64"])
def test_casts_give_what_numpy_gives(source: str) -> None:
    targets = [d for d in ("float32", "int8", "int32", "int64", "uint8", "uint64", "bool") if d != source]
    x = random((20,), source, -300.0, 300.0)
    if x.dtype.kind == "f":
        x[:9] = numpy.nan, numpy.inf, -numpy.inf, 3e9, -3e9, 1e19, -1e19, 70000.5, -40000.5
    assert_simulated(lambda x: tuple(pointwise.cast(x, dtype=d) for d in targets), [x], ulp=0)


@pytest.mark.parametrize("shape", [(40, 33), (8, 70), (33, 5)])
def test_transposes_go_through_tiles(shape: tuple[int, int]) -> None:
    program = assert_simulated(lambda x: movement.transpose(x, axes=(1, 0)), [random(shape, "float32")])
    assert ("tile0" in program.sources[0].text) == (shape[0] >= 8)


def test_inner_transposes_go_through_tiles_with_what_else_is_read() -> None:
    values = [random((3, 9, 35), "float32"), random((3, 35, 9), "float32", seed=1)]
    program = assert_simulated(lambda x, y: movement.transpose(x, axes=(0, 2, 1)) * 2 + y, values)
    assert "tile0" in program.sources[0].text


def test_arrays_are_joined() -> None:
    values = [random((4, 5), "float32"), random((4, 8), "int32")]
    assert_simulated(lambda x, y: movement.concatenate(x, y, axis=1), values)


# -- reductions ------------------------------------------------------------------------------------------------

REDUCTIONS = (reductions.sum_, reductions.prod, reductions.max_, reductions.min_)
AXES = [axes for count in (1, 2, 3) for axes in combinations(range(3), count)]


@pytest.mark.parametrize("axes", AXES)
def test_reductions_fold_any_axes(axes: tuple[int, ...]) -> None:
    x = random((3, 4, 5), "float32", 0.5, 1.5)
    assert_simulated(lambda x: tuple(row(x, axis=axes, keepdims=False) for row in REDUCTIONS), [x], ulp=100)


@pytest.mark.parametrize("dtype", ["float64", "int32", "int64", "uint8", "int8"])
@pytest.mark.parametrize("axis", [0, 1])
def test_reductions_fold_every_dtype(dtype: str, axis: int) -> None:
    x = random((7, 33), dtype, 0.5, 1.5)
    assert_simulated(
        lambda x: tuple(row(x, axis=(axis,), keepdims=False) for row in REDUCTIONS), [x], ulp=100
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_flags_are_folded(axis: int) -> None:
    x = random((5, 40), "bool")
    x[2] = x[:, 1] = True
    x[3] = x[:, 2] = False
    rows = (reductions.any_, reductions.all_)
    assert_simulated(lambda x: tuple(row(x, axis=(axis,), keepdims=False) for row in rows), [x])


@pytest.mark.parametrize("axis", [0, 1])
def test_a_nan_wins_every_extreme(axis: int) -> None:
    x = random((6, 40), "float32")
    x[1, 3] = x[4, 39] = numpy.nan
    x[2] = -numpy.inf
    rows = (reductions.max_, reductions.min_)
    assert_simulated(lambda x: tuple(row(x, axis=(axis,), keepdims=True) for row in rows), [x])


@pytest.mark.parametrize("shape", [(1, 1), (1, 1000), (300, 1), (300, 35)])
@pytest.mark.parametrize("threads", [32, 128])
def test_columns_are_shared_out_among_warps(shape: tuple[int, int], threads: int) -> None:
    x = random(shape, "float32", 0.5, 1.5)
    assert_simulated(lambda x: reductions.sum_(x, axis=(0,), keepdims=False), [x], ulp=100, threads=threads)


@pytest.mark.parametrize(("shape", "axis"), [((999, 3), 0), ((2, 999, 3), 1)])
def test_very_long_columns_are_folded_by_several_blocks(shape: tuple[int, ...], axis: int) -> None:
    x = random(shape, "float32", 0.5, 1.5)
    program = assert_accurate(lambda x: reductions.sum_(x * x, axis=(axis,), keepdims=False), [x], threads=64)
    assert len(program.sources[0].stages) == 2
    assert_simulated(lambda x: reductions.min_(x, axis=(axis,), keepdims=False), [random(shape, "int64")])


# -- rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("shape", [(5, 17), (3, 64)])
def test_groups_are_as_accurate_as_numpy(name: str, shape: tuple[int, int]) -> None:
    assert_accurate(GROUPS[name], [random(shape, "float32", -4.0, 4.0)])


# Extents that end a warp's, a block's and no group's registers, with and without four elements at once.
@pytest.mark.parametrize("extent", [1, 2, 33, 100, 1000, 1001, 2052, 2051, 6000, 6001])
def test_rows_of_any_length_are_normed(extent: int) -> None:
    values = [
        random((2, extent), "float32", -4.0, 4.0),
        *(random((extent,), "float32", seed=n) for n in range(2)),
    ]
    assert_accurate(lambda x, g, b: normalization.layer_norm(x, g, b, axis=(1,), epsilon=1e-5), values)


@pytest.mark.parametrize(
    ("shape", "channel", "folded"), [((70, 5), 1, (0,)), ((5, 3, 4, 6), 1, (0, 2, 3)), ((3, 40, 5), 2, (1,))]
)
def test_batches_and_instances_are_normed(
    shape: tuple[int, ...], channel: int, folded: tuple[int, ...]
) -> None:
    spread = (shape[channel], *(1,) * (len(shape) - channel - 1))
    x = random(shape, "float32", 1.0, 4.0)
    scales = [random(spread, "float32", 0.5, 1.5, seed=n) for n in range(2)]

    def trained(x: Any, gamma: Any, beta: Any) -> Any:
        average = reductions.mean(x, axis=folded, keepdims=True)
        variance = reductions.var(x, axis=folded, keepdims=True, ddof=0)
        return normalization.batch_norm(x, gamma, beta, average, variance, epsilon=1e-5)

    def slope(x: Any, gamma: Any, beta: Any) -> Any:
        """The gradient of gamma, of a head that is the result."""
        average = reductions.mean(x, axis=folded, keepdims=True)
        variance = reductions.var(x, axis=folded, keepdims=True, ddof=0)
        gradient = normalization.batch_norm.gradient
        assert gradient is not None
        return gradient(x, x, x, gamma, beta, average, variance, epsilon=1e-5)[1]()

    assert_accurate(trained, [x, *scales])
    assert_accurate(slope, [x, *scales])


@pytest.mark.parametrize("extent", [2052, 6000, 6001])
def test_kept_values_survive_between_sweeps(extent: int) -> None:
    assert_accurate(lambda x: neural.softmax(x, axis=1), [random((2, extent), "float32", -4.0, 4.0)])


@pytest.mark.parametrize("extent", [9000, 9001])
def test_long_rows_are_folded_in_parts(extent: int) -> None:
    """Whatever the rows are folded to, in float32 and in integers, with values of the row before and after."""
    x, weight = random((2, extent), "float32", 0.5, 1.5), random((2, 1), "float32", 0.5, 1.5)

    def spread(x: Any, w: Any) -> Any:
        return pointwise.sqrt(reductions.sum_(x * (w * w), axis=(1,), keepdims=True)) + w

    program = assert_accurate(spread, [x, weight])
    assert len(program.sources[0].stages) == 2
    assert_simulated(
        lambda x: reductions.max_(x, axis=(0, 1), keepdims=False), [random((2, extent), "int32")]
    )
    assert_simulated(lambda x: reductions.any_(x, axis=(1,), keepdims=False), [random((2, extent), "bool")])


@pytest.mark.parametrize("extent", [50, 3000, 9000])
def test_two_folds_of_one_walk_are_joined_each_for_itself(extent: int) -> None:
    def share(x: Any) -> Any:
        total, largest = (row(x, axis=(1,), keepdims=False) for row in (reductions.sum_, reductions.max_))
        return total / largest

    program = assert_accurate(share, [random((2, extent), "float32", 0.5, 1.5)])
    assert len(program.launches) == 1


def test_sums_of_rows_that_no_block_can_hold_stay_accurate() -> None:
    x = random((1, 40_000), "float32", 0.9, 1.1)
    program = assert_accurate(lambda x: x / reductions.sum_(x, axis=(1,), keepdims=True), [x])
    assert "for stretch in range(" in program.sources[0].text


def test_rows_beyond_the_last_store_nothing() -> None:
    program = assert_accurate(lambda x: neural.softmax(x, axis=1), [random((3, 10), "float32")], threads=128)
    assert program.sources[0].stages[0].pieces_per_block == 4


@pytest.mark.parametrize("flipped", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("folded", [0, 1])
@pytest.mark.parametrize("turned", [(0, 1), (1, 0)])
def test_folds_read_backwards_and_apart(
    flipped: tuple[int, ...], folded: int, turned: tuple[int, int]
) -> None:
    def backwards(x: Any) -> Any:
        view = movement.flip(movement.transpose(x, axes=turned), axis=flipped)
        return reductions.sum_(view, axis=(folded,), keepdims=False)

    assert_simulated(backwards, [random((12, 8), "float64")], ulp=100)


def test_unaligned_rows_are_read_one_by_one() -> None:
    values = [random((9, 8), "float32")]
    assert_accurate(lambda x: neural.softmax(x, axis=1), values, wide=False)


@pytest.mark.parametrize("shape", [(3, 5), (2, 70), (40, 3)])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_places_of_extremes_are_those_of_numpy(dtype: str, shape: tuple[int, int]) -> None:
    def places(x: Any) -> tuple[Any, ...]:
        return reductions.argmax(x, axis=1), reductions.argmin(x, axis=0), reductions.argmax(x, axis=None)

    assert_simulated(places, [values_with_ties(shape, dtype)], ulp=0)


# -- random numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", ["float32", "float64"])
@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65, 511, 512, 513, 1030])
def test_draws_are_the_bits_of_numpy(count: int, width: str) -> None:
    STREAM.seed(count)
    for _ in range(2):
        STREAM.generator.random(3, "float32")
        piece = STREAM.reserve(count, width)
        assert_simulated(lambda x: drawing.drawn(x, shape=(count,), dtype=width), [piece], ulp=0)
        mask = assert_simulated(
            lambda x: pointwise.less(drawing.drawn(x, shape=(count,), dtype=width), 0.4), [piece]
        )
        assert len(mask.launches) == 1


# -- random graphs ---------------------------------------------------------------------------------------------


@given(recorded=graphs(), seed=st.integers(0, 3))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_random_graphs_give_what_their_nodes_mean(recorded: Graph, seed: int) -> None:
    assume(not any(isinstance(n.operator.lowering, Contraction) for n in recorded.nodes))
    note(str(recorded))
    rng = numpy.random.default_rng(seed)
    values = [rng.integers(-4, 5, i.shape).astype("float64") for i in recorded.inputs]
    for found, wanted in zip(Simulated(recorded)(*values), meant(recorded, values), strict=True):
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
        numpy.testing.assert_array_equal(found, wanted)


# -- the simulator itself --------------------------------------------------------------------------------------


def of_64_threads(*lines: str) -> numpy.ndarray:
    """What 64 threads, each with its number ``i``, put into ``out`` when memory that they share is zero."""
    first = ("shared = cuda.shared.array(64, int32)", "i = cuda.threadIdx.x", "shared[i] = 0")
    text = "\n    ".join(["def exchange(out, rows):", *first, "cuda.syncthreads()", *lines]) + "\n"
    out = numpy.zeros(64, "int32")
    source = DeviceSource("exchange", text, (("out", "int32"),), (Stage("exchange", 64),))
    run(source, [Pointer(out)], 1)
    return out


@pytest.mark.parametrize("step", [1, -1])
def test_what_others_write_is_seen_behind_a_barrier_and_not_always_before(step: int) -> None:
    write, read = "shared[i] = i", f"out[i] = shared[(i + {step}) % 64]"
    wanted = (numpy.arange(64) + step) % 64
    numpy.testing.assert_array_equal(of_64_threads(write, "cuda.syncthreads()", read), wanted)
    assert not numpy.array_equal(of_64_threads(write, read), wanted)


def test_warps_exchange_numbers_each_for_itself() -> None:
    lines = ("n = i", "for _ in range(1 + i // 32):", "    n = shfl_xor(n, 1)", "out[i] = n")
    places = numpy.arange(64)
    numpy.testing.assert_array_equal(of_64_threads(*lines), numpy.where(places < 32, places ^ 1, places))


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("out[i + 1] = 1", "element 64 of 64"),
        ("out[i] = shfl_xor(i, 1) if i else 0", "threads that wait for the block"),
        ("if i == 3: return", "threads that wait for the block or have ended"),
    ],
)
def test_a_fault_of_one_thread_ends_all(line: str, error: str) -> None:
    before = threading.active_count()
    with pytest.raises((RuntimeError, IndexError), match=error):
        of_64_threads(line, "cuda.syncthreads()", "shfl_xor(i, 1)")
    assert threading.active_count() == before
