"""What calls change in their thread while they are recorded or repeated, and put back whatever happens.

NOTE [interrupted calls]
Each change is undone where it was made. But Ctrl-C may come between a change and its ``try``, or in a ``finally``; so the
outermost of ours looks at the end of a call that raises whether everything is as it was at the beginning.
"""

from __future__ import annotations

import sys
from typing import Any

from numpy._core import umath  # what ``numpy.errstate`` itself uses

from blockfuse.array import modes
from blockfuse.ir import interpreter
from blockfuse.ir.collector import resume_collector
from blockfuse.ir.stream import STREAM

_ERRORS: Any = getattr(umath, "_extobj_contextvar", None)


class Surroundings:
    """Those of a call that begins."""

    __slots__ = ("_errors", "_interpreter", "_profile", "_scopes", "_stream", "_trace")

    def __init__(self) -> None:
        self._interpreter, self._scopes = interpreter.innermost(), modes.scopes_open()
        self._profile, self._trace = sys.getprofile(), sys.gettrace()
        self._stream, self._errors = STREAM.own, _ERRORS and _ERRORS.get()

    def restore(self) -> None:
        """Nothing where all is as it was."""
        interpreter.return_to(self._interpreter)
        if sys.getprofile() is not self._profile:
            sys.setprofile(self._profile)
        if sys.gettrace() is not self._trace:
            sys.settrace(self._trace)
        if STREAM.own is not self._stream:
            STREAM.own = self._stream
        if _ERRORS and _ERRORS.get() is not self._errors:
            _ERRORS.set(self._errors)
        modes.close_scopes(but=self._scopes)
        resume_collector()
