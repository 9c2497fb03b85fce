"""The table of forms: what an operator of ours is in ONNX, for each row that can be written.

A form is a function of the writer, the call (an operator with what it is given) and its operands, and gives a value. An
operator that has none and is written with others is written as these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.ir.operator import TABLE, Operator


@dataclass(frozen=True)
class PerItem:
    """A number that is so many for each item of the batch."""

    count: int


Size = int | PerItem
Shape = tuple[Size, ...]


@dataclass(frozen=True)
class Value:
    """A value of the model."""

    name: str
    dtype: numpy.dtype
    shape: Shape

    @property
    def ndim(self) -> int:
        return len(self.shape)


@dataclass(frozen=True)
class Call:
    """An operator with what it is given, and what it gives."""

    operator: Operator
    operands: tuple[Value, ...]
    attrs: dict[str, Any]
    dtype: numpy.dtype
    shape: Shape


class NoFormError(Exception):
    """There is no such model; the message says of what, after the name of an operator."""


Form = Callable[..., Value]  # of the writer, the call, its operands and its attributes
FORMS: dict[str, Form] = {}  # operator -> its form


def form(*names: str) -> Callable[[Form], Form]:
    """Declare that the decorated function is the form of these operators."""

    def declared(function: Form) -> Form:
        for name in names:
            assert name in TABLE, f"there is no operator {name}"
            assert name not in FORMS, f"two forms are for {name}"
            FORMS[name] = function
        return function

    return declared


def whole(shape: Shape) -> tuple[int, ...]:
    """The shape, where it is known before the call."""
    if any(isinstance(size, PerItem) for size in shape):
        raise NoFormError("for any size of the batch")
    return tuple(size for size in shape if isinstance(size, int))
