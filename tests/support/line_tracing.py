"""A trace function of C, as that of coverage.py: it has no function of each frame, as one of Python has."""

import ctypes
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LINE = 2  # PyTrace_LINE
_Trace = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.py_object, ctypes.py_object, ctypes.c_int, ctypes.c_void_p
)  # a Py_tracefunc


@contextmanager
def lines_seen(file: str) -> Iterator[list[int]]:
    """The lines of a file that run meanwhile; the list is what ``sys.gettrace()`` gives."""
    seen: list[int] = []

    @_Trace
    def trace(_: Any, frame: types.FrameType, event: int, __: Any) -> int:
        if event == _LINE and frame.f_code.co_filename == file:
            seen.append(frame.f_lineno)
        return 0

    ctypes.pythonapi.PyEval_SetTrace(trace, ctypes.py_object(seen))
    try:
        yield seen
    finally:
        sys.settrace(None)
