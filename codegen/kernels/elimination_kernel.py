"""The kernel of small linear algebra: matrices brought to triangles, each by itself.

NOTE [elimination]
A matrix is eliminated in near memory, column by column, and the right-hand sides along with it: as LAPACK does it, and in
float64 whatever the dtype, as NumPy calls it. What LAPACK decides by one number, the roundings of another order of
operations would miss, or decide elsewhere. So where rounding may have made that number, the kernel notes it in the word of
NOTE [faults]: then Python computes the call, and raises or goes on as eager does. Numbers that are decided by, and what must
be clear of them:

- solutions and inverses: the largest element of a column is the pivot, 0 raises. It must be clearly larger than what
  rounding leaves of its column (nan and infinities are not). A determinant raises nothing: without a pivot it is 0;
- triangles: 0 on the diagonal raises. Nothing has rounded it: it is only kept from the ends of its range;
- Cholesky factors: a pivot that is not positive raises. It must be larger than what rounding leaves of its diagonal;
- orthogonal factors, by Householder's reflections: nothing raises, but the diagonal of the triangle has the sign that its
  column's first element has not, or has it if nothing lies below (Golub and Van Loan, section 5.1; LAPACK's ``dlarfg``).
  Once a reflection has rounded the columns after it, both the first element and what lies below must be clear of rounding,
  but for columns of zeros, and the last of a square matrix, below which nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy

from blockfuse.codegen.kernels.expression import Term
from blockfuse.codegen.kernels.kernel import FAULT, SHARED_REACH, Access, Kernel, Reach, Scope
from blockfuse.ir.lowering import Eliminated

_ROUNDINGS = 16  # in units of the last place for each row: what may be left of a column that others make up


@dataclass(frozen=True)
class EliminationKernel(Kernel):
    """What the matrices that rows are give, brought to triangles."""

    result: Eliminated
    shape: tuple[int, int]  # of a matrix
    extents: tuple[int, ...]  # of the result of one
    matrix: Access
    right: Access | None  # the right-hand sides, where there are any
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
    def size(self) -> int:
        """Columns of a matrix."""
        return self.shape[1]

    @property
    def has_fault(self) -> bool:
        return self.result is not Eliminated.DETERMINANT

    @property
    def has_doubts(self) -> bool:
        return self.has_fault  # rounding, nan and infinities: see NOTE [elimination]

    @property
    def pointers(self) -> tuple[tuple[str, str], ...]:
        read = ((access.name, access.dtype) for access in self.loads)
        return (*read, *[FAULT] * self.has_fault, (self.store.name, self.store.dtype))

    def reaches(self) -> list[list[Reach]]:
        read = [Reach.of_walk(self.matrix.strides, self.shape)]
        read += [] if self.right is None else [Reach.of_walk(self.right.strides, self.extents)]
        written = Reach.of_walk(self.store.strides, self.extents)
        return [[reach] for reach in (*read, *[SHARED_REACH] * self.has_fault, written)]

    @property
    def negligible(self) -> float:
        """The share of the largest element of a column up to which what is left of it may be rounding alone."""
        return _ROUNDINGS * max(self.shape) * float(numpy.finfo("float64").eps)
