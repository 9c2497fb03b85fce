"""Rules of distances and losses."""

from __future__ import annotations

import math
from typing import Any

from blockfuse.array import np, npx
from blockfuse.frontends.torch.rules.table import Array, Tensor, rule
from blockfuse.frontends.torch.rules.values import (
    axis_of,
    cast,
    common,
    places,
    refuse_if,
    required,
    shape_of,
)

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


@rule("smooth_l1_loss")
def smooth_l1_loss(like: Tensor, x: Array, target: Array, reduction: Any = 1, beta: float = 1.0) -> Array:
    """Squares of small differences, absolute large ones: Girshick 2015."""
    one, other = common(x, target)
    size = np.abs(one - other)
    if beta == 0:
        return _reduced(size, reduction)
    return _reduced(np.where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta), reduction)


@rule("huber_loss")
def huber_loss(like: Tensor, x: Array, target: Array, reduction: Any = 1, delta: float = 1.0) -> Array:
    """The same, times ``delta``: Huber 1964."""
    one, other = common(x, target)
    size = np.abs(one - other)
    return _reduced(np.where(size < delta, 0.5 * size * size, delta * (size - 0.5 * delta)), reduction)


@rule("soft_margin_loss")
def soft_margin_loss(like: Tensor, x: Array, target: Array, reduction: Any = 1) -> Array:
    """``log(1 + exp(-y x))``."""
    one, other = common(x, target)
    return _reduced(np.log1p(np.exp(-other * one)), reduction)


@rule("poisson_nll_loss")
def poisson_nll_loss(
    like: Tensor, x: Array, target: Array, log_input: bool, full: bool, eps: float, reduction: Any
) -> Array:
    """How unlikely counts are, without or with Stirling's formula for their factorials."""
    one, other = common(x, target)
    losses = np.exp(one) - other * one if log_input else one - other * np.log(one + eps)
    if full:
        stirling = other * np.log(other) - other + 0.5 * np.log(2 * math.pi * other)
        losses = losses + np.where(other <= 1, np.zeros((), losses.dtype), stirling)
    return _reduced(losses, reduction)


# -- probabilities ---------------------------------------------------------------------------------------------


@rule("kl_div")
def kl_div(like: Tensor, x: Array, target: Array, reduction: Any = 1, *, log_target: bool = False) -> Array:
    """Kullback and Leibler 1951, of logarithms ``x``."""
    one, other = common(x, target)
    if log_target:
        return _reduced(np.exp(other) * (other - one), reduction)
    own = np.where(other == 0, np.zeros((), other.dtype), other * np.log(other))
    return _reduced(own - other * one, reduction)


@rule("binary_cross_entropy")
def binary_cross_entropy(
    like: Tensor, x: Array, target: Array, weight: Array | None = None, reduction: Any = 1
) -> Array:
    """Of probabilities, whose logarithms are at least -100; torch refuses what is none."""
    x = required(x, (x >= 0) & (x <= 1))
    losses = (target - 1) * np.maximum(np.log1p(-x), -100) - target * np.maximum(np.log(x), -100)
    return _reduced(losses if weight is None else losses * weight, reduction)


@rule("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(
    like: Tensor,
    x: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    reduction: Any = 1,
) -> Array:
    """The same of what a sigmoid makes probabilities."""
    soft = npx.softplus(-x)
    losses = (1 - target) * x + (soft if pos_weight is None else ((pos_weight - 1) * target + 1) * soft)
    return _reduced(losses if weight is None else losses * weight, reduction)


# -- classes ---------------------------------------------------------------------------------------------------


def _class_axis(x: Array) -> int:
    return 1 if x.ndim > 1 else 0


def _picked(x: Array, index: Array, axis: int) -> Array:
    """One element along an axis for each index."""
    return np.take_along_axis(x, np.expand_dims(index, axis), axis).squeeze(axis)


def _weighted(losses: Array, target: Array, weight: Array | None, ignored: Array, reduction: Any) -> Array:
    """Losses of classes times their weights, and without those of one class; a mean is one by weights."""
    zero, one = np.zeros((), losses.dtype), np.ones((), losses.dtype)
    weights = np.where(ignored, zero, one if weight is None else np.take(weight, target, axis=0))
    losses = np.where(ignored, zero, losses * weights)
    return (
        np.sum(losses) / np.sum(weights)
        if _REDUCTIONS.get(reduction, reduction) == 1
        else _reduced(losses, reduction)
    )


def _known(target: Array, ignore_index: int) -> tuple[Array, Array]:
    """Classes, 0 for those that are ignored, and which these are; others that there are not raise as in torch."""
    refuse_if(target.dtype.kind not in "iu", "classes that are no integers")
    ignored = target == ignore_index
    return np.where(ignored, np.zeros((), target.dtype), places(target)), ignored


@rule("nll_loss", "nll_loss2d", "nll_loss_nd")
def nll_loss(
    like: Tensor,
    x: Array,
    target: Array,
    weight: Array | None = None,
    reduction: Any = 1,
    ignore_index: int = -100,
) -> Array:
    """The negative logarithm of the probability of a class."""
    refuse_if(0 in shape_of(x), "no elements")
    known, ignored = _known(target, ignore_index)
    return _weighted(-_picked(x, known, _class_axis(x)), known, weight, ignored, reduction)


