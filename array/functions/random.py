"""``np.random``: draws from one stream that ``seed`` starts over; float32 unless ``dtype=`` says more."""

from __future__ import annotations

import operator
from math import isfinite
from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike, shape_tuple
from blockfuse.array.devices import Device, check_device
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.draws import (
    checked,
    drawn_from,
    dtype_name,
    equal_numbers,
    shifted_and_scaled,
    typed,
)
from blockfuse.array.functions.elementwise import exp, log
from blockfuse.array.functions.selecting import take
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.errors import UsageError
from blockfuse.ir.operators import drawing, pointwise
from blockfuse.ir.stream import STREAM, are_words

__all__ = [
    "bernoulli",
    "beta",
    "binomial",
    "chisquare",
    "choice",
    "exponential",
    "gamma",
    "get_state",
    "gumbel",
    "laplace",
    "logistic",
    "lognormal",
    "multinomial",
    "normal",
    "normal_n",
    "permutation",
    "poisson",
    "rand",
    "randint",
    "randn",
    "random",
    "random_sample",
    "seed",
    "set_state",
    "shuffle",
    "standard_normal",
    "uniform",
    "uniform_n",
]


def seed(seed: int | None = None, ctx: Device | None = None, device: Device | None = None) -> None:
    """Start the stream over: equal seeds give equal draws. Without a seed, the system gives one.

    seed: a whole number from 0 on, otherwise ValueError or TypeError. ctx, device: see ``uniform``.

    >>> from blockfuse import np
    >>> np.random.seed(3)
    >>> first = np.random.uniform(size=3)
    >>> np.random.seed(3)
    >>> np.array_equal(np.random.uniform(size=3), first)
    True
    """
    check_device(ctx, device)
    interpreter.current().impure("seeds the random stream")
    STREAM.seed(None if seed is None else operator.index(seed))


def get_state() -> ndarray:
    """Where the stream is: six whole numbers (uint64) for ``set_state``, also of another process.

    >>> from blockfuse import np
    >>> state = np.random.get_state()
    >>> state.shape, state.dtype
    ((6,), dtype('uint64'))
    """
    interpreter.current().impure("looks where the random stream is")
    return ndarray(STREAM.words())


def set_state(state: ArrayLike) -> None:
    """Draw from where the stream was when ``get_state`` gave ``state``.

    Raises UsageError, leaving the stream where it is, for what ``get_state`` cannot have given.

    >>> from blockfuse import np
    >>> state = np.random.get_state()
    >>> first = np.random.uniform(size=3)
    >>> np.random.set_state(state)
    >>> np.array_equal(np.random.uniform(size=3), first)
    True
    """
    interpreter.current().impure("moves the random stream")
    STREAM.go_to(checked_state(state))


def checked_state(state: ArrayLike) -> list[int]:
    """The words of what ``get_state`` gave; raises UsageError for what it cannot have given."""
    given: Any = state._leave("set_state()") if isinstance(state, ndarray) else state
    try:
        words = [operator.index(word) for word in given]
    except TypeError:
        words = []
    if not are_words(words):
        raise UsageError(f"set_state takes what get_state gave, six whole numbers, not {state!r:.200}")
    return words


# -- continuous ----------------------------------------------------------------------------------------------
# size: the shape of the result; by default that to which the parameters broadcast.


def uniform(
    low: ArrayLike = 0.0,
    high: ArrayLike = 1.0,
    size: Any = None,
    dtype: Any = None,
    ctx: Device | None = None,
    device: Device | None = None,
) -> ndarray:
    """Evenly spread from ``low`` (inclusive) to ``high`` (exclusive).

    low, high: numbers or arrays that broadcast.
    size: the shape of the result, an int or a tuple; by default that to which the parameters broadcast.
    dtype: of the result, float32 by default.
    ctx, device: taken for Gluon's sake; UsageError for what is no device.

    Raises ValueError where ``high`` is below ``low`` and where ``size`` does not fit the parameters, OverflowError for an
    infinite range.

    >>> from blockfuse import np
    >>> x = np.random.uniform(-1, 1, size=(2, 3))
    >>> x.shape, bool((abs(x) <= 1).all())
    ((2, 3), True)
    """
    check_device(ctx, device)
    width = checked(_width(low, high), "not be negative", "high - low")
    if isinstance(width, int | float) and not isfinite(width):
        raise OverflowError(f"uniform needs a finite range, not that from {low} to {high}")
    fraction = drawn_from(drawing.uniform, size, dtype, low, high)
    if equal_numbers(low, 0, high, 1):
        return fraction
    drawn = typed(fraction * width + low, fraction)
    if equal_numbers(low, 0):  # a product with less than 1 is less
        return drawn
    below = pointwise.where(pointwise.less(drawn, _of(high)), drawn, _of(low))  # it may have been rounded up
    return typed(below, drawn)


