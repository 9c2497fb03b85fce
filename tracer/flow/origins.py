"""Where an array that was there before the call can be found again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.array.history import Variable, variable_of
from blockfuse.array.ndarray import ndarray
from blockfuse.tracer.state.facts import is_watched


@dataclass(frozen=True)
class Origin:
    """Of the array of a parameter, of its gradient, or of an array that no parameter holds."""

    name: str  # for people
    holder: Any  # a parameter, or the array itself (ours or NumPy's)
    is_gradient: bool = False  # of the parameter

    @property
    def key(self) -> tuple[int, bool]:
        """Equal for what lies in the same place."""
        return id(self.holder), self.is_gradient

    def variable(self) -> Variable | None:
        """What a gradient is of."""
        return variable_of(self.holder._data) if self.is_gradient else None

    def array(self) -> numpy.ndarray:
        """The present values."""
        held = self.holder._data if is_watched(self.holder) else self.holder
        variable = self.variable()
        if variable is not None:
            held = variable.room(held)
        return held._data if isinstance(held, ndarray) else held
