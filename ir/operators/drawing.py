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
from blockfuse.ir.operators.pointwise import cast, greater_equal, minimum
from blockfuse.ir.stream import PIECE, STREAM, generator_of, is_known
from blockfuse.ir.types import TensorType, tensor

Shape = tuple[int, ...]


_WORD_BY_WORD = "a number takes as many words of the random stream as it needs, so one comes after the other"
_OTHER_NUMPY = Host("this version of NumPy makes other numbers of the random stream than the kernels")


def drawing(
    name: str,
    draw: Callable[..., Any],
    *examples: Example,
    expand: Callable[..., Any] | None = None,
    raises: bool = False,
) -> Operator:
    """A row with the attributes ``shape`` and ``dtype`` of the result; ``draw`` gives values of any dtype.

    expand: writes it with ``drawn``, where that is what NumPy draws. raises: for some values of its operands.
    """
    lowering: Host | Composite = Host(_WORD_BY_WORD, raises)
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


_HALF_BELOW_ONE = 1 - 2.0**-11  # a float32 nearer to 1 would become 1 as a float16


def _uniform(shape: Shape, dtype: str) -> Any:
    numbers = STREAM.generator.random(shape, _width(dtype))
    return numpy.minimum(numbers, numbers.dtype.type(_HALF_BELOW_ONE)) if dtype == "float16" else numbers


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


def _near_one(weights: numpy.ndarray, total: float) -> bool:
    """Whether rounding alone can be the reason why a sum of shares is not 1; as NumPy's ``choice``."""
    eps = numpy.finfo(weights.dtype if weights.dtype.kind == "f" else "float64").eps
    return bool(abs(total - 1) <= numpy.sqrt(eps))


def _choice(*weights: numpy.ndarray, n: int, replace: bool, shape: Shape, dtype: str) -> Any:
    share = None
    if weights:
        share = numpy.asarray(weights[0], "float64")
        if share.ndim == 1 and share.size == n and _near_one(weights[0], total := share.sum()):
            share = share / total  # otherwise NumPy says what is wrong
    return STREAM.generator.choice(n, shape, replace, share)


def _poisson(mean: numpy.ndarray, shape: Shape, dtype: str) -> Any:
    return STREAM.generator.poisson(mean, shape)


def _binomial(n: numpy.ndarray, p: numpy.ndarray, shape: Shape, dtype: str) -> Any:
    return STREAM.generator.binomial(n.astype("int64"), p, shape)


def _multinomial(p: numpy.ndarray, n: int, shape: Shape, dtype: str) -> Any:
    share = numpy.asarray(p, "float64")
    if _near_one(p, total := share.sum()):
        share = share / total  # otherwise the last outcome has what the others leave
    return STREAM.generator.multinomial(n, share, shape[:-1])


# -- what parameters must be ---------------------------------------------------------------------------------


def _negative(x: numpy.ndarray) -> Any:
    return numpy.signbit(x) & ~numpy.isnan(x)


# name -> where it does not hold, as NumPy looks
RULES: dict[str, Callable[[numpy.ndarray], Any]] = {
    "not be negative": _negative,
    "be above 0": lambda x: x <= 0,
    "be from 0 to 1": lambda x: ~((x >= 0) & (x <= 1)),
}


def check(x: Any, rule: str, name: str) -> numpy.ndarray:
    """``x`` as an array. Raises ValueError where the rule does not hold."""
    values = numpy.asarray(x)
    wrong = RULES[rule](values)
    if numpy.any(wrong):
        raise ValueError(f"{name} must {rule}; found {values[wrong].flat[0]}")
    return values


# A parameter of a distribution, if it is one.
checked = row(
    "checked",
    check,
    Host("looks at a parameter of a distribution", raises=True),
    type_rule=lambda x, rule, name: x,
    gradient=lambda g, out, x, rule, name: (g,),
    examples=(Example(((3, 4),), {"rule": "not be negative", "name": "scale"}, low=0.5),),
)


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
    if dtype == "float16":
        numbers = minimum(numbers, _HALF_BELOW_ONE)
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
gamma = drawing("standard_gamma", _gamma, Example(((4,),), _FLOATS, low=0.5), raises=True)  # scale 1
integers = drawing("integers", _integers, Example((), {"low": -3, "high": 9, **_INTEGERS}))
permutation = drawing("permutation", _permutation, Example((), {"shape": (5,), "dtype": "int64"}))
choice = drawing(  # places below n, equally likely or weighted
    "choice",
    _choice,
    Example((), {"n": 20, "replace": False, **_INTEGERS}),
    Example(((5,),), {"n": 5, "replace": True, **_INTEGERS}, low=0.2, high=0.2),
    raises=True,
)
poisson = drawing("poisson", _poisson, Example(((4,),), _INTEGERS, low=0.5), raises=True)
binomial = drawing("binomial", _binomial, Example(((4,), ()), _INTEGERS, low=0.1, high=0.9), raises=True)
multinomial = drawing(  # how often each of n trials hit
    "multinomial", _multinomial, Example(((4,),), {"n": 6, **_INTEGERS}, low=0.1, high=0.3), raises=True
)
# 0 with probability p, else 1 / (1 - p): what a dropped array is multiplied with.
dropout_mask = drawing(
    "dropout_mask", _dropout_mask, Example((), {"p": 0.4, **_FLOATS}), expand=_mask_of_uniform
)
