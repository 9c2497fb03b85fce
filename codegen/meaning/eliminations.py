"""Small linear algebra in NumPy: by LAPACK, and which matrices are left to Python, by pivots of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy

from blockfuse.codegen.kernels.elimination_kernel import EliminationKernel
from blockfuse.codegen.kernels.expression import Term
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.meaning.expressions import value_of
from blockfuse.codegen.meaning.memory import Address


def elimination_meaning(
    kernel: EliminationKernel, addresses: Mapping[str, Address], begin: int, end: int
) -> None:
    size, store = kernel.size, kernel.store
    matrices = _loaded(kernel.matrix, kernel.element, addresses, (end - begin, size, size), begin)
    if not kernel.columns:
        result = numpy.linalg.det(matrices)
    else:
        sides = numpy.broadcast_to(numpy.eye(size), matrices.shape)
        if kernel.right is not None and kernel.right_element is not None:
            shape = (end - begin, size, kernel.columns)
            sides = _loaded(kernel.right, kernel.right_element, addresses, shape, begin)
        regular = numpy.array([_is_regular(matrix, kernel.negligible) for matrix in matrices])[:, None, None]
        if not regular.all():
            addresses["fault"][0] = numpy.int64(1)
        result = numpy.linalg.solve(numpy.where(regular, matrices, numpy.eye(size)), sides)
    addresses[store.name].write(
        store.dtype, store.strides, result.astype(store.dtype), begin * store.strides[0]
    )


def _loaded(
    access: Access, element: Term, addresses: Mapping[str, Address], shape: tuple[int, ...], begin: int
) -> numpy.ndarray:
    found = addresses[access.name].read(access.dtype, shape, access.strides, begin * access.strides[0])
    return value_of(element, {access.name: found})


def _is_regular(matrix: numpy.ndarray, negligible: float) -> bool:
    """Whether every pivot is larger than what rounding leaves of its column."""
    rest, largest = matrix.astype("float64"), abs(matrix).max(0)
    for column, scale in enumerate(largest):
        below = rest[column:, column]
        place = column + int(abs(below).argmax())
        if not abs(rest[place, column]) > scale * negligible:
            return False
        rest[[column, place]] = rest[[place, column]]
        rest[column + 1 :] -= numpy.outer(rest[column + 1 :, column] / rest[column, column], rest[column])
    return True
