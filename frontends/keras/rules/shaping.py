"""Rules of functions that move elements."""

from __future__ import annotations

from typing import Any

from blockfuse.array import np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.keras.rules.table import Array, Op, refuse_if, rule
from blockfuse.frontends.keras.rules.values import axes_of, ints, option, shape_of


@rule("Reshape")
def reshape(op: Op, x: Array) -> Array:
    """The same elements in another shape."""
    return x.reshape(ints(tuple(-1 if n is None else n for n in _sequence(op.newshape))))


def _sequence(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


@rule("Transpose")
def transpose(op: Op, x: Array) -> Array:
    """Axes in another order."""
    return np.transpose(x, op.axes)


@rule("Swapaxes")
def swapaxes(op: Op, x: Array) -> Array:
    """Two axes in the place of each other."""
    return np.swapaxes(x, op.axis1, op.axis2)


@rule("Moveaxis")
def moveaxis(op: Op, x: Array) -> Array:
    """Axes at other places."""
    return np.moveaxis(x, op.source, op.destination)


@rule("ExpandDims")
def expand_dims(op: Op, x: Array) -> Array:
    """Axes of one element."""
    return np.expand_dims(x, axes_of(op.axis))


@rule("Squeeze")
def squeeze(op: Op, x: Array) -> Array:
    """Without axes of one element."""
    return np.squeeze(x, axes_of(op.axis))


@rule("Ravel")
def ravel(op: Op, x: Array) -> Array:
    """One axis."""
    return x.reshape((-1,))


@rule("BroadcastTo")
def broadcast_to(op: Op, x: Array) -> Array:
    """Repeated along axes of one element."""
    return np.broadcast_to(x, ints(op.shape))


@rule("Concatenate")
def concatenate(op: Op, xs: Any) -> Array:
    """One behind the other."""
    return np.concatenate(list(xs), axis=op.axis)


@rule("Stack")
def stack(op: Op, x: Any) -> Array:
    """Side by side along an axis of their own."""
    return np.stack(list(x), axis=op.axis)


@rule("Split")
def split(op: Op, x: Array) -> list[Array]:
    """Parts of an axis."""
    return list(np.split(x, op.indices_or_sections, axis=op.axis))


@rule("Unstack")
def unstack(op: Op, x: Array) -> list[Array]:
    """What stands side by side along an axis."""
    before = (slice(None),) * (op.axis % x.ndim)
    return [x[(*before, n)] for n in range(shape_of(x)[op.axis])]


@rule("Flip")
def flip(op: Op, x: Array) -> Array:
    """In the other direction."""
    return np.flip(x, axes_of(op.axis))


@rule("Roll")
def roll(op: Op, x: Array) -> Array:
    """Moved along axes, and around their ends."""
    return np.roll(x, op.shift, axis=op.axis)


@rule("Tile")
def tile(op: Op, x: Array) -> Array:
    """Repeated as a whole."""
    return np.tile(x, ints(op.repeats))


@rule("Repeat")
def repeat(op: Op, x: Array) -> Array:
    """Each element several times."""
    refuse_if(not isinstance(op.repeats, int), "repeats of each element")
    return np.repeat(x, op.repeats, axis=op.axis)


@rule("Pad")
def pad(op: Op, x: Array, constant_values: Any = None) -> Array:
    """Borders of one value."""
    refuse_if(op.mode != "constant", f"mode {op.mode}")
    widths = [tuple(pair) for pair in op.pad_width]
    value = 0 if constant_values is None else constant_values
    return np.pad(x, widths * x.ndim if len(widths) == 1 else widths, constant_values=value)


@rule("GetItem")
def getitem(op: Op, x: Array, key: Any) -> Array:
    """What stands at an index."""
    items = key if isinstance(key, tuple) else (key,)
    arrays = (i for i in items if isinstance(i, ndarray))
    refuse_if(any(i.dtype.kind not in "iu" for i in arrays), "an index of flags or floats")
    refuse_if(any(isinstance(i, list | bool) for i in items), "an index that is a list or a flag")
    return x[tuple(items)]


@rule("Slice")
def slice_(op: Op, x: Array, start_indices: Any) -> Array:
    """A box."""
    begins = ints(start_indices)
    return x[tuple(slice(b, b + n) for b, n in zip(begins, ints(op.shape), strict=True))]


@rule("Take")
def take(op: Op, x: Array, indices: Array) -> Array:
    """What stands at indices along an axis."""
    refuse_if(
        getattr(indices, "dtype", None) is None or indices.dtype.kind not in "iu",
        "indices that are no integers",
    )
    return np.take(x, indices, axis=op.axis)


@rule("TakeAlongAxis")
def take_along_axis(op: Op, x: Array, indices: Array) -> Array:
    """One element for each index."""
    refuse_if(op.axis is None, "all axes")
    return np.take_along_axis(x, indices, axis=op.axis)


@rule("OneHot")
def one_hot(op: Op, x: Array) -> Array:
    """1 at an index, else 0."""
    refuse_if(op.sparse or op.axis not in (-1, x.ndim), "another axis")
    return npx.one_hot(x, op.num_classes, dtype=op.dtype or "float32")


@rule("ZerosLike", "EmptyLike")
def zeros_like(op: Op, x: Array, dtype: Any = None) -> Array:
    """0 in the shape of another array."""
    return np.zeros_like(x, dtype=dtype or getattr(op, "dtype", None) or x.dtype)


@rule("OnesLike")
def ones_like(op: Op, x: Array, dtype: Any = None) -> Array:
    """1 in the shape of another array."""
    return np.ones_like(x, dtype=dtype or getattr(op, "dtype", None) or x.dtype)


@rule("FullLike")
def full_like(op: Op, x: Array, fill_value: Any, dtype: Any = None) -> Array:
    """One number in the shape of another array."""
    refuse_if(not isinstance(fill_value, int | float), "a value that is a tensor")
    return np.full_like(x, fill_value, dtype=dtype or getattr(op, "dtype", None) or x.dtype)


@rule("Tril", "Triu")
def triangle(op: Op, x: Array) -> Array:
    """0 above or below a diagonal."""
    return (np.tril if type(op).__name__ == "Tril" else np.triu)(x, option(op.k))
