"""``npx``'s normalisations: by statistics of the values themselves, of a batch, or of batches before."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array import autograd, modes
from blockfuse.array.arguments import ArrayLike, one_axis
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.shaping import reshape
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.operators import normalization, pointwise, reductions


@size_agnostic
def layer_norm(
    data: ArrayLike, gamma: ArrayLike, beta: ArrayLike, axis: int = -1, eps: float = 1e-5
) -> ndarray:
    """Mean 0 and variance 1 along an axis, then times ``gamma`` plus ``beta`` (Ba et al. 2016).

    data: an array of one axis or more.
    gamma, beta: vectors along ``axis``.
    eps: what is added to the variance.

    Returns the shape of ``data``; floats keep the dtype that all promote to, others give float64. Raises ShapeError for
    vectors of another size.

    >>> from blockfuse import np, npx
    >>> npx.layer_norm(np.array([[1, 3], [10, 30]]), np.ones(2), np.zeros(2)).round(2)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    x = asarray(data)
    along = one_axis(axis, x.ndim)
    scale, shift = _along(gamma, x, along, "gamma"), _along(beta, x, along, "beta")
    return normalization.layer_norm(x, scale, shift, axis=(along,), epsilon=float(eps))


@size_agnostic
def rms_norm(data: ArrayLike, gamma: ArrayLike, axis: int = -1, eps: float = 1e-5) -> ndarray:
    """A mean square of 1 along an axis, then times ``gamma`` (Zhang and Sennrich 2019).

    data: an array of one axis or more.
    gamma: a vector along ``axis``.
    eps: what is added to the mean square.

    Returns the shape of ``data``; floats keep the dtype that both promote to, others give float64. Raises ShapeError
    for a vector of another size.

    >>> from blockfuse import np, npx
    >>> npx.rms_norm(np.array([[3, 4]]), np.ones(2)).round(2)
    array([[0.85, 1.13]])
    """
    x = asarray(data)
    along = one_axis(axis, x.ndim)
    return normalization.rms_norm(x, _along(gamma, x, along, "gamma"), axis=(along,), epsilon=float(eps))


@size_agnostic
def group_norm(
    data: ArrayLike, gamma: ArrayLike, beta: ArrayLike, num_groups: int = 1, eps: float = 1e-3
) -> ndarray:
    """Mean 0 and variance 1 in each of ``num_groups`` groups of channels of each item, then times ``gamma`` plus ``beta``
    (Wu and He 2018).

    data: (batch, channels, ...).
    gamma, beta: (channels,).
    eps: what is added to the variance.

    Returns the shape of ``data``; floats keep the dtype that all promote to, others give float64. Raises ShapeError
    where the channels are no multiple of the groups.

    >>> from blockfuse import np, npx
    >>> npx.group_norm(np.array([[1, 3, 10, 30]]), np.ones(4), np.zeros(4), num_groups=2).round(2)
    array([[-1.,  1., -1.,  1.]])
    """
    x = asarray(data)
    _need_axes(x, 2, "group_norm", "(batch, channels, ...)")
    batch, channels, *rest = x.shape
    if num_groups < 1 or channels % num_groups:
        raise ShapeError(
            f"{channels} channels of shape {x.shape} cannot be {num_groups} groups of equal size"
        )
    size = channels // num_groups
    grouped = reshape(x, (batch, num_groups, size, *rest))
    spread = (num_groups, size, *(1,) * len(rest))
    scale, shift = (
        reshape(_of_channels(v, channels, name), spread) for v, name in ((gamma, "gamma"), (beta, "beta"))
    )
    folded = tuple(range(2, grouped.ndim))
    return reshape(normalization.layer_norm(grouped, scale, shift, axis=folded, epsilon=float(eps)), x.shape)


@size_agnostic
def instance_norm(
    data: ArrayLike, gamma: ArrayLike, beta: ArrayLike, eps: float = 1e-3, axis: int = 1
) -> ndarray:
    """Mean 0 and variance 1 in each channel of each item, then times ``gamma`` plus ``beta`` (Ulyanov et al. 2016).

    data: (batch, channels, width, ...), with the channels along ``axis``.
    gamma, beta: (channels,).
    eps: what is added to the variance.

    Returns the shape of ``data``; floats keep the dtype that all promote to, others give float64. Raises ShapeError for
    fewer axes or other vectors, UsageError for axis 0.

    >>> from blockfuse import np, npx
    >>> npx.instance_norm(np.array([[[1, 3], [10, 30]]]), np.ones(2), np.zeros(2)).round(2)
    array([[[-1.,  1.],
            [-1.,  1.]]])
    """
    x = asarray(data)
    _need_axes(x, 3, "instance_norm", "(batch, channels, width, ...)")
    channel = one_axis(axis, x.ndim)
    if channel == 0:
        raise UsageError("instance_norm: axis 0 is the batch, and cannot be the channels as well")
    scale, shift = _along(gamma, x, channel, "gamma"), _along(beta, x, channel, "beta")
    folded = tuple(a for a in range(1, x.ndim) if a != channel)
    return normalization.layer_norm(x, scale, shift, axis=folded, epsilon=float(eps))


