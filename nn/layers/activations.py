"""Layers that apply one function to each element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.operators import movement, neural, pointwise
from blockfuse.nn.block import Block
from blockfuse.nn.initializers import Constant, Init
from blockfuse.nn.layers.counts import count_of
from blockfuse.nn.layers.inputs import array_for
from blockfuse.nn.parameter import Parameter


def _gelu(x: Any) -> Any:
    return neural.gelu(x, approximate=False)


# name -> the function that ``Activation`` and ``activation=`` mean by it
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": neural.relu,
    "sigmoid": neural.sigmoid,
    "tanh": pointwise.tanh,
    "softrelu": neural.softplus,
    "softsign": neural.softsign,
    "log_sigmoid": neural.log_sigmoid,
    "mish": neural.mish,
    "gelu": _gelu,
    "silu": neural.silu,
}


def activation_named(name: str) -> Callable[[Any], Any]:
    """The function of that name; UsageError lists the names."""
    if name not in ACTIVATIONS:
        raise UsageError(f"there is no activation {name!r:.80}; use one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


class Activation(Block):
    """The activation of the given name, element by element: the result has the shape of the input.

    activation: ``"relu"``, ``"sigmoid"``, ``"tanh"``, ``"softrelu"`` (``log(1 + exp(x))``), ``"softsign"``,
    ``"log_sigmoid"``, ``"mish"``, ``"gelu"`` or ``"silu"``; otherwise UsageError. They are functions of ``npx``, which say
    what they do to dtypes.

    >>> from blockfuse import nn, np
    >>> nn.Activation("relu")
    Activation(relu)
    >>> nn.Activation("relu")(np.array([-1, 2]))
    array([0., 2.])
    """

    def __init__(self, activation: str, prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix, params)
        self._activate = activation_named(activation)
        self._activation = activation

    def forward(self, x: Any) -> Any:
        return self._activate(array_for(self, x))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._activation})"


class LeakyReLU(Block):
    """``x`` where it is positive, ``alpha * x`` elsewhere; in the shape of ``x``.

    alpha: the slope, 0 or more; otherwise UsageError.

    >>> from blockfuse import nn, np
    >>> nn.LeakyReLU(0.1)(np.array([-2, 0, 3]))
    array([-0.2,  0. ,  3. ])
    """

    def __init__(self, alpha: float, prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix, params)
        if alpha < 0:
            raise UsageError(f"LeakyReLU needs a slope that is not negative; found alpha={alpha}")
        self._alpha = alpha

    def forward(self, x: Any) -> Any:
        return neural.leaky_relu(array_for(self, x), slope=self._alpha)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._alpha})"


class PReLU(Block):
    """``x`` where it is positive, ``alpha * x`` elsewhere; alpha is learned, one for all or one a channel (He et al. 2015).

    alpha_initializer: what draws the first ``alpha``.
    in_channels: 1 for one slope, else the number of channels, along axis 1 of the input; ShapeError where it has others.

    >>> from blockfuse import nn, np
    >>> net = nn.PReLU()
    >>> net.initialize()
    >>> net(np.array([[-2, 0, 3]]))
    array([[-0.5,  0. ,  3. ]])
    """

    _torch_names: ClassVar[dict[str, str]] = {"alpha": "weight"}

    def __init__(
        self,
        alpha_initializer: Init = Constant(0.25),  # noqa: B008 - it is frozen
        in_channels: int = 1,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix, params)
        self.alpha = Parameter(
            "alpha", shape=(count_of("PReLU", "in_channels", in_channels),), init=alpha_initializer
        )

    def forward(self, x: Any) -> Any:
        alpha = self.alpha.data()
        if alpha.size > 1:
            if array_for(self, x).ndim < 2 or x.shape[1] != alpha.size:
                raise ShapeError(
                    f"{self._label} expects {alpha.size} channels along axis 1; found shape {x.shape}"
                )
            alpha = movement.reshape(alpha, shape=(alpha.size, *(1,) * (x.ndim - 2)))
        return pointwise.where(pointwise.greater(array_for(self, x), 0), x, alpha * x)


class ELU(Block):
    """``x`` where it is positive, ``alpha * (exp(x) - 1)`` elsewhere; in the shape of ``x`` (Clevert et al. 2016).

    >>> from blockfuse import nn, np
    >>> nn.ELU(alpha=0.5)(np.array([-100, 0, 2]))
    array([-0.5,  0. ,  2. ])
    """

    def __init__(self, alpha: float = 1.0, prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix, params)
        self._alpha = alpha

    def forward(self, x: Any) -> Any:
        return neural.elu(array_for(self, x), alpha=self._alpha)


class SELU(Block):
    """The scaled ELU that keeps mean 0 and variance 1 (Klambauer et al. 2017); in the shape of ``x``.

    ``1.0507 * x`` where ``x`` is positive, ``1.0507 * 1.6733 * (exp(x) - 1)`` elsewhere, with more digits.

    >>> from blockfuse import nn, np
    >>> nn.SELU()(np.array([-1, 0, 1])).round(3)
    array([-1.111,  0.   ,  1.051])
    """

    def forward(self, x: Any) -> Any:
        return neural.elu(array_for(self, x), alpha=1.6732632423543772) * 1.0507009873554805


class GELU(Block):
    """``x`` times the normal distribution function of ``x`` (Hendrycks and Gimpel 2016); in the shape of ``x``.

    approximation: ``"erf"`` computes that, ``"tanh"`` the paper's approximation of it; otherwise UsageError.

    >>> from blockfuse import nn, np
    >>> nn.GELU()(np.array([-1, 0, 1])).round(3)
    array([-0.159,  0.   ,  0.841])
    """

    def __init__(self, approximation: str = "erf", prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix, params)
        if approximation not in ("erf", "tanh"):
            raise UsageError(f"GELU has no approximation {approximation!r}; use 'erf' or 'tanh'")
        self._approximate = approximation == "tanh"

    def forward(self, x: Any) -> Any:
        return neural.gelu(array_for(self, x), approximate=self._approximate)


class Swish(Block):
    """``x * sigmoid(beta * x)``, in the shape of ``x`` (Ramachandran, Zoph and Le 2017).

    >>> from blockfuse import nn, np
    >>> nn.Swish(beta=2)(np.array([-1, 0, 1])).round(3)
    array([-0.119,  0.   ,  0.881])
    """

    def __init__(self, beta: float = 1.0, prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix, params)
        self._beta = beta

    def forward(self, x: Any) -> Any:
        return array_for(self, x) * neural.sigmoid(x * self._beta)


class SiLU(Block):
    """``x * sigmoid(x)``, in the shape of ``x``: ``Swish`` with ``beta`` 1 (Hendrycks and Gimpel 2016).

    >>> from blockfuse import nn, np
    >>> nn.SiLU()(np.array([-1, 0, 1])).round(3)
    array([-0.269,  0.   ,  0.731])
    """

    def forward(self, x: Any) -> Any:
        return neural.silu(array_for(self, x))
