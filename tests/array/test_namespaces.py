"""``blockfuse.np`` and ``npx`` against NumPy, NumPy's own functions on our arrays, and random draws."""

import inspect
import math
import pickle
import types
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from threads import together
from tolerances import assert_close

from blockfuse.array import modes, np, npx
from blockfuse.array.eager import Eager
from blockfuse.array.forms import _in_all_forms, positional_names
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import BlockfuseError, CompilerWarning, DTypeError, ShapeError, UsageError
from blockfuse.ir.interpreter import interpreting
from blockfuse.ir.lowering import Pointwise
from blockfuse.ir.operator import TABLE
from blockfuse.ir.types import DTYPES

RNG = numpy.random.default_rng(1)
A, B, C = (RNG.normal(size=shape).astype("float32") for shape in ((3, 4), (4, 5), (2, 3, 4)))
V, W = RNG.normal(size=4).astype("float32"), RNG.normal(size=3).astype("float32")
M = RNG.normal(size=(3, 3)).astype("float64")
WHOLE = RNG.integers(-5, 5, (3, 4))


class Watching(Eager):
    """Computes, and keeps which operators ran and what left the array world."""

    def __init__(self) -> None:
        self.operators: list[str] = []
        self.escapes: list[str] = []

    def apply(self, operator: Any, operands: Any, attrs: Any) -> Any:
        self.operators.append(operator.name)
        return super().apply(operator, operands, attrs)

    def escape(self, kind: str, array: Any) -> None:  # noqa: ARG002 - the protocol's
        self.escapes.append(kind)


def ours(value: Any) -> Any:
    if isinstance(value, numpy.ndarray):
        return ndarray(value.copy())
    return type(value)(ours(v) for v in value) if isinstance(value, list | tuple) else value


def same(found: Any, wanted: Any) -> None:
    if isinstance(wanted, list | tuple):
        assert len(found) == len(wanted)
        for f, w in zip(found, wanted, strict=True):
            same(f, w)
    elif isinstance(wanted, numpy.ndarray | numpy.generic):
        assert type(found) is ndarray
        assert_close(found.asnumpy(), numpy.asarray(wanted))
    else:
        assert found == wanted


# -- against NumPy -------------------------------------------------------------------------------------------

CALLS: list[tuple[Any, ...]] = [  # name, arguments, keywords
    ("clip", (A, -0.5, 0.5)),
    ("clip", (A, None, 0.5)),
    ("power", (A, 2)),
    ("power", (numpy.abs(A), 0.5)),
    ("power", (2.0, A)),
    ("where", (A > 0, A, 0.0)),
    ("where", (A > 0,)),
    ("round", (A, 2)),
    ("round", (WHOLE * 11, -1)),
    ("isclose", (A, A + 1e-7)),
    ("isclose", (A > 0, A > 1)),
    ("isclose", (WHOLE, WHOLE)),
    ("clip", (WHOLE.astype("int8"), -1000, 2)),
    ("clip", (abs(WHOLE).astype("uint8"), -1, 300)),
    ("cbrt", (WHOLE.astype("int8"),)),
    ("cbrt", (WHOLE.astype("int32"),)),
    ("sum", (A[0, :1].reshape(()),), {"axis": 0}),
    ("max", (A[0, :1].reshape(()),), {"axis": -1, "keepdims": True}),
    ("argmax", (A[0, :1].reshape(()),), {"axis": -1}),
    ("sum", (C,), {"axis": (0, 2)}),
    ("sum", (C, -1), {"keepdims": True}),
    ("sum", (WHOLE,), {"dtype": "int32"}),
    ("mean", (C, 1)),
    ("mean", (WHOLE,)),
    ("var", (C,), {"axis": 1, "ddof": 1}),
    ("std", (C,)),
    ("prod", (A, 0)),
    ("max", (A, 1)),
    ("min", (A,), {"axis": 0, "keepdims": True}),
    ("ptp", (A, 0)),
    ("any", (A > 1, 0)),
    ("all", (A > -9,)),
    ("argmax", (A, 1)),
    ("argmin", (A,)),
    ("argmax", (A,), {"axis": -1, "keepdims": True}),
    ("count_nonzero", (WHOLE, 1)),
    ("average", (A,), {"axis": 1, "weights": numpy.abs(V)}),
    ("average", (A,)),
    ("median", (A,)),
    ("median", (A, 1)),
    ("median", (WHOLE, 0)),
    ("cumsum", (A, 1)),
    ("cumsum", (WHOLE,)),
    ("cumprod", (A, 0)),
    ("diff", (A,), {"n": 2}),
    ("dot", (A, B)),
    ("dot", (C, V)),
    ("dot", (2.0, M)),
    ("matmul", (C, B)),
    ("inner", (A, V)),
    ("outer", (V, W)),
    ("vdot", (A, A)),
    ("tensordot", (C, A, ([1, 2], [0, 1]))),
    ("tensordot", (A, B, 1)),
    ("einsum", ("ij,jk->ik", A, B)),
    ("einsum", ("...j,jk", C, B)),
    ("einsum", ("ij->", A)),
    ("einsum", ("ij,ij->i", A, A)),
    ("einsum", ("ii", M)),
    ("einsum", ("ij,jk,k->i", A, B, B[0])),
    ("kron", (A, B)),
    ("trace", (M,)),
    ("trace", (M > 0,)),
    ("trace", (WHOLE.astype("int8"),)),
    ("trace", (abs(WHOLE).astype("uint8"),)),
    ("cross", (A[:, :3], W)),
    ("reshape", (C, (4, -1))),
    ("ravel", (C,)),
    ("expand_dims", (A, (0, 3))),
    ("squeeze", (A[None],)),
    ("squeeze", (A[None, :, None], 2)),
    ("transpose", (C, (2, 0, 1))),
    ("transpose", (C,)),
    ("swapaxes", (C, 0, -1)),
    ("moveaxis", (C, [0, 1], [-1, 0])),
    ("flip", (C,)),
    ("flip", (C, (0, -1))),
    ("roll", (A, 3)),
    ("roll", (A, (1, -2), (0, 1))),
    ("concatenate", ([A, A],), {"axis": 1}),
    ("concatenate", ([A, W],), {"axis": None}),
    ("stack", ([A, A],), {"axis": -1}),
    ("vstack", ([V, V],)),
    ("hstack", ([A, A],)),
    ("hstack", ([V, W],)),
    ("dstack", ([A, A],)),
    ("column_stack", ([W, A],)),
    ("append", (A, V)),
    ("split", (A, 2), {"axis": 1}),
    ("split", (A, [1, 3]), {"axis": 1}),
    ("array_split", (V, 3)),
    ("hsplit", (A, 2)),
    ("vsplit", (A, 3)),
    ("broadcast_to", (V, (2, 3, 4))),
    ("tile", (A, 2)),
    ("tile", (A, (2, 1, 3))),
    ("tile", (V, (2, 2))),
    ("repeat", (A, 2)),
    ("repeat", (A, 3), {"axis": 1}),
    ("repeat", (A, [1, 0, 2]), {"axis": 0}),
    ("pad", (A, 1)),
    ("pad", (A, ((1, 2), (0, 3))), {"constant_values": 7}),
    ("pad", (A, ((1, 2), (2, 0))), {"mode": "edge"}),
    ("pad", (A, ((1, 2), (2, 0))), {"mode": "reflect"}),
    ("pad", (A, ((3, 2), (2, 0))), {"mode": "symmetric"}),
    ("pad", (A, ((3, 2), (2, 0))), {"mode": "wrap"}),
    ("atleast_2d", (V,)),
    ("atleast_3d", (A,)),
    ("take", (A, numpy.array([0, 2, -1]))),
    ("take", (A, numpy.array([[0], [2]])), {"axis": 1}),
    ("take", (A, numpy.array([5, -7])), {"axis": 1, "mode": "wrap"}),
    ("take", (A, numpy.array([5, -7])), {"axis": 1, "mode": "clip"}),
    ("take", (numpy.arange(300), numpy.array([[7, 255]], "uint8")), {"mode": "clip"}),
    ("take", (numpy.arange(300), numpy.array([7, -100], "int8")), {"mode": "wrap"}),
    ("take_along_axis", (A, numpy.argsort(A, 1), 1)),
    ("sort", (A,)),
    ("sort", (A, 0)),
    ("sort", (A, None)),
    ("argsort", (A,), {"axis": 0}),
    ("searchsorted", (numpy.sort(V), W)),
    ("delete", (A, 1), {"axis": 1}),
    ("nonzero", (WHOLE,)),
    ("argwhere", (WHOLE,)),
    ("flatnonzero", (WHOLE,)),
    ("unique", (WHOLE,)),
    ("unique", (WHOLE,), {"return_counts": True}),
    ("tril", (M, 1)),
    ("triu", (C,)),
    ("diag", (V, 2)),
    ("diag", (V, -1)),
    ("diag", (A, 1)),
    ("diag", (A, -2)),
    ("diagonal", (A, -9)),
    ("zeros_like", (WHOLE,)),
    ("full_like", (A, 3)),
    ("copy", (A,)),
    ("shape", (A,)),
    ("size", (A, 1)),
    ("array_equal", (A, A)),
    ("allclose", (A, A + 1)),
]


