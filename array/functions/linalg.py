"""``np.linalg``: norms, inverses, decompositions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike
from blockfuse.array.functions.creation import asarray
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
from blockfuse.ir.operators import linear_algebra

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
    """The determinant of each square matrix. Raises ShapeError where they are not square."""
    return linear_algebra.det(_checked(a))


def inv(a: ArrayLike) -> ndarray:
    """The inverse of each square matrix. Raises ``numpy.linalg.LinAlgError`` where there is none."""
    return linear_algebra.inverse(_checked(a))


def solve(a: ArrayLike, b: ArrayLike) -> ndarray:
    """The ``x`` of ``a @ x = b``; ``b`` is a vector, or has a matrix for each matrix of ``a``."""
    x, y = _checked(a), asarray(b)
    if y.ndim == 1:
        return squeeze(linear_algebra.solve(x, expand_dims(y, 1)), -1)
    return linear_algebra.solve(x, y)


def _checked(a: ArrayLike) -> ndarray:
    x = asarray(a)
    linear_algebra.check_square(x.shape)
    return x


# -- without: escapes ----------------------------------------------------------------------------------------


def _outside(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's function, run on the data of an array; every array that it returns is one of ours."""

    def run(a: ArrayLike, *arguments: Any, **options: Any) -> Any:
        return outside(function, (asarray(a), *arguments), options)

    run.__name__ = run.__qualname__ = function.__name__
    run.__wrapped__ = function  # type: ignore[attr-defined]  # whose signature it has
    run.__doc__ = (
        f"As ``numpy.linalg.{function.__name__}``. It leaves the array world: no gradient, no compilation."
    )
    return run


def eigh(a: ArrayLike, UPLO: str = "L", *, upper: bool | None = None) -> Any:
    """Eigenvalues and eigenvectors of symmetric matrices, of which one triangle is looked at: NumPy's named tuple.

    UPLO: 'L' or 'U'; ``upper`` is Gluon's word for it. It leaves the array world: no gradient, no compilation.
    """
    triangle = UPLO if upper is None else "U" if upper else "L"
    return outside(numpy.linalg.eigh, (asarray(a), triangle), {})


cholesky = _outside(numpy.linalg.cholesky)
cond = _outside(numpy.linalg.cond)
eig = _outside(numpy.linalg.eig)
eigvals = _outside(numpy.linalg.eigvals)
eigvalsh = _outside(numpy.linalg.eigvalsh)
lstsq = _outside(numpy.linalg.lstsq)
matrix_power = _outside(numpy.linalg.matrix_power)
matrix_rank = _outside(numpy.linalg.matrix_rank)
pinv = _outside(numpy.linalg.pinv)
qr = _outside(numpy.linalg.qr)
slogdet = _outside(numpy.linalg.slogdet)
svd = _outside(numpy.linalg.svd)
svdvals = _outside(numpy.linalg.svdvals)
