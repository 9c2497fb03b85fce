"""Generated kernels against the NumPy meaning of the rows they were made from."""

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy
import pytest
from graphs import Native, graph, graph_for, meant, natively
from hypothesis import given, note
from hypothesis import strategies as st
from sampling import sampled

from blockfuse.codegen.scheduling.steps import HostCall
from blockfuse.ir.builder import Builder, Symbol
from blockfuse.ir.errors import FaultError
from blockfuse.ir.graph import Graph, argument, graph_of, leaf
from blockfuse.ir.interpreter import interpreting
from blockfuse.ir.lowering import Pointwise, Reduction
from blockfuse.ir.operator import TABLE, Operator
from blockfuse.ir.operators import movement, neural, normalization, pointwise, reductions
from blockfuse.ir.operators.contractions import matmul
from blockfuse.ir.passes.grouping import has_kernel
from blockfuse.ir.types import DTYPES, tensor
from blockfuse.ir.verify import verify

pytestmark = pytest.mark.spread(3)

CARRIED = [d for d in DTYPES if d != "float16"]  # NumPy computes float16
TRIED = ("float32", "float64", "int8", "int32", "int64", "uint8", "uint64", "bool")
SIZES = (0, 1, 3, 17, 1000)
ULP_OF_ONE = {"gammaln": 8}  # Python's lgamma is that far off beside its zeros, 1 and 2
ULP = 8  # how far NumPy's own float functions and ours may be apart; test_functions.py is about accuracy


def random(
    shape: tuple[int, ...], dtype: str, low: float = -2.0, high: float = 2.0, seed: int = 7
) -> numpy.ndarray:
    """Floats between low and high; integers of the whole range, so that results wrap."""
    rng = numpy.random.default_rng(seed)
    kind = numpy.dtype(dtype).kind
    if kind == "f":
        return rng.uniform(low, high, shape).astype(dtype)
    if kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    bounds = numpy.iinfo(dtype)
    return rng.integers(bounds.min, bounds.max, shape, dtype, endpoint=True)


def assert_same(found: numpy.ndarray, wanted: numpy.ndarray, ulp: float = ULP, ulp_of_one: float = 0) -> None:
    """Equal types and elements; floats may differ by a few units in the last place, or in that of 1."""
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    if wanted.dtype == bool:  # NumPy takes every byte but 0 for true, and counts on 1
        found, wanted = found.view("uint8"), wanted.view("uint8")
    if wanted.dtype.kind != "f":
        numpy.testing.assert_array_equal(found, wanted)
        return
    eps = float(numpy.finfo(wanted.dtype).eps)
    numpy.testing.assert_allclose(found, wanted, rtol=ulp * eps, atol=ulp_of_one * eps)


def assert_native(
    recorded: Graph, values: list[numpy.ndarray], ulp: float = ULP, ulp_of_one: float = 0
) -> None:
    """The native program of a graph gives what its nodes mean."""
    for found, wanted in zip(Native(recorded)(*values), meant(recorded, values), strict=True):
        assert_same(found, wanted, ulp, ulp_of_one)


# -- one operator ----------------------------------------------------------------------------------------------

POINTWISE = [r for r in TABLE.values() if r.examples and isinstance(r.lowering, Pointwise)]


def single(row: Operator, operands: list[numpy.ndarray]) -> Graph | None:
    """The graph of one operator, if there is a kernel for it."""
    try:
        recorded = graph_for(lambda *xs: row(*xs, **row.examples[0].attrs), operands)
    except TypeError:  # no meaning for this dtype
        return None
    return recorded if has_kernel(recorded.nodes[-1]) else None


def with_kernels() -> Iterator[tuple[Operator, str]]:
    """Rows and dtypes of their operands; where integers become floats, one kind of them is enough."""
    for row in POINTWISE:
        assert isinstance(row.lowering, Pointwise)
        for dtype in ("float32", "float64", "int32") if row.lowering.kinds == "f" else TRIED:
            if single(row, [random((3,), dtype) for _ in row.examples[0].shapes]):
                yield row, dtype


