"""Every row of the operator table against its NumPy meaning; a new row is tested without a new test."""

from typing import Any

import numpy
import pytest
from linear_algebra import definite, moved
from numpy.lib.stride_tricks import as_strided
from tolerances import GRADIENT, STEP, assert_close

import blockfuse.ir.operators
from blockfuse.array import autograd
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.builder import expanded, node_of
from blockfuse.ir.errors import GradientError, ShapeError
from blockfuse.ir.graph import argument
from blockfuse.ir.layout import Layout, row_major
from blockfuse.ir.lowering import Composite, Fused, Movement, Packing, Pointwise
from blockfuse.ir.operator import TABLE, Example, Operator
from blockfuse.ir.operators import contractions, movement, narrow, pointwise, windows
from blockfuse.ir.stream import STREAM
from blockfuse.ir.types import DTYPES, TensorType, tensor, type_of

pytestmark = pytest.mark.spread(2)

REFUSALS = (TypeError, ValueError, numpy.linalg.LinAlgError)  # a meaning does not take such operands
# The rows of ``ir/operators``; others (leaves, fused kernels) exist only inside graphs.
ROWS = [r for r in TABLE.values() if r.examples]
CASES = [(r, e) for r in ROWS for e in r.examples]
IDS = [f"{r.name}-{n}" for r in ROWS for n, _ in enumerate(r.examples)]
cases = pytest.mark.parametrize(("row", "example"), CASES, ids=IDS)


def operands_of(example: Example, dtype: str) -> tuple[numpy.ndarray, ...]:
    """Random operands of one dtype; those that the example calls integers are int64."""
    rng = numpy.random.default_rng(5)

    def operand(position: int, shape: tuple[int, ...]) -> numpy.ndarray:
        if position in example.integers:
            return rng.integers(0, int(example.high), shape)
        drawn = rng.uniform(example.low, example.high, shape)
        return (definite(drawn) if example.definite else drawn).astype(dtype)

    return tuple(operand(n, shape) for n, shape in enumerate(example.shapes))


def meaning_of(row: Operator, operands: tuple[numpy.ndarray, ...], attrs: dict[str, Any]) -> numpy.ndarray:
    STREAM.seed(5)
    with numpy.errstate(all="ignore"):
        return numpy.asarray(row.meaning(*operands, **attrs))


def accepted(row: Operator, example: Example) -> tuple[numpy.ndarray, ...]:
    """Operands of the first dtype that the row takes."""
    for dtype in ("float64", "int64", "bool"):
        operands = operands_of(example, dtype)
        try:
            meaning_of(row, operands, example.attrs)
        except REFUSALS:
            continue
        return operands
    raise AssertionError(f"{row} takes no dtype")


def eagerly(row: Operator, operands: tuple[numpy.ndarray, ...], attrs: dict[str, Any]) -> ndarray:
    return row(*(ndarray(x) for x in operands), **attrs)


def test_every_row_of_the_operators_has_an_example() -> None:
    modules = [getattr(blockfuse.ir.operators, name) for name in blockfuse.ir.operators.__all__]
    rows = {r.name for m in modules for r in vars(m).values() if isinstance(r, Operator)}
    assert {name for name in rows if not TABLE[name].examples} == set()


@cases
def test_type_rule_gives_the_type_of_the_meaning(row: Operator, example: Example) -> None:
    operands = accepted(row, example)
    result = meaning_of(row, operands, example.attrs)
    assert row.result_type(*map(type_of, operands), **example.attrs) == type_of(result)


@pytest.mark.spread(7)
@cases
def test_type_rule_promotes_as_numpy(row: Operator, example: Example) -> None:
    if isinstance(row.lowering, Fused):
        return  # the types of a fused node are those of its body
    free = [n for n in range(len(example.shapes)) if n not in example.integers]
    for first in DTYPES:
        for second in DTYPES if len(free) > 1 else DTYPES[:1]:
            operands = list(operands_of(example, first))
            for n in free[1:]:
                operands[n] = operands_of(example, second)[n]
            try:
                result = meaning_of(row, tuple(operands), example.attrs)
            except REFUSALS:
                continue
            assert row.result_type(*map(type_of, operands), **example.attrs) == type_of(result), (
                first,
                second,
            )


@cases
def test_eager_result_is_the_meaning(row: Operator, example: Example) -> None:
    operands = accepted(row, example)
    STREAM.seed(5)
    result = eagerly(row, operands, example.attrs)
    assert type(result) is ndarray
    numpy.testing.assert_array_equal(result.asnumpy(), meaning_of(row, operands, example.attrs))


