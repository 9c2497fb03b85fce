"""Operators of linear algebra, over stacks of matrices."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.ir.errors import ShapeError
from blockfuse.ir.lowering import Eliminated, Elimination
from blockfuse.ir.operator import Example, row
from blockfuse.ir.operators.contractions import matmul, swapped
from blockfuse.ir.operators.movement import expand_dims
from blockfuse.ir.operators.pointwise import broadcast_shapes, floating, negative
from blockfuse.ir.types import TensorType


def check_square(shape: tuple[int, ...]) -> None:
    """Raise ShapeError where the last two axes differ."""
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ShapeError(f"a square matrix (or a stack of them) is needed, not shape {shape}")


def _square(x: TensorType) -> TensorType:
    check_square(x.shape)
    return TensorType(x.shape, floating(x.dtype)[0])


def _det_type(x: TensorType) -> TensorType:
    return TensorType(x.shape[:-2], _square(x).dtype)


def _solve_type(x: TensorType, y: TensorType) -> TensorType:
    if y.ndim < 2 or y.shape[-2] != _square(x).shape[-1]:
        raise ShapeError(f"solve of {x} and {y}: the second needs {x.shape[-1]} rows")
    batch = broadcast_shapes(x.shape[:-2], y.shape[:-2])
    dtype = numpy.result_type(floating(x.dtype)[0], floating(y.dtype)[0])
    return TensorType((*batch, *y.shape[-2:]), dtype)


def _det_gradient(g: Any, out: Any, x: Any) -> tuple[Any]:
    return (expand_dims(g * out, axis=(x.ndim - 2, x.ndim - 1)) * swapped(inverse(x)),)


def _inverse_gradient(g: Any, out: Any, x: Any) -> tuple[Any]:
    return (negative(matmul(matmul(swapped(out), g), swapped(out))),)


def _solve_gradient(g: Any, out: Any, x: Any, y: Any) -> tuple[Any, Any]:
    grad_y = solve(swapped(x), g)
    return negative(matmul(grad_y, swapped(out))), grad_y


det = row(
    "det",
    lambda x: numpy.asarray(numpy.linalg.det(x)),
    Elimination(Eliminated.DETERMINANT),
    type_rule=_det_type,
    gradient=_det_gradient,
    examples=(Example(((3, 3),)), Example(((2, 3, 3),))),
)
inverse = row(
    "inverse",
    numpy.linalg.inv,
    Elimination(Eliminated.INVERSE),
    type_rule=_square,
    gradient=_inverse_gradient,
    examples=(Example(((3, 3),)), Example(((2, 3, 3),))),
)
# x @ result = y; y has a matrix of right-hand sides for each x.
solve = row(
    "solve",
    numpy.linalg.solve,
    Elimination(Eliminated.SOLUTION),
    type_rule=_solve_type,
    gradient=_solve_gradient,
    examples=(Example(((3, 3), (3, 2))), Example(((2, 3, 3), (2, 3, 1)))),
)
