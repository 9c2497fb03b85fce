"""Datasets: samples by their index, what can be chosen of them, and functions over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy

from blockfuse.array.eager import EAGER
from blockfuse.array.ndarray import is_ours, ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.nn.data.batchify import default_batchify_fn
from blockfuse.nn.data.sampler import FilterSampler, Indices

Rows = Callable[
    [Sequence[int]], Any
]  # indices -> the batch that ``default_batchify_fn`` makes of their samples


class Dataset:
    """The base of all datasets: a subclass defines ``__getitem__(index)`` and ``__len__()``.

    >>> from blockfuse import gluon
    >>> class Squares(gluon.data.Dataset):
    ...     def __len__(self):
    ...         return 5
    ...     def __getitem__(self, index):
    ...         return index**2
    >>> squares = Squares()
    >>> list(squares.filter(lambda x: x % 2 == 0).transform(lambda x: -x))
    [0, -4, -16]
    >>> [list(squares.shard(2, index)) for index in range(2)]
    [[0, 1, 4], [9, 16]]
    """

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define __getitem__(self, index)")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} does not define __len__(self)")

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def _rows(self) -> Rows | None:
        """What gives the batch of some indices without its samples; None where samples must be made one by one."""
        return None

    # -- choosing samples: no sample is copied ---------------------------------------------------------------

    def filter(self, fn: Callable[[Any], Any]) -> Dataset:
        """The samples for which ``fn(sample)`` holds; all are looked at now."""
        return self.sample(FilterSampler(fn, self))

    def shard(self, num_shards: int, index: int) -> Dataset:
        """Part ``index``, from 0, of ``num_shards``, whose sizes differ by one at most; the first parts are the larger ones.

        Raises UsageError for an index that there is no part of.
        """
        if not 0 <= index < num_shards:
            raise UsageError(f"shard {index} of {num_shards}: shards count from 0 to num_shards - 1")
        least, larger = divmod(len(self), num_shards)
        start = least * index + min(index, larger)
        return self.sample(range(start, start + least + (index < larger)))

    def take(self, count: int | None) -> Dataset:
        """The first ``count`` samples, or all where there are fewer or ``count`` is None; UsageError for one below 0."""
        if count is not None and count < 0:
            raise UsageError(f"take({count}): a dataset has no negative number of samples")
        return self.sample(range(len(self) if count is None else min(count, len(self))))

    def sample(self, sampler: Iterable[int]) -> Dataset:
        """The samples at the indices that a sampler gives, which is gone through once, now."""
        return SampledDataset(self, sampler)

    # -- functions over samples ------------------------------------------------------------------------------

    def transform(self, fn: Callable[..., Any], lazy: bool = True) -> Dataset:
        """``fn(*sample)`` of each sample that is a tuple, ``fn(sample)`` of each other.

        lazy: whenever a sample is asked for, so that ``fn`` may draw; otherwise once, now.
        """
        transformed = TransformedDataset(self, fn)
        return transformed if lazy else SimpleDataset(list(transformed))

    def transform_first(self, fn: Callable[[Any], Any], lazy: bool = True) -> Dataset:
        """``fn`` of the first element of each sample that is a tuple: of images, and not of their labels. lazy: as of
        ``transform``.
        """
        return self.transform(_OfFirst(fn), lazy)


class SampledDataset(Dataset):
    """Samples of another dataset, by a list of indices."""

    def __init__(self, dataset: Dataset, indices: Iterable[int]) -> None:
        self._dataset = dataset
        self._indices: Sequence[int] = indices if isinstance(indices, range) else Indices(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return SampledDataset(self._dataset, self._indices[index])
        return self._dataset[self._indices[index]]

    def _rows(self) -> Rows | None:
        rows = rows_of(self._dataset)
        return None if rows is None else lambda indices: rows([self._indices[index] for index in indices])


class TransformedDataset(Dataset):
    """A function over the samples of another dataset."""

    def __init__(self, dataset: Dataset, fn: Callable[..., Any]) -> None:
        self._dataset, self._fn = dataset, fn

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.sample(range(*index.indices(len(self))))
        sample = self._dataset[index]
        return self._fn(*sample) if isinstance(sample, tuple) else self._fn(sample)


class _OfFirst:
    """A function of the first argument alone; the others stay."""

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        self._fn = fn

    def __call__(self, first: Any, *others: Any) -> Any:
        return (self._fn(first), *others) if others else self._fn(first)


class SimpleDataset(Dataset):
    """Anything with indices and a length as a dataset: sample ``i`` is ``data[i]``.

    >>> from blockfuse import gluon
    >>> data = gluon.data.SimpleDataset([1, 2, 3])
    >>> len(data), data[1]
    (3, 2)
    """

    def __init__(self, data: Any) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: Any) -> Any:
        return self._data[index]

    def _rows(self) -> Rows | None:
        # A subclass may have samples of its own.
        return rows_of(self._data) if type(self).__getitem__ is SimpleDataset.__getitem__ else None


class ArrayDataset(Dataset):
    """Arrays, lists or datasets of one length side by side: sample ``i`` is the tuple of their elements at ``i``.

    Of a single one, sample ``i`` is its element. Rows of arrays are copies, in their dtype; a slice gives slices. A
    ``DataLoader`` batches arrays by one indexing operation.

    args: one array or more, otherwise UsageError; ShapeError where lengths differ.

    >>> from blockfuse import gluon, np
    >>> data = gluon.data.ArrayDataset(np.arange(6).reshape(3, 2), ["a", "b", "c"])
    >>> data[1]
    (array([2., 3.]), 'b')
    """

    def __init__(self, *args: Any) -> None:
        if not args:
            raise UsageError("ArrayDataset needs one array or more")
        lengths = [len(data) for data in args]
        if len(set(lengths)) > 1:
            raise ShapeError(f"ArrayDataset needs arrays of one length; found lengths {lengths}")
        self._data = args

    def __len__(self) -> int:
        return len(self._data[0])

    def __getitem__(self, index: Any) -> Any:
        sample = tuple(_element(data, index) for data in self._data)
        return sample[0] if len(sample) == 1 else sample

    def _rows(self) -> Rows | None:
        # A subclass may have samples of its own.
        return self._rows_of_parts() if type(self).__getitem__ is ArrayDataset.__getitem__ else None

    def _rows_of_parts(self) -> Rows | None:
        parts = [rows_of(data) for data in self._data]
        rows = [part for part in parts if part is not None]
        if len(rows) < len(parts):
            return None
        return rows[0] if len(rows) == 1 else lambda indices: [part(indices) for part in rows]


def _element(data: Any, index: Any) -> Any:
    """``data[index]``, of arrays as a copy: a transform may write into its sample."""
    if type(data) is ndarray and type(index) is int and interpreter.current() is EAGER:
        return ndarray(numpy.array(data._data[index, ...]))  # several times as fast as by operators
    element = data[index]
    is_view = type(element) in (ndarray, numpy.ndarray) and type(data) is type(element)
    return element.copy() if is_view and not isinstance(index, slice) else element


def rows_of(data: Any) -> Rows | None:
    """What gives a batch of rows of an array, a list, or a dataset of such."""
    if type(data) is ndarray:
        return lambda indices: ndarray(data._leave("batching by a DataLoader").take(indices, 0))
    if type(data) is numpy.ndarray and is_ours(data.dtype):
        return lambda indices: ndarray(data.take(indices, 0))
    if type(data) in (list, tuple):
        return lambda indices: default_batchify_fn([data[index] for index in indices])
    return data._rows() if isinstance(data, Dataset) else None
