"""What recording changes in its thread and process, and puts back whatever happens.

NOTE [interrupted recordings]
Each change is undone where it was made. But Ctrl-C may come between a change and its ``try``, or in a ``finally``; so whoever
records also looks at the end whether everything is as it was at the beginning.
"""

from __future__ import annotations

import gc
import os
import sys
from threading import get_ident

from blockfuse.array import modes
from blockfuse.ir import interpreter

_collecting: dict[int, bool] = {}  # threads that stopped the collector -> whether it ran before


def stop_collector() -> None:
    """Finalizers of other objects would be taken for the recorded call's doing."""
    _collecting[get_ident()] = gc.isenabled() or any(list(_collecting.values()))
    gc.disable()


def resume_collector() -> None:
    """Let it run as before, once nobody records."""
    before = _collecting.pop(get_ident(), False)
    if before and not any(list(_collecting.values())):
        gc.enable()


class Surroundings:
    """Those of a recording that begins."""

    def __init__(self) -> None:
        self._interpreter = interpreter.current()
        self._profile, self._trace = sys.getprofile(), sys.gettrace()
        self._scopes = modes.scopes_open()

    def restore(self) -> None:
        """Nothing where all is as it was."""
        if interpreter.current() is not self._interpreter:
            interpreter.go_on_with(self._interpreter)
        if sys.getprofile() is not self._profile:
            sys.setprofile(self._profile)
        if sys.gettrace() is not self._trace:
            sys.settrace(self._trace)
        modes.close_scopes(but=self._scopes)
        if get_ident() in _collecting:
            resume_collector()


def _in_child() -> None:
    """Nobody else records any more."""
    here = get_ident()
    if any(before for thread, before in list(_collecting.items()) if thread != here) and here not in _collecting:
        gc.enable()
    for thread in [t for t in _collecting if t != here]:
        del _collecting[thread]


os.register_at_fork(after_in_child=_in_child)
