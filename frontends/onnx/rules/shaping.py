"""Rules of operators that arrange elements, and of those that make arrays or tell sizes."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import numpy

from blockfuse.array.sizes import size_agnostic
from blockfuse.frontends.onnx.rules.table import Static, Value, rule
from blockfuse.frontends.onnx.rules.values import along, dtype_of, ints, is_known, number, shaped, size_of
from blockfuse.ir.errors import ShapeError, UsageError

# -- sizes ---------------------------------------------------------------------------------------------------------


@rule("Shape")
def shape(data: Value, start: int = 0, end: int | None = None) -> Value:
    """The sizes of some axes, which Python knows."""
    return shaped(data.shape[start:end])


@rule("Size")
def size(data: Value) -> Value:
    """How many elements there are."""
    return numpy.array(math.prod(data.shape), "int64")


# -- shapes --------------------------------------------------------------------------------------------------------


@rule("Reshape")
@size_agnostic
def reshape(data: Value, shape: Static = None, allowzero: int = 0) -> Value:
    """A size of 0 is the one that was there, unless zeros are allowed."""
    asked = ints(shape)
    if not allowzero:
        if len(asked) > data.ndim and 0 in asked[data.ndim :]:
            raise ShapeError(
                f"Reshape of shape {data.shape} to {asked}: a 0 stands for an axis that is not there"
            )
        asked = tuple(data.shape[axis] if size == 0 else size for axis, size in enumerate(asked))
    return data.reshape(asked)


@rule("Flatten")
@size_agnostic
def flatten(data: Value, axis: int = 1) -> Value:
    """The axes before ``axis`` are one, and those from it on."""
    axis = axis if axis >= 0 else axis + data.ndim
    if axis == 1 and math.prod(data.shape):
        return data.reshape((data.shape[0], -1))
    return data.reshape((math.prod(data.shape[:axis]), math.prod(data.shape[axis:])))


@rule("Squeeze")
def squeeze(data: Value, axes: Static = None) -> Value:
    """Without axes of one element."""
    return numpy.squeeze(data) if axes is None else numpy.squeeze(data, axis=ints(axes))


@rule("Unsqueeze")
def unsqueeze(data: Value, axes: Static) -> Value:
    """Axes of one element, at places of the result."""
    return numpy.expand_dims(data, axis=ints(axes))


@rule("Transpose")
def transpose(data: Value, perm: tuple[int, ...] | None = None) -> Value:
    """The axes in another order."""
    return numpy.transpose(data, perm)


@rule("Expand")
def expand(data: Value, shape: Static) -> Value:
    """Broadcast, also where the asked size is one."""
    sizes = numpy.broadcast_shapes(tuple(data.shape), ints(shape))
    return numpy.broadcast_to(data, sizes)


@rule("Tile")
def tile(data: Value, repeats: Static) -> Value:
    """Repeated along each axis."""
    return numpy.tile(data, ints(repeats))


@rule("DepthToSpace")
@size_agnostic
def depth_to_space(data: Value, blocksize: int = 1, mode: str = "DCR") -> Value:
    """Channels as blocks of places."""
    n, c, h, w = data.shape
    depth = c // blocksize**2
    if mode == "DCR":
        blocks = data.reshape((n, blocksize, blocksize, depth, h, w)).transpose((0, 3, 4, 1, 5, 2))
    else:
        blocks = data.reshape((n, depth, blocksize, blocksize, h, w)).transpose((0, 1, 4, 2, 5, 3))
    return blocks.reshape((n, depth, h * blocksize, w * blocksize))


@rule("SpaceToDepth")
@size_agnostic
def space_to_depth(data: Value, blocksize: int = 1, mode: str = "DCR") -> Value:
    """Blocks of places as channels."""
    n, c, h, w = data.shape
    blocks = data.reshape((n, c, h // blocksize, blocksize, w // blocksize, blocksize))
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return blocks.transpose(order).reshape((n, c * blocksize**2, h // blocksize, w // blocksize))


# -- parts ---------------------------------------------------------------------------------------------------------


@rule("Concat")
def concat(*values: Value, axis: int = 1) -> Value:
    """One behind the other."""
    return numpy.concatenate(values, axis=axis)


@rule("Split", several=True)
def split(
    data: Value, split: Static = None, axis: int = 0, num_outputs: int | None = None, outputs: int = 1
) -> tuple[Value, ...]:
    """Into parts of given or nearly equal sizes. outputs: how many are used."""
    size = size_of(data, axis)
    if split is None:
        count = num_outputs or outputs
        part = -(-size // count)
        sizes: tuple[int, ...] = (*(part,) * (count - 1), size - part * (count - 1))
    else:
        sizes = ints(split)
    if sum(sizes) != size or min(sizes, default=0) < 0:
        raise ShapeError(f"Split of axis {axis} of shape {data.shape} into {sizes}")
    before = (slice(None),) * (axis % data.ndim)
    ends = tuple(accumulate(sizes))
    return tuple(data[(*before, slice(end - n, end))] for n, end in zip(sizes, ends, strict=True))


@rule("Slice")
def slice_(data: Value, starts: Static, ends: Static, axes: Static = None, steps: Static = None) -> Value:
    """From starts to ends along some axes."""
    first, last = ints(starts), ints(ends)
    chosen = tuple(range(len(first))) if axes is None else ints(axes)
    strides = (1,) * len(first) if steps is None else ints(steps)
    items: list[Any] = [slice(None)] * data.ndim
    for axis, start, end, step in zip(chosen, first, last, strides, strict=True):
        items[axis] = _part(size_of(data, axis), start, end, step)
    return data[tuple(items)]


def _part(size: int, start: int, end: int, step: int) -> slice:
    """Bounds below the first element are the end of a walk back, not counted from behind."""
    if start < 0:
        start = max(start + size, -1 if step < 0 else 0)
    if end < 0:
        end = max(end + size, -1)
    return slice(start, None if step < 0 and end < 0 else max(end, 0), step)


@rule("Pad", since=11)
def pad(
    data: Value, pads: Static, constant_value: Value = None, axes: Static = None, mode: str = "constant"
) -> Value:
    """Before and behind each axis; what is negative is cut off."""
    chosen = tuple(range(data.ndim)) if axes is None else tuple(axis % data.ndim for axis in ints(axes))
    widths, count = ints(pads), len(chosen)
    pairs = {axis: (widths[n], widths[n + count]) for n, axis in enumerate(chosen)}
    each = [pairs.get(axis, (0, 0)) for axis in range(data.ndim)]
    cut = tuple(slice(max(-a, 0), min(b, 0) or None) for a, b in each)
    grown = [(max(a, 0), max(b, 0)) for a, b in each]
    return _bordered(data[cut], grown, mode, constant_value)


@rule("Pad", until=10)
def pad_10(data: Value, pads: Static = (), mode: str = "constant", value: float = 0.0) -> Value:
    """With pads and value as attributes."""
    return pad(data, pads, numpy.array(value, data.dtype), None, mode)


_MODES: dict[str, Any] = {"edge": "edge", "reflect": "reflect", "wrap": "wrap"}


def _bordered(data: Value, widths: list[tuple[int, int]], mode: str, value: Value) -> Value:
    if not any(any(pair) for pair in widths):
        return data
    if mode != "constant":
        return numpy.pad(data, widths, mode=_MODES[mode])
    if value is None:
        return numpy.pad(data, widths)
    if is_known(value):
        return numpy.pad(data, widths, constant_values=number(value))
    inside = numpy.pad(numpy.ones(data.shape, bool), widths)
    return numpy.where(inside, numpy.pad(data, widths), value)


@rule("Trilu")
def trilu(data: Value, k: Static = None, upper: int = 1) -> Value:
    """One side of a diagonal."""
    offset = 0 if k is None else number(k)
    rows, columns = data.shape[-2:]
    distance = numpy.arange(columns) - numpy.arange(rows)[:, None] - offset
    return numpy.where(distance >= 0 if upper else distance <= 0, data, numpy.zeros((), data.dtype))


@rule("ReverseSequence")
def reverse_sequence(data: Value, lengths: Value, batch_axis: int = 1, time_axis: int = 0) -> Value:
    """The first elements of each sequence in the other order."""
    times = along(numpy.arange(data.shape[time_axis]), time_axis, data.ndim)
    counts = along(lengths, batch_axis, data.ndim)
    places = numpy.where(times < counts, counts - 1 - times, times)
    return numpy.take_along_axis(data, numpy.broadcast_to(places, data.shape), time_axis)


# -- arrays --------------------------------------------------------------------------------------------------------


@rule("Constant")
def constant(
    value: Value = None,
    value_int: int | None = None,
    value_float: float | None = None,
    value_ints: tuple[int, ...] | None = None,
    value_floats: tuple[float, ...] | None = None,
) -> Value:
    """What an attribute holds."""
    for given, dtype in (
        (value_int, "int64"),
        (value_ints, "int64"),
        (value_float, "float32"),
        (value_floats, "float32"),
    ):
        if given is not None:
            return numpy.array(given, dtype)
    if value is None:
        raise UsageError("a Constant without a value, or with texts or a sparse tensor, is not supported")
    return value


@rule("ConstantOfShape")
def constant_of_shape(shape: Static, value: Value = None) -> Value:
    """One number everywhere."""
    fill = numpy.zeros(1, "float32") if value is None else value
    return numpy.full(ints(shape), number(fill), fill.dtype)


@rule("EyeLike")
def eye_like(x: Value, dtype: int | None = None, k: int = 0) -> Value:
    """Ones on a diagonal, in the shape of ``x``."""
    rows, columns = x.shape
    return numpy.eye(rows, columns, k=k, dtype=x.dtype if dtype is None else dtype_of(dtype))


@rule("Range")
def range_(start: Static, limit: Static, delta: Static, stash_type: int = 1) -> Value:  # for bfloat16
    """Equally far apart."""
    first, last, step = (number(bound) for bound in (start, limit, delta))
    count = max(math.ceil((last - first) / step), 0)
    return (numpy.arange(count) * step + first).astype(start.dtype)


@rule("OneHot")
def one_hot(indices: Value, depth: Static, values: Value, axis: int = -1) -> Value:
    """Negative indices count from behind; those beyond are nowhere."""
    count = int(number(depth))
    axis = axis % (indices.ndim + 1)
    places = along(numpy.arange(count), axis, indices.ndim + 1)
    wanted = numpy.expand_dims(indices.astype("int64"), axis)
    hits = numpy.logical_or(numpy.equal(wanted, places), numpy.equal(wanted + count, places))
    return numpy.where(hits, values[1], values[0])


@rule("CenterCropPad")
def center_crop_pad(data: Value, shape: Static, axes: tuple[int, ...] | None = None) -> Value:
    """To given sizes, around the middle."""
    chosen = tuple(range(data.ndim)) if axes is None else tuple(axis % data.ndim for axis in axes)
    items, widths = [slice(None)] * data.ndim, [(0, 0)] * data.ndim
    for axis, asked in zip(chosen, ints(shape), strict=True):
        missing = asked - size_of(data, axis)
        if missing < 0:
            items[axis] = slice(-missing // 2, -missing // 2 + asked)
        else:
            widths[axis] = (missing // 2, missing - missing // 2)
    return _bordered(data[tuple(items)], widths, "constant", None)


def window(size: Static, output_datatype: int, periodic: int, weights: tuple[float, ...]) -> Value:
    """A sum of cosines over a window."""
    count = int(number(size))
    turn = numpy.arange(count) * (2 * numpy.pi / (count if periodic else max(count - 1, 1)))
    terms = [w * numpy.cos(turn * n) for n, w in enumerate(weights)]
    return numpy.asarray(sum(terms)).astype(dtype_of(output_datatype))


@rule("HannWindow")
def hann_window(size: Static, output_datatype: int = 1, periodic: int = 1) -> Value:
    """A raised cosine."""
    return window(size, output_datatype, periodic, (0.5, -0.5))


@rule("HammingWindow")
def hamming_window(size: Static, output_datatype: int = 1, periodic: int = 1) -> Value:
    """A raised cosine that does not reach zero."""
    return window(size, output_datatype, periodic, (25 / 46, -21 / 46))


@rule("BlackmanWindow")
def blackman_window(size: Static, output_datatype: int = 1, periodic: int = 1) -> Value:
    """Two cosines."""
    return window(size, output_datatype, periodic, (0.42, -0.5, 0.08))
