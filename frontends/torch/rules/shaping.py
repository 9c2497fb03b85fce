"""Rules of shapes: the same elements in another order, picked, joined, repeated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from blockfuse.array import np
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.torch.rules.table import RULES, Array, Tensor, Value, rule
from blockfuse.frontends.torch.rules.values import axis_of, cast, index_of, ints, refuse_if, shape_of

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
    return np.flip(x, axes) if axes else x.copy()


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
    return np.take(x, index, axis=axis_of(dim, x.ndim))


@rule("gather")
def gather(like: Tensor, x: Array, dim: int, index: Array, *, sparse_grad: bool = False) -> Array:
    """One element for each index along an axis."""
    axis = axis_of(dim, x.ndim)
    shapes = shape_of(x), shape_of(index)
    refuse_if(
        not x.ndim or any(a != b for n, (a, b) in enumerate(zip(*shapes, strict=True)) if n != axis), "parts"
    )
    return np.take_along_axis(x, index, axis)


@rule("embedding")
def embedding(like: Tensor, weight: Array, indices: Any, *_options: Any, **_: Any) -> Array:
    """Rows of a table."""
    refuse_if(not isinstance(indices, ndarray) or len(shape_of(weight)) != 2, "a table")
    return np.take(weight, indices, axis=0)


@rule("one_hot")
def one_hot(like: Tensor, x: Array, num_classes: int = -1) -> Array:
    """A one where an index says."""
    refuse_if(num_classes < 0, "a number of classes that depends on values")
    return cast(x[..., None] == np.arange(num_classes, dtype="int64"), torch.int64)


@rule("tril")
def tril(like: Tensor, x: Array, diagonal: int = 0) -> Array:
    """Zeros above a diagonal."""
    return np.tril(x, diagonal)


@rule("triu")
def triu(like: Tensor, x: Array, diagonal: int = 0) -> Array:
    """Zeros below a diagonal."""
    return np.triu(x, diagonal)


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
