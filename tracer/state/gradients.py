"""What a recorded call that follows gradients rests on: who asks for them.

NOTE [who asks for gradients]
A parameter's ``grad_req`` says whether gradients go to it, and tells the parameter's watchers. Nobody tells of
``attach_grad`` and ``drop_grad`` of other arrays, of the array of a parameter, or of what recorded writes put into memory.
They are rare, so one object stands for all of them (``history.ASKED``): a guard compares it, and where it is another one the
slow comparison looks at each array. Arguments are other arrays in each call, so entries look at theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from blockfuse.array.history import ASKED, node_of, variable_of
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.comparisons import Comparison
from blockfuse.ir.errors import GradientError
from blockfuse.tracer.state.facts import Bind


@dataclass(frozen=True)
class Asked:
    """Gradients go to the arrays of parameters alone, and to those as ``grad_req`` says."""

    parameters: Sequence[Any]
    arrays: Sequence[ndarray]  # others that the call read
    seen: list[object] = field(default_factory=lambda: [None])  # what ``ASKED`` held when it was so
    text: str = "gradients of an array, other than by a parameter's grad_req"

    def holds(self) -> bool:
        now = ASKED[0]
        found = all(map(_as_required, self.parameters)) and not has_history(self.arrays)
        if found:
            self.seen[0] = now
        return found

    def condition(self, bind: Bind) -> str:
        return f"{bind(ASKED)}[0] is {bind(self.seen)}[0]"

    def comparisons(self) -> tuple[Comparison, ...]:
        """None: what it is compared with changes."""
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
