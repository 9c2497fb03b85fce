"""Layers that bring their input to mean 0 and variance 1 (or a mean square of 1), and then scale and shift it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy

from blockfuse.array import npx
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.nn.block import Block
from blockfuse.nn.initializers import Init
from blockfuse.nn.layers.counts import count_of
from blockfuse.nn.layers.inputs import array_for
from blockfuse.nn.parameter import Parameter


class Normalization(Block):
    """What all of them have: numbers for each element of an axis, the channels, whose count the first call may tell."""

    _least_axes = 1  # of an input

    _torch_names: ClassVar[dict[str, str]] = {"gamma": "weight", "beta": "bias"}

    def __init__(self, axis: int, epsilon: float, in_channels: int, prefix: str | None, params: Any) -> None:
        super().__init__(prefix, params)
        self.axis, self.epsilon = axis, epsilon
        self._in_channels = count_of(type(self).__name__, "in_channels", in_channels, least=0)

    def _of_channels(self, name: str, init: Init, learned: bool) -> Parameter:
        """One number for each channel."""
        return Parameter(
            name, shape=(self._in_channels,), init=init, allow_deferred_init=True, differentiable=learned
        )

    @size_agnostic
    def infer_shape(self, x: Any) -> None:
        for parameter in self._reg_params.values():
            parameter.shape = (self._channels(x),)

    @size_agnostic
    def _channels(self, x: Any) -> int:
        """How many channels ``x`` has."""
        shape = array_for(self, x).shape
        if len(shape) < self._least_axes or not -len(shape) <= self.axis < len(shape):
            raise ShapeError(
                f"{self._label} expects {self._least_axes} axes or more, and channels along axis {self.axis}; found an "
                f"input of shape {shape}"
            )
        return shape[self.axis]

    @size_agnostic
    def _check(self, x: Any) -> None:
        channels, wanted = self._channels(x), next(iter(self._reg_params.values())).data().size
        if channels != wanted:
            raise ShapeError(
                f"{self._label} expects {wanted} elements along axis {self.axis % x.ndim}; found {channels} in an input "
                f"of shape {x.shape}"
            )

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self._settings().items())
        channels = (next(iter(self._reg_params.values())).shape or (-1,))[0]
        return f"{type(self).__name__}({settings}, in_channels={channels})"

    def _settings(self) -> dict[str, Any]:
        """What ``repr`` shows, as Gluon names it."""
        return {"axis": self.axis, "eps": self.epsilon}


class Affine(Normalization):
    """Those that scale by gamma and shift by beta. center, scale: whether beta and gamma are learned."""

    def __init__(
        self,
        axis: int,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: Init,
        gamma_initializer: Init,
        in_channels: int,
        prefix: str | None,
        params: Any,
    ) -> None:
        super().__init__(axis, epsilon, in_channels, prefix, params)
        self.center, self.scale = center, scale
        self.gamma = self._of_channels("gamma", gamma_initializer, scale)
        self.beta = self._of_channels("beta", beta_initializer, center)


class BatchNorm(Affine):
    """Brings each channel to mean 0 and variance 1 over all other axes (Ioffe and Szegedy 2015); shapes stay.

    In training it takes mean and variance of the batch, and lets the parameters ``running_mean`` and ``running_var`` follow
    them; in prediction it takes these: ``(x - mean) / sqrt(var + epsilon) * gamma + beta``. See ``npx.batch_norm``.

    axis: the channels. momentum: the share of the running statistics that each batch leaves.
    epsilon: is added to variances.
    center, scale: whether beta and gamma are learned; False leaves them 0 and 1.
    use_global_stats: take the running statistics in training, too, and leave them.
    beta_initializer, gamma_initializer, running_mean_initializer, running_variance_initializer: what draws the first values
    of the parameters, which are (channels,).
    in_channels: the number of channels; 0 learns it in the first call.

    A call raises ShapeError for another number of channels.

    >>> from blockfuse import autograd, nn, np
    >>> nn.BatchNorm(in_channels=3)
    BatchNorm(axis=1, eps=1e-05, momentum=0.9, fix_gamma=False, use_global_stats=False, in_channels=3)
    >>> net = nn.BatchNorm()
    >>> net.initialize()
    >>> with autograd.train_mode():
    ...     net(np.array([[1, 10], [3, 30]])).round(2)
    array([[-1., -1.],
           [ 1.,  1.]])
    """

    def __init__(
        self,
        axis: int = 1,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        use_global_stats: bool = False,
        beta_initializer: Init = "zeros",
        gamma_initializer: Init = "ones",
        running_mean_initializer: Init = "zeros",
        running_variance_initializer: Init = "ones",
        in_channels: int = 0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, in_channels, prefix, params
        )
        self.momentum, self.use_global_stats = momentum, use_global_stats
        self.running_mean = self._of_channels("running_mean", running_mean_initializer, learned=False)
        self.running_var = self._of_channels("running_var", running_variance_initializer, learned=False)

    def cast(self, dtype: Any) -> None:
        """Change the dtype of all parameters; ``"float16"`` leaves them float32, as running statistics need the digits."""
        super().cast("float32" if numpy.dtype(dtype) == numpy.float16 else dtype)

    @size_agnostic
    def forward(self, x: Any) -> Any:
        self._check(x)
        return npx.batch_norm(
            x,
            self.gamma.data(),
            self.beta.data(),
            self.running_mean.data(),
            self.running_var.data(),
            eps=self.epsilon,
            momentum=self.momentum,
            fix_gamma=not self.scale,
            use_global_stats=self.use_global_stats,
            axis=self.axis,
        )

    def _settings(self) -> dict[str, Any]:
        return {
            **super()._settings(),
            "momentum": self.momentum,
            "fix_gamma": not self.scale,
            "use_global_stats": self.use_global_stats,
        }


class BatchNormReLU(BatchNorm):
    """``BatchNorm``, and ``relu`` of its result: Gluon's layer for the two. Arguments and errors are those of ``BatchNorm``.

    >>> from blockfuse import autograd, nn, np
    >>> net = nn.BatchNormReLU()
    >>> net.initialize()
    >>> with autograd.train_mode():
    ...     net(np.array([[1, 10], [3, 30]])).round(2)
    array([[0., 0.],
           [1., 1.]])
    """

    @size_agnostic
    def forward(self, x: Any) -> Any:
        return npx.relu(super().forward(x))


class SyncBatchNorm(BatchNorm):
    """``BatchNorm`` with axis 1, which Gluon has for the statistics of several devices: on one machine they are the same.

    num_devices: taken for Gluon's sake. All other arguments, and errors, are those of ``BatchNorm``.

    >>> from blockfuse import nn, np
    >>> net = nn.SyncBatchNorm()
    >>> net.initialize()
    >>> net(np.ones((2, 3, 4, 4))).shape
    (2, 3, 4, 4)
    """

    def __init__(
        self,
        in_channels: int = 0,
        num_devices: int | None = None,  # noqa: ARG002
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        use_global_stats: bool = False,
        beta_initializer: Init = "zeros",
        gamma_initializer: Init = "ones",
        running_mean_initializer: Init = "zeros",
        running_variance_initializer: Init = "ones",
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(
            1,
            momentum,
            epsilon,
            center,
            scale,
            use_global_stats,
            beta_initializer,
            gamma_initializer,
            running_mean_initializer,
            running_variance_initializer,
            in_channels,
            prefix,
            params,
        )


class LayerNorm(Affine):
    """Brings an axis to mean 0 and variance 1, then scales by gamma and shifts by beta (Ba et al. 2016); shapes stay.

    axis: that of the elements which are one row; gamma and beta have its size.
    epsilon: is added to variances.
    center, scale: whether beta and gamma are learned; False leaves them 0 and 1.
    beta_initializer, gamma_initializer: what draws their first values.
    in_channels: the size of the axis; 0 learns it in the first call.

    A call raises ShapeError for another size.

    >>> from blockfuse import nn, np
    >>> net = nn.LayerNorm()
    >>> net.initialize()
    >>> net(np.array([[1, 3], [10, 30]])).round(2)
    array([[-1.,  1.],
           [-1.,  1.]])
    """

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Init = "zeros",
        gamma_initializer: Init = "ones",
        in_channels: int = 0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, in_channels, prefix, params
        )

    @size_agnostic
    def forward(self, x: Any) -> Any:
        self._check(x)
        return npx.layer_norm(x, self.gamma.data(), self.beta.data(), axis=self.axis, eps=self.epsilon)


class GroupNorm(Affine):
    """Brings each of ``num_groups`` groups of the channels (axis 1) of each item to mean 0 and variance 1, then scales and
    shifts each channel (Wu and He 2018); shapes stay.

    in_channels: the number of channels; 0 learns it in the first call. Other arguments: those of ``LayerNorm``.

    Raises UsageError for channels that the groups do not divide; a call raises ShapeError for such, and for another number.

    >>> from blockfuse import nn, np
    >>> net = nn.GroupNorm(num_groups=2)
    >>> net.initialize()
    >>> net(np.array([[1, 3, 10, 30]])).round(2)
    array([[-1.,  1., -1.,  1.]])
    """

    _least_axes = 2

    def __init__(
        self,
        num_groups: int = 1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Init = "zeros",
        gamma_initializer: Init = "ones",
        in_channels: int = 0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(
            1, epsilon, center, scale, beta_initializer, gamma_initializer, in_channels, prefix, params
        )
        num_groups = count_of(type(self).__name__, "num_groups", num_groups)
        if in_channels % num_groups:
            raise UsageError(
                f"GroupNorm needs groups of equal size; found num_groups={num_groups}, in_channels={in_channels}"
            )
        self.num_groups = num_groups

    @size_agnostic
    def infer_shape(self, x: Any) -> None:
        self._check_groups(x)
        super().infer_shape(x)

    @size_agnostic
    def _check_groups(self, x: Any) -> None:
        if self._channels(x) % self.num_groups:
            raise ShapeError(
                f"{self._label} expects channels (axis 1) in {self.num_groups} groups of equal size; found an input of "
                f"shape {x.shape}"
            )

    @size_agnostic
    def forward(self, x: Any) -> Any:
        self._check(x)
        self._check_groups(x)
        return npx.group_norm(x, self.gamma.data(), self.beta.data(), self.num_groups, eps=self.epsilon)

    def _settings(self) -> dict[str, Any]:
        return {"num_groups": self.num_groups, "eps": self.epsilon}


class InstanceNorm(Affine):
    """Brings each channel (``axis``) of each item to mean 0 and variance 1, then shifts it, and scales it if ``scale`` asks
    for it (Ulyanov et al. 2016); shapes stay.

    axis: not 0, the batch, otherwise UsageError. Other arguments: those of ``LayerNorm``.

    A call raises ShapeError for fewer than three axes, and for another number of channels.

    >>> from blockfuse import nn, np
    >>> net = nn.InstanceNorm()
    >>> net.initialize()
    >>> net(np.array([[[1, 3], [10, 30]]])).round(2)
    array([[[-1.,  1.],
            [-1.,  1.]]])
    """

    _least_axes = 3

    def __init__(
        self,
        axis: int = 1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = False,
        beta_initializer: Init = "zeros",
        gamma_initializer: Init = "ones",
        in_channels: int = 0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, in_channels, prefix, params
        )
        if axis == 0:
            raise UsageError("InstanceNorm: axis 0 is the batch, and cannot be the channels as well")

    @size_agnostic
    def forward(self, x: Any) -> Any:
        self._check(x)
        return npx.instance_norm(x, self.gamma.data(), self.beta.data(), eps=self.epsilon, axis=self.axis)


class RMSNorm(Normalization):
    """Brings an axis to a mean square of 1, then scales by gamma (Zhang and Sennrich 2019); shapes stay.

    scale: whether gamma is learned; False leaves it 1. Other arguments, and errors: those of ``LayerNorm``.

    >>> from blockfuse import nn, np
    >>> net = nn.RMSNorm()
    >>> net.initialize()
    >>> net(np.array([[3, 4]])).round(2)
    array([[0.85, 1.13]])
    """

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-5,
        scale: bool = True,
        gamma_initializer: Init = "ones",
        in_channels: int = 0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(axis, epsilon, in_channels, prefix, params)
        self.gamma = self._of_channels("gamma", gamma_initializer, scale)

    @size_agnostic
    def forward(self, x: Any) -> Any:
        self._check(x)
        return npx.rms_norm(x, self.gamma.data(), axis=self.axis, eps=self.epsilon)
