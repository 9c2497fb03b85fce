"""The table of rules: what a function of torch is in our arrays.

A rule takes what torch's own function has just given (``like``), and the arguments of the call with arrays of ours in the
place of tensors. It gives one array, or as many as ``like`` has tensors. ``like`` says which dtype and shape must come out;
whatever a rule does not cover it refuses by ``NoRule``, and torch's result stands.

The same rule serves ``torch.f``, ``torch.Tensor.f`` and ``torch.nn.functional.f``; functions that write into their first
argument (``f_``) are the rule, then a write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

Array = Any  # an array of ours
Value = Any  # an array of ours or a Python number
Tensor = Any  # torch's
Function = TypeVar("Function", bound=Callable[..., Any])

# Where a function of a rule's name may stand.
_PLACES = (
    torch,
    torch.Tensor,
    torch.nn.functional,
    torch._C._nn,
    torch.special,
    torch.linalg,
    torch._C._VariableFunctions,
    torch._C._linalg,
    torch._C._special,
)

RULES: dict[Any, Callable[..., Any]] = {}  # function of torch -> its rule
WRITING: dict[
    Any, Any
] = {}  # function of torch that writes into its first argument -> the one that gives the new value


class NoRule(Exception):  # noqa: N818 - an answer, not a failure
    """A rule does not cover these arguments."""


def rule(*names: str) -> Callable[[Function], Function]:
    """Declare that the decorated function is what these functions of torch mean."""

    def declared(function: Function) -> Function:
        for name in names:
            found = declare(name, function)
            assert found, name
        return function

    return declared


def declare(name: str, function: Callable[..., Any]) -> bool:
    """Let ``function`` be the rule of all of torch's functions called ``name``; whether there is one."""
    found = [getattr(place, name) for place in _PLACES if hasattr(place, name)]
    for one in found:
        RULES[one] = function
    for place in _PLACES:
        writing = getattr(place, f"{name}_", None)
        if writing is not None and found and not name.startswith("_"):
            WRITING[writing] = found[0]
    return bool(found)
