"""What a recorded call learned of the sizes of arrays in Python.

NOTE [sizes that Python saw]
A program for every batch size stands for calls that were never recorded, so nothing in Python may have looked at the
size. The witness sees every Python function that starts, those that tell a size among them
(``array.sizes.tells_size``). User code that calls one has *measured* the array. So has library code, unless it declares
that nothing depends on what it learns (``array.sizes.size_agnostic``). An error that depends on the size could be
caught, so a function that handles exceptions counts as having looked as well.
"""

from __future__ import annotations

import dis
import types
from functools import lru_cache


@lru_cache(maxsize=4096)
def handles_exceptions(code: types.CodeType) -> bool:
    """Whether a function has an ``except``, ``finally`` or ``with``."""
    return any(i.opname == "PUSH_EXC_INFO" for i in dis.get_instructions(code))
