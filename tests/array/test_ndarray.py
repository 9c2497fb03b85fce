"""The array itself: operators of Python, methods, indexing against NumPy, writes, escapes."""

import copy
import operator
import pickle
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from blockfuse.array import np
from blockfuse.array.eager import Eager
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import DTypeError
from blockfuse.ir.interpreter import interpreting

X = numpy.arange(1, 13, dtype="float32").reshape(3, 4)


class Watching(Eager):
    """Computes, and keeps what left the array world."""

    def __init__(self) -> None:
        self.escapes: list[str] = []

    def escape(self, kind: str, array: Any) -> None:  # noqa: ARG002 - the protocol's
        self.escapes.append(kind)


def mine(x: numpy.ndarray = X) -> ndarray:
    return ndarray(x.copy())


def same(found: Any, wanted: Any) -> None:
    assert type(found) is ndarray
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    numpy.testing.assert_array_equal(found.asnumpy(), wanted)


# -- operators of Python -------------------------------------------------------------------------------------

BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
]
COMPARED = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


@pytest.mark.parametrize("function", BINARY + COMPARED, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "other", [2, 2.5, numpy.float64(2), numpy.arange(1, 5), X], ids=lambda x: type(x).__name__
)
def test_binary_operators(function: Any, other: Any) -> None:
    same(function(mine(), other), function(X, other))
    same(function(other, mine()), function(other, X))
    if isinstance(other, numpy.ndarray):
        same(function(mine(), ndarray(other)), function(X, other))


def test_other_operators() -> None:
    same(-mine(), -X)
    same(abs(-mine()), X)
    for x in (X, X.astype("int64"), X > 3):
        for exponent in (1, 2, 2.0, 0.5, True):
            same(mine(x) ** exponent, x**exponent)
    same(mine() @ mine().T, X @ X.T)
    same(~(mine() > 3), ~(X > 3))
    same((mine() > 3) & (mine() < 6) | (mine() == 1), (X > 3) & (X < 6) | (X == 1))
    whole = X.astype("int64")
    same(mine(whole) << 2, whole << 2)
    same(divmod(mine(whole), 5)[1], whole % 5)
    with pytest.raises(TypeError):
        mine() + "a"
    with pytest.raises(TypeError):
        mine() ** "a"


def test_in_place_operators_write_into_the_same_memory() -> None:
    x = mine()
    view, kept = x[1], x
    x += 1
    x *= ndarray(X)
    x /= 2
    assert x is kept
    same(x, (X + 1) * X / 2)
    same(view, ((X + 1) * X / 2)[1])
    with pytest.raises(TypeError):
        operator.itruediv(mine(X.astype("int64")), 2)


OTHERS = [
    None,
    "a",
    b"a",
    1j,
    {},
    set(),
    object(),
    ...,
    [1, 0, None],
    ["a"],
    numpy.array(["a"]),
    numpy.array([None]),
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: type(other).__name__)
@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_what_is_no_number_equals_no_element(dtype: str, other: Any) -> None:
    x = numpy.array([0, 1, 1], dtype)
    for compare in (operator.eq, operator.ne):
        same(compare(mine(x), other), compare(x, other))
        numpy.testing.assert_array_equal(compare(other, mine(x)), compare(other, x))
    assert other not in mine(x)


def test_comparing_with_none_leaves_nothing() -> None:
    with interpreting(watching := Watching()):
        found = mine() == None, mine() != "a"  # noqa: E711 - what the operator answers is looked at
    assert watching.escapes == []
    same(found[0], X == None)  # noqa: E711
    same(found[1], X != "a")


def test_others_answer_a_comparison_for_themselves() -> None:
    class Theirs:
        __array_ufunc__ = None

        def __eq__(self, other: object) -> Any:
            return "theirs"

        __hash__ = None  # type: ignore[assignment]

    assert (mine() == Theirs()) == "theirs"
    assert Theirs() in mine()


IN_PLACE = [operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv, operator.ipow]
BESIDE = [1.5, 2, True, 300, -1, numpy.float64(1.5), numpy.int64(2), numpy.uint8(2), numpy.array(1.5)]


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("other", BESIDE, ids=repr)
def test_an_element_in_place_is_cut_to_the_dtype_of_its_array(dtype: str, other: Any) -> None:
    for change in IN_PLACE:
        found, wanted = (_changed(change, kind(X.astype(dtype)), other) for kind in (mine, numpy.copy))
        if isinstance(wanted, Exception):
            assert isinstance(found, type(wanted))
        elif (
            change is operator.ipow and dtype == "float32"
        ):  # NumPy's scalars may have another last bit than its arrays
            assert found.dtype == wanted.dtype
            numpy.testing.assert_allclose(found.asnumpy(), wanted, rtol=1e-6)
        else:
            same(found, wanted)


