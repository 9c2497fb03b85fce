"""``np.linalg``: norms, inverses, decompositions."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy
from numpy.linalg import LinAlgError as LinAlgError  # for ``except np.linalg.LinAlgError``

from blockfuse.array.arguments import ArrayLike
from blockfuse.array.docstrings import as_numpys
from blockfuse.array.functions.creation import array, asarray
from blockfuse.array.functions.formulas import vecdot
from blockfuse.array.functions.norms import matrix_norm, norm, vector_norm
from blockfuse.array.functions.products import matmul, tensordot
from blockfuse.array.functions.shaping import expand_dims, matrix_transpose, squeeze
from blockfuse.array.functions.tensors import (
    cross,
    diagonal,
    multi_dot,
    outer,
    tensorinv,
    tensorsolve,
    trace,
)
from blockfuse.array.ndarray import ndarray
from blockfuse.array.outside import outside
from blockfuse.ir.operators import filling, linear_algebra, movement, pointwise
from blockfuse.ir.operators.contractions import swapped

__all__ = [
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "tensorinv",
    "tensorsolve",
    "trace",
    "vecdot",
    "vector_norm",
]

# -- with gradients: operators -------------------------------------------------------------------------------


def det(a: ArrayLike) -> ndarray:
    """The determinant of each square matrix.

    a: (..., n, n).

    Returns (...); float32 and float64 stay, others give float64, float16 raises TypeError. Raises ShapeError where they
    are not square.

    >>> from blockfuse import np
    >>> round(float(np.linalg.det(np.array([[2, 0], [0, 3]]))), 5)
    6.0
    """
    return linear_algebra.det(_checked(a))


def inv(a: ArrayLike) -> ndarray:
    """The inverse of each square matrix.

    a: (..., n, n).

    Returns (..., n, n); float32 and float64 stay, others give float64, float16 raises TypeError. Raises ShapeError
    where they are not square, ``numpy.linalg.LinAlgError`` where there is no inverse.

    >>> from blockfuse import np
    >>> np.linalg.inv(np.array([[2, 0], [0, 4]]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    return linear_algebra.inverse(_checked(a))


def solve(a: ArrayLike, b: ArrayLike) -> ndarray:
    """The ``x`` of ``a @ x = b``.

    a: (..., n, n).
    b: a vector (n,), or matrices (..., n, m).

    Returns the shape of ``b``, its first axes those that both broadcast to; float32 and float64 give what they promote
    to, others float64, float16 raises TypeError. Raises ShapeError where shapes do not fit,
    ``numpy.linalg.LinAlgError`` where there is no solution.

    >>> from blockfuse import np
    >>> np.linalg.solve(np.array([[2, 0], [0, 4]]), np.array([2, 4]))
    array([1., 1.])
    """
    x, y = _checked(a), asarray(b)
    if y.ndim == 1:
        return squeeze(linear_algebra.solve(x, expand_dims(y, 1)), -1)
    return linear_algebra.solve(x, y)


def cholesky(a: ArrayLike, *, upper: bool = False) -> ndarray:
    """The lower triangle whose product with its transpose is ``a``; of ``a`` only the lower triangle is looked at.

    a: (..., n, n), symmetric.
    upper: True gives the upper triangle, from the upper triangle. The gradient is symmetric, as ``a`` is taken to be.

    Returns (..., n, n); float32 and float64 stay, others give float64, float16 raises TypeError. Raises ShapeError
    where they are not square, ``numpy.linalg.LinAlgError`` where a matrix is not positive definite.

    >>> from blockfuse import np
    >>> np.linalg.cholesky(np.array([[4, 0], [0, 9]]))
    array([[2., 0.],
           [0., 3.]])
    """
    x = _checked(a)
    return swapped(linear_algebra.cholesky(swapped(x))) if upper else linear_algebra.cholesky(x)


def matrix_power(a: ArrayLike, n: int) -> ndarray:
    """Each square matrix times itself, ``n`` matrices in all, by squares; its inverse where ``n`` is negative.

    a: (..., m, m).

    Returns (..., m, m) in the dtype of ``a``; inverses of integers are float64. Raises ShapeError where they are not
    square, TypeError where ``n`` is no integer, ``numpy.linalg.LinAlgError`` where a negative power has no inverse.

    >>> from blockfuse import np
    >>> np.linalg.matrix_power(np.array([[1, 1], [0, 1]]), 5)
    array([[1., 5.],
           [0., 1.]])
    """
    x, power = _checked(a), operator.index(n)
    count = abs(power)
    if count == 0:
        one = filling.eye(rows=x.shape[-1], columns=x.shape[-1], k=0, dtype=str(x.dtype))
        return array(movement.broadcast_to(one, shape=x.shape))
    square = inv(x) if power < 0 else x
    if count == 3:
        return square @ square @ square
    result = None
    while count > 1:
        if count % 2:
            result = square if result is None else result @ square
        square, count = square @ square, count // 2
    return square if result is None else result @ square


def qr(a: ArrayLike, mode: str = "reduced") -> Any:
    """An orthogonal factor ``Q`` and a triangle ``R`` whose product is each matrix.

    a: (..., n, m); k is the smaller of both sizes.
    mode: 'reduced', 'complete' (``Q`` is square), 'r' (``R`` alone) or 'raw'; where 'complete' differs from 'reduced',
    and for 'raw', it leaves the array world: no gradient, no compilation.

    Returns NumPy's named tuple of (..., n, k) and (..., k, m); float32 and float64 stay, others give float64, float16
    raises TypeError.

    >>> from blockfuse import np
    >>> q, r = np.linalg.qr(np.array([[2, 1], [0, 3]]))
    >>> np.allclose(np.dot(q, r), np.array([[2, 1], [0, 3]]))
    True
    """
    x = asarray(a)
    if mode not in ("reduced", "complete", "r") or (mode == "complete" and x.shape[-2] > x.shape[-1]):
        return outside(numpy.linalg.qr, (x, mode), {})
    factor, triangle = linear_algebra.factors_of(linear_algebra.qr(x), x.shape)
    return triangle if mode == "r" else _FACTORS(factor, triangle)


_FACTORS: Any = type(numpy.linalg.qr(numpy.eye(1)))


def eigh(a: ArrayLike, UPLO: str = "L", *, upper: bool | None = None) -> Any:
    """Eigenvalues in rising order and, as columns, eigenvectors of symmetric matrices.

    a: (..., n, n).
    UPLO: the triangle that is looked at, 'L' or 'U'; ``upper`` is Gluon's word for it. The gradient is symmetric, as
    ``a`` is taken to be. A program calls NumPy for it.

    Returns NumPy's named tuple of (..., n) and (..., n, n); float32 and float64 stay, others give float64, float16
    raises TypeError. Raises ShapeError where they are not square.

    >>> from blockfuse import np
    >>> values, vectors = np.linalg.eigh(np.array([[2, 1], [1, 2]]))
    >>> values.round(4)
    array([1., 3.])
    """
    x = _checked(a)
    found = linear_algebra.eigh(x, uplo=_triangle(UPLO, upper))
    return _EIGEN(*linear_algebra.eigen_of(found, x.shape))


def eigvalsh(a: ArrayLike, UPLO: str = "L", *, upper: bool | None = None) -> ndarray:
    """The eigenvalues that ``eigh`` gives, in rising order.

    a: (..., n, n), symmetric.
    UPLO, upper: as of ``eigh``.

    Returns (..., n); float32 and float64 stay, others give float64, float16 raises TypeError. Raises ShapeError where
    they are not square.

    >>> from blockfuse import np
    >>> np.linalg.eigvalsh(np.array([[2, 1], [1, 2]])).round(4)
    array([1., 3.])
    """
    return linear_algebra.eigvalsh(_checked(a), uplo=_triangle(UPLO, upper))


_EIGEN: Any = type(numpy.linalg.eigh(numpy.eye(1)))


def _triangle(uplo: str, upper: bool | None) -> str:
    if upper is not None:
        return "U" if upper else "L"
    if uplo.upper() not in ("L", "U"):
        raise ValueError(f"UPLO={uplo!r}; use 'L' or 'U'")
    return uplo.upper()


def solve_triangular(
    a: ArrayLike,
    b: ArrayLike,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
) -> ndarray:
    """The ``x`` of ``a @ x = b`` where ``a`` is a triangle. Source: ``scipy.linalg.solve_triangular``; stacks are those of
    ``np.linalg.solve``.

    a: (..., n, n).
    b: a vector (n,), or matrices (..., n, m).
    lower: whether ``a`` is the lower triangle; the other one is not looked at.
    trans: 0 or 'N', 1 or 'T' (``a.T @ x = b``), 2 or 'C'.
    unit_diagonal: the diagonal is taken to be 1.

    Returns the shape of ``b``, its first axes those that both broadcast to; float32 and float64 give what they promote
    to, others float64, float16 raises TypeError. Raises ``numpy.linalg.LinAlgError`` where 0 is on the diagonal.

    >>> from blockfuse import np, npx
    >>> npx.solve_triangular(np.array([[2, 1], [0, 4]]), np.array([4, 8]))
    array([1., 2.])
    """
    if trans not in _TRANSPOSED:
        raise ValueError(f"trans={trans!r}; use 0, 1 or 2, or 'N', 'T' or 'C'")
    x, y = _checked(a), asarray(b)
    if unit_diagonal:
        x = pointwise.where(filling.eye(rows=x.shape[-1], columns=x.shape[-1], k=0, dtype="bool"), 1, x)
    if _TRANSPOSED[trans]:
        x, lower = swapped(x), not lower
    solved = linear_algebra.solve_lower if lower else linear_algebra.solve_upper
    return squeeze(solved(x, expand_dims(y, 1)), -1) if y.ndim == 1 else solved(x, y)


_TRANSPOSED: dict[int | str, bool] = {0: False, "N": False, 1: True, "T": True, 2: True, "C": True}


def _checked(a: ArrayLike) -> ndarray:
    x = asarray(a)
    linear_algebra.check_square(x.shape)
    return x


# -- without: escapes ----------------------------------------------------------------------------------------


def _outside(function: Callable[..., Any], text: str) -> Callable[..., Any]:
    """NumPy's function, run on the data of an array; every array that it returns is one of ours."""

    def run(a: ArrayLike, *arguments: Any, **options: Any) -> Any:
        return outside(function, (asarray(a), *arguments), options)

    return as_numpys(run, function, text)


cond = _outside(
    numpy.linalg.cond,
    """How many times larger relative errors of a solution can be than those of a system: the condition number.

    x: (..., n, m), square unless ``p`` is None, 2 or -2.
    p: which norm; None is 2.

    Returns (...); float32 and float64 stay, others give float64, float16 raises TypeError.

    >>> from blockfuse import np
    >>> np.linalg.cond(np.array([[4, 0], [0, 1]])).round(4)
    array(4.)
    """,
)
eig = _outside(
    numpy.linalg.eig,
    """Eigenvalues and, as columns, eigenvectors of square matrices.

    a: (..., n, n).

    Returns NumPy's named tuple of (..., n) and (..., n, n); float32 and float64 stay, others give float64, float16
    raises TypeError. Where one is not real, NumPy's own arrays of complex numbers.

    >>> from blockfuse import np
    >>> np.linalg.eig(np.array([[2, 0], [0, 3]])).eigenvalues
    array([2., 3.])
    """,
)
eigvals = _outside(
    numpy.linalg.eigvals,
    """The eigenvalues of square matrices, in no order.

    a: (..., n, n).

    Returns (..., n); float32 and float64 stay, others give float64, float16 raises TypeError. Where one is not real,
    NumPy's own array of complex numbers.

    >>> from blockfuse import np
    >>> np.linalg.eigvals(np.array([[2, 0], [0, 3]]))
    array([2., 3.])
    """,
)
lstsq = _outside(
    numpy.linalg.lstsq,
    """The ``x`` for which the sum of squares of ``a @ x - b`` is least.

    a: (n, m).
    b: (n,), or (n, k).
    rcond: singular values below that share of the largest count as 0.

    Returns four: ``x`` (m,) or (m, k), the sums of squares (k,), the rank of ``a``, and its singular values; float32
    and float64 stay, others give float64, float16 raises TypeError.

    >>> from blockfuse import np
    >>> np.linalg.lstsq(np.array([[1, 0], [1, 1], [1, 2]]), np.array([1, 3, 5]))[0].round(4)
    array([1., 2.])
    """,
)
matrix_rank = _outside(
    numpy.linalg.matrix_rank,
    """How many singular values of each matrix are larger than rounding errors.

    A: (..., n, m).
    tol: a value that they must be above instead.
    rtol: in place of tol, a share of the largest.
    hermitian: whether matrices are symmetric, for which there is a faster way.

    Returns (...), int64; float16 raises TypeError.

    >>> from blockfuse import np
    >>> np.linalg.matrix_rank(np.array([[1, 2], [2, 4]]))
    array(1)
    """,
)
pinv = _outside(
    numpy.linalg.pinv,
    """The pseudo-inverse (Moore and Penrose) of each matrix.

    a: (..., n, m).
    rcond, rtol: singular values below that share of the largest count as 0; one of both.
    hermitian: whether matrices are symmetric, for which there is a faster way.

    Returns (..., m, n); float32 and float64 stay, others give float64, float16 raises TypeError.

    >>> from blockfuse import np
    >>> np.linalg.pinv(np.array([[2, 0], [0, 0]])).round(4)
    array([[0.5, 0. ],
           [0. , 0. ]])
    """,
)
slogdet = _outside(
    numpy.linalg.slogdet,
    """The sign of the determinant of each square matrix, and the logarithm of its size.

    a: (..., n, n).

    Returns NumPy's named tuple of two arrays (...); float32 and float64 stay, others give float64, float16 raises
    TypeError.

    >>> from blockfuse import np
    >>> sign, log = np.linalg.slogdet(np.array([[0, 1], [1, 0]]))
    >>> sign
    array(-1.)
    """,
)
svd = _outside(
    numpy.linalg.svd,
    """Factors ``U``, ``S`` and ``Vh`` of each matrix: ``U`` and ``Vh`` orthogonal, singular values ``S`` in falling order
    between them.

    a: (..., n, m).
    full_matrices: False gives only as many vectors as there are values, k = min(n, m).
    compute_uv: False gives ``S`` alone.
    hermitian: whether matrices are symmetric, for which there is a faster way.

    Returns NumPy's named tuple of (..., n, n), (..., k) and (..., m, m); float32 and float64 stay, others give float64,
    float16 raises TypeError.

    >>> from blockfuse import np
    >>> np.linalg.svd(np.array([[3, 0], [0, 4]])).S.round(4)
    array([4., 3.])
    """,
)
svdvals = _outside(
    numpy.linalg.svdvals,
    """The singular values of each matrix, in falling order.

    x: (..., n, m).

    Returns (..., min(n, m)); float32 and float64 stay, others give float64, float16 raises TypeError.

    >>> from blockfuse import np
    >>> np.linalg.svdvals(np.array([[3, 0], [0, 4]])).round(4)
    array([4., 3.])
    """,
)
