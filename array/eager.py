"""The eager interpreter: operators run their NumPy meaning at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from operator import setitem
from typing import Any

import numpy

from blockfuse.array import stamps
from blockfuse.array.defaults import as_by_default
from blockfuse.array.memory import note_view
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.errors import DTypeError
from blockfuse.ir.interpreter import Retracing
from blockfuse.ir.operator import Operator


def data_of(operand: Any) -> Any:
    """An operand as NumPy takes it. Python numbers stay as they are: they promote weakly."""
    if type(operand) is ndarray:
        return operand._data
    if isinstance(operand, numpy.ndarray | int | float):
        return operand
    if isinstance(operand, numpy.generic):
        return numpy.asarray(operand)
    return from_sequence(operand)


def from_sequence(values: Any) -> numpy.ndarray:
    """Nested lists as an array; Python floats become the default's, as everywhere in ``blockfuse.np``."""
    return as_by_default(numbers_of(values))


def numbers_of(values: Any) -> numpy.ndarray:
    """Python numbers and nested lists of them, in NumPy's dtype for them."""
    try:
        array = numpy.array(_unwrapped(values))
    except ValueError as error:
        raise DTypeError(
            f"cannot make an array of {type(values).__name__} {values!r:.80}: {error}"
        ) from error
    if array.dtype.kind not in "fiub":
        raise DTypeError(
            f"cannot make an array of {type(values).__name__} {values!r:.80}: its values are not numbers"
        )
    return array


def _unwrapped(values: Any) -> Any:
    if isinstance(values, list | tuple):
        return [_unwrapped(v) for v in values]
    return values._leave("building an array from a list") if isinstance(values, ndarray) else values


class Eager:
    """Computes with NumPy, records nothing."""

    recording = False
    defers = False
    outlived = True

    def apply(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        result = operator.meaning(*[data_of(o) for o in operands], **attrs)
        made = ndarray(result if type(result) is numpy.ndarray else numpy.asarray(result))
        if made._data.base is not None:
            note_view(made)
        return made

    def update(
        self, target: ndarray, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]
    ) -> None:
        values = [data_of(o) for o in operands]
        stamps.writing((target._data,), _write, target._data, operator, values, attrs)

    def assign(self, target: ndarray, index: Any, value: Any) -> None:
        key, values = numpy_index(index), data_of(value)
        stamps.writing((target._data,), setitem, target._data, key, values)

    def escape(self, kind: str, array: ndarray) -> None:
        """Nothing is recorded, so nothing escapes."""

    def impure(self, what: str) -> None:
        """Nothing is recorded, so nothing need be repeated."""

    def follow(self) -> None:
        """There is nobody who would care."""

    def retracing(self, obstacle: str) -> Retracing | None:  # noqa: ARG002 - recorders look at it
        """Nobody wants to know."""
        return None

    def asks(self, holder: Any, ask: Callable[[], Any], text: str) -> None:
        """Nothing rests on the answer."""

    def settles(self, holder: Any) -> None:
        """Nothing rests on the answer."""

    def visit(self, block: Any) -> None:
        """Nothing rests on the block's state."""

    def assigning(self, holder: Any, name: str) -> AbstractContextManager[Any] | None:  # noqa: ARG002 - recorders look
        """Nothing rests on the attribute."""
        return None


def _write(target: numpy.ndarray, operator: Operator, values: list[Any], attrs: dict[str, Any]) -> None:
    """``operator(*values, **attrs)`` into the memory of ``target``."""
    if isinstance(operator.meaning, numpy.ufunc):
        operator.meaning(*values, out=target, **attrs)
        return
    result = numpy.asarray(operator.meaning(*values, **attrs))
    if result.shape != target.shape:
        raise ValueError(
            f"an in-place {operator.name} gives shape {result.shape}; the target has {target.shape}"
        )
    numpy.copyto(target, result, casting="same_kind")


def numpy_index(index: Any) -> Any:
    """A user's index with our arrays replaced by NumPy's; Gluon's indices are often float32."""
    if isinstance(index, tuple):
        return tuple(numpy_index(i) for i in index)
    if not isinstance(index, ndarray):
        return index
    return index._data.astype("int64") if index._data.dtype.kind == "f" else index._data


EAGER = Eager()
interpreter.set_default(EAGER)
