"""A forked process that makes batches for the thread that owns it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from math import inf
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

import numpy

from blockfuse.ir.errors import WorkerError
from blockfuse.nn.data.source import BatchSource

_LEAVE = 1.0  # seconds that an idle process has to end by itself


class WorkerProcess:
    """One process, with the dataset as it was when it was forked. Only its thread calls ``batch`` and ``end``."""

    def __init__(self, source: BatchSource, others: Sequence[WorkerProcess]) -> None:
        """others: earlier ones, whose pipes the fork inherits and closes."""
        self._connection, theirs = multiprocessing.Pipe()
        self._busy = self._stopped = False
        inherited = [self._connection, *(other._connection for other in others)]
        self._process = multiprocessing.get_context("fork").Process(
            # In a context of its own: the fork may happen while a call is recorded.
            target=Context().run,
            args=(_serve, theirs, inherited, source),
            daemon=True,
            name="blockfuse DataLoader worker",
        )
        with warnings.catch_warnings():
            # Python 3.12 and newer warn of threads whose locks the child may need; ours needs none of theirs.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        theirs.close()

    def batch(self, number: int, indices: Any) -> Any:
        """What ``BatchSource.batch`` gives there. Raises what it raises, or WorkerError if the process dies."""
        self._busy = True
        try:
            if self._stopped:  # `stop` has looked before this was busy
                raise EOFError
            _send(self._connection, (number, indices))
            wait([self._connection, self._process.sentinel])
            result, error = _receive(self._connection)
        except (EOFError, ConnectionError) as broken:
            raise self._death(number) from broken
        finally:
            self._busy = False
        if error is not None:
            raise error
        return result

    def _death(self, number: int) -> WorkerError:
        self._process.join(_LEAVE)
        code = self._process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        advice = "; the system kills processes when memory runs out" if code == -signal.SIGKILL else ""
        return WorkerError(
            f"a worker process of a DataLoader died ({how}) while it made batch {number}{advice}"
        )

    def stop(self) -> None:
        """Kill it in the middle of a batch; a process without one is ended by its thread."""
        self._stopped = True
        if self._busy:
            self._process.kill()

    def end(self) -> None:
        """Close the pipe and wait for the end."""
        self._connection.close()
        self._process.join(_LEAVE)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()


@contextmanager
def interrupts_deferred(count: float = inf) -> Iterator[None]:
    """Let Ctrl-C, so many of them, wait for the end of a block in which it would be lost or leave half of something."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > count:
            handler(number, frame)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if 0 < len(came) <= count:
            signal.raise_signal(signal.SIGINT)


def _serve(connection: Connection, inherited: Sequence[Connection], source: BatchSource) -> None:
    """Make batches until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in inherited:
        other.close()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        while True:
            number, indices = _receive(connection)
            _answer(connection, source, number, indices)
    except (EOFError, ConnectionError):
        return


def _end_with_parent() -> None:
    """A parent that is killed cannot end this process, which may be in the middle of a long batch."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _answer(connection: Connection, source: BatchSource, number: int, indices: Any) -> None:
    try:
        _seed_python(source.seed_of(number))
        packed = _packed((source.batch(number, indices), None))
    except BaseException as error:
        packed = _packed((None, _portable(error, number)))
    _flush()
    _send_packed(connection, packed)


def _flush() -> None:
    """Let what samples print be seen: this process may be killed before its next batch."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # there may be none, or nobody who reads it
            stream.flush()


def _seed_python(seed: numpy.random.SeedSequence) -> None:
    """Each process would otherwise draw the same from Python's and NumPy's own streams."""
    words = seed.spawn(1)[0].generate_state(2)
    random.seed(int(words[0]))
    numpy.random.seed(words[1])  # noqa: NPY002 - the stream that programs use


def _portable(error: BaseException, number: int) -> BaseException:
    """The error with its traceback as a note, or a WorkerError that says it, if it does not survive pickling."""
    text = "".join(traceback.format_exception(error)).rstrip()
    error.add_note(f"in process {os.getpid()}, a worker of a DataLoader, at batch {number}:\n\n{text}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return WorkerError(f"batch {number} of a DataLoader failed in a worker process:\n\n{text}")
    return error


# -- objects through pipes: arrays as they lie in memory, without a copy in between ---------------------------


def _packed(value: Any) -> list[Any]:
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    views = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    return [numpy.array([len(view) for view in views], numpy.int64).tobytes(), *views]


def _send(connection: Connection, value: Any) -> None:
    _send_packed(connection, _packed(value))


def _send_packed(connection: Connection, packed: list[Any]) -> None:
    connection.send_bytes(packed[0])
    for view in packed[1:]:
        done = 0
        while done < len(view):
            done += os.write(connection.fileno(), view[done:])


def _receive(connection: Connection) -> Any:
    sizes = numpy.frombuffer(connection.recv_bytes(), numpy.int64)
    parts = [numpy.empty(size, numpy.uint8).data for size in sizes]
    for view in parts:
        while len(view):
            read = os.readv(connection.fileno(), [view])
            if not read:
                raise EOFError
            view = view[read:]
    return pickle.loads(parts[0], buffers=parts[1:])
