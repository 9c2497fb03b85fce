"""``DataLoader``: a dataset, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

from blockfuse.array.functions import random
from blockfuse.ir import interpreter
from blockfuse.ir.errors import UsageError
from blockfuse.nn.data.batchify import default_batchify_fn
from blockfuse.nn.data.dataset import Rows, rows_of
from blockfuse.nn.data.prefetching import PrefetchedBatches, Prefetching
from blockfuse.nn.data.sampler import BatchSampler, Indices, RandomSampler, SequentialSampler, Sized
from blockfuse.nn.data.source import BatchSource


class DataLoader:
    """Goes through a dataset in batches, each time anew; ``len`` is the number of batches.

    dataset: a ``Dataset``, or anything with a length and elements.
    batch_size, shuffle, sampler, last_batch: how many at a time, in which order (see ``BatchSampler``); or
    batch_sampler: lists of indices.
    batchify_fn: makes a batch of a list of samples; ``default_batchify_fn`` unless given.
    num_workers: how many processes make batches ahead, or threads with ``thread_pool``. They are started for each
    iteration, with the dataset as it is then. An ``ArrayDataset`` of arrays needs none and starts none.
    prefetch: how many batches are asked for ahead; twice as many as workers by default.
    timeout: seconds that one batch of a worker may take, otherwise WorkerTimeoutError.
    pin_memory, pin_device_id, try_nopython, auto_reload: taken for Gluon's sake.

    An error of a worker is raised where its batch would have come, with the worker's traceback, and ends the iteration; a
    worker that dies raises WorkerError. Raises UsageError where the order is said twice, or not how many.

    Each batch draws from a stream of its own that follows from ``np.random``'s: a seed repeats batches, whoever makes them.

    >>> from blockfuse import gluon, np
    >>> data = gluon.data.ArrayDataset(np.arange(10).reshape(5, 2), [0, 1, 2, 3, 4])
    >>> for X, y in gluon.data.DataLoader(data, batch_size=2):
    ...     print(X.shape, y)
    (2, 2) [0 1]
    (2, 2) [2 3]
    (1, 2) [4]
    """

    def __init__(
        self,
        dataset: Sized,
        batch_size: int | None = None,
        shuffle: bool = False,
        sampler: Any = None,
        last_batch: str | None = None,
        batch_sampler: Any = None,
        batchify_fn: Callable[[list[Any]], Any] | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,  # noqa: ARG002 - this and what follows `prefetch` are Gluon's words for other machines
        pin_device_id: int = 0,  # noqa: ARG002
        prefetch: int | None = None,
        thread_pool: bool = False,
        timeout: float = 120,
        try_nopython: bool | None = None,  # noqa: ARG002
        auto_reload: bool | None = None,  # noqa: ARG002
    ) -> None:
        if num_workers < 0 or timeout <= 0:
            raise UsageError(
                f"num_workers={num_workers}, timeout={timeout}: neither can be negative, nor timeout 0"
            )
        self._dataset, self._batchify_fn = dataset, batchify_fn or default_batchify_fn
        self._batch_sampler = (
            _batch_sampler(dataset, batch_size, shuffle, sampler, last_batch)
            if batch_sampler is None
            else _checked_alone(batch_sampler, batch_size, shuffle, sampler, last_batch)
        )
        ahead = 2 * num_workers if prefetch is None else max(prefetch, 0)
        self._prefetching = Prefetching(num_workers, ahead, thread_pool, timeout)

    def __len__(self) -> int:
        return len(self._batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        interpreter.current().impure("iterates over a DataLoader")
        rows = rows_of(self._dataset) if self._batchify_fn is default_batchify_fn else None
        if rows is not None:
            return _batches_of_rows(rows, _begun(self._batch_sampler))
        source = BatchSource(self._dataset, self._batchify_fn, seed=int(random.randint(0, 1 << 62)))
        indices = _begun(self._batch_sampler)
        if self._prefetching.workers:
            return PrefetchedBatches(source, indices, self._prefetching)
        return _batches_in_turn(source, indices)


def _batch_sampler(
    dataset: Sized, batch_size: int | None, shuffle: bool, sampler: Any, last_batch: str | None
) -> BatchSampler:
    if batch_size is None:
        raise UsageError("DataLoader needs batch_size=, or batch_sampler=")
    if sampler is not None and shuffle:
        raise UsageError("DataLoader: the order is either that of sampler= or shuffled")
    if sampler is None:
        sampler = (RandomSampler if shuffle else SequentialSampler)(len(dataset))
    return BatchSampler(sampler, batch_size, last_batch or "keep")


def _checked_alone(batch_sampler: Any, *others: Any) -> Any:
    if any(other not in (None, False) for other in others):
        raise UsageError(
            "DataLoader: batch_sampler= says all about the order, so leave out batch_size, shuffle, sampler, last_batch"
        )
    return batch_sampler


def _begun(batch_sampler: Any) -> Iterator[list[Any]]:
    """Its iterator, which has drawn what it draws in the beginning: when that is must not depend on who makes batches."""
    batches = iter(batch_sampler)
    return chain(list(islice(batches, 1)), batches)


def _batches_of_rows(rows: Rows, batches: Iterator[list[Any]]) -> Iterator[Any]:
    for indices in batches:
        interpreter.current().impure("takes a batch of a DataLoader")
        yield rows(Indices(indices))


def _batches_in_turn(source: BatchSource, batches: Iterator[list[Any]]) -> Iterator[Any]:
    for number, indices in enumerate(batches):
        interpreter.current().impure("takes a batch of a DataLoader")
        yield source.batch(number, indices)
