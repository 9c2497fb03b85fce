"""Kernels as data: loops, loads, statements, a store. A backend renders them to source.

NOTE [scopes]
A value is known by one name: that of the pointer it is loaded from, or of the statement or fold that makes it. So a pointer
is loaded in one way, and what is read in two ways stands behind two pointers. A statement reads what is loaded or made
before it, in its own loop or around it; a loop leaves nothing behind but its folds. Kernels are checked for that when they
are made: in their source, a name would still have a value where its loop has ended.

Every kernel walks its rows from ``begin`` to ``end``, given at run time, so that a launch can be split
between threads; all other extents are constants. Strides are counted in elements.

NOTE [faults]
An index that lies beyond its axis is an error of the call, which only Python can raise as eager does. So a kernel with
indices reads at the nearest place that there is, and stores 1 into the call's *fault* word, which starts as 0: the pointer
before the result. When the program is through, at every decision on the way, and before the host computes anything, whoever
runs it looks at the word; if it is set, what was computed is dropped (it is all memory of the call's own), and the call
runs in Python from the start. That keeps tables from being read outside, and costs a program without indices nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Index:
    """What the load ``name`` adds to a place: steps of ``stride`` along an axis of ``size``, from its end if negative."""

    name: str
    size: int
    stride: int


@dataclass(frozen=True)
class Access:
    """A pointer parameter: ``strides`` has one entry for each loop axis of the kernel, rows first.

    indices: of a table, from which elements are picked by what other loads say; see NOTE [faults].
    """

    name: str
    dtype: str
    strides: tuple[int, ...]
    indices: tuple[Index, ...] = ()


@dataclass(frozen=True)
class Statement:
    """``name = expression``, a value of ``dtype``."""

    name: str
    dtype: str
    expression: str


class _Scope:
    """The names that are known at one place of a kernel: see NOTE [scopes]."""

    def __init__(self, loads: Iterable[Access] = (), around: _Scope | None = None) -> None:
        self.names: set[str] = set(around.names) if around else set()
        for load in loads:
            self.add(load.name.removeprefix("out as "))

    def add(self, name: str) -> None:
        assert name not in self.names, f"{name} stands for two values"
        self.names.add(name)

    def run(self, statements: Iterable[Statement]) -> None:
        """The statements in their order, each of which makes a name known."""
        for statement in statements:
            self.read(statement.expression)
            self.add(statement.name)

    def read(self, text: str) -> None:
        unknown = set(re.findall(r"\b[xt]\d+\b", text)) - self.names
        assert not unknown, f"{text} reads {', '.join(sorted(unknown))}, not known there"


@dataclass(frozen=True)
class MapKernel:
    """Pointwise: for every place of ``(rows, *extents)`` load, compute, store; past the caches where it ``streams``."""

    name: str
    extents: tuple[int, ...]
    loads: tuple[Access, ...]
    body: tuple[Statement, ...]
    store: Access
    result: str
    streams: bool = False

    def __post_init__(self) -> None:
        scope = _Scope(self.loads)
        scope.run(self.body)
        scope.read(self.result)

    @property
    def indices(self) -> tuple[Index, ...]:
        return tuple(index for load in self.loads for index in load.indices)


@dataclass(frozen=True)
class Fold:
    """``name`` starts as ``start`` and becomes ``step`` at every element; afterwards it is a row value of ``dtype``.

    join: what two of them, ``{0}`` and ``{1}``, over different elements are together.
    """

    name: str
    dtype: str
    start: str
    step: str
    join: str


@dataclass(frozen=True)
class Sweep:
    """One walk along a row: statements and folds for every element, then statements once for the row.

    keep: a statement whose value is put into the result's memory, so that later sweeps load it instead of
    computing it.
    """

    loads: tuple[Access, ...]
    body: tuple[Statement, ...]
    folds: tuple[Fold, ...]
    after: tuple[Statement, ...]
    keep: str | None = None


@dataclass(frozen=True)
class RowKernel:
    """For each of ``rows`` rows of ``extent`` elements: the sweeps in turn, then the store of the result.

    loads are all pointer parameters; those with strides (row, element) are read in sweeps, the ``row_loads``, with one
    stride, once a row. The result is stored by the last sweep (``store.strides`` has two entries, and may be past the caches
    where it ``streams``) or once a row (one entry).
    """

    name: str
    extent: int
    loads: tuple[Access, ...]
    row_loads: tuple[Access, ...]
    before: tuple[Statement, ...]
    sweeps: tuple[Sweep, ...]
    store: Access
    result: str
    streams: bool = False

    def __post_init__(self) -> None:
        assert all(len(a.strides) == 1 for a in self.row_loads), "a row value has one stride"
        assert all(len(a.strides) == 2 for s in self.sweeps for a in s.loads), "an element has two"
        row = element = _Scope(self.row_loads)
        row.run(self.before)
        for sweep in self.sweeps:
            element = _Scope(sweep.loads, row)
            element.run(sweep.body)
            for fold in sweep.folds:
                row.add(fold.name)
                element.add(fold.name)
                element.read(fold.step)
            row.run(sweep.after)
        (row if len(self.store.strides) == 1 else element).read(self.result)


@dataclass(frozen=True)
class ColumnKernel:
    """A fold over an axis that is not the last: the result's memory is the accumulator.

    extents: (folded, inner). rows are what stands before the folded axis, or, where nothing does (``flat``),
    the inner axis itself, and then ``extents`` is (folded,). Strides are (row, folded, inner) or (row,
    folded). join: as in ``Fold``.
    """

    name: str
    extents: tuple[int, ...]
    loads: tuple[Access, ...]
    body: tuple[Statement, ...]
    start: str
    step: str
    join: str
    store: Access

    def __post_init__(self) -> None:
        scope = _Scope(self.loads)
        scope.run(self.body)
        scope.read(self.step)


@dataclass(frozen=True)
class DrawKernel:
    """The numbers of a reserved piece of the random stream (``ir.stream``), and what follows from each.

    Its rows are the words of the piece (``load``). number: the value of ``dtype`` that the statements begin with; float32
    takes half a word, float64 a whole one.
    """

    name: str
    load: Access
    number: str
    dtype: str
    body: tuple[Statement, ...]
    store: Access
    result: str

    def __post_init__(self) -> None:
        scope = _Scope()
        scope.add(self.number)
        scope.run(self.body)
        scope.read(self.result)

    @property
    def loads(self) -> tuple[Access, ...]:
        return (self.load,)


@dataclass(frozen=True)
class ProductTile:
    """How a product is cut: ``rows`` x ``panels`` panels of ``panel`` columns, ``unroll`` steps at a time."""

    rows: int
    panels: int
    panel: int
    unroll: int


@dataclass(frozen=True)
class BlockTile:
    """How a product is cut for a device: ``rows`` x ``columns`` of the result for each block of ``threads`` threads.

    panel: columns of a panel of the weight. height, width: rows and columns for each thread. depth: steps of the inner axis
    that lie in shared memory at a time. Where ``slices`` is not 0, nothing is shared: so many threads take turns along the
    inner axis, for all rows, and their sums are added up at the end. splits: blocks that share the inner axis; their sums
    are added up by a launch of its own.
    """

    rows: int
    columns: int
    panel: int
    height: int
    width: int
    depth: int = 8
    slices: int = 0
    splits: int = 1

    @property
    def threads(self) -> int:
        return self.rows * self.columns // (self.height * self.width) * max(1, self.slices)


@dataclass(frozen=True)
class ProductKernel:
    """``left (rows, inner)`` times panels of a packed weight, plus a bias, then the epilogue.

    Where ``by_panels`` (few rows), what a launch walks are groups of panels instead. Where ``batched``, the
    rows of a launch are matrices of ``height`` rows each. Where ``height`` is 0, only a launch knows how many
    rows there are: the first of ``tiles`` is the tallest, the others do what it leaves over;
    otherwise there is one tile. A device has a ``block`` instead of tiles. ``left.strides``: (row,) or (matrix, row);
    elements of a row are neighbours.
    ``right.strides``: (matrix,) or (). Epilogue loads and store: (row, column) or (matrix, row, column).
    ``pointers``: the parameters in calling order; one may be both an operand and an epilogue load. ``before``: on a device,
    products of the same launch; the result of each, and of them all, is the left operand of the next.
    """

    name: str
    dtype: str
    height: int
    inner: int
    units: int
    batched: bool
    by_panels: bool
    tiles: tuple[ProductTile, ...]
    left: Access
    right: Access
    bias: Access | None
    accumulator: str
    loads: tuple[Access, ...]
    pointers: tuple[str, ...]
    body: tuple[Statement, ...]
    store: Access
    result: str
    block: BlockTile | None = None
    before: tuple[ProductKernel, ...] = ()

    def __post_init__(self) -> None:
        scope = _Scope(self.loads)
        scope.add(self.accumulator)
        scope.run(self.body)
        scope.read(self.result)


Kernel = MapKernel | RowKernel | ColumnKernel | DrawKernel | ProductKernel


def index_loads(kernel: MapKernel) -> dict[str, Access]:
    """Name -> the load of an index."""
    named = {index.name for index in kernel.indices}
    return {load.name: load for load in kernel.loads if load.name in named}


def has_fault(kernel: Kernel) -> bool:
    """Whether a kernel has a pointer to the fault word: see NOTE [faults]."""
    return isinstance(kernel, MapKernel) and bool(kernel.indices)
