"""Rules of normalisations."""

from __future__ import annotations

from collections.abc import Sequence

from blockfuse.array import np
from blockfuse.frontends.torch.rules.table import Array, Tensor, rule
from blockfuse.frontends.torch.rules.values import refuse_if, shape_of
from blockfuse.ir.operators import normalization


def _along_channels(values: Array, ndim: int) -> Array:
    return values.reshape((-1, *(1,) * (ndim - 2))) if ndim > 2 else values


def _affine(x: Array, weight: Array | None, bias: Array | None) -> Array:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _standard(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    """Mean 0 and variance 1 along axes."""
    centred = x - np.mean(x, axis=axes, keepdims=True)
    return centred / np.sqrt(np.mean(np.square(centred), axis=axes, keepdims=True) + eps)


@rule("layer_norm")
def layer_norm(
    like: Tensor,
    x: Array,
    normalized_shape: Sequence[int],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Array:
    """Ba et al. 2016, along the last axes."""
    refuse_if(0 in shape_of(x), "no elements")
    axes = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    if weight is not None and bias is not None:
        return normalization.layer_norm(x, weight, bias, axis=axes, epsilon=float(eps))
    return _affine(_standard(x, axes, eps), weight, bias)


@rule("rms_norm")
def rms_norm(
    like: Tensor,
    x: Array,
    normalized_shape: Sequence[int],
    weight: Array | None = None,
    eps: float | None = None,
) -> Array:
    """Zhang and Sennrich 2019."""
    refuse_if(0 in shape_of(x), "no elements")
    axes = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    small = eps if eps is not None else float(np.finfo(x.dtype).eps)
    scaled = x / np.sqrt(np.mean(np.square(x), axis=axes, keepdims=True) + small)
    return _affine(scaled, weight, None)


@rule("batch_norm")
def batch_norm(
    like: Tensor,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Array:
    """Ioffe and Szegedy 2015, by running statistics or, where there are none, by those of the batch."""
    if training or running_mean is None or running_var is None:
        refuse_if(running_mean is not None, "running statistics are written")
        refuse_if(0 in shape_of(x), "no elements")
        normal = _standard(x, tuple(n for n in range(x.ndim) if n != 1), eps)
        return _affine(normal, *(None if v is None else _along_channels(v, x.ndim) for v in (weight, bias)))
    mean, var = (_along_channels(v, x.ndim) for v in (running_mean, running_var))
    one, zero = np.ones(shape_of(mean), mean.dtype), np.zeros(shape_of(mean), mean.dtype)
    scale = one if weight is None else _along_channels(weight, x.ndim)
    shift = zero if bias is None else _along_channels(bias, x.ndim)
    return normalization.batch_norm(x, scale, shift, mean, var, epsilon=float(eps))


@rule("group_norm")
def group_norm(
    like: Tensor,
    x: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Array:
    """Wu and He 2018."""
    shape = shape_of(x)
    refuse_if(0 in shape, "no elements")
    parts = x.reshape((shape[0], num_groups, -1))
    normal = _standard(parts, (2,), eps).reshape(shape)
    return _affine(normal, *(None if v is None else _along_channels(v, x.ndim) for v in (weight, bias)))


@rule("instance_norm")
def instance_norm(
    like: Tensor,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Array:
    """Ulyanov et al. 2016."""
    if not use_input_stats:
        return batch_norm(
            like, x, weight, bias, running_mean, running_var, False, momentum, eps, cudnn_enabled
        )
    refuse_if(running_mean is not None, "running statistics are written")
    refuse_if(0 in shape_of(x), "no elements")
    normal = _standard(x, tuple(range(2, x.ndim)), eps)
    return _affine(normal, *(None if v is None else _along_channels(v, x.ndim) for v in (weight, bias)))