@rule("cross_entropy_loss")
def cross_entropy_loss(
    like: Tensor,
    x: Array,
    target: Array,
    weight: Array | None = None,
    reduction: Any = 1,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Array:
    """The same of what a softmax makes probabilities; the target is a class, or a probability for each."""
    refuse_if(0 in shape_of(x), "no elements")
    axis, smooth = _class_axis(x), label_smoothing / shape_of(x)[_class_axis(x)]
    logs = npx.log_softmax(x, axis=axis)
    weights = None if weight is None else weight.reshape((-1, *(1,) * (x.ndim - axis - 1)))
    if shape_of(target) == shape_of(x) and target.dtype.kind == "f":
        wanted = target if not smooth else target * (1 - label_smoothing) + smooth
        losses = -np.sum(logs * wanted if weights is None else logs * wanted * weights, axis=axis)
        return _reduced(losses, reduction)
    if not smooth:
        return nll_loss(like, logs, target, weight, reduction, ignore_index)
    known, ignored = _known(target, ignore_index)
    evenly = -np.sum(logs if weights is None else logs * weights, axis=axis)
    evenly = np.where(ignored, np.zeros((), logs.dtype), evenly)
    if _REDUCTIONS.get(reduction, reduction) == 1:
        counted = 1 if weight is None else np.take(weight, known, axis=0)
        evenly = np.sum(evenly) / np.sum(
            np.where(ignored, np.zeros((), logs.dtype), np.ones((), logs.dtype) * counted)
        )
    else:
        evenly = _reduced(evenly, reduction)
    return (
        nll_loss(like, logs, target, weight, reduction, ignore_index) * (1 - label_smoothing)
        + evenly * smooth
    )


@rule("multi_margin_loss")
def multi_margin_loss(
    like: Tensor,
    x: Array,
    target: Array,
    p: int = 1,
    margin: float = 1,
    weight: Array | None = None,
    reduction: Any = 1,
) -> Array:
    """By how much other classes come near to the right one."""
    refuse_if(0 in shape_of(x) or x.ndim != len(shape_of(target)) + 1, "no elements, or one number")
    known = places(target)
    others = np.arange(shape_of(x)[-1], dtype="int64") != known[..., None]
    near = np.maximum(margin - _picked(x, known, x.ndim - 1)[..., None] + x, 0)
    near = near if p == 1 else near * near
    near = near if weight is None else near * np.take(weight, known, axis=0)[..., None]
    return _reduced(np.mean(np.where(others, near, np.zeros((), x.dtype)), axis=-1), reduction)


@rule("multilabel_margin_loss")
def multilabel_margin_loss(like: Tensor, x: Array, target: Array, reduction: Any = 1) -> Array:
    """The same with several right classes, which a -1 ends."""
    refuse_if(0 in shape_of(x) or not x.ndim, "no elements")
    classes, zero = np.arange(shape_of(x)[-1], dtype="int64"), np.zeros((), x.dtype)
    counts = np.cumprod(cast(target >= 0, like.dtype), axis=-1) > 0
    right = np.where(counts, target, np.zeros((), target.dtype))
    is_right = np.any((right[..., None] == classes) & counts[..., None], axis=-2)
    margins = 1 - np.take_along_axis(x, right, x.ndim - 1)[..., None] + x[..., None, :]
    near = np.where(counts[..., None] & ~is_right[..., None, :], np.maximum(margins, 0), zero)
    return _reduced(np.sum(near, axis=(-2, -1)) / shape_of(x)[-1], reduction)


# -- pairs -----------------------------------------------------------------------------------------------------


@rule("hinge_embedding_loss")
def hinge_embedding_loss(
    like: Tensor, x: Array, target: Array, margin: float = 1.0, reduction: Any = 1
) -> Array:
    """Distances of what is alike, and how far others are within a margin."""
    zero = np.zeros((), x.dtype)
    near = np.where(target != 1, np.maximum(margin - x, 0), zero)
    return _reduced(near + np.where(target != -1, x, zero), reduction)


@rule("margin_ranking_loss")
def margin_ranking_loss(
    like: Tensor, x1: Array, x2: Array, target: Array, margin: float = 0.0, reduction: Any = 1
) -> Array:
    """How far pairs are from an order."""
    return _reduced(np.maximum(-cast(target, like.dtype) * (x1 - x2) + margin, 0), reduction)


@rule("cosine_embedding_loss")
def cosine_embedding_loss(
    like: Tensor, x1: Array, x2: Array, target: Array, margin: float = 0.0, reduction: Any = 1
) -> Array:
    """Angles of what is alike, and those of others within a margin."""
    axis, zero = len(shape_of(target)), np.zeros((), x1.dtype)
    first, second = (np.sum(np.square(x), axis=axis) + 1e-12 for x in (x1, x2))
    cosine = np.sum(x1 * x2, axis=axis) / np.sqrt(first * second)
    alike = np.where(target == 1, 1 - cosine, zero)
    return _reduced(alike + np.where(target == -1, np.maximum(cosine - margin, 0), zero), reduction)


@rule("triplet_margin_loss")
def triplet_margin_loss(
    like: Tensor,
    anchor: Array,
    positive: Array,
    negative: Array,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: Any = 1,
) -> Array:
    """By how much what is alike is farther than what is not: Balntas et al. 2016."""
    near, far = (pairwise_distance(like, anchor, x, p, eps) for x in (positive, negative))
    far = np.minimum(far, pairwise_distance(like, positive, negative, p, eps)) if swap else far
    return _reduced(np.maximum(margin + near - far, 0), reduction)


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
