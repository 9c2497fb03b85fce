"""Every stage of a program means the same, by interpreters of their own; what goes wrong is found in its layer."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import prod
from typing import Any

import numpy
import pytest
import stages
import test_goldens
from flows import program_of
from graphs import LEVELS, graph, graph_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_kernels import random_kernel
from stages import StageError, hold_function, hold_program, hold_together, native_meaning, same_effect
from test_batches import NETS, initialized
from test_random_nets import Function
from test_strips import by_rows, strips_in
from test_sweeps import FUNCTIONS
from written import expression, fold, statement

import blockfuse
from blockfuse import np, npx
from blockfuse.codegen import compile as compiling
from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cpu.intrinsics import row_sweep
from blockfuse.codegen.cpu.intrinsics.table import INTRINSICS
from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.cpu.program import pieces
from blockfuse.codegen.cpu.source import row_sweeps
from blockfuse.codegen.cpu.source.meaning import source_meaning
from blockfuse.codegen.cpu.source.render import render
from blockfuse.codegen.kernels.kernel import Access, Index
from blockfuse.codegen.kernels.loop_kernels import ColumnKernel, DrawKernel, MapKernel, RowKernel, Sweep
from blockfuse.codegen.kernels.product_cuts import MAX_SUM_STEPS, BlockTile, ProductTile, RegisterTiles
from blockfuse.codegen.kernels.product_kernels import ChainKernel, ProductKernel
from blockfuse.codegen.meaning.expressions import value_of
from blockfuse.codegen.meaning.kernels import kernel_meaning
from blockfuse.codegen.meaning.memory import Address, MeaningError, unwritten
from blockfuse.codegen.meaning.memory import given as memory_of
from blockfuse.codegen.meaning.schedules import meaning_of
from blockfuse.codegen.scheduling import scheduler, sharing, strips
from blockfuse.codegen.scheduling.buffers import BufferKind
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.ir.graph import Graph
from blockfuse.ir.operators import contractions, indexing, neural
from blockfuse.ir.stream import STREAM
from blockfuse.ir.types import TensorType

pytestmark = pytest.mark.spread(3)

MACHINE = isa.machine()
TWO = isa.machine("", 2)
ANYTHING = list(HealthCheck)


def values_for(type: TensorType, seed: int = 0) -> numpy.ndarray:
    """Numbers that are places of small axes, too."""
    rng = numpy.random.default_rng(seed)
    if type.dtype.kind == "f":
        return numpy.asarray(rng.uniform(-2, 2, type.shape)).astype(type.dtype)
    low = 0 if type.dtype.kind in "ub" else -2
    return numpy.asarray(rng.integers(low, 2, type.shape)).astype(type.dtype)


# -- kernels of all kinds ----------------------------------------------------------------------------------------


@pytest.mark.spread(11)
@pytest.mark.parametrize("name", test_goldens.KERNELS)
def test_stages_of_typical_kernels_mean_the_same(name: str) -> None:
    function, types = test_goldens.KERNELS[name]
    recorded = graph(function, "w b g" if "w" in types or "g" in types else "", **types)
    inputs = [values_for(leaf.type, n) for n, leaf in enumerate(recorded.inputs)]
    parameters = [n for n, leaf in enumerate(recorded.inputs) if leaf.operator.name == "parameter"]
    arguments = [v for n, v in enumerate(inputs) if n not in parameters]
    small = _is_small(recorded)
    hold_together(recorded, arguments, [inputs[n] for n in parameters], TWO, source=small)


@pytest.mark.spread(12)
@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=3)
@given(st.integers(1, 70), st.sampled_from(["float32", "float64"]), st.sampled_from(LEVELS))
def test_stages_of_rows_of_any_length_mean_the_same(name: str, columns: int, dtype: str, level: str) -> None:
    x = numpy.random.default_rng(columns).uniform(-2, 2, (3, columns)).astype(dtype)
    hold_together(graph_for(FUNCTIONS[name], [x]), [x], [], isa.machine(level), source=True)


@pytest.mark.parametrize("columns", [1024, 5000])
def test_stages_of_long_rows_mean_the_same(columns: int) -> None:
    x = numpy.random.default_rng(columns).uniform(-2, 2, (2, columns)).astype("float32")
    for name in ("softmax", "sum", "maximum"):
        hold_together(graph_for(FUNCTIONS[name], [x]), [x], [], MACHINE, source=True)


STREAMED: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "flat": (lambda x: x * 2 + 1, ((2500,),)),
    "rows": (lambda x, b: neural.relu(x + b), ((7, 33), (33,))),
    "folds": (lambda x: neural.softmax(x, axis=1), ((5, 19),)),
}


@pytest.mark.parametrize("name", STREAMED)
def test_stages_of_streamed_results_mean_the_same(name: str) -> None:
    function, shapes = STREAMED[name]
    values = [numpy.random.default_rng(n).uniform(-2, 2, s).astype("float32") for n, s in enumerate(shapes)]
    plan = hold_together(
        graph_for(function, values), values, [], replace(MACHINE, min_nontemporal_bytes=1), source=True
    )
    assert all(launch.kernel.nontemporal for launch in plan.launches)  # type: ignore[attr-defined]


def _is_small(recorded: Graph) -> bool:
    """Whether kernels are run as plain Python, too."""
    return sum(prod(leaf.type.shape) for leaf in recorded.inputs) < 50_000


def test_kernels_above_call_every_function_of_the_table() -> None:
    """What no kernel of theirs calls is nowhere held to its meaning."""
    goldens = [
        graph(f, "w b g" if "w" in t or "g" in t else "", **t) for f, t in test_goldens.KERNELS.values()
    ]
    plans = [compile_flow(recorded, TWO).schedule for recorded in goldens if _is_small(recorded)]
    for function, shapes in STREAMED.values():
        recorded = graph_for(function, [numpy.zeros(shape, "float32") for shape in shapes])
        plans.append(compile_flow(recorded, replace(MACHINE, min_nontemporal_bytes=1)).schedule)
    tiled = replace(MACHINE, vector_bytes=64, weights="bf16", matrix_tiles=True)  # see test_matrix_tiles.py
    product = graph(contractions.dense, "w", x="float32[8, 64]", w="float32[32, 64]")
    plans.append(compile_flow(product, tiled).schedule)
    sources = "".join({render(launch.kernel) for plan in plans for launch in plan.launches})
    assert [row.name for row in INTRINSICS if f"{row.name}(" not in sources] == []


@pytest.mark.spread(6)
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 2, 7, 16, 33, 301])
def test_stages_of_draws_mean_the_same_from_any_state_of_the_stream(size: int, kind: str) -> None:
    def function(x: Any) -> Any:
        return np.random.uniform(0, 1, size=(size,), dtype=kind) * x, np.random.uniform(2, 3, size=(3,)) > 2.5

    for words in range(3):
        np.random.seed(words)
        np.random.uniform(size=(words,))
        assert hold_function(function, [numpy.float64(3).reshape(1)], TWO, source=True)


@pytest.mark.parametrize("begin", [0, 64, 128])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_words_of_a_piece_can_be_drawn_apart(begin: int, kind: str) -> None:
    def drawn(x: Any) -> Any:
        return np.random.uniform(0, 1, size=(301,), dtype=kind) + x

    x = numpy.zeros(1)
    plan = hold_function(drawn, [x], MACHINE)
    assert plan is not None
    (launch,) = (step for step in plan.launches if isinstance(step.kernel, DrawKernel))
    np.random.uniform(size=(1,))  # a half is kept
    piece = STREAM.reserve(301, kind)
    end = min(begin + 64, launch.rows)
    for kernels in (source_meaning, native_meaning(MACHINE)):
        addresses = {
            "x0": Address(memory_of(piece)),
            "out": Address(unwritten(301, launch.kernel.store.dtype)),
        }
        assert same_effect(launch.kernel, addresses, begin, end, kernels, 0.0)


@pytest.mark.parametrize("wrong", [False, True])
def test_stages_of_gathers_agree_on_faults(wrong: bool) -> None:
    def picked(x: Any, i: Any, j: Any) -> Any:
        return indexing.take_at(x * 1, i, j, pattern=(("array", 0), ("slice", 0, 4, 2), ("array", 1))) + 1

    x = numpy.arange(5 * 4 * 3, dtype="float32").reshape(5, 4, 3)
    i, j = numpy.array([[0], [-5], [4]], "int8"), numpy.array([2, -3 - wrong], "int64")
    hold_together(graph_for(picked, [x, i, j]), [x, i, j], [], MACHINE, source=True)


# -- programs ----------------------------------------------------------------------------------------------------


def arrays(arguments: tuple[Any, ...]) -> list[numpy.ndarray]:
    return [a.asnumpy() for a in arguments]


@pytest.mark.spread(8)
@pytest.mark.parametrize(
    "name", ["parallel", "feed forward", "attention", "several", "flattening", "one unit", "wide", "doubles"]
)
def test_stages_of_a_program_for_every_size_mean_the_same_at_each(name: str) -> None:
    kind, make = NETS[name]
    net = initialized(kind(), threads=2)
    for size in (5, 40, 61, 33):
        net(*make(size))
    (held,) = (case.program for case in net._hybrid.cases.values() if case.program.schedule.batch)
    for size in (held.schedule.min_items, 3, 33, 130):
        hold_program(held, arrays(make(max(size, held.schedule.min_items))))


def _halved(x: Any) -> Any:
    rounds = x * 0
    while np.abs(x).sum() > 1:
        x, rounds = x / 2, rounds + 1
    return (x, rounds) if x.max() > 0 else (rounds, x)


def _swapped(x: Any) -> Any:
    y = x * 2
    while x.sum() < 100:
        x, y = y, x + y
        if y.max() > 50:
            y = y - np.ones((5,))
    return x, y


def _counted(x: Any) -> Any:
    total = x * 0
    for n in range(12):
        total = total + x * x
        if total.sum() > 40 + n:
            break
    return total + n


@pytest.mark.parametrize("function", [_halved, _swapped, _counted], ids=lambda f: f.__name__)
def test_stages_of_flows_mean_the_same_on_every_way(function: Any) -> None:
    hybrid = blockfuse.hybridize(function)
    calls = [numpy.linspace(low, 3, 5, dtype="float32") for low in (0.5, -2.5, 1.0, 2.0)]
    for x in calls * 3:
        hybrid(np.array(x))
    held = program_of(hybrid)
    assert len(held.flow.blocks) > 1
    for x in calls:
        hold_program(held, [x], source=True)


class Scaled(blockfuse.nn.Block):  # type: ignore[misc]
    """A number that keeps changing, and a captured array."""

    def __init__(self) -> None:
        super().__init__()
        self.table = numpy.arange(6, dtype="float32").reshape(2, 3)
        self.dense = blockfuse.nn.Dense(5, in_units=3)

    def forward(self, x: Any, factor: float) -> Any:
        return npx.softmax(self.dense(x * factor + self.table))


def test_stages_of_a_program_with_numbers_and_captured_arrays_mean_the_same() -> None:
    net = initialized(Scaled())
    x = numpy.random.default_rng(1).uniform(-1, 1, (2, 3)).astype("float32")
    for n in range(12):
        net(np.array(x), 0.5 + n)
    held = program_of(net)
    numbers = [a.asnumpy() for a in held.convert([2.5])]
    hold_program(held, [x, *numbers], source=True)


@pytest.fixture
def _always() -> Iterator[None]:
    """However little there is to do, it is worth a strip."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "STRIP_MEMORY_BYTES", 12_000)
        for name in ("AWAKE_WORK", "PARALLEL_WORK"):
            patch.setattr(pieces, name, 0.0)
        patch.setattr(sharing.is_shared, "__defaults__", (0.0,))
        yield


