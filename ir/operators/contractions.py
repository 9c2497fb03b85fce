"""Products summed over a shared axis."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy

from blockfuse.ir.errors import ShapeError
from blockfuse.ir.lowering import Composite, Contraction, Packing, WindowContraction
from blockfuse.ir.operator import Example, Operator, row
from blockfuse.ir.operators.movement import expand_dims, reshape, transpose
from blockfuse.ir.operators.narrow import widened, widened_dtype
from blockfuse.ir.operators.pointwise import broadcast_shapes
from blockfuse.ir.types import TensorType


def swapped(x: Any) -> Any:
    """``x`` with its last two axes exchanged."""
    axes = tuple(range(x.ndim))
    return transpose(x, axes=(*axes[:-2], axes[-1], axes[-2]))


# -- matmul --------------------------------------------------------------------------------------------------


def _matmul_type(x: TensorType, y: TensorType) -> TensorType:
    if x.ndim == 0 or y.ndim == 0:
        raise ShapeError("matmul needs operands with at least one axis; use multiply for scalars")
    rows, columns = x.shape[:-1], y.shape[-1:] if y.ndim > 1 else ()
    inner = y.shape[-2] if y.ndim > 1 else y.shape[0]
    if x.shape[-1] != inner:
        raise ShapeError(
            f"matmul of {x} and {y}: the last axis of the first ({x.shape[-1]}) must equal {inner}"
        )
    batch = broadcast_shapes(rows[:-1], y.shape[:-2])
    return TensorType((*batch, *rows[-1:], *columns), numpy.result_type(x.dtype, y.dtype))


def _matmul_gradient(g: Any, out: Any, x: Any, y: Any) -> tuple[Any, Any]:
    wide_x = expand_dims(x, axis=(0,)) if x.ndim == 1 else x
    wide_y = expand_dims(y, axis=(1,)) if y.ndim == 1 else y
    if x.ndim == 1:
        g = expand_dims(g, axis=(g.ndim if y.ndim == 1 else g.ndim - 1,))
    if y.ndim == 1:
        g = expand_dims(g, axis=(g.ndim,))

    def by_left() -> Any:
        grad = matmul(g, swapped(wide_y))
        return reshape(grad, shape=(*grad.shape[:-2], *x.shape)) if x.ndim == 1 else grad

    def by_right() -> Any:
        grad = matmul(swapped(wide_x), g)
        return reshape(grad, shape=(*grad.shape[:-2], *y.shape)) if y.ndim == 1 else grad

    return by_left, by_right


matmul: Operator = row(
    "matmul",
    numpy.matmul,
    Contraction(),
    type_rule=_matmul_type,
    gradient=_matmul_gradient,
    examples=(
        Example(((3, 4), (4, 5))),
        Example(((2, 3, 4), (4, 5))),
        Example(((2, 3, 4), (2, 4, 5))),
        Example(((4,), (4, 5))),
        Example(((3, 4), (4,))),
        Example(((4,), (4,))),
    ),
)

# -- dense: the product of a layer, weight (units, in) as Gluon stores it ------------------------------------


def _dense(x: numpy.ndarray, weight: numpy.ndarray, *bias: numpy.ndarray) -> numpy.ndarray:
    product = numpy.matmul(x, weight.T)
    return product + bias[0] if bias else product


def _dense_type(x: TensorType, weight: TensorType, *bias: TensorType) -> TensorType:
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"dense of {x} with weight {weight}: the input needs {weight.shape[-1]} features in its last axis"
        )
    if any(b.shape != weight.shape[:1] for b in bias):
        raise ShapeError(
            f"dense with weight {weight}: the bias needs shape {weight.shape[:1]}, and is {bias[0]}"
        )
    dtype = numpy.result_type(x.dtype, weight.dtype, *(b.dtype for b in bias))
    return TensorType((*x.shape[:-1], weight.shape[0]), dtype)


def _dense_gradient(g: Any, out: Any, x: Any, weight: Any, *bias: Any) -> tuple[Any, ...]:
    flat_g = reshape(g, shape=(prod(g.shape[:-1]), g.shape[-1]))
    flat_x = reshape(x, shape=(prod(x.shape[:-1]), x.shape[-1]))
    grads = (lambda: matmul(g, weight)), (lambda: matmul(swapped(flat_g), flat_x))
    return (*grads, lambda: flat_g.sum(axis=0)) if bias else grads


dense = row(
    "dense",
    _dense,
    Contraction(),
    type_rule=_dense_type,
    gradient=_dense_gradient,
    examples=(
        Example(((3, 4), (5, 4), (5,))),
        Example(((2, 3, 4), (5, 4))),
        Example(((3, 40), (35, 40), (35,))),
    ),
)


def _pack(weight: numpy.ndarray, panel: int, transposed: bool) -> numpy.ndarray:
    columns = weight if transposed else numpy.swapaxes(weight, -1, -2)
    *batch, units, inner = columns.shape
    panels = -(-units // panel)
    if units % panel:
        padded = numpy.zeros((*batch, panels * panel, inner), weight.dtype)
        padded[..., :units, :] = columns
        columns = padded
    return numpy.ascontiguousarray(numpy.swapaxes(columns.reshape(*batch, panels, panel, inner), -1, -2))


def _pack_type(weight: TensorType, panel: int, transposed: bool) -> TensorType:
    *batch, units, inner = (
        weight.shape if transposed else (*weight.shape[:-2], weight.shape[-1], weight.shape[-2])
    )
    return TensorType((*batch, -(-units // panel), inner, panel), weight.dtype)


# The columns of a weight in panels of ``panel``, each panel contiguous along the inner axis, the last one zero-filled.
# transposed: the weight is (units, inner), as ``dense`` takes it; otherwise (inner, units), as ``matmul`` does.
pack = row(
    "pack",
    _pack,
    Packing(),
    type_rule=_pack_type,
    examples=(
        Example(((5, 4),), {"panel": 4, "transposed": True}),
        Example(((4, 35),), {"panel": 16, "transposed": False}),
        Example(((2, 4, 5),), {"panel": 4, "transposed": False}),
    ),
)


def _packed_product(
    x: numpy.ndarray, packed: numpy.ndarray, *bias: numpy.ndarray, units: int
) -> numpy.ndarray:
    panels = numpy.swapaxes(widened(packed), -1, -2)
    columns = panels.reshape(*panels.shape[:-3], -1, panels.shape[-1])[..., :units, : x.shape[-1]]
    product = numpy.matmul(x, numpy.swapaxes(columns, -1, -2))
    return product + bias[0] if bias else product


def _packed_type(x: TensorType, packed: TensorType, *bias: TensorType, units: int) -> TensorType:
    batch = broadcast_shapes(x.shape[:-2], packed.shape[:-3])
    dtype = numpy.result_type(x.dtype, widened_dtype(packed.dtype), *(b.dtype for b in bias))
    return TensorType((*batch, x.shape[-2], units), dtype)


# x (..., rows, inner) times a packed weight, plus a bias: what every contraction of two or more axes becomes. The weight
# may be narrower than x: NOTE [narrow weights].
packed_product = row(
    "packed_product",
    _packed_product,
    Contraction(),
    type_rule=_packed_type,
    examples=(
        Example(((3, 4), (2, 4, 8), (13,)), {"units": 13}),
        Example(((2, 3, 4), (2, 1, 4, 8)), {"units": 5}),
    ),
)


def _window_product(
    x: numpy.ndarray, packed: numpy.ndarray, *bias: numpy.ndarray, units: int, axes: int
) -> numpy.ndarray:
    rows = x.reshape(*x.shape[:-axes], prod(x.shape[-axes:]))
    if packed.ndim == 3:
        return _packed_product(rows, packed, *bias, units=units)
    each = _packed_product(rows[..., None, :], packed, units=units)
    return each.reshape(*x.shape[: -axes - 1], len(packed) * units)


def _window_type(x: TensorType, packed: TensorType, *bias: TensorType, units: int, axes: int) -> TensorType:
    dtype = numpy.result_type(x.dtype, widened_dtype(packed.dtype), *(b.dtype for b in bias))
    if packed.ndim == 3:
        return TensorType((*x.shape[:-axes], units), dtype)
    return TensorType((*x.shape[: -axes - 1], packed.shape[0] * units), dtype)


# The same of windows that are only seen: the last ``axes`` of x (batch, *windows, *kernel, channels) are summed together.
# In groups x is (batch, *windows, groups, ...), the weight (groups, panels, inner, panel), each of ``units`` columns, which
# stand side by side in the result; then there is no bias.
window_product = row(
    "window_product",
    _window_product,
    WindowContraction(),
    type_rule=_window_type,
    examples=(
        Example(((2, 3, 2, 2), (2, 4, 8), (13,)), {"units": 13, "axes": 2}),
        Example(((1, 2, 3, 2, 1, 2), (1, 4, 8)), {"units": 5, "axes": 3}),
        Example(((2, 3, 2, 2, 2), (2, 1, 4, 8)), {"units": 5, "axes": 2}),
    ),
)

# -- written with the above ----------------------------------------------------------------------------------


def _dot(x: Any, y: Any) -> Any:
    if x.ndim == 0 or y.ndim == 0:
        return x * y
    if y.ndim <= 2:
        return matmul(x, y)
    return _tensordot(x, y, ((x.ndim - 1,), (y.ndim - 2,)))


def _tensordot(x: Any, y: Any, axes: tuple[tuple[int, ...], tuple[int, ...]]) -> Any:
    left, right = axes
    rest_x = tuple(a for a in range(x.ndim) if a not in left)
    rest_y = tuple(a for a in range(y.ndim) if a not in right)
    outer_x, outer_y = tuple(x.shape[a] for a in rest_x), tuple(y.shape[a] for a in rest_y)
    inner = prod(x.shape[a] for a in left)
    flat_x = reshape(transpose(x, axes=(*rest_x, *left)), shape=(prod(outer_x), inner))
    flat_y = reshape(transpose(y, axes=(*right, *rest_y)), shape=(inner, prod(outer_y)))
    return reshape(matmul(flat_x, flat_y), shape=(*outer_x, *outer_y))


dot = row(
    "dot",
    numpy.dot,
    Composite(_dot),
    examples=(
        Example(((3, 4), (4, 5))),
        Example(((2, 3, 4), (4,))),
        Example(((2, 3, 4), (5, 4, 6))),
        Example(((4,), (4,))),
        Example(((), (4, 5))),
    ),
)
tensordot = row(
    "tensordot",
    lambda x, y, axes: numpy.tensordot(x, y, axes=axes),
    Composite(_tensordot),
    examples=(
        Example(((3, 4, 5), (5, 4, 6)), {"axes": ((1, 2), (1, 0))}),
        Example(((3,), (4,)), {"axes": ((), ())}),
    ),
)


def _outer(x: Any, y: Any) -> Any:
    flat_x, flat_y = reshape(x, shape=(prod(x.shape), 1)), reshape(y, shape=(1, prod(y.shape)))
    return flat_x * flat_y


outer = row(
    "outer", numpy.outer, Composite(_outer), examples=(Example(((3,), (4,))), Example(((2, 2), (3,))))
)
