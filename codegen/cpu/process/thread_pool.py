"""The thread pool of this process: Python threads that live in native code, NOTE [the pool] in ``thread_pool_ir.py``."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable

import numpy

from blockfuse.codegen.compiler_thread import in_compiler_thread
from blockfuse.codegen.cpu.process.cpython import library_address
from blockfuse.codegen.cpu.process.for_good import Code, for_good
from blockfuse.codegen.cpu.process.thread_pool_layout import (
    ALLOWED,
    AWAY,
    DONE,
    FIELDS,
    LIBRARY,
    MEMORY,
    SET_WORDS,
    THREAD,
    WORKER_WORDS,
    WORKERS,
)
from blockfuse.codegen.scheduling.strip_memory import STRIP_MEMORY_BYTES
from blockfuse.ir.placement import LINE_BYTES


class Pool:
    """``threads - 1`` workers; ``fork``, ``fork_awake`` and ``state`` are addresses for native code."""

    def __init__(self, threads: int, code: Code) -> None:
        self._code = code
        self.fork, self.fork_awake = (self._code.address(name) for name in ("fork", "fork_awake"))
        self._words = _new_state(threads)
        self.state = self._words.ctypes.data
        self._memory = numpy.empty((threads - 1) * STRIP_MEMORY_BYTES + LINE_BYTES, numpy.uint8)
        for number in range(threads - 1):
            self._start(number)

    def _start(self, number: int) -> None:
        """A worker, with memory of its own."""
        first = WORKERS + WORKER_WORDS * number  # of its words
        memory = self._memory.ctypes.data + -self._memory.ctypes.data % LINE_BYTES
        self._words[first + MEMORY] = memory + number * STRIP_MEMORY_BYTES
        work = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(self._code.address("work"))
        name = f"blockfuse-{number}"
        worker = threading.Thread(target=work, args=(self.state, number), name=name, daemon=True)
        worker.start()
        self._words[first + THREAD] = worker.native_id or 0


def _new_state(threads: int) -> numpy.ndarray:
    """The words of a pool, on a cache line."""
    words = numpy.zeros(WORKERS + WORKER_WORDS * threads + 8, numpy.int64)
    words = words[-(words.ctypes.data // 8) % 8 :]
    words[FIELDS.index("workers")] = threads - 1
    for name in LIBRARY:
        words[FIELDS.index(name)] = library_address(name)
    words[FIELDS.index("caller")] = 64 * SET_WORDS - 1  # none yet
    for processor in os.sched_getaffinity(0):
        if processor < 64 * SET_WORDS:
            words[ALLOWED + processor // 64] |= numpy.int64(1) << (processor % 64)
    words[AWAY : AWAY + SET_WORDS] = words[ALLOWED : ALLOWED + SET_WORDS]
    libc = ctypes.CDLL(None)
    for semaphore in (DONE, *(WORKERS + WORKER_WORDS * n for n in range(threads - 1))):
        libc.sem_init(ctypes.c_void_p(words.ctypes.data + 8 * semaphore), 0, 0)
    return words


_pools: dict[int, Pool] = {}  # threads -> the pool of this process


def pool(threads: int, code: Callable[[], Code]) -> Pool:
    """The pool with that many threads, the caller's included; made at first use. code: that of ``pool_ir``."""
    return in_compiler_thread(lambda: _pool(threads, code))


def _pool(threads: int, code: Callable[[], Code]) -> Pool:
    if threads not in _pools:
        _pools[threads] = for_good(Pool(threads, code()))
    return _pools[threads]


def _in_child() -> None:
    """Only the forking thread lives on in a child: mark the old pools busy for good, so that forks run alone."""
    for old in _pools.values():
        old._words[FIELDS.index("busy")] = 1
    _abandoned.extend(_pools.values())
    _pools.clear()


_abandoned: list[Pool] = []  # programs made before a fork still hold their addresses
os.register_at_fork(after_in_child=_in_child)
