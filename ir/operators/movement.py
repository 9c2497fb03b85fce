"""Operators that place the same elements differently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.ir import layout
from blockfuse.ir.errors import ShapeError
from blockfuse.ir.layout import Layout
from blockfuse.ir.lowering import Joining, Movement, Writing
from blockfuse.ir.operator import Example, Gradient, Operator, row
from blockfuse.ir.operators.pointwise import FLAT, cast
from blockfuse.ir.types import TensorType

Shape = tuple[int, ...]


def movement(
    name: str,
    meaning: Callable[..., Any],
    relayout: Callable[..., Layout | None],
    gradient: Gradient | None,
    shape_rule: Callable[..., Shape],
    examples: tuple[Example, ...],
) -> Operator:
    """A row that changes the layout and nothing else."""

    def type_rule(x: TensorType, **attrs: Any) -> TensorType:
        return TensorType(shape_rule(x.shape, **attrs), x.dtype)

    return row(name, meaning, Movement(relayout), type_rule=type_rule, gradient=gradient, examples=examples)


# -- reshape -------------------------------------------------------------------------------------------------

reshape: Operator = movement(
    "reshape",
    lambda x, shape: numpy.reshape(x, shape),
    lambda where, shape: layout.reshape(where, shape),
    lambda g, out, x, shape: (reshape(g, shape=x.shape),),
    lambda old, shape: shape,
    (Example(((3, 4),), {"shape": (2, 6)}), Example(((2, 3, 4),), {"shape": (24,)})),
)


def _expanded(shape: Shape, axis: Shape) -> Shape:
    rest = iter(shape)
    return tuple(1 if i in axis else next(rest) for i in range(len(shape) + len(axis)))


def _squeezed(shape: Shape, axis: Shape) -> Shape:
    return tuple(n for i, n in enumerate(shape) if i not in axis)


expand_dims = movement(
    "expand_dims",
    numpy.expand_dims,
    lambda where, axis: layout.reshape(where, _expanded(where.shape, axis)),
    lambda g, out, x, axis: (squeeze(g, axis=axis),),
    _expanded,
    (Example(((3, 4),), {"axis": (1,)}), Example(((3, 4),), {"axis": (0, 3)})),
)
squeeze: Operator = movement(
    "squeeze",
    numpy.squeeze,
    lambda where, axis: layout.reshape(where, _squeezed(where.shape, axis)),
    lambda g, out, x, axis: (expand_dims(g, axis=axis),),
    _squeezed,
    (Example(((3, 1, 4),), {"axis": (1,)}),),
)

# The same elements; gradients end here.
stop_gradient = movement(
    "stop_gradient",
    lambda x: numpy.asarray(x)[...],
    lambda where: where,
    FLAT,
    lambda shape: shape,
    (Example(((3, 4),)),),
)

# -- transpose, broadcast, flip ------------------------------------------------------------------------------

transpose: Operator = movement(
    "transpose",
    numpy.transpose,
    lambda where, axes: layout.transpose(where, axes),
    lambda g, out, x, axes: (transpose(g, axes=tuple(int(a) for a in numpy.argsort(axes))),),
    lambda shape, axes: tuple(shape[a] for a in axes),
    (Example(((3, 4),), {"axes": (1, 0)}), Example(((2, 3, 4),), {"axes": (2, 0, 1)})),
)


def _broadcast_gradient(g: Any, out: Any, x: Any, shape: Shape) -> tuple[Any]:
    from_left = g.ndim - x.ndim
    axes = tuple(
        i for i in range(g.ndim) if i < from_left or (x.shape[i - from_left] == 1 and g.shape[i] != 1)
    )
    return (reshape(g.sum(axis=axes, keepdims=True) if axes else g, shape=x.shape),)


broadcast_to = movement(
    "broadcast_to",
    numpy.broadcast_to,
    layout.broadcast,
    _broadcast_gradient,
    lambda old, shape: shape,
    (Example(((3, 1),), {"shape": (2, 3, 4)}),),
)


def _flip_layout(where: Layout, axis: Shape) -> Layout:
    offset = where.offset + sum((where.shape[a] - 1) * where.strides[a] for a in axis if where.shape[a])
    return Layout(where.shape, tuple(-s if i in axis else s for i, s in enumerate(where.strides)), offset)


flip: Operator = movement(
    "flip",
    numpy.flip,
    _flip_layout,
    lambda g, out, x, axis: (flip(g, axis=axis),),
    lambda shape, axis: shape,
    (Example(((3, 4),), {"axis": (1,)}), Example(((3, 4),), {"axis": (0, 1)})),
)

# -- basic indexing ------------------------------------------------------------------------------------------
# An index is a tuple of: an int, ("slice", start, stop, step) with 0 <= start and all of them ints, or None
# (new axis); one entry for every axis of the operand besides the new ones. ``array.indexing`` brings a user's
# index to this form.

Index = tuple[Any, ...]


def numpy_index(index: Index) -> tuple[Any, ...]:
    """The index as NumPy takes it."""
    return tuple(slice(*_slice_bounds(i)) if isinstance(i, tuple) else i for i in index)


def _slice_bounds(item: tuple[Any, ...]) -> tuple[int, int | None, int]:
    _, start, stop, step = item
    return start, (None if step < 0 and stop < 0 else stop), step


def _slice_length(item: tuple[Any, ...]) -> int:
    _, start, stop, step = item
    return len(range(start, stop, step))


def _index_layout(where: Layout, index: Index) -> Layout:
    offset, axis = where.offset, 0
    shape: list[int] = []
    strides: list[int] = []
    for item in index:
        if item is None:
            shape.append(1)
            strides.append(0)
            continue
        stride = where.strides[axis]
        if isinstance(item, tuple):
            offset += item[1] * stride if _slice_length(item) else 0
            shape.append(_slice_length(item))
            strides.append(item[3] * stride)
        else:
            offset += item * stride
        axis += 1
    return Layout(tuple(shape), tuple(strides), offset)


def index_shape(shape: Shape, index: Index) -> Shape:
    return tuple(1 if i is None else _slice_length(i) for i in index if i is None or isinstance(i, tuple))


def filled(value: float, shape: Shape, dtype: numpy.dtype) -> Any:
    """An array of one value, written with operators."""
    return broadcast_to(cast(value, dtype=str(dtype)), shape=shape)


def _get_gradient(g: Any, out: Any, x: Any, index: Index) -> tuple[Any]:
    return (set_item(filled(0, x.shape, x.dtype), g, index=index),)


get_item = movement(
    "get_item",
    lambda x, index: x[numpy_index(index)],
    _index_layout,
    _get_gradient,
    index_shape,
    (
        Example(((4, 5),), {"index": (1, ("slice", 0, 5, 2))}),
        Example(((4, 5),), {"index": (("slice", 3, -1, -1), None, ("slice", 1, 4, 1))}),
    ),
)


def _set(x: numpy.ndarray, value: numpy.ndarray, index: Index) -> numpy.ndarray:
    result = numpy.array(x)
    result[numpy_index(index)] = value
    return result


def _set_gradient(g: Any, out: Any, x: Any, value: Any, index: Index) -> tuple[Any, Any]:
    overwritten = filled(0, index_shape(x.shape, index), g.dtype)
    return set_item(g, overwritten, index=index), get_item(g, index=index)


# A copy of x with value in the place of x[index]: what a slice assignment means without memory.
set_item = row(
    "set_item",
    _set,
    Writing(_index_layout),
    type_rule=lambda x, value, index: x,
    gradient=_set_gradient,
    examples=(Example(((4, 5), (5,)), {"index": (1, ("slice", 0, 5, 1))}),),
)

# -- joining -------------------------------------------------------------------------------------------------


def _join_type(*operands: TensorType, axis: int) -> TensorType:
    if len({(*t.shape[:axis], *t.shape[axis + 1 :]) for t in operands}) > 1:
        raise ShapeError(
            f"{', '.join(map(str, operands))} cannot be joined along axis {axis}: all other axes must agree"
        )
    shape = list(operands[0].shape)
    shape[axis] = sum(t.shape[axis] for t in operands)
    return TensorType(tuple(shape), numpy.result_type(*(t.dtype for t in operands)))


def _join_gradient(g: Any, out: Any, *operands: Any, axis: int) -> tuple[Any, ...]:
    parts, start = [], 0
    for x in operands:
        whole = tuple(("slice", 0, n, 1) for n in g.shape)
        part = ("slice", start, start + x.shape[axis], 1)
        parts.append(get_item(g, index=(*whole[:axis], part, *whole[axis + 1 :])))
        start += x.shape[axis]
    return tuple(parts)


concatenate = row(
    "concatenate",
    lambda *operands, axis: numpy.concatenate(operands, axis=axis),
    Joining(),
    type_rule=_join_type,
    gradient=_join_gradient,
    examples=(Example(((3, 4), (3, 2)), {"axis": 1}), Example(((3, 4), (1, 4), (2, 4)), {"axis": 0})),
)
