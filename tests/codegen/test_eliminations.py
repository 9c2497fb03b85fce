"""Small linear algebra in kernels against NumPy, and matrices that Python is asked about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from graphs import Native, graph, graph_for
from hypothesis import given
from hypothesis import strategies as st
from linear_algebra import definite
from patterns import case_of
from sampling import sampled
from stages import hold_together

import blockfuse
from blockfuse import np
from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.kernels.elimination_kernel import EliminationKernel
from blockfuse.codegen.kernels.eliminations import MAX_SIZE
from blockfuse.codegen.scheduling.steps import HostCall, Launch
from blockfuse.ir.errors import FaultError
from blockfuse.ir.operators import linear_algebra
from blockfuse.ir.operators.contractions import swapped

pytestmark = pytest.mark.spread(3)

Matrices = list[numpy.ndarray]
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "det": linear_algebra.det,
    "inverse": linear_algebra.inverse,
    "solve": linear_algebra.solve,
    "solve of views": lambda x, y: linear_algebra.solve(swapped(x), y),
    "solve_lower": linear_algebra.solve_lower,
    "solve_upper of views": lambda x, y: linear_algebra.solve_upper(swapped(x), y),
    "cholesky": linear_algebra.cholesky,
    "qr": linear_algebra.qr,
}


def matrices(shape: tuple[int, ...], dtype: str, seed: int) -> numpy.ndarray:
    """Far from singular, with rows in such an order that pivots are searched for."""
    rng = numpy.random.default_rng(seed)
    return as_dtype(
        rng.uniform(-1, 1, shape) + numpy.eye(shape[-1])[rng.permutation(shape[-1])] * shape[-1], dtype
    )


def as_dtype(found: numpy.ndarray, dtype: str) -> numpy.ndarray:
    return found.astype(dtype) if numpy.dtype(dtype).kind == "f" else (found * 9).astype(dtype)


def matrices_for(name: str, stack: tuple[int, ...], size: int, dtype: str, seed: int) -> numpy.ndarray:
    """Such as a function takes, and far from those that it does not."""
    if name == "qr":
        return as_dtype(numpy.random.default_rng(seed).normal(size=(*stack, size, 1 + seed % 9)), dtype)
    if name == "cholesky":
        return as_dtype(definite(numpy.random.default_rng(seed).uniform(-1, 1, (*stack, size, size))), dtype)
    if name.startswith(("solve_lower", "solve_upper")):
        found = numpy.random.default_rng(seed).uniform(-1, 1, (*stack, size, size))
        return as_dtype(found + numpy.eye(size) * 3, dtype)
    return matrices((*stack, size, size), dtype, seed)


@st.composite
def operands(draw: st.DrawFn) -> tuple[str, Matrices]:
    """A function and its operands, with stacks that are broadcast."""
    name = draw(st.sampled_from(sorted(FUNCTIONS)))
    size, columns = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    stack = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    dtype, seed = draw(st.sampled_from(["float32", "float64", "int8"])), draw(st.integers(0, 99))
    x = matrices_for(name, stack, size, dtype, seed)
    if not name.startswith("solve"):
        return name, [x]
    stack = tuple(n if draw(st.booleans()) else 1 for n in stack)[draw(st.integers(0, len(stack))) :]
    sides = numpy.random.default_rng(seed).normal(size=(*stack, size, columns)) * 9
    return name, [x, sides.astype(draw(st.sampled_from(["float32", "float64", "int64"])))]


@given(operands(), st.sampled_from([1, 2]))
@sampled(2, 60)
def test_kernels_are_as_accurate_as_lapack(case: tuple[str, Matrices], threads: int) -> None:
    name, values = case
    recorded = graph_for(FUNCTIONS[name], values)
    native = Native(recorded, threads=threads)
    assert all(isinstance(step, Launch) for step in native.schedule.steps)
    (found,), wanted = native(*values), numpy.asarray(FUNCTIONS_OF_NUMPY[name](*values))
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    numpy.testing.assert_allclose(found, wanted, rtol=1e-5 if found.dtype == "float32" else 1e-11, atol=1e-13)


FUNCTIONS_OF_NUMPY: dict[str, Callable[..., Any]] = {
    "det": numpy.linalg.det,
    "inverse": numpy.linalg.inv,
    "solve": numpy.linalg.solve,
    "solve of views": lambda x, y: numpy.linalg.solve(numpy.swapaxes(x, -1, -2), y),
    "solve_lower": lambda x, y: numpy.linalg.solve(numpy.tril(x), y),
    "solve_upper of views": lambda x, y: numpy.linalg.solve(numpy.triu(numpy.swapaxes(x, -1, -2)), y),
    "cholesky": numpy.linalg.cholesky,
    "qr": linear_algebra.qr.meaning,
}


@given(operands())
@sampled(5, 40)
def test_all_stages_mean_the_same(case: tuple[str, Matrices]) -> None:
    name, values = case
    hold_together(graph_for(FUNCTIONS[name], values), values, [], isa.machine(), source=True, compiled=False)


@pytest.mark.long
def test_numpy_has_the_large_ones() -> None:
    for size, native in ((MAX_SIZE, True), (MAX_SIZE + 1, False)):
        recorded = graph(linear_algebra.inverse, x=f"float64[{size}, {size}]")
        (step,) = Native(recorded).schedule.steps
        assert isinstance(step, HostCall) != native
    recorded = graph(linear_algebra.solve, x="float64[3, 3]", y="float64[3, 0]")
    assert isinstance(Native(recorded).schedule.steps[0], HostCall)


# -- what is singular ------------------------------------------------------------------------------------------

SINGULAR = {
    "zeros": numpy.zeros((3, 3)),
    "whole numbers": numpy.arange(1.0, 10).reshape(3, 3),
    "a column twice": numpy.array([[0.1, 0.1, 3.0], [0.7, 0.7, 1.0], [0.3, 0.3, 9.0]]),
    "almost": numpy.array([[1.0, 1.0, 0.0], [1.0, 1.0 + 2e-16, 0.0], [0.0, 0.0, 1.0]]),
    "nan": numpy.array([[1.0, 2.0, 0.0], [0.0, numpy.nan, 0.0], [0.0, 0.0, 1.0]]),
    "infinite": numpy.array([[1.0, 2.0, 0.0], [0.0, numpy.inf, 0.0], [0.0, 0.0, 1.0]]),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_a_pivot_that_may_be_rounding_alone_is_a_fault(name: str) -> None:
    with pytest.raises(FaultError):
        Native(graph(linear_algebra.inverse, x="float64[3, 3]"))(SINGULAR[name])


@pytest.mark.long
def test_what_a_matrix_enlarges_is_rounding() -> None:
    """Inverses by different orders of operations are 1e-6 apart, which is no fault of the compiler."""
    places = numpy.arange(8.0)
    x = np.array(1 / (1 + places + places[:, None]))
    compiled = blockfuse.hybridize(lambda x: np.linalg.inv(x) * 2)
    numpy.testing.assert_allclose(compiled(x).asnumpy(), numpy.linalg.inv(x.asnumpy()) * 2, rtol=1e-4)
    assert case_of(compiled).program is not None, compiled.explain()


def test_columns_of_any_scale_are_regular() -> None:
    scaled = matrices((3, 3), "float64", 1) * numpy.array([1e-200, 1.0, 1e100])
    (found,) = Native(graph(linear_algebra.inverse, x="float64[3, 3]"))(scaled)
    numpy.testing.assert_allclose(found, numpy.linalg.inv(scaled), rtol=1e-12)


@pytest.mark.parametrize("name", SINGULAR)
def test_a_compiled_call_does_with_singular_matrices_what_eager_does(name: str) -> None:
    def outcome(function: Callable[..., Any], x: numpy.ndarray) -> Any:
        try:
            return function(np.array(x)).asnumpy()
        except numpy.linalg.LinAlgError as error:
            return str(error)

    def inverted(x: Any) -> Any:
        return np.linalg.inv(x) * 2

    compiled, regular = blockfuse.hybridize(inverted), matrices((3, 3), "float64", 2)
    for x in (regular, SINGULAR[name], regular, SINGULAR[name]):
        found, wanted = outcome(compiled, x), outcome(inverted, x)
        if isinstance(wanted, str):
            assert found == wanted
        else:
            numpy.testing.assert_allclose(found, wanted, rtol=1e-12)
    kernels = [launch.kernel for launch in case_of(compiled).program.schedule.launches]
    assert any(isinstance(kernel, EliminationKernel) for kernel in kernels)


def behind_a_decision(x: Any) -> Any:
    return np.linalg.inv(x * 2 if x.sum() > 9 else x)


def in_a_segment(x: Any) -> Any:
    return np.linalg.inv(np.tanh(x * float(x.shape[0] * np.ones(()))) * 2) + 1


@pytest.mark.parametrize("function", [np.linalg.inv, np.linalg.cholesky, behind_a_decision, in_a_segment])
@pytest.mark.parametrize("first", [numpy.nan, 1.0], ids=["nan first", "nan later"])
def test_a_call_that_only_lapack_can_judge_is_no_fault_of_the_program(
    function: Callable[[Any], Any], first: float
) -> None:
    compiled = blockfuse.hybridize(lambda x: function(x))  # a warning would be an error
    regular = numpy.array([[2.0, 1.0], [1.0, 3.0]])
    for factor in (first, numpy.nan, 1.0, 1.0, numpy.nan, 1.0):
        x = np.array(regular * factor)
        numpy.testing.assert_allclose(compiled(x).asnumpy(), function(x).asnumpy(), rtol=1e-5)
    if function is not in_a_segment:
        assert case_of(compiled).program.entry is not None


@pytest.mark.parametrize(
    "matrix",
    [
        *SINGULAR.values(),
        numpy.diag([1e200, 1e200, 1e-250]),
        numpy.diag([1e-200, -1e-200, 1e250]),
        numpy.diag([1e200, -1e200, 1e200]),
        numpy.eye(3)[[1, 0, 2]],
    ],
)
def test_determinants_are_numpys_for_every_matrix(matrix: numpy.ndarray) -> None:
    with numpy.errstate(all="ignore"):
        wanted = numpy.linalg.det(matrix)
    (found,) = Native(graph(linear_algebra.det, x="float64[3, 3]"))(matrix)
    numpy.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)


def test_a_newton_step_in_a_loop_is_native() -> None:
    def newton(x: Any, A: Any) -> Any:
        residual = x + 0.1 * np.tanh(A @ x) - 1
        while (residual * residual).sum() > 1e-20:
            slope = np.eye(8, dtype="float64") + 0.1 * A * (1 - np.tanh(A @ x) ** 2).reshape((8, 1))
            x = x - np.linalg.solve(slope, residual)
            residual = x + 0.1 * np.tanh(A @ x) - 1
        return x

    A = np.array(numpy.random.default_rng(3).normal(size=(8, 8)))
    compiled = blockfuse.hybridize(newton)
    for start in (0.0, 1.0, 3.0, 5.0):
        x = np.full((8,), start, dtype="float64")
        numpy.testing.assert_allclose(compiled(x, A).asnumpy(), newton(x, A).asnumpy(), rtol=1e-9)
    program = case_of(compiled).program
    assert len(program.flow.blocks) > 1
    assert not any(isinstance(step, HostCall) for step in program.schedule.steps), compiled.explain()
