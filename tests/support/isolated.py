"""A check in a process of its own, so that native code which takes the process down is a fault like any other."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
import warnings
from typing import Any

from differing import Case, Chaotic, Fault, native

_LIMIT = 120  # seconds


def native_apart(case: Case, batches: bool = True, calls: int = 0) -> None:
    """``native`` in a child of this process; raises what it raises, or Fault where it does not come to its end."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the child starts threads of its own
        child = os.fork()
    if not child:
        _answer(writing, case, batches, calls)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        raise Fault(case, "native", f"native: {name}", f"the process ends by {name}")
    kind, *said = pickle.loads(answer)
    if kind == "chaotic":
        raise Chaotic
    if kind == "fault":
        raise Fault(case, "native", *said)


def _answer(writing: int, case: Case, batches: bool, calls: int) -> None:
    """Never returns: the child has nothing to do with what its parent was about to do."""
    answer: tuple[Any, ...] = ("through",)
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the child
        signal.alarm(_LIMIT)
        native(case, batches, calls)
    except Chaotic:
        answer = ("chaotic",)
    except Fault as fault:
        answer = ("fault", fault.kind, fault.shown)
    except BaseException as error:  # a fault of the check itself
        answer = ("fault", f"check: {type(error).__name__}", traceback.format_exc())
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(pickle.dumps(answer))
    sys.stdout.flush()
    os._exit(0)