@pytest.mark.parametrize("call", CALLS, ids=[f"{c[0]}-{n}" for n, c in enumerate(CALLS)])
def test_function_gives_what_numpy_gives(call: tuple[Any, ...]) -> None:
    name, arguments, options = (*call, {})[:3]
    same(getattr(np, name)(*ours(arguments), **ours_of(options)), getattr(numpy, name)(*arguments, **options))


@pytest.mark.parametrize("call", CALLS, ids=[f"{c[0]}-{n}" for n, c in enumerate(CALLS)])
def test_numpys_own_function_on_our_arrays_gives_what_numpy_gives(call: tuple[Any, ...]) -> None:
    name, arguments, options = (*call, {})[:3]
    wanted = getattr(numpy, name)(*arguments, **options)
    same(getattr(numpy, name)(*ours(arguments), **ours_of(options)), wanted)


def ours_of(options: dict[str, Any]) -> dict[str, Any]:
    return {key: ours(value) for key, value in options.items()}


@pytest.mark.parametrize("name", [r.name for r in TABLE.values() if isinstance(r.lowering, Pointwise)])
def test_every_pointwise_row_is_a_function(name: str) -> None:
    assert name == "cast" or callable(getattr(np, name, None) or getattr(npx, name))


def test_names_of_np_are_those_of_numpy() -> None:
    gone = {"row_stack"}  # from NumPy 2.5 on
    assert {name for name in np.__all__ if not hasattr(numpy, name)} <= gone


@given(hnp.array_shapes(max_dims=3), st.data())
def test_reductions_over_random_axes(shape: tuple[int, ...], data: Any) -> None:
    axes = data.draw(st.sets(st.integers(-len(shape), len(shape) - 1), min_size=1))
    axis = tuple({a % len(shape): a for a in axes}.values())
    x = numpy.arange(math.prod(shape), dtype="float64").reshape(shape)
    for name in ("sum", "mean", "max", "std", "any"):
        keepdims = data.draw(st.booleans())
        same(
            getattr(np, name)(ndarray(x), axis, keepdims=keepdims),
            getattr(numpy, name)(x, axis, keepdims=keepdims),
        )


@pytest.mark.parametrize("ord", [None, 0, 1, 2, 3, numpy.inf, -numpy.inf])
def test_norm_of_vectors(ord: Any) -> None:
    same(np.linalg.norm(ndarray(V), ord), numpy.linalg.norm(V, ord))
    same(np.linalg.norm(ndarray(C), ord, axis=1, keepdims=True), numpy.linalg.norm(C, ord, 1, True))


@pytest.mark.parametrize("ord", [None, "fro", 1, -1, numpy.inf, -numpy.inf])
def test_norm_of_matrices(ord: Any) -> None:
    same(np.linalg.norm(ndarray(A), ord), numpy.linalg.norm(A, ord))
    same(np.linalg.norm(ndarray(C), ord, axis=(2, 0)), numpy.linalg.norm(C, ord, (2, 0)))


