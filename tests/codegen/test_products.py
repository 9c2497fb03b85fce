"""Products in tiles against NumPy. Operands are small whole numbers, so that sums are exact in any order."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
from graphs import LEVELS, Native, assert_equal, graph, graph_for, meant, whole
from hypothesis import given
from hypothesis import strategies as st
from sampling import sampled

from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.kernels import products
from blockfuse.codegen.kernels.product_cuts import RegisterTiles
from blockfuse.codegen.kernels.product_kernels import ProductKernel
from blockfuse.codegen.kernels.products import choose_tile
from blockfuse.codegen.scheduling.steps import HostCall, Launch
from blockfuse.ir.operators import movement, neural, pointwise, reductions
from blockfuse.ir.operators.contractions import dense, matmul
from blockfuse.ir.types import tensor

pytestmark = pytest.mark.spread(3)


@pytest.fixture(autouse=True)
def _small_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Rows pass panels in blocks and slices, whatever processor this is."""
    monkeypatch.setattr(isa, "second_level_bytes", lambda: 1 << 19)
    isa.machine.cache_clear()
    yield
    isa.machine.cache_clear()


# -- shapes ----------------------------------------------------------------------------------------------------

sizes = st.integers(1, 70)


@given(sizes, sizes, sizes, st.sampled_from(["float32", "float64"]), st.sampled_from(LEVELS), st.booleans())
@sampled(2, 40)
def test_dense_of_any_shape(rows: int, inner: int, units: int, dtype: str, level: str, biased: bool) -> None:
    values = [whole(rows, inner, dtype=dtype), whole(units, inner, dtype=dtype)]
    values += [whole(units, dtype=dtype)] * biased
    assert_equal(graph_for(dense, values), values, level)


LARGE = [(300, 128, 200), (129, 300, 257), (1, 1024, 1100), (14, 700, 333), (513, 64, 31), (257, 1, 300)]


@pytest.mark.spread(6)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_dense_of_large_shapes_on_one_thread_and_two(shape: tuple[int, int, int], level: str) -> None:
    rows, inner, units = shape
    values = [whole(rows, inner), whole(units, inner), whole(units)]
    recorded = graph(
        lambda x, w, b: neural.relu(dense(x, w, b)),
        parameters="w b",
        x=f"float32[{rows}, {inner}]",
        w=f"float32[{units}, {inner}]",
        b=f"float32[{units}]",
    )
    for threads in (1, 2):
        assert_equal(recorded, values, level, threads)


@pytest.mark.parametrize("shape", [(300, 128, 200), (1, 2048, 2048), (64, 300, 900)], ids=str)
def test_repeated_runs_are_identical_to_the_bit(shape: tuple[int, int, int]) -> None:
    rows, inner, units = shape
    rng = numpy.random.default_rng(3)
    values = [rng.standard_normal(s).astype("float32") for s in ((rows, inner), (units, inner), (units,))]
    recorded = graph_for(dense, values)
    alone, shared = Native(recorded), Native(recorded, threads=2)
    assert shared.executable.plan.is_parallel
    first = alone(*values)[0].tobytes()
    assert all(shared(*values)[0].tobytes() == first for _ in range(10))


FEW_ROWS = [(1, 40, 70), (1, 100, 9), (2, 100, 33), (3, 64, 9), (5, 90, 17), (7, 130, 50), (4, 70, 7)]


@pytest.mark.spread(6)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", FEW_ROWS, ids=str)
def test_few_rows_read_a_weight_where_it_lies(shape: tuple[int, int, int], dtype: str, level: str) -> None:
    rows, inner, units = shape
    values = [whole(rows, inner, dtype=dtype), whole(units, inner, dtype=dtype), whole(units, dtype=dtype)]
    values.append(whole(rows, units, dtype=dtype, seed=3))
    recorded = graph_for(lambda x, w, b, z: neural.relu(dense(x, w, b)) + z, values)
    program = assert_equal(recorded, values, level)
    assert_equal(recorded, values, level, threads=2)
    lanes = isa.machine(level).lanes(values[0].itemsize)
    if rows * lanes <= inner:
        (launch,) = program.schedule.launches
        assert isinstance(launch.kernel, ProductKernel)
        assert launch.kernel.cut.panel == 1


