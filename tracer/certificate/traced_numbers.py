"""Numbers that stand for any value: how it is found out that Python itself never looks at a number.

NOTE [traced numbers]
A number among the arguments is a constant of the recorded graph, unless ``forward`` treats all its values alike. To
find out, the call is recorded once more with ``TracedNumber``s in the place of its numbers. A traced number is no
float, so nothing can read its value past it (a subclass of ``float`` would give it away to C code that nobody sees);
but it answers ``isinstance`` as one. Arithmetic with other numbers gives another traced number that remembers its
expression; array operators take it as an operand; everything else (a comparison, ``int()``, formatting, hashing, a
function of NumPy or ``math``) raises ``Escaped``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.tracer.certificate.ownership import user_source

_MAX_EXPRESSION_CHARACTERS = 1000  # characters of an expression: sums of sums grow without end


@dataclass(frozen=True)
class Operand:
    """What an array operator takes in place of a traced number, computed anew at each call.

    text: the expression, with ``n3`` for the static value number 3 of the arguments. type: what Python's result is.
    """

    text: str
    type: type
    dtype: numpy.dtype


class Escaped(BaseException):
    """A traced number was used in Python; ``indices``: which values of the arguments it was made of.

    No ``Exception``: user code that catches those must not see it.
    """

    def __init__(self, what: str, indices: frozenset[int]) -> None:
        source = user_source()
        where = f"{source.function} uses it in Python" if source else "it is used in Python"
        super().__init__(f"{where} ({what})" + (f" at {source}" if source else ""))
        self.indices = indices
        interpreter.current().impure("uses a number in Python")  # also where C code forgets the exception


class TracedNumber:
    """A number whose value Python must not see. Its own attributes are read with ``value_of`` and its siblings."""

    __slots__ = ("_blockfuse_indices", "_blockfuse_text", "_blockfuse_value")
    __hash__: Any  # attached below, with everything else that uses the value

    def __init__(self, value: int | float, text: str, indices: frozenset[int]) -> None:
        self._blockfuse_value, self._blockfuse_text, self._blockfuse_indices = value, text, indices

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":  # isinstance() asks for it
            return type(value_of(self))
        raise Escaped(f"attribute {name}", indices_of(self))


def is_traced(value: Any) -> bool:
    return type(value) is TracedNumber


value_of: Callable[[Any], int | float] = vars(TracedNumber)["_blockfuse_value"].__get__
text_of: Callable[[Any], str] = vars(TracedNumber)["_blockfuse_text"].__get__
indices_of: Callable[[Any], frozenset[int]] = vars(TracedNumber)["_blockfuse_indices"].__get__


def plain(value: Any) -> Any:
    """The number itself; everything that is no traced number as it is."""
    return value_of(value) if type(value) is TracedNumber else value


# -- arithmetic: another traced number -------------------------------------------------------------------------


def _binary(
    symbol: str, function: Callable[[Any, Any], Any]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def forward(self: TracedNumber, other: Any) -> Any:
        return _combined(symbol, function, self, other, other)

    def reflected(self: TracedNumber, other: Any) -> Any:
        return _combined(symbol, function, other, self, other)

    return forward, reflected


def _combined(symbol: str, function: Callable[[Any, Any], Any], left: Any, right: Any, other: Any) -> Any:
    if type(other) is ndarray:
        return NotImplemented  # the array's own method makes a node of it
    indices: frozenset[int] = frozenset()
    indices = indices.union(*(indices_of(o) for o in (left, right) if type(o) is TracedNumber))
    if type(other) not in (int, float, TracedNumber):
        raise Escaped(f"{symbol} with a {type(other).__name__}", indices)
    if symbol == "**" and type(plain(left)) is type(plain(right)) is int:
        raise Escaped("a power of ints, which has no largest value", indices)
    return _made(function(plain(left), plain(right)), f"({_text(left)} {symbol} {_text(right)})", indices)


def _made(value: Any, text: str, indices: frozenset[int]) -> TracedNumber:
    if type(value) not in (int, float):
        raise Escaped(f"a {type(value).__name__} is made of it", indices)
    if len(text) > _MAX_EXPRESSION_CHARACTERS:
        raise Escaped("a long expression", indices)
    return TracedNumber(value, text, indices)


def _text(value: Any) -> str:
    return text_of(value) if type(value) is TracedNumber else f"({value!r})"


def _unary(symbol: str, function: Callable[[Any], Any]) -> Callable[[TracedNumber], TracedNumber]:
    return lambda self: _made(function(value_of(self)), f"({symbol}{text_of(self)})", indices_of(self))


_BINARY: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "add": ("+", operator.add),
    "sub": ("-", operator.sub),
    "mul": ("*", operator.mul),
    "truediv": ("/", operator.truediv),
    "floordiv": ("//", operator.floordiv),
    "mod": ("%", operator.mod),
    "pow": ("**", operator.pow),
}
for _name, (_symbol, _function) in _BINARY.items():
    _forward, _reflected = _binary(_symbol, _function)
    setattr(TracedNumber, f"__{_name}__", _forward)
    setattr(TracedNumber, f"__r{_name}__", _reflected)
for _name, _symbol, _sign in (("neg", "-", operator.neg), ("pos", "+", operator.pos)):
    setattr(TracedNumber, f"__{_name}__", _unary(_symbol, _sign))

# -- everything else: Python would see the value -----------------------------------------------------------------

_USES = (
    *("abs", "bool", "ceil", "complex", "copy", "deepcopy", "dir", "divmod", "eq", "float", "floor"),
    "format",
    *("ge", "gt", "hash", "index", "int", "invert", "le", "lt", "ne", "rdivmod", "reduce", "reduce_ex"),
    "repr",
    *("round", "str", "trunc"),
    *("and", "lshift", "matmul", "or", "rand", "rlshift", "rmatmul", "ror", "rrshift", "rshift", "rxor"),
    "xor",
    *("array", "array_function", "array_ufunc"),
)


def _escaping(name: str) -> Callable[..., Any]:
    def use(self: TracedNumber, *_: Any, **__: Any) -> Any:
        raise Escaped(f"{name}()", indices_of(self))

    return use


for _name in _USES:
    setattr(TracedNumber, f"__{_name}__", _escaping(_name))
