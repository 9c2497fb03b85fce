"""What a program answers where it has no result for a call."""

from __future__ import annotations

from enum import Enum


class NoResult(Enum):
    """The reason, which says what is left to do."""

    UNKNOWN = "no recording has taken the way that this call takes"
    OUTDATED = "the state that the program rests on has changed"
    PYTHON = "only Python can run this call"
    BUSY = "nobody can tell now whether the program still holds"
