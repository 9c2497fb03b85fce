"""Activations of neural networks: functions of each element, and the choice among them by name."""

from __future__ import annotations

from collections.abc import Callable

from blockfuse.array.arguments import ArrayLike
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.elementwise import relu, sigmoid, softplus
from blockfuse.array.functions.shaping import reshape
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import UsageError
from blockfuse.ir.operators import neural, pointwise


def _tanh(x: ArrayLike) -> ndarray:
    return pointwise.tanh(asarray(x))


def log_sigmoid(x: ArrayLike) -> ndarray:
    """``log(sigmoid(x))`` without overflow.

    x: an array of any shape.

    Returns its shape; floats keep their dtype, others give float64.

    >>> from blockfuse import np, npx
    >>> npx.log_sigmoid(np.array([-1000, 1000]))
    array([-1000.,    -0.])
    """
    return neural.log_sigmoid(asarray(x))


def softsign(x: ArrayLike) -> ndarray:
    """``x / (1 + abs(x))`` (Turian, Bergstra and Bengio 2009).

    x: an array of any shape.

    Returns its shape; floats keep their dtype, others give float64.

    >>> from blockfuse import np, npx
    >>> npx.softsign(np.array([-1, 0, 3]))
    array([-0.5 ,  0.  ,  0.75])
    """
    return neural.softsign(asarray(x))


def silu(x: ArrayLike) -> ndarray:
    """``x * sigmoid(x)`` (Elfwing, Uchibe and Doya 2018).

    x: an array of any shape.

    Returns its shape; floats keep their dtype, others give float64.

    >>> from blockfuse import np, npx
    >>> npx.silu(np.array([-1, 0, 1])).round(3)
    array([-0.269,  0.   ,  0.731])
    """
    return neural.silu(asarray(x))


def mish(x: ArrayLike) -> ndarray:
    """``x * tanh(softplus(x))`` (Misra 2019).

    x: an array of any shape.

    Returns its shape; floats keep their dtype, others give float64.

    >>> from blockfuse import np, npx
    >>> npx.mish(np.array([-1, 0, 1])).round(3)
    array([-0.303,  0.   ,  0.865])
    """
    return neural.mish(asarray(x))


def gelu(x: ArrayLike, approximation: str = "erf") -> ndarray:
    """``x`` times the share of the normal distribution below it (Hendrycks and Gimpel 2016).

    x: an array of any shape.
    approximation: 'erf' (exact) or 'tanh'.

    Returns its shape; floats keep their dtype, others give float64. Raises UsageError for other approximations.

    >>> from blockfuse import np, npx
    >>> npx.gelu(np.array([-1, 0, 1])).round(3)
    array([-0.159,  0.   ,  0.841])
    """
    if approximation not in ("erf", "tanh"):
        raise UsageError(f"approximation={approximation!r}; use 'erf' or 'tanh'")
    return neural.gelu(asarray(x), approximate=approximation == "tanh")


# act_type -> function
_ACTIVATIONS: dict[str, Callable[..., ndarray]] = {
    "relu": relu,
    "sigmoid": sigmoid,
    "tanh": _tanh,
    "softrelu": softplus,
    "softsign": softsign,
    "log_sigmoid": log_sigmoid,
    "mish": mish,
    "gelu": gelu,
    "silu": silu,
    "swish": silu,
}


def activation(data: ArrayLike, act_type: str = "relu") -> ndarray:
    """The activation of a given name.

    data: an array of any shape.
    act_type: 'relu', 'sigmoid', 'tanh', 'softrelu' (``softplus``), 'softsign', 'log_sigmoid', 'mish', 'gelu', 'silu' or
    'swish' (``silu``).

    Returns the shape of ``data``, in the dtype that the function of that name gives. Raises UsageError with the list of
    names.

    >>> from blockfuse import np, npx
    >>> npx.activation(np.array([-1, 2]), "relu")
    array([0., 2.])
    """
    if act_type not in _ACTIVATIONS:
        raise UsageError(f"there is no activation {act_type!r}; use one of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[act_type](data)


# Klambauer et al. 2017, section 2: the fixed point at mean 0 and variance 1.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def leaky_relu(
    data: ArrayLike, gamma: ArrayLike | None = None, act_type: str = "leaky", slope: float = 0.25
) -> ndarray:
    """A rectifier with something left below zero.

    data: an array of any shape; with 'prelu' (batch, channels, ...).
    act_type: 'leaky' (``slope * x`` there), 'prelu' (``gamma * x``, gamma along axis 1; He et al. 2015), 'elu'
    (``slope`` times ``exp(x) - 1``; Clevert et al. 2016), 'selu' (Klambauer et al. 2017), 'gelu' (also 'gelu_erf' and
    'gelu_tanh').

    Returns the shape of ``data``; floats keep their dtype, others give float64, but 'prelu' what ``data`` and gamma
    promote to. Raises UsageError for other types, and for 'prelu' without gamma.

    >>> from blockfuse import np, npx
    >>> npx.leaky_relu(np.array([-2, 0, 3]), slope=0.1)
    array([-0.2,  0. ,  3. ])
    """
    x = asarray(data)
    if act_type == "leaky":
        return neural.leaky_relu(x, slope=float(slope))
    if act_type == "elu":
        return neural.elu(x, alpha=float(slope))
    if act_type == "selu":
        return neural.elu(x, alpha=_SELU_ALPHA) * _SELU_SCALE
    if act_type.startswith("gelu"):
        return gelu(x, "tanh" if act_type == "gelu_tanh" else "erf")
    if act_type == "prelu":
        return _prelu(x, gamma)
    raise UsageError(f"act_type={act_type!r}; use leaky, prelu, elu, selu or gelu")


def _prelu(x: ndarray, gamma: ArrayLike | None) -> ndarray:
    if gamma is None:
        raise UsageError("leaky_relu with act_type='prelu' needs gamma")
    slope = asarray(gamma)
    if slope.ndim == 1 and x.ndim > 1 and slope.size > 1:
        slope = reshape(slope, (slope.size, *(1,) * (x.ndim - 2)))
    return pointwise.where(pointwise.greater(x, 0), x, x * slope)


def smooth_l1(data: ArrayLike, scalar: float = 1.0) -> ndarray:
    """``(scalar * x) ** 2 / 2`` near zero, ``abs(x) - 0.5 / scalar ** 2`` from ``1 / scalar ** 2`` on (Girshick 2015,
    equation 3).

    data: an array of any shape.

    Returns its shape; floats keep their dtype, others give float64.

    >>> from blockfuse import np, npx
    >>> npx.smooth_l1(np.array([-2, 0.5, 3]))
    array([1.5  , 0.125, 2.5  ])
    """
    x = neural.floated(asarray(data))
    size, edge = pointwise.absolute(x), 1.0 / scalar**2
    return pointwise.where(pointwise.less(size, edge), pointwise.square(x * scalar) * 0.5, size - 0.5 * edge)
