"""Operators that place, pick and fill elements, in ONNX."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.frontends.onnx.writing.table import Call, NoFormError, PerItem, Shape, Size, Value, form, whole
from blockfuse.frontends.onnx.writing.writer import Writer
from blockfuse.ir.operators.movement import numpy_index

_BACK = numpy.iinfo(numpy.int64).min  # before the first element


@form("reshape", "expand_dims", "squeeze")
def _reshape(writer: Writer, call: Call, x: Value, **_: Any) -> Value:
    return writer.reshaped(x, call.shape)


@form("stop_gradient")
def _same(writer: Writer, call: Call, x: Value) -> Value:
    return x


@form("transpose")
def _transpose(writer: Writer, call: Call, x: Value, axes: tuple[int, ...]) -> Value:
    return writer.transposed(x, axes)


@form("broadcast_to")
def _broadcast_to(writer: Writer, call: Call, x: Value, shape: Shape) -> Value:
    return x if x.shape == shape else expanded_to(writer, x, shape)


def expanded_to(writer: Writer, x: Value, shape: Shape) -> Value:
    return writer.node("Expand", [x, writer.integers(shape)], x.dtype, shape)


@form("full")
def _full(writer: Writer, call: Call, shape: Shape, value: Any, dtype: str) -> Value:
    return expanded_to(writer, writer.constant(value, dtype), shape)


@form("arange", "linspace", "eye")
def _made_once(writer: Writer, call: Call, **attrs: Any) -> Value:
    whole(call.shape)
    return writer.constant(call.operator.meaning(**attrs))


@form("flip")
def _flip(writer: Writer, call: Call, x: Value, axis: tuple[int, ...]) -> Value:
    return _sliced(writer, x, [(a, -1, _BACK, -1) for a in axis], call.shape)


@form("concatenate")
def _concatenate(writer: Writer, call: Call, *operands: Value, axis: int) -> Value:
    values = [writer.cast(x, call.dtype) for x in operands]
    return writer.node("Concat", values, call.dtype, call.shape, axis=axis)


# -- parts -----------------------------------------------------------------------------------------------------------


@form("get_item")
def _get_item(writer: Writer, call: Call, x: Value, index: tuple[Any, ...]) -> Value:
    sizes = list(x.shape)
    cut: list[tuple[int, int, Size, int]] = []  # axis, start, end, step
    for axis, item in enumerate(item for item in index if item is not None):
        start, end, step, sizes[axis] = _bounds(item, x.shape[axis])
        if (start, end, step) != (0, x.shape[axis], 1):
            cut.append((axis, start, end, step))
    return writer.reshaped(_sliced(writer, x, cut, tuple(sizes)) if cut else x, call.shape)


def _bounds(item: Any, extent: Size) -> tuple[int, Size, int, Size]:
    """Start, end, step and count of a slice, as the standard has them."""
    if isinstance(item, int):
        return item, item + 1, 1, 1
    _, start, stop, step = item
    if isinstance(stop, PerItem):
        if (start, stop, step) != (0, extent, 1):
            raise NoFormError("of a part of the batch")
        return start, stop, step, extent
    return start, _BACK if step < 0 and stop < 0 else stop, step, len(range(start, stop, step))


def _sliced(writer: Writer, x: Value, cut: list[tuple[int, int, Size, int]], shape: Shape) -> Value:
    axes, starts, ends, steps = (list(column) for column in zip(*cut, strict=True))
    operands = [x, *(writer.integers(column) for column in (starts, ends, axes, steps))]
    return writer.node("Slice", operands, x.dtype, shape)


@form("set_item")
def _set_item(writer: Writer, call: Call, x: Value, value: Value, index: tuple[Any, ...]) -> Value:
    """Elements that are written one by one, at places that are known before the call."""
    shape = whole(x.shape)
    grid = numpy.indices(shape)[(slice(None), *numpy_index(index))]
    places = writer.constant(numpy.moveaxis(grid, 0, -1), "int64")
    updates = writer.cast(value, x.dtype)
    if updates.shape != grid.shape[1:]:
        updates = expanded_to(writer, updates, grid.shape[1:])
    return writer.like("ScatterND", x, places, updates)


# -- at indices ------------------------------------------------------------------------------------------------------


@form("take_at")
def _take_at(writer: Writer, call: Call, x: Value, *arrays: Value, pattern: tuple[Any, ...]) -> Value:
    indices = [array if array.dtype.name == "int32" else writer.cast(array, "int64") for array in arrays]
    kinds = [_kind(entry) for entry in pattern]
    if len(indices) == 1 and kinds.count("whole") == len(kinds) - 1 and "array" in kinds:
        return writer.node("Gather", [x, *indices], x.dtype, call.shape, axis=kinds.index("array"))
    if len(indices) == 1 and _goes_along(pattern, x, indices[0]):
        axis = kinds.index("array")
        return writer.node("GatherElements", [x, *indices], x.dtype, call.shape, axis=axis)
    count = len(indices)
    if kinds[:count] == ["array"] * count and set(kinds[count:]) <= {"whole"}:
        shape = call.shape[: len(call.shape) - (x.ndim - count)]
        columns = [_column(writer, index, shape) for index in indices]
        places = writer.node("Concat", columns, "int64", (*shape, count), axis=len(shape))
        return writer.node("GatherND", [x, places], x.dtype, call.shape)
    raise NoFormError("by several arrays in other places")


def _kind(entry: Any) -> str:
    """What an entry of a pattern takes of its axis."""
    if not isinstance(entry, tuple):
        return "one"
    return "whole" if entry == ("slice", None, None, None) else str(entry[0])


def _goes_along(pattern: tuple[Any, ...], x: Value, index: Value) -> bool:
    """Whether one element is picked along one axis, for each element of the index."""
    others = [axis for axis, entry in enumerate(pattern) if entry != ("array", 0)]
    return (
        len(pattern) == x.ndim == index.ndim == len(others) + 1
        and all(pattern[axis] == ("along", axis, x.ndim) for axis in others)
        and all(index.shape[axis] == x.shape[axis] for axis in others)
    )


def _column(writer: Writer, index: Value, shape: Shape) -> Value:
    index = writer.cast(index, "int64")
    wide = index if index.shape == shape else expanded_to(writer, index, shape)
    return writer.reshaped(wide, (*shape, 1))


# -- order -----------------------------------------------------------------------------------------------------------


@form("sort", "argsort")
def _sort(writer: Writer, call: Call, x: Value, axis: int) -> Value:
    """The smallest, as many as there are; equal ones in their order."""
    return writer.smallest(x, axis % x.ndim, places=call.operator.name == "argsort")


@form("cumsum")
def _cumsum(writer: Writer, call: Call, x: Value, axis: int) -> Value:
    return writer.like("CumSum", writer.cast(x, call.dtype), writer.constant(axis % x.ndim, "int64"))
