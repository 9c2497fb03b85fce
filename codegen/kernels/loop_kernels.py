"""Kernels of loops over elements: maps, sweeps along rows, folds over other axes, random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from blockfuse.codegen.kernels.expression import Term
from blockfuse.codegen.kernels.kernel import (
    FAULT,
    SHARED_REACH,
    Access,
    Index,
    Kernel,
    Reach,
    Scope,
    Statement,
)

NEAR_ELEMENTS = 4096  # of a row in near memory: 16 or 32 KB
_NONTEMPORAL_DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class MapKernel(Kernel):
    """Pointwise: for every element of ``(rows, *extents)`` load, compute, store."""

    extents: tuple[int, ...]
    loads: tuple[Access, ...]
    body: tuple[Statement, ...]
    result: str  # the name of the value that is stored
    nontemporal: bool = False  # whether it is stored past the caches

    def __post_init__(self) -> None:
        scope = Scope(self.loads)
        scope.run(self.body)
        scope.read([self.result])
        assert all(load.strides == self.store.strides for load in self.loads if load.name == self.store.name)

    @property
    def indices(self) -> tuple[Index, ...]:
        return tuple(index for load in self.loads for index in load.indices)

    @property
    def index_loads(self) -> dict[str, Access]:
        """Name -> the load of an index."""
        named = {index.name for index in self.indices}
        return {load.name: load for load in self.loads if load.name in named}

    @property
    def pointers(self) -> tuple[tuple[str, str], ...]:
        return (*_typed(self._operands), *(FAULT,) * self.has_fault, *_typed((self.store,)))

    @property
    def _operands(self) -> tuple[Access, ...]:
        """What is read through pointers that are not the result's."""
        return tuple(load for load in self.loads if load.name != self.store.name)

    def reaches(self) -> list[list[Reach]]:
        loads = [
            SHARED_REACH if load.indices else Reach.of_walk(load.strides, self.extents)
            for load in self._operands
        ]
        fault = [SHARED_REACH] * self.has_fault
        return [[reach] for reach in (*loads, *fault, Reach.of_walk(self.store.strides, self.extents))]

    @property
    def has_fault(self) -> bool:
        return bool(self.indices)

    @property
    def tables(self) -> tuple[int, ...]:
        return tuple(number for number, load in enumerate(self._operands) if load.indices)

    def in_place(self, operands: Sequence[int]) -> MapKernel | None:
        same = [self._operands[number] for number in operands]
        if self.indices or any((a.strides, a.dtype) != (self.store.strides, self.store.dtype) for a in same):
            return None
        moved = (replace(a, name=self.store.name, alias=a.value) if a in same else a for a in self.loads)
        return replace(self, loads=tuple(moved))

    def with_nontemporal_stores(self) -> Kernel:
        fits = len(self.extents) <= 1 and _fit_near_memory(self.store, self.extents)
        return replace(self, nontemporal=True) if fits else self


@dataclass(frozen=True)
class FlatKernel(Kernel):
    """Several maps over as many elements each, in one loop: what one makes and another reads stays in a register.

    Strides are (1,), or (0,) of what is the same for all elements. A load may be of the memory of a result, whose elements
    are read before they are written. ``store`` is the last of ``stores``.
    """

    loads: tuple[Access, ...]
    body: tuple[Statement, ...]
    stores: tuple[tuple[Access, str], ...]  # and the name of the value
    maps: tuple[str, ...]  # their names

    def __post_init__(self) -> None:
        scope = Scope(self.loads)
        scope.run(self.body)
        scope.read([value for _, value in self.stores])
        assert self.store == self.stores[-1][0]

    @property
    def pointers(self) -> tuple[tuple[str, str], ...]:
        return _typed((*self._operands, *(access for access, _ in self.stores)))

    @property
    def _operands(self) -> tuple[Access, ...]:
        """What is read through pointers that are not those of results."""
        written = {access.name for access, _ in self.stores}
        return tuple(load for load in self.loads if load.name not in written)

    @property
    def groups(self) -> tuple[str, ...]:
        return self.maps

    @property
    def results(self) -> int:
        return len(self.stores)

    def reaches(self) -> list[list[Reach]]:
        accesses = (*self._operands, *(access for access, _ in self.stores))
        return [[Reach.of_walk(access.strides, ())] for access in accesses]


@dataclass(frozen=True)
class Fold:
    """Elements folded into one value."""

    name: str  # of the accumulator, and of the value afterwards
    dtype: str
    start: Term  # what the accumulator is before the first element
    step: Term  # what it becomes at each element
    join: str  # what two of them, {0} and {1}, over different elements are together


