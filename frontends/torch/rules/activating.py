"""Rules of activations."""

from __future__ import annotations

import math
from typing import Any

from blockfuse.array import np, npx
from blockfuse.frontends.torch.rules.table import Array, Tensor, rule
from blockfuse.frontends.torch.rules.values import axis_of, cast, refuse_if, shape_of


@rule("gelu")
def gelu(like: Tensor, x: Array, *, approximate: str = "none") -> Array:
    """Hendrycks and Gimpel 2016, exactly or by tanh."""
    if approximate == "none":
        return x * 0.5 * (1 + npx.erf(x * math.sqrt(0.5)))
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


@rule("silu")
def silu(like: Tensor, x: Array) -> Array:
    """``x sigmoid(x)``."""
    return x * npx.sigmoid(x)


@rule("mish")
def mish(like: Tensor, x: Array) -> Array:
    """``x tanh(softplus(x))``."""
    return x * np.tanh(npx.softplus(x))


@rule("softplus")
def softplus(like: Tensor, x: Array, beta: float = 1, threshold: float = 20) -> Array:
    """A smooth relu; a straight line from a threshold on."""
    soft = npx.softplus(x) if beta == 1 else npx.softplus(x * beta) / beta
    return np.where(x * beta > threshold, x, soft)


@rule("log_sigmoid", "logsigmoid")
def log_sigmoid(like: Tensor, x: Array) -> Array:
    """The logarithm of a sigmoid."""
    return -npx.softplus(-x)


@rule("leaky_relu")
def leaky_relu(like: Tensor, x: Array, negative_slope: float = 0.01) -> Array:
    """A relu that lets a part of what is below zero through."""
    return np.where(x > 0, x, x * negative_slope)


@rule("prelu", "_prelu_kernel")
def prelu(like: Tensor, x: Array, weight: Array) -> Array:
    """The same with a slope for each channel."""
    slopes = weight
    if len(shape_of(weight)) == 1 and x.ndim > 1 and shape_of(weight) != (1,):
        slopes = weight.reshape((-1, *(1,) * (x.ndim - 2)))
    return np.where(x > 0, x, x * slopes).reshape(tuple(like.shape))


@rule("elu")
def elu(like: Tensor, x: Array, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Array:
    """Clevert et al. 2016."""
    below = np.expm1(x * input_scale if input_scale != 1 else x) * (alpha * scale)
    return np.where(x > 0, x * scale if scale != 1 else x, below)


@rule("selu")
def selu(like: Tensor, x: Array) -> Array:
    """Klambauer et al. 2017."""
    return elu(like, x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946)


@rule("celu")
def celu(like: Tensor, x: Array, alpha: float = 1.0) -> Array:
    """Barron 2017."""
    return np.where(x > 0, x, np.expm1(x / alpha) * alpha)


@rule("hardtanh")
def hardtanh(like: Tensor, x: Array, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """Elements within bounds."""
    return np.minimum(np.maximum(x, min_val), max_val)


@rule("relu6")
def relu6(like: Tensor, x: Array) -> Array:
    """Elements from 0 to 6."""
    return np.minimum(np.maximum(x, 0), 6)


@rule("hardsigmoid")
def hardsigmoid(like: Tensor, x: Array) -> Array:
    """Straight lines in the place of a sigmoid."""
    return np.minimum(np.maximum(x + 3, 0), 6) / 6


@rule("hardswish")
def hardswish(like: Tensor, x: Array) -> Array:
    """Howard et al. 2019."""
    return x * np.minimum(np.maximum(x + 3, 0), 6) / 6


@rule("hardshrink")
def hardshrink(like: Tensor, x: Array, lambd: float = 0.5) -> Array:
    """Zero near zero."""
    return np.where((x >= -lambd) & (x <= lambd), np.zeros((), x.dtype), x)


@rule("softshrink")
def softshrink(like: Tensor, x: Array, lambd: float = 0.5) -> Array:
    """The same, with what is left moved towards zero."""
    zero = x * 0  # NaN stays
    return np.where(x > lambd, x - lambd, np.where(x < -lambd, x + lambd, zero))


@rule("threshold")
def threshold(like: Tensor, x: Array, threshold: float, value: float) -> Array:
    """A value in the place of what is not above a threshold."""
    return np.where(x <= threshold, np.full((), value, x.dtype), x)


@rule("glu")
def glu(like: Tensor, x: Array, dim: int = -1) -> Array:
    """Dauphin et al. 2017: one half times the sigmoid of the other."""
    axis = axis_of(dim, x.ndim)
    half = shape_of(x)[axis] // 2
    before = (slice(None),) * axis
    return x[(*before, slice(0, half))] * npx.sigmoid(x[(*before, slice(half, None))])


@rule("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "native_dropout")
def dropout(like: Tensor, x: Array, p: float, train: bool) -> Array:
    """Nothing, where nobody trains."""
    refuse_if(train and p > 0, "draws")
    return cast(x, like.dtype)[...]


@rule("rrelu")
def rrelu(
    like: Tensor,
    x: Array,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    generator: Any = None,
) -> Array:
    """Outside of training the mean of the slopes."""
    refuse_if(training, "draws")
    return leaky_relu(like, x, (lower + upper) / 2)
