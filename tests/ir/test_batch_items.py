"""Whether a graph computes each item of a batch by itself, and what a schedule for any number of items gives."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy
import pytest
from graphs import LEVELS, Memory, graph, meant
from hypothesis import given, settings
from hypothesis import strategies as st

from blockfuse.array.modes import UNUSUAL
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.compile import compile_flow, compile_for_every_size
from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.cpu.program.executable import Executable
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind, planned
from blockfuse.codegen.scheduling.every_size import for_every_size, rows_per_item
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.scheduling.steps import Launch
from blockfuse.codegen.variants import Variant
from blockfuse.ir.batch_items import rows_per_item_of
from blockfuse.ir.errors import TraceError
from blockfuse.ir.flow import straight
from blockfuse.ir.graph import Graph
from blockfuse.ir.operator import TABLE
from blockfuse.ir.operators import contractions, indexing, movement, neural, pointwise, reductions
from blockfuse.ir.passes.expand import expand_composites
from blockfuse.ir.types import tensor

BATCH, OTHER = 61, 67

# -- which values are rows of the batch ------------------------------------------------------------------------


def share_of(function: Callable[..., Any], *shapes: tuple[int, ...], fixed: str = "") -> int:
    """The share of the result; the arguments x0, x1, ... that are not ``fixed`` have the batch as leading axis."""
    types = {f"x{n}": tensor(shape, "float32") for n, shape in enumerate(shapes)}
    recorded = expand_composites(graph(function, **types))
    growing = {i for i in recorded.inputs if i.attrs["name"] not in fixed.split()}
    return rows_per_item_of(recorded, growing, BATCH)[recorded.outputs[0]]


def index(*items: Any) -> tuple[Any, ...]:
    return tuple(("slice", *i) if isinstance(i, tuple) else i for i in items)


ROWS: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]], str, int]] = {
    "pointwise": (lambda x: x * 2 + 1, [(BATCH, 3)], "", 1),
    "two of them": (pointwise.add, [(BATCH, 3), (BATCH, 1)], "", 1),
    "beside a row": (pointwise.add, [(BATCH, 3), (1, 3)], "x1", 1),
    "beside a vector": (pointwise.add, [(BATCH, 3), (3,)], "x1", 1),
    "softmax": (lambda x: neural.softmax(x, axis=1), [(BATCH, 3)], "", 1),
    "inner sum": (lambda x: reductions.sum_(x, axis=(1, 2), keepdims=False), [(BATCH, 3, 4)], "", 1),
    "dense": (contractions.dense, [(BATCH, 3), (4, 3), (4,)], "x1 x2", 1),
    "matmul": (contractions.matmul, [(BATCH, 3), (3, 4)], "x1", 1),
    "matmul of stacks": (contractions.matmul, [(BATCH, 2, 3), (BATCH, 3, 4)], "", 1),
    "fixed matrix of a stack": (contractions.matmul, [(2, 3), (BATCH, 3, 4)], "x0", 1),
    "matmul with a vector": (contractions.matmul, [(BATCH, 3), (3,)], "x1", 1),
    "inner sort": (lambda x: TABLE["sort"](x, axis=1), [(BATCH, 3)], "", 1),
    "inner running sums": (lambda x: TABLE["cumsum"](x, axis=2), [(BATCH, 3, 4)], "", 1),
    "determinants": (TABLE["det"], [(BATCH, 3, 3)], "", 1),
    "inverses": (TABLE["inverse"], [(BATCH, 3, 3)], "", 1),
    "equations of one matrix": (TABLE["solve"], [(3, 3), (BATCH, 3, 2)], "x0", 1),
    "equations with one right-hand side": (TABLE["solve"], [(BATCH, 3, 3), (3, 2)], "x1", 1),
    "flat": (lambda x: movement.reshape(x, shape=(BATCH * 3,)), [(BATCH, 3)], "", 3),
    "inner transpose": (lambda x: movement.transpose(x, axes=(0, 2, 1)), [(BATCH, 3, 4)], "", 1),
    "inner slice": (
        lambda x: movement.get_item(x, index=index((0, BATCH, 1), (2, -1, -1))),
        [(BATCH, 3)],
        "",
        1,
    ),
    "inner join": (lambda x, y: movement.concatenate(x, y, axis=1), [(BATCH, 3), (BATCH, 2)], "", 1),
    "inner write": (
        lambda x, y: movement.set_item(x, y, index=index((0, BATCH, 1), 1)),
        [(BATCH, 3), (BATCH,)],
        "",
        1,
    ),
    "one row written over all": (
        lambda x, y: movement.set_item(x, y, index=index((0, BATCH, 1), (0, 3, 1))),
        [(BATCH, 3), (1, 3)],
        "x1",
        1,
    ),
    "a vector written over all": (
        lambda x, y: movement.set_item(x, y, index=index((0, BATCH, 1), (0, 3, 1))),
        [(BATCH, 3), (3,)],
        "x1",
        1,
    ),
    "zeros": (lambda x: TABLE["full"](shape=(BATCH, 3), value=0, dtype="float32"), [(BATCH, 3)], "", 1),
    "what does not grow": (lambda x, y: y * 2, [(BATCH, 3), (5, 3)], "x1", 0),
}


@pytest.mark.parametrize("name", ROWS)
def test_items_that_are_computed_by_themselves(name: str) -> None:
    function, shapes, fixed, wanted = ROWS[name]
    assert share_of(function, *shapes, fixed=fixed) == wanted


MIXING: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]], str]] = {
    "sum over the batch": (lambda x: reductions.sum_(x, axis=(0,), keepdims=True), [(BATCH, 3)], ""),
    "sum over all": (lambda x: reductions.sum_(x, axis=(0, 1), keepdims=False), [(BATCH, 3)], ""),
    "softmax over the batch": (lambda x: neural.softmax(x, axis=0), [(BATCH, 3)], ""),
    "transpose": (lambda x: movement.transpose(x, axes=(1, 0)), [(BATCH, 3)], ""),
    "batch behind": (lambda x: movement.expand_dims(x, axis=(0,)), [(BATCH, 3)], ""),
    "rows reversed": (lambda x: movement.flip(x, axis=(0,)), [(BATCH, 3)], ""),
    "one row": (lambda x: movement.get_item(x, index=index(0, (0, 3, 1))), [(BATCH, 3)], ""),
    "first rows": (lambda x: movement.get_item(x, index=index((0, 5, 1), (0, 3, 1))), [(BATCH, 3)], ""),
    "joined rows": (lambda x: movement.concatenate(x, x, axis=0), [(BATCH, 3)], ""),
    "columns from rows": (lambda x: movement.reshape(x, shape=(3, BATCH)), [(BATCH, 3)], ""),
    "aligned with another axis": (pointwise.add, [(BATCH,), (BATCH, BATCH)], ""),
    "beside a table as long": (pointwise.add, [(BATCH, 3), (BATCH, 3)], "x1"),
    "other shares": (
        lambda x, y: movement.reshape(x, shape=(3 * BATCH,)) + y,
        [(BATCH, 3), (3 * BATCH,)],
        "x1",
    ),
    "weight from the batch": (contractions.matmul, [(4, BATCH), (BATCH, 3)], "x0"),
    "dense with a bias of the batch": (contractions.dense, [(4, 3), (BATCH, 3)], "x0"),
    "contracted": (contractions.matmul, [(BATCH,), (BATCH, 3)], "x1"),
    "rows of a stack": (contractions.matmul, [(BATCH, 3), (4, 3, 2)], "x1"),
    "sorted over the batch": (lambda x: TABLE["sort"](x, axis=0), [(BATCH, 3)], ""),
    "running sums over the batch": (lambda x: TABLE["cumsum"](x, axis=0), [(BATCH, 3)], ""),
    "the batch as matrix": (TABLE["inverse"], [(BATCH, BATCH)], ""),
    "the batch as equations": (TABLE["solve"], [(BATCH, BATCH), (BATCH, 2)], "x0"),
    "counted": (lambda x: x * TABLE["arange"](start=0, stop=BATCH, step=1, dtype="float32"), [(1,)], "x0"),
    "written rows": (
        lambda x, y: movement.set_item(x, y, index=index((0, 2, 1), (0, 3, 1))),
        [(BATCH, 3), (3,)],
        "x1",
    ),
    "a table written over all rows": (
        lambda x, y: movement.set_item(x, y, index=index((0, BATCH, 1), (0, 3, 1))),
        [(BATCH, 3), (BATCH, 3)],
        "x1",
    ),
    "rows written into a table as long": (
        lambda x, y: movement.set_item(x, y, index=index((0, BATCH, 1), (0, 3, 1))),
        [(BATCH, 3), (BATCH, 3)],
        "x0",
    ),
    "two rows written": (
        lambda x, y: movement.set_item(x, y, index=index((0, 2, 1), (0, 3, 1))),
        [(BATCH, 3), (2, 3)],
        "x1",
    ),
    "rows written one further": (
        lambda x, y: movement.set_item(x, y, index=index((0, BATCH, 1), (0, 3, 1))),
        [(BATCH, 3), (BATCH, 1, 3)],
        "",
    ),
}


@pytest.mark.parametrize("name", MIXING)
def test_items_that_depend_on_each_other_are_refused(name: str) -> None:
    function, shapes, fixed = MIXING[name]
    with pytest.raises(TraceError, match="does not compute each item"):
        share_of(function, *shapes, fixed=fixed)


ALONG = (("along", 0, 2), ("array", 0))
COLUMNS = (("slice", None, None, None), ("array", 0))


@pytest.mark.parametrize(
    ("pattern", "x", "value", "picks", "fixed", "wanted"),
    [
        (ALONG, (BATCH, 5), (BATCH, 3), (BATCH, 3), "", 1),
        (ALONG, (BATCH, 5), (3,), (BATCH, 3), "v", 1),
        (COLUMNS, (BATCH, 5), (BATCH, 3), (3,), "i", 1),
        (COLUMNS, (BATCH, 5), (1, 3), (3,), "v i", 1),
        (COLUMNS, (2, 5), (2, BATCH), (BATCH,), "x", None),
        (COLUMNS, (BATCH, 5), (BATCH, 3), (3,), "v i", None),
        ((("array", 0),), (9, 5), (BATCH, 5), (BATCH,), "x", None),
        ((("array", 0),), (BATCH, 5), (BATCH, 5), (BATCH,), "", None),
        ((("array", 0),), (BATCH, 5), (4, 5), (4,), "v i", None),
        ((("array", 0), ("along", 1, 2)), (BATCH, 5), (BATCH, 5), (BATCH, 5), "", None),
        (ALONG, (BATCH, 5), (BATCH, 3), (BATCH, 3), "i", None),
    ],
)
def test_items_that_add_by_indices(
    pattern: Any, x: Any, value: Any, picks: Any, fixed: str, wanted: int | None
) -> None:
    types = {"x": tensor(x, "float32"), "v": tensor(value, "float32"), "i": tensor(picks, "int64")}
    recorded = graph(lambda x, v, i: indexing.add_at(x, v, i, pattern=pattern), **types)
    growing = {i for i in recorded.inputs if i.attrs["name"] not in fixed.split()}
    if wanted is None:
        with pytest.raises(TraceError, match="add_at"):
            rows_per_item_of(recorded, growing, BATCH)
    else:
        assert rows_per_item_of(recorded, growing, BATCH)[recorded.outputs[0]] == wanted


# -- schedules for any number of items -------------------------------------------------------------------------


def scheduled(function: Callable[[int], Graph], machine: Any) -> Schedule:
    flows = straight(function(BATCH)), straight(function(OTHER))
    return compile_for_every_size(flows, (BATCH, OTHER), 1, machine).schedule


_MEMORY = Memory()


class Growing:
    """A native program for any number of items; all inputs are arguments."""

    def __init__(self, function: Callable[[int], Graph], level: str = "", threads: int = 1) -> None:
        machine = isa.machine(level, threads)
        self.function = function
        self.schedule = scheduled(function, machine)
        self.executable = Executable(self.schedule, machine, _MEMORY, ndarray, UNUSUAL)
        self.executable.bind([node.attrs["value"] for node in self.schedule.parameters])
        self.executable.validity.begin()
        self.executable.validity.complete()

    def check(self, items: int, *values: numpy.ndarray) -> None:
        wanted = meant(self.function(items), values)
        ran: set[Variant] = set()
        by_python = self.executable.run(list(values), ran)
        self.executable.prove(ran)
        result = self.executable.entry(*(ndarray(v) for v in values))
        assert result is not NotImplemented
        by_entry = [result] if type(result) is ndarray else list(result)
        assert by_python is not None
        for a, b, c in zip(by_python, by_entry, wanted, strict=True):
            numpy.testing.assert_array_equal(a, c)
            numpy.testing.assert_array_equal(b._data, c)


def whole(*shape: int, dtype: str = "float32", seed: int = 0) -> numpy.ndarray:
    return numpy.random.default_rng([seed, *shape]).integers(-4, 5, shape).astype(dtype)


@pytest.mark.spread(7)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("inner", "units", "dtype"), [(7, 1, "float32"), (33, 130, "float32"), (40, 50, "float64")]
)
def test_products_of_any_number_of_rows(level: str, threads: int, inner: int, units: int, dtype: str) -> None:
    def layer(items: int) -> Graph:
        return graph(
            lambda x, w, b: neural.relu(contractions.dense(x, w, b)),
            x=tensor((items, inner), dtype),
            w=tensor((units, inner), dtype),
            b=tensor((units,), dtype),
        )

    program = Growing(layer, level, threads)
    weights = whole(units, inner, dtype=dtype), whole(units, dtype=dtype)
    for items in (*range(1, 45), 97, 200, 1111):
        program.check(items, whole(items, inner, dtype=dtype), *weights)


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_items_add_by_their_own_indices(threads: int) -> None:
    def net(items: int) -> Graph:
        def function(x: Any, v: Any, i: Any) -> Any:
            zeros = movement.filled(0, (items, 5), v.dtype)
            return tuple(indexing.add_at(whole, v, i, pattern=ALONG) for whole in (x, zeros))

        types = {"x": tensor((items, 5), "float32"), "v": tensor((items, 3), "float32")}
        return graph(function, **types, i=tensor((items, 3), "int64"))

    program = Growing(net, threads=threads)
    for items in (1, 2, 7, 61, 3000):
        program.check(items, whole(items, 5), whole(items, 3, seed=1), whole(items, 3, dtype="int64"))


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6))
@settings(max_examples=15)
def test_memory_and_results_follow_the_number_of_items(sizes: list[int]) -> None:
    def net(items: int) -> Graph:
        def function(x: Any, y: Any) -> Any:
            turned = movement.reshape(movement.transpose(x, axes=(0, 2, 1)), shape=(items, 6))
            total = reductions.sum_(turned, axis=(1,), keepdims=True)
            flags = pointwise.greater(turned, total)
            joined = movement.concatenate(turned + total, movement.transpose(turned * 2, axes=(0, 1)), axis=1)
            return joined, flags, y * 2, movement.reshape(turned, shape=(items * 6,)) + 1

        return graph(function, x=tensor((items, 2, 3), "float32"), y=tensor((3, 2), "float32"))

    program = Growing(net)
    for items in sizes:
        program.check(items, whole(items, 2, 3), whole(3, 2))


def test_the_entry_takes_what_fits_and_nothing_else() -> None:
    def net(items: int) -> Graph:
        types = {"x": tensor((items, 3), "float32"), "y": tensor((items, 2), "float32")}
        return graph(lambda x, y: (x * 2, y + 1), **types)

    program = Growing(net)
    entry = program.executable.entry
    assert entry(ndarray(whole(9, 3)), ndarray(whole(9, 2))) is NotImplemented  # nobody has proven it
    program.check(9, whole(9, 3), whole(9, 2))
    assert entry(ndarray(whole(9, 3)), ndarray(whole(9, 2))) is not NotImplemented
    for x, y in (((9, 3), (8, 2)), ((0, 3), (0, 2)), ((9, 4), (9, 2)), ((9, 3, 1), (9, 2))):
        assert entry(ndarray(whole(*x)), ndarray(whole(*y))) is NotImplemented


UNLIKE: dict[str, tuple[Callable[..., Any], str]] = {
    "kernel": (lambda x, n: reductions.sum_(x, axis=(0,), keepdims=False), "depends on the batch size"),
    "constant": (lambda x, n: x * (1.0 / n), "depends on the batch size"),
    "axis": (lambda x, n: movement.transpose(x * 2, axes=(1, 0)), "not along its leading axis"),
    "part": (
        lambda x, n: movement.get_item(x, index=index((0, n // 2, 1), (0, 3, 1))) + 1,
        "not in proportion",
    ),
    "steps": (
        lambda x, n: x * 2 if n == BATCH else movement.concatenate(x * 2, x, axis=1),
        "other steps|leading",
    ),
    "numpy": (lambda x, n: pointwise.cast(x, dtype="float16"), "NumPy"),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_schedules_that_differ_in_more_than_rows_are_refused(name: str) -> None:
    function, reason = UNLIKE[name]

    def net(items: int) -> Graph:
        return graph(lambda x: function(x, items), x=tensor((items, 3), "float32"))

    with pytest.raises(TraceError, match=reason):
        scheduled(net, isa.machine("", 1))


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (0, {"number": 1}),
        (0, {"kind": BufferKind.REGISTER}),
        (1, {"kind": BufferKind.REGISTER}),
        (1, {"made_by_host": True}),
        (1, {"rows_per_item": 2}),
        (2, {"number": 1}),
    ],
)
def test_buffers_that_differ_in_more_than_sizes_are_refused(number: int, change: dict[str, Any]) -> None:
    machine = isa.machine("", 1)

    def made(items: int) -> Schedule:
        net = graph(
            lambda x: (
                reductions.sum_(
                    movement.flip(neural.softmax(x, axis=1) * x, axis=(1,)), axis=(1,), keepdims=False
                )
                * 2
            ),
            x=tensor((items, 3), "float32"),
        )
        return compile_flow(net, machine, batch=items).schedule

    first, second = made(BATCH), made(OTHER)
    for_every_size(first, second, (BATCH, OTHER), 1, machine)
    buffers = list(second.buffers)
    buffers[number] = replace(buffers[number], **change)
    with pytest.raises(TraceError, match="lies elsewhere"):
        for_every_size(first, replace(second, buffers=tuple(buffers)), (BATCH, OTHER), 1, machine)


def test_threads_and_large_weights_set_the_least_number_of_items() -> None:
    def net(items: int, units: int = 1200) -> Graph:
        types = {"x": tensor((items, 1200), "float32"), "w": tensor((units, 1200), "float32")}
        return graph(contractions.dense, **types)

    alone, shared = (scheduled(net, isa.machine("", threads)) for threads in (1, 4))
    steps = [s for s in shared.steps if isinstance(s, Launch) and s.rows_per_item]
    assert (alone.min_items, shared.min_items) == (1, 2 * steps[-1].grain)


def test_shares_are_in_proportion() -> None:
    assert rows_per_item((2 * BATCH, 2 * OTHER), (BATCH, OTHER)) == 2
    for found in ((BATCH + 1, OTHER + 1), (BATCH, 2 * OTHER), (0, 0), (5, 5)):
        with pytest.raises(TraceError, match="in proportion"):
            rows_per_item(found, (BATCH, OTHER))


@given(
    st.lists(st.tuples(st.integers(1, 40), st.booleans(), st.integers(0, 5), st.integers(0, 5)), min_size=1),
    st.integers(1, 200),
)
def test_memory_that_grows_never_overlaps(drawn: list[tuple[int, bool, int, int]], items: int) -> None:
    buffers, lives = [], {}
    for number, (columns, grows, *ends) in enumerate(drawn):
        type = tensor((BATCH, columns) if grows else (columns,), "bool" if columns % 2 else "float32")
        buffers.append(Buffer(f"t{number}", type, BufferKind.WORKSPACE, rows_per_item=int(grows)))
        lives[number] = (min(ends), max(ends))
    placed, workspace = planned(buffers, lives, BATCH)
    ranges = []
    for number, buffer in enumerate(placed):
        start = buffer.offset
        if buffer.rows_per_item:
            start = (
                workspace.bytes_for(items)
                - workspace.growing * (-(-items // 16) * 16)
                + start * (-(-items // 16) * 16)
            )
        size = int(numpy.prod(buffer.shape_for(items))) * buffer.type.dtype.itemsize
        assert start % 64 == 0
        assert start + size <= workspace.bytes_for(items)
        ranges.append((start, start + size, lives[number]))
    for (low, high, (first, last)), (other_low, other_high, (begin, end)) in combinations(ranges, 2):
        apart = last < begin or end < first
        assert apart or high <= other_low or other_high <= low