@pytest.mark.long
@pytest.mark.usefixtures("_always")
@settings(max_examples=6, suppress_health_check=ANYTHING)
@given(seed=st.integers(0, 10**6))
def test_stages_of_strips_mean_the_same(seed: int) -> None:
    pick = random.Random(seed)
    rows, width = pick.choice([3, 60, 150]), pick.choice([3, 8])
    x = numpy.random.default_rng(seed).uniform(-1, 1, (rows, width)).astype("float32")

    def function(x: Any) -> Any:
        values = [x]
        for _ in range(pick.randrange(2, 7)):
            values.append(by_rows(pick, x, width)(values[-1]))
        return tuple(values[-2:])

    hold_together(graph_for(function, [x]), [x], [], TWO)


@pytest.mark.usefixtures("_always")
def test_a_strip_has_memory_for_its_items_only() -> None:
    x = numpy.random.default_rng(2).uniform(-1, 1, (150, 8)).astype("float32")
    weight = numpy.eye(8, dtype="float32")

    def twice(x: Any) -> Any:
        return neural.relu(contractions.dense(neural.relu(contractions.dense(x, weight)), weight))

    plan = hold_together(graph_for(twice, [x]), [x], [], TWO)
    assert strips_in(plan) == [["dense_relu", "dense_relu"]]
    hoisted = [numpy.zeros(n.shape, n.dtype) for n in plan.parameters]
    with pytest.raises(MeaningError, match="not all within"):
        meaning_of(_reaching_further(plan), [x], hoisted)


