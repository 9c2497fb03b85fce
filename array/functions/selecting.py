"""Elements picked, ordered or compared by their values."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike, one_axis
from blockfuse.array.functions import reducing
from blockfuse.array.functions.creation import asarray, full
from blockfuse.array.functions.elementwise import nonzero
from blockfuse.array.functions.shaping import flip, ravel
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.operators import indexing, pointwise, sorting

# -- picking -------------------------------------------------------------------------------------------------


@size_agnostic
def take(a: ArrayLike, indices: ArrayLike, axis: int | None = None, mode: str = "raise") -> ndarray:
    """The elements at places along an axis.

    a: an array of any shape.
    indices: integers of any shape; floats, as Gluon programs use them, are cut.
    axis: None flattens.
    mode: what a place beyond the axis does: 'raise', 'clip' (the nearest element) or 'wrap' (counts on from the start).

    Returns the shape of ``a`` with that of ``indices`` in the place of the axis, in the dtype of ``a``. Raises
    IndexError for places beyond the axis.

    >>> from blockfuse import np
    >>> np.take(np.array([10, 20, 30]), np.array([2, 0]))
    array([30., 10.])
    """
    x = asarray(a)
    if axis is None:
        return take(ravel(x), indices, 0, mode)
    along = one_axis(axis, x.ndim)
    picked = as_index(indices)
    lead, rest = x.shape[:along], x.shape[along + 1 :]
    if 0 in (*lead, *picked.shape, *rest) and (mode in ("clip", "wrap") or (mode == "raise" and 0 in lead)):
        return full((*lead, *picked.shape, *rest), 0, x.dtype)  # here NumPy looks at no index
    return x[(*(slice(None),) * along, within(picked, x.shape[along], mode))]


def as_index(indices: ArrayLike) -> ndarray:
    """Integer indices; floats, as Gluon programs use them, are cut to int64."""
    made = asarray(indices)
    if made.dtype.kind in "iu":
        return made
    return indexing.as_integers(made)


def within(indices: ndarray, size: int, mode: str) -> ndarray:
    """Indices that lie in an axis of ``size``."""
    if mode == "raise":
        return indices
    if size > numpy.iinfo(indices.dtype).max:
        indices = pointwise.cast(indices, dtype="int64")
    if mode == "clip":
        return pointwise.minimum(pointwise.maximum(indices, 0), max(size - 1, 0))
    if mode == "wrap":
        return indices % size
    raise ValueError(f"mode={mode!r}; use 'raise', 'clip' or 'wrap'")


def take_along_axis(arr: ArrayLike, indices: ArrayLike, axis: int | None = -1) -> ndarray:
    """For each element of ``indices``, the element at that place along an axis.

    arr: an array of any shape.
    indices: integers, with as many axes, that broadcast against ``arr`` but along ``axis``.
    axis: None flattens ``arr``.

    Returns the shape of ``indices`` in the dtype of ``arr``. Raises IndexError for places beyond the axis.

    >>> from blockfuse import np
    >>> x = np.array([[3, 1], [2, 5]])
    >>> np.take_along_axis(x, np.argsort(x, axis=1), axis=1)
    array([[1., 3.],
           [2., 5.]])
    """
    x = asarray(arr)
    if axis is None:
        x, axis = ravel(x), 0
    return indexing.along_axis(x, as_index(indices), one_axis(axis, x.ndim))


def compress(condition: ArrayLike, a: ArrayLike, axis: int | None = None) -> ndarray:
    """The elements along an axis where a condition holds.

    condition: a vector.
    a: an array of any shape.
    axis: None flattens.

    Returns the shape of ``a`` but for the axis, in its dtype. Its size depends on values: an escape, of the condition.

    >>> from blockfuse import np
    >>> np.compress(np.array([True, False, True]), np.array([[1, 2, 3]]), axis=1)
    array([[1., 3.]])
    """
    return take(a, nonzero(condition)[0], axis)


def delete(arr: ArrayLike, obj: Any, axis: int | None = None) -> ndarray:
    """The array without the elements at places along an axis.

    arr: an array of any shape.
    obj: ints, or a slice.
    axis: None flattens.

    Returns the shape of ``arr`` but for the axis, in its dtype. Raises IndexError for places beyond the axis.

    >>> from blockfuse import np
    >>> np.delete(np.array([10, 20, 30]), 1)
    array([10., 30.])
    """
    x = asarray(arr)
    if axis is None:
        x, axis = ravel(x), 0
    size = x.shape[axis]
    kept = numpy.delete(
        numpy.arange(size), obj._leave("places to delete") if isinstance(obj, ndarray) else obj
    )
    return take(x, kept, axis)


# -- order ---------------------------------------------------------------------------------------------------


# Every order of NumPy's is that of a stable sort too.
_KINDS = (None, "stable", "quicksort", "mergesort", "heapsort")


def sort(
    a: ArrayLike,
    axis: int | None = -1,
    kind: str | None = None,
    *,
    stable: bool | None = None,
    descending: bool = False,
) -> ndarray:
    """The elements in rising order, nan last.

    a: an array of any shape.
    axis: None flattens.
    kind, stable: any of NumPy's; the sort is stable.
    descending: in falling order, nan first.

    Returns the shape of ``a``, or a vector, in its dtype. Raises ValueError for kinds that NumPy has not.

    >>> from blockfuse import np
    >>> np.sort(np.array([3, 1, 2]))
    array([1., 2., 3.])
    """
    x, along = _to_sort(a, axis, kind, stable)
    rising: ndarray = sorting.sort(x, axis=along)
    return flip(rising, along) if descending else rising


def argsort(
    a: ArrayLike,
    axis: int | None = -1,
    kind: str | None = None,
    *,
    stable: bool | None = None,
    descending: bool = False,
) -> ndarray:
    """The places of the elements in rising order; equal elements keep their order, whatever ``kind``.

    a: an array of any shape; a number has place 0.
    axis: None flattens.
    descending: in falling order, nan first; equal elements keep their order in it, too.
    stable: changes nothing, as ``kind``: the sort is stable.

    Returns the shape of ``a``, or a vector, int64. Raises ValueError for kinds that NumPy has not.

    >>> from blockfuse import np
    >>> np.argsort(np.array([3, 1, 2]))
    array([1, 2, 0])
    """
    values = asarray(a)
    x, along = _to_sort(values, axis if values.ndim else None, kind, stable)
    if not descending:
        return sorting.argsort(x, axis=along)
    behind = sorting.argsort(flip(x, along), axis=along)
    return x.shape[along] - 1 - flip(behind, along)


def _to_sort(a: ArrayLike, axis: int | None, kind: str | None, stable: bool | None) -> tuple[ndarray, int]:
    if kind not in _KINDS:
        raise ValueError(f"kind={kind!r}; use one of {', '.join(map(repr, _KINDS))}")
    if kind is not None and stable is not None:
        raise ValueError("kind= and stable= both say how to sort; give one of them")
    x = asarray(a)
    if axis is None:
        x, axis = ravel(x), 0
    return x, one_axis(axis, x.ndim)


# -- what depends on values: escapes -------------------------------------------------------------------------


def unique(
    ar: ArrayLike,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
) -> Any:
    """The different elements in rising order.

    ar: an array of any shape.
    return_index, return_inverse, return_counts: also where each is first, which one each element is, how often each is.
    axis: along which slices are compared; None flattens.

    Returns a vector in the dtype of ``ar``, or a tuple of it and what is asked for, int64. Its size depends on values:
    an escape, without a gradient.

    >>> from blockfuse import np
    >>> np.unique(np.array([2, 1, 2]))
    array([1., 2.])
    """
    extras: Any = {
        "return_index": return_index,
        "return_inverse": return_inverse,
        "return_counts": return_counts,
    }
    found = numpy.unique(asarray(ar)._leave("unique()"), axis=axis, **extras)
    return tuple(ndarray(f) for f in found) if isinstance(found, tuple) else ndarray(found)


def argwhere(a: ArrayLike) -> ndarray:
    """The places of elements that are not zero, one a row.

    a: an array of n axes.

    Returns (elements, n), int64. Its size depends on values: an escape, without a gradient.

    >>> from blockfuse import np
    >>> np.argwhere(np.array([[0, 1], [2, 0]]))
    array([[0, 1],
           [1, 0]])
    """
    return ndarray(numpy.argwhere(asarray(a)._leave("argwhere()")))


def flatnonzero(a: ArrayLike) -> ndarray:
    """The places of elements that are not zero in the flattened array.

    Returns a vector, int64. Its size depends on values: an escape, without a gradient.

    >>> from blockfuse import np
    >>> np.flatnonzero(np.array([[0, 1], [2, 0]]))
    array([1, 2])
    """
    return nonzero(ravel(a))[0]


def allclose(
    a: ArrayLike, b: ArrayLike, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether all elements differ by at most ``atol + rtol * abs(b)``.

    a, b: arrays of shapes that broadcast.
    equal_nan: whether two nan are close.

    Returns a bool of Python: an escape.

    >>> from blockfuse import np
    >>> np.allclose(np.array([1, 2]), np.array([1, 2 + 1e-6]))
    True
    """
    x, y = asarray(a)._leave("allclose()"), asarray(b)._leave("allclose()")
    return bool(numpy.allclose(x, y, rtol, atol, equal_nan))