DTYPES_OF: dict[Operator, list[str]] = {}  # row -> the dtypes of operands for which it has a kernel
for _row, _dtype in with_kernels():
    DTYPES_OF.setdefault(_row, []).append(_dtype)


def operands_of(row: Operator, dtype: str, *shapes: tuple[int, ...]) -> list[numpy.ndarray]:
    example = row.examples[0]
    return [random(s, dtype, example.low, example.high, seed=n) for n, s in enumerate(shapes)]


def assert_rows(row: Operator, operands: list[list[numpy.ndarray]]) -> None:
    """One program with a kernel of the row for each list of operands."""
    values = [x for xs in operands for x in xs]
    arity = len(operands[0])

    def each(*xs: Any) -> tuple[Any, ...]:
        return tuple(row(*xs[n : n + arity], **row.examples[0].attrs) for n in range(0, len(xs), arity))

    assert_native(graph_for(each, values), values, ulp_of_one=ULP_OF_ONE.get(row.name, 0))


@pytest.mark.spread(32)
@pytest.mark.parametrize("row", DTYPES_OF, ids=lambda r: r.name)
def test_kernels_of_one_operator_give_its_meaning_in_every_dtype(row: Operator) -> None:
    assert_rows(row, [operands_of(row, d, *[(40,)] * len(row.examples[0].shapes)) for d in DTYPES_OF[row]])


@pytest.mark.spread(61)
@pytest.mark.parametrize("row", DTYPES_OF, ids=lambda r: r.name)
def test_kernels_of_one_operator_give_its_meaning_at_every_size(row: Operator) -> None:
    dtype, arity = DTYPES_OF[row][0], len(row.examples[0].shapes)
    assert_rows(row, [operands_of(row, dtype, *[(size,)] * arity) for size in SIZES])


# The shape of an operand, and the view of it with shape (6, 5).
VIEWS: tuple[tuple[tuple[int, ...], Callable[[Any], Any]], ...] = (
    ((5, 6), lambda x: movement.transpose(x, axes=(1, 0))),
    ((12, 7), lambda x: movement.get_item(x, index=(("slice", 11, -1, -2), ("slice", 1, 6, 1)))),
    ((6, 1), lambda x: movement.broadcast_to(x, shape=(6, 5))),
    ((6, 5), lambda x: movement.flip(x, axis=(0, 1))),
    ((30,), lambda x: movement.reshape(x, shape=(6, 5))),
)


@pytest.mark.spread(41)
@pytest.mark.parametrize("row", DTYPES_OF, ids=lambda r: r.name)
@pytest.mark.parametrize("turn", [0, 1])
def test_kernels_read_views_in_place(row: Operator, turn: int) -> None:
    arity = len(row.examples[0].shapes)
    views = [VIEWS[(n + 3 * turn) % len(VIEWS)] for n in range(arity)]
    values = operands_of(row, DTYPES_OF[row][0], *(shape for shape, _ in views))

    def of_views(*xs: Any) -> Any:
        return row(*(view(x) for x, (_, view) in zip(xs, views, strict=True)), **row.examples[0].attrs)

    program = Native(graph_for(of_views, values))
    for found, wanted in zip(program(*values), meant(program.graph, values), strict=True):
        assert_same(found, wanted, ulp_of_one=ULP_OF_ONE.get(row.name, 0))
    assert len(program.schedule.steps) == 1  # no copies


BROADCASTS = [
    ((4, 3), (3,)),
    ((4, 1), (1, 3)),
    ((2, 3, 4), (3, 1)),
    ((), (4, 3)),
    ((1,), (1, 1)),
    ((3, 0), (1,)),
]


@pytest.mark.parametrize("shapes", BROADCASTS)
def test_operands_are_broadcast(shapes: tuple[tuple[int, ...], ...]) -> None:
    values = [random(s, "float32", seed=n) for n, s in enumerate(shapes)]
    assert_native(graph_for(pointwise.subtract, values), values)


