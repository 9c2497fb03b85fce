"""Rules of order: sorted elements and where they were. Equal elements keep their order, where torch promises none."""

from __future__ import annotations

from typing import Any

import torch

from blockfuse.array import np
from blockfuse.frontends.torch.rules.table import Array, Tensor, rule
from blockfuse.frontends.torch.rules.values import axis_of, cast, refuse_if, shape_of


def _order(x: Array, axis: int, descending: bool) -> Array:
    """Where the elements are, in order; NaN is larger than all numbers."""
    if not descending:
        return np.argsort(x, axis=axis, stable=True)
    last = shape_of(x)[axis] - 1
    return np.flip(last - np.argsort(np.flip(x, axis), axis=axis, stable=True), axis)


def _sorted(x: Array, dim: int, descending: bool) -> tuple[Array, Array]:
    """Both from the elements, so that neither is computed for the other's sake, where only one is wanted."""
    refuse_if(not x.ndim or 0 in shape_of(x), "a number, or no elements")
    axis = axis_of(dim, x.ndim)
    values = np.sort(x, axis=axis, stable=True)
    order = cast(_order(x, axis, descending), torch.int64)
    return (np.flip(values, axis) if descending else values), order


@rule("sort")
def sort(like: Any, x: Array, *args: Any, **options: Any) -> Any:
    """Elements in order along an axis, and where they were."""
    names = ("stable", "dim", "descending") if args and isinstance(args[0], bool) else ("dim", "descending")
    given = {**dict(zip(names, args, strict=False)), **options}
    return _sorted(x, given.get("dim", -1), given.get("descending", False))


@rule("argsort")
def argsort(
    like: Tensor, x: Array, dim: int = -1, descending: bool = False, *, stable: bool = False
) -> Array:
    """Where the elements are, in order."""
    return _sorted(x, dim, descending)[1]


@rule("msort")
def msort(like: Tensor, x: Array) -> Array:
    """Elements in order along the first axis."""
    return _sorted(x, 0, False)[0]


@rule("topk")
def topk(like: Any, x: Array, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The largest elements along an axis, and where they are."""
    refuse_if(not isinstance(k, int), "a number of elements that is a tensor")
    axis = axis_of(dim, x.ndim)
    return tuple(x[(slice(None),) * axis + (slice(k),)] for x in _sorted(x, dim, largest))


@rule("kthvalue")
def kthvalue(like: Any, x: Array, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The element that would be at a place in order, and where it is."""
    refuse_if(not isinstance(k, int), "a place that is a tensor")
    axis = axis_of(dim, x.ndim)
    place = slice(k - 1, k) if keepdim else k - 1
    return tuple(x[(slice(None),) * axis + (place,)] for x in _sorted(x, dim, False))