def normal(
    loc: ArrayLike = 0.0,
    scale: ArrayLike = 1.0,
    size: Any = None,
    dtype: Any = None,
    ctx: Device | None = None,
    device: Device | None = None,
) -> ndarray:
    """Gaussian with mean ``loc`` and deviation ``scale``, numbers or arrays that broadcast; gradients go to both.

    Raises ValueError for a ``scale`` below 0. size, dtype, ctx, device: see ``uniform``.

    >>> from blockfuse import np
    >>> np.random.normal(10, 0.5, size=(2, 3)).shape
    (2, 3)
    """
    check_device(ctx, device)
    return shifted_and_scaled(drawing.normal, loc, scale, size, dtype)


def uniform_n(
    low: ArrayLike = 0.0,
    high: ArrayLike = 1.0,
    batch_shape: Any = None,
    dtype: Any = None,
    ctx: Device | None = None,
    device: Device | None = None,
) -> ndarray:
    """Draws as of ``uniform``, a batch of them for each parameter.

    low, high: numbers or arrays that broadcast.
    batch_shape: how many draws each parameter has, an int or a tuple; by default one.
    dtype: of the result, float32 by default.
    ctx, device: taken for Gluon's sake; UsageError for what is no device.

    Returns the shape ``batch_shape`` and behind it that to which the parameters broadcast. Raises what ``uniform`` does.

    >>> from blockfuse import np, npx
    >>> npx.random.uniform_n(np.zeros(2), np.ones((3, 1)), batch_shape=(4,)).shape
    (4, 3, 2)
    """
    return uniform(low, high, _batched(batch_shape, low, high), dtype, ctx, device)


def normal_n(
    loc: ArrayLike = 0.0,
    scale: ArrayLike = 1.0,
    batch_shape: Any = None,
    dtype: Any = None,
    ctx: Device | None = None,
    device: Device | None = None,
) -> ndarray:
    """Draws as of ``normal``, a batch of them for each parameter.

    loc, scale: numbers or arrays that broadcast.
    batch_shape: how many draws each parameter has, an int or a tuple; by default one.
    dtype: of the result, float32 by default.
    ctx, device: taken for Gluon's sake; UsageError for what is no device.

    Returns the shape ``batch_shape`` and behind it that to which the parameters broadcast. Raises what ``normal`` does.

    >>> from blockfuse import np, npx
    >>> npx.random.normal_n(np.zeros(2), 1, batch_shape=5).shape
    (5, 2)
    """
    return normal(loc, scale, _batched(batch_shape, loc, scale), dtype, ctx, device)


def _batched(batch_shape: Any, *parameters: ArrayLike) -> tuple[int, ...]:
    """The shape of a batch, and behind it that of the parameters together."""
    shapes = (() if isinstance(p, int | float) else asarray(p).shape for p in parameters)
    return (*(() if batch_shape is None else shape_tuple(batch_shape)), *numpy.broadcast_shapes(*shapes))


def exponential(scale: ArrayLike = 1.0, size: Any = None, dtype: Any = None) -> ndarray:
    """Exponential with mean ``scale``, a number or an array.

    Raises ValueError for a ``scale`` below 0. size, dtype: see ``uniform``.

    >>> from blockfuse import np
    >>> bool((np.random.exponential(2.0, size=5) >= 0).all())
    True
    """
    return shifted_and_scaled(drawing.exponential, 0.0, scale, size, dtype)