@pytest.mark.spread(2)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("transposed", [False, True])
def test_rows_pass_panels_in_blocks_that_stay_near(level: str, transposed: bool) -> None:
    """Of a left operand that is read across, and too large to stay there, a copy is made."""
    inner, rows = 500, 150
    shapes = ((inner, rows) if transposed else (rows, inner)), (inner, 200)
    values = [whole(*shape) for shape in shapes]

    def function(x: Any, w: Any) -> Any:
        return matmul(movement.transpose(x, axes=(1, 0)) if transposed else x, w)

    for threads in (1, 2):
        program = assert_equal(graph_for(function, values), values, level, threads)
    *copies, launch = program.schedule.launches
    assert isinstance(launch.kernel, ProductKernel)
    assert isinstance(launch.kernel.cut, RegisterTiles)
    assert 0 < launch.kernel.cut.block < rows
    assert launch.kernel.steps.left == 1
    copied = {program.schedule.buffers[copy.pointers[0].buffer].name for copy in copies}
    assert ("x0" in copied) == transposed


@pytest.mark.spread(3)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_slices_of_a_long_inner_axis_give_the_same_bits_as_tiles_of_all_steps(
    dtype: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rows and columns that the last tile shares with its neighbour, and steps that are left over."""
    rng = numpy.random.default_rng(8)
    shapes = {"x": (47, 1229), "w": (70, 1229), "b": (70,), "z": (47, 70)}
    values = [rng.standard_normal(shape).astype(dtype) for shape in shapes.values()]
    recorded = graph(
        lambda x, w, b, z: neural.relu(dense(x, w, b)) * z,
        parameters="w b",
        **{name: tensor(shape, numpy.dtype(dtype)) for name, shape in shapes.items()},
    )
    found = set()
    for longest in (1 / 1024, 1):
        monkeypatch.setattr(products, "_LONGEST_PANEL", longest)
        for threads in (1, 2):
            program = Native(recorded, level, threads)
            kernel = program.schedule.launches[-1].kernel
            assert isinstance(kernel, ProductKernel)
            assert (kernel.totals is not None) == (longest < 1)
            found.add(program(*values)[0].tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("level", LEVELS)
def test_few_rows_of_a_long_inner_axis_pass_a_weight_that_is_near_in_slices_too(
    level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows than a tile has, and at most twice as many."""
    monkeypatch.setattr(products, "_LONGEST_PANEL", 1 / 64)
    found = []
    for rows in (7, 17, 29):
        types = {"x": f"float32[{rows}, 1031]", "w": "float32[15, 1031]"}
        recorded = graph(lambda x, w: neural.relu(dense(x, w)), parameters="w", **types)
        program = assert_equal(recorded, [whole(rows, 1031), whole(15, 1031)], level)
        kernel = program.schedule.launches[-1].kernel
        assert isinstance(kernel, ProductKernel)
        found.append(kernel.totals and rows <= 2 * kernel.tiles[0].rows)
    assert any(found)


@pytest.mark.parametrize("function", [pointwise.isfinite, neural.relu])
def test_totals_between_slices_need_memory_of_their_own_dtype(function: Callable[..., Any]) -> None:
    values = [whole(50, 2001), whole(2001, 40)]
    program = assert_equal(
        graph(
            lambda x, w: function(matmul(x, w)), parameters="w", x="float32[50, 2001]", w="float32[2001, 40]"
        ),
        values,
    )
    kernel = program.schedule.launches[-1].kernel
    assert isinstance(kernel, ProductKernel)
    assert (kernel.totals is None) == (kernel.store.dtype == "bool")


def test_a_row_of_another_shape_times_a_stack_of_matrices() -> None:
    values = [whole(1, 7), whole(3, 7, 9)]
    assert_equal(graph_for(lambda x, y: matmul(movement.reshape(x, shape=(7,)), y), values), values)


MATMULS = [
    ((3, 4), (4, 5)),
    ((40, 33), (33, 17)),
    ((7,), (7, 5)),
    ((5, 7), (7,)),
    ((7,), (7,)),
    ((4, 5, 7), (7, 9)),
    ((4, 5, 7), (7,)),
    ((4, 5, 7), (4, 7, 9)),
    ((4, 1, 7), (4, 7, 40)),
    ((5, 7), (4, 7, 9)),
    ((7,), (4, 7, 9)),
    ((1, 5, 7), (4, 7, 9)),
    ((4, 5, 7), (1, 7, 9)),
    ((2, 1, 5, 7), (3, 7, 9)),
    ((2, 3, 40, 20), (2, 3, 20, 33)),
    ((6, 64, 32), (6, 32, 64)),
    ((1, 1), (1, 1)),
    ((0, 4), (4, 5)),
    ((3, 0), (0, 5)),
    ((0, 3, 4), (0, 4, 5)),
]


@pytest.mark.spread(11)
@pytest.mark.parametrize("shapes", MATMULS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matmul_stacks_and_broadcasts(shapes: tuple[tuple[int, ...], tuple[int, ...]], dtype: str) -> None:
    values = [whole(*s, dtype=dtype, seed=n) for n, s in enumerate(shapes)]
    assert_equal(graph_for(matmul, values), values, threads=2)


@pytest.mark.parametrize("level", LEVELS)
def test_stacked_products_at_every_level(level: str) -> None:
    values = [whole(3, 30, 20), whole(3, 20, 21)]
    assert_equal(graph_for(lambda x, y: neural.relu(matmul(x, y)), values), values, level)


def test_products_of_several_dtypes_are_of_one() -> None:
    values = [whole(3, 4, dtype="float32"), whole(4, 5, dtype="float64")]
    program = assert_equal(graph_for(matmul, values), values)
    assert not any(isinstance(step, HostCall) for step in program.schedule.steps)


@pytest.mark.parametrize(
    "dtypes", [("int8", "int32"), ("int32", "int32"), ("float16", "float16"), ("bool", "bool")]
)
def test_products_that_no_tile_computes_are_numpys(dtypes: tuple[str, str]) -> None:
    values = [whole(3, 4, dtype=dtypes[0]), whole(4, 5, dtype=dtypes[1])]
    program = assert_equal(graph_for(matmul, values), values)
    assert [type(step) for step in program.schedule.steps] == [HostCall]


# -- epilogues -------------------------------------------------------------------------------------------------


def _masked(y: Any, mask: Any) -> Any:
    return pointwise.where(mask, y, -1)


# name -> (function of the product and of one more operand, shape and dtype of that)
EPILOGUES: dict[str, tuple[Callable[[Any, Any], Any], tuple[int, ...], str]] = {
    "residual": (lambda y, z: y + z, (30, 21), "float32"),
    "row vector": (lambda y, z: y * z, (21,), "float32"),
    "column vector": (lambda y, z: y - z, (30, 1), "float32"),
    "scalar": (lambda y, z: z - y, (), "float32"),
    "one by one": (lambda y, z: y * z, (1, 1), "float32"),
    "number": (lambda y, z: pointwise.maximum(y * 2 + z, -3), (21,), "float32"),
    "mask": (_masked, (30, 21), "bool"),
    "integers": (lambda y, z: y + pointwise.cast(z, dtype="float32"), (21,), "int32"),
    "small integers": (lambda y, z: y + pointwise.cast(z, dtype="float32"), (30, 1), "uint8"),
    "comparison": (pointwise.greater, (21,), "float32"),
    "to float64": (lambda y, z: pointwise.cast(y + z, dtype="float64"), (21,), "float32"),
    "with float64": (lambda y, z: y * z, (30, 21), "float64"),
    "to int32": (lambda y, z: pointwise.cast(y + z, dtype="int32"), (21,), "float32"),
    "to uint64": (lambda y, z: pointwise.cast(y + z, dtype="uint64"), (21,), "float32"),
    "to int8": (lambda y, z: pointwise.cast(y * z, dtype="int8"), (21,), "float32"),
    "logic": (lambda y, z: pointwise.logical_and(pointwise.greater(y, 1), z), (30, 21), "bool"),
    "sign and rounding": (lambda y, z: pointwise.sign(y) + pointwise.floor(y * 0.5) * z, (21,), "float32"),
    "square": (lambda y, z: pointwise.square(y) + z, (21,), "float32"),
}


@pytest.mark.spread(7)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", EPILOGUES)
def test_epilogues_run_on_the_accumulators(name: str, level: str) -> None:
    function, shape, dtype = EPILOGUES[name]
    values = [whole(30, 9), whole(21, 9), whole(21), whole(*shape, seed=5).astype(dtype)]
    program = assert_equal(graph_for(lambda x, w, b, z: function(dense(x, w, b), z), values), values, level)
    assert [s.kernel.name for s in program.schedule.steps if isinstance(s, Launch)][-1].startswith("dense")


@pytest.mark.spread(2)
@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("shape", [(6, 21), (21,), (6, 1), (), (3, 1, 1)])
def test_epilogues_of_stacked_products(batch: tuple[int, ...], shape: tuple[int, ...]) -> None:
    values = [whole(3, 6, 9), whole(*batch, 9, 21), whole(*shape, seed=5)]
    assert_equal(graph_for(lambda x, w, z: matmul(x, w) * z + z, values), values)


@pytest.mark.parametrize(
    "function", [lambda y: neural.gelu(y, approximate=False), pointwise.tanh, neural.sigmoid]
)
def test_epilogues_may_be_activations(function: Callable[[Any], Any]) -> None:
    values = [whole(30, 9) / 8, whole(21, 9) / 8, whole(21) / 8]
    recorded = graph_for(lambda x, w, b: function(dense(x, w, b)), values)
    program = Native(recorded)
    numpy.testing.assert_allclose(program(*values)[0], meant(recorded, values)[0], rtol=1e-6, atol=1e-7)


def test_an_epilogue_may_read_the_left_operand() -> None:
    values = [whole(13, 13), whole(13, 13, seed=1)]
    assert_equal(graph_for(lambda x, w: dense(x, w) + x, values), values)


def test_an_epilogue_may_broadcast_the_left_operand() -> None:
    values = [whole(13, 1), whole(20, 1, seed=1)]
    assert_equal(graph_for(lambda x, w: dense(x, w) + x, values), values)


def test_an_epilogue_may_read_the_bias() -> None:
    values = [whole(13, 5), whole(20, 5), whole(20)]
    assert_equal(graph_for(lambda x, w, b: dense(x, w, b) * b, values), values)


def test_a_bias_that_is_broadcast_and_read_again_is_read_right() -> None:
    values = [whole(13, 5), whole(20, 5), numpy.array([3], "float32")]

    def function(x: Any, w: Any, b: Any) -> Any:
        bias = movement.broadcast_to(b, shape=(20,))
        return dense(x, w, bias) * bias

    assert_equal(graph_for(function, values), values)


def test_a_product_may_feed_a_fold() -> None:
    values = [whole(13, 5), whole(20, 5)]
    total = graph_for(lambda x, w: reductions.sum_(dense(x, w), axis=(1,), keepdims=False), values)
    assert_equal(total, values)


def test_a_product_may_feed_a_product() -> None:
    values = [whole(13, 5), whole(20, 5), whole(7, 20)]
    assert_equal(graph_for(lambda x, w, v: dense(neural.relu(dense(x, w)), v), values), values, threads=2)


# -- where operands lie ----------------------------------------------------------------------------------------

# name -> (shape of the array, its view of shape (30, 9)); tiles read each of them in place
VIEWS: dict[str, tuple[tuple[int, ...], Callable[[Any], Any]]] = {
    "part of the columns": ((30, 20), lambda x: _part(x, (0, 30, 1), (5, 14, 1))),
    "every second row": ((60, 9), lambda x: _part(x, (1, 60, 2), (0, 9, 1))),
    "rows backwards": ((30, 9), lambda x: movement.flip(x, axis=(0,))),
    "one row for all": ((1, 9), lambda x: movement.broadcast_to(x, shape=(30, 9))),
    "transposed": ((9, 30), lambda x: movement.transpose(x, axes=(1, 0))),
    "columns backwards": ((30, 9), lambda x: movement.flip(x, axis=(1,))),
    "every second column": ((30, 18), lambda x: _part(x, (0, 30, 1), (0, 18, 2))),
    "one column for all": ((30, 1), lambda x: movement.broadcast_to(x, shape=(30, 9))),
}


def _part(x: Any, *slices: tuple[int, int, int]) -> Any:
    return movement.get_item(x, index=tuple(("slice", *s) for s in slices))


@pytest.mark.parametrize("name", VIEWS)
def test_the_left_operand_may_be_a_view(name: str) -> None:
    shape, view = VIEWS[name]
    values = [whole(*shape), whole(21, 9)]
    recorded = graph(lambda x, w: dense(view(x), w), "w", x=f"float32{list(shape)}", w="float32[21, 9]")
    program = assert_equal(recorded, values)
    assert len(program.schedule.steps) == 1


@pytest.mark.spread(6)
@pytest.mark.parametrize("name", VIEWS)
def test_the_weight_may_be_a_view(name: str) -> None:
    shape, view = VIEWS[name]
    values = [whole(4, 9), whole(*shape)]
    assert_equal(graph_for(lambda x, w: dense(x, view(w)), values), values)
    values = [whole(4, 30), whole(*shape)]
    assert_equal(graph_for(lambda x, w: matmul(x, view(w)), values), values)


# name -> (shape of the left operand, shape of the right one, its view, whether tiles read it in place)
PANELS: dict[str, tuple[tuple[int, ...], tuple[int, ...], Callable[[Any], Any], bool]] = {
    "as it lies": ((7, 9), (9, 64), lambda w: w, True),
    "part of the columns": ((7, 9), (9, 99), lambda w: _part(w, (0, 9, 1), (2, 66, 1)), True),
    "rows backwards": ((7, 9), (9, 64), lambda w: movement.flip(w, axis=(0,)), True),
    "one row for all": ((7, 9), (1, 64), lambda w: movement.broadcast_to(w, shape=(9, 64)), True),
    "transposed": ((7, 9), (64, 9), lambda w: movement.transpose(w, axes=(1, 0)), False),
    "matrices": ((3, 7, 9), (3, 9, 64), lambda w: w, True),
    "one matrix for all": ((3, 7, 9), (9, 64), lambda w: w, True),
    "lines a page apart, for a few rows": ((5, 9), (9, 1024), lambda w: w, True),
    "lines a page apart, for many rows": ((70, 9), (9, 1024), lambda w: w, False),
    "more pages than are near": ((70, 280), (280, 272), lambda w: w, False),
    "columns that are no whole panels": ((7, 9), (9, 65), lambda w: w, False),
    "rows seen turned, for a few rows": ((2, 70), (37, 70), lambda w: _turned(w), True),
    "rows of matrices seen turned, for a few rows": ((4, 1, 32), (4, 61, 32), lambda w: _turned(w), True),
    "the same of part of each row": ((4, 1, 33), (4, 61, 80), lambda w: _turned(_half_rows(w)), True),
    "the same, one row for all": ((1, 1, 64), (3, 9, 64), lambda w: _turned(w), True),
    "the same, one stack of rows for all": ((2, 64), (3, 9, 64), lambda w: _turned(w), True),
    "rows of matrices seen turned, for many rows": ((4, 9, 32), (4, 61, 32), lambda w: _turned(w), False),
    "axes of matrices turned": (
        (4, 1, 64),
        (61, 4, 64),
        lambda w: movement.transpose(w, axes=(1, 2, 0)),
        False,
    ),
}


def _turned(w: Any) -> Any:
    return movement.transpose(w, axes=(*range(w.ndim - 2), w.ndim - 1, w.ndim - 2))


def _half_rows(w: Any) -> Any:
    return movement.get_item(w, index=(("slice", 0, 4, 1), ("slice", 0, 61, 1), ("slice", 7, 40, 1)))


@pytest.mark.spread(6)
@pytest.mark.parametrize("name", PANELS)
@pytest.mark.parametrize("threads", [1, 2])
def test_panels_are_read_where_they_lie(name: str, threads: int) -> None:
    left, right, view, in_place = PANELS[name]
    values = [whole(*left), whole(*right)]
    program = assert_equal(graph_for(lambda x, w: matmul(x, view(w)), values), values, threads=threads)
    assert isinstance(program.schedule.launches[0].kernel, ProductKernel) == in_place


def test_the_bias_may_be_a_view() -> None:
    values = [whole(4, 9), whole(21, 9), whole(50)]
    for index in ((3, 24, 1), (49, 28, -1), (0, 42, 2)):
        recorded = graph_for(lambda x, w, b, index=index: dense(x, w, _part(b, index)), values)
        assert_equal(recorded, values)


def test_a_row_of_a_stack_of_weights_may_be_the_weight() -> None:
    values = [whole(4, 9), whole(3, 21, 9)]
    index = (1, ("slice", 0, 21, 1), ("slice", 0, 9, 1))
    assert_equal(graph_for(lambda x, w: dense(x, movement.get_item(w, index=index)), values), values)


# -- the choice of a tile --------------------------------------------------------------------------------------


@given(
    height=st.integers(1, 2000),
    panels=st.integers(1, 200),
    vectors=st.sampled_from([1, 2]),
    accumulators=st.sampled_from([8, 12, 28]),
)
def test_tiles_fit_the_registers_and_the_product(
    height: int, panels: int, vectors: int, accumulators: int
) -> None:
    tile = choose_tile(height, panels, vectors, 16 * vectors, accumulators)
    used = tile.rows * tile.panels * vectors * tile.unroll
    assert 1 <= used <= accumulators
    assert tile.rows <= height
    assert tile.panels <= panels
    assert tile.unroll & (tile.unroll - 1) == 0
    computed = -(-height // tile.rows) * tile.rows * -(-panels // tile.panels) * tile.panels
    assert computed <= 2 * height * panels  # overlapping tiles waste less than half
    wanted = min(8, height * panels * vectors)
    assert 2 * used >= wanted  # enough of them to hide the latency of a multiply-add


# -- few columns -----------------------------------------------------------------------------------------------


@pytest.mark.spread(10)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("rows", "inner", "units"), [(1, 64, 1), (2, 256, 3), (5, 67, 2), (33, 130, 6), (7, 100, 10), (3, 65, 12)]
)
def test_few_columns_of_a_long_inner_axis(level: str, dtype: str, rows: int, inner: int, units: int) -> None:
    values = [whole(*shape, dtype=dtype) for shape in ((rows, inner), (units, inner), (units,))]

    def function(x: Any, w: Any, b: Any) -> Any:
        return neural.relu(dense(x, w, b)) * b, dense(x, w), matmul(dense(x, w), dense(w, w))

    assert_equal(graph_for(function, values), values, level)


def test_few_columns_of_many_matrices() -> None:
    values = [whole(3, 5, 80), whole(3, 80, 4)]
    program = assert_equal(graph_for(matmul, values), values)
    assert "panel=1," in program.sources[-1]


def test_a_panel_has_one_column_where_there_are_few_and_the_inner_axis_is_long() -> None:
    def panel(inner: int, units: int) -> int:
        recorded = graph(dense, "y", x=f"float32[2, {inner}]", y=f"float32[{units}, {inner}]")
        (launch,) = Native(recorded).schedule.launches
        assert isinstance(launch.kernel, ProductKernel)
        return launch.kernel.tiles[0].panel

    lanes = isa.machine().lanes(4)
    assert panel(8 * lanes, lanes // 2) == 1
    assert panel(8 * lanes, lanes) == lanes
    assert panel(lanes, lanes // 2) == lanes


def test_rows_that_share_a_set_of_the_cache_come_in_lower_tiles() -> None:
    def rows(inner: int) -> int:
        recorded = graph(dense, "y", x=f"float32[64, {inner}]", y=f"float32[64, {inner}]")
        (launch,) = Native(recorded).schedule.launches
        assert isinstance(launch.kernel, ProductKernel)
        return launch.kernel.tiles[0].rows

    assert rows(1024) <= 8
    assert rows(1024) <= rows(1000)
