"""What kernels are made of, and what every kernel answers. They are data: a backend renders them to source.

NOTE [scopes]
A value is known by one name: that of the pointer it is loaded from, or of the statement or fold that makes it. So a pointer
is loaded in one way, and what is read in two ways stands behind two pointers. A statement reads what is loaded or made
before it, in its own loop or around it; a loop leaves nothing behind but its folds. Kernels are checked for that when they
are made: in their source, a name would still have a value where its loop has ended.

Every kernel walks its rows from ``begin`` to ``end``, given at run time, so that a launch can be split
between threads; all other extents are constants. Strides are counted in elements.

NOTE [faults]
An index that lies beyond its axis is an error of the call, which only Python can raise as eager does. So a kernel with
indices reads at the nearest element that there is, and stores 1 into the call's *fault* word, which starts as 0: the pointer
before the result. When the program is through, at every decision on the way, and before the host computes anything, whoever
runs it looks at the word; if it is set, what was computed is dropped (it is all memory of the call's own), and the call
runs in Python from the start. That keeps tables from being read outside, and costs a program without indices nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from blockfuse.codegen.kernels.expression import Term
from blockfuse.codegen.kernels.product_cuts import ProductTile

FAULT = ("fault", "int64")  # name and dtype of the pointer of NOTE [faults]


@dataclass(frozen=True)
class Index:
    """What a load adds to the offset of another one: steps along an axis, from its end if the number is negative."""

    name: str  # of the load
    size: int  # of the axis
    stride: int  # of a step


@dataclass(frozen=True)
class Access:
    """How a pointer is read or written."""

    name: str  # of the pointer
    dtype: str
    strides: tuple[int, ...]  # one for each loop axis of the kernel, rows first
    indices: tuple[
        Index, ...
    ] = ()  # of a table: elements are picked by what other loads say, see NOTE [faults]
    # the name of the value, where it is not that of the pointer: what the result's memory holds, from an earlier sweep or
    # from before the call
    alias: str = ""

    @property
    def value(self) -> str:
        """The name of what is loaded."""
        return self.alias or self.name


@dataclass(frozen=True)
class Statement:
    """``name = expression``."""

    name: str
    dtype: str  # of the value
    expression: Term


class Reach(NamedTuple):
    """The elements that a row touches of what a pointer points to, counted from where the first row begins."""

    stride: int  # from one row to the next
    low: int  # the first element
    high: int  # the last one

    @classmethod
    def of_walk(cls, strides: tuple[int, ...], extents: tuple[int, ...]) -> Reach:
        """The first stride is from row to row; a value that is read once a row has no other."""
        steps = [(extent - 1) * stride for stride, extent in zip(strides[1:], extents, strict=False)]
        return cls(strides[0], sum(min(s, 0) for s in steps), sum(max(s, 0) for s in steps))


SHARED_REACH = Reach(0, 0, 0)  # of what all rows share


@dataclass(frozen=True)
class Kernel(ABC):
    """What a launch runs over rows."""

    name: str
    store: Access  # of the result

    @property
    @abstractmethod
    def pointers(self) -> tuple[tuple[str, str], ...]:
        """Name and dtype of every pointer parameter in calling order, the results last."""

    def reaches(self) -> list[list[Reach]] | None:
        """What a row touches through each pointer, in calling order; None where rows of a launch are none of the result."""
        return None

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the fused groups that it computes."""
        return (self.name,)

    @property
    def results(self) -> int:
        """How many of the last pointers it writes through."""
        return 1

    @property
    def has_fault(self) -> bool:
        """Whether there is a pointer to the fault word: see NOTE [faults]."""
        return False

    @property
    def has_doubts(self) -> bool:
        """Whether it may also store into that word where eager does not raise: only Python can tell then."""
        return False

    @property
    def tables(self) -> tuple[int, ...]:
        """The numbers of the pointers of which no more is read than what is picked."""
        return ()

    @property
    def tiles(self) -> tuple[ProductTile, ...]:
        """Of a product that is cut for a processor: several where only a launch knows how many rows there are."""
        return ()

    @property
    def shared_weight_bytes(self) -> int:
        """Of a weight that a launch of any number of rows reads once for all of them."""
        return 0

    def in_place(self, operands: Sequence[int]) -> Kernel | None:
        """The same, with these operands in the memory of the result: each element is read before it is written.

        None where a kernel reads one of them elsewhere, in another way, or as another dtype.
        """
        assert operands, "there are some"
        return None

    def with_nontemporal_stores(self) -> Kernel:
        """The same, writing its result past the caches; the kernel itself where it cannot."""
        return self


class Scope:
    """The names that are known at one point of a kernel: see NOTE [scopes]."""

    def __init__(self, loads: Iterable[Access] = (), around: Scope | None = None) -> None:
        self.names: set[str] = set(around.names) if around else set()
        for load in loads:
            self.add(load.value)

    def add(self, name: str) -> None:
        assert name not in self.names, f"{name} stands for two values"
        self.names.add(name)

    def run(self, statements: Iterable[Statement]) -> None:
        """The statements in their order, each of which makes a name known."""
        for statement in statements:
            self.read(statement.expression.names)
            self.add(statement.name)

    def read(self, names: Iterable[str]) -> None:
        unknown = set(names) - self.names
        assert not unknown, f"{', '.join(sorted(unknown))} is read and not known there"
