"""What a function that kernel source calls is: its native code and its meaning, side by side in one file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from blockfuse.codegen.kernels.machine import Machine


@dataclass(frozen=True)
class KernelFunction:
    """A row of ``intrinsics/table.py``. The meaning is the definition: native code that disagrees is wrong."""

    name: str  # in kernel source
    native: Callable[[Machine], Any]  # what Numba finds under the name
    meaning: Callable[..., Any]  # the same over ``codegen.meaning.memory.Address`` and NumPy's numbers
