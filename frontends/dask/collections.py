"""Nets over arrays and data frames of Dask: each block of rows is one call of the net, where the block lies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import dask
import numpy
from dask import array as da

from blockfuse.frontends.carried import Carried, carried
from blockfuse.ir.errors import ShapeError, UsageError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

Model = Callable[..., Any]


def map_blocks(model: Model, *arrays: da.Array) -> da.Array:
    """What ``model`` gives for the rows of Dask arrays, as a Dask array with the same blocks of rows.

    model: a block, a hybridized function, or what ``blockfuse.compile`` gave: a callable that takes NumPy's arrays and gives
    one array with a row for each of theirs. One that looks across rows, as ``x - x.mean(axis=0)`` does, sees those of a
    block. It is taken as it is at this call, and travels to each worker once, where it compiles or loads what is cached.
    arrays: float32, or what the model takes, with the same blocks along axis 0; blocks along other axes are joined.

    The model is called once here, with a row of zeros, for dtype and shape of the result.

    Raises UsageError for arrays whose blocks of rows differ or whose other sizes are unknown, and ShapeError for a result
    that has not a row for each, or, when it is computed, is otherwise than for the row of zeros.

    >>> import blockfuse
    >>> import dask.array
    >>> net = blockfuse.nn.Dense(3)
    >>> net.initialize()
    >>> net.hybridize()
    >>> X = dask.array.ones((1000, 20), chunks=(256, -1), dtype="float32")
    >>> y = blockfuse.dask.map_blocks(net, X)
    >>> y.chunks
    ((256, 256, 256, 232), (3,))
    >>> y.compute(scheduler="threads").shape
    (1000, 3)
    """
    _check_blocks(arrays)
    row = _row(model, [numpy.zeros((1, *a.shape[1:]), a.dtype) for a in arrays])
    axes = iter(range(1, 1 + sum(a.ndim for a in arrays) + row.ndim))  # 0 is that of the rows
    named = [(0, *(next(axes) for _ in a.shape[1:])) for a in arrays]
    new = {next(axes): size for size in row.shape[1:]}
    return da.blockwise(
        _called,
        (0, *new),
        *(part for pair in zip(arrays, named, strict=True) for part in pair),
        new_axes=new,
        dtype=row.dtype,
        meta=numpy.empty((0,) * row.ndim, row.dtype),
        concatenate=True,
        model=_travelling(model),
        like=row[:0],
    )


def map_partitions(
    model: Model,
    frame: Any,
    columns: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    dtype: DTypeLike = "float32",
) -> Any:
    """What ``model`` gives for the rows of a Dask data frame, as a data frame with the same index and partitions.

    model: as of ``map_blocks``; it gives a vector, or a matrix with a row for each of the frame's.
    frame: of ``dask.dataframe``, columns of numbers.
    columns: those that it takes, in this order; all of them by default.
    names: of the columns of the result, ``"0"``, ``"1"`` and so on by default.
    dtype: of the values that it gets.

    Raises UsageError for columns that the frame lacks and names that do not fit the result, and ShapeError as
    ``map_blocks`` does.

    >>> import pandas
    >>> import pyarrow  # which Dask asks for
    >>> import dask.dataframe
    >>> import blockfuse
    >>> net = blockfuse.nn.Dense(1)
    >>> net.initialize()
    >>> people = pandas.DataFrame({"age": [30.0, 40.0], "income": [1.0, 2.0]})
    >>> frame = dask.dataframe.from_pandas(people, npartitions=2)
    >>> scores = blockfuse.dask.map_partitions(net, frame, ["age", "income"], names=["score"])
    >>> scores.compute(scheduler="threads").shape
    (2, 1)
    """
    columns = list(frame.columns if columns is None else columns)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise UsageError(f"the data frame has no columns {missing}; it has {list(frame.columns)}")
    row = _row(model, [numpy.zeros((1, len(columns)), dtype)])
    if row.ndim > 2:
        raise ShapeError(f"a data frame has rows and columns; the model gives {row.shape[1:]} for a row")
    width = row.shape[1] if row.ndim == 2 else 1
    names = [str(n) for n in range(width)] if names is None else list(names)
    if len(names) != width:
        raise UsageError(f"the model gives {width} columns; names= has {len(names)}: {names}")
    like = row[:0]
    return frame[columns].map_partitions(
        _called_with_frame,
        model=_travelling(model),
        names=names,
        dtype=numpy.dtype(dtype),
        like=like,
        meta=_framed(like, frame._meta.iloc[:0], names),
    )


def _travelling(model: Model) -> Any:
    """The model as one value among the tasks: Dask moves it to a worker when a block there needs it, and keeps it."""
    return dask.delayed(carried(model), pure=False)


def _check_blocks(arrays: Sequence[Any]) -> None:
    if not arrays or not all(isinstance(a, da.Array) and a.ndim for a in arrays):
        found = ", ".join(type(a).__name__ for a in arrays) or "nothing"
        raise UsageError(f"map_blocks() takes Dask arrays with an axis of rows; found {found}")
    for place, array in enumerate(arrays, 1):
        unknown = [axis for axis, size in enumerate(array.shape) if axis and math.isnan(size)]
        if unknown:
            raise UsageError(
                f"array {place} has blocks of unknown sizes along axis {unknown[0]}: call compute_chunk_sizes() of it; only "
                "the number of rows may be unknown"
            )
    if len({a.chunks[0] for a in arrays}) > 1:
        blocks = ", ".join(str(a.chunks[0]) for a in arrays)
        raise UsageError(
            f"the arrays have different blocks of rows: {blocks}; give all the same by rechunk()"
        )


def _row(model: Model, row: list[numpy.ndarray]) -> numpy.ndarray:
    """What the model gives for one row."""
    result = model(*row)
    if not isinstance(result, numpy.ndarray):
        raise UsageError(
            f"the model gives {type(result).__name__} for NumPy's arrays; it must give one array"
        )
    if result.shape[:1] != (1,):
        raise ShapeError(
            f"for one row the model gives an array of shape {result.shape}; it must give one row, too"
        )
    return result


def _called(*blocks: numpy.ndarray, model: Carried, like: numpy.ndarray) -> numpy.ndarray:
    """A block of the result, in memory of its own: the model may write into what it gave. like: one without rows."""
    rows = [len(block) for block in blocks]
    if len(set(rows)) > 1:  # which nobody knew when the tasks were made
        raise ShapeError(f"blocks of the arrays that belong together have different numbers of rows: {rows}")
    result: numpy.ndarray = model.model(*blocks)
    wanted, found = (len(blocks[0]), *like.shape[1:]), result.shape
    if found != wanted or result.dtype != like.dtype:
        raise ShapeError(
            f"for a block of {wanted[0]} rows the model gives {result.dtype}{list(found)}; for a row of zeros it gave what "
            f"makes {like.dtype}{list(wanted)}"
        )
    return result.copy()


def _called_with_frame(
    frame: Any, model: Carried, names: list[str], dtype: numpy.dtype, like: numpy.ndarray
) -> Any:
    values = numpy.ascontiguousarray(frame.to_numpy(dtype=dtype))
    return _framed(_called(values, model=model, like=like), frame, names)


def _framed(values: numpy.ndarray, frame: Any, names: list[str]) -> Any:
    """A data frame of pandas with the index of ``frame``."""
    columns = values if values.ndim == 2 else values[:, None]
    return type(frame)(columns, index=frame.index, columns=names)
