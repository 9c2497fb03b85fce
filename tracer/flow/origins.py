"""Where an array that was there before the call can be found again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy

from blockfuse.array.history import variable_of
from blockfuse.array.ndarray import ndarray
from blockfuse.tracer.state.facts import is_watched


class Place(Enum):
    """Where in its holder an array lies."""

    VALUE = auto()
    GRADIENT = auto()  # of a parameter
    FLAG = auto()  # of a parameter: whether its gradient is new


@dataclass(frozen=True)
class Origin:
    """Of the array of a parameter, of its gradient and its flag, or of an array that no parameter holds."""

    name: str  # for people
    holder: Any  # a parameter, or the array itself (ours or NumPy's)
    place: Place = Place.VALUE

    @property
    def key(self) -> tuple[int, Place]:
        """Equal for what lies in the same place."""
        return id(self.holder), self.place

    def array(self) -> numpy.ndarray:
        """The present values."""
        held = self.holder._data if is_watched(self.holder) else self.holder
        variable = None if self.place is Place.VALUE else variable_of(held)
        if variable is not None and self.place is Place.FLAG:
            return variable.flag
        if variable is not None:
            held = variable.room(held)
        return held._data if isinstance(held, ndarray) else held