@size_agnostic
def batch_norm(
    x: ArrayLike,
    gamma: ArrayLike,
    beta: ArrayLike,
    running_mean: ndarray,
    running_var: ndarray,
    eps: float = 1e-3,
    momentum: float = 0.9,
    fix_gamma: bool = True,
    use_global_stats: bool = False,
    output_mean_var: bool = False,
    axis: int = 1,
    cudnn_off: bool = False,  # noqa: ARG001 - here and below: Gluon's choices of a kernel
    min_calib_range: float | None = None,  # noqa: ARG001
    max_calib_range: float | None = None,  # noqa: ARG001
) -> Any:
    """Each channel brought to mean 0 and variance 1, then times ``gamma`` (1 with ``fix_gamma``) plus ``beta`` (Ioffe and
    Szegedy 2015).

    x: (batch, channels, ...), with the channels along ``axis``.
    gamma, beta, running_mean, running_var: (channels,).
    eps: what is added to the variance.
    cudnn_off, min_calib_range, max_calib_range: Gluon's choices of a kernel, which mean nothing here.

    In training mean and variance (without Bessel's correction, which torch's running ones have) are those of the batch,
    and the running ones follow them: ``running = running * momentum + batch * (1 - momentum)``. In prediction, or with
    ``use_global_stats``, the running ones are used, and stay. float16 is computed in float32; whole numbers become
    floats.

    Returns the shape of ``x``, and its dtype where that is a float; with ``output_mean_var`` ``[result, mean, 1 /
    sqrt(variance + eps)]``, of which the last two are (channels,) and have no gradient. Raises ShapeError in training
    where a channel has no elements, as there is no mean of them.

    >>> from blockfuse import np, npx
    >>> one, zero = np.ones(2), np.zeros(2)
    >>> npx.batch_norm(np.array([[1, 2], [3, 4]]), one, zero, zero, one).round(2)
    array([[1., 2.],
           [3., 4.]])
    """
    given = asarray(x)
    data = given.astype(str(numpy.result_type(given.dtype, numpy.float32)), copy=False)
    channel = one_axis(axis, data.ndim)
    scale = 1 if fix_gamma else _along(gamma, data, channel, "gamma")
    shift = _along(beta, data, channel, "beta")
    if modes.is_training() and not use_global_stats:
        mean, variance = _statistics(data, channel)
        _follow({"running_mean": (running_mean, mean), "running_var": (running_var, variance)}, momentum)
    else:
        mean = _along(running_mean, data, channel, "running_mean")
        variance = _along(running_var, data, channel, "running_var")
    result = normalization.batch_norm(data, scale, shift, mean, variance, epsilon=float(eps))
    result = result.astype("float16") if given.dtype == numpy.float16 else result
    if not output_mean_var:
        return result
    inverse = 1 / pointwise.sqrt(variance + eps)
    return [result, *(reshape(v, (v.size,)).detach() for v in (mean, inverse))]


@size_agnostic
def _statistics(x: ndarray, channel: int) -> tuple[ndarray, ndarray]:
    """Mean and variance of each channel of a batch, in the shape of a batch of one."""
    folded = tuple(a for a in range(x.ndim) if a != channel)
    if 0 in (x.shape[a] for a in folded):
        raise ShapeError(
            f"batch_norm in training takes the mean of each channel (axis {channel}), and those of shape {x.shape} have no "
            f"elements: leave empty batches out"
        )
    mean = reductions.mean(x, axis=folded, keepdims=True)
    return mean, reductions.var(x, axis=folded, keepdims=True, ddof=0)


@size_agnostic
def _follow(states: dict[str, tuple[ndarray, ndarray]], momentum: float) -> None:
    """Write moving averages into the running ones, which are states and no operands: all of them or, if one does not fit,
    none. states: name -> the running one, that of the batch.
    """
    for name, (running, batch) in states.items():
        if type(running) is not ndarray:
            raise TypeError(
                f"batch_norm in training writes into {name}: give an ndarray, not {type(running).__name__}"
            )
        _of_channels(running, batch.size, name)
    with autograd.pause():
        for running, batch in states.values():
            running[...] = running * momentum + reshape(batch, running.shape) * (1 - momentum)


@size_agnostic
def _along(values: ArrayLike, x: ndarray, axis: int, name: str) -> ndarray:
    """A vector of one number for each index of an axis, in a shape that broadcasts against ``x``."""
    vector = _of_channels(values, x.shape[axis], name)
    shape = (vector.size, *(1,) * (x.ndim - axis - 1))
    return vector if vector.shape == shape else reshape(vector, shape)


@size_agnostic
def _of_channels(values: ArrayLike, channels: int, name: str) -> ndarray:
    vector = values if type(values) is ndarray else asarray(values)
    if vector.size != channels:
        raise ShapeError(f"{name} has shape {vector.shape}, and there are {channels} channels")
    return vector


@size_agnostic
def _need_axes(x: ndarray, count: int, what: str, shape: str) -> None:
    if x.ndim < count:
        raise ShapeError(f"{what} expects an input of shape {shape}; found shape {x.shape}")