def test_nine_axes_are_walked() -> None:
    axes = (8, 6, 4, 2, 0, 1, 3, 5, 7)
    values = [random((2,) * 9, "float32", seed=n) for n in range(2)]
    assert_native(graph_for(lambda x, y: x + movement.transpose(y, axes=axes), values), values)


def test_more_axes_than_a_kernel_has_loops_are_walked() -> None:
    axes = tuple(reversed(range(12)))
    values = [random((2,) * 12, "float32", seed=n) for n in range(2)]
    assert_native(graph_for(lambda x, y: x + movement.transpose(y, axes=axes), values), values)


# -- dtypes ----------------------------------------------------------------------------------------------------


@pytest.mark.spread(6)
@pytest.mark.parametrize("source", CARRIED)
def test_casts_give_what_numpy_gives(source: str) -> None:
    x = random((200,), source, -300.0, 300.0)
    others = [d for d in CARRIED if d != source]  # simplify takes away a cast to the same dtype
    assert_native(graph_for(lambda x: tuple(pointwise.cast(x, dtype=d) for d in others), [x]), [x], ulp=0)


@pytest.mark.parametrize("source", ["float32", "float64"])
def test_large_floats_become_uint64(source: str) -> None:
    x = numpy.array([2.0**63, 2.0**64 - 2.0**44, 1e19, 2.0**62, -3.5], source)
    assert_native(graph_for(lambda x: pointwise.cast(x, dtype="uint64"), [x]), [x])


@pytest.mark.parametrize("target", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint64"])
@pytest.mark.parametrize("source", ["float32", "float64"])
def test_floats_that_no_integer_holds_become_what_numpy_makes_of_them(source: str, target: str) -> None:
    x = numpy.array([numpy.nan, numpy.inf, -numpy.inf, 3e9, -3e9, 1e19, -1e19, 70000.5, -40000.5] * 4, source)
    assert_native(graph_for(lambda x: pointwise.cast(x, dtype=target), [x]), [x])


@pytest.mark.parametrize("source", ["float32", "float64"])
def test_the_way_to_an_integer_and_back_is_no_rounding(source: str) -> None:
    """LLVM makes a ``trunc`` of it where a float that no integer holds may become anything."""
    x = numpy.array([numpy.nan, numpy.inf, -3e9, 3e9, 1e19, -0.5, 2.5] * 5, source)
    for target in ("int32", "int64"):

        def back(x: Any, target: str = target) -> Any:
            return pointwise.equal(
                pointwise.cast(pointwise.cast(x, dtype=target), dtype=source), pointwise.trunc(x)
            )

        assert_native(graph_for(back, [x]), [x])


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: pointwise.greater(x + 1, x),
        lambda x: pointwise.less(x - 1, x),
        lambda x: pointwise.maximum(x + 1, x),
        lambda x: pointwise.where(pointwise.greater(x + 1, x), x, 0),
        lambda x: pointwise.less(pointwise.negative(x), x),
        lambda x: pointwise.greater_equal(pointwise.square(x), x),
        lambda x: pointwise.greater(x.sum(axis=0) + 1, x.sum(axis=0)),
        lambda x: x + x - x,
    ],
)
def test_no_integer_operation_promises_not_to_overflow(function: Callable[..., Any], dtype: str) -> None:
    bounds = numpy.iinfo(dtype)
    x = numpy.array([bounds.max, bounds.min, 1, bounds.max // 2 + 1] * 9, dtype)
    assert_native(graph_for(function, [x]), [x])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_integers_wrap_inside_a_group(dtype: str) -> None:
    values = [random((100,), dtype, seed=n) for n in range(2)]
    assert_native(graph_for(lambda x, y: (x * y + x) * y - x * x, values), values)


@pytest.mark.spread(6)
@pytest.mark.parametrize("left", CARRIED)
@pytest.mark.parametrize("right", ["int8", "uint64", "float32", "bool"])
def test_operands_are_promoted_as_numpy_does(left: str, right: str) -> None:
    values = [random((20,), left), random((20,), right, seed=9)]

    def mixed(x: Any, y: Any) -> tuple[Any, ...]:
        return pointwise.add(x, y), pointwise.less(x, y), pointwise.where(x, y, x)

    assert_native(graph_for(mixed, values), values)


# -- reductions ------------------------------------------------------------------------------------------------

REDUCTIONS = [r for r in TABLE.values() if isinstance(r.lowering, Reduction)]
AXES = [axes for count in (1, 2, 3) for axes in combinations(range(3), count)]


def of_kinds(row: Operator) -> list[str]:
    assert isinstance(row.lowering, Reduction)
    return [d for d in CARRIED if numpy.dtype(d).kind in row.lowering.kinds]


def folded(row: Operator, shape: tuple[int, ...], dtype: str, axes: tuple[int, ...], keepdims: bool) -> None:
    x = random(shape, dtype, 0.5, 1.5)
    recorded = graph_for(lambda x: row(x, axis=axes, keepdims=keepdims), [x])
    assert_native(recorded, [x], ulp=100)


@pytest.mark.spread(8)
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("row", REDUCTIONS, ids=lambda r: r.name)
def test_reductions_fold_any_axes(row: Operator, axes: tuple[int, ...]) -> None:
    folded(row, (3, 4, 5), of_kinds(row)[0], axes, keepdims=len(axes) == 2)


@pytest.mark.spread(24)
@pytest.mark.parametrize(
    ("row", "dtype"), [(r, d) for r in REDUCTIONS for d in of_kinds(r)], ids=lambda x: getattr(x, "name", x)
)
def test_reductions_fold_every_dtype(row: Operator, dtype: str) -> None:
    for axes in ((0,), (1,)):
        folded(row, (7, 33), dtype, axes, keepdims=False)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (1, 1000), (1000, 1), (3, 1000)])
