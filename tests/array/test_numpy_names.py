"""NumPy's less frequent functions and keywords: values, dtypes, gradients, and which of them leave the array world."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from tolerances import assert_close

import blockfuse
from blockfuse import np
from blockfuse.array.eager import Eager
from blockfuse.array.functions import linalg
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.interpreter import interpreting

RNG = numpy.random.default_rng(7)
A = RNG.normal(size=(3, 4)).astype("float32")
C = RNG.normal(size=(2, 3, 4)).astype("float32")
D = RNG.normal(size=(2, 3, 3))
V, W = A[0], RNG.normal(size=3)
GAPS = numpy.where(numpy.abs(A) > 0.9, numpy.float32(numpy.nan), A)
ENDS = numpy.array([numpy.nan, numpy.inf, -numpy.inf, -0.0, 0.0, 1.5, -2.5], "float32")
WHOLE = RNG.integers(-5, 5, (3, 4))
SMALL = numpy.abs(WHOLE).astype("uint8")
MASK = A > -0.3
NUMBER = numpy.array(-1.5, "float32")
NONE = numpy.zeros((0, 3), "float32")
RISING = numpy.array([-1.0, -0.2, 0.4, 1.1])

Case = tuple[Any, ...]  # name, arguments, keywords

# Made of operators: they compile, and have gradients where they are not flat.
COMPILED: list[Case] = [
    ("nan_to_num", (ENDS,)),
    ("nan_to_num", (ENDS.astype("float64"),), {"nan": 3.0, "posinf": 9.0, "neginf": -9.0}),
    ("nan_to_num", (ENDS.astype("float16"),)),
    ("nan_to_num", (WHOLE,)),
    ("nan_to_num", (NONE,)),
    ("isposinf", (ENDS,)),
    ("isneginf", (ENDS,)),
    *(
        (name, (GAPS,), {"axis": axis})
        for name in ("nansum", "nanprod", "nanmean", "nanvar", "nanstd")
        for axis in (None, -1)
    ),
    *((name, (GAPS, 0), {"keepdims": True}) for name in ("nansum", "nanmax", "nanmin", "nanmean", "nanstd")),
    *(
        (name, (WHOLE, 1))
        for name in ("nansum", "nanprod", "nanmean", "nanvar", "nanmax", "nanmin", "nancumsum")
    ),
    ("nanvar", (GAPS,), {"axis": 1, "ddof": 1}),
    *(
        (name, (ENDS[start:],)) for name in ("nanvar", "nanstd", "nanmean") for start in (0, 1)
    ),  # infinities, too
    ("nansum", (GAPS.astype("float16"),), {"axis": 1, "dtype": "float64"}),
    ("nanmax", (C,), {"axis": (0, -1)}),
    ("nancumsum", (GAPS,), {"axis": 1}),
    ("nancumprod", (GAPS,)),
    ("quantile", (A, 0.3)),
    ("quantile", (A, 0.75), {"axis": 0, "keepdims": True}),
    ("quantile", (C, 0.1), {"axis": (0, -1), "keepdims": True}),
    ("quantile", (WHOLE, [0.0, 0.5, 1.0]), {"axis": -1}),
    ("quantile", (SMALL, 0.3), {"axis": 0}),
    ("quantile", (GAPS, 0.5), {"axis": 1}),
    ("quantile", (C.astype("float64"), [[0.2, 0.4], [0.9, 1.0]]), {"axis": 1}),
    ("quantile", (NUMBER, 0.5)),
    ("quantile", (A, 1)),
    *(
        ("quantile", (A.astype("float64"), q), {"axis": 1, "method": method})
        for q in (0.3, 0.8)
        for method in (
            "lower",
            "higher",
            "nearest",
            "midpoint",
            "inverted_cdf",
            "hazen",
            "weibull",
            "median_unbiased",
        )
    ),
    ("percentile", (A, 25), {"axis": 1}),
    ("percentile", (D, [0, 12.5, 100])),
    ("median", (C, (0, 2))),
    ("median", (C,), {"axis": (1, -1), "keepdims": True}),
    ("median", (GAPS, -1)),
    ("median", (WHOLE,)),
    ("median", (MASK, 0)),
    ("interp", (A, RISING, RISING**2)),
    ("interp", (ENDS, RISING, RISING**2), {"left": -7.0, "right": 7.0}),
    ("interp", (RISING, RISING, RISING**3)),
    ("interp", (W, [0.5], [2.0])),
    ("isin", (WHOLE, [1, 2, -4])),
    ("isin", (WHOLE, SMALL), {"invert": True}),
    ("rot90", (A,)),
    *(("rot90", (C, k, (0, -1))) for k in (-1, 2, 3, 4)),
    ("rollaxis", (C, 2)),
    ("rollaxis", (C, 0, 3)),
    ("insert", (V, 1, 5.0)),
    ("insert", (A, 1, 5.0, 0)),
    ("insert", (A, -1, W[:3].astype("float32"), 1)),
    ("insert", (A, [0, 2, 2], V, 0)),
    ("insert", (A, [1], [[1.0], [2.0], [3.0]], 1)),
    ("insert", (A, slice(0, 2), 7.0, 1)),
    ("insert", (A, 3, [1.0, 2.0])),
    ("insert", (WHOLE, 1, 7, -1)),
    ("insert", (NONE, 0, 1.0, 0)),
    ("block", ([[A, A], [A, A]],)),
    ("block", ([V, V],)),
    ("block", ([[A, V[:3].reshape(3, 1)]],)),
    ("dsplit", (C, 2)),
    ("unstack", (C,), {"axis": -2}),
    ("broadcast_arrays", (A, V, NUMBER)),
    ("meshgrid", (V, W)),
    ("meshgrid", (V, W), {"sparse": True, "indexing": "ij"}),
    ("diagonal", (C, 1, -1, 0)),
    ("diagonal", (D, -1, 1, 2)),
    ("diagonal", (A, 9)),
    ("trace", (A, 1)),
    ("trace", (D, -1, 2, 0)),
    ("trace", (SMALL,)),
    ("trace", (C,), {"axis1": 1, "axis2": -1, "dtype": "float64"}),
    ("cross", (D, W)),
    ("cross", (D, D), {"axisa": 1, "axisb": 2, "axisc": 0}),
    ("cross", (D, D), {"axis": 1}),
    ("einsum", (A, [0, 1], C, [2, 0, 1], [2, 0])),
    ("einsum", (A, [0, 1], A, [0, 1])),
    ("einsum", (C, [Ellipsis, 3], V, [3])),
    ("einsum", ("ij,kij,j->k", A, C, V), {"optimize": True}),
    ("sum", (A,), {"axis": 1, "where": MASK}),
    ("sum", (A,), {"where": MASK[0], "initial": 2.5}),
    ("sum", (WHOLE.astype("int8"),), {"axis": 0, "where": MASK, "initial": 3, "keepdims": True}),
    ("sum", (MASK,), {"axis": 0, "where": MASK}),
    ("prod", (A,), {"axis": -1, "where": MASK, "initial": 2}),
    ("mean", (A,), {"axis": 0, "where": MASK | (A < -1)}),
    ("mean", (WHOLE,), {"where": MASK}),
    ("mean", (A.astype("float16"),), {"where": MASK}),
    ("var", (A,), {"where": MASK, "ddof": 1}),
    ("std", (C,), {"axis": 2, "where": MASK | (A < 0), "keepdims": True}),
    ("var", (C,), {"axis": 1, "correction": 1}),
    ("std", (WHOLE,), {"correction": 0.5}),
    ("max", (A,), {"axis": 1, "initial": 0.1}),
    ("max", (A,), {"axis": 1, "initial": -9, "where": MASK}),
    ("min", (SMALL,), {"axis": 0, "initial": 3, "where": MASK}),
    ("max", (GAPS,), {"axis": 1, "initial": 0.0, "where": MASK}),
    ("max", (NONE,), {"axis": 0, "initial": 4.0}),
    ("min", (NONE,), {"initial": 4.0}),
    ("any", (A,), {"axis": 1, "where": MASK}),
    ("all", (A > -1,), {"axis": 1, "where": MASK}),
    ("average", (A,), {"axis": 1, "weights": numpy.abs(V), "returned": True}),
    ("average", (C,), {"axis": (0, 1), "returned": True}),
    ("diff", (D,), {"append": 1.0}),
    ("diff", (A, 2, 0), {"prepend": A[:1], "append": A[1:]}),
    ("diff", (WHOLE, 1, -1), {"prepend": 0}),
    ("diff", (A, 0)),
    ("ediff1d", (A,), {"to_end": [9.0], "to_begin": 0.5}),
    ("cumulative_sum", (A,), {"axis": 1, "include_initial": True}),
    ("cumulative_sum", (WHOLE,), {"axis": -2, "dtype": "float32"}),
    ("cumulative_prod", (V,), {"include_initial": True}),
    ("searchsorted", (V, A), {"sorter": numpy.argsort(V)}),
    ("heaviside", (ENDS, 0.5)),
    ("heaviside", (WHOLE, 1)),
    ("copysign", (ENDS, ENDS[::-1])),
    ("copysign", (WHOLE, -1.0)),
    ("copysign", (A, W[:, None])),
    ("sinc", (ENDS[3:],)),
    ("sinc", (WHOLE,)),
    ("modf", (ENDS,)),
    ("modf", (A * 3,)),
    ("divmod", (A, 0.7)),
    ("divmod", (WHOLE, 3)),
    ("select", ([MASK, A < -1], [A, A * 2], 7.0)),
    ("select", ([MASK, WHOLE > 0], [WHOLE, WHOLE * 2])),
    ("polyval", (V, A)),
    ("polyval", (W, WHOLE)),
    ("diagflat", (A, -2)),
    ("trapezoid", (A,), {"dx": 0.5}),
    ("trapezoid", (A, W), {"axis": 0}),
    ("trapezoid", (A, A * A)),
    ("vecdot", (A, V)),
    ("vecdot", (C, C), {"axis": -2}),
    ("matrix_transpose", (C,)),
    ("pow", (A, 2)),
    ("astype", (A, "float64")),
    ("linalg.vector_norm", (C,), {"axis": (0, -1)}),
    ("linalg.vector_norm", (C,), {"keepdims": True}),
    ("linalg.vector_norm", (C,), {"axis": 1, "ord": 3}),
    ("linalg.vector_norm", (WHOLE,), {"axis": -1, "ord": numpy.inf, "keepdims": True}),
    ("linalg.vector_norm", (NONE,), {"axis": 0}),
    ("linalg.matrix_norm", (C,)),
    ("linalg.matrix_norm", (C,), {"ord": 1, "keepdims": True}),
    ("linalg.trace", (D,), {"offset": 1}),
    ("linalg.diagonal", (C,), {"offset": -1}),
    ("linalg.outer", (V, W)),
    ("linalg.cross", (D, D)),
    ("linalg.vecdot", (C, V)),
    ("linalg.multi_dot", ([D[0], D[1], W],)),
    ("linalg.tensorinv", (RNG.normal(size=(6, 2, 3)),), {"ind": 1}),
    ("linalg.tensorsolve", (RNG.normal(size=(2, 3, 6)), D[:, 0])),
    ("linalg.tensorsolve", (RNG.normal(size=(6, 2, 3)), D[:, 0]), {"axes": (0,)}),
]

# Computed by NumPy, as their sizes depend on values, or for want of an operator.
BY_NUMPY: list[Case] = [
    ("bincount", (SMALL.ravel().astype("int64"),), {"weights": A.ravel(), "minlength": 9}),
    ("digitize", (A, RISING)),
    ("histogram", (A,), {"bins": 4, "range": (-1, 1)}),
    ("histogram2d", (V, V)),
    ("unravel_index", (SMALL.astype("int64"), (4, 5))),
    ("ravel_multi_index", (([1, 2], numpy.array([0, 3])), (4, 5))),
    ("unique_all", (WHOLE,)),
    ("unique_counts", (WHOLE,)),
    ("unique_inverse", (WHOLE,)),
    ("union1d", (WHOLE, SMALL)),
    ("intersect1d", (WHOLE, SMALL), {"return_indices": True}),
    ("setdiff1d", (WHOLE, SMALL)),
    ("setxor1d", (WHOLE, SMALL)),
    ("partition", (A, 1)),
    ("argpartition", (V, 1)),
    ("lexsort", ((V, V),)),
    ("nanargmax", (GAPS, 1)),
    ("nanmedian", (GAPS, 1)),
    ("nanquantile", (GAPS, 0.3), {"axis": 0}),
    ("extract", (MASK, A)),
    ("convolve", (V, W)),
    ("cov", (A,)),
    ("gradient", (A,)),
    ("polyfit", (V, V * 2, 1)),
    ("gcd", (WHOLE, 6)),
    ("ldexp", (A, 3)),
    ("frexp", (A,)),
    ("nextafter", (A, 1)),
    ("logaddexp2", (A, A)),
    ("bitwise_count", (SMALL,)),
    ("choose", (numpy.array([0, 1]), [V[:2], V[2:]])),
    ("resize", (V, (2, 3))),
    ("ix_", (numpy.array([0, 1]), numpy.array([2]))),
    ("linalg.svdvals", (C,)),
]


class Watching(Eager):
    """Computes, and keeps what left the array world."""

    def __init__(self) -> None:
        self.escapes: list[str] = []

    def escape(self, kind: str, array: Any) -> None:  # noqa: ARG002 - the protocol's
        self.escapes.append(kind)


def ours(value: Any) -> Any:
    if isinstance(value, numpy.ndarray):
        return ndarray(value.copy())
    if isinstance(value, dict):
        return {key: ours(v) for key, v in value.items()}
    return type(value)(ours(v) for v in value) if type(value) in (list, tuple) else value


def same(found: Any, wanted: Any) -> None:
    if isinstance(wanted, list | tuple):
        assert type(found) is type(wanted)
        for f, w in zip(found, wanted, strict=True):
            same(f, w)
    elif isinstance(wanted, numpy.ndarray | numpy.generic):
        assert type(found) is ndarray
        assert found.shape == wanted.shape
        assert_close(found.asnumpy(), numpy.asarray(wanted))
    else:
        assert found == wanted


def named(module: Any, name: str) -> Callable[..., Any]:
    for part in name.split("."):
        module = getattr(module, part)
    return module


def ids(cases: list[Case]) -> list[str]:
    return [f"{case[0]}-{n}" for n, case in enumerate(cases)]


@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero|Mean of empty|Degrees of freedom)")
@pytest.mark.parametrize("case", COMPILED, ids=ids(COMPILED))
def test_operators_give_what_numpy_gives(case: Case) -> None:
    name, arguments, options = (*case, {})[:3]
    wanted = named(numpy, name)(*arguments, **options)
    watching = Watching()
    with interpreting(watching):
        found = named(np, name)(*ours(arguments), **ours(options))
    assert watching.escapes == []
    same(found, wanted)
    if name != "astype":  # NumPy's takes its own arrays alone
        same(named(numpy, name)(*ours(arguments), **ours(options)), wanted)


@pytest.mark.parametrize("case", BY_NUMPY, ids=ids(BY_NUMPY))
def test_numpy_computes_the_rest(case: Case) -> None:
    name, arguments, options = (*case, {})[:3]
    wanted = named(numpy, name)(*arguments, **options)
    watching = Watching()
    with interpreting(watching):
        found = named(np, name)(*ours(arguments), **ours(options))
    assert watching.escapes
    same(found, wanted)


@pytest.mark.spread(6)
@pytest.mark.parametrize(
    "call",
    [
        lambda x, m: (np.sum(x, 1, where=m), np.mean(x, 0, where=m), np.max(x, 1, initial=0.5, where=m)),
        lambda x, m: (
            np.nan_to_num(x),
            np.nansum(x, 1),
            np.nanmax(x, 0),
            np.nanvar(x, 1),
            np.nancumsum(x, 1),
        ),
        lambda x, m: (np.quantile(x, [0.2, 0.9], axis=1), np.median(x, (0, 1)), np.percentile(x, 40, axis=0)),
        lambda x, m: (
            np.insert(x, [0, 2], 7.0, axis=1),
            np.rot90(x) * 1,
            np.diff(x, prepend=0.0),
            *np.modf(x),
        ),
        lambda x, m: (np.trace(x, 1), np.diagonal(x, -1) * 1, np.heaviside(x, 0.5), np.select([m], [x], 2.0)),
        lambda x, m: (
            np.isin(x, x[0]),
            np.argsort(x, 1, descending=True),
            np.interp(x, [0.0, 1.0], [2.0, 5.0]),
        ),
    ],
)
def test_compiled_calls_give_the_same(call: Callable[..., Any]) -> None:
    compiled = blockfuse.hybridize(call)
    x, mask = ndarray(GAPS), ndarray(MASK)
    for _ in range(2):
        for found, wanted in zip(compiled(x, mask), call(x, mask), strict=True):
            assert_close(found.asnumpy(), wanted.asnumpy())
    assert "compiled" in compiled.explain()
    assert "Python" not in compiled.explain().split("\n")[0]


# -- the rest ------------------------------------------------------------------------------------------------


def test_places_of_a_grid() -> None:
    for found, wanted in (
        (np.indices((2, 3)), numpy.indices((2, 3))),
        (np.indices((2, 3), "float32"), numpy.indices((2, 3), "float32")),
        (np.indices((2, 3), sparse=True), numpy.indices((2, 3), sparse=True)),
        (np.tril_indices(3, -1, 4), numpy.tril_indices(3, -1, 4)),
        (np.triu_indices(3, 1), numpy.triu_indices(3, 1)),
        (np.diag_indices(3), numpy.diag_indices(3)),
    ):
        same(found, wanted)


def test_descending_order_keeps_equal_elements_in_theirs() -> None:
    x = ndarray(numpy.array([[2, 1, 2, 3, 1]]))
    assert np.argsort(x, descending=True).tolist() == [[3, 0, 2, 1, 4]]
    assert np.sort(x, -1, descending=True).tolist() == [[3, 2, 2, 1, 1]]
    assert x.argsort(descending=True).tolist() == [[3, 0, 2, 1, 4]]


def test_what_numpy_writes_is_seen() -> None:
    x = ndarray(GAPS.copy())
    assert np.nan_to_num(x, copy=False) is x
    same(x, numpy.nan_to_num(GAPS))
    theirs = numpy.nan_to_num(GAPS)
    np.fill_diagonal(x, 3)
    numpy.fill_diagonal(theirs, 3)
    np.putmask(x, x > 2, ndarray(A))
    numpy.putmask(theirs, theirs > 2, A)
    same(x, theirs)


def test_numbers_make_float32() -> None:
    assert np.hanning(5).dtype == "float32"
    assert np.geomspace(1.0, 8.0, 4).dtype == "float32"
    assert np.bincount([0, 1, 1]).tolist() == [1, 2]
    assert np.quantile(ndarray(A), [0.1, 0.2]).dtype == "float32"


def test_files_of_text(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "table.csv", ndarray(A), delimiter=",")
    assert_close(np.genfromtxt(tmp_path / "table.csv", delimiter=",", dtype="float32").asnumpy(), A)
    assert_close(np.loadtxt(tmp_path / "table.csv", delimiter=",", dtype=np.float32).asnumpy(), A)


def test_printing_is_set_as_in_numpy() -> None:
    with np.printoptions(precision=2):
        assert repr(np.array([1.23456])) == "array([1.23])"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.quantile(x, 1.5), "range"),
        (lambda x: np.quantile(x, 0.5, method="nonsense"), "nonsense"),
        (lambda x: np.diagonal(x[0]), "diagonal needs a matrix"),
        (lambda x: np.rot90(x, axes=(0, 0)), "two different axes"),
        (lambda x: np.max(x, where=x > 0), "initial="),
        (lambda x: np.sum(x, where=x), "bools"),
        (lambda x: np.var(x, ddof=1, correction=1), "give one"),
        (lambda x: np.interp(x, [1.0, 2.0], [1.0]), "as many xp as fp"),
        (lambda x: np.linalg.tensorinv(x), "different numbers of elements|one axis"),
        (lambda x: np.linalg.outer(x, x), "two vectors"),
        (lambda x: np.cumulative_sum(x), "name the axis"),
        (lambda x: np.searchsorted(x[0], x, side="nonsense"), "'left' or 'right'"),
    ],
)
def test_mistakes_are_named(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call(ndarray(A))


def test_signatures_are_shown() -> None:
    for module in (np, linalg):
        for name in module.__all__:
            if inspect.isfunction(getattr(module, name)):
                assert inspect.signature(getattr(module, name)).parameters is not None
                assert getattr(module, name).__doc__, name
