"""Operators of linear algebra, over stacks of matrices."""

from __future__ import annotations

from math import prod
from typing import Any, Literal

import numpy

from blockfuse.ir.errors import ShapeError
from blockfuse.ir.lowering import Eliminated, Elimination, Host
from blockfuse.ir.operator import Example, row
from blockfuse.ir.operators.contractions import matmul, swapped
from blockfuse.ir.operators.filling import eye, on_or_below
from blockfuse.ir.operators.movement import concatenate, expand_dims, get_item, reshape
from blockfuse.ir.operators.pointwise import broadcast_shapes, equal, floating, negative, where
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

# -- triangles -----------------------------------------------------------------------------------------------

_BLOCK = 64  # unknowns that LAPACK finds at once; the others are found by products


def lower_triangle(x: Any, k: int = 0) -> Any:
    """``x`` with zeros above the ``k``-th diagonal of its last two axes."""
    rows, columns = x.shape[-2:]
    return where(on_or_below(rows, columns, k), x, 0)


def _solve_lower(x: numpy.ndarray, y: numpy.ndarray) -> numpy.ndarray:
    """Turned around, a lower triangle is an upper one."""
    turned = (..., slice(None, None, -1), slice(None))
    return _solve_upper(x[..., ::-1, ::-1], y[turned])[turned]


def _solve_upper(x: numpy.ndarray, y: numpy.ndarray) -> numpy.ndarray:
    """LAPACK's elimination finds nothing to do where there are zeros below the diagonal."""
    half = x.shape[-1] // 2
    if 2 * half <= _BLOCK:
        return numpy.linalg.solve(numpy.triu(x), y)
    last = _solve_upper(x[..., half:, half:], y[..., half:, :])
    first = _solve_upper(x[..., :half, :half], y[..., :half, :] - x[..., :half, half:] @ last)
    return numpy.concatenate([first, numpy.broadcast_to(last, (*first.shape[:-2], *last.shape[-2:]))], -2)


def _solve_lower_gradient(g: Any, out: Any, x: Any, y: Any) -> tuple[Any, Any]:
    grad_y = solve_upper(swapped(x), g)
    return negative(lower_triangle(matmul(grad_y, swapped(out)))), grad_y


def _solve_upper_gradient(g: Any, out: Any, x: Any, y: Any) -> tuple[Any, Any]:
    grad_y = solve_lower(swapped(x), g)
    return negative(swapped(lower_triangle(matmul(out, swapped(grad_y))))), grad_y


# As ``solve``, where x is a triangle; its other triangle is not looked at.
solve_lower = row(
    "solve_lower",
    _solve_lower,
    Elimination(Eliminated.LOWER),
    type_rule=_solve_type,
    gradient=_solve_lower_gradient,
    examples=(Example(((3, 3), (3, 2)), low=0.5), Example(((2, 3, 3), (2, 3, 1)), low=0.5)),
)
solve_upper = row(
    "solve_upper",
    _solve_upper,
    Elimination(Eliminated.UPPER),
    type_rule=_solve_type,
    gradient=_solve_upper_gradient,
    examples=(Example(((3, 3), (3, 2)), low=0.5), Example(((2, 3, 3), (2, 3, 1)), low=0.5)),
)

# -- factors -------------------------------------------------------------------------------------------------


def _cholesky_gradient(g: Any, out: Any, x: Any) -> tuple[Any]:
    """Symmetric, as ``x`` is taken to be (Murray 2016, "Differentiation of the Cholesky decomposition", section 3)."""
    inner = matmul(swapped(out), g)
    inner = (lower_triangle(inner) + lower_triangle(inner, -1)) / 2
    outer = solve_upper(swapped(out), swapped(solve_upper(swapped(out), swapped(inner))))
    return (_symmetric(outer),)


# The lower triangle whose product with its transpose is x, of which only the lower triangle is looked at.
cholesky = row(
    "cholesky",
    numpy.linalg.cholesky,
    Elimination(Eliminated.CHOLESKY),
    type_rule=_square,
    gradient=_cholesky_gradient,
    examples=(Example(((3, 3),), definite=True), Example(((2, 3, 3),), definite=True)),
)


def _qr_meaning(x: numpy.ndarray) -> numpy.ndarray:
    factors = numpy.linalg.qr(x)
    return numpy.concatenate([factor.reshape(*x.shape[:-2], -1) for factor in factors], axis=-1)


def _qr_type(x: TensorType) -> TensorType:
    if x.ndim < 2:
        raise ShapeError(f"a matrix (or a stack of them) is needed, not shape {x.shape}")
    rows, columns = x.shape[-2:]
    return TensorType((*x.shape[:-2], min(rows, columns) * (rows + columns)), floating(x.dtype)[0])


