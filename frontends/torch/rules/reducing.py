"""Rules of what folds elements along axes, of running sums, and of softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from blockfuse.array import np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.torch.rules.pointwise import maximum_of, minimum_of
from blockfuse.frontends.torch.rules.table import Array, Tensor, rule
from blockfuse.frontends.torch.rules.values import axes_of, axis_of, cast, refuse_if


def _folded(like: Tensor, x: Array, dim: Any, keepdim: bool, fold: Callable[..., Any]) -> Array:
    """A fold of elements that were cast before it."""
    return fold(x, axis=axes_of(dim, x.ndim) if x.ndim else None, keepdims=keepdim)


@rule("sum")
def sum_(like: Tensor, x: Array, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The sum; of whole numbers and flags in int64."""
    return _folded(like, cast(x, like.dtype), dim, keepdim, np.sum)


@rule("mean")
def mean(like: Tensor, x: Array, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The mean."""
    return _folded(like, cast(x, like.dtype), dim, keepdim, np.mean)


@rule("prod")
def prod(like: Tensor, x: Array, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The product."""
    return _folded(like, cast(x, like.dtype), dim, keepdim, np.prod)


@rule("amax")
def amax(like: Tensor, x: Array, dim: Any = (), keepdim: bool = False) -> Array:
    """The largest element."""
    return _folded(like, x, dim, keepdim, np.max)


@rule("amin")
def amin(like: Tensor, x: Array, dim: Any = (), keepdim: bool = False) -> Array:
    """The smallest element."""
    return _folded(like, x, dim, keepdim, np.min)


def _extreme(like: Any, x: Array, dim: Any, keepdim: bool, values: Any, places: Any, of_two: Any) -> Any:
    """The forms of ``max`` and ``min``: of all elements, along an axis with places, of two arrays."""
    if isinstance(dim, ndarray):
        return of_two(like, x, dim)
    if dim is None:
        return values(x)
    if not x.ndim:
        raise NotImplementedError("an axis of a number")
    axis = axis_of(dim, x.ndim)
    return values(x, axis=axis, keepdims=keepdim), cast(places(x, axis=axis, keepdims=keepdim), torch.int64)


@rule("max")
def max_(like: Any, x: Array, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The largest element, where it is, or the larger one of two."""
    return _extreme(like, x, dim if other is None else other, keepdim, np.max, np.argmax, maximum_of)


@rule("min")
def min_(like: Any, x: Array, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The smallest element, where it is, or the smaller one of two."""
    return _extreme(like, x, dim if other is None else other, keepdim, np.min, np.argmin, minimum_of)


def _placed(x: Array, dim: int | None, keepdim: bool, places: Any) -> Array:
    refuse_if(not x.ndim or (dim is None and keepdim), "all axes kept")
    found = (
        places(x.reshape(-1), axis=0)
        if dim is None
        else places(x, axis=axis_of(dim, x.ndim), keepdims=keepdim)
    )
    return cast(found, torch.int64)


@rule("argmax")
def argmax(like: Tensor, x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
    """Where the first largest element is."""
    return _placed(x, dim, keepdim, np.argmax)


@rule("argmin")
def argmin(like: Tensor, x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
    """Where the first smallest element is."""
    return _placed(x, dim, keepdim, np.argmin)


@rule("any")
def any_(like: Tensor, x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Whether an element is not zero."""
    refuse_if(like.dtype != torch.bool, "bytes")
    return _folded(like, x != 0, dim, keepdim, np.any)


@rule("all")
def all_(like: Tensor, x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Whether no element is zero."""
    refuse_if(like.dtype != torch.bool, "bytes")
    return _folded(like, x != 0, dim, keepdim, np.all)


@rule("count_nonzero")
def count_nonzero(like: Tensor, x: Array, dim: Any = None) -> Array:
    """How many elements are not zero."""
    return _folded(like, cast(x != 0, torch.int64), dim, False, np.sum)


@rule("aminmax")
def aminmax(like: Any, x: Array, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """The smallest and the largest element."""
    return _folded(like, x, dim, keepdim, np.min), _folded(like, x, dim, keepdim, np.max)


@rule("nansum")
def nansum(like: Tensor, x: Array, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The sum of what is a number."""
    refuse_if(dtype is not None or x.dtype.kind != "f", "another dtype")
    return _folded(like, np.where(np.isnan(x), np.zeros((), x.dtype), x), dim, keepdim, np.sum)


@rule("nanmean")
def nanmean(like: Tensor, x: Array, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    """The mean of what is a number."""
    refuse_if(dtype is not None, "another dtype")
    count = _folded(like, cast(~np.isnan(x), like.dtype), dim, keepdim, np.sum)
    return nansum(like, x, dim, keepdim) / count


# -- spread ----------------------------------------------------------------------------------------------------


def _spread(x: Array, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    """The forms of ``var``: axes first, or a flag whether one less is divided by."""
    names = ["unbiased"] if args and isinstance(args[0], bool) else ["dim", "unbiased", "keepdim"]
    given = {**dict(zip(names, args, strict=False)), **options}
    correction = given.get("correction")
    if correction is None:
        correction = 1 if given.get("unbiased", True) else 0
    axes = axes_of(given.get("dim"), x.ndim) if x.ndim else None
    return {"axis": axes, "ddof": correction, "keepdims": given.get("keepdim", False)}


@rule("var")
def var(like: Tensor, x: Array, *args: Any, **options: Any) -> Array:
    """The variance."""
    return np.var(x, **_spread(x, args, options))


@rule("std")
def std(like: Tensor, x: Array, *args: Any, **options: Any) -> Array:
    """The square root of the variance."""
    return np.std(x, **_spread(x, args, options))


@rule("var_mean")
def var_mean(like: Any, x: Array, *args: Any, **options: Any) -> Any:
    """Variance and mean."""
    how = _spread(x, args, options)
    return np.var(x, **how), np.mean(x, axis=how["axis"], keepdims=how["keepdims"])


@rule("std_mean")
def std_mean(like: Any, x: Array, *args: Any, **options: Any) -> Any:
    """Root of the variance, and mean."""
    how = _spread(x, args, options)
    return np.std(x, **how), np.mean(x, axis=how["axis"], keepdims=how["keepdims"])


@rule("norm", "vector_norm", "norm_except_dim")
def norm(like: Tensor, x: Array, p: Any = 2, dim: Any = None, keepdim: bool = False, **options: Any) -> Array:
    """The length of vectors, by exponent."""
    p = options.pop("ord", p)
    refuse_if(any(v is not None for v in options.values()) or not isinstance(p, int | float | None), "a norm")
    x = cast(x, like.dtype)
    how: dict[str, Any] = {"axis": axes_of(dim, x.ndim) if x.ndim else None, "keepdims": keepdim}
    if p is None or p == 2:
        return np.sqrt(np.sum(np.square(x), **how))
    sizes = np.abs(x)
    if math.isinf(p):
        return np.max(sizes, **how) if p > 0 else np.min(sizes, **how)
    if p == 0:
        return np.sum(cast(x != 0, like.dtype), **how)
    return np.sum(sizes, **how) if p == 1 else np.power(np.sum(np.power(sizes, p), **how), 1 / p)


# -- along an axis ---------------------------------------------------------------------------------------------


@rule("logsumexp")
def logsumexp(like: Tensor, x: Array, dim: Any, keepdim: bool = False) -> Array:
    """The logarithm of a sum of exponentials."""
    axes = axes_of(dim, x.ndim)
    refuse_if(axes is None or len(axes) != 1 or not x.ndim, "several axes")
    assert axes is not None
    return npx.logsumexp(cast(x, like.dtype), axis=axes[0], keepdims=keepdim)


@rule("softmax")
def softmax(like: Tensor, x: Array, dim: int, dtype: Any = None) -> Array:
    """Exponentials that add up to 1."""
    return npx.softmax(np.atleast_1d(cast(x, like.dtype)), axis=axis_of(dim, x.ndim)).reshape(
        tuple(like.shape)
    )


@rule("log_softmax")
def log_softmax(like: Tensor, x: Array, dim: int, dtype: Any = None) -> Array:
    """Their logarithms."""
    return npx.log_softmax(np.atleast_1d(cast(x, like.dtype)), axis=axis_of(dim, x.ndim)).reshape(
        tuple(like.shape)
    )


@rule("cumsum")
def cumsum(like: Tensor, x: Array, dim: int, *, dtype: Any = None) -> Array:
    """Running sums."""
    refuse_if(not x.ndim, "a number")
    return np.cumsum(cast(x, like.dtype), axis=axis_of(dim, x.ndim))


@rule("cumprod")
def cumprod(like: Tensor, x: Array, dim: int, *, dtype: Any = None) -> Array:
    """Running products."""
    refuse_if(not x.ndim, "a number")
    return np.cumprod(cast(x, like.dtype), axis=axis_of(dim, x.ndim))
