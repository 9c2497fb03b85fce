"""Functions that handle signals: they may run between any two instructions of a call, and are no part of it.

NOTE [handlers of signals]
What a handler does is not done by the next call. Most of a recording is spent in code of ours that nobody watches, so it is
not seen to begin; but whatever it computes or writes comes to the recorder, which looks for it on the stack. Handlers
that are C functions, such as that of Ctrl-C, call no operators.

What a handler raises (a time limit, say) is for the user, wherever in our code it came: whoever would take an error for one
of the compiler, or of a rule, and answer in Python, asks ``came_from_handler`` before.
"""

from __future__ import annotations

import sys
import types
from _signal import NSIG, getsignal  # type: ignore[import-not-found] # those of ``signal`` take 0.6 ms
from functools import partial
from typing import Any


def signal_handlers() -> frozenset[types.CodeType]:
    """The code of all functions that handle signals now."""
    return frozenset(filter(None, map(_code_of, filter(callable, map(getsignal, range(1, NSIG))))))


def _code_of(handler: Any) -> types.CodeType | None:
    """None for what is no function of Python's."""
    while isinstance(handler, partial):
        handler = handler.func
    if not isinstance(handler, types.FunctionType | types.MethodType):
        handler = type(handler).__call__
    return getattr(handler, "__code__", None)


def is_running(codes: frozenset[types.CodeType], outermost: types.FrameType | None) -> bool:
    """Whether one of these functions was called since ``outermost`` was."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame is not outermost:
        if frame.f_code in codes:
            return True
        frame = frame.f_back
    return False


def came_from_handler(error: BaseException) -> bool:
    """Whether one of these functions raised it."""
    codes, trace = signal_handlers(), error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False
