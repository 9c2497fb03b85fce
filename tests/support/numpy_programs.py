"""What random programs mean in plain NumPy: the namespaces ``np`` and ``npx`` without blockfuse, but for random draws."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy

from blockfuse import np as ours
from blockfuse import npx as our_npx

Array = Any  # numpy.ndarray, or a number of NumPy's


def _floats(x: Array) -> Array:
    """Whole numbers become float64, as where NumPy divides."""
    return x if x.dtype.kind == "f" else x.astype("float64")


def relu(x: Array) -> Array:
    return numpy.maximum(x, numpy.zeros((), x.dtype))


def sigmoid(x: Array) -> Array:
    return (1 / (1 + numpy.exp(-_floats(x).astype("float64")))).astype(_floats(x).dtype)


def each(function: Callable[[float], float]) -> Callable[[Array], Array]:
    """A function of one number, element by element."""

    def of(x: Array) -> Array:
        x = numpy.asarray(x)
        found = numpy.array([function(float(v)) for v in x.ravel()], "float64").reshape(x.shape)
        return found.astype(_floats(x).dtype)

    return of


erf = each(math.erf)


def softplus(x: Array) -> Array:
    return numpy.logaddexp(_floats(x), _floats(x) * 0)


def silu(x: Array) -> Array:
    return x * sigmoid(x)


def digamma(x: float) -> float:
    """Of a positive number, by its recurrence and its expansion."""
    below = 0.0
    while x < 12:
        below, x = below - 1 / x, x + 1
    series = 1 / 12 - (1 / 120 - (1 / 252 - (1 / 240 - 1 / 132 / x**2) / x**2) / x**2) / x**2
    return below + math.log(x) - 0.5 / x - series / x**2


def erfinv(x: float) -> float:
    """By the quantiles of the normal distribution; of zero with its sign."""
    return x and NormalDist().inv_cdf((x + 1) / 2) / math.sqrt(2)


def gelu(x: Array, approximation: str = "erf") -> Array:
    if approximation == "tanh":
        return 0.5 * x * (1 + numpy.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))
    return x * (1 + erf(x / math.sqrt(2))) / 2


def leaky_relu(data: Array, act_type: str = "leaky", slope: float = 0.25) -> Array:
    if act_type == "leaky":
        return numpy.where(data > 0, data, data * slope)
    scale, alpha = (1.0, slope) if act_type == "elu" else (1.0507009873554805, 1.6732632423543772)
    x = _floats(data)
    return scale * numpy.where(x > 0, x, alpha * numpy.expm1(numpy.minimum(x, 0)))


def smooth_l1(x: Array) -> Array:
    return numpy.where(abs(x) < 1, x * x * 0.5, abs(x) - 0.5)


def softmax(x: Array, axis: int = -1, temperature: float | None = None) -> Array:
    return numpy.exp(log_softmax(x, axis, temperature))


def log_softmax(x: Array, axis: int = -1, temperature: float | None = None) -> Array:
    values = _floats(x if temperature is None else x / temperature)
    values = values - values.max(axis=axis, keepdims=True)
    return values - numpy.log(numpy.exp(values).sum(axis=axis, keepdims=True))


def masked_softmax(x: Array, mask: Array) -> Array:
    """No shares where no element of a row counts."""
    kept = numpy.broadcast_to(mask, x.shape)
    with numpy.errstate(all="ignore"):
        shares = softmax(numpy.where(kept, x, numpy.asarray(-math.inf, x.dtype)))
    return numpy.where(kept, shares, numpy.asarray(0, x.dtype))


def masked_log_softmax(x: Array, mask: Array) -> Array:
    kept = numpy.broadcast_to(mask, x.shape)
    with numpy.errstate(all="ignore"):
        logs = log_softmax(numpy.where(kept, x, numpy.asarray(-math.inf, x.dtype)))
    return numpy.where(kept, logs, numpy.asarray(-math.inf, x.dtype))


def _wide(x: Array) -> Array:
    return x.astype("float32") if x.dtype == numpy.float16 else x


def _standard(x: Array, axis: Any, eps: float) -> Array:
    return (x - x.mean(axis=axis, keepdims=True)) / numpy.sqrt(x.var(axis=axis, keepdims=True) + eps)


def layer_norm(x: Array, gamma: Array, beta: Array, axis: int = -1, eps: float = 1e-5) -> Array:
    return _standard(x, axis, eps) * gamma + beta


def rms_norm(x: Array, gamma: Array, eps: float) -> Array:
    """Along the last axis."""
    wide = _wide(x)
    values = wide / numpy.sqrt((wide * wide).mean(axis=-1, keepdims=True) + eps) * gamma
    return values.astype(numpy.result_type(x, gamma))


def instance_norm(x: Array, gamma: Array, beta: Array, eps: float, axis: int = 1) -> Array:
    """Of a stack of matrices."""
    found = _standard(_wide(x), 2 if axis == 1 else 1, eps)
    spread = (lambda v: v[:, None]) if axis == 1 else (lambda v: v)
    return (found * spread(gamma) + spread(beta)).astype(numpy.result_type(x, gamma, beta))


def group_norm(x: Array, gamma: Array, beta: Array, num_groups: int, eps: float) -> Array:
    """Of a table."""
    parts = [_standard(part, 1, eps) for part in numpy.split(_wide(x), num_groups, axis=1)]
    return (numpy.concatenate(parts, 1) * gamma + beta).astype(numpy.result_type(x, gamma, beta))


def batch_norm(
    x: Array,
    gamma: Array,
    beta: Array,
    mean: Array,
    variance: Array,
    eps: float,
    fix_gamma: bool = True,
    axis: int = -1,
) -> Array:
    assert axis == -1
    scale = (1 if fix_gamma else gamma) / numpy.sqrt(variance + eps)
    values = (_wide(x) - mean) * scale + beta
    return values.astype(x.dtype) if x.dtype == numpy.float16 else values


def logsumexp(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    values = _floats(x)
    top = values.max(axis=axis, keepdims=True)
    found = numpy.log(numpy.exp(values - top).sum(axis=axis, keepdims=True)) + top
    return found if keepdims else numpy.squeeze(found, tuple(range(x.ndim)) if axis is None else axis)


def fully_connected(x: Array, weight: Array, bias: Array | None = None, flatten: bool = True) -> Array:
    data = x.reshape(x.shape[0], -1) if flatten else x
    return data @ weight.T if bias is None else data @ weight.T + bias


def batch_dot(a: Array, b: Array, transpose_b: bool = False) -> Array:
    return a @ (numpy.swapaxes(b, -1, -2) if transpose_b else b)


def embedding(data: Array, weight: Array) -> Array:
    return weight[data.astype("int64")]


def one_hot(data: Array, depth: int) -> Array:
    return (data.astype("int64")[..., None] == numpy.arange(depth)).astype("float32")


def pick(x: Array, index: Array, axis: int = -1, keepdims: bool = False) -> Array:
    places = numpy.clip(index, 0, x.shape[axis] - 1)
    if places.ndim < x.ndim:
        places = numpy.expand_dims(places, axis)
    picked = numpy.take_along_axis(x, places, axis)
    return picked if keepdims else numpy.squeeze(picked, axis)


def topk(x: Array, axis: int = -1, k: int = 1, ret_typ: str = "indices") -> Array:
    """Equal elements by place, so the order is that of a stable sort of what is negative."""
    rising = -x if x.dtype.kind in "fi" else numpy.iinfo("int64").max - x.astype("int64")
    first = numpy.argsort(rising, axis=axis, kind="stable")
    first = numpy.take(first, numpy.arange(min(k, x.shape[axis])), axis=axis)
    if ret_typ == "mask":
        mask = numpy.zeros_like(x)
        numpy.put_along_axis(mask, first, 1, axis)
        return mask
    return numpy.take_along_axis(x, first, axis) if ret_typ == "value" else first.astype("float32")


def arange_like(x: Array, axis: int | None = None) -> Array:
    dtype = x.dtype if x.dtype.kind == "f" else "float32"
    line = numpy.arange(x.size if axis is None else x.shape[axis], dtype=dtype)
    return line.reshape(x.shape) if axis is None else line


def sequence_mask(x: Array, lengths: Array, use: bool) -> Array:
    assert use
    time = numpy.arange(x.shape[0]).reshape(-1, *(1,) * (x.ndim - 1))
    return numpy.where(time < lengths.reshape(1, -1, *(1,) * (x.ndim - 2)), x, numpy.asarray(0, x.dtype))


def sequence_reverse(x: Array, lengths: Array, use: bool) -> Array:
    assert use
    turned = x.copy()
    for n, length in enumerate(lengths):
        turned[:length, n] = x[:length, n][::-1]
    return turned


def sequence_last(x: Array, lengths: Array, use: bool) -> Array:
    assert use
    return x[lengths - 1, numpy.arange(x.shape[1])]


def _take(a: Array, indices: Array, axis: int | None = None, mode: str = "raise") -> Array:
    """NumPy's, with float indices as Gluon has them."""
    places = indices if indices.dtype.kind in "iu" else indices.astype("int64")
    return numpy.take(a, places, axis=axis, mode=mode)


