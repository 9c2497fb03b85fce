"""How samples become a batch: stacked, padded to one shape, or each part by a function of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from blockfuse.array.arguments import checked_dtype
from blockfuse.array.eager import numbers_of
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import DTypeError, ShapeError, UsageError

__all__ = ["AsList", "Group", "Pad", "Stack", "default_batchify_fn"]

Samples = Sequence[Any]


def default_batchify_fn(data: Samples) -> Any:
    """Stack the samples ``data``; a list of batches of samples that are tuples or lists, a dict of batches of dicts.

    Arrays keep their dtype. Of Python's numbers, floats become float32 as everywhere, ints int64. Raises ShapeError or
    DTypeError where samples differ, DTypeError for texts, UsageError for no samples.

    >>> from blockfuse import gluon
    >>> gluon.data.default_batchify_fn([(1.5, 0), (2.5, 1)])
    [array([1.5, 2.5]), array([0, 1])]
    """
    _check_some(data)
    first = data[0]
    if isinstance(first, dict):
        return _batch_of_dicts(data)
    if isinstance(first, tuple | list):
        batches = [default_batchify_fn(part) for part in _parts(data, len(first))]
        return type(first)(*batches) if hasattr(first, "_fields") else batches
    return Stack()(data)


def _batch_of_dicts(data: Samples) -> dict[Any, Any]:
    for n, sample in enumerate(data):
        if not isinstance(sample, dict) or sample.keys() != data[0].keys():
            raise ShapeError(
                f"sample {n} of a batch has other keys than the first: {_keys(sample)}, {_keys(data[0])}"
            )
    return {key: default_batchify_fn([sample[key] for sample in data]) for key in data[0]}


def _keys(sample: Any) -> Any:
    return list(sample) if isinstance(sample, dict) else f"none, as it is a {type(sample).__name__}"


def _parts(data: Samples, count: int) -> list[tuple[Any, ...]]:
    for n, sample in enumerate(data):
        if not isinstance(sample, tuple | list) or len(sample) != count:
            raise ShapeError(
                f"sample {n} of a batch does not have the {count} parts that the first has: {sample!r:.80}"
            )
    return list(zip(*data, strict=True))


class Stack:
    """Samples of one shape and dtype along a new first axis.

    use_shared_mem: taken for Gluon's sake. A call raises ShapeError or DTypeError where samples differ.

    >>> from blockfuse import gluon
    >>> gluon.data.batchify.Stack()([[1, 2], [3, 4]])
    array([[1, 2],
           [3, 4]])
    """

    def __init__(self, use_shared_mem: bool = False) -> None:
        """use_shared_mem: Gluon's word, which changes nothing here."""

    def __call__(self, data: Samples) -> ndarray:
        _check_some(data)
        if all(type(sample) in (bool, int, float) for sample in data):
            return _of_numbers(data)
        arrays = [array_of(sample) for sample in data]
        _check_alike(
            arrays, lambda x: x.shape, ShapeError, "shape", "batchify_fn=batchify.Pad() brings them to one"
        )
        _check_alike(arrays, lambda x: x.dtype, DTypeError, "dtype", "cast them in a transform")
        return ndarray(numpy.stack(arrays))


