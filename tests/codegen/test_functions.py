"""The functions of generated kernels against NumPy and the C library in a wider dtype: accuracy and special values."""

import math
import re

import numpy
import pytest
from graphs import LEVELS, natively

from blockfuse.codegen.cuda.device.numpy_values import Number
from blockfuse.codegen.values.functions import FUNCTIONS, ROUNDED_TWICE, ULP
from blockfuse.ir.lowering import Pointwise, Reduction
from blockfuse.ir.operator import TABLE, Operator
from blockfuse.ir.operators.contractions import dense

pytestmark = pytest.mark.spread(3)

LIBRARY = 3.0  # ulp: what a C library may be off; glibc 2.36 stays below 2.0
LIMITS = {**ULP, "cbrt": 4.0}  # glibc's cbrt of float64 is the one that does not
WIDER = {"float32": numpy.float64, "float64": numpy.longdouble}
DTYPES = ["float32", "float64"] if numpy.finfo(numpy.longdouble).eps < 1e-18 else ["float32"]

# -- what is true ----------------------------------------------------------------------------------------------


def _sigmoid(x: numpy.ndarray) -> numpy.ndarray:
    small = numpy.exp(-abs(x))
    return numpy.where(x < 0, small, 1) / (1 + small)


def _softplus(x: numpy.ndarray) -> numpy.ndarray:
    return numpy.maximum(x, 0) + numpy.log1p(numpy.exp(-abs(x)))


def _erf(x: numpy.ndarray) -> numpy.ndarray:
    return numpy.array([math.erf(v) for v in x.tolist()], x.dtype)


TRUE = {"sigmoid": _sigmoid, "softplus": _softplus, "erf": _erf, "relu": lambda x: numpy.maximum(x, 0)}


def is_unary(row: Operator) -> bool:
    """Whether the row is a float function of one float, with a kernel."""
    lowering, loop = row.lowering, row.loop
    if not isinstance(lowering, Pointwise) or "f" not in lowering.kinds or len(row.examples[0].shapes) != 1:
        return False
    assert loop is not None
    return not row.examples[0].attrs and loop(numpy.dtype("float32"))[-1].kind == "f"


UNARY = [row.name for row in TABLE.values() if row.examples and is_unary(row)]


def true(name: str, x: numpy.ndarray) -> numpy.ndarray:
    """The function in a wider dtype."""
    function = TRUE.get(name) or getattr(numpy, name)
    with numpy.errstate(all="ignore"):
        return numpy.asarray(function(x.astype(WIDER[x.dtype.name])))


def ulps(found: numpy.ndarray, wanted: numpy.ndarray) -> numpy.ndarray:
    """How far ``found`` is from the wider ``wanted``, in spacings of its dtype; what is not finite must be the same."""
    with numpy.errstate(all="ignore"):
        rounded = wanted.astype(found.dtype)
        difference = abs(found.astype(wanted.dtype) - wanted) / numpy.spacing(abs(rounded)).astype(
            wanted.dtype
        )
    same = (found == rounded) | (numpy.isnan(found) & numpy.isnan(rounded))
    error = numpy.where(numpy.isfinite(rounded), difference, numpy.where(same, 0, numpy.inf))
    return numpy.where(numpy.isnan(error), numpy.inf, error)


def every_exponent(dtype: str, mantissas: int) -> numpy.ndarray:
    """Random numbers of both signs with every exponent, subnormals and nan included, and the usual range densely."""
    rng = numpy.random.default_rng(11)
    count, bits, integer = (256, 23, numpy.uint32) if dtype == "float32" else (2048, 52, numpy.uint64)
    exponents = numpy.repeat(numpy.arange(count, dtype=integer), mantissas)
    patterns = (exponents << integer(bits)) | rng.integers(0, 1 << bits, exponents.size, integer)
    low, high = (-104, 89) if dtype == "float32" else (-746, 710)
    usual = [rng.uniform(a, b, 20_000).astype(dtype) for a, b in ((low, high), (-4, 4), (0.5, 2.0))]
    positive = patterns.view(dtype)
    return numpy.concatenate([positive, -positive, *usual, edges(dtype)])


