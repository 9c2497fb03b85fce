"""Workers that train one net together: processes that MPI started, in the words of Gluon's ``kvstore``.

NOTE [sums over workers]
Every worker has all parameters, takes its part of each batch, and makes the same step with the sum of all gradients. It is
taken in the order of the workers: each gets its slice of everybody's gradients, adds them up, and sends the sum to all. So
two runs with the same number of workers are bit-equal, and all workers are, whatever algorithm an MPI library would pick for
a sum of its own; the bytes that travel are those of the usual ring. Before each sum the workers compare what they are about
to send: one that has other gradients than the rest is an error for all, not a wrong sum, nor a process that waits for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import UsageError

_ALONE = ("local", "device", "nccl", "local_allreduce_cpu", "local_allreduce_device")
_TOGETHER = ("dist", "dist_sync", "dist_device_sync", "dist_sync_device", "horovod", "byteps")


class KVStore:
    """The workers of a training, which ``create`` makes.

    type: the name that it was made with. communicator: of mpi4py; None for one process alone.

    ``rank`` is the number of this worker, from 0; ``num_workers`` is that of all.

    >>> from blockfuse import kvstore, np
    >>> store = kvstore.create("local")
    >>> store.rank, store.num_workers
    (0, 1)
    >>> values = np.ones(2)
    >>> store.pushpull("losses", values)  # the sum over one worker
    >>> values.tolist()
    [1.0, 1.0]
    """

    def __init__(self, type: str, communicator: Any = None) -> None:
        self.type, self._communicator = type, communicator
        self.rank: int = 0 if communicator is None else communicator.rank
        self.num_workers: int = 1 if communicator is None else communicator.size

    def __repr__(self) -> str:
        return f"KVStore({self.type!r}, worker {self.rank} of {self.num_workers})"

    def barrier(self) -> None:
        """Wait until all workers are here."""
        if self.num_workers > 1:
            self._communicator.Barrier()

    def pushpull(self, key: Any, value: Any, out: Any = None, priority: int = 0) -> None:  # noqa: ARG002
        """Write the sum of every worker's ``value`` to ``out``, or to ``value`` itself. Arrays, or lists of arrays.

        key: what messages call them. priority: taken for Gluon's sake.

        Raises UsageError at all workers where their arrays differ in number, shape or dtype.
        """
        values, outs = _listed(value), _listed(value if out is None else out)
        summed = self.summed([one.asnumpy() for one in values], f"values of {key!r}")
        for target, result in zip(outs, summed, strict=True):
            target[...] = result

    def broadcast(self, key: Any, value: Any, out: Any, priority: int = 0) -> None:  # noqa: ARG002
        """Write the first worker's ``value`` to everybody's ``out``: arrays, or lists of arrays.

        key, priority, and errors: as of ``pushpull``.
        """
        first = self.first([one.asnumpy() for one in _listed(value)], f"values of {key!r}")
        for target, result in zip(_listed(out), first, strict=True):
            target[...] = result

    # -- over plain arrays -----------------------------------------------------------------------------------

    def summed(self, arrays: Sequence[numpy.ndarray], what: str) -> list[numpy.ndarray]:
        """The sums of NumPy's ``arrays`` over all workers, bit-equal at all of them. See NOTE [sums over workers].

        what: what messages call them. Raises UsageError, at all workers, where number, shapes or dtypes differ.
        """
        if self.num_workers == 1:
            return list(arrays)
        self.require_same(repr([(a.shape, str(a.dtype)) for a in arrays]), f"the {what}")
        return _in_one(arrays, self._summed)

    def _summed(self, flat: numpy.ndarray) -> numpy.ndarray:
        width = -(-flat.size // self.num_workers)
        mine = numpy.zeros((self.num_workers, width), flat.dtype)
        mine.reshape(-1)[: flat.size] = flat
        everyones = numpy.empty_like(mine)
        self._communicator.Alltoall(_bytes(mine), _bytes(everyones))
        total = everyones[0]
        for part in everyones[1:]:
            total += part
        self._communicator.Allgather(_bytes(total), _bytes(mine))
        return mine.reshape(-1)[: flat.size]

    def first(self, arrays: Sequence[numpy.ndarray], what: str) -> list[numpy.ndarray]:
        """The first worker's ``arrays``, of NumPy. what, and errors: as of ``summed``."""
        if self.num_workers == 1:
            return list(arrays)
        self.require_same(repr([(a.shape, str(a.dtype)) for a in arrays]), f"the {what}")
        return _in_one(arrays, self._first)

    def _first(self, flat: numpy.ndarray) -> numpy.ndarray:
        flat = flat.copy()
        self._communicator.Bcast(_bytes(flat), root=0)
        return flat

    def require_same(self, text: str, what: str) -> None:
        """Raise UsageError, at all workers, where they come with different texts.

        text: this worker's. what: of which these tell, for the message.
        """
        if self.num_workers == 1:
            return
        mine = numpy.frombuffer(hashlib.sha256(f"{what}: {text}".encode()).digest(), numpy.uint8)
        everyones = numpy.empty((self.num_workers, mine.size), numpy.uint8)
        self._communicator.Allgather(mine, everyones)
        others = [rank for rank in range(self.num_workers) if (everyones[rank] != everyones[0]).any()]
        if others:
            raise UsageError(
                f"worker {self.rank} of {self.num_workers}: {what} differ between worker 0 and workers {others}; here: "
                f"{text if len(text) <= 300 else text[:300] + '...'}. All must run the same program, with the same steps"
            )


def create(name: str = "local") -> KVStore:
    """The workers by a name of Gluon's.

    name: ``"local"`` or ``"device"`` for this process alone; ``"dist_sync"`` (or ``"dist_device_sync"``, ``"horovod"``) for
    all processes that ``mpiexec`` started, which needs mpi4py and an MPI library.

    Raises UsageError for other names (workers here take each step together: there is no ``"dist_async"``).

    >>> from blockfuse import kvstore
    >>> kvstore.create("local")
    KVStore('local', worker 0 of 1)
    """
    if name in _ALONE:
        return KVStore(name)
    if name not in _TOGETHER:
        raise UsageError(
            f"there is no kvstore {name!r}: write 'local' for one process, or 'dist_sync' for workers that take each step "
            f"together"
        )
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: it finds no MPI library
        raise UsageError(f"kvstore {name!r} needs MPI: pip install 'blockfuse[mpi]' ({error})") from error
    return KVStore(name, MPI.COMM_WORLD)


def _listed(value: Any) -> list[ndarray]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _bytes(array: numpy.ndarray) -> numpy.ndarray:
    """The same memory in a type that every MPI library sends."""
    return array.reshape(-1).view(numpy.uint8)


def _in_one(
    arrays: Sequence[numpy.ndarray], send: Callable[[numpy.ndarray], numpy.ndarray]
) -> list[numpy.ndarray]:
    """What ``send`` makes of arrays, which go as one for each stretch of one dtype."""
    return [part for _, together in groupby(arrays, lambda a: a.dtype) for part in _sent([*together], send)]


def _sent(
    arrays: list[numpy.ndarray], send: Callable[[numpy.ndarray], numpy.ndarray]
) -> Iterator[numpy.ndarray]:
    flat, start = send(numpy.concatenate([a.reshape(-1) for a in arrays])), 0
    for array in arrays:
        yield flat[start : start + array.size].reshape(array.shape)
        start += array.size
