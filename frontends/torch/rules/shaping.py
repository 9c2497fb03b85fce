"""Rules of shapes: the same elements in another order, picked, joined, repeated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from blockfuse.array import np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.torch.rules.table import RULES, Array, Tensor, Value, rule
from blockfuse.frontends.torch.rules.values import (
    axis_of,
    cast,
    index_of,
    ints,
    places,
    refuse_if,
    required,
    shape_of,
)

T = torch.Tensor


def _shaped(like: Tensor, x: Array) -> Array:
    return x.reshape(tuple(like.shape))


@rule("reshape", "view")
def reshape(like: Tensor, x: Array, *shape: Any, **options: Any) -> Array:
    """Another shape."""
    refuse_if(shape and isinstance(shape[0], torch.dtype), "a view in another dtype")
    refuse_if(any(isinstance(v, torch.dtype) for v in options.values()), "a view in another dtype")
    return _shaped(like, x)


@rule("flatten", "ravel", "unflatten", "view_as", "reshape_as", "squeeze", "unsqueeze")
def flatten(like: Tensor, x: Array, *_args: Any, **_options: Any) -> Array:
    """Fewer or more axes."""
    return _shaped(like, x)


@rule("permute")
def permute(like: Tensor, x: Array, *dims: Any, **options: Any) -> Array:
    """Axes in another order."""
    order = ints(dims or (options["dims"],))
    return np.transpose(x, tuple(axis_of(axis, x.ndim) for axis in order))


@rule("transpose", "swapaxes", "swapdims")
def transpose(like: Tensor, x: Array, dim0: int, dim1: int) -> Array:
    """Two axes exchanged."""
    return np.swapaxes(x, axis_of(dim0, x.ndim), axis_of(dim1, x.ndim)) if x.ndim else x[...]


@rule("t")
def t(like: Tensor, x: Array) -> Array:
    """A matrix transposed."""
    return np.transpose(x)


@rule("movedim", "moveaxis")
def movedim(like: Tensor, x: Array, source: Any, destination: Any) -> Array:
    """Axes put elsewhere."""
    return np.moveaxis(x, source, destination)


def _transposed(like: Tensor, x: Array, *_: Any) -> Array:
    return np.swapaxes(x, -1, -2)


def _reversed_axes(like: Tensor, x: Array, *_: Any) -> Array:
    return np.transpose(x)


def _alias(like: Tensor, x: Array, *_: Any) -> Array:
    return x[...]


RULES[T.mT.__get__] = RULES[T.mH.__get__] = _transposed
RULES[T.T.__get__] = RULES[T.H.__get__] = _reversed_axes
RULES[T.data.__get__] = _alias


@rule("detach", "real", "conj", "resolve_neg", "resolve_conj")
def detach(like: Tensor, x: Array) -> Array:
    """The same memory."""
    return x[...]


@rule("clone")
def clone(like: Tensor, x: Array, *, memory_format: Any = None) -> Array:
    """A copy."""
    return x.copy()


@rule("contiguous")
def contiguous(like: Tensor, x: Array, *, memory_format: Any = None) -> Array:
    """A copy in order, of what is not."""
    return x.copy()


@rule("to", "type", "type_as")
def to(like: Tensor, x: Array, *_args: Any, **_options: Any) -> Array:
    """Another dtype."""
    refuse_if(like.device.type != "cpu", "another device")
    return x.astype(cast_name(like))


def cast_name(like: Tensor) -> str:
    """The dtype of torch's result."""
    return str(like.dtype).removeprefix("torch.")


@rule("float", "double", "half", "int", "long", "short", "char", "byte", "bool")
def converted(like: Tensor, x: Array, memory_format: Any = None) -> Array:
    """Another dtype, by name."""
    source_is_float = x.dtype.kind == "f"
    refuse_if(source_is_float and like.dtype == torch.uint8, "fractions as bytes")
    return cast(x, like.dtype)


@rule("expand", "expand_as", "broadcast_to")
def expand(like: Tensor, x: Array, *_args: Any, **_options: Any) -> Array:
    """Elements seen many times."""
    return np.broadcast_to(x, tuple(like.shape))


@rule("repeat")
def repeat(like: Tensor, x: Array, *repeats: Any, **options: Any) -> Array:
    """Copies side by side, by axes."""
    return np.tile(x, ints(repeats or (options["repeats"],)))


@rule("tile")
def tile(like: Tensor, x: Array, *dims: Any, **options: Any) -> Array:
    """The same."""
    return np.tile(x, ints(dims or (options["dims"],)))


