"""The thread pool of this process: Python threads that live in native code, NOTE [the pool] in ``thread_pool_ir.py``."""

from __future__ import annotations

import ctypes
import os
import threading

import numpy

from blockfuse.codegen.compiler_thread import in_compiler_thread
from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.cpu.process.cpython import library_address
from blockfuse.codegen.cpu.process.thread_pool_state import (
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
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.buffers import ALIGNMENT
from blockfuse.codegen.scheduling.strips import ROOM


class Pool:
    """``threads - 1`` workers; ``fork``, ``fork_awake`` and ``state`` are addresses for native code."""

    def __init__(self, threads: int, code: bytes, machine: Machine) -> None:
        self._code = engine.load(code, machine)
        self.fork, self.fork_awake = (self._code.address(name) for name in ("fork", "fork_awake"))
        self._words = numpy.zeros(WORKERS + WORKER_WORDS * threads + 8, numpy.int64)
        self._words = self._words[-(self._words.ctypes.data // 8) % 8 :]  # on a cache line
        self.state = self._words.ctypes.data
        self._words[FIELDS.index("workers")] = threads - 1
        for name in LIBRARY:
            self._words[FIELDS.index(name)] = library_address(name)
        self._words[FIELDS.index("caller")] = 64 * SET_WORDS - 1  # none yet
        for processor in os.sched_getaffinity(0):
            if processor < 64 * SET_WORDS:
                self._words[ALLOWED + processor // 64] |= numpy.int64(1) << (processor % 64)
        self._words[AWAY : AWAY + SET_WORDS] = self._words[ALLOWED : ALLOWED + SET_WORDS]
        libc = ctypes.CDLL(None)
        for semaphore in (DONE, *(WORKERS + WORKER_WORDS * n for n in range(threads - 1))):
            libc.sem_init(ctypes.c_void_p(self.state + 8 * semaphore), 0, 0)
        work = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(self._code.address("work"))
        self._memory = numpy.empty((threads - 1) * ROOM + ALIGNMENT, numpy.uint8)
        first = self._memory.ctypes.data + -self._memory.ctypes.data % ALIGNMENT
        for number in range(threads - 1):
            self._words[WORKERS + WORKER_WORDS * number + MEMORY] = first + number * ROOM
            name = f"blockfuse-{number}"
            worker = threading.Thread(target=work, args=(self.state, number), name=name, daemon=True)
            worker.start()
            self._words[WORKERS + WORKER_WORDS * number + THREAD] = worker.native_id or 0


_pools: dict[int, Pool] = {}  # threads -> the pool of this process


def pool(threads: int, code: bytes, machine: Machine) -> Pool:
    """The pool with that many threads, the caller's included; made at first use."""
    return in_compiler_thread(lambda: _pool(threads, code, machine))


def _pool(threads: int, code: bytes, machine: Machine) -> Pool:
    if threads not in _pools:
        _pools[threads] = engine.for_good(Pool(threads, code, machine))
    return _pools[threads]


def _in_child() -> None:
    """Only the forking thread lives on in a child: mark the old pools busy for good, so that forks run alone."""
    for old in _pools.values():
        old._words[FIELDS.index("busy")] = 1
    _abandoned.extend(_pools.values())
    _pools.clear()


_abandoned: list[Pool] = []  # programs made before a fork still hold their addresses
os.register_at_fork(after_in_child=_in_child)