def factors_of(packed: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The orthogonal factor and the triangle of matrices of ``shape``, from the result of ``qr``."""
    *batch, rows, columns = shape
    count = min(rows, columns)
    return _parted(packed, (*batch, rows, count), (*batch, count, columns))


def _parted(packed: Any, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[Any, Any]:
    """Two arrays whose elements, but for the axes of stacks, lie one after the other in the last axis."""
    stacks = packed.ndim - 1
    middle, end = prod(first[stacks:]), packed.shape[-1]
    return (
        reshape(_columns(packed, 0, middle), shape=first),
        reshape(_columns(packed, middle, end), shape=second),
    )


def _qr_gradient(g: Any, out: Any, x: Any) -> tuple[Any]:
    """Of wide matrices the first columns alone make the factor (Roberts and Roberts 2020, "QR and LQ decomposition")."""
    (factor, triangle), (grad_factor, grad_triangle) = factors_of(out, x.shape), factors_of(g, x.shape)
    rows, columns = x.shape[-2:]
    if rows >= columns:
        return (_tall_qr_gradient(grad_factor, grad_triangle, factor, triangle),)
    rest = _columns(x, rows, columns)
    grad_rest = _columns(grad_triangle, rows, columns)
    grad_factor = grad_factor + matmul(rest, swapped(grad_rest))
    square = _tall_qr_gradient(
        grad_factor, _columns(grad_triangle, 0, rows), factor, _columns(triangle, 0, rows)
    )
    return (concatenate(square, matmul(factor, grad_rest), axis=x.ndim - 1),)


def _columns(x: Any, start: int, stop: int) -> Any:
    whole = [("slice", 0, size, 1) for size in x.shape[:-1]]
    return get_item(x, index=(*whole, ("slice", start, stop, 1)))


def _tall_qr_gradient(grad_factor: Any, grad_triangle: Any, factor: Any, triangle: Any) -> Any:
    inner = matmul(triangle, swapped(grad_triangle)) - matmul(swapped(grad_factor), factor)
    symmetric = lower_triangle(inner) + swapped(lower_triangle(inner, -1))
    outer = grad_factor + matmul(factor, symmetric)
    return swapped(solve_upper(triangle, swapped(outer)))


# The elements of an orthogonal factor and of a triangle whose product is x, one after the other.
qr = row(
    "qr",
    _qr_meaning,
    Elimination(Eliminated.QR),
    type_rule=_qr_type,
    gradient=_qr_gradient,
    examples=(Example(((4, 3),)), Example(((2, 3, 3),)), Example(((2, 4),))),
)

# -- eigenvalues ---------------------------------------------------------------------------------------------

# Every eigenvector has two signs. LAPACK's follows from how many rounds its iteration takes, which rounding decides.
_ITERATION = Host("LAPACK's iteration decides the signs of eigenvectors", raises=True)


def _eigh_meaning(x: numpy.ndarray, uplo: Literal["L", "U"]) -> numpy.ndarray:
    values, vectors = numpy.linalg.eigh(x, uplo)
    return numpy.concatenate([values, vectors.reshape(*x.shape[:-2], -1)], axis=-1)


def _eigh_type(x: TensorType, uplo: str) -> TensorType:
    size = _square(x).shape[-1]
    return TensorType((*x.shape[:-2], size + size * size), _square(x).dtype)


def eigen_of(packed: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The eigenvalues and the eigenvectors of matrices of ``shape``, from the result of ``eigh``."""
    return _parted(packed, shape[:-1], shape)


def _eigh_gradient(g: Any, out: Any, x: Any, uplo: str) -> tuple[Any]:
    """Symmetric, as ``x`` is taken to be (Giles 2008, "Collected matrix derivative results", section 3.1).

    Eigenvalues that are equal have no gradient of their vectors; where nobody asks for one, they have that of the values.
    """
    (values, vectors), (grad_values, grad_vectors) = eigen_of(out, x.shape), eigen_of(g, x.shape)
    row, column, size = x.ndim - 2, x.ndim - 1, x.shape[-1]
    turned = matmul(swapped(vectors), grad_vectors)
    gaps = expand_dims(values, axis=(row,)) - expand_dims(values, axis=(column,))
    on_diagonal = eye(rows=size, columns=size, k=0, dtype="bool")
    nothing = equal(turned, 0)
    mixed = where(nothing, 0, turned / where(on_diagonal | nothing, 1, gaps))
    inner = where(on_diagonal, expand_dims(grad_values, axis=(row,)), mixed)
    return (_symmetric(matmul(matmul(vectors, inner), swapped(vectors))),)


def _eigvalsh_gradient(g: Any, out: Any, x: Any, uplo: str) -> tuple[Any]:
    _, vectors = eigen_of(eigh(x, uplo=uplo), x.shape)
    return (matmul(vectors * expand_dims(g, axis=(x.ndim - 2,)), swapped(vectors)),)


def _symmetric(x: Any) -> Any:
    return (x + swapped(x)) / 2


# The eigenvalues of symmetric matrices, and after them the elements of a matrix whose columns are the eigenvectors.
# uplo: 'L' or 'U', the triangle that is looked at.
eigh = row(
    "eigh",
    _eigh_meaning,
    _ITERATION,
    type_rule=_eigh_type,
    gradient=_eigh_gradient,
    examples=(
        Example(((3, 3),), {"uplo": "L"}, definite=True),
        Example(((2, 3, 3),), {"uplo": "U"}, definite=True),
    ),
)
eigvalsh = row(
    "eigvalsh",
    lambda x, uplo: numpy.linalg.eigvalsh(x, uplo),
    _ITERATION,
    type_rule=lambda x, uplo: TensorType(x.shape[:-1], _square(x).dtype),
    gradient=_eigvalsh_gradient,
    examples=(
        Example(((3, 3),), {"uplo": "L"}, definite=True),
        Example(((2, 3, 3),), {"uplo": "U"}, definite=True),
    ),
)
