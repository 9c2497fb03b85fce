"""The lowering classes: what kind of loop an operator is.

Schedulers and renderers switch on these, never on names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

import numpy

from blockfuse.ir.gathers import Gathered
from blockfuse.ir.layout import Layout


class Lowering:
    """What is asked of every one."""

    # nanoseconds that the NumPy meaning takes, see NOTE [what NumPy takes]
    numpy_call: ClassVar[float] = 4000
    numpy_element: ClassVar[float] = 2.0  # the same for each element more

    @property
    def may_raise(self) -> bool:
        """Whether an operator raises for some values of operands that it takes, an index beyond its axis being one.

        Such an operator may not vanish where nobody needs its result, nor run before or without what the user wrote before
        it.
        """
        return False

    def numpy_work(self, operands: Sequence[numpy.ndarray], result: numpy.ndarray) -> float:
        """About how many nanoseconds the NumPy meaning takes, without what wraps it."""
        return self.numpy_call + self.numpy_element * _largest_size(operands, result)

    @property
    def instructions(self) -> int:
        """About how many a kernel has for each element, where that depends on the operator."""
        return 0


# NOTE [what NumPy takes]
# Measured with NumPy 2.4 on a 3.7 GHz AVX-512 processor: the numbers only tell small from large.


def _largest_size(operands: Sequence[numpy.ndarray], result: numpy.ndarray) -> int:
    return max([result.size, *(operand.size for operand in operands)])


@dataclass(frozen=True)
class Pointwise(Lowering):
    """One result element from one element of each operand."""

    expression: (
        str  # over {0}, {1}, ...; the functions that it calls (exp, select, ...) are given by the backend
    )
    # the NumPy dtype kinds of the loop for which it is right (f float, i signed, u unsigned, b bool); other dtypes run
    # through NumPy
    kinds: str = "fiub"
    cost: int = 1  # about how many instructions an element takes
    numpy_call: ClassVar[float] = 400

    def numpy_work(self, operands: Sequence[numpy.ndarray], result: numpy.ndarray) -> float:
        return self.numpy_call + _largest_size(operands, result) * (0.1 + 0.015 * self.cost)

    @property
    def instructions(self) -> int:
        return self.cost


@dataclass(frozen=True)
class Conversion(Pointwise):
    """The element itself, as a number of the dtype of the result."""


class Extreme(Enum):
    """The number of a dtype that loses against every other."""

    LOWEST = "lowest"
    HIGHEST = "highest"


@dataclass(frozen=True)
class Reduction(Lowering):
    """Elements along axes folded into one."""

    combine: str  # over {acc}, what is folded already, and {0}
    start: bool | int | Extreme  # what is folded before the first element
    kinds: str = "f"  # as of Pointwise
    numpy_call: ClassVar[float] = 1500
    numpy_element: ClassVar[float] = 0.2


@dataclass(frozen=True)
class Scan(Lowering):
    """Each element along an axis joined with all before it, one after the other."""

    combine: str  # as of Reduction


@dataclass(frozen=True)
class Sort(Lowering):
    """The elements along an axis in rising order, or the places where they stood: stable, and nan last."""

    places: bool


@dataclass(frozen=True)
class Contraction(Lowering):
    """A product summed over a shared axis; the tiles of the backend do it."""

    numpy_call: ClassVar[float] = 1000

    def numpy_work(self, operands: Sequence[numpy.ndarray], result: numpy.ndarray) -> float:
        return self.numpy_call + 0.02 * result.size * (operands[0].shape[-1] if operands[0].ndim else 1)


@dataclass(frozen=True)
class WindowContraction(Contraction):
    """The same over several axes of the left operand, which tiles walk where it lies: a convolution without a copy."""


@dataclass(frozen=True)
class Movement(Lowering):
    """The same elements, seen through another layout."""

    relayout: Callable[..., Layout | None]  # of a layout and attributes; None where only a copy has one
    numpy_call: ClassVar[float] = 0
    numpy_element: ClassVar[float] = 0


@dataclass(frozen=True)
class Composite(Lowering):
    """Written with other operators."""

    expand: Callable[..., Any]  # of operands and attributes


@dataclass(frozen=True)
class Joining(Lowering):
    """Operands side by side along an axis (concatenate): each is copied into a part of the result."""


@dataclass(frozen=True)
class Writing(Lowering):
    """A copy of the first operand, with the second in a part of it."""

    relayout: Callable[..., Layout]  # of the whole and attributes: the layout of the part


@dataclass(frozen=True)
class Gather(Lowering):
    """Elements of the first operand, a table, at the indices that the others, arrays of integers, hold."""

    walk: Callable[
        ..., Gathered
    ]  # of the layouts of the table and of the indices, and attributes: how they are walked

    @property
    def may_raise(self) -> bool:
        return True


@dataclass(frozen=True)
class Scatter(Lowering):
    """A copy of the first operand, to which the second, broadcast, is added in C order at the indices of the others.

    adds: otherwise it is written there, so that of several elements for one place the last stays.
    """

    walk: Callable[..., Gathered]  # as of Gather
    adds: bool = True

    @property
    def may_raise(self) -> bool:
        return True


class Eliminated(Enum):
    """What a matrix is brought to a triangle for."""

    DETERMINANT = "determinant"
    INVERSE = "inverse"
    SOLUTION = "solution"  # of equations whose right-hand sides are the second operand
    LOWER = "solution by a lower triangle"  # the same where the matrix is one already
    UPPER = "solution by an upper triangle"
    CHOLESKY = "Cholesky factor"
    QR = "orthogonal factor and triangle"  # their elements, one after the other


@dataclass(frozen=True)
class Elimination(Lowering):
    """Stacks of matrices, each brought to a triangle by itself; LAPACK does the large ones."""

    result: Eliminated
    numpy_call: ClassVar[float] = 8000
    numpy_element: ClassVar[float] = 10.0

    @property
    def may_raise(self) -> bool:
        return self.result not in (Eliminated.DETERMINANT, Eliminated.QR)


@dataclass(frozen=True)
class Drawing(Lowering):
    """The numbers of a reserved piece of the random stream: each follows from the piece and its index alone."""


@dataclass(frozen=True)
class Packing(Lowering):
    """A weight rearranged into the panels that the backend's tiles read."""


@dataclass(frozen=True)
class Host(Lowering):
    """No kernel: a program calls the NumPy meaning."""

    reason: str = "no kernel yet"  # for ``explain()``
    raises: bool = False

    @property
    def may_raise(self) -> bool:
        return self.raises


@dataclass(frozen=True)
class Leaf(Lowering):
    """A value that is there before the graph runs: argument, parameter, constant."""


@dataclass(frozen=True)
class Fused(Lowering):
    """Several operators in one kernel; its nodes have the attributes ``body``, a graph, and ``name``."""