def _changed(change: Any, x: Any, other: Any) -> Any:
    try:
        with numpy.errstate(all="ignore"):
            x[1, 2] = change(x[1, 2], other)
    except (TypeError, OverflowError, ValueError) as error:
        return error
    return x


# -- methods -------------------------------------------------------------------------------------------------

METHODS: list[tuple[Any, ...]] = [
    ("sum",),
    ("sum", 0),
    ("mean", -1),
    ("std",),
    ("var", 1),
    ("prod", 0),
    ("max", 1),
    ("min",),
    ("any", 0),
    ("all",),
    ("argmax", 0),
    ("argmin",),
    ("cumsum", 1),
    ("reshape", 4, 3),
    ("reshape", (2, -1)),
    ("reshape", -1),
    ("transpose",),
    ("transpose", 1, 0),
    ("transpose", (1, 0)),
    ("swapaxes", 0, 1),
    ("ravel",),
    ("flatten",),
    ("squeeze",),
    ("repeat", 2, 0),
    ("take", [0, 2], 1),
    ("clip", 2, 5),
    ("round", 1),
    ("argsort", 0),
    ("dot", X.T),
    ("diagonal",),
    ("trace",),
    ("astype", "int32"),
    ("astype", numpy.float64),
    ("copy",),
]


@pytest.mark.parametrize("call", METHODS, ids=str)
def test_method_gives_what_numpys_method_gives(call: tuple[Any, ...]) -> None:
    name, *arguments = call
    same(getattr(mine(), name)(*arguments), numpy.asarray(getattr(X, name)(*arguments)))


def test_methods_that_numpy_does_not_have() -> None:
    x = mine()
    same(x.expand_dims(0), X[None])
    same(x.tile((1, 2)), numpy.tile(X, (1, 2)))
    same(x.flip(0), X[::-1])
    same(x.norm(), numpy.linalg.norm(X))
    same(x.exp(), numpy.exp(X))
    same(x.T, X.T)
    same(x.split(2, axis=1)[1], X[:, 2:])
    same(x.broadcast_to(2, 3, 4), numpy.broadcast_to(X, (2, 3, 4)))
    assert x.astype("float32", copy=False) is x
    assert np.shares_memory(x.detach(), x)
    assert x.as_in_ctx(x.ctx) is x
    x.wait_to_read()


def test_methods_that_write() -> None:
    x = mine()
    x.fill(2)
    assert x.sum() == 24
    x = mine()
    x[:] = x.flip(1)
    x.sort()
    same(x, X)
    x.copyto(y := np.zeros((3, 4)))
    same(y, X)


def test_what_it_is() -> None:
    x = mine()
    assert (x.shape, x.ndim, x.size, x.nbytes, x.itemsize, len(x)) == ((3, 4), 2, 12, 48, 4, 3)
    assert repr(np.array([1, 2])) == "array([1., 2.])"
    assert [float(row.sum()) for row in x] == X.sum(1).tolist()
    assert 3 in x
    with pytest.raises(TypeError):
        len(np.array(1))
    with pytest.raises(TypeError):
        hash(x)
    with pytest.raises(DTypeError, match="complex128"):
        ndarray(numpy.ones(2, complex))


def test_copies_are_independent() -> None:
    x = mine()
    for other in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x)), x.copy()):
        other += 1
        same(x, X)
        same(other, X + 1)


# -- escapes -------------------------------------------------------------------------------------------------

ESCAPES: list[Any] = [
    *(bool, int, float, complex, operator.index, repr, str, "{:.1f}".format, numpy.asarray, pickle.dumps),
    *(ndarray.item, ndarray.tolist, ndarray.asnumpy, ndarray.tobytes, ndarray.asscalar),
    *(np.nonzero, np.unique, np.where, numpy.from_dlpack, numpy.array, lambda x: np.allclose(x, 1)),
    *(lambda x: np.array_equal(1, x), lambda x: 1 in x.reshape(1), lambda x: np.ones(1)[x.reshape(1) < 0]),
]
OF_VECTORS = (np.nonzero, np.unique, np.where)


@pytest.mark.parametrize("leave", ESCAPES, ids=lambda f: getattr(f, "__name__", ""))
def test_what_leaves_the_array_world_is_seen(leave: Any) -> None:
    watching = Watching()
    x = np.array([1] if leave in OF_VECTORS else 1, dtype="int64")
    with interpreting(watching):
        leave(x)
    assert watching.escapes


