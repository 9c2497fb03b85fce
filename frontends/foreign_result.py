"""A result of another library's that goes by way of an exception, past what computes with arrays."""

from __future__ import annotations

from typing import Any


class ForeignResult(Exception):  # noqa: N818 - a result, not a failure
    """What another library gave, where our arrays cannot hold it."""

    def __init__(self, result: Any) -> None:
        super().__init__("a result that is no array")
        self.result = result
