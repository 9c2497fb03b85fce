"""Operators that draw random numbers, all from one stream (``ir.stream``).

Where every number takes as many words of the stream as every other, a program reserves a piece of the stream and computes
the numbers of the piece in any order (NOTE [pieces of the stream]); the other draws go from word to word through NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy

from blockfuse.ir.lowering import Composite, Drawing, Host
from blockfuse.ir.operator import Example, Operator, row
from blockfuse.ir.operators.filling import full
from blockfuse.ir.operators.pointwise import cast, greater_equal
from blockfuse.ir.stream import PIECE, STREAM, generator_of, is_known
from blockfuse.ir.types import TensorType, tensor

Shape = tuple[int, ...]


_WORD_BY_WORD = Host(
    "a number takes as many words of the random stream as it needs, so one comes after the other"
)
_OTHER_NUMPY = Host("this version of NumPy makes other numbers of the random stream than the kernels")


def drawing(
    name: str, draw: Callable[..., Any], *examples: Example, expand: Callable[..., Any] | None = None
) -> Operator:
    """A row with the attributes ``shape`` and ``dtype`` of the result; ``draw`` gives values of any dtype.

    expand: writes it with ``drawn``, where that is what NumPy draws.
    """
    lowering: Host | Composite = _WORD_BY_WORD
    if expand is not None:
        lowering = Composite(expand) if is_known(numpy.random.PCG64(0)) else _OTHER_NUMPY

    def meaning(*operands: numpy.ndarray, dtype: str, **attrs: Any) -> numpy.ndarray:
        return numpy.asarray(draw(*operands, dtype=dtype, **attrs)).astype(dtype, copy=False)

    return row(
        name,
        meaning,
        lowering,
        type_rule=_shaped,
        gradient=_no_gradient,
        random=True,
        examples=examples,
    )


def _shaped(*operands: TensorType, shape: Shape, dtype: str, **attrs: Any) -> TensorType:
    return tensor(shape, dtype)


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


# -- in any order --------------------------------------------------------------------------------------------


def _drawn(piece: numpy.ndarray, shape: Shape, dtype: str) -> numpy.ndarray:
    return numpy.asarray(generator_of(piece).random(shape, numpy.dtype(dtype)))


def _uniform_of_words(shape: Shape, dtype: str) -> Any:
    piece = reserve(count=prod(shape), width=_width(dtype))
    numbers = drawn(piece, shape=shape, dtype=_width(dtype))
    return numbers if dtype == _width(dtype) else cast(numbers, dtype=dtype)


def _mask_of_uniform(shape: Shape, p: float, dtype: str) -> Any:
    if p >= 1:
        return full(shape=shape, value=0.0, dtype=dtype)
    kept = greater_equal(uniform(shape=shape, dtype="float32"), p)
    return cast(kept, dtype=dtype) * (1 / (1 - p))


# The words of ``count`` numbers of the dtype ``width``, taken from the stream.
reserve = row(
    "reserve",
    STREAM.reserve,
    Host("takes a piece of the random stream, whose numbers kernels compute"),
    type_rule=lambda count, width: tensor(PIECE, "uint64"),
    gradient=_no_gradient,
    random=True,
    examples=(Example((), {"count": 12, "width": "float32"}),),
)
drawn = row(  # the numbers of a piece, in [0, 1)
    "drawn",
    _drawn,
    Drawing(),
    type_rule=_shaped,
    gradient=_no_gradient,
    examples=(Example((PIECE,), {"shape": (3, 4), "dtype": "float32"}, integers=(0,)),),
)

# -- all of them ---------------------------------------------------------------------------------------------

_FLOATS = {"shape": (3, 4), "dtype": "float32"}
_INTEGERS = {"shape": (3, 4), "dtype": "int64"}

uniform = drawing(  # in [0, 1)
    "uniform", _uniform, Example((), _FLOATS), expand=_uniform_of_words
)
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
dropout_mask = drawing(
    "dropout_mask", _dropout_mask, Example((), {"p": 0.4, **_FLOATS}), expand=_mask_of_uniform
)
