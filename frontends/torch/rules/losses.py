"""Rules of distances and losses."""

from __future__ import annotations

from typing import Any

from blockfuse.array import np
from blockfuse.frontends.torch.rules.table import Array, Tensor, rule
from blockfuse.frontends.torch.rules.values import axis_of, common, refuse_if

_REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}


def _reduced(values: Array, reduction: Any) -> Array:
    how = _REDUCTIONS.get(reduction, reduction)
    refuse_if(how not in (0, 1, 2), "a reduction")
    return (lambda x: x, np.mean, np.sum)[how](values)


@rule("mse_loss")
def mse_loss(like: Tensor, x: Array, target: Array, reduction: Any = 1) -> Array:
    """Squares of differences."""
    one, other = common(x, target)
    return _reduced(np.square(one - other), reduction)


@rule("l1_loss")
def l1_loss(like: Tensor, x: Array, target: Array, reduction: Any = 1) -> Array:
    """Absolute differences."""
    one, other = common(x, target)
    return _reduced(np.abs(one - other), reduction)


@rule("cosine_similarity")
def cosine_similarity(like: Tensor, x1: Array, x2: Array, dim: int = 1, eps: float = 1e-8) -> Array:
    """The cosine of an angle."""
    axis = axis_of(dim, x1.ndim)
    first, second = (
        x / np.maximum(np.sqrt(np.sum(np.square(x), axis=axis, keepdims=True)), eps) for x in (x1, x2)
    )
    return np.sum(first * second, axis=axis)


@rule("pairwise_distance")
def pairwise_distance(
    like: Tensor, x1: Array, x2: Array, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Array:
    """The length of differences along the last axis."""
    refuse_if(p != 2, "another norm")
    return np.sqrt(np.sum(np.square(x1 - x2 + eps), axis=-1, keepdims=keepdim))
