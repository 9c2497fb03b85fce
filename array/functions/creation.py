"""Making arrays: from values, filled, counting.

Python floats and ints become float32 unless ``dtype=`` says otherwise, bools stay bool, NumPy arrays keep
their dtype. Gluon's ``ctx=`` and NumPy's ``device=`` are taken; there is one device.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy

from blockfuse.array import stamps
from blockfuse.array.arguments import ArrayLike, checked_dtype, shape_tuple
from blockfuse.array.defaults import default_float, default_range
from blockfuse.array.devices import Device, check_device
from blockfuse.array.eager import EAGER, numbers_of
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir import interpreter
from blockfuse.ir.operators import filling, movement, pointwise
from blockfuse.ir.types import name_of

# -- from values ---------------------------------------------------------------------------------------------


def array(
    object: ArrayLike,
    dtype: Any = None,
    ctx: Device | None = None,
    *,
    device: Device | None = None,
    copy: bool = True,
    ndmin: int = 0,
) -> ndarray:
    """A new array of the given values.

    object: a number, nested lists of numbers or of arrays, or an array, also of NumPy or another library.
    dtype: of the result. Without it an array keeps its own; Python's floats and ints become float32, bools stay bool.
    ctx, device: Gluon's and NumPy's word for where; there is one device.
    copy: False gives ``object`` itself where it is an array of the right dtype.
    ndmin: the least number of axes; those that are missing are put in front, of size 1.

    Returns the shape of the values, in that dtype. Raises DTypeError for ragged lists, objects and strings.

    >>> from blockfuse import np
    >>> np.array([[1, 2], [3, 4]])
    array([[1., 2.],
           [3., 4.]])
    >>> np.array([1, 2]).dtype
    dtype('float32')
    """
    check_device(ctx, device)
    if not copy:
        return asarray(object, dtype)
    wanted = None if dtype is None else checked_dtype(dtype)
    made = _from_numpy(object, wanted) if type(object) is numpy.ndarray else None
    if made is None:
        source = object if type(object) is ndarray else _source(object, wanted)
        made = pointwise.cast(source, dtype=name_of(wanted or source.dtype))
    return (
        made if made.ndim >= ndmin else movement.reshape(made, shape=(1,) * (ndmin - made.ndim) + made.shape)
    )


def _from_numpy(data: numpy.ndarray, wanted: numpy.dtype | None) -> ndarray | None:
    """A copy where nobody asks where its values came from; else the operator says it."""
    if interpreter.current() is not EAGER:
        return None
    native = _native(data)
    return ndarray(pointwise.cast.meaning(native, dtype=name_of(wanted or native.dtype)))


def asarray(
    object: ArrayLike,
    dtype: Any = None,
    *,
    ctx: Device | None = None,
    device: Device | None = None,
    copy: bool | None = None,
) -> ndarray:
    """The values as an array, without a copy where they are one of the right dtype.

    object, dtype: as of ``array``.
    copy: True makes one always; with False a ValueError says that there must be one.

    Returns the shape of the values, in ``dtype`` or that which ``array`` chooses.

    >>> from blockfuse import np
    >>> x = np.array([1, 2])
    >>> np.asarray(x) is x
    True
    """
    check_device(ctx, device)
    if copy is not None:
        return _copied(object, dtype, copy)
    wanted = None if dtype is None else checked_dtype(dtype)
    as_it_is = wanted is None  # a dtype must not be compared with None: that is float64 to NumPy
    if type(object) is ndarray and (as_it_is or wanted == object.dtype):
        return object
    if isinstance(object, numpy.ndarray | numpy.generic) and (as_it_is or wanted == object.dtype):
        result = ndarray(_native(object))
        if isinstance(object, numpy.ndarray):
            stamps.expose(result._data)
        return result
    return array(object, wanted)


asanyarray = asarray


def _copied(values: ArrayLike, dtype: Any, copy: bool) -> ndarray:
    if copy:
        return array(values, dtype)
    shares = isinstance(values, ndarray | numpy.ndarray) and dtype in (None, values.dtype)
    if not shares or not values.dtype.isnative:
        raise ValueError(
            f"copy=False, but {type(values).__name__} becomes an array of {dtype or 'numbers'} by a copy"
        )
    return asarray(values)


def ascontiguousarray(a: ArrayLike, dtype: Any = None) -> ndarray:
    """As ``asarray``, with one axis at least.

    Returns the shape of the values, (1,) of a number, in ``dtype`` or that which ``array`` chooses.

    >>> from blockfuse import np
    >>> np.ascontiguousarray(7)
    array([7.])
    """
    x = asarray(a, dtype)
    return x if x.ndim else movement.reshape(x, shape=(1,))


def _source(values: Any, wanted: numpy.dtype | None) -> Any:
    if isinstance(values, list | tuple) and _holds_array(values):
        return movement.concatenate(*(movement.expand_dims(asarray(v), axis=(0,)) for v in values), axis=0)
    if hasattr(values, "__array__"):
        return asarray(_native(values))
    numbers = numbers_of(values)
    if wanted is not None:
        return numpy.array(values, wanted)
    return numbers if numbers.dtype == bool else numbers.astype(default_float())


def _holds_array(values: Any) -> bool:
    return any(_holds_array(v) if isinstance(v, list | tuple) else type(v) is ndarray for v in values)


def _native(values: Any) -> numpy.ndarray:
    data = numpy.asarray(values)
    return data if data.dtype.isnative else data.astype(data.dtype.newbyteorder("="))


def copy(a: ArrayLike) -> ndarray:
    """The same values in memory of their own.

    Returns the shape and dtype of ``a``.

    >>> from blockfuse import np
    >>> x = np.array([1, 2])
    >>> y = np.copy(x)
    >>> y[0] = 7
    >>> x
    array([1., 2.])
    """
    return array(a)


# -- filled --------------------------------------------------------------------------------------------------


def _filled(shape: Any, value: Any, dtype: Any, ctx: Device | None, device: Device | None) -> ndarray:
    check_device(ctx, device)
    name = default_float() if dtype is None else name_of(checked_dtype(dtype))
    return filling.full(shape=shape_tuple(shape), value=value, dtype=name)


def zeros(
    shape: Any, dtype: Any = None, order: str = "C", ctx: Device | None = None, device: Device | None = None
) -> ndarray:
    """Zeros.

    shape: an int, or a tuple.
    order: 'C', 'K' or 'A', which are one.
    ctx, device: there is one device.

    Returns that shape, float32 unless ``dtype`` says otherwise. Raises ValueError for order 'F'.

    >>> from blockfuse import np
    >>> np.zeros((2, 3))
    array([[0., 0., 0.],
           [0., 0., 0.]])
    """
    _check_order(order)
    return _filled(shape, 0, dtype, ctx, device)


def ones(
    shape: Any, dtype: Any = None, order: str = "C", ctx: Device | None = None, device: Device | None = None
) -> ndarray:
    """Ones.

    shape: an int, or a tuple.
    order: 'C', 'K' or 'A', which are one.
    ctx, device: there is one device.

    Returns that shape, float32 unless ``dtype`` says otherwise. Raises ValueError for order 'F'.

    >>> from blockfuse import np
    >>> np.ones((2, 3), dtype="int32")
    array([[1, 1, 1],
           [1, 1, 1]], dtype=int32)
    """
    _check_order(order)
    return _filled(shape, 1, dtype, ctx, device)


empty = zeros  # memory with whatever it held would make two runs differ


def full(
    shape: Any,
    fill_value: ArrayLike,
    dtype: Any = None,
    order: str = "C",
    ctx: Device | None = None,
    device: Device | None = None,
) -> ndarray:
    """An array of one value, or of values that broadcast.

    shape: an int, or a tuple.
    fill_value: a number, or an array.
    order: 'C', 'K' or 'A', which are one.
    ctx, device: there is one device.

    Returns that shape in ``dtype``; without it, float32 of a number, bool of a bool, and that of an array. Raises
    ValueError for order 'F'.

    >>> from blockfuse import np
    >>> np.full((2, 2), 7)
    array([[7., 7.],
           [7., 7.]])
    """
    _check_order(order)
    if isinstance(fill_value, bool) and dtype is None:
        dtype = bool
    if isinstance(fill_value, int | float):
        return _filled(shape, fill_value, dtype, ctx, device)
    value = asarray(fill_value, dtype)
    return array(movement.broadcast_to(value, shape=shape_tuple(shape)), ctx=ctx, device=device)


def _check_order(order: str) -> None:
    if order not in ("C", "K", "A"):
        raise ValueError(f"order={order!r} is not supported; arrays are made in C order")


def zeros_like(
    a: ArrayLike, dtype: Any = None, *, ctx: Device | None = None, device: Device | None = None
) -> ndarray:
    """Zeros in the shape of another array.

    ctx, device: there is one device.

    Returns the shape of ``a``, and its dtype unless ``dtype`` says otherwise.

    >>> from blockfuse import np
    >>> np.zeros_like(np.array([1, 2], dtype="int32"))
    array([0, 0], dtype=int32)
    """
    return full_like(a, 0, dtype, ctx=ctx, device=device)


def ones_like(
    a: ArrayLike, dtype: Any = None, *, ctx: Device | None = None, device: Device | None = None
) -> ndarray:
    """Ones in the shape of another array.

    ctx, device: there is one device.

    Returns the shape of ``a``, and its dtype unless ``dtype`` says otherwise.

    >>> from blockfuse import np
    >>> np.ones_like(np.array([1, 2], dtype="int32"))
    array([1, 1], dtype=int32)
    """
    return full_like(a, 1, dtype, ctx=ctx, device=device)


empty_like = zeros_like


@size_agnostic
def full_like(
    a: ArrayLike,
    fill_value: ArrayLike,
    dtype: Any = None,
    *,
    ctx: Device | None = None,
    device: Device | None = None,
) -> ndarray:
    """One value in the shape of another array.

    fill_value: a number, or an array that broadcasts to it.
    ctx, device: there is one device.

    Returns the shape of ``a``, and its dtype unless ``dtype`` says otherwise.

    >>> from blockfuse import np
    >>> np.full_like(np.array([[1, 2]]), 7)
    array([[7., 7.]])
    """
    like = asarray(a)
    return full(like.shape, fill_value, like.dtype if dtype is None else dtype, ctx=ctx, device=device)


# -- counting ------------------------------------------------------------------------------------------------


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    dtype: Any = None,
    *,
    ctx: Device | None = None,
    device: Device | None = None,
) -> ndarray:
    """``start``, ``start + step``, ... up to ``stop``, which is not reached; from 0 where one number is given.

    start, stop, step: numbers.
    ctx, device: there is one device.

    Returns (ceil((stop - start) / step),), float32 unless ``dtype`` says otherwise. Raises ValueError for a step of 0.

    >>> from blockfuse import np
    >>> np.arange(3)
    array([0., 1., 2.])
    >>> np.arange(1, 2, 0.25)
    array([1.  , 1.25, 1.5 , 1.75])
    """
    check_device(ctx, device)
    first, last = (0, start) if stop is None else (start, stop)
    if step == 0:
        raise ValueError("arange needs a step that is not 0")
    bounds = _number(first), _number(last), _number(step)
    name = default_range(*bounds) if dtype is None else name_of(checked_dtype(dtype))
    return filling.arange(start=bounds[0], stop=bounds[1], step=bounds[2], dtype=name)


def _number(value: Any) -> float:
    """A bound of a range as a Python number (a one-element array gives up its value)."""
    if isinstance(value, int | float):
        return value
    if not isinstance(value, numpy.generic | numpy.ndarray | ndarray):
        return float(value)
    if value.size != 1:
        raise ValueError(f"a range begins and ends with numbers, not with an array of shape {value.shape}")
    number: float = value.item()
    return number


def linspace(
    start: float,
    stop: float,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    ctx: Device | None = None,
    device: Device | None = None,
) -> Any:
    """Evenly spaced numbers from ``start`` to ``stop``.

    num: how many.
    endpoint: False leaves ``stop`` out.
    retstep: whether the distance is given, too.
    ctx, device: there is one device.

    Returns (num,), or a pair of it and the distance, float32 unless ``dtype`` says otherwise. Raises ValueError for an
    axis other than 0.

    >>> from blockfuse import np
    >>> np.linspace(0, 1, 5)
    array([0.  , 0.25, 0.5 , 0.75, 1.  ])
    """
    check_device(ctx, device)
    if axis != 0:
        raise ValueError("linspace takes numbers, so that axis can only be 0")
    first, last, count = _number(start), _number(stop), operator.index(num)
    name = default_float() if dtype is None else name_of(checked_dtype(dtype))
    points = filling.linspace(start=first, stop=last, num=count, endpoint=bool(endpoint), dtype=name)
    return (points, (last - first) / max(count - bool(endpoint), 1)) if retstep else points


def logspace(
    start: float, stop: float, num: int = 50, endpoint: bool = True, base: float = 10.0, dtype: Any = None
) -> ndarray:
    """Powers of ``base`` with evenly spaced exponents from ``start`` to ``stop``.

    num: how many.
    endpoint: False leaves ``base ** stop`` out.

    Returns (num,), float32 unless ``dtype`` says otherwise.

    >>> from blockfuse import np
    >>> np.logspace(0, 2, 3)
    array([  1.,  10., 100.])
    """
    exponents = linspace(start, stop, num, endpoint, dtype="float64")
    return array(pointwise.power(base, exponents), default_float() if dtype is None else dtype)
