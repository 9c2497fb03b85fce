"""Rules of normalizations, and of what is on in training alone."""

from __future__ import annotations

import numpy

from blockfuse.array import npx
from blockfuse.array.functions import random
from blockfuse.array.sizes import size_agnostic
from blockfuse.frontends.onnx.rules.table import Static, Value, rule
from blockfuse.frontends.onnx.rules.values import along, dtype_of, is_known, number, size_of
from blockfuse.ir.errors import UsageError


@rule("BatchNormalization", several=True)
def batch_normalization(
    x: Value,
    scale: Value,
    bias: Value,
    mean: Value,
    var: Value,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
) -> tuple[Value, ...]:
    """Each channel by its running statistics; in training by its own, which change the running ones."""
    if not spatial:
        raise UsageError("BatchNormalization with spatial=0 is not supported")
    if not training_mode:
        return (_normalized(x, scale, bias, mean, var, epsilon),)
    axes = (0, *range(2, x.ndim))
    own_mean, own_var = numpy.mean(x, axis=axes), numpy.var(x, axis=axes)
    moved = [(old * momentum + new * (1 - momentum)) for old, new in ((mean, own_mean), (var, own_var))]
    return _normalized(x, scale, bias, own_mean, own_var, epsilon), *moved


def _normalized(x: Value, scale: Value, bias: Value, mean: Value, var: Value, epsilon: float) -> Value:
    slope = scale / numpy.sqrt(var + epsilon)
    moved = x * along(slope, 1, x.ndim) + along(bias - mean * slope, 1, x.ndim)
    return moved.astype(x.dtype)


@rule("InstanceNormalization")
def instance_normalization(x: Value, scale: Value, bias: Value, epsilon: float = 1e-5) -> Value:
    """Each channel of each item by its own statistics."""
    return _standardized(x, tuple(range(2, x.ndim)), epsilon)[0] * along(scale, 1, x.ndim) + along(
        bias, 1, x.ndim
    )


def _standardized(x: Value, axes: tuple[int, ...], epsilon: float) -> tuple[Value, Value, Value]:
    """``x`` with mean 0 and variance 1, the mean, and one by the deviation."""
    mean = numpy.mean(x, axis=axes, keepdims=True)
    centered = x - mean
    inverse = 1 / numpy.sqrt(numpy.mean(centered * centered, axis=axes, keepdims=True) + epsilon)
    return centered * inverse, mean, inverse


@rule("LayerNormalization", several=True)
def layer_normalization(
    x: Value,
    scale: Value,
    bias: Value = None,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    outputs: int = 1,
) -> tuple[Value, ...]:
    """Over all axes from ``axis`` on; also the mean, and one by the deviation."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    if (
        len(axes) == 1
        and outputs == 1
        and bias is not None
        and scale.ndim == bias.ndim == 1
        and x.dtype.itemsize > 2
    ):
        return (npx.layer_norm(x, scale, bias, axis=-1, eps=epsilon),)
    wide = x.astype("float32") if stash_type == 1 and x.dtype.itemsize < 4 else x
    normal, mean, inverse = _standardized(wide, axes, epsilon)
    result = normal.astype(x.dtype) * scale
    return (result if bias is None else result + bias), mean, inverse


@rule("RMSNormalization")
def rms_normalization(
    x: Value, scale: Value, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Value:
    """By the root of the mean square, over all axes from ``axis`` on."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    wide = x.astype("float32") if stash_type == 1 and x.dtype.itemsize < 4 else x
    root = numpy.sqrt(numpy.mean(wide * wide, axis=axes, keepdims=True) + epsilon)
    return (wide / root).astype(x.dtype) * scale


@rule("GroupNormalization", since=21)
@size_agnostic
def group_normalization(
    x: Value, scale: Value, bias: Value, epsilon: float = 1e-5, num_groups: int = 1, stash_type: int = 1
) -> Value:
    """Groups of channels of each item by their own statistics."""
    wide = x.astype("float32") if stash_type == 1 and x.dtype.itemsize < 4 else x
    groups = wide.reshape((x.shape[0], num_groups, -1))
    normal = _standardized(groups, (2,), epsilon)[0].reshape(x.shape).astype(x.dtype)
    return normal * along(scale, 1, x.ndim) + along(bias, 1, x.ndim)