def test_reductions_fold_any_size(shape: tuple[int, ...]) -> None:
    for axes in ((0,), (1,), (0, 1)):
        folded(reductions.sum_, shape, "float32", axes, keepdims=False)


def test_empty_extremes_are_refused_as_numpy_does() -> None:
    with pytest.raises(FaultError, match="zero-size"):
        natively(lambda x: reductions.max_(x, axis=(0,), keepdims=False), numpy.zeros((0, 3), "float32"))


@pytest.mark.parametrize("row", [reductions.max_, reductions.min_], ids=lambda r: r.name)
def test_a_nan_wins_every_extreme(row: Operator) -> None:
    x = random((6, 40), "float32")
    x[1, 3] = x[4, 39] = numpy.nan
    x[2] = -numpy.inf
    for axes in ((0,), (1,), (0, 1)):
        assert_native(graph_for(lambda x, axes=axes: row(x, axis=axes, keepdims=True), [x]), [x])


PLACES = [reductions.argmax, reductions.argmin]


def values_with_ties(shape: tuple[int, ...], dtype: str) -> numpy.ndarray:
    """Few different values; among floats both zeros, and in some rows one or two nan."""
    values = numpy.random.default_rng(3).integers(0, 3, shape).astype(dtype)
    if values.dtype.kind == "f":
        values[values == 0] = -0.0
        values[:, 1::2] += 0.0
        values[1, 2] = values[1, -1] = values[-1, 0] = numpy.nan
    return values


@pytest.mark.spread(18)
@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "bool", "int8", "uint8", "int64", "uint64"]
)
@pytest.mark.parametrize("row", PLACES, ids=lambda r: r.name)
def test_places_of_extremes_are_those_of_numpy(row: Operator, dtype: str) -> None:
    x = values_with_ties((5, 37), dtype)

    def places(x: Any) -> tuple[Any, ...]:
        axes = (None, 0, 1, -1)
        return tuple(row(x, axis=a, keepdims=kept) for a in axes for kept in (False, True))

    program = Native(graph_for(places, [x]))
    for found, wanted in zip(program(x), meant(program.graph, [x]), strict=True):
        assert found.dtype == wanted.dtype == "int64"
        assert found.shape == wanted.shape
        assert found.tolist() == wanted.tolist()
    hosts = {step.operator.name for step in program.schedule.steps if isinstance(step, HostCall)}
    assert hosts == ({"cast"} if dtype == "float16" else set())


