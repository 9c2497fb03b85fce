"""Samplers: the order in which samples are taken, and how they are divided into batches."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from blockfuse.array.functions import random
from blockfuse.ir import interpreter
from blockfuse.ir.errors import UsageError


class Sized(Protocol):
    """Something with a length and elements."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> Any: ...


class Indices(tuple[int, ...]):
    """Indices of samples as Python's integers; NumPy's and arrays of one integer are taken too, floats are not."""

    __slots__ = ()

    def __new__(cls, indices: Iterable[Any]) -> Indices:
        return super().__new__(cls, map(operator.index, indices))


class Sampler:
    """The base of all samplers: a subclass defines ``__iter__()``, over indices, and ``__len__()``.

    >>> from blockfuse import gluon
    >>> class Backwards(gluon.data.Sampler):
    ...     def __init__(self, length):
    ...         self.length = length
    ...     def __iter__(self):
    ...         return iter(range(self.length - 1, -1, -1))
    ...     def __len__(self):
    ...         return self.length
    >>> list(gluon.data.BatchSampler(Backwards(5), 2))
    [[4, 3], [2, 1], [0]]
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} does not define __iter__(self)")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} does not define __len__(self)")


class SequentialSampler(Sampler):
    """``start``, ``start + 1``, ...: ``length`` of them. Raises UsageError for a length below 0.

    >>> from blockfuse import gluon
    >>> list(gluon.data.SequentialSampler(3, start=10))
    [10, 11, 12]
    """

    def __init__(self, length: int, start: int = 0) -> None:
        self._range = range(start, start + _checked_length(length))

    def __iter__(self) -> Iterator[int]:
        return iter(self._range)

    def __len__(self) -> int:
        return len(self._range)


class RandomSampler(Sampler):
    """The numbers below ``length`` in a random order, another one each time; ``np.random.seed`` repeats it.

    Raises UsageError for a length below 0.

    >>> from blockfuse import gluon
    >>> sorted(gluon.data.RandomSampler(4))
    [0, 1, 2, 3]
    """

    def __init__(self, length: int) -> None:
        self._length = _checked_length(length)

    def __iter__(self) -> Iterator[int]:
        return iter(random.permutation(self._length).tolist())

    def __len__(self) -> int:
        return self._length


class FilterSampler(Sampler):
    """The indices of the samples of ``dataset`` for which ``fn(sample)`` holds; all are looked at when it is made.

    >>> from blockfuse import gluon
    >>> list(gluon.data.FilterSampler(lambda sample: sample > 1, gluon.data.SimpleDataset([3, 1, 2])))
    [0, 2]
    """

    def __init__(self, fn: Callable[[Any], Any], dataset: Sized) -> None:
        self._indices = [index for index in range(len(dataset)) if fn(dataset[index])]

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


class IntervalSampler(Sampler):
    """Every ``interval``-th number below ``length``; with ``rollover`` then again from 1, 2, ..., so that all come.

    Raises UsageError for an interval below 1 and a length below 0.

    >>> from blockfuse import gluon
    >>> list(gluon.data.IntervalSampler(7, interval=3))
    [0, 3, 6, 1, 4, 2, 5]
    >>> list(gluon.data.IntervalSampler(7, interval=3, rollover=False))
    [0, 3, 6]
    """

    def __init__(self, length: int, interval: int, rollover: bool = True) -> None:
        if interval < 1:
            raise UsageError(f"IntervalSampler needs an interval of 1 or more; found {interval}")
        starts = range(min(interval, _checked_length(length)) if rollover else 1)
        self._ranges = [range(start, length, interval) for start in starts]

    def __iter__(self) -> Iterator[int]:
        return (index for indices in self._ranges for index in indices)

    def __len__(self) -> int:
        return sum(map(len, self._ranges))


LAST_BATCH = ("keep", "discard", "rollover")


class BatchSampler(Sampler):
    """Lists of ``batch_size`` indices of a sampler.

    sampler: any iterable of indices with a length. batch_size: 1 or more.
    last_batch: what becomes of indices that do not fill a batch: 'keep' gives a smaller batch, 'discard' drops them,
    'rollover' begins the next iteration with them.

    Raises UsageError for another size or word.

    >>> from blockfuse import gluon
    >>> list(gluon.data.BatchSampler(gluon.data.SequentialSampler(5), 2, "keep"))
    [[0, 1], [2, 3], [4]]
    >>> rolling = gluon.data.BatchSampler(gluon.data.SequentialSampler(5), 2, "rollover")
    >>> list(rolling), list(rolling)
    ([[0, 1], [2, 3]], [[4, 0], [1, 2], [3, 4]])
    """

    def __init__(self, sampler: Sequence[int] | Sampler, batch_size: int, last_batch: str = "keep") -> None:
        if last_batch not in LAST_BATCH:
            raise UsageError(f"last_batch={last_batch!r}; use 'keep', 'discard' or 'rollover'")
        if operator.index(batch_size) < 1:
            raise UsageError(f"batch_size={batch_size}: a batch has one sample or more")
        self._sampler, self._batch_size, self._last_batch = sampler, operator.index(batch_size), last_batch
        self._left: list[Any] = []  # rolled over

    def __iter__(self) -> Iterator[list[Any]]:
        batch, self._left = self._left, []
        for index in self._sampler:
            batch.append(index)
            if len(batch) == self._batch_size:
                yield batch
                batch = []
        if batch and self._last_batch == "keep":
            yield batch
        elif self._last_batch == "rollover":
            interpreter.current().impure("keeps what a batch sampler rolls over")
            self._left = batch

    def __len__(self) -> int:
        whole, rest = divmod(len(self._left) + len(self._sampler), self._batch_size)
        return whole + (1 if rest and self._last_batch == "keep" else 0)


def _checked_length(length: int) -> int:
    if operator.index(length) < 0:
        raise UsageError(f"a sampler needs a length of 0 or more; found {length}")
    return operator.index(length)