def _reaching_further(plan: Schedule) -> Schedule:
    """The second launch of the strip begins a row too late."""
    (strip,) = plan.steps
    first, second = strip.launches  # type: ignore[union-attr]
    moved = tuple(
        replace(p, offset=p.offset + 8 * (plan.buffers[p.buffer].kind is BufferKind.STRIP))
        for p in second.pointers
    )
    return replace(plan, steps=(replace(strip, launches=(first, replace(second, pointers=moved))),))


# -- random programs ---------------------------------------------------------------------------------------------


@pytest.mark.long
@settings(max_examples=40, suppress_health_check=ANYTHING)
@given(st.integers(0, 10**9), st.integers(3, 11), st.booleans())
def test_stages_of_random_functions_mean_the_same(seed: int, length: int, source: bool) -> None:
    written = Function(seed, length)
    scope: dict[str, Any] = {"np": np, "npx": npx}
    exec(written.source, scope)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            hold_function(scope["function"], written.inputs(0), TWO, source, compiled=source and not seed % 4)
        except StageError as error:
            raise AssertionError(f"seed {seed}, {written.types}\n{written.source}\n{error}") from error


# -- intrinsics --------------------------------------------------------------------------------------------------


def whole(pick: numpy.random.Generator, size: int, dtype: str) -> numpy.ndarray:
    """Small whole numbers, whose sums are exact in any order."""
    return pick.integers(-4, 5, size).astype(dtype)


