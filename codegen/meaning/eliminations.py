"""Small linear algebra in NumPy: by LAPACK, and which matrices are left to Python, by an elimination of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy

from blockfuse.codegen.kernels.elimination_kernel import EliminationKernel
from blockfuse.codegen.kernels.expression import Term
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.meaning.expressions import value_of
from blockfuse.codegen.meaning.memory import Address
from blockfuse.ir.lowering import Eliminated

Array = numpy.ndarray


def elimination_meaning(
    kernel: EliminationKernel, addresses: Mapping[str, Address], begin: int, end: int
) -> None:
    store, count = kernel.store, end - begin
    matrices = _loaded(kernel.matrix, kernel.element, addresses, (count, *kernel.shape), begin)
    sides = numpy.broadcast_to(numpy.eye(kernel.size), (count, kernel.size, kernel.size))
    if kernel.right is not None and kernel.right_element is not None:
        sides = _loaded(kernel.right, kernel.right_element, addresses, (count, *kernel.extents), begin)
    decided = _DECIDED.get(kernel.result)
    if decided is not None:
        clear = numpy.array([decided(matrix, kernel.negligible) for matrix in matrices])[:, None, None]
        if not clear.all():
            addresses["fault"][0] = numpy.int64(1)
        matrices = numpy.where(clear, matrices, numpy.eye(*kernel.shape))
    result = _RESULT[kernel.result](matrices, sides).reshape(count, *kernel.extents)
    addresses[store.name].write(
        store.dtype, store.strides, result.astype(store.dtype), begin * store.strides[0]
    )


def _loaded(
    access: Access, element: Term, addresses: Mapping[str, Address], shape: tuple[int, ...], begin: int
) -> Array:
    found = addresses[access.name].read(access.dtype, shape, access.strides, begin * access.strides[0])
    return value_of(element, {access.name: found})


def _in_a_line(matrices: Array, _sides: Array) -> Array:
    """The elements of both factors."""
    return numpy.concatenate([part.reshape(len(part), -1) for part in numpy.linalg.qr(matrices)], axis=1)


_RESULT: dict[Eliminated, Callable[[Array, Array], Array]] = {
    Eliminated.DETERMINANT: lambda matrices, _: numpy.linalg.det(matrices),
    Eliminated.INVERSE: numpy.linalg.solve,
    Eliminated.SOLUTION: numpy.linalg.solve,
    Eliminated.LOWER: lambda matrices, sides: numpy.linalg.solve(numpy.tril(matrices), sides),
    Eliminated.UPPER: lambda matrices, sides: numpy.linalg.solve(numpy.triu(matrices), sides),
    Eliminated.CHOLESKY: lambda matrices, _: numpy.linalg.cholesky(matrices),
    Eliminated.QR: _in_a_line,
}

# -- what rounding may decide --------------------------------------------------------------------------------


def _is_regular(matrix: Array, negligible: float) -> bool:
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


def _is_definite(matrix: Array, negligible: float) -> bool:
    """Whether every pivot of the lower triangle is larger than what rounding leaves of its diagonal."""
    rest = numpy.tril(matrix)
    for column, diagonal in enumerate(matrix.diagonal()):
        pivot = rest[column, column]
        if not pivot > diagonal * negligible:
            return False
        below = rest[column + 1 :, column] / numpy.sqrt(pivot)
        rest[column + 1 :, column + 1 :] -= numpy.tril(numpy.outer(below, below))
    return True


def _can_be_divided_by(matrix: Array, _negligible: float) -> bool:
    """Whether no number on the diagonal is near an end of the range."""
    sizes = abs(matrix.diagonal())
    return bool(((sizes > 1e-290) & (sizes < 1e290)).all())


def _has_clear_signs(matrix: Array, negligible: float) -> bool:
    """Whether rounding decides no sign of the triangle: nothing does before a column needs to be reflected."""
    rest, largest, rounded = matrix.astype("float64"), abs(matrix).max(0), False
    for column, scale in enumerate(largest[: len(matrix)]):
        if scale == 0:
            continue
        if not 1e-120 < scale < 1e120:
            return False
        first, below = rest[column, column], rest[column + 1 :, column]
        length, bound = numpy.sqrt(below @ below), scale * negligible
        if below.any() and not length**2 > 1e-280:
            return False
        if rounded and len(below) and not (abs(first) > bound and length > bound):
            return False
        if length:
            mirror = numpy.append(first + numpy.copysign(numpy.hypot(first, length), first), below)
            rest[column:] -= numpy.outer(mirror, mirror @ rest[column:]) * (2 / (mirror @ mirror))
            rounded = True
    return True


# what a matrix gives -> whether the kernel may decide it
_DECIDED: dict[Eliminated, Callable[[Array, float], bool]] = {
    Eliminated.INVERSE: _is_regular,
    Eliminated.SOLUTION: _is_regular,
    Eliminated.LOWER: _can_be_divided_by,
    Eliminated.UPPER: _can_be_divided_by,
    Eliminated.CHOLESKY: _is_definite,
    Eliminated.QR: _has_clear_signs,
}
