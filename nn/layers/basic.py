"""Layers that every net is made of."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from math import prod
from typing import Any

from blockfuse.array import np, npx
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.operators import indexing, movement
from blockfuse.ir.operators.contractions import dense
from blockfuse.nn.block import NAMESPACES, Block
from blockfuse.nn.initializers import Init
from blockfuse.nn.layers.activations import activation_named
from blockfuse.nn.layers.counts import count_of
from blockfuse.nn.layers.inputs import array_for
from blockfuse.nn.parameter import Parameter


class Dense(Block):
    """A fully connected layer: ``activation(x @ weight.T + bias)``. Gluon's Dense.

    units: the number of results for each item. activation: a name that ``Activation`` takes, or None.
    use_bias: whether there is a ``bias``, (units,).
    flatten: all axes of the input but the first are its features, so that those of ``(batch,)`` are one, and the result is
    (batch, units); otherwise the last axis is, and (..., features) becomes (..., units).
    dtype: of the parameters. The result has what they and the input promote to.
    weight_initializer, bias_initializer: what draws their first values; None takes that of ``initialize``.
    in_units: the number of features; 0 learns it in the first call. ``weight`` is (units, in_units).

    Raises UsageError for sizes that are none and an unknown activation; a call raises ShapeError for another number of
    features.

    >>> from blockfuse import nn, np
    >>> net = nn.Dense(3, activation="relu", in_units=4)
    >>> net
    Dense(4 -> 3, Activation(relu))
    >>> net.initialize()
    >>> net(np.ones((2, 4))).shape
    (2, 3)
    """

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        flatten: bool = True,
        dtype: Any = "float32",
        weight_initializer: Init | None = None,
        bias_initializer: Init = "zeros",
        in_units: int = 0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix, params)
        units = count_of("Dense", "units", units)
        in_units = count_of("Dense", "in_units", in_units, least=0)
        self._units, self._flatten, self._learns = units, flatten, not in_units
        self._activation = activation
        self._activate = None if activation is None else activation_named(activation)
        self.weight = Parameter(
            "weight", shape=(units, in_units), dtype=dtype, init=weight_initializer, allow_deferred_init=True
        )
        self.bias = (
            Parameter("bias", shape=(units,), dtype=dtype, init=bias_initializer) if use_bias else None
        )

    @size_agnostic
    def infer_shape(self, x: Any) -> None:
        self.weight.shape = (self._units, self._features(x))

    @size_agnostic
    def _features(self, x: Any) -> int:
        """How many features each row of ``x`` has."""
        if not array_for(self, x).ndim:
            wanted = "(batch, ...)" if self._flatten else "(..., features)"
            raise ShapeError(f"{self._label} expects an input of shape {wanted}; found a number")
        return prod(x.shape[1:]) if self._flatten else x.shape[-1]

    @size_agnostic
    def forward(self, x: Any) -> Any:
        weight, bias = self.weight.data(), self.bias
        features = self._features(x)
        if features != weight.shape[1]:
            raise ShapeError(
                f"{self._label} expects {weight.shape[1]} features in a row, as its weight has shape "
                f"{weight.shape}; found {features} in an input of shape {x.shape}" + self._advice(x)
            )
        if self._flatten and x.ndim != 2:
            x = movement.reshape(x, shape=(x.shape[0], features))
        y = dense(x, weight) if bias is None else dense(x, weight, bias.data())
        return y if self._activate is None else self._activate(y)

    def _advice(self, x: Any) -> str:
        """What to write where one row was taken for a batch of numbers, now or in the first call."""
        if x.ndim == 1 and self._flatten:
            return ", which is a batch of numbers; write x[None] for one row"
        if self.weight.shape == (self._units, 1) and self._learns:
            return "; it learned from the first input, of rows of one number: write x[None] where that was one row"
        return ""

    def __repr__(self) -> str:
        units, features = self.weight.shape or (self._units, -1)
        end = f"Activation({self._activation})" if self._activation else "linear"
        return f"{type(self).__name__}({features} -> {units}, {end})"


class Dropout(Block):
    """In training, zeros a share ``rate`` of the elements and scales the others by ``1 / (1 - rate)`` (Srivastava et al.
    2014).

    In prediction the input, of any shape and float dtype, stays as it is. Raises UsageError for a rate below 0, or 1 and
    more.

    axes: along these, elements are dropped together.

    >>> from blockfuse import autograd, nn, np
    >>> net = nn.Dropout(0.5)
    >>> net(np.ones(4))
    array([1., 1., 1., 1.])
    >>> with autograd.train_mode():
    ...     sorted(set(net(np.ones(100)).tolist()))
    [0.0, 2.0]
    """

    def __init__(
        self, rate: float, axes: tuple[int, ...] = (), prefix: str | None = None, params: Any = None
    ) -> None:
        super().__init__(prefix, params)
        number: Any = rate
        if not isinstance(number, int | float) or not 0 <= number < 1:
            raise UsageError(f"Dropout needs a rate from 0 up to, but not including, 1; found {rate!r:.80}")
        self._rate, self._axes = rate, axes

    def forward(self, x: Any) -> Any:
        return (
            npx.dropout(array_for(self, x), p=self._rate, axes=self._axes)
            if self._rate
            else array_for(self, x)
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p = {self._rate}, axes={self._axes})"


class Embedding(Block):
    """The rows of a table of shape ``(input_dim, output_dim)``, its ``weight``, at the given indices.

    Indices (...) of any dtype, floats without their fraction, become (..., output_dim); a negative one counts from the end,
    and one beyond the table raises IndexError.

    dtype: of the table. weight_initializer: what draws it first; None takes that of ``initialize``.
    sparse_grad: taken for Gluon's sake; gradients are whole tables.

    >>> from blockfuse import nn, np
    >>> net = nn.Embedding(10, 4)
    >>> net.initialize()
    >>> net(np.array([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        dtype: Any = "float32",
        weight_initializer: Init | None = None,
        sparse_grad: bool = False,  # noqa: ARG002 - gradients are dense
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix, params)
        shape = tuple(
            count_of("Embedding", n, v) for n, v in (("input_dim", input_dim), ("output_dim", output_dim))
        )
        self.weight = Parameter("weight", shape=shape, dtype=dtype, init=weight_initializer)

    def forward(self, x: Any) -> Any:
        indices = x if array_for(self, x).dtype.kind in "iu" else indexing.as_integers(x)
        return indexing.take_at(self.weight.data(), indices, pattern=(("array", 0),))

    def __repr__(self) -> str:
        rows, columns = self.weight.shape or (-1, -1)
        return f"{type(self).__name__}({rows} -> {columns}, {self.weight.dtype})"


class Flatten(Block):
    """``(batch, ...)`` as ``(batch, features)``, in its dtype; ``(batch,)`` becomes ``(batch, 1)``.

    A call raises ShapeError for an array without axes.

    >>> from blockfuse import nn, np
    >>> nn.Flatten()(np.ones((2, 3, 4))).shape
    (2, 12)
    """

    @size_agnostic
    def forward(self, x: Any) -> Any:
        if array_for(self, x).ndim < 1:
            raise ShapeError(f"{self._label} expects an input of shape (batch, ...); found one without axes")
        return movement.reshape(x, shape=(x.shape[0], prod(x.shape[1:])))


class Identity(Block):
    """The input, of any shape and dtype.

    >>> from blockfuse import nn, np
    >>> nn.Identity()(np.array([1, 2]))
    array([1., 2.])
    """

    def forward(self, x: Any) -> Any:
        return x


class Lambda(Block):
    """A function as a block: what it is called with goes to the function, and what that gives is the result.

    function: one of arrays, or the name of one of ``npx`` or ``np``; UsageError for another name.

    >>> from blockfuse import nn, np
    >>> nn.Lambda("tanh")
    Lambda(tanh)
    >>> nn.Lambda(lambda x: x * 2)(np.array([1, 2]))
    array([2., 4.])
    """

    def __init__(
        self, function: str | Callable[..., Any], prefix: str | None = None, params: Any = None
    ) -> None:
        super().__init__(prefix, params)
        self._function = _function_named(function) if isinstance(function, str) else function
        if not callable(self._function):
            raise UsageError(f"{type(self).__name__} needs a function or the name of one; found {function!r}")

    def forward(self, *args: Any) -> Any:
        return self._function(*args)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({getattr(self._function, '__name__', repr(self._function))})"


class HybridLambda(Lambda):
    """``Lambda``; a function whose first parameter is named ``F`` gets ``np`` and ``npx`` in it (Gluon 1).

    function: one of arrays, or the name of one of ``npx`` or ``np``.

    >>> from blockfuse import nn, np
    >>> nn.HybridLambda(lambda F, x: F.npx.relu(x) + 1)(np.array([-1, 2]))
    array([1., 3.])
    """

    def __init__(
        self, function: str | Callable[..., Any], prefix: str | None = None, params: Any = None
    ) -> None:
        super().__init__(function, prefix, params)
        self._first = (NAMESPACES,) if _takes_namespaces(self._function) else ()

    def forward(self, *args: Any) -> Any:
        return self._function(*self._first, *args)


def _function_named(name: str) -> Any:
    for namespace in (npx, np):
        if callable(getattr(namespace, name, None)):
            return getattr(namespace, name)
    raise UsageError(f"neither npx nor np has a function {name!r}")


def _takes_namespaces(function: Callable[..., Any]) -> bool:
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a built-in function tells nothing about its parameters
        return False
    return names[:1] == ["F"]
