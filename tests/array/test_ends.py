"""Functions at the ends of what their dtypes hold, and on sizes of one: eager against NumPy, hybridized against eager."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import nn, np, npx

pytestmark = pytest.mark.spread(3)

INF, NAN = numpy.inf, numpy.nan
INTEGERS = tuple(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64))
LOWEST = float(numpy.finfo("float32").min)


def ends(dtype: str) -> numpy.ndarray:
    """Two rows of the largest, the least and other numbers."""
    if dtype == "bool":
        return numpy.array([[True, False, True], [False, False, False]])
    if dtype.startswith("float"):
        return numpy.array([[0.5, -3.0, 20.0], [1e-4, -1e-4, -60.0]], dtype)
    bounds = numpy.iinfo(dtype)
    return numpy.array([[bounds.max, bounds.min, 1], [bounds.max // 2 + 1, 0, 2]], dtype)


def given(values: tuple[Any, ...]) -> list[Any]:
    return [np.array(v, dtype=v.dtype.name) for v in values]


def compiled(function: Callable[..., Any], *values: numpy.ndarray) -> numpy.ndarray:
    """What eager gives; a hybridized call gives the same to rounding, when it is recorded and after that."""
    eager = function(*given(values)).asnumpy()
    hybrid = blockfuse.hybridize(function)
    for _ in range(2):
        found = hybrid(*given(values)).asnumpy()
        assert (found.dtype, found.shape) == (eager.dtype, eager.shape)
        close(found, eager)
    return eager


def close(found: numpy.ndarray, wanted: numpy.ndarray, ulp: float = 16) -> None:
    kind = found.dtype.kind
    if kind != "f":
        numpy.testing.assert_array_equal(found, wanted)
        return
    limits = numpy.finfo(found.dtype)
    numpy.testing.assert_allclose(found, wanted, rtol=ulp * float(limits.eps), atol=float(limits.tiny))


# -- integers --------------------------------------------------------------------------------------------------

WRAPPING: list[Callable[..., Any]] = [
    lambda x: x + 1 > x,
    lambda x: np.where(x - 1 < x, x - 1, 0),
    lambda x: x * x + x,
    lambda x: -x,
    lambda x: np.abs(x),
    lambda x: np.sum(x, axis=1) + 1 > np.sum(x, axis=1),
    lambda x: np.prod(x, axis=0) - 1,
    lambda x: np.max(x + 1, axis=1),
    lambda x: x**2 + x**3,
    lambda x: x // 3 + x % 7,
    lambda x: np.dot(x, x.T) + 1,
    lambda x: np.cumsum(x, axis=1) * 3,
]


@pytest.mark.spread(7)
@pytest.mark.parametrize("function", WRAPPING)
def test_integers_wrap_as_in_numpy(function: Callable[..., Any]) -> None:
    with numpy.errstate(all="ignore"):
        for dtype in ("int8", "int32", "int64", "uint8", "uint64"):
            compiled(function, ends(dtype))


@pytest.mark.parametrize("name", ["less", "greater_equal", "equal", "not_equal"])
def test_signed_and_unsigned_are_compared_as_whole_numbers(name: str) -> None:
    x = numpy.array([2**63 - 1, -1, 5, -(2**63), 2**62], "int64")
    y = numpy.array([2**63, 2**64 - 1, 5, 2**63, 2**62 + 1], "uint64")
    for pair in ((x, y), (y, x)):
        found = compiled(lambda a, b: getattr(np, name)(a, b), *pair)
        assert found.tolist() == getattr(numpy, name)(*pair).tolist()


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS])
@pytest.mark.parametrize("name", ["fabs", "cbrt", "trace", "round"])
def test_functions_of_integers_give_the_dtypes_of_numpy(name: str, dtype: str) -> None:
    x = ends(dtype)
    found, wanted = getattr(np, name)(*given((x,))).asnumpy(), getattr(numpy, name)(x)
    assert found.dtype == wanted.dtype
    close(found, wanted)


@pytest.mark.spread(11)
@pytest.mark.parametrize("dtype", ["bool", *INTEGERS])
def test_an_average_of_integers_does_not_wrap(dtype: str) -> None:
    x = ends(dtype)
    shares = numpy.array([3, 1, 2], dtype)
    close(compiled(lambda x, w: np.average(x, axis=1, weights=w), x, shares), numpy.average(x, 1, shares))


@pytest.mark.parametrize("left", ["int8", "uint8", "uint64", "bool", "float16"])
@pytest.mark.parametrize("right", ["int8", "uint8", "int64", "float32"])
def test_isclose_of_any_dtypes(left: str, right: str) -> None:
    x, y = ends(left), ends(right)
    assert np.isclose(*given((x, y)), rtol=0.5).tolist() == numpy.isclose(x, y, rtol=0.5).tolist()


# -- activations -----------------------------------------------------------------------------------------------


def _sigmoid(x: numpy.ndarray) -> numpy.ndarray:
    return numpy.exp(-numpy.logaddexp(0, -x))


def _elu(x: numpy.ndarray, alpha: float = 1.0) -> numpy.ndarray:
    return numpy.where(x > 0, x, alpha * numpy.expm1(numpy.minimum(x, 0)))


def _gelu(x: numpy.ndarray) -> numpy.ndarray:
    return x * numpy.vectorize(lambda v: 1 + math.erf(v / math.sqrt(2)), otypes=[float])(x) / 2


ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "softsign": (npx.softsign, lambda x: x / (1 + abs(x))),
    "softplus": (npx.softplus, lambda x: numpy.logaddexp(x, 0)),
    "log_sigmoid": (npx.log_sigmoid, lambda x: -numpy.logaddexp(-x, 0)),
    "layer log_sigmoid": (nn.Activation("log_sigmoid"), lambda x: -numpy.logaddexp(-x, 0)),
    "silu": (npx.silu, lambda x: x * _sigmoid(x)),
    "mish": (npx.mish, lambda x: x * numpy.tanh(numpy.logaddexp(x, 0))),
    "gelu": (npx.gelu, _gelu),
    "gelu by tanh": (
        lambda x: npx.gelu(x, "tanh"),
        lambda x: x * _sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)),
    ),
    "elu": (nn.ELU(1.0), _elu),
    "selu": (nn.SELU(), lambda x: 1.0507009873554805 * _elu(x, 1.6732632423543772)),
    "leaky": (nn.LeakyReLU(0.25), lambda x: numpy.where(x > 0, x, x / 4)),
    "smooth_l1": (npx.smooth_l1, lambda x: numpy.where(abs(x) < 1, x * x / 2, abs(x) - 0.5)),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("dtype", ["bool", "float32", "float64", *INTEGERS])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_any_dtype(name: str, dtype: str) -> None:
    ours, meant = ACTIVATIONS[name]
    x = ends(dtype)
    with numpy.errstate(all="ignore"):
        found, wanted = ours(*given((x,))).asnumpy(), meant(x.astype("float64"))
    assert found.dtype == (dtype if dtype.startswith("float") else "float64")
    tails = 1e-7 if dtype == "float32" and name == "gelu" else 0.0
    numpy.testing.assert_allclose(found, wanted, rtol=32 * float(numpy.finfo(found.dtype).eps), atol=tails)


@pytest.mark.spread(7)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_compile_for_bytes_and_halves(name: str) -> None:
    function = ACTIVATIONS[name][0]
    for dtype in ("int8", "uint8", "float16", "float32"):
        compiled(lambda x: function(x), ends(dtype))


@pytest.mark.parametrize("layer", [nn.ELU(1.0), nn.SELU(), lambda x: np.expm1(x)])
def test_exponentials_near_zero_keep_their_digits(layer: Callable[..., Any]) -> None:
    x = numpy.array([-1e-3, -1e-6, -1e-20, -3.0, -80.0, -0.3] * 4, "float32")
    found = compiled(lambda x: layer(x), x)
    exact = numpy.expm1(x.astype("float64"))
    scale = {True: 1.0507009873554805 * 1.6732632423543772}.get(isinstance(layer, nn.SELU), 1.0)
    close(found, exact * scale, ulp=4)


# -- halves ----------------------------------------------------------------------------------------------------

FIFTIES = numpy.full(2000, 50, "float16")
FOLDS = ("sum", "mean", "var", "std", "prod", "max", "average", "median", "cumsum", "count_nonzero", "argmax")


@pytest.mark.spread(7)
@pytest.mark.parametrize("name", FOLDS)
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_folds_of_halves_are_those_of_numpy(name: str, axis: int | None) -> None:
    rng = numpy.random.default_rng(3)
    with numpy.errstate(all="ignore"):
        for x in (rng.normal(size=(70, 300)).astype("float16"), FIFTIES.reshape(40, 50)):
            found = compiled(lambda x: getattr(np, name)(x, axis=axis), x)
            wanted = getattr(numpy, name)(x, axis=axis)
            assert found.dtype == wanted.dtype
            numpy.testing.assert_array_equal(found, wanted)


def test_sums_within_layers_of_halves_are_float32() -> None:
    many = numpy.ones(70_000, "float16")  # more than the largest half
    close(compiled(lambda x: npx.softmax(x), many), numpy.full(70_000, 1 / 70_000))
    close(compiled(lambda x: npx.log_softmax(x), many), numpy.full(70_000, -math.log(70_000)))
    close(compiled(lambda x: npx.logsumexp(x), many), numpy.array(1 + math.log(70_000)))
    close(compiled(lambda x: npx.masked_softmax(x, x > 0), many), numpy.full(70_000, 1 / 70_000))
    x = numpy.array([[300.0, -300.0] * 4], "float16")  # their squares are more, too
    ones, zeros = numpy.ones(8, "float16"), numpy.zeros(8, "float16")
    close(compiled(npx.layer_norm, x, ones, zeros), numpy.sign(x))
    wide = compiled(npx.layer_norm, x, ones.astype("float32"), zeros)
    assert wide.dtype == "float32"
    close(wide, numpy.sign(x))


# -- products of several dtypes ----------------------------------------------------------------------------------

EINSUMS = {
    "i,i,i->i": ((4,), (4,), (4,)),
    "i,ij,j->": ((3,), (3, 4), (4,)),
    "ij,jk,kl->il": ((2, 3), (3, 4), (4, 2)),
    "i,j,k->kij": ((2,), (3,), (2,)),
}
MIXTURES = [
    ("int8", "int8", "float32"),
    ("int64", "int64", "float32"),
    ("bool", "bool", "float32"),
    ("bool", "bool", "int8"),
    ("int8", "uint8", "int64"),
    ("uint8", "uint8", "float16"),
    ("int8", "float32", "int8"),
]


@pytest.mark.spread(13)
@pytest.mark.parametrize("dtypes", MIXTURES)
@pytest.mark.parametrize("subscripts", EINSUMS)
def test_einsum_computes_in_the_dtype_of_its_result(subscripts: str, dtypes: tuple[str, ...]) -> None:
    shapes = EINSUMS[subscripts]
    values = [numpy.resize(ends(d), s) for s, d in zip(shapes, dtypes, strict=True)]
    wanted = numpy.einsum(subscripts, *values)
    found = compiled(lambda *xs: np.einsum(subscripts, *xs), *values)
    assert found.dtype == wanted.dtype
    close(found, wanted)


# -- sizes of one ------------------------------------------------------------------------------------------------

ONES: list[Callable[..., Any]] = [
    lambda x: np.eye(1) @ x,
    lambda x: x.T @ np.eye(1),
    lambda x: np.array([[2.0]]) @ x * np.array([[3.0]]),
    lambda x: np.dot(np.array([[2.0]]), x),
    lambda x: np.dot(np.array(2.0), x) + np.array([1.0]),
    lambda x: np.einsum("ij,jk->ik", np.array([[2.0]]), x),
    lambda x: np.einsum("i,jk->k", np.array([2.0]), x),
    lambda x: np.tensordot(np.array([[2.0]]), x, 1),
    lambda x: np.tensordot(np.array(2.0), x, 0),
    lambda x: np.inner(x.T, np.array([[2.0]])),
    lambda x: np.outer(np.array([2.0]), x),
    lambda x: np.kron(np.array([[2.0]]), x),
    lambda x: npx.fully_connected(x.T, np.array([[2.0]]), np.array([1.0])),
    lambda x: np.sum(np.array([[2.0]]) @ x, axis=1) + np.sum(np.array([[2.0]])),
    lambda x: npx.softmax(np.array([[2.0]]) @ x, axis=0),
]


@pytest.mark.spread(7)
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("function", ONES)
def test_constants_of_one_element_are_multiplied(function: Callable[..., Any], columns: int) -> None:
    compiled(function, numpy.arange(1.0, columns + 1, dtype="float32").reshape(1, columns))


# -- infinities and nan ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_logsumexp_of_infinities(dtype: str) -> None:
    x = numpy.array([[-INF, -INF], [0, -INF], [INF, -INF], [INF, INF], [NAN, INF], [1, 1]], dtype)
    found = compiled(lambda x: npx.logsumexp(x, axis=1), x)
    assert found.dtype == dtype
    close(found, numpy.array([-INF, 0, INF, INF, NAN, 1 + math.log(2)]))


@pytest.mark.spread(11)
@pytest.mark.parametrize("dtype", ["bool", *INTEGERS])
def test_logsumexp_of_integers_does_not_wrap(dtype: str) -> None:
    x = ends(dtype)
    close(compiled(lambda x: npx.logsumexp(x, axis=1), x), numpy.logaddexp.reduce(x.astype("float64"), 1))


def test_what_a_mask_leaves_out_weighs_nothing() -> None:
    x = numpy.array([[LOWEST, LOWEST, 5.0], [LOWEST, 1.0, NAN], [1.0, 2.0, INF], [3.0, 3.0, -INF]], "float32")
    kept = numpy.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]], bool)
    shares = numpy.array([[0.5, 0.5, 0], [1, 0, 0], [0, 0, 0], [0.5, 0.5, 0]])
    with numpy.errstate(divide="ignore"):
        logs = numpy.log(shares)
    close(compiled(lambda x, m: npx.masked_softmax(x, m), x, kept), shares)
    close(compiled(lambda x, m: npx.masked_log_softmax(x, m), x, kept), logs)


RISING = ([1.0, 2.0, 3.0], [1.0, NAN, NAN], [-INF, 0.0, INF], [NAN])


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted_puts_nan_behind_all_numbers(side: str) -> None:
    v = numpy.array([NAN, 2.0, INF, -INF, 0.0], "float32")
    for rising, dtype in product(RISING, ("float32", "float64")):
        a = numpy.array(rising, dtype)
        found = compiled(lambda a, v: np.searchsorted(a, v, side=side), a, v)
        numpy.testing.assert_array_equal(found, numpy.searchsorted(a, v, side=side))