@rule("MeanVarianceNormalization")
def mean_variance_normalization(x: Value, axes: tuple[int, ...] = (0, 2, 3)) -> Value:
    """Mean 0 and variance 1 over some axes."""
    mean = numpy.mean(x, axis=axes, keepdims=True)
    centered = x - mean
    return centered / (numpy.sqrt(numpy.mean(centered * centered, axis=axes, keepdims=True)) + 1e-9)


@rule("LRN")
def local_response_normalization(
    x: Value, size: int = 1, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Value:
    """By the squares of channels nearby."""
    before = (size - 1) // 2
    widths = [(0, 0)] * x.ndim
    widths[1] = (before, size - 1 - before)
    squares = numpy.pad(x * x, widths)
    total: Value = 0
    for n in range(size):
        total = total + squares[:, n : n + size_of(x, 1)]
    return x / numpy.power(total * (alpha / size) + bias, numpy.array(beta, x.dtype))


@rule("LpNormalization")
def lp_normalization(x: Value, axis: int = -1, p: int = 2) -> Value:
    """By the p-norm along an axis, zero where that is zero."""
    if p == 1:
        norm = numpy.sum(numpy.absolute(x), axis=axis, keepdims=True)
    else:
        norm = numpy.sqrt(numpy.sum(x * x, axis=axis, keepdims=True))
    return numpy.where(
        numpy.equal(norm, 0), numpy.zeros((), x.dtype), x / numpy.where(numpy.equal(norm, 0), 1, norm)
    )


@rule("Dropout", several=True)
def dropout(
    x: Value,
    ratio: Value = None,
    training_mode: Static = None,
    seed: int | None = None,  # no two libraries draw alike
    outputs: int = 1,
    is_test: int = 1,  # of opset 6, where only prediction makes sense
) -> tuple[Value, ...]:
    """Nothing, but for graphs that say that they train and drop some: what is dropped is drawn by nobody else."""
    trains = training_mode is not None and bool(number(training_mode))
    share = (
        0.5
        if ratio is None
        else (number(ratio) if is_known(ratio) or not hasattr(ratio, "reshape") or trains else 0.5)
    )
    if trains and share:
        mask = npx.dropout(numpy.ones(x.shape, x.dtype), p=share, mode="always") * (1 - share)
        return x * mask / (1 - share), numpy.greater(mask, 0)
    return (x,) if outputs == 1 else (x, numpy.ones(x.shape, bool))


# -- losses --------------------------------------------------------------------------------------------------------


@rule("NegativeLogLikelihoodLoss")
def negative_log_likelihood(
    log_prob: Value,
    target: Value,
    weight: Value = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Value:
    """What the right classes lack."""
    kept = None if ignore_index is None else numpy.not_equal(target, ignore_index)
    classes = target if kept is None else numpy.where(kept, target, numpy.zeros((), target.dtype))
    wanted = numpy.expand_dims(classes.astype("int64"), 1)
    places = along(numpy.arange(size_of(log_prob, 1)), 1, log_prob.ndim)
    hits = numpy.equal(wanted, places).astype(log_prob.dtype)
    each = -numpy.sum(log_prob * hits, axis=1)
    if weight is None and kept is None:
        return {"none": lambda: each, "sum": lambda: numpy.sum(each), "mean": lambda: numpy.mean(each)}[
            reduction
        ]()
    weights = (
        numpy.ones((), log_prob.dtype)
        if weight is None
        else numpy.sum(along(weight, 1, log_prob.ndim) * hits, axis=1)
    )
    weights = weights if kept is None else weights * kept.astype(log_prob.dtype)
    each = each * weights
    if reduction == "none":
        return each
    total = numpy.sum(each)
    return total if reduction == "sum" else total / numpy.sum(weights)


@rule("SoftmaxCrossEntropyLoss", several=True)
def softmax_cross_entropy(
    scores: Value,
    labels: Value,
    weights: Value = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> tuple[Value, Value]:
    """The loss of the logarithms of softmax, and these."""
    log_prob = npx.log_softmax(scores, axis=1)
    return negative_log_likelihood(log_prob, labels, weights, ignore_index, reduction), log_prob


@rule("Bernoulli")
def bernoulli(x: Value, dtype: int | None = None, seed: float | None = None) -> Value:
    """True as often as an element says."""
    drawn = random.uniform(size=tuple(x.shape))
    return numpy.less(drawn, x).astype(x.dtype if dtype is None else dtype_of(dtype))