@rule("repeat_interleave")
def repeat_interleave(like: Tensor, x: Array, repeats: Any, dim: int | None = None, **_: Any) -> Array:
    """Each element several times."""
    refuse_if(not isinstance(repeats, int), "numbers that are a tensor")
    return np.repeat(x, repeats, axis=dim)


@rule("flip")
def flip(like: Tensor, x: Array, *dims: Any) -> Array:
    """Axes from their ends."""
    axes = tuple(axis_of(axis, x.ndim) for axis in ints(dims))
    return np.flip(x, axes).copy() if axes else x.copy()


@rule("roll")
def roll(like: Tensor, x: Array, shifts: Any, dims: Any = ()) -> Array:
    """Elements moved round."""
    if dims is None or dims == ():
        return np.roll(x, shifts if isinstance(shifts, int) else shifts[0])
    return np.roll(x, shifts, dims)


# -- parts -----------------------------------------------------------------------------------------------------


def _part(x: Array, axis: int, begin: Any, end: Any) -> Array:
    return x[(slice(None),) * axis + (slice(begin, end),)]


@rule("narrow")
def narrow(like: Tensor, x: Array, dim: int, start: Any, length: Any) -> Array:
    """A stretch of an axis."""
    refuse_if(not isinstance(start, int) or not isinstance(length, int), "a place that is a tensor")
    axis = axis_of(dim, x.ndim)
    start += shape_of(x)[axis] if start < 0 else 0
    return _part(x, axis, start, start + length)


@rule("select")
def select(like: Tensor, x: Array, dim: int, index: int) -> Array:
    """One index of an axis."""
    refuse_if(not isinstance(index, int), "a place that is a tensor")
    return x[(slice(None),) * axis_of(dim, x.ndim) + (index,)]


@rule("split", "chunk", "split_with_sizes", "tensor_split", "unsafe_split", "unsafe_chunk")
def split(like: Any, x: Array, _sizes: Any, dim: int = 0, **_: Any) -> Any:
    """Stretches of an axis, as long as torch has cut them."""
    axis, begin, parts = axis_of(dim, x.ndim), 0, []
    for one in like:
        parts.append(_part(x, axis, begin, begin + one.shape[axis]))
        begin += one.shape[axis]
    refuse_if(begin != shape_of(x)[axis], "gaps")
    return parts


@rule("unbind")
def unbind(like: Any, x: Array, dim: int = 0) -> Any:
    """Each index of an axis."""
    axis = axis_of(dim, x.ndim)
    return [x[(slice(None),) * axis + (n,)] for n in range(len(like))]


@rule("cat", "concat", "concatenate")
def cat(like: Tensor, tensors: Sequence[Array], dim: int = 0, *, out: Any = None) -> Array:
    """Arrays one behind the other; empty vectors go with any."""
    parts = [cast(x, like.dtype) for x in tensors if shape_of(x) != (0,) or like.dim() == 1]
    refuse_if(not parts, "nothing")
    return np.concatenate(parts, axis=axis_of(dim, like.dim()))


@rule("stack")
def stack(like: Tensor, tensors: Sequence[Array], dim: int = 0, *, out: Any = None) -> Array:
    """Arrays along a new axis."""
    return np.stack([cast(x, like.dtype) for x in tensors], axis=axis_of(dim, like.dim()))


@rule("hstack", "column_stack")
def hstack(like: Tensor, tensors: Sequence[Array]) -> Array:
    """Arrays side by side."""
    refuse_if(any(len(shape_of(x)) != 2 for x in tensors), "vectors")
    return cat(like, tensors, 1)


@rule("vstack")
def vstack(like: Tensor, tensors: Sequence[Array]) -> Array:
    """Arrays below each other."""
    refuse_if(any(len(shape_of(x)) < 2 for x in tensors), "vectors")
    return cat(like, tensors, 0)


@rule("__getitem__")
def getitem(like: Tensor, x: Array, index: Any) -> Array:
    """Elements picked, by numbers, stretches and arrays of numbers."""
    return x[index_of(index)]


@rule("index_select")
def index_select(like: Tensor, x: Array, dim: int, index: Array) -> Array:
    """Elements picked along an axis."""
    refuse_if(not x.ndim or len(shape_of(index)) != 1, "a number")
    return np.take(x, places(index), axis=axis_of(dim, x.ndim))


@rule("gather")
def gather(like: Tensor, x: Array, dim: int, index: Array, *, sparse_grad: bool = False) -> Array:
    """One element for each index along an axis, of the first elements of the others."""
    refuse_if(not x.ndim or not shape_of(index), "a number")
    return np.take_along_axis(
        _first(x, shape_of(index), axis_of(dim, x.ndim)), places(index), axis_of(dim, x.ndim)
    )