def array_equal(a1: ArrayLike, a2: ArrayLike, equal_nan: bool = False) -> bool:
    """Whether shape and all elements are equal.

    a1, a2: arrays.
    equal_nan: whether two nan are equal.

    Returns a bool of Python: an escape.

    >>> from blockfuse import np
    >>> np.array_equal(np.array([1, 2]), np.array([[1, 2]]))
    False
    """
    x, y = asarray(a1)._leave("array_equal()"), asarray(a2)._leave("array_equal()")
    return bool(numpy.array_equal(x, y, equal_nan))


# -- memory and dtypes ---------------------------------------------------------------------------------------


def shares_memory(a: ArrayLike, b: ArrayLike) -> bool:
    """Whether a write into one array can be seen in the other.

    a, b: arrays of any shape and dtype.

    Returns a bool of Python.

    >>> from blockfuse import np
    >>> x = np.array([1, 2, 3])
    >>> np.shares_memory(x, x[1:]), np.shares_memory(x, x + 0)
    (True, False)
    """
    return bool(numpy.shares_memory(asarray(a)._data, asarray(b)._data))


may_share_memory = shares_memory


def result_type(*arrays_and_dtypes: Any) -> numpy.dtype:
    """The dtype that operands have together, by NumPy's promotion.

    arrays_and_dtypes: arrays of any shape, dtypes, or numbers of Python, of which the kind counts.

    Returns a dtype.

    >>> from blockfuse import np
    >>> np.result_type(np.array([1, 2], dtype="int32"), 1.5)
    dtype('float64')
    """
    return numpy.result_type(*(x.dtype if isinstance(x, ndarray) else x for x in arrays_and_dtypes))