def edges(dtype: str) -> numpy.ndarray:
    limits = numpy.finfo(dtype)
    positive = [numpy.inf, limits.max, 1e3, 1.0, 0.5, limits.tiny, limits.smallest_subnormal, 0.0]
    return numpy.array([numpy.nan, *positive, *(-x for x in positive)], dtype)


# -- accuracy --------------------------------------------------------------------------------------------------


def assert_accurate(name: str, found: numpy.ndarray, x: numpy.ndarray, level: str) -> None:
    errors = ulps(found, true(name, x))
    worst = int(errors.argmax())
    limits = {**LIMITS, **ROUNDED_TWICE} if level == "baseline" else LIMITS
    limit = limits.get(name, LIBRARY)
    assert errors[worst] <= limit, f"{name}({x[worst]!r}) is {found[worst]!r}, {errors[worst]:.2f} ulp off"


# A call of the C library is the same at every level.
OWN = {*ULP, "sqrt", "floor", "ceil", "trunc", "rint", "sign", "absolute", "relu", "reciprocal"}
OF_SPECIAL = {"gamma", "gammaln"}  # NumPy has none: tests/ir/test_special.py measures them
MEASURED = [name for name in UNARY if name not in OF_SPECIAL]
AT_LEVELS = [(name, level) for name in MEASURED for level in (LEVELS if name in OWN else LEVELS[:1])]


@pytest.mark.spread(11)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "level"), AT_LEVELS)
def test_functions_stay_within_their_ulp(name: str, level: str, dtype: str) -> None:
    x = every_exponent(dtype, 64 if dtype == "float32" else 8)
    (found,) = natively(TABLE[name], x, level=level)
    assert_accurate(name, found, x, level)


@pytest.mark.spread(6)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ULP)
def test_functions_stay_within_their_ulp_on_the_vectors_of_a_tile(name: str, dtype: str, level: str) -> None:
    x = every_exponent(dtype, 8 if dtype == "float32" else 1)
    x = x[numpy.isfinite(x)]  # a row of a product: inf times the zeros that fill a panel would be nan
    one = numpy.ones((3, 1), dtype)
    (found,) = natively(lambda x, w: TABLE[name](dense(x, w)), x[:, None], one, level=level)
    for column in found.T:
        assert_accurate(name, column, x, level)


@pytest.mark.parametrize("name", ["power", "hypot", "arctan2"])
def test_functions_of_two_numbers_stay_within_the_ulp_of_the_library(name: str) -> None:
    rng = numpy.random.default_rng(12)
    x, y = (rng.uniform(0.01, 30, 50_000).astype("float32") for _ in range(2))
    (found,) = natively(TABLE[name], x, y)
    assert ulps(found, getattr(numpy, name)(x.astype("float64"), y.astype("float64"))).max() <= LIBRARY


# -- special values --------------------------------------------------------------------------------------------


@pytest.mark.spread(7)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", UNARY)
def test_special_values_are_those_of_numpy(name: str, dtype: str) -> None:
    x = edges(dtype)
    (found,) = natively(TABLE[name], x)
    with numpy.errstate(all="ignore"):
        wanted = TABLE[name].meaning(x)
    for value, got, want in zip(x, found, wanted, strict=True):
        special = not numpy.isfinite(want) or want == 0
        assert not special or repr(got) == repr(want), f"{name}({value!r}) is {got!r}, not {want!r}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", ["maximum", "minimum", "add", "multiply", "divide", "power", "arctan2", "hypot"]
)
def test_pairs_of_special_values_are_those_of_numpy(name: str, dtype: str) -> None:
    x, y = (v.ravel() for v in numpy.meshgrid(edges(dtype), edges(dtype)))
    (found,) = natively(TABLE[name], x, y)
    with numpy.errstate(all="ignore"):
        wanted = TABLE[name].meaning(x, y)
    numpy.testing.assert_allclose(found, wanted, rtol=1e-6)  # nan and inf in the same places
    if name in ("maximum", "minimum"):
        numpy.testing.assert_array_equal(
            numpy.signbit(found[wanted == 0]), numpy.signbit(wanted[wanted == 0])
        )


