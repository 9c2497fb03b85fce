"""The tables of rules: what an operation of Keras is in our arrays, and what layers do that go around operations.

A rule of an operation takes the ``Operation``, whose attributes are the options of the call, and its operands with arrays
of ours in the place of tensors and variables; it gives arrays. The result gets the dtype that Keras infers. A rule of
control flow and one of a layer take and give tensors as Keras's code has them, and call what they are given. What a rule
does not cover it refuses by ``NoRule``; Keras then computes that call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import keras
from keras.src.activations import activations
from keras.src.ops import core, linalg, math, nn, numpy

Array = Any  # an array of ours
Value = Any  # an array of ours or a Python number
Op = Any  # an operation of Keras
Tensor = Any  # what stands for an array in Keras's code
Function = TypeVar("Function", bound=Callable[..., Any])

_PLACES = (numpy, nn, core, math, linalg, activations)

RULES: dict[type, Callable[..., Any]] = {}  # class of an operation -> its rule
CONTROL_RULES: dict[type, Callable[..., Any]] = {}  # the same of control flow
LAYER_RULES: dict[Any, Callable[..., Any]] = {}  # ``call`` of a layer's class -> its rule


class NoRule(Exception):  # noqa: N818 - an answer, not a failure
    """A rule does not cover these arguments."""


def rule(*names: str, table: dict[type, Callable[..., Any]] = RULES) -> Callable[[Function], Function]:
    """Declare that the decorated function is what these operations of Keras mean, but for those that a release lacks."""

    def declared(function: Function) -> Function:
        for name in names:
            for place in _PLACES:
                kind = vars(place).get(name)
                if isinstance(kind, type) and issubclass(kind, keras.Operation):
                    table[kind] = function
        return function

    return declared


def layer_rule(*kinds: type) -> Callable[[Function], Function]:
    """Declare that the decorated function does what ``call`` of these layers does."""

    def declared(function: Function) -> Function:
        LAYER_RULES.update((vars(kind)["call"], function) for kind in kinds if "call" in vars(kind))
        return function

    return declared


def refuse_if(condition: Any, what: str) -> None:
    """Leave the call to Keras."""
    if condition:
        raise NoRule(what)