def gamma(shape: ArrayLike, scale: ArrayLike = 1.0, size: Any = None, dtype: Any = None) -> ndarray:
    """Gamma with the parameter ``shape``, multiplied by ``scale``: numbers or arrays that broadcast. Its mean is their
    product.

    Raises ValueError for one below 0. size, dtype: see ``uniform``.

    >>> from blockfuse import np
    >>> bool((np.random.gamma(2.0, 3.0, size=5) > 0).all())
    True
    """
    scale = checked(scale, "not be negative", "scale")
    drawn = drawn_from(drawing.gamma, size, dtype, shape, scale, operands=(shape,))
    return drawn if equal_numbers(scale, 1) else typed(drawn * scale, drawn)


def beta(a: ArrayLike, b: ArrayLike, size: Any = None, dtype: Any = None) -> ndarray:
    """Beta with parameters ``a`` and ``b``, numbers or arrays that broadcast: ``x / (x + y)`` of two gamma draws.

    Raises ValueError for one that is not above 0. size, dtype: see ``uniform``.

    >>> from blockfuse import np
    >>> x = np.random.beta(2.0, 3.0, size=5)
    >>> bool(((x >= 0) & (x <= 1)).all())
    True
    """
    a, b = checked(a, "be above 0", "a"), checked(b, "be above 0", "b")
    left = drawn_from(drawing.gamma, size, dtype, a, b, operands=(a,))
    right = drawn_from(drawing.gamma, size, dtype, a, b, operands=(b,))
    return left / (left + right)


def chisquare(df: ArrayLike, size: Any = None, dtype: Any = None) -> ndarray:
    """Chi-square with ``df`` degrees of freedom, a number or an array: twice a gamma draw with the parameter ``df / 2``.

    Raises ValueError for a ``df`` that is not above 0. size, dtype: see ``uniform``.

    >>> from blockfuse import np
    >>> np.random.chisquare(3, size=5).shape
    (5,)
    """
    return gamma(asarray(checked(df, "be above 0", "df")) / 2, 2.0, size, dtype)


def laplace(loc: ArrayLike = 0.0, scale: ArrayLike = 1.0, size: Any = None, dtype: Any = None) -> ndarray:
    """Laplace with mean ``loc`` and scale ``scale``, numbers or arrays: the difference of two exponential draws.

    Raises ValueError for a ``scale`` below 0. size, dtype: see ``uniform``.

    >>> from blockfuse import np
    >>> np.random.laplace(size=5).shape
    (5,)
    """
    scale = checked(scale, "not be negative", "scale")
    first, second = (drawn_from(drawing.exponential, size, dtype, loc, scale) for _ in range(2))
    return typed((first - second) * scale + loc, first)


def gumbel(loc: ArrayLike = 0.0, scale: ArrayLike = 1.0, size: Any = None, dtype: Any = None) -> ndarray:
    """Gumbel with mode ``loc`` and scale ``scale``, numbers or arrays: ``loc - scale * log(x)`` of an exponential draw.

    Raises ValueError for a ``scale`` below 0. size, dtype: see ``uniform``.

    >>> from blockfuse import np
    >>> np.random.gumbel(size=5).shape
    (5,)
    """
    scale = checked(scale, "not be negative", "scale")
    drawn = drawn_from(drawing.exponential, size, dtype, loc, scale)
    return typed(log(drawn) * -1 * scale + loc, drawn)


def logistic(loc: ArrayLike = 0.0, scale: ArrayLike = 1.0, size: Any = None, dtype: Any = None) -> ndarray:
    """Logistic with mean ``loc`` and scale ``scale``, numbers or arrays: the difference of two Gumbel draws.

    Raises ValueError for a ``scale`` below 0. size, dtype: see ``uniform``.

    >>> from blockfuse import np
    >>> np.random.logistic(size=5).shape
    (5,)
    """
    scale = checked(scale, "not be negative", "scale")
    first, second = (drawn_from(drawing.exponential, size, dtype, loc, scale) for _ in range(2))
    return typed((log(first) - log(second)) * scale + loc, first)


