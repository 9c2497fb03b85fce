"""The lowering classes: what kind of loop an operator is.

Schedulers and renderers switch on these, never on names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from blockfuse.ir.gathers import Gathered
from blockfuse.ir.layout import Layout


@dataclass(frozen=True)
class Pointwise:
    """One result element from one element of each operand."""

    expression: (
        str  # over {0}, {1}, ...; the functions that it calls (exp, select, ...) are given by the backend
    )
    # the NumPy dtype kinds of the loop for which it is right (f float, i signed, u unsigned, b bool); other dtypes run
    # through NumPy
    kinds: str = "fiub"
    cost: int = 1  # about how many instructions an element takes


@dataclass(frozen=True)
class Conversion(Pointwise):
    """The element itself, as a number of the dtype of the result."""


class Extreme(Enum):
    """The number of a dtype that loses against every other."""

    LOWEST = "lowest"
    HIGHEST = "highest"


@dataclass(frozen=True)
class Reduction:
    """Elements along axes folded into one."""

    combine: str  # over {acc}, what is folded already, and {0}
    start: bool | int | Extreme  # what is folded before the first element
    kinds: str = "f"  # as of Pointwise


@dataclass(frozen=True)
class Contraction:
    """A product summed over a shared axis; the tiles of the backend do it."""


@dataclass(frozen=True)
class Movement:
    """The same elements in another place: ``relayout(layout, **attrs)`` gives the layout of the result, or None."""

    relayout: Callable[..., Layout | None]


@dataclass(frozen=True)
class Composite:
    """Written with other operators: ``expand(*operands, **attrs)``."""

    expand: Callable[..., Any]


@dataclass(frozen=True)
class Joining:
    """Operands side by side along an axis (concatenate): each is copied into its place in the result."""


@dataclass(frozen=True)
class Writing:
    """A copy of the first operand with the second in one place: ``relayout(layout, **attrs)`` says where."""

    relayout: Callable[..., Layout]


@dataclass(frozen=True)
class Gather:
    """Elements of the first operand at places that the others, arrays of integers, name.

    ``places(table, indices, **attrs)``, over layouts, says where.
    """

    places: Callable[..., Gathered]


@dataclass(frozen=True)
class Drawing:
    """The numbers of a reserved piece of the random stream: each follows from the piece and its place alone."""


@dataclass(frozen=True)
class Packing:
    """A weight rearranged into the panels that the backend's tiles read."""


@dataclass(frozen=True)
class Host:
    """No kernel: a program calls the NumPy meaning. ``reason`` says why, for ``explain()``.

    raises: whether it does for some values of operands that it takes.
    """

    reason: str = "no kernel yet"
    raises: bool = False


@dataclass(frozen=True)
class Leaf:
    """A value that is there before the graph runs: argument, parameter, constant."""


@dataclass(frozen=True)
class Fused:
    """Several operators in one kernel: attributes ``body`` (a graph) and ``name``."""


Lowering = (
    Pointwise
    | Reduction
    | Contraction
    | Movement
    | Composite
    | Joining
    | Writing
    | Gather
    | Drawing
    | Packing
    | Host
    | Leaf
    | Fused
)


def may_raise(lowering: Lowering) -> bool:
    """Whether an operator raises for some values, an index beyond its axis being one.

    Such an operator may not vanish where nobody needs its result, nor run before or without what the user wrote before it.
    """
    return isinstance(lowering, Gather) or (isinstance(lowering, Host) and lowering.raises)