def _argsort(a: Array, axis: int | None = -1) -> Array:
    return numpy.argsort(a, axis=axis, kind="stable")


class _Draws:
    """Numbers of the product's own stream, as NumPy's arrays: what they should be is said in ``test_drawing.py``."""

    def __getattr__(self, name: str) -> Callable[..., Array]:
        return lambda *arguments, **options: getattr(ours.random, name)(*arguments, **options).asnumpy()


def _dropout(x: Array, p: float, mode: str, axes: Any = ()) -> Array:
    return our_npx.dropout(ours.array(x, dtype=x.dtype), p, mode, axes).asnumpy()


np = types.SimpleNamespace(**{**vars(numpy), "take": _take, "argsort": _argsort, "random": _Draws()})
npx = types.SimpleNamespace(
    relu=relu,
    sigmoid=sigmoid,
    erf=erf,
    softplus=softplus,
    silu=silu,
    digamma=each(digamma),
    erfinv=each(erfinv),
    gamma=each(math.gamma),
    gammaln=each(math.lgamma),
    gelu=gelu,
    mish=lambda x: x * numpy.tanh(softplus(x)),
    softsign=lambda x: x / (1 + abs(x)),
    log_sigmoid=lambda x: -softplus(x * -1),
    leaky_relu=leaky_relu,
    smooth_l1=smooth_l1,
    activation=lambda x, act_type: {"softrelu": softplus}[act_type](x),
    stop_gradient=lambda x: x,
    cast=lambda x, dtype: x.astype(dtype),
    softmax=softmax,
    log_softmax=log_softmax,
    masked_softmax=masked_softmax,
    masked_log_softmax=masked_log_softmax,
    layer_norm=layer_norm,
    rms_norm=rms_norm,
    instance_norm=instance_norm,
    group_norm=group_norm,
    batch_norm=batch_norm,
    dropout=_dropout,
    logsumexp=logsumexp,
    norm=numpy.linalg.norm,
    solve_triangular=lambda a, b, lower=False: numpy.linalg.solve(
        (numpy.tril if lower else numpy.triu)(a), b
    ),
    fully_connected=fully_connected,
    batch_dot=batch_dot,
    embedding=embedding,
    one_hot=one_hot,
    pick=pick,
    topk=topk,
    arange_like=arange_like,
    reshape_like=lambda x, y: x.reshape(y.shape),
    sequence_mask=sequence_mask,
    sequence_reverse=sequence_reverse,
    sequence_last=sequence_last,
)
NAMESPACES = {"np": np, "npx": npx}
