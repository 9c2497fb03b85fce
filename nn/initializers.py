"""How parameters get their first values (``blockfuse.init``).

An initializer is called with a parameter's name and its array, and writes the array in place. One of your own
subclasses ``Initializer``, overrides ``_init_weight``, and is found by its name in lower case if registered.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy

from blockfuse.array.files import load
from blockfuse.array.functions import creation, random
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import ShapeError, UsageError


class Initializer:
    """The base of all initializers, called with a parameter's name and its array, which it fills; equal if type and settings
    are.

    A subclass defines ``_init_weight(name, arr)`` and writes into ``arr``, which has any shape and float dtype. settings:
    become attributes, and are what ``repr`` shows. Draws are ``np.random``'s: its seed repeats them.

    >>> from blockfuse import init, nn
    >>> class Halves(init.Initializer):
    ...     def _init_weight(self, name, arr):
    ...         arr[:] = 0.5
    >>> net = nn.Dense(1, in_units=2)
    >>> net.initialize(Halves())
    >>> net.weight.data()
    array([[0.5, 0.5]])
    """

    def __init__(self, **settings: Any) -> None:
        vars(self).update(settings)

    def __call__(self, name: str, arr: ndarray) -> None:
        self._init_weight(name, arr)

    def _init_weight(self, name: str, arr: ndarray) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not define _init_weight(self, name, arr)")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in vars(self).items())})"


@dataclass(frozen=True)
class Zero(Initializer):
    """Zeros, in a parameter of any shape; also by the names ``"zeros"`` and ``"zero"``.

    >>> from blockfuse import init, nn
    >>> net = nn.Dense(1, in_units=3, weight_initializer=init.Zero())
    >>> net.initialize()
    >>> net.weight.data()
    array([[0., 0., 0.]])
    """

    def _init_weight(self, name: str, arr: ndarray) -> None:  # noqa: ARG002 - an initializer is told the name
        arr[...] = 0


@dataclass(frozen=True)
class One(Initializer):
    """Ones, in a parameter of any shape; also by the names ``"ones"`` and ``"one"``.

    >>> from blockfuse import nn
    >>> net = nn.Dense(1, in_units=3, weight_initializer="ones")
    >>> net.initialize()
    >>> net.weight.data()
    array([[1., 1., 1.]])
    """

    def _init_weight(self, name: str, arr: ndarray) -> None:  # noqa: ARG002
        arr[...] = 1


@dataclass(frozen=True, eq=False)
class Constant(Initializer):
    """The same for every element, or given element by element.

    value: a number, or an array of the parameter's shape; another shape raises ShapeError when the parameter is
    initialized.

    >>> from blockfuse import init, nn
    >>> net = nn.Dense(1, in_units=2)
    >>> net.initialize(init.Constant(0.5))
    >>> net.weight.data()
    array([[0.5, 0.5]])
    """

    value: Any

    def _init_weight(self, name: str, arr: ndarray) -> None:
        shape = numpy.shape(creation.asarray(self.value)._data)
        if shape not in ((), arr.shape):
            raise ShapeError(f"Constant of shape {shape} cannot initialise {name} of shape {arr.shape}")
        arr[...] = self.value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Constant):
            return False
        return numpy.array_equal(creation.asarray(self.value)._data, creation.asarray(other.value)._data)

    __hash__ = Initializer.__hash__


@dataclass(frozen=True)
class Uniform(Initializer):
    """Evenly between ``-scale`` and ``scale``, in a parameter of any shape. Gluon's default for weights.

    >>> from blockfuse import init, nn, np
    >>> net = nn.Dense(10, in_units=10)
    >>> net.initialize(init.Uniform(0.01))
    >>> bool(np.abs(net.weight.data()).max() <= 0.01)
    True
    """

    scale: float = 0.07

    def _init_weight(self, name: str, arr: ndarray) -> None:  # noqa: ARG002
        arr[...] = _draw("uniform", self.scale, arr.shape, arr)


@dataclass(frozen=True)
class Normal(Initializer):
    """Normally around 0 with standard deviation ``sigma``, in a parameter of any shape.

    >>> from blockfuse import init, nn, np
    >>> net = nn.Dense(100, in_units=100)
    >>> net.initialize(init.Normal(0.01))
    >>> bool(0.009 < net.weight.data().std() < 0.011)
    True
    """

    sigma: float = 0.01

    def _init_weight(self, name: str, arr: ndarray) -> None:  # noqa: ARG002
        arr[...] = _draw("normal", self.sigma, arr.shape, arr)


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """An orthogonal matrix times ``scale`` (Saxe et al. 2014), rows against all other axes.

    rand_type: ``"uniform"`` or ``"normal"``, how the matrix is drawn of which this is the singular basis.

    Raises ShapeError for a parameter of fewer than two axes, UsageError for another rand_type, when it is initialized.

    >>> from blockfuse import init, nn, np
    >>> net = nn.Dense(3, in_units=3)
    >>> net.initialize(init.Orthogonal(scale=1))
    >>> W = net.weight.data()
    >>> np.allclose(np.dot(W, W.T), np.eye(3), atol=1e-5)
    True
    """

    scale: float = 1.414
    rand_type: str = "uniform"

    def _init_weight(self, name: str, arr: ndarray) -> None:
        _check_axes(self, name, arr)
        drawn = _draw(self.rand_type, 1.0, (arr.shape[0], math.prod(arr.shape[1:])), arr).asnumpy()
        left, _, right = numpy.linalg.svd(drawn, full_matrices=False)
        basis = left if left.shape == drawn.shape else right
        arr[...] = (self.scale * basis).reshape(arr.shape)


@dataclass(frozen=True)
class Xavier(Initializer):
    """Scaled so that variances stay even from layer to layer (Glorot and Bengio 2010).

    rnd_type: ``"uniform"`` between plus and minus ``sqrt(magnitude / fan)``, or ``"gaussian"`` with that standard
    deviation.
    factor_type: ``"in"``, ``"out"`` or ``"avg"``, the fan that ``magnitude`` is divided by. Of a weight (out, in, ...) the
    fans are out and in, times the sizes of further axes.

    Raises ShapeError for a parameter of fewer than two axes, UsageError for other types, when it is initialized.

    >>> from blockfuse import init, nn, np
    >>> net = nn.Dense(10, in_units=10)
    >>> net.initialize(init.Xavier())
    >>> bool(np.abs(net.weight.data()).max() <= (3 / 10) ** 0.5)
    True
    """

    rnd_type: str = "uniform"
    factor_type: str = "avg"
    magnitude: float = 3

    def _init_weight(self, name: str, arr: ndarray) -> None:
        _check_axes(self, name, arr)
        field = math.prod(arr.shape[2:])
        fan_in, fan_out = arr.shape[1] * field, arr.shape[0] * field
        fans = {"avg": (fan_in + fan_out) / 2, "in": fan_in, "out": fan_out}
        fan = fans[_one_of(self.factor_type, fans)]
        arr[...] = _draw(self.rnd_type, math.sqrt(self.magnitude / fan) if fan else 0.0, arr.shape, arr)


@dataclass(frozen=True)
class Bilinear(Initializer):
    """The weight of a transposed convolution that interpolates, in each pair of channels, of images k high and wide.

    It falls evenly from the middle (Long, Shelhamer and Darrell 2015, section 3.3). Raises ShapeError for a parameter of
    fewer than two axes, when it is initialized.

    >>> from blockfuse import init, nn
    >>> net = nn.Conv2DTranspose(1, kernel_size=4, strides=2, in_channels=1, weight_initializer=init.Bilinear())
    >>> net.initialize()
    >>> net.weight.data()[0, 0, 1]
    array([0.1875, 0.5625, 0.5625, 0.1875])
    """

    def _init_weight(self, name: str, arr: ndarray) -> None:
        _check_axes(self, name, arr)
        height, width = (_tent(k) for k in arr.shape[-2:])
        arr[...] = height[:, None] * width


def _tent(k: int) -> numpy.ndarray:
    """Weights of ``k`` pixels that fall from the middle, evenly."""
    half = -(-k // 2)
    middle = (2 * half - 1 - half % 2) / (2 * half)
    return 1 - numpy.abs(numpy.arange(k) / half - middle)


class MSRAPrelu(Xavier):
    """``Xavier`` for layers followed by a (leaky) ReLU of the given slope: gaussian, with magnitude ``2 / (1 + slope**2)``.

    factor_type: as of ``Xavier``. (He, Zhang, Ren and Sun 2015, section 2.2.) By the name ``"he"``: with the fan ``"in"``
    and slope 0.

    >>> from blockfuse import init, nn
    >>> init.MSRAPrelu(slope=0)
    MSRAPrelu(rnd_type='gaussian', factor_type='avg', magnitude=2.0)
    >>> net = nn.Dense(10, in_units=10)
    >>> net.initialize(init.MSRAPrelu(slope=0.1))
    """

    def __init__(self, factor_type: str = "avg", slope: float = 0.25) -> None:
        super().__init__("gaussian", factor_type, 2.0 / (1 + slope**2))


@dataclass(frozen=True)
class LSTMBias(Initializer):
    """Zeros, and another number for the forget gate: the bias of an LSTM, whose gates are input, forget, cell and output.

    forget_bias: what keeps the state in the beginning (Gers, Schmidhuber and Cummins 2000; Jozefowicz, Zaremba and
        Sutskever 2015, section 2.1).

    Raises ShapeError for a parameter that is not a vector of four equal parts.

    >>> from blockfuse import gluon, init
    >>> cell = gluon.rnn.LSTMCell(1, input_size=1, i2h_bias_initializer=init.LSTMBias())
    >>> cell.initialize()
    >>> cell.i2h_bias.data()
    array([0., 1., 0., 0.])
    """

    forget_bias: float = 1.0

    def _init_weight(self, name: str, arr: ndarray) -> None:
        if arr.ndim != 1 or arr.shape[0] % 4:
            raise ShapeError(
                f"LSTMBias cannot initialise {name} of shape {arr.shape}: the bias of an LSTM has four equal parts"
            )
        units = arr.shape[0] // 4
        arr[...] = 0
        arr[units : 2 * units] = self.forget_bias


class Mixed(Initializer):
    """One of several initializers, by the name of the parameter.

    patterns: regular expressions, the first of which that is found in a name counts.
    initializers: for each pattern one, in any form that ``initialize`` takes.

    Raises UsageError where there are more of one than of the other, and for a name in which no pattern is found, when the
    parameter is initialized. Parameters with an init of their own, such as biases, do not ask.

    >>> from blockfuse import init, nn
    >>> net = nn.Sequential(nn.Dense(1, in_units=1), nn.Dense(1, in_units=1))
    >>> net.initialize(init.Mixed([r"^1\\.", ".*"], ["ones", init.Constant(7)]))
    >>> net[0].weight.data(), net[1].weight.data()
    (array([[7.]]), array([[1.]]))
    """

    def __init__(self, patterns: Sequence[str], initializers: Sequence[Init]) -> None:
        if len(patterns) != len(initializers):
            raise UsageError(
                f"Mixed has {len(patterns)} patterns and {len(initializers)} initializers; give as many of each"
            )
        self.patterns, self.initializers = tuple(patterns), tuple(map(create, initializers))

    def _init_weight(self, name: str, arr: ndarray) -> None:
        for pattern, initializer in zip(self.patterns, self.initializers, strict=True):
            if re.search(pattern, name):
                initializer(name, arr)
                return
        raise UsageError(
            f"Mixed has no pattern for {name!r}: {', '.join(map(repr, self.patterns))}; add '.*' with what shall be the rest"
        )


class Load(Initializer):
    """Given arrays, by the name of the parameter.

    param: a dict of names and arrays, or the path of a file that ``npx.save`` wrote; ``arg:`` and ``aux:`` before a name do
        not count.
    default_init: for parameters that have none, in any form that ``initialize`` takes.

    Raises ShapeError for an array of another shape, and UsageError for a name without an array where there is no
    ``default_init``, when the parameter is initialized.

    >>> from blockfuse import init, nn, np
    >>> net = nn.Dense(1, in_units=2)
    >>> net.initialize(init.Load({"weight": np.array([[3, 4]])}))
    >>> net.weight.data()
    array([[3., 4.]])
    """

    def __init__(
        self, param: Mapping[str, Any] | str | PathLike[str], default_init: Init | None = None
    ) -> None:
        found = param if isinstance(param, Mapping) else load(param)
        if not isinstance(found, Mapping):
            raise UsageError(f"Load needs arrays with names; {param!r} holds a {type(found).__name__}")
        arrays = {name.removeprefix("arg:").removeprefix("aux:"): array for name, array in found.items()}
        self.param = arrays
        self.default_init = None if default_init is None else create(default_init)

    def _init_weight(self, name: str, arr: ndarray) -> None:
        if name in self.param:
            given = creation.asarray(self.param[name])
            if given.shape != arr.shape:
                raise ShapeError(f"Load has an array of shape {given.shape} for {name} of shape {arr.shape}")
            arr[...] = given
        elif self.default_init is None:
            raise UsageError(
                f"Load has no array for {name!r}, but for {', '.join(self.param) or 'nothing'}; give a default_init"
            )
        else:
            self.default_init(name, arr)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = Initializer.__hash__

    def __repr__(self) -> str:
        return f"Load({', '.join(self.param)})"


_DRAWS: dict[str, Callable[..., ndarray]] = {
    "uniform": lambda scale, shape, dtype: random.uniform(-scale, scale, shape, dtype),
    "gaussian": lambda scale, shape, dtype: random.normal(0.0, scale, shape, dtype),
    "normal": lambda scale, shape, dtype: random.normal(0.0, scale, shape, dtype),
}


def _draw(kind: str, scale: float, shape: tuple[int, ...], arr: ndarray) -> ndarray:
    """Random numbers for ``arr``: in double precision where it has that."""
    dtype = "float64" if arr.dtype == numpy.float64 else "float32"
    return _DRAWS[_one_of(kind, _DRAWS)](scale, shape, dtype)


def _one_of(word: str, table: dict[str, Any]) -> str:
    if word not in table:
        raise UsageError(f"{word!r} is not one of {', '.join(table)}")
    return word


def _check_axes(initializer: Initializer, name: str, arr: ndarray) -> None:
    if arr.ndim < 2:
        raise ShapeError(
            f"{type(initializer).__name__} cannot initialise {name} of shape {arr.shape}: it needs two axes "
            f"or more. Give that parameter an init of its own, such as init='zeros'"
        )


# name -> what makes the initializer of that name with its default settings
REGISTRY: dict[str, Callable[[], Initializer]] = {
    "zeros": Zero,
    "ones": One,
    "gaussian": Normal,
    "he": lambda: MSRAPrelu("in", slope=0.0),
    **{
        kind.__name__.lower(): kind
        for kind in (Zero, One, Uniform, Normal, Orthogonal, Bilinear, Xavier, MSRAPrelu, LSTMBias)
    },
}


def register(kind: type[Initializer]) -> type[Initializer]:
    """Let ``kind``, a subclass of ``Initializer``, be asked for by its name in lower case; gives the class, as a decorator
    does.

    >>> from blockfuse import init, nn
    >>> @init.register
    ... class Threes(init.Initializer):
    ...     def _init_weight(self, name, arr):
    ...         arr[:] = 3
    >>> net = nn.Dense(1, in_units=2)
    >>> net.initialize("threes")
    >>> net.weight.data()
    array([[3., 3.]])
    """
    REGISTRY[kind.__name__.lower()] = kind
    return kind


# What may stand where an initializer is asked for: a name, an initializer, any ``function(name, array)``.
Init = str | Callable[[str, ndarray], Any]


def create(init: Init) -> Callable[[str, ndarray], Any]:
    """The initializer that ``init`` names (in upper or lower case), or is: an instance, or any ``function(name, array)``.

    Raises UsageError for a name that there is none of, and for what cannot be called.

    >>> from blockfuse import init
    >>> init.create("xavier")
    Xavier(rnd_type='uniform', factor_type='avg', magnitude=3)
    """
    if isinstance(init, str):
        return REGISTRY[_one_of(init.lower(), REGISTRY)]()
    if isinstance(init, type) or not callable(init):
        raise UsageError(f"{init!r} is no initializer; use a name ({', '.join(REGISTRY)}) or an instance")
    return init
