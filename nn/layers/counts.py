"""The whole numbers that layers are made with: units, channels, rows."""

from __future__ import annotations

import operator
from typing import Any

from blockfuse.ir.errors import UsageError


def count_of(layer: str, name: str, value: Any, least: int = 1) -> int:
    """``value`` as an int of ``least`` or more; ``UsageError`` says which argument of which layer is none."""
    try:
        count = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = least - 1
    if count < least:
        raise UsageError(f"{layer} takes {name} as an int of {least} or more; found {name}={value!r}")
    return count
