"""Linux's permission to use registers of matrices (AMX), which a process asks for before its first instruction.

It is good for all threads of the process, also those that run already, and for its children; nothing is taken before a
thread uses them. A kernel that does not know it, or a thread whose stack for signals is too small to hold the registers,
is a refusal, and then there are none.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import cache

_ARCH_PRCTL = 158  # the number of the system call on x86-64
_REQUEST_PERMISSION = 0x1023  # ARCH_REQ_XCOMP_PERM
_TILE_DATA = 18  # the component of a thread's state


@cache
def granted() -> bool:
    """Whether this process may use them from now on."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    return bool(ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0)
