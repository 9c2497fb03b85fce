"""The values of Keras's variables in arrays of ours, which are as new as the variables are when a call begins.

NOTE [weights as they are now]
A variable of Keras holds a tensor of the backend. JAX's never change: ``assign``, ``fit`` and ``load_weights`` put another
one there. NumPy's and torch's may also be written where they lie, and what TensorFlow holds there is a variable of its own:
nobody tells of such writes. So a program has arrays of its own, and before each call the net looks at the variables that
programs read: at which tensor is there, and, where tensors can be written, at its elements, byte by byte. What is new is
written into our array, and whoever packed it is told.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy

from blockfuse.array.eager import EAGER
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.keras.backends import (
    as_numpy,
    elements_of,
    is_there,
    known_memory,
    memory_of,
    never_changes,
)
from blockfuse.ir.comparisons import Aspect, Comparison
from blockfuse.ir.interpreter import interpreting

_compare = ctypes.CDLL(None).memcmp
_compare.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]


_mirrors: dict[int, Mirror] = {}  # id of a variable -> its mirror
_constants: dict[
    int, tuple[Any, ndarray]
] = {}  # id of a tensor that never changes -> a reference to it, its array


class Mirror:
    """A variable, and the array of ours with its values. seen: the tensor that they are of."""

    def __init__(self, variable: Any) -> None:
        self.variable = weakref.ref(variable, partial(_mirrors.pop, id(variable)))
        self.array = ndarray(numpy.array(as_numpy(variable._value), order="C"))
        self._see(variable._value)

    def _see(self, value: Any) -> None:
        """Know that the array has what ``value`` has, and where to look whether it still does."""
        ours = self.array._data
        self._words: tuple[int, ...] = ()
        if not never_changes(value) and (place := memory_of(value, ours)) is not None:
            self._words = place, ours.ctypes.data, ours.nbytes
        self.seen = value

    def is_new(self) -> bool:
        """Whether the array has what the variable has now."""
        variable = self.variable()
        if variable is None:
            return True
        value = variable._value
        if value is not self.seen:
            return False
        if never_changes(value):
            return True
        if self._words and is_there(value, self._words[0]):
            return not _compare(*self._words)
        return _are_equal(elements_of(value), self.array._data)

    def renew(self) -> None:
        """Write what the variable has now into the array; threads that do so at one time write the same."""
        variable = self.variable()
        if variable is not None and not self.is_new():
            value = variable._value
            with interpreting(EAGER):
                self.array[...] = as_numpy(value)
            self._see(value)


def _are_equal(theirs: numpy.ndarray, ours: numpy.ndarray) -> bool:
    """Byte by byte: nan equals itself here, and 0 is not -0."""
    if (theirs.dtype, theirs.shape) != (ours.dtype, ours.shape):
        return False
    theirs = numpy.ascontiguousarray(theirs)
    return not _compare(theirs.ctypes.data, ours.ctypes.data, ours.nbytes)


@dataclass(frozen=True)
class Kept:
    """A variable keeps its dtype, as a fact (``tracer/state/facts.py``)."""

    holder: Any
    dtype: str
    text: str

    def holds(self) -> bool:
        return bool(self.holder._dtype == self.dtype)

    def condition(self, bind: Callable[[Any], str]) -> str:
        return f"{bind(self.holder)}._dtype == {bind(self.dtype)}"

    def comparisons(self) -> tuple[Comparison, ...]:
        return (Comparison(Aspect.ITEM, vars(self.holder), ("_dtype", self.holder._dtype)),)


def mirror_of(variable: Any) -> Mirror:
    """The one of a variable. Raises TypeError where our arrays cannot hold its values."""
    known = _mirrors.get(id(variable))
    if known is None:
        if variable._value is None:
            raise TypeError("a variable without a value")
        known = _mirrors.setdefault(id(variable), _made(Mirror, variable))
    return known


def held(value: Any, text: str) -> tuple[ndarray, Any]:
    """The array for a variable, or a tensor that never changes, that was there before the call, and a fact about it."""
    if isinstance(value, keras.Variable):
        mirror_of(value).renew()
        return mirror_of(value).array, Kept(value, value._dtype, f"the dtype of {text}")
    return constant(value), Unchanged(value, f"the elements of {text}")


@dataclass(frozen=True)
class Unchanged:
    """What a tensor that never changes holds, as a fact (``tracer/state/facts.py``)."""

    holder: Any
    text: str

    def holds(self) -> bool:
        return True

    def condition(self, bind: Callable[[Any], str]) -> str:  # noqa: ARG002 - there is nothing to ask
        return "True"

    def comparisons(self) -> tuple[Comparison, ...]:
        return ()


def constant(tensor: Any) -> ndarray:
    """The array for a tensor that never changes, the same for the same one."""
    known = _constants.get(id(tensor))
    if known is None:
        array = _made(lambda t: ndarray(numpy.array(as_numpy(t), order="C")), tensor)
        known = _constants.setdefault(
            id(tensor), (weakref.ref(tensor, partial(_constants.pop, id(tensor))), array)
        )
    return known[1]


def known(tensor: Any) -> ndarray | None:
    """The array for a tensor that was there before the call; None where nobody knows one."""
    found = _constants.get(id(tensor))
    return known_memory(tensor) if found is None else found[1]


def _made(make: Callable[[Any], Any], value: Any) -> Any:
    try:
        return make(value)
    except Exception as error:  # of a dtype that our arrays or NumPy's do not have
        raise TypeError(str(error)) from error
