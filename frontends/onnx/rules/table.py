"""The table of rules: what an ONNX operator is in our arrays, for a range of opsets.

A rule is a Python function. Inputs come by position, in the order of the standard, and attributes by name, so an input that
was an attribute in an older opset needs no rule of its own. A parameter with the annotation ``Static`` holds what Python
must know, such as axes and sizes: a constant that arrives there stays NumPy's.

Rules use NumPy's functions, which mean ours where an argument is ours: constants and sizes are computed while a call is
recorded, and leave nothing in its program.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, TypeVar

import numpy

Value = Any  # an array of ours, or NumPy's where it is known before the call
Static = Any  # a value that Python reads
Function = TypeVar("Function", bound=Callable[..., Any])

NEWEST = 10**6  # above all opsets


@dataclass(frozen=True)
class Rule:
    """One row: what an operator means from one opset to another."""

    operator: str  # its name in the standard
    since: int  # the first opset for which it holds
    until: int  # the last one
    function: Callable[..., Any]
    several: bool  # whether it gives a tuple, of all outputs that the operator can have

    @property
    def symbol(self) -> str:
        """What source calls it."""
        return self.operator if self.until == NEWEST else f"{self.operator}_{self.until}"

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """What the function takes, by name."""
        return dict(inspect.signature(self.function).parameters)

    def reads(self, position: int) -> bool:
        """Whether Python must know the input at ``position``."""
        names = list(self.parameters.values())
        return position < len(names) and names[position].annotation == "Static"


RULES: dict[str, list[Rule]] = {}  # operator -> its rows


def rule(
    operator: str, since: int = 1, until: int = NEWEST, several: bool = False
) -> Callable[[Function], Function]:
    """Declare that the decorated function is ``operator`` in the opsets ``since`` to ``until``."""

    def declared(function: Function) -> Function:
        RULES.setdefault(operator, []).append(Rule(operator, since, until, _owning(function), several))
        return function

    return declared


def _owning(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, whose constants are no views of each other: a program takes none whose memory others may write."""

    @wraps(function)
    def owning(*inputs: Any, **attributes: Any) -> Any:
        return _owned(function(*inputs, **attributes))

    return owning


def _owned(value: Any) -> Any:
    if type(value) is tuple:
        return tuple(map(_owned, value))
    return value.copy() if type(value) is numpy.ndarray and value.base is not None else value


def rule_of(operator: str, opset: int) -> Rule | None:
    """The row for ``operator`` in ``opset``, if there is one."""
    rows = RULES.get(operator, ())
    return next((row for row in rows if row.since <= opset <= row.until), None)