def _first(x: Array, shape: Sequence[int], axis: int) -> Array:
    """The first elements of each other axis, as many as ``shape`` has."""
    sizes = shape_of(x)
    if all(size == sizes[n] for n, size in enumerate(shape) if n != axis):
        return x
    return x[tuple(slice(None) if n == axis else slice(size) for n, size in enumerate(shape))]


@rule("take_along_dim")
def take_along_dim(like: Tensor, x: Array, indices: Array, dim: int | None = None) -> Array:
    """One element for each index along an axis."""
    refuse_if(dim is None or not x.ndim, "all axes as one")
    assert dim is not None
    axis = axis_of(dim, x.ndim)
    others = [shape[:axis] + shape[axis + 1 :] for shape in (shape_of(x), shape_of(indices))]
    refuse_if(others[0] != others[1], "axes that are seen many times")
    return np.take_along_axis(x, places(indices), axis)


def _coordinates(index: Array, axis: int) -> Array:
    """Where each element of an index along an axis lies: integers of shape (axes, places)."""
    shape = shape_of(index)
    places_of = [
        np.arange(size, dtype="int64").reshape((-1, *(1,) * (len(shape) - n - 1)))
        for n, size in enumerate(shape)
    ]
    places_of[axis] = cast(places(index), torch.int64)
    return np.stack([np.broadcast_to(one, shape).reshape(-1) for one in places_of])


def _scattered(x: Array, dim: int, index: Array, source: Value, write: Any) -> Array:
    refuse_if(not x.ndim or not shape_of(index) or 0 in shape_of(index), "a number, or no elements")
    if isinstance(source, ndarray) and shape_of(source):
        source = source[tuple(map(slice, shape_of(index)))].reshape(-1)
    values = source if isinstance(source, ndarray) else np.full((), source, x.dtype)
    return write(x, _coordinates(index, axis_of(dim, x.ndim)), values)


@rule("scatter")
def scatter(
    like: Tensor,
    x: Array,
    dim: int,
    index: Array,
    src: Value = None,
    *,
    value: Value = None,
    reduce: Any = None,
) -> Array:
    """Elements written where an index says, of several for one place the last."""
    refuse_if(reduce is not None, "a reduction")
    return _scattered(x, dim, index, value if src is None else src, npx.index_update)


@rule("scatter_reduce")
def scatter_reduce(
    like: Tensor, x: Array, dim: int, index: Array, src: Array, reduce: str, *, include_self: bool = True
) -> Array:
    """Elements added where an index says."""
    refuse_if(reduce != "sum" or not include_self, f"reduce={reduce!r}, or without what is there")
    return _scattered(x, dim, index, src, npx.index_add)


@rule("scatter_add")
def scatter_add(like: Tensor, x: Array, dim: int, index: Array, src: Array) -> Array:
    """Elements added where an index says."""
    return _scattered(x, dim, index, src, npx.index_add)


def _along(x: Array, dim: int, index: Array, values: Value, write: Any) -> Array:
    """A write to whole slices along an axis."""
    refuse_if(not x.ndim or len(shape_of(index)) != 1, "a number")
    axis = axis_of(dim, x.ndim)
    moved = (
        values if not isinstance(values, ndarray) or not shape_of(values) else np.moveaxis(values, axis, 0)
    )
    found = write(np.moveaxis(x, axis, 0), cast(places(index), torch.int64)[None], moved)
    return np.moveaxis(found, 0, axis)


@rule("index_add")
def index_add(like: Tensor, x: Array, dim: int, index: Array, source: Array, *, alpha: Value = 1) -> Array:
    """Slices added where an index says."""
    return _along(x, dim, index, source if alpha == 1 else source * alpha, npx.index_add)


@rule("index_copy")
def index_copy(like: Tensor, x: Array, dim: int, index: Array, source: Array) -> Array:
    """Slices written where an index says."""
    return _along(x, dim, index, source, npx.index_update)


@rule("index_fill")
def index_fill(like: Tensor, x: Array, dim: int, index: Array, value: Value) -> Array:
    """A number written to slices."""
    return _along(
        x, dim, index, value if isinstance(value, ndarray) else np.full((), value, x.dtype), npx.index_update
    )


@rule("take")
def take(like: Tensor, x: Array, index: Array) -> Array:
    """Elements picked as if there were one axis."""
    return np.take(x.reshape(-1), index)


@rule("embedding")
def embedding(like: Tensor, weight: Array, indices: Any, *_options: Any, **_: Any) -> Array:
    """Rows of a table."""
    refuse_if(not isinstance(indices, ndarray) or len(shape_of(weight)) != 2, "a table")
    return np.take(weight, places(indices), axis=0)