def test_linear_algebra() -> None:
    for name in ("det", "inv", "svd", "qr", "eigvals", "pinv", "matrix_rank"):
        found, wanted = getattr(np.linalg, name)(ndarray(M)), getattr(numpy.linalg, name)(M)
        found = [
            f.asnumpy() if isinstance(f, ndarray) else f
            for f in (found if isinstance(found, tuple) else [found])
        ]
        for f, w in zip(found, wanted if isinstance(wanted, tuple) else [wanted], strict=True):
            numpy.testing.assert_allclose(f, w)
    same(np.linalg.solve(ndarray(M), ndarray(M[0])), numpy.linalg.solve(M, M[0]))
    with pytest.raises(ShapeError):
        np.linalg.inv(ndarray(A))


@pytest.mark.parametrize("name", [n for n in npx.__all__ if isinstance(getattr(npx, n), types.FunctionType)])
def test_functions_of_networks_can_be_pickled(name: str) -> None:
    function = getattr(npx, name)
    assert pickle.loads(pickle.dumps(function)) is function


# -- creation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "dtype"),
    [
        (np.array([1, 2]), "float32"),
        (np.array(1.5), "float32"),
        (np.array([True, False]), "bool"),
        (np.array(numpy.arange(3)), "int64"),
        (np.array(numpy.ones(3)), "float64"),
        (np.array([1, 2], dtype="int32"), "int32"),
        (np.array([2**60 + 1], dtype=np.int64), "int64"),
        (np.array([[np.array(1), 2], [3, np.array(4)]]), "float32"),
        (np.zeros(3), "float32"),
        (np.ones((2, 2), dtype=bool), "bool"),
        (np.full(2, 1), "float32"),
        (np.full(2, True), "bool"),
        (np.arange(3), "float32"),
        (np.arange(3, dtype="int64"), "int64"),
        (np.linspace(0, 1, 3), "float32"),
        (np.eye(2), "float32"),
        (np.sqrt(2), "float32"),
        (np.add(1, 2.5), "float32"),
        (np.add(1, numpy.float64(2)), "float64"),
    ],
)
def test_dtype_of_what_is_made(made: ndarray, dtype: str) -> None:
    assert made.dtype == dtype


def test_values_of_what_is_made() -> None:
    assert np.array([[np.array(1), 2], [3, np.array(4)]]).tolist() == [[1, 2], [3, 4]]
    assert np.array([2**60 + 1], dtype=np.int64).item() == 2**60 + 1
    assert np.arange(1, 4, 2).tolist() == [1, 3]
    assert np.linspace(0, 1, 3).tolist() == [0, 0.5, 1]
    assert np.tri(2).tolist() == [[1, 0], [1, 1]]
    same(np.meshgrid(ndarray(V), ndarray(W)), numpy.meshgrid(V, W))
    same(np.meshgrid(ndarray(V), ndarray(W), indexing="ij"), numpy.meshgrid(V, W, indexing="ij"))
    assert np.array(numpy.array([1, 2], ">f4")).dtype.isnative


def test_array_copies_and_asarray_does_not() -> None:
    x = np.zeros(3)
    assert not np.shares_memory(x, np.array(x))
    assert np.asarray(x) is x
    theirs = numpy.zeros(3)
    assert numpy.shares_memory(np.asarray(theirs)._data, theirs)
    assert not numpy.shares_memory(np.array(theirs)._data, theirs)


@pytest.mark.parametrize("wanted", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_asarray_gives_the_dtype_that_is_asked_for(dtype: str, wanted: str) -> None:
    theirs = numpy.array([0, 1, 2], dtype)
    for values in (theirs, ndarray(theirs)):
        same(np.asarray(values, wanted), theirs.astype(wanted))


def test_ascontiguousarray_has_one_axis_at_least() -> None:
    for values in (A[0, :1].reshape(()), A):
        same(np.ascontiguousarray(ndarray(values)), numpy.ascontiguousarray(values))


@pytest.mark.parametrize(
    "values",
    [["a", "b"], [[1, 2], [3]], [None], [1j], object(), {"a": 1}],
    ids=["texts", "ragged", "None", "complex", "object", "dict"],
)
def test_what_is_no_array_of_numbers_is_refused(values: Any) -> None:
    with pytest.raises(DTypeError, match="array"):
        np.array(values)


@pytest.mark.parametrize("dtype", ["complex64", "float128", "U3", "O", "nonsense"])
def test_dtypes_outside_of_the_language_are_refused(dtype: str) -> None:
    with pytest.raises(DTypeError, match="float32"):
        np.zeros(2, dtype=dtype)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.reshape(x, (5, 2)), "12 elements"),
        (lambda x: np.concatenate([x, np.ones((2, 5))]), "all other axes"),
        (lambda x: np.stack([x, np.ones(2)]), "different shapes"),
        (lambda x: np.dot(x, x), "last axis"),
        (lambda x: np.squeeze(x, 0), "size 1"),
        (lambda x: np.split(x, 2), "equal parts"),
        (lambda x: np.broadcast_to(x, (2, 2)), "broadcast"),
        (lambda x: npx.fully_connected(x, np.ones((2, 5))), "expects 5 features.*found 4"),
        (lambda x: npx.batch_dot(x[None], x[None]), "4 is not 3"),
        (lambda x: np.einsum("ij,jk", x, x), "both 4 and 3"),
        (lambda x: npx.activation(x, "nonsense"), "relu"),
        (lambda x: npx.dropout(x, 2.0), "probability"),
        (lambda x: np.zeros(2, ctx="gpu"), "npx.cpu"),
    ],
)
def test_mistakes_are_named(call: Any, message: str) -> None:
    with pytest.raises(BlockfuseError, match=message):
        call(ndarray(A))


def test_out_takes_the_result() -> None:
    out = np.zeros((3, 4))
    assert np.exp(ndarray(A), out=out) is out
    assert np.add(ndarray(A), 1, out=out) is out
    same(out, A + 1)
    with pytest.raises(TypeError, match="out="):
        np.exp(ndarray(A), out=numpy.zeros((3, 4)))  # type: ignore[arg-type]