def lognormal(mean: ArrayLike = 0.0, sigma: ArrayLike = 1.0, size: Any = None, dtype: Any = None) -> ndarray:
    """``exp`` of a normal draw with mean ``mean`` and deviation ``sigma``, numbers or arrays.

    Raises ValueError for a ``sigma`` below 0. size, dtype: see ``uniform``.

    >>> from blockfuse import np
    >>> bool((np.random.lognormal(size=5) > 0).all())
    True
    """
    sigma = checked(sigma, "not be negative", "sigma")
    return exp(normal(mean, sigma, size, dtype))


def random(size: Any = None, dtype: Any = None) -> ndarray:
    """Evenly spread in [0, 1), in the shape ``size``, an int or a tuple; one number by default. dtype: float32 by default.

    >>> from blockfuse import np
    >>> np.random.random((2, 3)).dtype
    dtype('float32')
    """
    return uniform(size=() if size is None else size, dtype=dtype)


random_sample = random


def rand(*size: int, dtype: Any = None) -> ndarray:
    """Evenly spread in [0, 1); ``size`` are the sizes of the axes, and dtype is float32 by default.

    >>> from blockfuse import np
    >>> np.random.rand(2, 3).shape
    (2, 3)
    """
    return uniform(size=size, dtype=dtype)


def randn(*size: int, dtype: Any = None) -> ndarray:
    """Gaussian with mean 0 and deviation 1; ``size`` are the sizes of the axes, and dtype is float32 by default.

    >>> from blockfuse import np
    >>> np.random.randn(2, 3).shape
    (2, 3)
    """
    return normal(size=size, dtype=dtype)


def standard_normal(size: Any = None, dtype: Any = None) -> ndarray:
    """Gaussian with mean 0 and deviation 1. size, dtype: see ``uniform``.

    >>> from blockfuse import np
    >>> np.random.standard_normal((2, 3)).shape
    (2, 3)
    """
    return normal(size=size, dtype=dtype)


# -- discrete ------------------------------------------------------------------------------------------------


def randint(
    low: int,
    high: int | None = None,
    size: Any = None,
    dtype: Any = "int64",
    ctx: Device | None = None,
    device: Device | None = None,
) -> ndarray:
    """Whole numbers from ``low`` (0 where only one bound is given) to below ``high``.

    size: the shape of the result, an int or a tuple. dtype: any that has a place for them. ctx, device: see ``uniform``.

    Raises ValueError where ``low`` is not below ``high``, or the dtype has no place for a number between them.

    >>> from blockfuse import np
    >>> x = np.random.randint(1, 7, size=10)
    >>> x.dtype, bool(((x >= 1) & (x < 7)).all())
    (dtype('int64'), True)
    """
    check_device(ctx, device)
    first, last = (0, low) if high is None else (low, high)
    if first >= last:
        raise ValueError(f"randint needs low < high, not {first} and {last}")
    _check_fits(first, last - 1, dtype_name(dtype))
    return drawn_from(drawing.integers, size, dtype, low=operator.index(first), high=operator.index(last))


def bernoulli(
    prob: ArrayLike | None = None, logit: ArrayLike | None = None, size: Any = None, dtype: Any = None
) -> ndarray:
    """1 with probability ``prob``, or with ``sigmoid(logit)``, else 0. Either is a number or an array.

    size: see ``uniform``. dtype: any, float32 by default. Raises ValueError where both or none is given, and for a ``prob``
    that is not from 0 to 1.

    >>> from blockfuse import np
    >>> np.random.bernoulli([0.0, 1.0])
    array([0., 1.])
    """
    if (prob is None) == (logit is None):
        raise ValueError("bernoulli takes either prob or logit")
    probability = (
        1 / (1 + exp(asarray(logit) * -1)) if prob is None else checked(prob, "be from 0 to 1", "prob")
    )
    below = drawn_from(drawing.uniform, size, "float32", probability) < probability
    return pointwise.cast(below, dtype=dtype_name(dtype))


def binomial(n: ArrayLike, p: ArrayLike, size: Any = None, dtype: Any = "int64") -> ndarray:
    """How many of ``n`` trials succeed, each with probability ``p``: numbers or arrays that broadcast.

    size: see ``uniform``. dtype: int64 by default. Raises ValueError for an ``n`` below 0 and a ``p`` that is not from 0 to
    1.

    >>> from blockfuse import np
    >>> np.random.binomial(10, [0.0, 1.0])
    array([ 0, 10])
    """
    return drawn_from(drawing.binomial, size, dtype, n, p, operands=(asarray(n, "int64"), p))


