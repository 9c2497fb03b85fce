"""How a group that folds rows reads its values: one for each element of the domain, or one for each row.

NOTE [granularity]
A value of such a group is a *row value* (a fold, or what follows from folds without being spread over the row again) or an
*element value*. Which of the two a computed value is, its shape says: where folding changed no size (rows of one element),
both are the same. What an operand is, only its reader says: in ``A @ x + x`` of a square A, ``x`` is one number for each
element of a row when it is multiplied and one for each row when it is added, and its shape fits both. So an operand has no
granularity; a *read* has one, and every read at another granularity is an argument of its own in the body of the group.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from blockfuse.ir.graph import Node
from blockfuse.ir.lowering import Reduction


@dataclass(frozen=True)
class RowDomain:
    """What a group walks: rows of all elements of the last ``axes`` axes of ``shape``."""

    shape: tuple[int, ...]
    axes: int

    def is_row(self, node: Node) -> bool:
        """Whether a computed value is one for each row."""
        return isinstance(node.operator.lowering, Reduction) or node.shape != self.shape

    def shape_read_by(self, reader: Node) -> tuple[int, ...]:
        """The shape to which the operands of ``reader`` are broadcast: that of the domain, or one with an element a row."""
        return self.shape if isinstance(reader.operator.lowering, Reduction) else reader.shape


def row_domain(nodes: Iterable[Node]) -> RowDomain | None:
    """The domain of a group that folds trailing axes; None where it does not."""
    fold = next((n for n in nodes if isinstance(n.operator.lowering, Reduction)), None)
    axes = folded_axes(fold) if fold is not None else 0
    return RowDomain(fold.operands[0].shape, axes) if fold is not None and axes else None


def folded_axes(fold: Node) -> int:
    """How many trailing axes a reduction folds; 0 if it folds others too."""
    axes, ndim = fold.attrs["axis"], fold.operands[0].type.ndim
    return len(axes) if axes == tuple(range(ndim - len(axes), ndim)) else 0
