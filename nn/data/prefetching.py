"""Batches that workers make ahead, given in order.

NOTE [workers]
Each worker is a thread of this process, which takes jobs from one queue. It makes the batch itself, or has a process of its
own make it: sends the indices, and receives the batch. A process has one job at a time and nobody else uses its pipe, so no
two sides wait for each other, and what a thread waits for also ends when its process dies. Threads know the queue and their
process, not the iterator: who drops that ends them.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any, Self

from blockfuse.ir import interpreter
from blockfuse.ir.errors import UsageError, WorkerError, WorkerTimeoutError
from blockfuse.nn.data.source import BatchSource
from blockfuse.nn.data.worker_process import WorkerProcess, interrupts_deferred

_LOOK = 1.0  # seconds after which an idle worker looks whether anybody holds the iterator


@dataclass(frozen=True)
class Prefetching:
    """How batches are made ahead."""

    workers: int
    ahead: int  # batches that are asked for before they are needed
    threads: bool  # rather than processes
    timeout: float  # seconds for one batch


def _taken() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


@dataclass
class Job:
    """One batch: what it is made of, and what came of it."""

    number: int
    indices: Any
    batch: Any = None
    error: BaseException | None = None
    is_done: bool = False
    _running: Lock = field(default_factory=_taken)

    def run(self, make: Callable[[int, Any], Any]) -> None:
        try:
            self.batch = make(self.number, self.indices)
        except BaseException as error:
            self.error = error
        self.end()

    def end(self) -> None:
        self.is_done = True
        self._running.release()

    def wait(self, seconds: float) -> bool:
        """Whether it is done by then. In ``threading.Event.wait``, Ctrl-C can become a RuntimeError."""
        return self.is_done or self._running.acquire(timeout=seconds)


class PrefetchedBatches:
    """The batches of one iteration. Workers end with it, with its first error, or when nobody holds it any more."""

    def __init__(self, source: BatchSource, indices: Iterator[Any], how: Prefetching) -> None:
        self._indices, self._timeout = enumerate(indices), how.timeout
        self._owner = os.getpid()
        self._jobs: deque[Job] = deque()
        crew = _Crew(how.workers)
        self._tasks = crew.tasks
        self._dismiss = weakref.finalize(self, crew.dismiss)  # also where Ctrl-C comes while workers start
        crew.start(source, how.threads, weakref.ref(self))
        with interrupts_deferred(1):
            for _ in range(how.ahead):
                self._ask_for_next()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        interpreter.current().impure("takes a batch of a DataLoader")
        if os.getpid() != self._owner:
            raise UsageError(
                "the workers of this iteration belong to another process: iterate over the DataLoader here"
            )
        if self._dismiss.alive:
            with (
                interrupts_deferred()
            ):  # it would end a generator of indices, or come before the job is in the queue
                self._ask_for_next()
        if not self._jobs:
            self._dismiss()
            raise StopIteration
        job = self._jobs[0]
        if not job.wait(self._timeout):
            self._end()
            raise WorkerTimeoutError(
                f"batch {job.number} of a DataLoader did not come within {self._timeout:g} seconds; "
                f"write timeout= for more, or look where the dataset waits"
            )
        self._jobs.popleft()  # not before it is there: Ctrl-C loses no batch
        return job.batch if job.error is None else self._fail(job, job.error)

    def _fail(self, job: Job, error: BaseException) -> Any:
        self._end()
        if isinstance(error, StopIteration):  # it would end the loop as if there were no more batches
            raise WorkerError(f"batch {job.number} of a DataLoader raised StopIteration") from error
        raise error

    def _end(self) -> None:
        self._jobs.clear()
        self._dismiss()

    def _ask_for_next(self) -> None:
        try:
            job = Job(*next(self._indices))
        except StopIteration:
            return
        except Exception as error:  # of the sampler: raised behind the batches that came before it
            job = Job(-1, None, error=error)
            job.end()
            self._jobs.append(job)
            return
        self._jobs.append(job)
        self._tasks.put(job)


class _Crew:
    """The workers of one iteration."""

    def __init__(self, count: int) -> None:
        self.tasks: SimpleQueue[Job | None] = SimpleQueue()
        self._count, self._owner = count, os.getpid()
        self._processes: list[WorkerProcess] = []

    def start(self, source: BatchSource, threads_only: bool, owner: weakref.ref[Any]) -> None:
        """All processes first: what is forked should have no threads of ours. In handlers of a fork, Ctrl-C is lost."""
        with interrupts_deferred():
            for _ in range(0 if threads_only else self._count):
                self._processes.append(WorkerProcess(source, self._processes))
            for number in range(self._count):
                threading.Thread(
                    target=_work,
                    args=(self.tasks, owner, source, None if threads_only else self._processes[number]),
                    name=f"blockfuse DataLoader worker {number}",
                    daemon=True,
                ).start()

    def dismiss(self) -> None:
        """Let all workers end, also in the middle of a batch if they are processes."""
        if os.getpid() != self._owner:
            return  # a fork has the iterator, not the workers
        with interrupts_deferred():
            with suppress(Empty):
                while True:
                    self.tasks.get_nowait()
            for _ in range(self._count):
                self.tasks.put(None)
            for process in self._processes:
                process.stop()


def _work(
    tasks: SimpleQueue[Job | None],
    owner: weakref.ref[Any],
    source: BatchSource,
    process: WorkerProcess | None,
) -> None:
    make = source.batch if process is None else process.batch
    try:
        while (job := _next_job(tasks, owner)) is not None:
            job.run(make)
            del job  # its batch belongs to the iterator
    finally:
        if process is not None:
            process.end()


def _next_job(tasks: SimpleQueue[Job | None], owner: weakref.ref[Any]) -> Job | None:
    """None when there will be no more: Ctrl-C in a finalizer can keep the owner from saying so."""
    while True:
        try:
            return tasks.get(timeout=_LOOK)
        except Empty:
            if owner() is None:
                return None
