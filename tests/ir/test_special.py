"""The gamma function and its family: accuracy over a wide range, special values, gradients."""

import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from graphs import natively

from blockfuse import autograd, hybridize, np, npx
from blockfuse.ir.operators import special

INF, NAN = math.inf, math.nan
RNG = numpy.random.default_rng(5)
POSITIVE = numpy.exp(numpy.concatenate([RNG.uniform(-69, 3.5, 200), RNG.uniform(-0.7, 1.4, 200)]))
LARGE = numpy.exp(RNG.uniform(0, 69, 100))
NEGATIVE = -RNG.uniform(0, 20, 200)
INSIDE = numpy.concatenate([RNG.uniform(-1, 1, 200), 1 - numpy.exp(RNG.uniform(-30, -1, 100))])
TINY = numpy.exp(RNG.uniform(-69, 0, 100))

# name -> row, points, the largest errors in ulp, of the kernel and of the meaning
ROWS: dict[str, tuple[Any, tuple[numpy.ndarray, ...], float, float]] = {
    "gamma": (special.gamma, (POSITIVE, NEGATIVE), 6.0, 7.0),
    "gammaln": (special.gammaln, (POSITIVE, LARGE, NEGATIVE), 3.0, 8.0),
    "digamma": (special.digamma, (POSITIVE, LARGE, NEGATIVE), 8.0, 8.0),
    "erfinv": (special.erfinv, (INSIDE, TINY), 6.0, 6.0),
}
SCALED = ("gammaln", "digamma")  # have zeros: in ulp of 1 where results are smaller


def off(name: str, found: numpy.ndarray, x: numpy.ndarray) -> float:
    """The largest distance from what mpmath gives, in spacings of the dtype."""
    mpmath = pytest.importorskip("mpmath")
    functions = {
        "gamma": mpmath.gamma,
        "gammaln": lambda v: mpmath.log(abs(mpmath.gamma(v))),
        "digamma": mpmath.digamma,
        "erfinv": mpmath.erfinv,
    }
    with mpmath.workdps(30):
        wanted = [functions[name](mpmath.mpf(v)) for v in x.tolist()]
        sizes = numpy.array([abs(float(w)) for w in wanted]).astype(x.dtype)
        step = numpy.spacing(numpy.maximum(sizes, 1) if name in SCALED else sizes).tolist()
        return max(float(abs(f - w) / s) for f, w, s in zip(found.tolist(), wanted, step, strict=True))


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ROWS)
def test_functions_stay_within_the_stated_error(name: str, dtype: str) -> None:
    row, points, of_kernel, of_meaning = ROWS[name]
    x = numpy.concatenate(points).astype(dtype)
    x = x[abs(x) < 1] if name == "erfinv" else x
    assert off(name, natively(row, x)[0], x) <= of_kernel
    assert off(name, row.meaning(x), x) <= of_meaning


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.long), "float64"])
@pytest.mark.parametrize(
    ("name", "x", "wanted"),
    [
        ("gamma", [0.0, -0.0, 180, INF, -1, -3, -INF, NAN, 5], [INF, -INF, INF, INF, *[NAN] * 4, 24]),
        ("gammaln", [0.0, -0.0, -1, INF, -INF, NAN, 1, 2], [*[INF] * 5, NAN, 0, 0]),
        ("digamma", [0.0, -0.0, INF, -1, -30, -INF, NAN], [-INF, INF, INF, *[NAN] * 4]),
        ("erfinv", [1, -1, 1.5, -2, NAN, 0, INF], [INF, -INF, *[NAN] * 3, 0, NAN]),
    ],
)  # fmt: skip
def test_poles_and_ends(name: str, x: list[float], wanted: list[float], dtype: str) -> None:
    row = ROWS[name][0]
    values = numpy.array(x, dtype)
    for found in (natively(row, values)[0], row.meaning(values)):
        numpy.testing.assert_array_equal(found, numpy.array(wanted, dtype), strict=True)


def test_known_values() -> None:
    euler, root = 0.5772156649015329, math.sqrt(math.pi)
    x = np.array([0.5, 1.0, 6.0], dtype="float64")
    numpy.testing.assert_allclose(npx.gamma(x), [root, 1, 120], 1e-14)
    numpy.testing.assert_allclose(npx.gammaln(x), [math.log(root), 0, math.log(120)], 1e-14, 1e-15)
    wanted = [-euler - 2 * math.log(2), -euler, 137 / 60 - euler]
    numpy.testing.assert_allclose(npx.digamma(x), wanted, 1e-14)
    y = np.array([-0.999, -0.3, 0.0, 0.7], dtype="float64")
    numpy.testing.assert_allclose(npx.erf(npx.erfinv(y)), y, 1e-14)


# name -> points away from poles
AROUND: dict[str, list[float]] = {
    "gamma": [-3.4, -0.5, 0.3, 1.0, 4.5],
    "gammaln": [-3.4, -0.5, 0.3, 1.0, 40.0],
    "digamma": [-3.4, -0.5, 0.3, 1.0, 5.0, 40.0],
    "erfinv": [-0.99, -0.5, 0.0, 0.3, 0.9],
}


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", AROUND)
def test_gradients_are_the_slopes(name: str, compiled: bool) -> None:
    function: Callable[[Any], Any] = getattr(npx, name)
    called = hybridize(lambda x: function(x)) if compiled else function
    x = np.array(AROUND[name], dtype="float64")
    x.attach_grad()
    with autograd.record():
        result = called(x)
    result.backward()
    step = 1e-5
    slope = (function(x.detach() + step) - function(x.detach() - step)) / (2 * step)
    numpy.testing.assert_allclose(x.grad, slope, 1e-6)


@pytest.mark.parametrize("name", AROUND)
def test_other_dtypes_give_what_erf_gives_for_them(name: str) -> None:
    function: Callable[[Any], Any] = getattr(npx, name)
    for dtype in ("float16", "float32", "float64", "int32", "int8"):
        x = np.ones((0, 3), dtype=dtype)
        assert (function(x).dtype, function(x).shape) == (npx.erf(x).dtype, (0, 3))
    half = np.array([0.5, 0.75], dtype="float16")
    exact = function(half.astype("float64")).asnumpy().astype("float16")
    numpy.testing.assert_array_equal(hybridize(lambda x: function(x))(half), exact)
