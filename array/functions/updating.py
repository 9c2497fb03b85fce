"""Arrays with some elements changed: ``npx.index_add`` and ``npx.index_update``."""

from __future__ import annotations

from blockfuse.array.arguments import ArrayLike
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.selecting import as_index
from blockfuse.array.functions.shaping import broadcast_to
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import ShapeError
from blockfuse.ir.gathers import Pattern
from blockfuse.ir.operators import indexing, pointwise


def index_add(a: ArrayLike, ind: ArrayLike, val: ArrayLike) -> ndarray:
    """A copy of ``a`` with ``val`` added at the places ``ind``; what is added to one place several times adds up.

    ind: integers (axes, places), which index the first axes of ``a``; (places,) and () index the first one.
    val: broadcast to (places, *the other axes).

    Returns the shape and dtype of ``a``. Raises IndexError for places beyond an axis, ShapeError where shapes do not
    fit.

    >>> from blockfuse import np, npx
    >>> npx.index_add(np.zeros(3), np.array([[0, 2, 2]], dtype="int64"), np.array([1, 2, 3]))
    array([1., 0., 5.])
    """
    x, places = asarray(a), _places(ind)
    values = pointwise.cast(_values(x, places, val), dtype=str(x.dtype))
    return indexing.add_at(x, values, *places, pattern=_pattern(places))


def index_update(a: ArrayLike, ind: ArrayLike, val: ArrayLike) -> ndarray:
    """A copy of ``a`` with ``val`` at the places ``ind``, of several for one place the last.

    ind, val: as of ``index_add``.

    Returns the shape and dtype of ``a``. Raises IndexError for places beyond an axis, ShapeError where shapes do not
    fit.

    >>> from blockfuse import np, npx
    >>> npx.index_update(np.zeros(3), np.array([[0, 2]], dtype="int64"), np.array([1, 2]))
    array([1., 0., 2.])
    """
    x, places = asarray(a), _places(ind)
    values = pointwise.cast(_values(x, places, val), dtype=str(x.dtype))
    return indexing.put_at(x, values, *places, pattern=_pattern(places))


def _pattern(places: list[ndarray]) -> Pattern:
    return tuple(("array", n) for n in range(len(places)))


def _places(ind: ArrayLike) -> list[ndarray]:
    """For each axis that is indexed, the places along it."""
    found = as_index(ind)
    if found.ndim > 2 or 0 in found.shape:
        raise ShapeError(f"indices have the shape (axes, places), none of them 0; found {found.shape}")
    return [found[n] for n in range(found.shape[0])] if found.ndim == 2 else [found.reshape((-1,))]


def _values(x: ndarray, places: list[ndarray], val: ArrayLike) -> ndarray:
    if len(places) > x.ndim:
        raise ShapeError(f"indices for {len(places)} axes do not fit an array of shape {x.shape}")
    shape = (places[0].shape[0], *x.shape[len(places) :])
    values = asarray(val)
    try:
        return broadcast_to(values, shape)
    except ValueError as error:
        raise ShapeError(f"values of shape {values.shape} cannot be broadcast to {shape}") from error
