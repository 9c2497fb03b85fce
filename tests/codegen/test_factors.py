"""Factors of small matrices and triangles: what LAPACK raises, which sign it gives, and loops around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from graphs import Native, graph
from linear_algebra import definite
from patterns import case_of

import blockfuse
from blockfuse import autograd, np, npx
from blockfuse.codegen.kernels.elimination_kernel import EliminationKernel
from blockfuse.codegen.scheduling.steps import HostCall
from blockfuse.ir.errors import FaultError, ShapeError
from blockfuse.ir.operators import linear_algebra

RNG = numpy.random.default_rng(11)
SQUARE = RNG.normal(size=(3, 3))
DEFINITE = definite(SQUARE)


def is_native(compiled: Any) -> bool:
    program = case_of(compiled).program
    return not any(isinstance(step, HostCall) for step in program.schedule.steps)


# -- triangles -----------------------------------------------------------------------------------------------


@pytest.mark.spread(4)
@pytest.mark.parametrize("trans", [0, "T", 2])
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("unit_diagonal", [True, False])
def test_triangles_are_solved_in_every_form(trans: Any, lower: bool, unit_diagonal: bool) -> None:
    options = {"trans": trans, "lower": lower, "unit_diagonal": unit_diagonal}
    triangle = numpy.tril(SQUARE) if lower else numpy.triu(SQUARE)
    if unit_diagonal:
        numpy.fill_diagonal(triangle, 1)
    for b in (SQUARE[0], SQUARE[:, :2]):
        found = npx.solve_triangular(np.array(SQUARE), np.array(b), **options)
        wanted = numpy.linalg.solve(triangle.T if trans else triangle, b)
        numpy.testing.assert_allclose(found.asnumpy(), wanted, atol=1e-14)  # zeros may be rounding there


@pytest.mark.spread(3)
@pytest.mark.parametrize("lower", [True, False])
def test_large_triangles_are_solved_in_blocks(lower: bool) -> None:
    a, b = RNG.normal(size=(150, 150)) / 20 + numpy.eye(150) * 2, RNG.normal(size=(2, 150, 3))
    found = npx.solve_triangular(np.array(a), np.array(b), lower=lower)
    wanted = numpy.linalg.solve(numpy.tril(a) if lower else numpy.triu(a), b)
    numpy.testing.assert_allclose(found.asnumpy(), wanted, rtol=1e-9, atol=1e-12)


def test_what_is_no_triangle_or_no_way_is_refused() -> None:
    with pytest.raises(ShapeError):
        npx.solve_triangular(np.zeros((2, 3)), np.zeros(3))
    with pytest.raises(ValueError, match="trans='X'"):
        npx.solve_triangular(np.zeros((2, 2)), np.zeros(2), trans="X")


def test_a_triangle_hides_the_other_one() -> None:
    odd = numpy.tril(SQUARE) + numpy.triu(numpy.full((3, 3), numpy.nan), 1)
    (found,) = Native(graph(linear_algebra.solve_lower, x="float64[3, 3]", y="float64[3, 1]"))(
        odd, SQUARE[:, :1]
    )
    numpy.testing.assert_allclose(found, numpy.linalg.solve(numpy.tril(SQUARE), SQUARE[:, :1]), atol=1e-15)


# -- what raises ---------------------------------------------------------------------------------------------

RAISING: dict[str, tuple[Callable[[Any], Any], numpy.ndarray, tuple[numpy.ndarray, ...]]] = {
    "cholesky": (
        np.linalg.cholesky,
        DEFINITE,
        (-DEFINITE, numpy.zeros((3, 3)), numpy.ones((3, 3)), DEFINITE * numpy.nan, DEFINITE * numpy.inf),
    ),
    "solve_triangular": (
        lambda x: npx.solve_triangular(x, x[0], lower=True),
        DEFINITE,
        (numpy.triu(SQUARE, 1), numpy.diag([1e-310, 1.0, 1.0]), SQUARE * numpy.inf),
    ),
    "qr": (
        lambda x: np.linalg.qr(x)[0],
        SQUARE,
        (numpy.ones((3, 3)), SQUARE * numpy.nan, SQUARE * 1e200, numpy.eye(3)[[1, 2, 0]]),
    ),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", RAISING)
def test_a_compiled_call_does_with_odd_matrices_what_eager_does(name: str) -> None:
    function, plain, odd = RAISING[name]

    def called(x: Any) -> Any:
        return function(x) * 2

    def outcome(function: Callable[..., Any], x: numpy.ndarray) -> Any:
        try:
            return function(np.array(x)).asnumpy()
        except numpy.linalg.LinAlgError as error:
            return str(error)

    compiled = blockfuse.hybridize(called)
    for x in (plain, *(x for other in odd for x in (other, plain))):
        found, wanted = outcome(compiled, x), outcome(called, x)
        if isinstance(wanted, str):
            assert found == wanted
        else:
            numpy.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)
    kernels = [launch.kernel for launch in case_of(compiled).program.schedule.launches]
    assert any(isinstance(kernel, EliminationKernel) for kernel in kernels)


# -- signs ---------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_signs_are_lapacks_or_asked_of_it() -> None:
    """Columns that cancel, that are clear already, whose scales differ, and triangles: rounding decides some of them."""
    native = Native(graph(linear_algebra.qr, x="float64[4, 3]"))
    faults = 0
    for seed in range(300):
        rng = numpy.random.default_rng(seed)
        whole = rng.integers(-1, 2, (4, 3)).astype("float64")
        scaled = rng.normal(size=(4, 3)) * 10.0 ** rng.integers(-12, 12, (1, 3))
        for x in (whole, numpy.triu(whole), numpy.linalg.qr(scaled)[0], scaled):
            try:
                (found,) = native(x)
            except FaultError:
                faults += 1
                continue
            # the elements of R, behind the 12 of Q, have the scales of their columns
            scales = numpy.append(numpy.ones(12), numpy.tile(abs(x).max(0) + 1e-300, 3))
            numpy.testing.assert_allclose(found / scales, linear_algebra.qr.meaning(x) / scales, atol=1e-13)
    assert 0 < faults < 600


def test_a_triangle_keeps_its_signs() -> None:
    triangle = numpy.triu(SQUARE) * [[-1], [1], [-1]]
    (found,) = Native(graph(linear_algebra.qr, x="float64[4, 3]"))(numpy.vstack([triangle, numpy.zeros(3)]))
    numpy.testing.assert_array_equal(found, numpy.concatenate([numpy.eye(4, 3).ravel(), triangle.ravel()]))


# -- forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 3), (5, 2), (2, 5), (2, 3, 2)])
@pytest.mark.parametrize("mode", ["reduced", "complete", "r", "raw"])
def test_all_modes_of_qr_are_numpys(shape: tuple[int, ...], mode: str) -> None:
    x = numpy.random.default_rng(4).normal(size=shape)
    found, wanted = np.linalg.qr(np.array(x), mode), numpy.linalg.qr(x, mode)
    assert hasattr(found, "_fields") == hasattr(wanted, "_fields")
    pairs = zip(found, wanted, strict=True) if mode != "r" else [(found, wanted)]
    for ours, theirs in pairs:
        numpy.testing.assert_array_equal(ours.asnumpy(), theirs)


def test_the_upper_factor_comes_from_the_upper_triangle() -> None:
    wanted = numpy.linalg.cholesky(SQUARE + numpy.eye(3) * 9, upper=True)
    found = np.linalg.cholesky(np.array(SQUARE + numpy.eye(3) * 9), upper=True)
    numpy.testing.assert_array_equal(found.asnumpy(), wanted)


@pytest.mark.parametrize("uplo", ["L", "u"])
def test_eigenvalues_are_numpys_in_a_program_too(uplo: str) -> None:
    def whitened(x: Any) -> Any:
        values, vectors = np.linalg.eigh(x, uplo)
        return vectors / np.sqrt(values), np.linalg.eigvalsh(x, uplo) * 2

    compiled = blockfuse.hybridize(whitened)
    for x in (DEFINITE, DEFINITE + SQUARE / 9, DEFINITE):
        values, vectors = numpy.linalg.eigh(x, uplo)
        found = compiled(np.array(x))
        numpy.testing.assert_allclose(found[0].asnumpy(), vectors / numpy.sqrt(values), rtol=1e-12)
        numpy.testing.assert_allclose(found[1].asnumpy(), values * 2, rtol=1e-12)
    with pytest.raises(numpy.linalg.LinAlgError, match="did not converge"):
        compiled(np.array(DEFINITE * numpy.nan))
    steps = case_of(compiled).program.schedule.steps
    assert [step.operator.name for step in steps if isinstance(step, HostCall)] == ["eigh", "eigvalsh"]


def test_a_triangle_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="UPLO='X'"):
        np.linalg.eigh(np.array(DEFINITE), "X")


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_equal_eigenvalues_have_the_gradient_of_their_sum() -> None:
    x = np.array(numpy.eye(3) * 2)
    x.attach_grad()
    with autograd.record():
        values, _ = np.linalg.eigh(x)
        total = (values**2).sum()
    total.backward()
    numpy.testing.assert_allclose(x.grad.asnumpy(), numpy.eye(3) * 4)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_powers_of_matrices_are_numpys(dtype: str) -> None:
    x = (numpy.stack([SQUARE, DEFINITE]) * 3).astype(dtype)
    for n in range(9):
        found, wanted = np.linalg.matrix_power(np.array(x), n).asnumpy(), numpy.linalg.matrix_power(x, n)
        assert found.dtype == wanted.dtype
        numpy.testing.assert_array_equal(found, wanted)
    for wrong in (1.5, "2"):
        with pytest.raises(TypeError):
            np.linalg.matrix_power(np.array(x), wrong)
    if dtype != "int64":
        found = np.linalg.matrix_power(np.array(x), -2)
        numpy.testing.assert_array_equal(found.asnumpy(), numpy.linalg.matrix_power(x, -2))


# -- in loops ------------------------------------------------------------------------------------------------


def kalman(rows: Any, step: Any, seen: Any) -> Any:
    """A filter that holds a Cholesky factor of what it expects of each measurement."""
    x, P, found = np.zeros((4,), dtype="float64"), np.eye(4, dtype="float64"), []
    noise = np.eye(2, dtype="float64") * 0.5
    for t in range(len(rows)):
        x, P = step @ x, step @ P @ step.T + np.eye(4, dtype="float64") * 0.01
        factor = np.linalg.cholesky(seen @ P @ seen.T + noise)
        gain = npx.solve_triangular(
            factor, npx.solve_triangular(factor, seen @ P, lower=True), trans=1, lower=True
        ).T
        x, P = x + gain @ (rows[t] - seen @ x), P - gain @ seen @ P
        found.append(x)
    return np.stack(found)


def power_iteration(A: Any) -> Any:
    """The subspace of the largest eigenvalues, until it rests."""
    Q = np.linalg.qr(A[:, :2])[0]
    before = Q * 0
    while abs(abs(Q) - abs(before)).max() > 1e-9:
        before = Q
        Q, _ = np.linalg.qr(A @ Q)
    return Q


@pytest.mark.long
def test_a_kalman_filter_is_native() -> None:
    step = numpy.eye(4) + numpy.eye(4, k=2) * 0.1
    values = [np.array(x) for x in (RNG.normal(size=(40, 2)), step, numpy.eye(2, 4))]
    compiled = blockfuse.hybridize(kalman)
    for _ in range(2):
        numpy.testing.assert_allclose(
            compiled(*values).asnumpy(), kalman(*values).asnumpy(), rtol=1e-10, atol=1e-12
        )
    assert is_native(compiled), compiled.explain()


@pytest.mark.long
def test_power_iteration_is_native() -> None:
    base = numpy.linalg.qr(numpy.random.default_rng(5).normal(size=(6, 6)))[0]
    compiled = blockfuse.hybridize(power_iteration)
    for second in (0.5, 0.7, 0.8):
        A = np.array(base * [2.0, -1.5, second, 0.3, 0.2, 0.1] @ base.T)
        numpy.testing.assert_allclose(compiled(A).asnumpy(), power_iteration(A).asnumpy(), atol=1e-9)
    assert is_native(compiled), compiled.explain()
    assert len(case_of(compiled).program.flow.blocks) > 1
