"""Operators that draw random numbers, all from one stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.ir.lowering import Host
from blockfuse.ir.operator import Example, Operator, row
from blockfuse.ir.types import TensorType, tensor

Shape = tuple[int, ...]


class Stream:
    """The generator behind every draw; its methods lock themselves, so that threads may share it."""

    generator: numpy.random.Generator

    def __init__(self) -> None:
        self.seed(None)

    def seed(self, seed: int | None) -> None:
        """Start over; ``None`` takes a seed from the operating system."""
        self.generator = numpy.random.Generator(numpy.random.PCG64(seed))


STREAM = Stream()


def drawing(name: str, draw: Callable[..., Any], *examples: Example, **columns: Any) -> Operator:
    """A row with the attributes ``shape`` and ``dtype`` of the result; ``draw`` gives values of any dtype."""

    def meaning(*operands: numpy.ndarray, dtype: str, **attrs: Any) -> numpy.ndarray:
        return numpy.asarray(draw(*operands, dtype=dtype, **attrs)).astype(dtype, copy=False)

    def type_rule(*operands: TensorType, shape: Shape, dtype: str, **attrs: Any) -> TensorType:
        return tensor(shape, dtype)

    columns = {"type_rule": type_rule, "gradient": _no_gradient, **columns}
    return row(name, meaning, Host("draws random numbers"), random=True, examples=examples, **columns)


def _no_gradient(g: Any, out: Any, *operands: Any, **attrs: Any) -> tuple[Any, ...]:
    return (None,) * len(operands)


def _width(dtype: str) -> Any:
    """The float dtype in which NumPy draws for ``dtype``."""
    return "float64" if dtype == "float64" else "float32"


def _uniform(shape: Shape, dtype: str) -> Any:
    return STREAM.generator.random(shape, _width(dtype))


def _normal(shape: Shape, dtype: str) -> Any:
    return STREAM.generator.standard_normal(shape, _width(dtype))


def _exponential(shape: Shape, dtype: str) -> Any:
    return STREAM.generator.standard_exponential(shape, _width(dtype))


def _gamma(concentration: numpy.ndarray, shape: Shape, dtype: str) -> Any:
    return STREAM.generator.standard_gamma(concentration, shape)


def _integers(low: int, high: int, shape: Shape, dtype: str) -> Any:
    return STREAM.generator.integers(low, high, shape, "int64")


def _permutation(shape: Shape, dtype: str) -> Any:
    return STREAM.generator.permutation(shape[0])


def _choice(*weights: numpy.ndarray, n: int, replace: bool, shape: Shape, dtype: str) -> Any:
    share = numpy.asarray(weights[0], "float64") if weights else None
    return STREAM.generator.choice(n, shape, replace, None if share is None else share / share.sum())


def _poisson(mean: numpy.ndarray, shape: Shape, dtype: str) -> Any:
    return STREAM.generator.poisson(mean, shape)


def _binomial(n: numpy.ndarray, p: numpy.ndarray, shape: Shape, dtype: str) -> Any:
    return STREAM.generator.binomial(n.astype("int64"), p, shape)


def _multinomial(p: numpy.ndarray, n: int, shape: Shape, dtype: str) -> Any:
    share = numpy.asarray(p, "float64")
    return STREAM.generator.multinomial(n, share / share.sum(), shape[:-1])


def _dropout_mask(shape: Shape, p: float, dtype: str) -> Any:
    if p >= 1:
        return numpy.zeros(shape, dtype)
    kept = STREAM.generator.random(shape, "float32") >= p
    return kept * numpy.asarray(1 / (1 - p), dtype)


_FLOATS = {"shape": (3, 4), "dtype": "float32"}
_INTEGERS = {"shape": (3, 4), "dtype": "int64"}

uniform = drawing("uniform", _uniform, Example((), _FLOATS))  # in [0, 1)
normal = drawing("normal", _normal, Example((), _FLOATS))  # mean 0, deviation 1
exponential = drawing("exponential", _exponential, Example((), _FLOATS))  # mean 1
gamma = drawing("gamma", _gamma, Example(((4,),), _FLOATS, low=0.5))  # scale 1
integers = drawing("integers", _integers, Example((), {"low": -3, "high": 9, **_INTEGERS}))
permutation = drawing("permutation", _permutation, Example((), {"shape": (5,), "dtype": "int64"}))
choice = drawing(  # places below n, equally likely or weighted
    "choice",
    _choice,
    Example((), {"n": 20, "replace": False, **_INTEGERS}),
    Example(((5,),), {"n": 5, "replace": True, **_INTEGERS}, low=0.5),
)
poisson = drawing("poisson", _poisson, Example(((4,),), _INTEGERS, low=0.5))
binomial = drawing("binomial", _binomial, Example(((4,), ()), _INTEGERS, low=0.1, high=0.9))
multinomial = drawing(
    "multinomial", _multinomial, Example(((4,),), {"n": 6, **_INTEGERS}, low=0.5)
)  # how often each of n trials hit
# 0 with probability p, else 1 / (1 - p): what a dropped array is multiplied with.
dropout_mask = drawing("dropout_mask", _dropout_mask, Example((), {"p": 0.4, **_FLOATS}))
