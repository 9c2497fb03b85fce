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

    >>> from blockfuse import np
    >>> np.isin(np.array([1, 2, 3]), np.array([2]))
    array([False,  True, False])
    """
    x, among = asarray(element), ravel(test_elements)
    found = reducing.any(equal(expand_dims(x, -1), among), -1)
    return logical_not(found) if invert else found


# -- of a size that depends on values: escapes ---------------------------------------------------------------


def unique_all(x: ArrayLike) -> Any:
    """The different elements in rising order, with ``indices``, ``inverse_indices`` and ``counts``: a named tuple."""
    return outside(numpy.unique_all, (asarray(x),), {})


def unique_counts(x: ArrayLike) -> Any:
    """The different elements in rising order and their ``counts``: a named tuple."""
    return outside(numpy.unique_counts, (asarray(x),), {})


def unique_inverse(x: ArrayLike) -> Any:
    """The different elements in rising order, and in ``inverse_indices`` which one each element is: a named tuple."""
    return outside(numpy.unique_inverse, (asarray(x),), {})


def unique_values(x: ArrayLike) -> ndarray:
    """The different elements in rising order."""
    return array(outside(numpy.unique, (asarray(x),), {"equal_nan": False}))


def union1d(ar1: ArrayLike, ar2: ArrayLike) -> ndarray:
    """The elements of either array, each once, in rising order.

    >>> from blockfuse import np
    >>> np.union1d(np.array([1, 2]), np.array([2, 3]))
    array([1., 2., 3.])
    """
    return array(outside(numpy.union1d, (asarray(ar1), asarray(ar2)), {}))


def intersect1d(
    ar1: ArrayLike, ar2: ArrayLike, assume_unique: bool = False, return_indices: bool = False
) -> Any:
    """The elements of both arrays, each once, in rising order; with ``return_indices`` also their places in both."""
    options = {"assume_unique": assume_unique, "return_indices": return_indices}
    return outside(numpy.intersect1d, (asarray(ar1), asarray(ar2)), options)


def setdiff1d(ar1: ArrayLike, ar2: ArrayLike, assume_unique: bool = False) -> ndarray:
    """The elements of the first array that are not in the second, each once, in rising order."""
    return array(outside(numpy.setdiff1d, (asarray(ar1), asarray(ar2)), {"assume_unique": assume_unique}))


def setxor1d(ar1: ArrayLike, ar2: ArrayLike, assume_unique: bool = False) -> ndarray:
    """The elements of one array alone, each once, in rising order."""
    return array(outside(numpy.setxor1d, (asarray(ar1), asarray(ar2)), {"assume_unique": assume_unique}))