@pytest.mark.spread(4)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (7, 1), (1, 1000), (1000, 1), (0, 3)])
def test_places_of_extremes_in_any_shape(shape: tuple[int, ...]) -> None:
    x = random(shape, "float32")
    for axis in (None, *range(len(shape))) if x.size else (1,):
        for row in PLACES:
            (found,) = natively(lambda x, row=row, axis=axis: row(x, axis=axis), x)
            assert found.tolist() == row.meaning(x, axis=axis).tolist()


def test_the_first_of_values_that_are_all_alike_is_found() -> None:
    for extreme in (-numpy.inf, numpy.inf, numpy.nan):
        x = numpy.full((3, 9), extreme, "float32")
        (found,) = natively(lambda x: reductions.argmax(x, axis=1), x)
        assert found.tolist() == [0, 0, 0]


@pytest.mark.long
def test_reductions_read_views() -> None:
    x = random((5, 6, 7), "float64")
    for axes in AXES:
        turned = graph_for(
            lambda x, axes=axes: reductions.sum_(
                movement.flip(movement.transpose(x, axes=(2, 0, 1)), axis=(1,)), axis=axes, keepdims=False
            ),
            [x],
        )
        assert_native(turned, [x], ulp=100)


# -- writing ---------------------------------------------------------------------------------------------------

WHOLE = ("slice", 0, 5, 1), ("slice", 0, 6, 1)
WRITES: dict[str, tuple[tuple[Any, ...], tuple[int, ...]]] = {
    "a row": ((1, WHOLE[1]), (6,)),
    "a column": ((WHOLE[0], 2), (5,)),
    "every second row": ((("slice", 0, 5, 2), WHOLE[1]), (3, 6)),
    "backwards": ((("slice", 4, -1, -1), ("slice", 5, 1, -2)), (5, 2)),
    "one row for all": (WHOLE, (6,)),
    "one column for all": (WHOLE, (5, 1)),
    "one number for all": ((("slice", 1, 4, 1), WHOLE[1]), ()),
    "more axes than there are": ((2, WHOLE[1]), (1, 1, 6)),
    "a new axis": ((None, 3, ("slice", 1, 5, 1)), (1, 4)),
    "nothing": ((("slice", 2, 2, 1), WHOLE[1]), (0, 6)),
}


@pytest.mark.spread(13)
@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("dtype", ["float32", "int8", "bool"])
def test_what_is_written_is_the_only_difference(name: str, dtype: str) -> None:
    index, shape = WRITES[name]
    values = [random((5, 6), dtype), random(shape, dtype, seed=1)]
    assert_native(graph_for(lambda x, v: movement.set_item(x, v, index=index), values), values)


def test_views_are_written_into_views() -> None:
    def turned(x: Any, v: Any) -> tuple[Any, Any]:
        x = movement.transpose(x * 2, axes=(1, 0))
        y = movement.set_item(x, movement.flip(v, axis=(0,)), index=(WHOLE[1], 1))
        return x + y, movement.set_item(y, x, index=(WHOLE[1], WHOLE[0]))

    values = [random((5, 6), "float32"), random((6,), "float32", seed=1)]
    assert_native(graph_for(turned, values), values)


@pytest.mark.parametrize(
    "dtypes", [("float16", "float16"), ("float16", "float32"), ("float32", "float16"), ("int8", "float64")]
)
@pytest.mark.parametrize("rows", [0, 3])
def test_what_is_joined_or_written_is_converted(dtypes: tuple[str, str], rows: int) -> None:
    x, y = random((5, 6), dtypes[0]), random((rows, 6), dtypes[1])
    assert_native(graph_for(lambda x, y: movement.concatenate(x, y, axis=0), [x, y]), [x, y])
    place = ("slice", 1, 1 + rows, 1), WHOLE[1]
    assert_native(graph_for(lambda x, y: movement.set_item(x, y, index=place), [x, y]), [x, y])