# -- NumPy's functions ---------------------------------------------------------------------------------------


def test_numpys_functions_run_our_operators() -> None:
    x = ndarray(A.copy())
    watching = Watching()
    with interpreting(watching):
        numpy.abs(x)
        numpy.concatenate([x, x])
        A + x
        A @ x.T
        numpy.sum(x, axis=0)
        numpy.add.reduce(x, axis=1)
        numpy.power(x, 2)
        numpy.where(x > 0, x, 0)
        numpy.linalg.norm(x)
        numpy.multiply(x, 2, out=x)
    assert watching.escapes == []
    assert watching.operators[:5] == ["absolute", "concatenate", "add", "transpose", "matmul"]
    assert {"sum", "square", "where"} <= set(watching.operators)


def test_unknown_functions_of_numpy_escape_and_wrap_what_they_return() -> None:
    x = ndarray(A.copy())
    watching = Watching()
    with interpreting(watching):
        found = [
            numpy.nanpercentile(x, 30),
            numpy.cbrt(x, dtype="float32"),
            numpy.add.accumulate(x),
            numpy.nanmedian(x),
            numpy.linalg.svd(x, compute_uv=False),
        ]
    assert len(watching.escapes) == len(found)
    assert watching.escapes[0] == "numpy.nanpercentile()"
    wanted = [
        numpy.nanpercentile(A, 30),
        numpy.cbrt(A),
        numpy.add.accumulate(A),
        numpy.nanmedian(A),
        numpy.linalg.svd(A, compute_uv=False),
    ]
    same(found, wanted)


WRITES: list[tuple[Any, ...]] = [
    (numpy.fill_diagonal, 1),
    (numpy.put, [0, 5], [7, 8]),
    (numpy.put_along_axis, numpy.array([[1], [0], [3]]), 9, 1),
    (numpy.putmask, A > 0, -A),
    (numpy.place, A > 0, [1.5]),
    (numpy.copyto, A + 1),
    (numpy.ndarray.sort, 0),
    (numpy.ndarray.partition, 1),
    (numpy.ndarray.put, [1], [2]),
    (numpy.ndarray.fill, 3),
    (numpy.add.at, [0, 0, 2], 1),
    (numpy.negative.at, [0, 2]),
]


@pytest.mark.parametrize("call", WRITES, ids=lambda c: c[0].__name__)
def test_what_numpys_functions_write_is_seen(call: tuple[Any, ...]) -> None:
    function, *arguments = call
    mine, theirs = ndarray(A.copy()), A.copy()
    function(theirs, *arguments)
    view = mine[:]
    if isinstance(function, types.MethodDescriptorType) and hasattr(ndarray, function.__name__):
        function = getattr(ndarray, function.__name__)
    function(mine, *ours(tuple(arguments)))
    same(mine, theirs)
    same(view, theirs)


def test_copies_with_a_condition_and_without_a_cast() -> None:
    mine, theirs = ndarray(WHOLE.copy()), WHOLE.copy()
    for x in (mine, theirs):
        numpy.copyto(x, 7, where=WHOLE > 0)
        numpy.copyto(x, WHOLE * 2.5, casting="unsafe", where=WHOLE < 0)
        with pytest.raises(TypeError):
            numpy.copyto(x, 1.5)
    same(mine, theirs)
    holes = numpy.where(A > 0, numpy.nan, A)
    filled = ndarray(holes.copy())
    assert numpy.nan_to_num(filled, copy=False) is filled
    same(filled, numpy.nan_to_num(holes))


