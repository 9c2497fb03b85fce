"""What a recorded call that follows gradients rests on: who asks for them.

NOTE [who asks for gradients]
A parameter's ``grad_req`` says whether gradients go to it, and tells the parameter's watchers. ``attach_grad`` and
``drop_grad`` of other arrays, and of the array of a parameter, tell those of ``history.ASKED``: programs that follow
gradients, which then look at each array. What a write puts into memory tells the watchers of the memory. Arguments are
other arrays in each call, so entries look at theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from blockfuse.array.history import node_of, variable_of
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.comparisons import Comparison
from blockfuse.ir.errors import GradientError
from blockfuse.tracer.state.facts import Bind


@dataclass(frozen=True)
class Asked:
    """Gradients go to the arrays of parameters alone, and to those as ``grad_req`` says."""

    parameters: Sequence[Any]
    arrays: Sequence[ndarray]  # others that the call read
    text: str = "gradients of an array, other than by a parameter's grad_req"

    def holds(self) -> bool:
        return all(map(_as_required, self.parameters)) and not has_history(self.arrays)

    def condition(self, bind: Bind) -> str:  # noqa: ARG002 - watchers are told
        return "True"

    def comparisons(self) -> tuple[Comparison, ...]:
        """None: watchers are told."""
        return ()


def _as_required(parameter: Any) -> bool:
    data = parameter._data
    if data is None:
        return True
    variable = variable_of(data)
    if variable is None:
        return bool(parameter.grad_req == "null" or data.dtype.kind != "f")
    agrees: bool = variable.held and variable.requirement == parameter.grad_req
    return agrees


def has_history(arrays: Iterable[ndarray]) -> bool:
    """Whether gradients could go to an array, or to what it was computed from."""
    return any(map(_has_history, arrays))


def _has_history(array: ndarray) -> bool:
    try:
        return node_of(array) is not None
    except GradientError:  # nobody knows; an operator that uses it says so
        return True