@st.composite
def product_kernels(draw: Any) -> ProductKernel:
    """Any tile over any operands, also such that no scheduler would choose."""
    dtype = draw(st.sampled_from(["float32", "float64"]))
    lanes = MACHINE.lanes(numpy.dtype(dtype).itemsize)
    inner = draw(st.sampled_from([0, 1, 2, 17, 399, 400, 401, 1003]))
    shape = draw(st.sampled_from(["rows", "panels", "matrices", "open"]))
    dots = draw(st.booleans()) and shape != "panels"
    panel = 1 if dots else lanes * draw(st.integers(1, 2))
    panels = draw(st.integers(1, lanes if dots else 4))
    units = panels if dots else panels * panel - draw(st.integers(0, panel - 1))
    rows = draw(st.integers(1, 4))
    across = panels if dots else draw(st.integers(1, panels))
    unroll = 1 if dots else draw(st.sampled_from([1, 2, 4]))
    fetch = 0 if dots or unroll > 1 else draw(st.sampled_from([0, 1, 2, 4]))
    tile = ProductTile(rows, across, panel, unroll, fetch)
    height = rows if shape == "panels" else rows + draw(st.integers(0, 5))
    batched = shape == "matrices"
    stack = (height * units,) if batched else ()
    names = ["x0", "x1"]
    bias = Access("x2", dtype, ()) if draw(st.booleans()) else None
    names += ["x2"] * bool(bias)
    read: list[Access] = []
    for strides in draw(st.lists(st.sampled_from([(units, 1), (0, 1), (1, 0), (0, 0)]), max_size=2)):
        around = (draw(st.sampled_from([0, height * units])),) if batched else ()
        read.append(
            Access(
                f"x{len(names)}", draw(st.sampled_from(["float32", "float64", "bool"])), (*around, *strides)
            )
        )
        names.append(read[-1].name)
    body = [statement("t1", dtype, "maximum(t0, literal(t0, -9.5))")] * bool(read)
    for n, load in enumerate(read, 1):
        body.append(statement(f"t{n + 1}", dtype, f"t{n} + {dtype}({load.name})"))
    tiles = (tile,)
    if shape == "open":
        height = 0
        tiles = tuple(replace(tile, rows=n) for n in dict.fromkeys((rows, 2 if rows > 2 else 1, 1)))
    step = inner + draw(st.integers(0, 3))
    left = Access("x0", dtype, (8 * step + 3, step) if batched else (step,))
    panels_apart = draw(st.sampled_from([0, panels * inner * panel])) if batched else 0
    right = Access("x1", dtype, (panels_apart,) if batched else ())
    store = Access("out", dtype, (*stack, units, 1))
    result = f"t{len(body)}"
    may_slice = inner > MAX_SUM_STEPS and shape in ("rows", "open") and not dots
    sliced = draw(st.sampled_from([0, rows, 2 * rows])) if may_slice else 0
    cut = RegisterTiles(tiles, by_panels=shape == "panels", sliced=sliced)
    return ProductKernel(
        *("net", store, dtype, height, inner, units, left, right, bias, "t0"),
        *(tuple(read), tuple(names), tuple(body), result, cut),
    )


