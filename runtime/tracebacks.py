"""What a traceback shows of a call: the lines of users, without ours between and below them.

NOTE [folded frames]
Between two lines of a user stand a dozen of ours, about which nobody can do anything. So the exception leaves our outermost
frame with a traceback of the other lines. That is no hook for printing: loggers, notebooks, debuggers, pytest see the same.
What stays as it is: interrupts, and errors that look like a fault of ours. ``BLOCKFUSE_TRACEBACK=full`` shows all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy

from blockfuse.ir.errors import BlockfuseError
from blockfuse.runtime import config
from blockfuse.tracer.certificate.ownership import is_ours

_NUMPY = str(Path(numpy.__file__).parent) + "/"
# What we, or NumPy for us, raise for what a user wrote; another error from one of our lines is a fault of ours.
_OF_USERS = (
    *(
        BlockfuseError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        NotImplementedError,
        ArithmeticError,
    ),
    *(MemoryError, numpy.linalg.LinAlgError, Warning),
)


def fold(error: BaseException) -> None:
    """Take our frames out of the tracebacks of ``error`` and of what it was raised from."""
    if config.shows_all_frames():
        return
    for one in _chain(error):
        frames = list(_frames(one.__traceback__))
        if frames and not (is_ours(frames[-1].tb_frame) and not isinstance(one, _OF_USERS)):
            BaseException.with_traceback(
                one, _folded(frames)
            )  # what users define may refuse to be assigned to


def _chain(error: BaseException) -> Iterator[BaseException]:
    """``error``, its cause and its context, and theirs."""
    waiting, met = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) not in met:
            met.add(id(one))
            yield one
            waiting += [other for other in (one.__cause__, one.__context__) if other is not None]


def _frames(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _folded(frames: list[TracebackType]) -> TracebackType | None:
    """The frames that are neither ours nor NumPy's in a call of ours, put together anew."""
    kept, inside = [], False
    for one in frames:
        inside = is_ours(one.tb_frame) or (inside and one.tb_frame.f_code.co_filename.startswith(_NUMPY))
        if not inside:
            kept.append(one)
    folded: TracebackType | None = None
    for one in reversed(kept):
        folded = TracebackType(folded, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return folded
