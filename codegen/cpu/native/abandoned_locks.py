"""Locks of Numba and llvmlite that nobody will give back.

Both take them in functions of Python, in which Ctrl-C can come before what gives them back. Their owner goes on without
noticing, as they are reentrant; every other thread would wait for ever. And a child of a fork has locks that threads hold
which do not exist there.
"""

from __future__ import annotations

import re
import sys
import threading
from typing import Any

import llvmlite.binding as llvm

from blockfuse.codegen import compiler_thread

_WAIT_SECONDS = 0.5  # between looks at who has a lock


def free_locks() -> None:
    """Wait until no other thread is inside of the compilers; what a thread has left locked is made anew."""
    for holder in _holders():
        while not holder._lock.acquire(timeout=_WAIT_SECONDS):
            if not compiler_thread.is_inside(sys._current_frames().get(_owner_of(holder._lock))):
                holder._lock = threading.RLock()
        holder._lock.release()


def _holders() -> list[Any]:
    """What has a reentrant lock as ``_lock``. Numba's is there once somebody has imported it."""
    numba = sys.modules.get("numba.core.compiler_lock")
    return [llvm.ffi.lib._lock] + ([numba.global_compiler_lock] if numba is not None else [])


def _owner_of(lock: Any) -> int:
    found = re.search(r"owner=(\d+)", repr(lock))
    return int(found[1]) if found else 0


def renew_locks() -> None:
    """In a child of a fork: its thread alone is there."""
    for holder in _holders():
        if not holder._lock._is_owned():
            holder._lock = threading.RLock()