@rule("one_hot")
def one_hot(like: Tensor, x: Array, num_classes: int = -1) -> Array:
    """A one where an index says."""
    refuse_if(num_classes < 0, "a number of classes that depends on values")
    x = required(x, (x >= 0) & (x < num_classes))
    return cast(x[..., None] == np.arange(num_classes, dtype="int64"), torch.int64)


@rule("tril")
def tril(like: Tensor, x: Array, diagonal: int = 0) -> Array:
    """Zeros above a diagonal."""
    return np.tril(x, diagonal)


@rule("triu")
def triu(like: Tensor, x: Array, diagonal: int = 0) -> Array:
    """Zeros below a diagonal."""
    return np.triu(x, diagonal)


@rule("trace")
def trace(like: Tensor, x: Array) -> Array:
    """The sum of a diagonal."""
    return np.trace(cast(x, like.dtype))


@rule("diag")
def diag(like: Tensor, x: Array, diagonal: int = 0) -> Array:
    """The elements of a diagonal, or a matrix with these."""
    return np.diag(x, diagonal)


@rule("fliplr")
def fliplr(like: Tensor, x: Array) -> Array:
    """The second axis from its end."""
    return np.flip(x, (1,)).copy()


@rule("flipud")
def flipud(like: Tensor, x: Array) -> Array:
    """The first axis from its end."""
    return np.flip(x, (0,)).copy()


@rule("diff")
def diff(like: Tensor, x: Array, n: int = 1, dim: int = -1, **ends: Any) -> Array:
    """Differences of neighbours."""
    refuse_if(any(v is not None for v in ends.values()) or x.dtype == bool, "ends, or flags")
    return np.diff(x, n, axis_of(dim, x.ndim))


@rule("meshgrid")
def meshgrid(like: Any, *tensors: Any, indexing: str | None = None) -> Any:
    """The places of a grid."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors
    refuse_if(any(len(shape_of(x)) != 1 for x in given), "numbers")
    return np.meshgrid(*given, indexing=indexing or "ij")


@rule("diagonal")
def diagonal(like: Tensor, x: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    """The elements of a diagonal."""
    return np.diagonal(x, offset, axis_of(dim1, x.ndim), axis_of(dim2, x.ndim))


_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@rule("pad", "constant_pad_nd")
def pad(
    like: Tensor, x: Array, pad: Sequence[int], mode: Any = "constant", value: float | None = None
) -> Array:
    """Elements around, from the last axis on; negative numbers cut."""
    if not isinstance(mode, str):  # of `constant_pad_nd`
        mode, value = "constant", mode
    widths = ints([*pad]) if pad else ()
    pairs = [(0, 0)] * (x.ndim - len(widths) // 2) + [
        (widths[n], widths[n + 1]) for n in range(len(widths) - 2, -1, -2)
    ]
    refuse_if(mode != "constant" and any(n < 0 for pair in pairs for n in pair), "borders that are cut")
    refuse_if(mode not in ("constant", *_MODES), f"mode {mode}")
    cut = tuple(slice(max(-a, 0), size - max(-b, 0)) for (a, b), size in zip(pairs, shape_of(x), strict=True))
    kept = x[cut] if any(n < 0 for pair in pairs for n in pair) else x
    around = [(max(a, 0), max(b, 0)) for a, b in pairs]
    if mode == "constant":
        return np.pad(kept, around, constant_values=value or 0)
    return np.pad(kept, around, mode=_MODES[mode])


@rule("pixel_shuffle")
def pixel_shuffle(like: Tensor, x: Array, upscale_factor: int) -> Array:
    """Channels as pixels: (..., C r r, H, W) becomes (..., C, H r, W r)."""
    *lead, channels, height, width = shape_of(x)
    r = upscale_factor
    parts = x.reshape((math.prod(lead), channels // (r * r), r, r, height, width))
    return np.transpose(parts, (0, 1, 4, 2, 5, 3)).reshape(tuple(like.shape))


@rule("pixel_unshuffle")
def pixel_unshuffle(like: Tensor, x: Array, downscale_factor: int) -> Array:
    """Pixels as channels."""
    *lead, channels, height, width = shape_of(x)
    r = downscale_factor
    parts = x.reshape((math.prod(lead), channels, height // r, r, width // r, r))
    return np.transpose(parts, (0, 1, 3, 5, 2, 4)).reshape(tuple(like.shape))


@rule("channel_shuffle")
def channel_shuffle(like: Tensor, x: Array, groups: int) -> Array:
    """Channels of groups in turn."""
    batch, channels, *rest = shape_of(x)
    parts = x.reshape((batch, groups, channels // groups, *rest))
    return np.swapaxes(parts, 1, 2).reshape(tuple(like.shape))


Sizes = Value