@dataclass(frozen=True)
class Sweep:
    """One walk along a row: statements and folds for every element, then statements once for the row."""

    loads: tuple[Access, ...]
    body: tuple[Statement, ...]
    folds: tuple[Fold, ...]
    after: tuple[Statement, ...]
    # a statement whose value goes to the memory of the result, where later sweeps load it instead of computing it
    keep: str | None = None


@dataclass(frozen=True)
class RowKernel(Kernel):
    """For each row: the sweeps in turn, then the store of the result.

    It is stored by the last sweep, element by element (``store.strides`` has two entries), or once a row (one entry).
    """

    extent: int  # elements of a row
    loads: tuple[Access, ...]  # of all pointer parameters; those read in sweeps have strides (row, element)
    row_loads: tuple[Access, ...]  # those of them that are read once a row, with one stride
    before: tuple[Statement, ...]  # once a row
    sweeps: tuple[Sweep, ...]
    result: str  # the name of the value that is stored
    nontemporal: bool = False  # whether it is stored past the caches

    def __post_init__(self) -> None:
        assert all(len(a.strides) == 1 for a in self.row_loads), "a row value has one stride"
        assert all(len(a.strides) == 2 for s in self.sweeps for a in s.loads), "an element has two"
        row = element = Scope(self.row_loads)
        row.run(self.before)
        for sweep in self.sweeps:
            element = Scope(sweep.loads, row)
            element.run(sweep.body)
            for fold in sweep.folds:
                row.add(fold.name)
                element.add(fold.name)
                element.read(fold.step.names)
            row.run(sweep.after)
        (element if self.stores_elements else row).read([self.result])

    @property
    def stores_elements(self) -> bool:
        """Whether the result has an element for each one of a row, rather than one for the row."""
        return len(self.store.strides) == 2

    @property
    def pointers(self) -> tuple[tuple[str, str], ...]:
        return _typed((*self.loads, self.store))

    def reaches(self) -> list[list[Reach]]:
        return [[Reach.of_walk(access.strides, (self.extent,))] for access in (*self.loads, self.store)]

    def with_nontemporal_stores(self) -> Kernel:
        return replace(self, nontemporal=True) if _fit_near_memory(self.store, (self.extent,)) else self


@dataclass(frozen=True)
class ColumnKernel(Kernel):
    """A fold over an axis that is not the last: the result's memory is the accumulator."""

    # (folded, inner). Rows are what stands before the folded axis, or, where nothing does, the inner axis itself; then
    # there is (folded,) alone.
    extents: tuple[int, ...]
    loads: tuple[Access, ...]  # strides are (row, folded, inner) or (row, folded)
    body: tuple[Statement, ...]
    fold: Fold

    def __post_init__(self) -> None:
        scope = Scope(self.loads)
        scope.run(self.body)
        scope.add(self.fold.name)
        scope.read(self.fold.step.names)

    @property
    def pointers(self) -> tuple[tuple[str, str], ...]:
        return _typed((*self.loads, self.store))

    def reaches(self) -> list[list[Reach]]:
        loads = (Reach.of_walk(load.strides, self.extents) for load in self.loads)
        return [[reach] for reach in (*loads, Reach.of_walk(self.store.strides, self.extents[1:]))]


@dataclass(frozen=True)
class DrawKernel(Kernel):
    """The numbers of a reserved piece of the random stream (``ir.stream``), and what follows from each.

    Its rows are the words of the piece.
    """

    load: Access  # of the piece
    number: str  # the value that the statements begin with
    dtype: str  # of the number: float32 takes half a word, float64 a whole one
    body: tuple[Statement, ...]
    result: str  # the name of the value that is stored

    def __post_init__(self) -> None:
        scope = Scope()
        scope.add(self.number)
        scope.run(self.body)
        scope.read([self.result])

    @property
    def pointers(self) -> tuple[tuple[str, str], ...]:
        return _typed((self.load, self.store))


def _typed(accesses: tuple[Access, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((access.name, access.dtype) for access in accesses)


def _fit_near_memory(store: Access, row: tuple[int, ...]) -> bool:
    """Whether a result is made of dense rows that near memory can hold on the way past the caches."""
    dense = store.strides == (*row, 1) and store.dtype in _NONTEMPORAL_DTYPES
    return dense and all(extent <= NEAR_ELEMENTS for extent in row)
