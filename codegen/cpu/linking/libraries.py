"""Functions of the libraries that a process has loaded."""

from __future__ import annotations

import ctypes

_LIBRARIES = (None, "libm.so.6")  # all that the process has loaded, and what it may lack


def function_address(library: ctypes.CDLL, name: str) -> int:
    """Where a function of a library lies; raises AttributeError where it has none."""
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


def imported(name: str) -> int:
    """The address of a function of the C or the mathematical library; 0 where there is none."""
    for library in _LIBRARIES:
        try:
            return function_address(ctypes.CDLL(library), name)
        except (AttributeError, OSError):
            continue
    return 0