WHOLE = ["floor_divide", "remainder", "fmod"]


@pytest.mark.spread(5)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", WHOLE)
def test_division_with_a_remainder_has_the_bits_of_numpy(name: str, dtype: str) -> None:
    rng = numpy.random.default_rng(13)
    numbers = [edges(dtype), rng.normal(size=60) * 10.0 ** rng.integers(-9, 9, 60), rng.integers(-9, 9, 30)]
    x, y = (v.ravel() for v in numpy.meshgrid(*[numpy.concatenate(numbers).astype(dtype)] * 2))
    assert_bits(name, x, y)


@pytest.mark.spread(5)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
@pytest.mark.parametrize("name", [*WHOLE, "left_shift", "right_shift"])
def test_whole_numbers_are_divided_and_shifted_as_by_numpy(name: str, dtype: str) -> None:
    limits = numpy.iinfo(dtype)
    edge = [v + n for v in (int(limits.min), int(limits.max), limits.max // 3) for n in (-1, 0, 1)]
    values = numpy.array([v for v in (*range(-9, 70), *edge) if limits.min <= v <= limits.max], dtype)
    assert_bits(name, *(v.ravel() for v in numpy.meshgrid(values, values)))


def assert_bits(name: str, x: numpy.ndarray, y: numpy.ndarray) -> None:
    """A kernel, the functions of a device's simulator and NumPy give the same; any nan is as good as another one."""
    with numpy.errstate(all="ignore"):
        wanted = TABLE[name].meaning(x, y)
        for found in (natively(TABLE[name], x, y)[0], FUNCTIONS[name](Number(x), Number(y)).number):
            numpy.testing.assert_array_equal(found, wanted, strict=True)
            if wanted.dtype.kind == "f":
                numpy.testing.assert_array_equal(
                    numpy.signbit(found)[wanted == 0], numpy.signbit(wanted)[wanted == 0]
                )


@pytest.mark.spread(7)
@pytest.mark.parametrize(
    ("name", "x", "wanted"),
    [
        ("exp", numpy.inf, numpy.inf),
        ("exp", -numpy.inf, 0.0),
        ("exp", 1000.0, numpy.inf),
        ("log", 0.0, -numpy.inf),
        ("log", -0.0, -numpy.inf),
        ("log", -1.0, numpy.nan),
        ("log", numpy.inf, numpy.inf),
        ("tanh", numpy.inf, 1.0),
        ("tanh", -numpy.inf, -1.0),
        ("sigmoid", -numpy.inf, 0.0),
        ("sigmoid", numpy.inf, 1.0),
        ("softplus", -numpy.inf, 0.0),
        ("softplus", numpy.inf, numpy.inf),
        ("erf", -numpy.inf, -1.0),
        ("sqrt", -1.0, numpy.nan),
        ("relu", numpy.nan, numpy.nan),
        ("relu", -numpy.inf, 0.0),
        ("sign", numpy.nan, numpy.nan),
        ("reciprocal", -0.0, -numpy.inf),
    ],
)
def test_limits(name: str, x: float, wanted: float) -> None:
    for dtype in ("float32", "float64"):
        numpy.testing.assert_array_equal(natively(TABLE[name], numpy.array([x], dtype))[0], [wanted])


def test_small_results_of_sigmoid_are_subnormal_not_zero() -> None:
    x = numpy.array([-100.0], "float32")  # 1 / (1 + exp(100)) would be 1 / inf
    assert natively(TABLE["sigmoid"], x)[0] == numpy.float32(math.exp(-100))


# -- the table of functions ------------------------------------------------------------------------------------


def test_every_function_is_called_by_a_row() -> None:
    texts = [r.lowering.expression for r in TABLE.values() if isinstance(r.lowering, Pointwise)]
    texts += [r.lowering.combine for r in TABLE.values() if isinstance(r.lowering, Reduction)]
    called = {word for text in texts for word in re.findall(r"(\w+)\(", text)}
    own = {"multiply_add", "high_product", "mixed"}  # the product tile calls the first, draws the others
    assert set(FUNCTIONS) - called == own