def test_nobody_writes_into_what_numpy_reads() -> None:
    x = np.zeros((2, 2))
    with pytest.raises(ValueError, match="read-only"):
        numpy.asarray(x)[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        x.flat[0] = 1


def test_out_of_numpys_functions() -> None:
    x, theirs = ndarray(A.copy()), A.copy()
    theirs += x
    numpy.testing.assert_array_equal(theirs, A + A)
    mine = np.zeros(4)
    assert numpy.sum(x, axis=0, out=mine) is mine
    same(mine, A.sum(0))
    with pytest.raises(TypeError, match="int64"):
        numpy.sum(x, axis=0, out=np.zeros(4, dtype="int64"))
    assert numpy.sum(x, 0, None, mine, False) is mine
    assert numpy.take(x, [0, 2], 1, np.zeros((3, 2)), "clip").shape == (3, 2)
    parts = np.zeros((3, 4)), np.zeros((3, 4))
    assert numpy.modf(x, out=parts)[1] is parts[1]
    same(parts[1], numpy.modf(A)[1])


# Forms that ours leave to NumPy, or that were wrong: name, arguments, options.
FORMS: list[tuple[Any, ...]] = [
    *(("linalg.norm", (A, ord)) for ord in (2, -2, "nuc", "fro", 1)),
    *(("pad", (A, 1, mode)) for mode in ("mean", "median", "maximum", "minimum", "linear_ramp")),
    *(("pad", (A, 5, mode)) for mode in ("reflect", "symmetric", "wrap")),
    ("pad", (A, {1: (1, 2)}), {"constant_values": 3}),
    ("pad", (A, 1), {"mode": "reflect", "reflect_type": "odd"}),
    ("median", (A,), {"axis": (0, 1)}),
    ("median", (C, (0, 2)), {"keepdims": True, "overwrite_input": True}),
    *(("reshape", (A, (2, 6)), {"order": order}) for order in "FA"),
    ("ravel", (A, "F")),
    ("linspace", (A, 5, 3)),
    ("linspace", (0, V), {"num": 3, "axis": 1}),
    ("logspace", (V, V + 1, 3)),
    ("sum", (A,), {"where": A > 0, "initial": 2}),
    ("sum", (A, 0, None, None, True)),
    ("max", (A, 1, None, True)),
    ("mean", (A,), {"where": A > 0}),
    ("std", (A, 0, None, None, 1)),
    ("var", (M,), {"dtype": "int32"}),
    ("exp", (A,), {"dtype": "float64"}),
    ("add", (A, 1), {"casting": "unsafe"}),
    ("cross", (M, M, 0)),
    ("roll", (A, (1, 2)), {"axis": (0, 1)}),
    ("diff", (M,), {"prepend": 0}),
    ("diagonal", (C,), {"axis1": 1, "axis2": 2}),
    ("trace", (C, 1, 1, 2)),
    ("unique", (WHOLE,), {"equal_nan": False}),
    ("searchsorted", (numpy.sort(V), V), {"sorter": numpy.arange(4)}),
    ("clip", (WHOLE,), {"min": 2}),
    ("clip", (WHOLE.astype("uint8"), -1, 300)),
    ("clip", (WHOLE.astype("int8"), 300.5, 2**70)),
    ("clip", (WHOLE > 0, -1, numpy.float32(0.5))),
    ("sort", (A,), {"kind": "heapsort"}),
    ("argsort", (A, 0), {"stable": True}),
    ("argsort", (A[0, :1].reshape(()),)),
    ("count_nonzero", (A[0, :1].reshape(()),), {"axis": 0}),
    ("round", (A > 0,)),
    ("power", (A > 0, 2)),
    ("transpose", (V, 0)),
    ("split", (A, numpy.int64(2)), {"axis": 1}),
    ("reshape", (A, numpy.array([2, 6]))),
    *((name, (WHOLE, 2)) for name in ("dot", "inner", "outer", "kron")),
    ("append", (WHOLE, 2)),
    ("take", (A[:0], 9), {"axis": 1}),
    ("zeros_like", (A,), {"device": "cpu"}),
    ("ones_like", (A,), {"shape": (2,)}),
]


def _named(owner: Any, name: str) -> Any:
    for part in name.split("."):
        owner = getattr(owner, part)
    return owner


@pytest.mark.parametrize("form", FORMS, ids=[f"{f[0]}-{n}" for n, f in enumerate(FORMS)])
def test_every_form_of_a_call_is_numpys(form: tuple[Any, ...]) -> None:
    name, arguments, options = (*form, {})[:3]
    wanted = _named(numpy, name)(*arguments, **options)
    for owner in (np, numpy):
        same(_named(owner, name)(*ours(arguments), **ours_of(options)), wanted)


METHODS: list[tuple[Any, ...]] = [
    ("clip", A, (), {"min": 0.25}),
    ("clip", A, (0, 0.5)),
    ("sum", A, (), {"where": A > 0}),
    ("max", A, (0,), {"initial": 1}),
    ("mean", A, (0, None, None), {"keepdims": True}),
    ("reshape", A, (2, 6), {"order": "F"}),
    ("flatten", A, ("F",)),
    ("ravel", A, ("F",)),
    ("argpartition", A, (1,)),
    ("choose", WHOLE, ([1, 2],), {"mode": "clip"}),
    ("compress", A, ([True, False, True], 0)),
    ("searchsorted", numpy.sort(V), (V,)),
    ("transpose", V, (0,)),
    ("transpose", C, (numpy.int64(2), 0, 1)),
    ("reshape", A, (numpy.array([2, 6]),)),
    ("conj", A, ()),
    ("diagonal", C, (0, 1, 2)),
    ("trace", C, (0, 1, 2)),
    ("astype", A, ("float64", "K", "unsafe")),
    ("argsort", A, (0, "stable")),
    ("round", A, (), {"decimals": 1}),
]


@pytest.mark.parametrize("form", METHODS, ids=[f"{m[0]}-{n}" for n, m in enumerate(METHODS)])
def test_every_form_of_a_method_is_numpys(form: tuple[Any, ...]) -> None:
    name, x, arguments, options = (*form, {})[:4]
    found = getattr(ndarray(x.copy()), name)(*ours(arguments), **ours_of(options))
    same(found, getattr(x, name)(*arguments, **options))


def adds_to_a_tuple(x: Any) -> Any:
    return x.shape + 1


def asks_a_number_for_its_length(x: Any) -> Any:
    return len(x.size)


def calls_another_wrongly(x: Any) -> Any:
    return adds_to_a_tuple(x, 1)  # type: ignore[call-arg]


def refuses(x: Any) -> Any:
    raise TypeError(f"no form of ours for {x}")


def takes_nothing() -> Any:
    pass


@pytest.mark.parametrize("ours", [adds_to_a_tuple, asks_a_number_for_its_length, calls_another_wrongly])
def test_a_fault_of_ours_is_told_from_a_form_that_is_left_to_numpy(ours: Any) -> None:
    function = _in_all_forms(ours, numpy.sum, "here")
    with pytest.warns(CompilerWarning, match="sum met TypeError .* please report"):
        same(function(ndarray(A.copy())), numpy.sum(A))
    with pytest.raises(TypeError):  # nobody computes it
        function(A)


@pytest.mark.parametrize("ours", [refuses, takes_nothing])
def test_a_form_that_is_refused_is_numpys_without_a_word(ours: Any) -> None:
    same(_in_all_forms(ours, numpy.sum, "here")(ndarray(A.copy())), numpy.sum(A))


def test_attributes_of_numpys_arrays() -> None:
    x = ndarray(C.copy())
    for name in ("real", "imag", "T", "mT"):
        same(getattr(x, name), getattr(C, name))
    assert [*x.flat] == [*C.flat]
    assert x.flags.c_contiguous


def test_our_words_stay_where_numpy_refuses_too() -> None:
    for call in (lambda x: np.reshape(x, (5, 2)), lambda x: numpy.reshape(x, (5, 2))):
        with pytest.raises(ShapeError, match="12 elements cannot be reshaped"):
            call(ndarray(A))
    with pytest.raises(DTypeError, match="complex"):
        np.sum(ndarray(A), dtype="complex128")
    with pytest.raises(ValueError, match="use 'raise', 'clip' or 'wrap'"):
        np.take(ndarray(A), 0, mode="bad")


@pytest.mark.parametrize("value", [3.5, -2.0, 7.0])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_element_is_a_number_whatever_its_axes(shape: tuple[int, ...], value: float) -> None:
    x = np.full(shape, value)
    assert (float(x), int(x), complex(x)) == (value, int(value), value)
    with pytest.raises(TypeError, match="array of one element"):
        float(np.zeros((*shape, 2)))


def test_copyto_a_device_is_a_copy() -> None:
    x = ndarray(A.copy())
    copy = x.copyto(npx.cpu())
    copy += 1
    same(x, A)
    assert x.copyto(copy) is copy
    same(copy, A)


SPELLINGS = (
    "float64",
    "f8",
    "<f8",
    ">f8",
    "d",
    "double",
    float,
    numpy.float64,
    numpy.dtype("float64"),
    np.float64,
)


@pytest.mark.parametrize("dtype", SPELLINGS, ids=repr)
def test_every_spelling_of_a_dtype_is_obeyed(dtype: Any) -> None:
    """``numpy.dtype("float64") == None`` is true."""
    x, whole = ndarray(A.copy()), ndarray(WHOLE.copy())
    made = [
        *(f(x, dtype) for f in (np.array, np.asarray, np.asanyarray, np.ascontiguousarray, npx.cast)),
        *(
            f(y, dtype=dtype)
            for f in (np.sum, np.mean, np.var, np.std, np.prod, np.cumsum)
            for y in (x, whole)
        ),
        *(f(x, dtype=dtype) for f in (np.zeros_like, np.ones_like, np.empty_like, np.cumprod)),
        *(f(3, dtype=dtype) for f in (np.zeros, np.ones, np.empty, np.eye, np.identity, np.tri, np.arange)),
        *(
            np.full(2, value, dtype=dtype)
            for value in (3, 2.5, True, [1, 2], np.array(3.0), numpy.float32(3))
        ),
        *(np.full_like(x, value, dtype=dtype) for value in (3, np.array(3.0))),
        *(x.astype(dtype), x.astype(dtype, copy=False), x.sum(dtype=dtype), whole.cumsum(dtype=dtype)),
        *(numpy.sum(x, dtype=dtype), numpy.cumsum(whole, dtype=dtype), numpy.full_like(x, 2, dtype=dtype)),
        *(np.linspace(0, 1, 3, dtype=dtype), np.logspace(0, 1, 3, dtype=dtype)),
        *(npx.one_hot(np.array([0, 1]), 2, dtype=dtype), npx.topk(x, dtype=dtype)),
        *(getattr(np.random, name)(dtype=dtype) for name in ("uniform", "normal", "exponential", "rand")),
        *(
            np.random.gamma(1.0, dtype=dtype),
            np.random.randint(3, dtype=dtype),
            np.random.poisson(dtype=dtype),
        ),
    ]
    assert {y.dtype for y in made} == {numpy.dtype("float64")}
    assert {np.linalg.norm(whole, ord).dtype for ord in (None, 2, 1)} == {numpy.dtype("float64")}


def test_another_duck_array_may_answer() -> None:
    class Duck:
        def __array_ufunc__(self, *arguments: Any, **options: Any) -> str:
            return "duck"

    assert numpy.add(np.ones(2), Duck()) == "duck"


# -- npx -----------------------------------------------------------------------------------------------------


def test_softmax_family() -> None:
    x = ndarray(A)
    shares = numpy.exp(A - A.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    same(npx.softmax(x), shares)
    same(npx.log_softmax(x), numpy.log(shares))
    hot = npx.softmax(x, temperature=0.5)
    same(hot, npx.softmax(x * 2).asnumpy())
    masked = npx.masked_softmax(x, ndarray(A > 0)).asnumpy()
    assert not masked[A <= 0].any()
    numpy.testing.assert_allclose(masked.sum(1), (A > 0).any(1), rtol=1e-6)
    lengths = npx.softmax(x, length=np.array([1, 2, 4])).asnumpy()
    assert lengths[0].tolist() == [1, 0, 0, 0]
    assert (lengths > 0).sum(1).tolist() == [1, 2, 4]


def test_activations() -> None:
    x, values = ndarray(A.astype("float64")), A.astype("float64")
    wanted = {
        "relu": numpy.maximum(values, 0),
        "sigmoid": 1 / (1 + numpy.exp(-values)),
        "tanh": numpy.tanh(values),
        "softrelu": numpy.log1p(numpy.exp(values)),
        "softsign": values / (1 + abs(values)),
        "log_sigmoid": -numpy.log1p(numpy.exp(-values)),
        "mish": values * numpy.tanh(numpy.log1p(numpy.exp(values))),
        "silu": values / (1 + numpy.exp(-values)),
    }
    for name, value in wanted.items():
        numpy.testing.assert_allclose(npx.activation(x, name).asnumpy(), value, rtol=1e-10, atol=1e-12)
    same(npx.leaky_relu(x, slope=0.1), numpy.where(values > 0, values, 0.1 * values))
    same(
        npx.leaky_relu(x, act_type="elu", slope=0.1),
        numpy.where(values > 0, values, 0.1 * numpy.expm1(values)),
    )
    gamma = np.array([0.1, 0.2, 0.3, 0.4], dtype="float64")
    same(npx.leaky_relu(x, gamma, "prelu"), numpy.where(values > 0, values, gamma.asnumpy() * values))
    with pytest.raises(UsageError):
        npx.leaky_relu(x, act_type="nonsense")


def test_fully_connected() -> None:
    weight, bias = ndarray(RNG.normal(size=(5, 12)).astype("float32")), np.arange(5)
    found = npx.fully_connected(ndarray(C), weight, bias)
    same(found, C.reshape(2, 12) @ weight.asnumpy().T + bias.asnumpy())
    flat = npx.fully_connected(ndarray(C), weight[:, :4], flatten=False)
    same(flat, C @ weight.asnumpy()[:, :4].T)
    same(npx.fully_connected(ndarray(A), weight[:, :4], bias, 5, no_bias=True), A @ weight.asnumpy()[:, :4].T)
    with pytest.raises(ShapeError, match="num_hidden=3"):
        npx.fully_connected(ndarray(C), weight, num_hidden=3)


def test_layer_norm_along_any_axis() -> None:
    gamma, beta = numpy.arange(3, dtype="float32"), numpy.ones(3, "float32")
    found = npx.layer_norm(ndarray(C), ndarray(gamma), ndarray(beta), axis=1, eps=0.1)
    scaled = (C - C.mean(1, keepdims=True)) / numpy.sqrt(C.var(1, keepdims=True) + numpy.float32(0.1))
    same(found, scaled * gamma[:, None] + beta[:, None])


def test_picking() -> None:
    x = ndarray(A)
    assert npx.one_hot(np.array([0, 2]), 3).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert npx.pick(x, np.array([0, 3, 9])).tolist() == [A[0, 0], A[1, 3], A[2, 3]]
    assert npx.pick(x, np.array([0, 1, 0, 1]), axis=0, keepdims=True).shape == (1, 4)
    same(npx.embedding(np.array([[0, 2]]), x), A[[[0, 2]]])
    with pytest.raises(IndexError):
        npx.embedding(np.array([3]), x)
    with pytest.raises(ShapeError):
        npx.embedding(np.array([0]), x, input_dim=7)


def test_topk() -> None:
    x = np.array([[3, 1, 3, 2]])
    assert npx.topk(x, k=2).tolist() == [[0, 2]]
    assert npx.topk(x, k=2).dtype == "float32"
    assert npx.topk(x, k=2, is_ascend=True, ret_typ="value").tolist() == [[1, 2]]
    values, indices = npx.topk(x, k=3, ret_typ="both", dtype="int32")
    assert (values.tolist(), indices.tolist()) == ([[3, 3, 2]], [[0, 2, 3]])
    assert npx.topk(x, k=2, ret_typ="mask").tolist() == [[1, 0, 1, 0]]
    assert npx.topk(x.T, axis=0, k=1, ret_typ="mask").tolist() == [[1], [0], [0], [0]]


def test_sequences_and_shapes() -> None:
    x = np.ones((3, 2, 2))
    masked = npx.sequence_mask(x, np.array([1, 3]), use_sequence_length=True, value=-1)
    assert masked[:, :, 0].tolist() == [[1, 1], [-1, 1], [-1, 1]]
    swapped = npx.sequence_mask(
        x.swapaxes(0, 1), np.array([1, 3]), use_sequence_length=True, value=-1, axis=1
    )
    same(swapped, masked.asnumpy().swapaxes(0, 1))
    assert npx.arange_like(x, axis=0, start=2).tolist() == [2, 3, 4]
    assert npx.arange_like(x).shape == x.shape
    assert npx.batch_flatten(x).shape == (3, 4)
    same(npx.batch_dot(ndarray(C), ndarray(C), transpose_b=True), C @ C.swapaxes(1, 2))


def test_dropout_drops_only_in_training() -> None:
    x = np.ones((100, 100))
    assert npx.dropout(x, 0.25) is x
    with modes.training(True):
        dropped = npx.dropout(x, 0.25).asnumpy()
        shared = npx.dropout(x, 0.5, axes=(0,)).asnumpy()
        nothing = npx.dropout(x, 1.0)
    assert set(numpy.unique(dropped)) == {0, numpy.float32(1 / 0.75)}
    assert abs((dropped == 0).mean() - 0.25) < 0.03
    assert (shared == shared[0]).all()
    assert not nothing.any()


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "arrays.params"
    npx.save(path, ndarray(A))
    same(npx.load(path), A)
    npx.save(str(path), [ndarray(A), ndarray(V)])
    same(npx.load(path), [A, V])
    npx.save(path, {"layer.weight": ndarray(A), "file": ndarray(V)})
    found = npx.load(path)
    assert list(found) == ["layer.weight", "file"]
    same(found["file"], V)


def test_an_array_alone_is_a_file_as_numpys(tmp_path: Path) -> None:
    npx.save(tmp_path / "a.npy", ndarray(A))
    numpy.testing.assert_array_equal(numpy.load(tmp_path / "a.npy"), A)
    same(npx.load(tmp_path / "a.npy"), A)
    npx.save(tmp_path / "a.npz", ndarray(A))
    assert list(numpy.load(tmp_path / "a.npz")) == ["arr_0"]
    with pytest.raises(UsageError, match="would hold one array"):
        npx.save(tmp_path / "b.npy", [ndarray(A)])
    assert not (tmp_path / "b.npy").exists()


def test_a_file_with_pickled_code_is_refused(tmp_path: Path) -> None:
    numpy.savez(tmp_path / "x.npz", numpy.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        npx.load(tmp_path / "x.npz")


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "int64", "uint8", "bool"])
def test_masks_of_sequences_keep_the_dtype(dtype: str) -> None:
    x = numpy.ones((3, 2), dtype)
    found = npx.sequence_mask(ndarray(x), np.array([1, 2]), True, value=0)
    same(found, numpy.array([[1, 1], [0, 1], [0, 0]], dtype))


def test_a_table_of_rows_has_two_axes() -> None:
    with pytest.raises(ShapeError, match=r"weight of shape \(rows, size\); found \(3,\)"):
        npx.embedding(np.array([0, 1]), np.ones(3))


def test_the_places_of_npx_are_one_array() -> None:
    same(npx.nonzero(ndarray(A)), numpy.argwhere(A))
    same(npx.nonzero(ndarray(A[:0])), numpy.zeros((0, A.ndim), "int64"))


def test_switches_and_devices_of_gluon() -> None:
    assert npx.set_np(shape=True, array=True, dtype=False) is None  # type: ignore[func-returns-value]
    for options in ({"shape": False}, {"array": False}, {"shape": False, "dtype": True}):
        with pytest.raises(UsageError, match="set_np"):
            npx.set_np(**options)
    assert npx.reset_np() is None  # type: ignore[func-returns-value]
    assert npx.waitall() is None  # type: ignore[func-returns-value]
    assert npx.num_gpus() == 0
    assert repr(npx.cpu()) == "cpu(0)"
    assert np.ones(2, ctx=npx.cpu()).ctx == npx.cpu()
    assert np.ones(2).as_in_ctx(npx.gpu()).device == npx.cpu()


# -- random --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [None, 4, (4, 5), ()])
def test_a_batch_of_draws_stands_before_the_parameters(shape: Any) -> None:
    batch = () if shape is None else (shape,) if isinstance(shape, int) else shape
    low, high = np.array([0.0, 10.0]), np.array([[1.0], [20.0]])
    with pytest.raises(ValueError, match="high - low"):
        npx.random.uniform_n(low, high, shape)
    drawn = npx.random.uniform_n(low, high + 10, batch_shape=shape)
    assert drawn.shape == (*batch, 2, 2)
    assert bool(((drawn >= low) & (drawn < high + 10)).all())
    around = npx.random.normal_n(low * 100, 1, shape, dtype="float64")
    assert (around.shape, str(around.dtype)) == ((*batch, 2), "float64")
    assert bool((abs(around - low * 100) < 10).all())
    assert npx.random.normal_n(batch_shape=shape).shape == batch


DRAWS: dict[str, Any] = {
    "uniform": lambda: np.random.uniform(-1, 3, (50, 40)),
    "normal": lambda: np.random.normal(1, 2, (50, 40)),
    "randn": lambda: np.random.randn(50, 40),
    "rand": lambda: np.random.rand(50, 40),
    "exponential": lambda: np.random.exponential(2.0, (50, 40)),
    "gamma": lambda: np.random.gamma(3.0, 2.0, (50, 40)),
    "beta": lambda: np.random.beta(2.0, 3.0, (50, 40)),
    "laplace": lambda: np.random.laplace(size=(50, 40)),
    "gumbel": lambda: np.random.gumbel(size=(50, 40)),
    "logistic": lambda: np.random.logistic(size=(50, 40)),
    "lognormal": lambda: np.random.lognormal(size=(50, 40)),
    "chisquare": lambda: np.random.chisquare(4.0, (50, 40)),
    "bernoulli": lambda: np.random.bernoulli(0.3, size=(50, 40)),
    "randint": lambda: np.random.randint(2, 7, (50, 40)),
    "poisson": lambda: np.random.poisson(3.0, (50, 40)),
    "binomial": lambda: np.random.binomial(10, 0.3, (50, 40)),
}
# name -> mean of the distribution
MEANS = {
    "uniform": 1.0,
    "normal": 1.0,
    "randn": 0.0,
    "rand": 0.5,
    "exponential": 2.0,
    "gamma": 6.0,
    "beta": 0.4,
    "laplace": 0.0,
    "gumbel": 0.5772,
    "logistic": 0.0,
    "lognormal": 1.6487,
    "chisquare": 4.0,
    "bernoulli": 0.3,
    "randint": 4.0,
    "poisson": 3.0,
    "binomial": 3.0,
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_repeatable_and_have_the_right_mean(name: str) -> None:
    np.random.seed(7)
    first, second = DRAWS[name](), DRAWS[name]()
    np.random.seed(7)
    again = DRAWS[name]()
    assert first.shape == (50, 40)
    assert first.dtype == ("int64" if name in ("randint", "poisson", "binomial") else "float32")
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    spread = float(first.astype("float64").std()) / math.sqrt(first.size)
    assert abs(float(first.astype("float64").mean()) - MEANS[name]) < 5 * spread


def test_parameters_of_draws_broadcast() -> None:
    scale = np.array([0.0, 1.0, 100.0])
    assert np.random.normal(np.zeros((4, 1)), scale).shape == (4, 3)
    assert np.random.uniform(scale, scale).tolist() == scale.tolist()
    assert np.random.normal().shape == ()
    assert np.random.normal(size=(), dtype="float64").dtype == "float64"


def test_choice_permutation_shuffle() -> None:
    np.random.seed(1)
    assert sorted(np.random.permutation(5).tolist()) == [0, 1, 2, 3, 4]
    assert np.random.choice(3, 4, p=np.array([0, 1, 0])).tolist() == [1, 1, 1, 1]
    assert sorted(np.random.choice(np.array([5, 6, 7]), 3, replace=False).tolist()) == [5, 6, 7]
    x = np.arange(10).reshape(5, 2)
    np.random.shuffle(x)
    assert sorted(x[:, 0].tolist()) == [0, 2, 4, 6, 8]
    assert (x[:, 1] - x[:, 0] == 1).all()
    assert np.random.multinomial(10, [0.5, 0.5]).sum() == 10


def test_threads_draw_from_one_stream() -> None:
    np.random.seed(0)
    whole = set(np.random.uniform(size=4000).tolist())
    np.random.seed(0)
    drawn: list[float] = []
    together(lambda _: drawn.extend(np.random.uniform(size=1000).tolist()))
    assert set(drawn) == whole


@pytest.mark.parametrize("shape", [(1,), (3,), (), (1, 2)])
def test_a_bias_has_a_number_for_each_unit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"needs \(2,\)"):
        npx.fully_connected(np.ones((1, 4)), np.ones((2, 4)), np.ones(shape))


def test_positions_are_those_that_inspect_finds() -> None:
    """By way of their text, which takes no compiler: the first call of a form in a process can be recorded."""
    homes = numpy, numpy.linalg, numpy.ndarray
    namesakes = [getattr(home, name) for home in homes for name in dir(home) if name[0] != "_"]
    compared = 0
    for function in namesakes:
        if not (inspect.isroutine(function) or isinstance(function, numpy.ufunc)):
            continue
        try:
            found = inspect.signature(function).parameters.values()
        except ValueError:
            continue
        wanted = tuple(p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
        assert positional_names(function) == wanted, function
        compared += 1
    assert compared > 300


def test_an_axis_without_elements_has_no_edge() -> None:
    with pytest.raises(ShapeError, match="axis 0 has no element"):
        np.pad(np.zeros((0, 5)), ((1, 1), (0, 0)), mode="edge")
    assert np.pad(np.zeros((0, 5)), ((0, 0), (1, 1)), mode="edge").shape == (0, 7)