# -- groups ----------------------------------------------------------------------------------------------------


def _variance(x: Any) -> Any:
    return reductions.var(x, axis=(1,), keepdims=False, ddof=1)


GROUPS: dict[str, Callable[..., Any]] = {
    "softmax": lambda x: neural.softmax(x, axis=1),
    "softmax of columns": lambda x: neural.softmax(x, axis=0),
    "log_softmax": lambda x: neural.log_softmax(x, axis=1),
    "var": _variance,
    "std": lambda x: reductions.std(x, axis=(0, 1), keepdims=True, ddof=0),
    "mean": lambda x: reductions.mean(x, axis=(0,), keepdims=False),
    "gelu": lambda x: neural.gelu(x, approximate=False),
    "gelu by tanh": lambda x: neural.gelu(x, approximate=True),
    "silu": neural.silu,
    "elu": lambda x: neural.elu(x, alpha=1.5),
    "softplus of a product": lambda x: neural.softplus(x * x) - x,
    "standardised": lambda x: (
        (x - reductions.mean(x, axis=(1,), keepdims=True))
        / reductions.std(x, axis=(1,), keepdims=True, ddof=0)
    ),
}


@pytest.mark.spread(7)
@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("shape", [(5, 17), (3, 1000), (130, 64)])
def test_groups_are_as_accurate_as_numpy(name: str, shape: tuple[int, int]) -> None:
    x = random(shape, "float32", -4.0, 4.0)
    assert_as_accurate(GROUPS[name], [x])


@pytest.mark.parametrize("shape", [(5, 17), (3, 1000), (130, 64)])
def test_layer_norm_is_as_accurate_as_numpy(shape: tuple[int, int]) -> None:
    values = [random(shape, "float32", -4.0, 4.0), *(random(shape[1:], "float32", seed=n) for n in range(2))]
    assert_as_accurate(lambda x, g, b: normalization.layer_norm(x, g, b, axis=(1,), epsilon=1e-5), values)


def assert_as_accurate(function: Callable[..., Any], values: list[numpy.ndarray]) -> None:
    """No further from the result in float64 than twice what NumPy is in float32, plus one unit."""
    recorded = graph_for(function, values)
    (found,), (plain,) = Native(recorded)(*values), meant(recorded, values)
    (wanted,) = meant(recorded, [v.astype("float64") for v in values])
    assert (found.shape, found.dtype) == (plain.shape, plain.dtype)
    ours, theirs = (numpy.abs(v.astype("float64") - wanted).max() for v in (found, plain))
    assert ours <= 2 * theirs + numpy.spacing(numpy.float32(numpy.abs(wanted).max()))


def test_a_value_that_two_kernels_need_is_computed_once() -> None:
    def twice(x: Any) -> tuple[Any, Any]:
        shared = pointwise.exp(x)
        return reductions.sum_(shared, axis=(0,), keepdims=False), reductions.max_(
            shared, axis=(0,), keepdims=False
        )

    program = Native(graph(twice, x="float32[4, 3]"))
    assert sum("exp(" in source for source in program.sources) == 1


def test_equal_kernels_over_other_dtypes_are_kept_apart() -> None:
    recorded = graph(lambda x, y: (x + x, y + y), x="float32[8]", y="float64[8]")
    assert_native(recorded, [random((8,), "float32"), random((8,), "float64")])


def test_a_bool_that_only_moves_is_copied() -> None:
    x = random((3, 4), "bool")
    assert_native(graph_for(lambda x: movement.transpose(x, axes=(1, 0)), [x]), [x])


# -- random graphs ---------------------------------------------------------------------------------------------
# Small whole numbers in float64: sums are exact in any order, so results must be equal.


def _clipped(x: Any) -> Any:
    return pointwise.maximum(pointwise.minimum(x, 9), -9)


def _swapped(x: Any) -> Any:
    return movement.transpose(x, axes=tuple(reversed(range(x.ndim))))