@pytest.mark.spread(3)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "bool"])
@pytest.mark.parametrize(
    ("row", "example"),
    [c for c in CASES if isinstance(c[0].lowering, Composite)],
    ids=lambda x: getattr(x, "name", ""),
)
def test_expansion_gives_what_the_meaning_gives(row: Operator, example: Example, dtype: str) -> None:
    operands = operands_of(example, dtype)
    try:
        wanted = meaning_of(row, operands, example.attrs)
    except REFUSALS:
        pytest.skip(f"no meaning for {dtype}")
    assert isinstance(row.lowering, Composite)
    STREAM.seed(5)
    found = row.lowering.expand(*(ndarray(x) for x in operands), **example.attrs)
    assert_close(found.asnumpy(), wanted)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("row", "example"),
    [c for c in CASES if isinstance(c[0].lowering, Movement)],
    ids=lambda x: getattr(x, "name", ""),
)
def test_layout_finds_the_elements_of_the_meaning(row: Operator, example: Example, order: str) -> None:
    (x,) = operands_of(example, "float64")
    where = row_major(x.shape)
    if order == "F":
        x = numpy.asfortranarray(x)
        where = Layout(x.shape, tuple(s // x.itemsize for s in x.strides))
    assert isinstance(row.lowering, Movement)
    there = row.lowering.relayout(where, **example.attrs)
    if there is None:
        assert order == "F"  # only a copy can do that
        return
    buffer = x.ravel(order="K")[there.offset :]
    found = as_strided(buffer, there.shape, [s * x.itemsize for s in there.strides])
    numpy.testing.assert_array_equal(found, meaning_of(row, (x,), example.attrs))


# -- gradients -----------------------------------------------------------------------------------------------


def gradients(
    row: Operator, operands: tuple[ndarray, ...], attrs: dict[str, Any], seed: ndarray
) -> list[Any]:
    """The gradient of ``sum(row(*operands) * seed)`` for each operand, None where none flows."""
    for x in operands:
        if x.dtype.kind == "f":
            x.attach_grad()
    with autograd.record():
        result = row(*operands, **attrs)
    try:
        result.backward(seed)
    except GradientError:
        return [None for _ in operands]
    return [x.grad for x in operands]


def differences(
    row: Operator,
    operands: tuple[numpy.ndarray, ...],
    position: int,
    example: Example,
    seed: numpy.ndarray,
) -> numpy.ndarray:
    """Central finite differences of ``sum(row(*operands) * seed)`` by the elements of one operand."""
    grad = numpy.zeros_like(operands[position])
    for index in numpy.ndindex(grad.shape):
        totals = []
        for step in (STEP, -STEP):
            values = moved(operands, position, index, step, example.definite)
            totals.append((meaning_of(row, values, example.attrs) * seed).sum())
        grad[index] = (totals[0] - totals[1]) / (2 * STEP)
    return grad


# Rows between the passes and the kernels: nobody asks for their gradient. The others cut it off on purpose.
WITHOUT_GRADIENT = {
    *(contractions.pack, contractions.packed_product, contractions.window_product),
    *(
        narrow.bfloat16_bits,
        narrow.int8_codes,
        narrow.int8_scales,
        narrow.interleave,
        narrow.pair_steps,
        narrow.rounded,
    ),
    windows.sliding_windows,
}
CUT = {movement.stop_gradient}


def differentiable(row: Operator, example: Example) -> tuple[tuple[numpy.ndarray, ...], numpy.ndarray]:
    """Operands in float64 and the result; skips a row that has no gradient or no meaning for them."""
    if row.random or row in WITHOUT_GRADIENT | CUT or isinstance(row.lowering, Fused):
        pytest.skip("not differentiable")
    operands = operands_of(example, "float64")
    try:
        out = meaning_of(row, operands, example.attrs)
    except REFUSALS:
        pytest.skip("no meaning for floats")
    return operands, out


@pytest.mark.spread(2)
@cases
def test_gradient_is_that_of_finite_differences(row: Operator, example: Example) -> None:
    operands, out = differentiable(row, example)
    seed = numpy.random.default_rng(6).uniform(0.5, 1.5, out.shape)
    found = gradients(row, tuple(ndarray(x) for x in operands), example.attrs, ndarray(seed))
    for position, (x, grad) in enumerate(zip(operands, found, strict=True)):
        if x.dtype != "float64" or out.dtype != "float64":
            assert grad is None or not grad.asnumpy().any()
            continue
        value = numpy.zeros_like(x) if grad is None else grad.asnumpy()
        assert value.shape == x.shape
        wanted = differences(row, operands, position, example, seed)
        numpy.testing.assert_allclose(value, wanted, rtol=GRADIENT[0], atol=GRADIENT[1])


def depends(out: ndarray, x: ndarray) -> bool:
    """Whether a gradient flows: a mask of floats has none."""
    try:
        autograd.grad(out, x, retain_graph=True)
    except GradientError:
        return False
    return True


def slopes(
    row: Operator, operands: tuple[numpy.ndarray, ...], attrs: dict[str, Any], seed: numpy.ndarray
) -> tuple[list[ndarray], ndarray]:
    """The operands that have a gradient, and a sum of all elements of their gradients in which each has another weight."""
    variables = [ndarray(x.copy()) for x in operands]
    asked = [x for x in variables if x.dtype.kind == "f"]
    for x in asked:
        x.attach_grad()
    with autograd.record():
        out = row(*variables, **attrs)
        asked = [x for x in asked if depends(out, x)]
        total = ndarray(numpy.zeros(()))
        for n, grad in enumerate(autograd.grad(out, asked, ndarray(seed), create_graph=True)):
            weights = numpy.cos(numpy.arange(grad.size) + n).reshape(grad.shape)
            total = total + (grad * weights).sum()
    return asked, total


@pytest.mark.spread(17)
@cases
def test_gradient_of_the_gradient_is_that_of_finite_differences(row: Operator, example: Example) -> None:
    operands, out = differentiable(row, example)
    if row.gradient is pointwise.FLAT or out.dtype != "float64" or not operands:
        pytest.skip("no gradient")
    seed = numpy.random.default_rng(6).uniform(0.5, 1.5, out.shape)
    asked, total = slopes(row, operands, example.attrs, seed)
    try:
        total.backward()
    except GradientError:  # a linear row has a gradient without any operand
        assert not any(x.grad.asnumpy().any() for x in asked)
    for x in asked:
        place = next(
            n
            for n, values in enumerate(operands)
            if x.shape == values.shape and (x.asnumpy() == values).all()
        )
        wanted = numpy.zeros_like(operands[place])
        for index in numpy.ndindex(wanted.shape):
            totals = []
            for step in (STEP, -STEP):
                values_there = moved(operands, place, index, step, example.definite)
                totals.append(slopes(row, values_there, example.attrs, seed)[1].item())
            wanted[index] = (totals[0] - totals[1]) / (2 * STEP)
        numpy.testing.assert_allclose(x.grad.asnumpy(), wanted, rtol=GRADIENT[0], atol=1e-6)


# -- edges ---------------------------------------------------------------------------------------------------

POINTWISE = [r for r in ROWS if isinstance(r.lowering, Pointwise)]
EDGES = numpy.array([numpy.nan, numpy.inf, -numpy.inf, 0.0, -0.0, 1.0, -1.0, 1e38, -1e38, 1e-45])


@pytest.mark.parametrize("row", POINTWISE, ids=lambda r: r.name)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_edge_values_do_not_raise(row: Operator, dtype: str) -> None:
    example = row.examples[0]
    with numpy.errstate(all="ignore"):
        values = EDGES.astype(dtype)
        operands = [values.reshape((-1,) + (1,) * n) for n in range(len(example.shapes))]
        if row.name == "power" and dtype == "int32":
            operands[1] = numpy.abs(operands[1] % 3)
        try:
            wanted = row.meaning(*operands, **example.attrs)
        except TypeError:
            pytest.skip(f"no meaning for {dtype}")
        numpy.testing.assert_array_equal(eagerly(row, tuple(operands), example.attrs).asnumpy(), wanted)


@pytest.mark.parametrize("row", POINTWISE, ids=lambda r: r.name)
@pytest.mark.parametrize("shape", [(), (0,), (1, 1), (2, 0, 3)])
def test_pointwise_rows_take_every_shape(row: Operator, shape: tuple[int, ...]) -> None:
    like = accepted(row, row.examples[0])
    operands = tuple(numpy.ones(shape, x.dtype) for x in like)
    with numpy.errstate(all="ignore"):
        result = eagerly(row, operands, row.examples[0].attrs)
    assert type_of(result.asnumpy()) == row.result_type(*map(type_of, operands), **row.examples[0].attrs)


def test_packing_rows_are_the_only_ones_without_meaning_to_users() -> None:
    assert {r for r in ROWS if isinstance(r.lowering, Packing)} == {contractions.pack}


@pytest.mark.parametrize(
    ("row", "types", "attrs"),
    [
        (TABLE["add"], ((2, 3), (4,)), {}),
        (TABLE["matmul"], ((2, 3), (4, 5)), {}),
        (TABLE["matmul"], ((), (4, 5)), {}),
        (TABLE["dense"], ((2, 3), (5, 4)), {}),
        (TABLE["sum"], ((2, 3),), {"axis": (2,), "keepdims": False}),
        (TABLE["einsum"], ((2, 3), (4, 5)), {"subscripts": "ij,jk->ik"}),
        (TABLE["inverse"], ((2, 3),), {}),
        (TABLE["concatenate"], ((2, 3), (4, 5)), {"axis": 0}),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_type_rule_refuses_shapes_that_do_not_fit(row: Operator, types: Any, attrs: dict[str, Any]) -> None:
    operands: tuple[TensorType, ...] = tuple(tensor(shape, "float32") for shape in types)
    with pytest.raises(ShapeError):
        row.result_type(*operands, **attrs)


@pytest.mark.parametrize(
    ("row", "example"),
    [c for c in CASES if isinstance(c[0].lowering, Composite)],
    ids=lambda x: getattr(x, "name", ""),
)
def test_expansion_can_be_written_as_a_graph(row: Operator, example: Example) -> None:
    types = [tensor(shape, "float32") for shape in example.shapes]
    leaves = tuple(node_of(argument, (), {"name": f"x{n}", "type": t}, None) for n, t in enumerate(types))
    node = node_of(row, leaves, example.attrs, None)
    assert isinstance(row.lowering, Composite)
    assert expanded(row.lowering.expand, node).type == node.type