def shape(a: ArrayLike) -> tuple[int, ...]:
    """The sizes of the axes of an array.

    Returns a tuple of ints.

    >>> from blockfuse import np
    >>> np.shape([[1, 2, 3]])
    (1, 3)
    """
    return asarray(a).shape


def ndim(a: ArrayLike) -> int:
    """The number of axes of an array.

    Returns an int.

    >>> from blockfuse import np
    >>> np.ndim([[1, 2, 3]])
    2
    """
    return asarray(a).ndim


def size(a: ArrayLike, axis: int | None = None) -> int:
    """The number of elements of an array, or the size of one axis.

    Returns an int.

    >>> from blockfuse import np
    >>> np.size(np.ones((2, 3))), np.size(np.ones((2, 3)), 1)
    (6, 3)
    """
    return asarray(a).size if axis is None else asarray(a).shape[axis]


def copyto(dst: ndarray, src: ArrayLike, casting: Any = "same_kind", where: ArrayLike = True) -> None:
    """Write ``src`` into ``dst``, where a condition holds.

    dst: the array that is written to.
    src, where: of shapes that broadcast to its own.
    casting: which casts are allowed.

    Returns None: the shape and dtype of ``dst`` stay. Raises TypeError where ``casting`` allows no cast.

    >>> from blockfuse import np
    >>> x = np.zeros(3)
    >>> np.copyto(x, np.array([1, 2, 3]), where=np.array([True, False, True]))
    >>> x
    array([1., 0., 3.])
    """
    given = getattr(src, "dtype", None) or numpy.result_type(src)
    if not numpy.can_cast(given, dst.dtype, casting):
        raise TypeError(
            f"values of {given} cannot be written into an array of {dst.dtype} by casting={casting!r}"
        )
    dst[...] = src if where is True else pointwise.where(asarray(where), src, dst)


def searchsorted(a: ArrayLike, v: ArrayLike, side: str = "left", sorter: ArrayLike | None = None) -> ndarray:
    """Where each element of ``v`` would go in the rising vector ``a``.

    a: (n,).
    v: an array of any shape.
    side: 'left' of elements that are equal, or 'right'.
    sorter: the places of the elements of ``a`` in rising order, where they are not in it.

    Returns the shape of ``v``, int64 from 0 to n. Raises ValueError for other sides.

    >>> from blockfuse import np
    >>> np.searchsorted(np.array([1, 3, 5]), np.array([4, 0]))
    array([2, 0])
    """
    if side not in ("left", "right"):
        raise ValueError(f"side={side!r}; use 'left' or 'right'")
    rising, values = asarray(a), asarray(v)
    if sorter is not None:
        rising = take(rising, sorter)
    # NumPy compares int64 and uint64 as they are, but sorts them in as float64.
    if rising.dtype != values.dtype:
        common = numpy.result_type(rising.dtype, values.dtype)
        rising, values = asarray(rising, common), asarray(values, common)
    beside = values[..., None]
    before = rising < beside if side == "left" else rising <= beside
    if values.dtype.kind == "f":  # a nan goes behind all numbers, and before or behind those that are there
        passed = rising == rising if side == "left" else True
        before = pointwise.logical_or(before, pointwise.logical_and(pointwise.isnan(beside), passed))
    return reducing.sum(before, -1)
