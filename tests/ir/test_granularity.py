"""One operand read in several ways, and sizes that coincide: readings per element, per row and per column stay apart."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy
import pytest
from graphs import Native, graph_for, meant
from tolerances import TOLERANCES
from written import fold, statement

from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.loop_kernels import RowKernel, Sweep
from blockfuse.ir.graph import Graph
from blockfuse.ir.lowering import Fused
from blockfuse.ir.operators import contractions, movement, neural, pointwise, reductions
from blockfuse.ir.passes.fuse import fuse

pytestmark = pytest.mark.spread(3)

SIZES = {"float32": (1, 3, 17), "float64": (16,)}


def total(x: Any, keepdims: bool = False, axis: tuple[int, ...] = (-1,)) -> Any:
    axes = tuple(a % x.node.type.ndim for a in axis)
    return reductions.sum_(x, axis=axes, keepdims=keepdims)


def as_column(x: Any) -> Any:
    return movement.reshape(x, shape=(*x.node.shape, 1))


# A function of a square matrix and a vector that reads both in more than one way.
READ_TWICE: dict[str, Callable[[Any, Any], Any]] = {
    "after a product": lambda A, x: contractions.matmul(A, x) + x,
    "before and after a fold": lambda A, x: total(A * x) * x,
    "in the fold, after it and in the row again": lambda A, x: A * x - as_column(total(A * x) * x),
    "per row and per column": lambda A, x: total(A * x + A * as_column(x)),
    "per row, per column and after": lambda A, x: total(A * x - as_column(x)) + x,
    "around a softmax": lambda A, x: neural.softmax(A * x, axis=1) * as_column(x),
    "in two folds, one after the other": lambda A, x: total(A * as_column(total(A * x) + x)) - x,
    "in folds of both kinds": lambda A, x: total(A * x, keepdims=True) * total(A + x, keepdims=True) + A,
    "the matrix before and after": lambda A, x: A * total(A, keepdims=True) + total(A * A, keepdims=True) + A,
    "with its transpose": lambda A, x: total(A * movement.transpose(A, axes=(1, 0))) * x,
    "as columns": lambda A, x: total(A * as_column(x), axis=(0,)) + x,
    "outer differences": lambda A, x: total(pointwise.exp(as_column(x) - x) * x) - x,
    "as its own weight": lambda A, x: contractions.matmul(A, A) + A,
    "with itself transposed": lambda A, x: contractions.matmul(movement.transpose(A, axes=(1, 0)), A) + A * x,
}


def drawn(*shapes: tuple[int, ...], dtype: str) -> list[numpy.ndarray]:
    rng = numpy.random.default_rng(sum(map(len, shapes)))
    return [rng.uniform(-1, 1, shape).astype(dtype) for shape in shapes]


def hold(function: Callable[..., Any], values: list[numpy.ndarray]) -> None:
    recorded = graph_for(function, values)
    exact = meant(recorded, [v.astype("float64") for v in values])
    for found, wanted in zip(Native(recorded)(*values), exact, strict=True):
        limit = TOLERANCES[found.dtype.name][0]
        numpy.testing.assert_allclose(found, wanted, rtol=limit, atol=limit * float(numpy.abs(wanted).max()))


@pytest.mark.spread(12)
@pytest.mark.parametrize("name", READ_TWICE)
@pytest.mark.parametrize("dtype", SIZES)
def test_a_vector_may_be_read_in_every_way_at_once(name: str, dtype: str) -> None:
    for size in SIZES[dtype]:
        hold(READ_TWICE[name], drawn((size, size), (size,), dtype=dtype))


# Shapes that can be broadcast to the rows of (a, b, c), with the folded axis kept and without it.
@pytest.mark.spread(12)
@pytest.mark.parametrize("sizes", [(3, 4, 5), (4, 4, 5), (4, 4, 4), (1, 4, 4), (4, 4, 1)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_what_is_read_per_row_is_broadcast_as_its_reader_says(
    sizes: tuple[int, int, int], keepdims: bool
) -> None:
    shapes = [[1, n] for n in sizes[:2]] + ([[1]] if keepdims else [])
    for shape in sorted({s[k:] for s in product(*shapes) for k in range(len(s) + 1)}):
        values = drawn(sizes, shape, dtype="float64")
        hold(lambda x, y: total(x * 2, keepdims) * y + y, values)


def body(recorded: Graph) -> Graph:
    (group,) = (n for n in fuse(recorded).nodes if isinstance(n.operator.lowering, Fused))
    found: Graph = group.attrs["body"]
    return found


def test_every_way_of_reading_is_an_argument_of_its_own() -> None:
    A, x = drawn((4, 4), (4,), dtype="float32")
    once = body(graph_for(lambda A, x: total(A * x + x), [A, x]))
    twice = body(graph_for(lambda A, x: total(A * x) + x, [A, x]))
    assert [str(i.type) for i in once.inputs] == ["float32[4, 4]", "float32[4]"]
    assert [str(i.type) for i in twice.inputs] == ["float32[4, 4]", "float32[4]", "float32[4]"]


# -- kernels that cannot be ------------------------------------------------------------------------------------

ELEMENT, ROW = Access("x0", "float32", (4, 1)), Access("x1", "float32", (1,))
TOTAL = fold("t0", "float32", "float32(0.0)", "fold_add(t0, x0)", "fold_add({0}, {1})")


def row_kernel(**changes: Any) -> RowKernel:
    columns: dict[str, Any] = {
        "name": "sum",
        "extent": 4,
        "loads": (ELEMENT, ROW),
        "row_loads": (ROW,),
        "before": (),
        "sweeps": (Sweep((ELEMENT,), (), (TOTAL,), (statement("t1", "float32", "t0 + x1"),)),),
        "store": Access("out", "float32", (1,)),
        "result": "t1",
    }
    return RowKernel(**(columns | changes))


def swept(**changes: Any) -> tuple[Sweep]:
    columns: dict[str, Any] = {"loads": (ELEMENT,), "body": (), "folds": (TOTAL,), "after": ()}
    return (Sweep(**(columns | changes)),)


@pytest.mark.parametrize(
    "changes",
    [
        {"sweeps": swept(after=(statement("t1", "float32", "t0 + x0"),))},
        {
            "sweeps": swept(
                body=(statement("t2", "float32", "x0 * x0"),), after=(statement("t1", "float32", "t2"),)
            )
        },
        {"before": (statement("t2", "float32", "x0 + x1"),)},
        {"before": (statement("t2", "float32", "t0 + x1"),)},
        {"result": "x0"},
        {"sweeps": swept(folds=(TOTAL, TOTAL), after=(statement("t1", "float32", "t0"),))},
        {"row_loads": (Access("x1", "float32", (1, 0)),)},
        {"sweeps": swept(loads=(Access("x0", "float32", (4,)),), after=(statement("t1", "float32", "t0"),))},
        {"loads": (ELEMENT,), "row_loads": (), "sweeps": swept(after=(statement("t1", "float32", "x1"),))},
    ],
)
def test_no_row_kernel_takes_one_granularity_for_another(changes: dict[str, Any]) -> None:
    assert row_kernel().result == "t1"
    with pytest.raises(AssertionError, match=r"not known there|stands for two values|stride|has two"):
        row_kernel(**changes)
