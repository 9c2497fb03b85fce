"""Arrays as sets: membership, unions, and what is left of one without another."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike
from blockfuse.array.functions import reducing
from blockfuse.array.functions.creation import array, asarray
from blockfuse.array.functions.elementwise import equal, logical_not
from blockfuse.array.functions.shaping import expand_dims, ravel
from blockfuse.array.ndarray import ndarray
from blockfuse.array.outside import outside


def isin(element: ArrayLike, test_elements: ArrayLike, *, invert: bool = False) -> ndarray:
    """Whether each element is among ``test_elements`` (``invert``: is not).

    element, test_elements: arrays of any shape.

    Returns the shape of ``element``, bool.

    >>> from blockfuse import np
    >>> np.isin(np.array([1, 2, 3]), np.array([2]))
    array([False,  True, False])
    """
    x, among = asarray(element), ravel(test_elements)
    found = reducing.any(equal(expand_dims(x, -1), among), -1)
    return logical_not(found) if invert else found


# -- of a size that depends on values: escapes ---------------------------------------------------------------


def unique_all(x: ArrayLike) -> Any:
    """The different elements in rising order, with ``indices``, ``inverse_indices`` and ``counts``.

    x: an array of any shape.

    Returns a named tuple of vectors, of ``x``'s dtype and int64, and of ``inverse_indices`` in the shape of ``x``.
    Sizes depend on values: an escape, without a gradient.

    >>> from blockfuse import np
    >>> np.unique_all(np.array([2, 1, 2])).counts
    array([1, 2])
    """
    return outside(numpy.unique_all, (asarray(x),), {})


def unique_counts(x: ArrayLike) -> Any:
    """The different elements in rising order and their ``counts``.

    x: an array of any shape.

    Returns a named tuple of vectors, of ``x``'s dtype and int64. Sizes depend on values: an escape, without a gradient.

    >>> from blockfuse import np
    >>> values, counts = np.unique_counts(np.array([2, 1, 2]))
    >>> counts
    array([1, 2])
    """
    return outside(numpy.unique_counts, (asarray(x),), {})


def unique_inverse(x: ArrayLike) -> Any:
    """The different elements in rising order, and in ``inverse_indices`` which one each element is.

    x: an array of any shape.

    Returns a named tuple of a vector of ``x``'s dtype, and of int64 in the shape of ``x``. Sizes depend on values: an
    escape, without a gradient.

    >>> from blockfuse import np
    >>> np.unique_inverse(np.array([2, 1, 2])).inverse_indices
    array([1, 0, 1])
    """
    return outside(numpy.unique_inverse, (asarray(x),), {})


def unique_values(x: ArrayLike) -> ndarray:
    """The different elements in rising order; each nan differs from all.

    x: an array of any shape.

    Returns a vector of its dtype. Its size depends on values: an escape, without a gradient.

    >>> from blockfuse import np
    >>> np.unique_values(np.array([2, 1, 2]))
    array([1., 2.])
    """
    return array(outside(numpy.unique, (asarray(x),), {"equal_nan": False}))


def union1d(ar1: ArrayLike, ar2: ArrayLike) -> ndarray:
    """The elements of either array, each once, in rising order.

    ar1, ar2: arrays of any shape.

    Returns a vector of the dtype that both promote to. Its size depends on values: an escape, without a gradient.

    >>> from blockfuse import np
    >>> np.union1d(np.array([1, 2]), np.array([2, 3]))
    array([1., 2., 3.])
    """
    return array(outside(numpy.union1d, (asarray(ar1), asarray(ar2)), {}))


def intersect1d(
    ar1: ArrayLike, ar2: ArrayLike, assume_unique: bool = False, return_indices: bool = False
) -> Any:
    """The elements of both arrays, each once, in rising order.

    ar1, ar2: arrays of any shape.
    return_indices: also their places in both, int64.
    assume_unique: whether neither has one twice.

    Returns a vector of the dtype that both promote to, or a tuple of three vectors. Its size depends on values: an
    escape, without a gradient.

    >>> from blockfuse import np
    >>> np.intersect1d(np.array([1, 2, 3]), np.array([3, 2, 5]))
    array([2., 3.])
    """
    options = {"assume_unique": assume_unique, "return_indices": return_indices}
    return outside(numpy.intersect1d, (asarray(ar1), asarray(ar2)), options)


def setdiff1d(ar1: ArrayLike, ar2: ArrayLike, assume_unique: bool = False) -> ndarray:
    """The elements of the first array that are not in the second, each once, in rising order.

    ar1, ar2: arrays of any shape.
    assume_unique: whether neither has one twice.

    Returns a vector of the dtype of ``ar1``. Its size depends on values: an escape, without a gradient.

    >>> from blockfuse import np
    >>> np.setdiff1d(np.array([1, 2, 3]), np.array([3, 2, 5]))
    array([1.])
    """
    return array(outside(numpy.setdiff1d, (asarray(ar1), asarray(ar2)), {"assume_unique": assume_unique}))


def setxor1d(ar1: ArrayLike, ar2: ArrayLike, assume_unique: bool = False) -> ndarray:
    """The elements of one array alone, each once, in rising order.

    ar1, ar2: arrays of any shape.
    assume_unique: whether neither has one twice.

    Returns a vector of the dtype that both promote to. Its size depends on values: an escape, without a gradient.

    >>> from blockfuse import np
    >>> np.setxor1d(np.array([1, 2, 3]), np.array([3, 2, 5]))
    array([1., 5.])
    """
    return array(outside(numpy.setxor1d, (asarray(ar1), asarray(ar2)), {"assume_unique": assume_unique}))