class Pad:
    """Samples of several shapes along a new first axis, filled up to the largest.

    val: what stands behind the end of a sample.
    dtype: of the batch; by default that of the samples.
    round_to: sizes become multiples of it, so that fewer of them occur; 1 or more, otherwise UsageError.
    use_shared_mem: taken for Gluon's sake.
    ret_length: give (batch, sizes of the samples' first axis, int64) instead.

    A call raises ShapeError where samples differ in the number of axes, DTypeError where the batch's dtype has no place for
    ``val``.

    >>> from blockfuse import gluon
    >>> gluon.data.batchify.Pad(val=-1)([[1, 2, 3], [4]])
    array([[ 1,  2,  3],
           [ 4, -1, -1]])
    """

    def __init__(
        self,
        val: float = 0,
        dtype: Any = None,
        round_to: int | None = None,
        use_shared_mem: bool = False,  # noqa: ARG002 - Gluon's word, which changes nothing here
        ret_length: bool = False,
    ) -> None:
        if round_to is not None and round_to < 1:
            raise UsageError(f"Pad needs round_to of 1 or more; found {round_to}")
        self._val, self._round_to, self._ret_length = val, round_to or 1, ret_length
        self._dtype = None if dtype is None else checked_dtype(dtype)

    def __call__(self, data: Samples) -> Any:
        _check_some(data)
        arrays = [array_of(sample) for sample in data]
        _check_alike(
            arrays, lambda x: x.ndim, ShapeError, "number of axes", "Pad makes sizes equal, not axes"
        )
        batch = ndarray(self._padded(arrays))
        if not self._ret_length:
            return batch
        return batch, ndarray(numpy.array([x.shape[0] if x.ndim else 1 for x in arrays], numpy.int64))

    def _padded(self, arrays: list[numpy.ndarray]) -> numpy.ndarray:
        sizes = (max(axis) for axis in zip(*(x.shape for x in arrays), strict=True))
        shape = [-(-size // self._round_to) * self._round_to for size in sizes]
        batch = numpy.full((len(arrays), *shape), self._val, self._dtype_of(arrays))
        for n, x in enumerate(arrays):
            corner: tuple[int | slice, ...] = (n, *map(slice, x.shape))
            batch[corner] = x
        return batch

    def _dtype_of(self, arrays: list[numpy.ndarray]) -> numpy.dtype:
        """That of the batch. Raises DTypeError where it has no place for a sample or for what pads."""
        if self._dtype is None:
            _check_alike(arrays, lambda x: x.dtype, DTypeError, "dtype", "write Pad(dtype=...)")
        dtype = self._dtype or arrays[0].dtype
        wrong = next((x.dtype for x in arrays if not numpy.can_cast(x.dtype, dtype, "same_kind")), None)
        if wrong is not None or (dtype.kind != "f" and self._val != int(self._val)):
            found = f"padding of {self._val}" if wrong is None else f"samples of {wrong}"
            raise DTypeError(f"a batch of {dtype} has no place for {found}: write Pad(dtype='float32')")
        return dtype


class Group:
    """A function for each part of samples that are tuples: ``Group(Pad(), Stack())`` for a text and its label.

    fn, others: the functions, side by side or in one list. A call gives a tuple with a batch for each, and raises
    ShapeError for samples of another number of parts.

    >>> from blockfuse import gluon
    >>> batchify = gluon.data.batchify
    >>> batchify.Group(batchify.Stack(), batchify.AsList())([(1.5, "a"), (2.5, "b")])
    (array([1.5, 2.5]), ['a', 'b'])
    """

    def __init__(self, fn: Any, *others: Callable[[Samples], Any]) -> None:
        """The functions side by side, or one list of them."""
        self._functions = tuple(fn) if isinstance(fn, list | tuple) else (fn, *others)
        if not self._functions or not all(map(callable, self._functions)):
            raise UsageError("Group needs functions, one for each part of a sample")

    def __call__(self, data: Samples) -> tuple[Any, ...]:
        _check_some(data)
        parts = _parts(data, len(self._functions))
        return tuple(function(part) for function, part in zip(self._functions, parts, strict=True))


class AsList:
    """The samples as they are, in a list: for text.

    >>> from blockfuse import gluon
    >>> gluon.data.batchify.AsList()(["a", "b"])
    ['a', 'b']
    """

    def __call__(self, data: Samples) -> list[Any]:
        return list(data)


def array_of(sample: Any) -> numpy.ndarray:
    """One sample as NumPy's array, of the dtypes that ``default_batchify_fn`` says."""
    if type(sample) is ndarray:
        return sample._leave("batching by a DataLoader")
    if isinstance(sample, str | bytes):
        raise DTypeError(
            f"cannot make a batch of text such as {sample!r:.40}: write batchify_fn=batchify.AsList(), "
            f"for samples of several parts in a batchify.Group"
        )
    if isinstance(sample, numpy.ndarray | numpy.generic):
        return numpy.asarray(sample, sample.dtype.newbyteorder("="))
    return _narrow(numbers_of(sample))


def _of_numbers(data: Samples) -> ndarray:
    return ndarray(_narrow(numbers_of(list(data))))


def _narrow(values: numpy.ndarray) -> numpy.ndarray:
    return values.astype(numpy.float32) if values.dtype == numpy.float64 else values


def _check_some(data: Samples) -> None:
    if not len(data):
        raise UsageError("a batch of no samples has no shape; a batch sampler must give one index or more")


def _check_alike(
    arrays: list[numpy.ndarray],
    aspect: Callable[[numpy.ndarray], Any],
    error: type[Exception],
    name: str,
    advice: str,
) -> None:
    first = aspect(arrays[0])
    for n, x in enumerate(arrays):
        if aspect(x) != first:
            raise error(f"samples 0 and {n} of a batch differ in {name}, {first} and {aspect(x)}: {advice}")
