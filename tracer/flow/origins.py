"""Where an array that was there before the call can be found again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.tracer.state.facts import is_watched


@dataclass(frozen=True)
class Origin:
    """holder: a parameter, or the array itself (ours or NumPy's). name: for people."""

    name: str
    holder: Any

    def array(self) -> numpy.ndarray:
        """The present values."""
        held = self.holder._data if is_watched(self.holder) else self.holder
        return held._data if isinstance(held, ndarray) else held