def _every_second(x: Any) -> Any:
    index = tuple(("slice", 0, n, 2) for n in x.shape)
    return movement.get_item(x, index=index)


def _flat(x: Any) -> Any:
    return movement.reshape(x, shape=(int(numpy.prod(x.shape)),))


UNARY: tuple[Callable[[Any], Any], ...] = (
    pointwise.negative,
    neural.relu,
    pointwise.absolute,
    lambda x: x * 3,
    lambda x: pointwise.cast(pointwise.greater(x, 1), dtype="float64"),
    lambda x: pointwise.cast(pointwise.cast(x, dtype="int32"), dtype="float64"),
    _swapped,
    _every_second,
    _flat,
    lambda x: movement.flip(x, axis=tuple(range(x.ndim))),
    lambda x: movement.expand_dims(x, axis=(0,)),
    lambda x: movement.broadcast_to(x, shape=(2, *x.shape)),
    lambda x: reductions.sum_(x, axis=tuple(range(x.ndim)), keepdims=True),
)
BINARY: tuple[Callable[[Any, Any], Any], ...] = (
    pointwise.add,
    pointwise.subtract,
    lambda x, y: _clipped(x * y),
    pointwise.maximum,
    lambda x, y: pointwise.where(pointwise.less(x, y), x, y + 1),
)
LARGEST = 2000  # elements of one value


@st.composite
def graphs(draw: Any) -> Graph:
    """A graph of up to a dozen operators over a few arguments."""
    shapes = st.lists(st.sampled_from([1, 2, 3, 5, 8]), max_size=3)
    leaves = [
        leaf(argument, f"x{n}", tensor(tuple(draw(shapes)), "float64"))
        for n in range(draw(st.integers(1, 3)))
    ]
    values = [Symbol(x) for x in leaves]
    with interpreting(Builder()):
        for _ in range(draw(st.integers(1, 12))):
            found = _applied(draw, values)
            if 0 < found.node.type.size <= LARGEST and found.ndim <= 5:
                values.append(found)
    outputs = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
    return verify(graph_of(leaves, [v.node for v in (*outputs, values[-1])]))


def _applied(draw: Any, values: list[Symbol]) -> Any:
    """One more operator over some of the values."""
    x = draw(st.sampled_from(values))
    kind = draw(st.sampled_from(["unary", "binary", "binary", "fold", "product", "join"]))
    if kind == "unary":
        return draw(st.sampled_from(UNARY))(x)
    if kind == "fold" and x.ndim:
        axes = tuple(sorted(draw(st.sets(st.integers(0, x.ndim - 1), min_size=1))))
        row = draw(st.sampled_from([reductions.sum_, reductions.max_, reductions.min_]))
        return row(_clipped(x), axis=axes, keepdims=draw(st.booleans()))
    if kind == "product" and x.ndim >= 2:
        return _clipped(matmul(x, _swapped(x) if x.ndim == 2 else _last_swapped(x)))
    if kind == "join" and x.ndim:
        return movement.concatenate(x, x, axis=draw(st.integers(0, x.ndim - 1)))
    fitting = [y for y in values if _broadcast(x, y)]
    return draw(st.sampled_from(BINARY))(x, draw(st.sampled_from(fitting)))


def _last_swapped(x: Any) -> Any:
    axes = tuple(range(x.ndim))
    return movement.transpose(x, axes=(*axes[:-2], axes[-1], axes[-2]))


def _broadcast(x: Any, y: Any) -> bool:
    try:
        numpy.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return False
    return True


@given(recorded=graphs(), seed=st.integers(0, 3))
@sampled(2, 40)
def test_random_graphs_give_what_their_nodes_mean(recorded: Graph, seed: int) -> None:
    note(str(recorded))
    rng = numpy.random.default_rng(seed)
    values = [rng.integers(-4, 5, i.shape).astype("float64") for i in recorded.inputs]
    for found, wanted in zip(Native(recorded)(*values), meant(recorded, values), strict=True):
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
        numpy.testing.assert_array_equal(found, wanted)