def test_what_stays_in_the_array_world_is_no_escape() -> None:
    watching = Watching()
    x = mine()
    with interpreting(watching):
        len(x), x.shape, x.dtype, x.size, list(x)
        x[0], x[:, None], x[[0, 1]], x[x.argmax(1) % 3]
        x[1] = x[0]
        x += 1
        np.concatenate([x, x]).sum().reshape(1)
        np.array([x[0, 0], x[1, 1]])
    assert watching.escapes == []


# -- indexing ------------------------------------------------------------------------------------------------

shapes = hnp.array_shapes(min_dims=1, max_dims=4, max_side=4)


def numbered(shape: tuple[int, ...]) -> numpy.ndarray:
    return numpy.arange(numpy.prod(shape), dtype="float32").reshape(shape)


@given(shapes, st.data())
def test_basic_indices(shape: tuple[int, ...], data: Any) -> None:
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=True))
    x = numbered(shape)
    found = ndarray(x)[index]
    same(found, numpy.asarray(x[index]))
    # One element without axes is a number of its own, as NumPy's scalars are; everything else is a view.
    assert numpy.shares_memory(found._data, x) == (found.ndim > 0 and found.size > 0)


@given(shapes, st.data())
def test_arrays_of_integers(shape: tuple[int, ...], data: Any) -> None:
    index = data.draw(hnp.integer_array_indices(shape))
    x = numbered(shape)
    same(ndarray(x)[index], x[index])
    same(ndarray(x)[tuple(ndarray(i) for i in index)], x[index])
    same(ndarray(x)[tuple(ndarray(i.astype("float32")) for i in index)], x[index])


@given(shapes, st.data())
def test_mixed_indices(shape: tuple[int, ...], data: Any) -> None:
    item = st.sampled_from(
        [slice(None), slice(1, None), slice(None, None, -1), 0, -1, [0, -1], [[0], [0]], [0]]
    )
    index = tuple(data.draw(item) for _ in range(data.draw(st.integers(1, len(shape)))))
    if data.draw(st.booleans()):
        position = data.draw(st.integers(0, len(index)))
        index = (*index[:position], data.draw(st.sampled_from([None, ...])), *index[position:])
    x = numbered(shape)
    as_arrays = tuple(numpy.array(i) if isinstance(i, list) else i for i in index)
    same(ndarray(x)[index], numpy.asarray(x[as_arrays]))


@given(shapes, st.data())
def test_masks(shape: tuple[int, ...], data: Any) -> None:
    axes = data.draw(st.integers(1, len(shape)))
    mask = data.draw(hnp.arrays(bool, shape[:axes]))
    x = numbered(shape)
    same(ndarray(x)[mask], x[mask])
    same(ndarray(x)[ndarray(mask)], x[mask])


@given(shapes, st.data())
def test_assignment(shape: tuple[int, ...], data: Any) -> None:
    index = data.draw(
        st.one_of(hnp.basic_indices(shape), hnp.integer_array_indices(shape), hnp.arrays(bool, shape))
    )
    wanted = numbered(shape)
    x = ndarray(wanted.copy())
    x[index] = -1
    wanted[index] = -1
    same(x, wanted)
    x[index] += 1
    wanted[index] += 1
    same(x, wanted)


@pytest.mark.parametrize("size", [0, 1, 2])
@pytest.mark.parametrize("index", [slice(-2, None, -1), slice(-5, None, -2), slice(None, None, -1)], ids=str)
def test_a_slice_backwards_from_before_the_first_element_is_empty(size: int, index: slice) -> None:
    x = numpy.arange(size)
    same(ndarray(x)[index], x[index])


@pytest.mark.parametrize(
    "index", [5, (0, 0, 0), (0, 9), (..., ...), slice(0, 2, 0), [0, 9], "a", 1.5], ids=str
)
def test_indices_that_numpy_refuses(index: Any) -> None:
    with pytest.raises((IndexError, ValueError, TypeError)):
        mine()[index]


def test_value_of_an_assignment_may_be_anything_that_becomes_an_array() -> None:
    x = mine()
    x[0] = [1, 2, 3, 4]
    x[1] = ndarray(X[0])
    x[2] = numpy.float64(3)
    x[ndarray(numpy.array([0])), 1] = 7.5
    same(x, numpy.array([[1, 7.5, 3, 4], X[0], [3] * 4], dtype="float32"))
    x[x > 3] = 0
    assert x.max() == 3


@pytest.mark.parametrize("dtype", ["float32", numpy.float32, numpy.dtype(">f4"), "f"], ids=str)
def test_the_dtype_that_is_asked_for_is_numpy_s_own_object(dtype: Any) -> None:
    """Native code tells dtypes by their objects."""
    assert np.array([1, 2], dtype=dtype)._data.dtype is numpy.dtype("float32")