def memory_for_product(kernel: ProductKernel, matrices: int, height: int) -> dict[str, Address]:
    """Numbers for every operand, and just as many as it needs."""
    pick = numpy.random.default_rng(kernel.inner + kernel.units)
    panel = kernel.tiles[0].panel
    rows = height if kernel.height == 0 else kernel.height

    def reach(strides: tuple[int, ...], extents: tuple[int, ...]) -> int:
        return 1 + sum((n - 1) * s for n, s in zip(extents, strides, strict=True))

    domain = (*((matrices,) if kernel.batched else ()), rows)
    weight = -(-kernel.units // panel) * kernel.inner * panel
    sizes = {
        "x0": (
            kernel.dtype,
            reach((*kernel.left.strides, 1), (*domain, kernel.inner)) if kernel.inner else 0,
        ),
        "x1": (kernel.dtype, weight + (matrices - 1) * sum(kernel.right.strides)),
        **{a.name: (a.dtype, reach(a.strides, (*domain, kernel.units))) for a in kernel.loads},
    }
    if kernel.bias is not None:
        sizes["x2"] = (kernel.dtype, kernel.units)
    given = {name: Address(memory_of(whole(pick, size, dtype))) for name, (dtype, size) in sizes.items()}
    return given | {"out": Address(unwritten(matrices * rows * kernel.units, kernel.dtype))}


@settings(max_examples=20)
@given(product_kernels(), st.integers(1, 3), st.integers(4, 17))
def test_a_tile_means_in_source_and_in_native_code_what_it_means_as_data(
    kernel: ProductKernel, matrices: int, height: int
) -> None:
    matrices = matrices if kernel.batched else 1
    tile = kernel.tiles[0]
    panels = -(-kernel.units // tile.panel)
    end = (
        matrices
        if kernel.batched
        else (-(-panels // tile.panels))
        if kernel.by_panels
        else kernel.height or height
    )
    for kernels in (source_meaning, native_meaning(MACHINE)):
        addresses = memory_for_product(kernel, matrices, height)
        assert same_effect(kernel, addresses, 0, end, kernels, 0.0), (kernels, kernel)
        assert addresses["out"].memory.array.size


@pytest.mark.parametrize("extent", [1, 5, 10, *range(11, 71, 7), 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sweep_means_in_source_and_in_native_code_what_it_means_as_data(extent: int, dtype: str) -> None:
    """Two folds in one sweep, a kept value, flags, loads that are the same along the row, and a value of the row."""
    loads = (
        Access("x0", dtype, (extent + 1, 1)),
        Access("x1", "bool", (0, 1)),
        Access("x2", dtype, (1, 0)),
        Access("x3", dtype, (2,)),
    )
    first = Sweep(
        loads[:3],
        (
            statement("t1", dtype, "select(x1, x0, x2)"),
            statement("t2", dtype, "t1 * t0"),
            statement("t3", "bool", "t2 > x2"),
        ),
        (
            fold("t4", dtype, f"{dtype}(0.0)", "fold_add(t4, t2)", "fold_add({0}, {1})"),
            fold("t5", dtype, f"{dtype}(-inf)", "fold_maximum(t5, t1)", "fold_maximum({0}, {1})"),
        ),
        (statement("t6", dtype, "t4 - t5 * x3"),),
        keep="t2",
    )
    last = Sweep(
        (loads[1], Access("out", dtype, (0, 1), alias="t2")),
        (statement("t7", dtype, f"t2 + t6 * {dtype}(x1)"),),
        (),
        (),
    )
    store = Access("out", dtype, (extent, 1))
    before = (statement("t0", dtype, f"x3 + {dtype}(1.0)"),)
    kernel = RowKernel("rows", store, extent, loads, loads[3:], before, (first, last), "t7")
    for kernels in (source_meaning, native_meaning(MACHINE)):
        addresses = _memory_for_rows(extent, dtype)
        assert same_effect(kernel, addresses, 0, 4, kernels, 1e-6)
        assert addresses["out"].memory.array.size == 4 * extent


def _memory_for_rows(extent: int, dtype: str) -> dict[str, Address]:
    pick = numpy.random.default_rng(extent)
    sizes = {"x0": 4 * extent + 3, "x1": extent, "x2": 4, "x3": 7}
    given = {n: Address(memory_of(whole(pick, s, "bool" if n == "x1" else dtype))) for n, s in sizes.items()}
    return given | {"out": Address(unwritten(4 * extent, dtype))}


@pytest.mark.long
@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_any_kernel_means_in_source_and_in_native_code_what_it_means_as_data(seed: int) -> None:
    drawn = random_kernel(seed)
    limit = 5e-5 if "float32" in str(drawn.kernel) else 1e-10
    for kernels in (source_meaning, native_meaning(MACHINE)):
        addresses = drawn.addresses()
        assert same_effect(drawn.kernel, addresses, 0, drawn.rows, kernels, limit), (seed, drawn.kernel)
        assert addresses["out"].memory.array.size


# -- what goes wrong is found in its layer -----------------------------------------------------------------------


def _net(x: Any, y: Any) -> Any:
    return neural.softmax(x - y, axis=1)


def _other_passes(patch: pytest.MonkeyPatch) -> None:
    """Passes that swap what is subtracted."""
    made, other = compiling.optimize, graph(lambda x, y: _net(y, x), x="float32[4, 40]", y="float32[4, 40]")
    patch.setattr(compiling, "optimize", lambda _, *rest, **options: made(other, *rest, **options))


def _other_strides(patch: pytest.MonkeyPatch) -> None:
    """A scheduler for which all elements of a row are the first one."""
    made = scheduler.kernel_of

    def turned(*operands: Any) -> Any:
        bound = made(*operands)
        parts = [
            replace(s, loads=tuple(replace(a, strides=(a.strides[0], 0)) for a in s.loads))
            for s in bound.kernel.sweeps
        ]
        return replace(bound, kernel=replace(bound.kernel, sweeps=tuple(parts)))

    patch.setattr(scheduler, "kernel_of", turned)


def _other_offsets(patch: pytest.MonkeyPatch) -> None:
    """A scheduler that begins every operand an element too late."""
    made = scheduler._Scheduler._emit
    patch.setattr(
        *(scheduler._Scheduler, "_emit"),
        lambda self, bound, memory: made(
            self, bound, [replace(m, layout=replace(m.layout, offset=m.layout.offset + 1)) for m in memory]
        ),
    )


def _other_source(patch: pytest.MonkeyPatch) -> None:
    """A renderer for which all rows are the first one."""
    patch.setattr(row_sweeps, "_columns", lambda a: (a.name, a.dtype, (0, a.strides[-1])))


def _other_vectors(patch: pytest.MonkeyPatch) -> None:
    """Sweeps that forget all accumulators but the first."""
    made = row_sweep.RowSweep._joined
    patch.setattr(row_sweep.RowSweep, "_joined", lambda self, parts, join: made(self, parts[:1], join))


def _other_program(patch: pytest.MonkeyPatch) -> None:
    """A program that leaves out the last row of each launch."""
    made = pieces._Piece._run_alone
    patch.setattr(
        *(pieces._Piece, "_run_alone"),
        lambda self, part, rows: made(self, part, self.emit.builder.sub(rows, rows.type(1))),
    )


FAULTS = {
    "passes": (_other_passes, False),
    "schedule": (_other_strides, True),
    "schedule that leaves its memory": (_other_offsets, True),
    "source": (_other_source, True),
    "native": (_other_vectors, True),
    "native program": (_other_program, False),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_first_stage_that_goes_wrong_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    break_it, in_kernel = FAULTS[name]
    rng = numpy.random.default_rng(3)
    x, y = (rng.uniform(-2, 2, (4, 40)).astype("float32") for _ in range(2))
    recorded = graph(_net, x="float32[4, 40]", y="float32[4, 40]")
    (launch,) = hold_together(recorded, [x, y], [], MACHINE, source=True).launches
    monkeypatch.setattr(stages, "STORE", stages.Store())
    break_it(monkeypatch)
    with pytest.raises(StageError) as caught:
        hold_together(recorded, [x, y], [], MACHINE, source=True)
    assert caught.value.stage == name.split()[0]
    assert caught.value.kernel == (launch.kernel.name if in_kernel else "")


COPY = MapKernel("copy", Access("out", "float32", (3, 1)), (3,), (Access("x0", "float32", (3, 1)),), (), "x0")


def memory_for_copy() -> dict[str, Address]:
    return {
        "x0": Address(memory_of(numpy.arange(6, dtype="float32"))),
        "out": Address(unwritten(6, "float32")),
    }


@pytest.mark.parametrize(
    ("kernel", "error"),
    [
        (replace(COPY, loads=(replace(COPY.loads[0], strides=(3, 2)),)), "not all within 6"),
        (replace(COPY, loads=(replace(COPY.loads[0], strides=(-3, 1)),)), "not all within 6"),
        (replace(COPY, store=replace(COPY.store, strides=(0, 1))), "in one place"),
        (replace(COPY, store=replace(COPY.store, strides=(4, 1))), "not all within 6"),
        (replace(COPY, loads=(replace(COPY.loads[0], dtype="int32"),)), "is taken for int32"),
        (replace(COPY, store=replace(COPY.store, name="x0")), "is written to"),
        (replace(COPY, result="t0", body=(statement("t0", "float64", "x0 + x0"),)), "is of float32"),
        (replace(COPY, result="t0", body=(statement("t0", "bool", "x0 > x0"),)), "bool is stored as float32"),
    ],
)
def test_what_has_no_meaning_is_refused(kernel: MapKernel, error: str) -> None:
    with pytest.raises(MeaningError, match=error):
        kernel_meaning(kernel, memory_for_copy(), 0, 2)


def test_an_expression_names_nothing_but_values_and_functions() -> None:
    values = {"x0": numpy.ones(3, "float32")}
    assert value_of(expression("x0 + float32(1.0)"), values).tolist() == [2, 2, 2]
    for name in ("t1", "print", "numpy"):
        with pytest.raises(MeaningError, match=f"'{name}' is not defined"):
            value_of(expression(f"x0 + {name}"), values)


def test_what_was_never_written_cannot_be_read() -> None:
    addresses = memory_for_copy()
    kernel_meaning(COPY, addresses, 1, 2)
    turned = {"x0": addresses["out"], "out": memory_for_copy()["out"]}
    kernel_meaning(COPY, turned, 1, 2)
    with pytest.raises(MeaningError, match="never written"):
        kernel_meaning(COPY, turned, 0, 1)
    with pytest.raises(MeaningError, match="never written"):
        source_meaning(COPY, turned, 0, 1)


def test_a_row_has_no_element(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements for the row may name what is read or computed once a row, and folds."""
    monkeypatch.setattr(RowKernel, "__post_init__", lambda self: None)  # which says so earlier
    load = Access("x0", "float32", (3, 1))
    total = fold("t0", "float32", "float32(0.0)", "fold_add(t0, x0)", "fold_add({0}, {1})")
    out = Access("out", "float32", (1,))
    for text, is_one in (("t0 + x0", False), ("t0 + x1", True)):
        sweep = Sweep((load,), (), (total,), (statement("t1", "float32", text),))
        row_load = Access("x1", "float32", (1,))
        kernel = RowKernel("rows", out, 3, (load, row_load), (row_load,), (), (sweep,), "t1")
        addresses = {**memory_for_copy(), "x1": Address(memory_of(numpy.ones(2, "float32")))}
        if is_one:
            kernel_meaning(kernel, addresses, 0, 2)
            assert addresses["out"].memory.flat[:2].tolist() == [4, 13]
        else:
            with pytest.raises(MeaningError, match="'x0' is not defined"):
                kernel_meaning(kernel, addresses, 0, 2)


def test_a_value_is_for_the_row_or_for_the_element(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RowKernel, "__post_init__", lambda self: None)
    load = Access("x0", "float32", (3, 1))
    total = fold("t0", "float32", "float32(0.0)", "fold_add(t0, x0)", "fold_add({0}, {1})")
    once = Access("x0", "float32", (1,))
    out = Access("out", "float32", (1,))
    kernel = RowKernel("rows", out, 3, (load,), (once,), (), (Sweep((load,), (), (total,), ()),), "t0")
    with pytest.raises(MeaningError, match="another one for each element"):
        kernel_meaning(kernel, memory_for_copy(), 0, 2)


@pytest.mark.parametrize(
    ("start", "step", "join", "is_sum"),
    [
        ("float32(0.0)", "fold_add(acc, x0)", "fold_add({0}, {1})", True),
        ("float32(0.0)", "x0", "fold_add({0}, {1})", False),
        ("float32(0.0)", "fold_add(acc, x0)", "{0}", False),
        ("float32(1.0)", "fold_add(acc, x0)", "fold_add({0}, {1})", False),
    ],
)
def test_a_fold_is_one_only_if_its_parts_agree(start: str, step: str, join: str, is_sum: bool) -> None:
    load, out = Access("x0", "float32", (1, 2)), Access("out", "float32", (1,))
    kernel = ColumnKernel("columns", out, (6,), (load,), (), fold("acc", "float32", start, step, join))
    x = numpy.arange(12, dtype="float32")
    addresses = {"x0": Address(memory_of(x)), "out": Address(unwritten(2, "float32"))}
    kernel_meaning(kernel, addresses, 0, 2)
    assert (addresses["out"].memory.array.tolist() == [30, 36]) == is_sum


def test_products_of_one_launch_follow_each_other() -> None:
    """As a device runs narrow layers: the result of each is the left operand of the next."""
    pick = numpy.random.default_rng(5)
    x, v, w = pick.integers(-3, 4, (5, 3)), pick.integers(-3, 4, (3, 4)), pick.integers(-3, 4, (4, 2))
    block = BlockTile(2, 4, 4, 2, 4)
    first = ProductKernel(
        *("first", Access("out", "float32", (4, 1)), "float32", 5, 3, 4),
        *(Access("x0", "float32", (3,)), Access("x1", "float32", ()), None),
        *("t0", (), ("x0", "x1"), (statement("t1", "float32", "relu(t0)"),), "t1", block),
    )
    last = replace(
        *(first,),
        inner=4,
        units=2,
        left=Access("here", "float32", (4,)),
        right=Access("x2", "float32", ()),
        operands=("here", "x2"),
        body=(),
        result="t0",
        store=Access("out", "float32", (2, 1)),
    )
    chain = ChainKernel("net", last.store, (first, last), ("x0", "x1", "x2"), block)
    panels = numpy.zeros((4, 4), "float32")
    panels[:, :2] = w
    given = {
        name: Address(memory_of(a.astype("float32"))) for name, a in (("x0", x), ("x1", v), ("x2", panels))
    }
    addresses = given | {"out": Address(unwritten(10, "float32"))}
    kernel_meaning(chain, addresses, 0, 2)
    kernel_meaning(chain, addresses, 2, 5)
    assert addresses["out"].memory.array.tolist() == (numpy.maximum(x @ v, 0) @ w).reshape(-1).tolist()


@pytest.mark.parametrize("place", [-6, -5, 4, 5])
def test_an_index_is_clamped_and_noted(place: int) -> None:
    table = Access("x0", "float32", (0,), (Index("x1", 5, 1),))
    kernel = MapKernel(
        "pick", Access("out", "float32", (1,)), (), (table, Access("x1", "int64", (1,))), (), "x0"
    )
    addresses = {
        "x0": Address(memory_of(numpy.arange(5, dtype="float32"))),
        "x1": Address(memory_of(numpy.array([place]))),
        "fault": Address(unwritten(1, "int64")),
        "out": Address(unwritten(1, "float32")),
    }
    addresses["fault"][0] = numpy.int64(0)
    kernel_meaning(kernel, addresses, 0, 1)
    assert addresses["out"].memory.array.tolist() == [0 if place < 0 else 4]
    assert addresses["fault"].memory.array.tolist() == [int(place in (-6, 5))]


# -- operands that are read at two granularities -----------------------------------------------------------------

TWO_WAYS: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "matrix and vector": (lambda A, x: A @ x + x, ((5, 5), (5,))),
    "matrix and vector of more than a vector": (lambda A, x: A @ x + x, ((40, 40), (40,))),
    "one element": (lambda A, x: A @ x + x, ((1, 1), (1,))),
    "from the left": (lambda A, x: x @ A - x * (A @ x), ((3, 3), (3,))),
    "outer": (lambda x: (x[:, None] - x).max(axis=1) + x * x.sum(), ((7,),)),
    "kept axis": (lambda x, y: x.sum(axis=-1, keepdims=True) * y, ((3, 4, 5), (4, 1))),
    "kept axis of alike sizes": (lambda x, y: x.sum(axis=-1, keepdims=True) * y, ((4, 4, 5), (4, 1))),
    "two axes": (lambda x, y: (x * y).sum(axis=(1, 2), keepdims=True) * y, ((2, 3, 3), (2, 1, 1))),
    "softmax": (lambda A, x: npx.softmax(A * x) @ x + x, ((6, 6), (6,))),
    "scalar": (
        lambda x: (x - x.mean(keepdims=True)) / (x.var(keepdims=True) + 1) + np.mean(x) * x.sum(),
        ((1,),),
    ),
}


@pytest.mark.parametrize("name", TWO_WAYS)
def test_an_operand_may_be_one_number_a_row_and_one_for_each_element(name: str) -> None:
    function, shapes = TWO_WAYS[name]
    values = [numpy.random.default_rng(n).uniform(-2, 2, s).astype("float32") for n, s in enumerate(shapes)]
    assert hold_function(function, values, TWO, source=True) is not None
