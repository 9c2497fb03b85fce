"""Python's collector, stopped while no finalizer of anybody may run.

It belongs to the process, so threads count: it runs again when none of them needs it stopped, if it ran before.
"""

from __future__ import annotations

import gc
import os
from threading import get_ident

_stopped: dict[int, bool] = {}  # threads that need it stopped -> whether it ran before


def stop_collector() -> None:
    """Until ``resume_collector``, in this thread."""
    _stopped[get_ident()] = gc.isenabled() or any(list(_stopped.values()))
    gc.disable()


def resume_collector() -> None:
    """Nothing where this thread has not stopped it."""
    ran = _stopped.pop(get_ident(), False)
    if ran and not any(list(_stopped.values())):
        gc.enable()


def _in_child() -> None:
    """Only the thread that forked is there to resume it."""
    here, others = get_ident(), any(list(_stopped.values()))
    mine = _stopped.get(here)
    _stopped.clear()
    if mine is not None:
        _stopped[here] = mine
    elif others:
        gc.enable()


os.register_at_fork(after_in_child=_in_child)
