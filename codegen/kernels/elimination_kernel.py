"""The kernel of small linear algebra: square matrices brought to triangles, each by itself.

NOTE [elimination]
A matrix is eliminated in near memory, column by column, with the largest element of a column as pivot, and the right-hand
sides along with it: as LAPACK does it, and in float64 whatever the dtype, as NumPy calls it. LAPACK raises where a pivot is
exactly 0, which the roundings of another order of operations would miss, or find elsewhere. So a pivot that is not clearly
larger than what rounding leaves of its column (nan and infinities included) is noted in the word of NOTE [faults]: then
Python computes the call, and raises or goes on as eager does. A determinant raises nothing: without a pivot it is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy

from blockfuse.codegen.kernels.expression import Term
from blockfuse.codegen.kernels.kernel import FAULT, SHARED_REACH, Access, Kernel, Reach, Scope

_ROUNDINGS = 16  # in units of the last place for each row: what may be left of a column that others make up


@dataclass(frozen=True)
class EliminationKernel(Kernel):
    """Solutions, inverses or determinants of the matrices that rows are."""

    size: int  # rows and columns of a matrix
    columns: int  # of the right-hand sides; 0 where the result is the determinant
    matrix: Access
    right: Access | None  # where there is none, the identity
    element: Term  # of a matrix as float64, over that of its load
    right_element: Term | None

    def __post_init__(self) -> None:
        Scope((self.matrix,)).read(self.element.names)
        assert (self.right is None) == (self.right_element is None)
        if self.right is not None and self.right_element is not None:
            Scope((self.right,)).read(self.right_element.names)

    @property
    def loads(self) -> tuple[Access, ...]:
        return (self.matrix,) if self.right is None else (self.matrix, self.right)

    @property
    def has_fault(self) -> bool:
        return self.columns > 0

    @property
    def pointers(self) -> tuple[tuple[str, str], ...]:
        read = ((access.name, access.dtype) for access in self.loads)
        return (*read, *[FAULT] * self.has_fault, (self.store.name, self.store.dtype))

    def reaches(self) -> list[list[Reach]]:
        square, sides = (self.size, self.size), (self.size, self.columns)
        read = [Reach.of_walk(self.matrix.strides, square)]
        read += [] if self.right is None else [Reach.of_walk(self.right.strides, sides)]
        written = Reach.of_walk(self.store.strides, sides if self.columns else ())
        return [[reach] for reach in (*read, *[SHARED_REACH] * self.has_fault, written)]

    @property
    def negligible(self) -> float:
        """The share of the largest element of a column up to which a pivot may be rounding alone."""
        return _ROUNDINGS * self.size * float(numpy.finfo("float64").eps)
