"""Work in a thread of its own, which no signal interrupts.

NOTE [the compiler thread]
Numba and LLVM hold locks and tables that must not be left in the middle of a change, and they know nothing of calls that
interrupt them. Python runs signal handlers in the main thread only, so compilers, loaders, and what starts threads run in
another one, one piece of work at a time, of which a further thread may do a part (``beside``). Whoever waits for it can be
interrupted, and holds nothing: the work goes on to its end, and what it made is in the store. A finalizer that the
collector runs in the thread of the work may call nets: those that would compile run in Python (``is_interrupted``).

A fork waits until the work is done, so that a child never finds Numba, LLVM or an import in the middle of something; locks
that others hold nevertheless are new in the child (``at_fork``).
"""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import threading
import types
from collections.abc import Callable
from contextlib import nullcontext, suppress
from importlib import import_module
from typing import Any, TypeVar

from blockfuse.ir.collector import resume_collector, stop_collector

T = TypeVar("T")

_COMPILERS = ("numba", "llvmlite")
_STACK_BYTES = 16 << 20  # LLVM goes deep, and the user may have made the stacks of new threads small
_LOOK_SECONDS = 0.2  # between looks whether the work still goes on, while waiting for it
_MAX_LOOKS = 10  # after which a thread that has not begun is taken for lost
_FORK_WAIT_SECONDS = 20.0  # that a fork, and the end of the interpreter, wait for the work
_work_lock = threading.RLock()
_workers: set[int] = set()  # identifiers of threads that work
_forks = [0]  # that led to this process


class _Work:
    """One piece of work and what became of it. alone: no other work goes on meanwhile."""

    def __init__(self, work: Callable[[], Any], alone: bool = True) -> None:
        self._work, self._alone, self._forks = work, alone, _forks[0]
        self._unclaimed = [self]  # until a thread has begun
        self._over = threading.Lock()
        self._over.acquire()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """In the thread of the work, unless that began too late."""
        if self._claim():
            self._run()

    def _claim(self) -> bool:
        try:
            return self._unclaimed.pop() is self
        except IndexError:
            return False

    def _run(self) -> None:
        here = threading.get_ident()
        is_part = here in _workers  # of other work, which goes on behind it
        try:
            # What Numba imports brings it. A fork that waits for the work would call the hooks that the module registers
            # meanwhile, which give back a lock, only when it is over.
            import_module("concurrent.futures.thread")

            with _work_lock if self._alone else nullcontext():
                if not is_part:
                    _workers.add(here)
                    stop_collector()
                for prepare in _preparations if self._alone else ():
                    prepare()
                self.result = self._work()
        except BaseException as error:
            self.error = error
        finally:
            if not is_part:
                resume_collector()
                _workers.discard(here)
            self._over.release()

    def wait(self) -> bool:
        """Whether it was done; not where it began in the parent of this process.

        A thread for which there is too little memory ends before it begins; then this one does the work.
        """
        looks = 0
        while not self._over.acquire(timeout=_LOOK_SECONDS):
            looks += 1
            if self._forks != _forks[0]:
                return False
            if looks >= _MAX_LOOKS and self._claim():
                self._run()
        return True

    def outcome(self) -> Any:
        error, self.error = self.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # it refers to this frame
        return self.result


def is_inside(frame: types.FrameType | None) -> bool:
    """Whether a compiler is at work in this frame or those that called it."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] in _COMPILERS:
            return True
        frame = frame.f_back
    return False


def is_interrupted() -> bool:
    """Whether this code interrupts a compiler, as a finalizer may: it must not compile."""
    return threading.get_ident() in _workers or is_inside(sys._getframe())


def in_compiler_thread(work: Callable[[], T]) -> T:
    """What ``work`` gives or raises, in a thread of its own; in this one where that would wait, or none is to be had."""
    if is_interrupted() or sys.is_finalizing():
        return work()
    while True:
        task = _Work(work)
        try:
            _start(task)
        except (RuntimeError, MemoryError):
            task.run()  # the interpreter is about to end, or has as many threads as it may have
        if task.wait():
            result: T = task.outcome()
            return result


def beside(work: Callable[[], None]) -> Callable[[], None]:
    """Begin ``work`` in a further thread, beside the work that this one does for ``in_compiler_thread``.

    It is part of that work, which must call what this gives before it ends: it waits, and raises what ``work`` raised. Where
    no thread is to be had, it does the work then; in a child of a fork, where the thread does not exist, nothing.
    """
    task = _Work(work, alone=False)
    begun = False
    with suppress(RuntimeError, MemoryError):
        _start(task)
        begun = True

    def end() -> None:
        if not begun:
            task.run()
        if task.wait():
            task.outcome()

    return end


def _start(task: _Work) -> None:
    before = threading.stack_size()
    small = 0 < before < _STACK_BYTES
    try:
        if small:
            threading.stack_size(_STACK_BYTES)
        _thread.start_new_thread(task.run, ())  # ``Thread.start`` waits for ever for one that cannot begin
    finally:
        if small:
            threading.stack_size(before)


# -- forks ---------------------------------------------------------------------------------------------------

_preparations: list[Callable[[], None]] = []
_renewals: list[Callable[[], None]] = []


def before_work(prepare: Callable[[], None]) -> None:
    """Call ``prepare`` in the thread of the work before all of it."""
    _preparations.append(prepare)


def at_fork(renew: Callable[[], None]) -> None:
    """Call ``renew`` in every child, before anything is compiled there."""
    _renewals.append(renew)


def _before() -> None:
    _work_lock.acquire(timeout=_FORK_WAIT_SECONDS)


def _finish() -> None:
    """LLVM must not be at work when its own memory goes."""
    _before()
    _in_parent()


def _in_parent() -> None:
    with suppress(RuntimeError):  # the work took too long
        _work_lock.release()


def _in_child() -> None:
    global _work_lock
    here = threading.get_ident()
    _forks[0] += 1
    with suppress(RuntimeError):
        _work_lock.release()
    if here not in _workers:
        _work_lock = threading.RLock()
    _workers.intersection_update({here})
    for renew in _renewals:
        renew()


atexit.register(_finish)
os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