def poisson(lam: ArrayLike = 1.0, size: Any = None, dtype: Any = "int64") -> ndarray:
    """Poisson with mean ``lam``, a number or an array.

    size: see ``uniform``. dtype: int64 by default. Raises ValueError for a ``lam`` below 0.

    >>> from blockfuse import np
    >>> np.random.poisson(4.0, size=3).dtype
    dtype('int64')
    """
    return drawn_from(drawing.poisson, size, dtype, lam, operands=(lam,))


def multinomial(n: int, pvals: ArrayLike, size: Any = None) -> ndarray:
    """How often each outcome comes in ``n`` trials with the probabilities ``pvals``, a vector.

    size: how many such counts, an int or a tuple. The result is int64, ``(*size, outcomes)``.

    >>> from blockfuse import np
    >>> int(np.random.multinomial(10, [0.2, 0.3, 0.5]).sum())
    10
    """
    probabilities = asarray(pvals)
    shape = (*(() if size is None else shape_tuple(size)), probabilities.shape[-1])
    return drawing.multinomial(probabilities, n=operator.index(n), shape=shape, dtype="int64")


def choice(a: ArrayLike, size: Any = None, replace: bool = True, p: ArrayLike | None = None) -> ndarray:
    """Elements of ``a`` along its first axis, in its dtype; of a whole number, the numbers below it, int64.

    size: the shape of the draws, an int or a tuple; one by default. replace: whether an element may come again.
    p: the probability of each element, a vector; all are equally likely by default.

    Raises ValueError where more are asked for than there are without replacing, and where ``p`` has another size.

    >>> from blockfuse import np
    >>> np.random.choice(5, size=5, replace=False).sum()
    array(10)
    """
    count, source = _population(a)
    shape = () if size is None else shape_tuple(size)
    weights = () if p is None else (asarray(p),)
    indices: ndarray = drawing.choice(*weights, n=count, replace=bool(replace), shape=shape, dtype="int64")
    return indices if source is None else take(source, indices, 0)


def permutation(x: ArrayLike) -> ndarray:
    """The rows of ``x`` in a random order, as a new array; of a whole number, the numbers below it, int64.

    >>> from blockfuse import np
    >>> np.sort(np.random.permutation(4))
    array([0, 1, 2, 3])
    """
    count, source = _population(x)
    indices: ndarray = drawing.permutation(shape=(count,), dtype="int64")
    return indices if source is None else take(source, indices, 0)


def shuffle(x: ndarray) -> None:
    """Bring the rows of ``x``, an array of any shape and dtype, into a random order, in place.

    >>> from blockfuse import np
    >>> x = np.arange(4)
    >>> np.random.shuffle(x)
    >>> np.sort(x)
    array([0., 1., 2., 3.])
    """
    x[...] = permutation(x)


def _population(a: ArrayLike) -> tuple[int, ndarray | None]:
    """How many there are to choose from: a number of places, or the rows of an array."""
    if isinstance(a, int | numpy.integer):
        return operator.index(a), None
    source = asarray(a)
    return (source.shape[0], source) if source.ndim else (operator.index(source), None)


def _check_fits(smallest: int, largest: int, dtype: str) -> None:
    """Refuse whole numbers that have no place in the dtype."""
    kind = numpy.dtype(dtype)
    if kind.kind == "f":
        return
    lowest, highest = (0, 1) if kind.kind == "b" else (numpy.iinfo(kind).min, numpy.iinfo(kind).max)
    if smallest < lowest or largest > highest:
        raise ValueError(f"randint: {dtype} has no place for {smallest} to {largest}")


def _width(low: ArrayLike, high: ArrayLike) -> Any:
    return (
        high - low if isinstance(low, int | float) and isinstance(high, int | float) else asarray(high) - low
    )


def _of(bound: ArrayLike) -> Any:
    return bound if isinstance(bound, int | float) else asarray(bound)
