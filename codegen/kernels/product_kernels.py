"""Kernels of products: one by itself, or a chain of them on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy

from blockfuse.codegen.kernels.kernel import Access, Kernel, Reach, Scope, Statement
from blockfuse.codegen.kernels.product_cuts import BlockTile, ProductTile, RegisterTiles
from blockfuse.ir.operators.narrow import lines_of_panel

BETWEEN = "here"  # the left operand of a product of a chain that is not the first


def tiles_load(strides: tuple[int, ...]) -> bool:
    """Whether an epilogue can load elements that lie so: those of its columns are neighbours, or all the same one."""
    return strides[-1] in (0, 1)


@dataclass(frozen=True)
class OperandSteps:
    """How tiles of a processor walk the operands of a product, in elements."""

    left: int  # from one step of the inner axis to the next
    right: int  # the same within a panel, whose columns are neighbours
    panel: int  # from one panel to the next

    @classmethod
    def packed(cls, inner: int, panel: int) -> OperandSteps:
        """Where rows of the left operand are dense, and panels stand one behind the other."""
        return cls(1, panel, inner * panel)


@dataclass(frozen=True)
class ProductKernel(Kernel):
    """``left (rows, inner)`` times panels of a packed weight, plus a bias, then the epilogue.

    The rows of a launch are those of the result, or, where it is ``batched``, matrices; ``RegisterTiles`` may walk panels.
    Tiles overlap where sizes are not multiples of theirs; a kernel that reads what it writes stores each element once.
    """

    dtype: str  # of the sums
    height: int  # rows of the result, or of each matrix; 0 where only a launch knows
    inner: int
    units: int  # columns of the result
    left: Access  # strides are (row,) or (matrix, row); elements of a row are neighbours
    right: Access  # strides are () or (matrix,); its dtype may be narrower: NOTE [narrow weights]
    bias: Access | None
    accumulator: str  # the name of a sum, with which the epilogue begins
    loads: tuple[
        Access, ...
    ]  # of the epilogue: strides are (row, column) or (matrix, row, column), as those of the store
    operands: tuple[
        str, ...
    ]  # pointers in calling order; one may be both an operand and a load of the epilogue
    body: tuple[Statement, ...]  # the epilogue
    result: str  # the name of the value that is stored
    cut: RegisterTiles | BlockTile
    lies: OperandSteps | None = None  # None: rows of the left operand are dense, and panels packed
    # further results, of a processor, and the names of their values
    others: tuple[tuple[Access, str], ...] = ()
    joined: tuple[str, ...] = ()  # the fused groups, where maps joined that of the product

    def __post_init__(self) -> None:
        scope = Scope(self.loads)
        scope.add(self.accumulator)
        scope.run(self.body)
        scope.read([value for _, value in self.stores])
        assert not (self.reads_results and (self.batched or not self.height)), (
            "rows of a matrix end with a tile"
        )

    @property
    def stores(self) -> tuple[tuple[Access, str], ...]:
        """Every result, and the name of its value."""
        return (*self.others, (self.store, self.result))

    @property
    def groups(self) -> tuple[str, ...]:
        return self.joined or (self.name,)

    @property
    def results(self) -> int:
        return len(self.stores)

    @property
    def reads_results(self) -> bool:
        """Whether the epilogue takes what the memory of a result holds, from before the launch."""
        return any(load.alias for load in self.loads)

    @property
    def totals(self) -> Access | None:
        """The result whose memory holds sums between slices; None where tiles take all steps: see NOTE [long inner axes]."""
        if self.reads_results or not (isinstance(self.cut, RegisterTiles) and self.cut.sliced):
            return None
        return next((access for access, _ in self.stores if access.dtype == self.dtype), None)

    @property
    def steps(self) -> OperandSteps:
        """How tiles walk the operands."""
        return self.lies or OperandSteps.packed(self.inner, self.cut.panel)

    @property
    def in_matrix_tiles(self) -> bool:
        """Whether registers of matrices compute it: NOTE [matrix tiles]."""
        return self.right.dtype == "uint32"

    @property
    def lines(self) -> int:
        """Of columns, that a panel has in memory."""
        return lines_of_panel(self.inner, self.right.dtype)

    @property
    def batched(self) -> bool:
        """Whether the operands are stacks of matrices."""
        return len(self.store.strides) == 3

    @property
    def panels(self) -> int:
        """Panels of the weight, or of one of its matrices."""
        return -(-self.units // self.cut.panel)

    @property
    def tiles(self) -> tuple[ProductTile, ...]:
        return self.cut.tiles if isinstance(self.cut, RegisterTiles) else ()

    @property
    def by_panels(self) -> bool:
        """Whether what a launch walks are groups of panels."""
        return isinstance(self.cut, RegisterTiles) and self.cut.by_panels

    @property
    def block(self) -> BlockTile:
        assert isinstance(self.cut, BlockTile), "a product for a device has a block, see Machine.block_tile"
        return self.cut

    @property
    def accesses(self) -> tuple[Access, ...]:
        """Of everything that is read; several may be of one pointer."""
        return (self.left, self.right, *((self.bias,) if self.bias else ()), *self.loads)

    @property
    def pointers(self) -> tuple[tuple[str, str], ...]:
        return _typed(self.operands, (self,), *(access for access, _ in self.stores))

    def in_place(self, operands: Sequence[int]) -> ProductKernel | None:
        names = [self.operands[number] for number in operands]
        same = [load for load in self.loads if load.name in names]
        summed = {access.name for access in (self.left, self.right, self.bias) if access}
        fits = len(same) == len(names) and not summed.intersection(names)
        if not fits or any((a.strides, a.dtype) != (self.store.strides, self.store.dtype) for a in same):
            return None
        if self.batched or not self.height:
            return None
        loads = (replace(a, name=self.store.name, alias=a.value) if a in same else a for a in self.loads)
        rest = tuple(name for name in self.operands if name not in names)
        return replace(self, loads=tuple(loads), operands=rest)

    def reaches(self) -> list[list[Reach]] | None:
        if self.by_panels:
            return None
        steps = self.steps
        panels = (steps.panel, steps.right, 1), (self.panels, self.lines, self.cut.panel)
        rows = (self.height,) if self.batched else ()
        found: dict[str, list[Reach]] = {name: [] for name, _ in self.pointers}
        found[self.left.name].append(Reach.of_walk((*self.left.strides, steps.left), (*rows, self.inner)))
        found[self.right.name].append(Reach.of_walk((*(self.right.strides or (0,)), *panels[0]), panels[1]))
        if self.bias is not None:
            found[self.bias.name].append(Reach.of_walk((0, 1), (self.units,)))
        for access in (*self.loads, *(access for access, _ in self.stores)):
            found[access.name].append(Reach.of_walk(access.strides, (*rows, self.units)))
        return list(found.values())

    @property
    def shared_weight_bytes(self) -> int:
        return 0 if self.height else self.weight_bytes

    @property
    def weight_bytes(self) -> int:
        """Of the right operand, or of one of its matrices."""
        return self.lines * self.units * numpy.dtype(self.right.dtype).itemsize


@dataclass(frozen=True)
class ChainKernel(Kernel):
    """Products of one launch on a device: the result of each is the left operand of the next, under the name ``BETWEEN``."""

    layers: tuple[ProductKernel, ...]  # whose names of operands and values differ
    operands: tuple[str, ...]  # pointers of all layers, in calling order
    block: BlockTile

    @property
    def pointers(self) -> tuple[tuple[str, str], ...]:
        return _typed(self.operands, self.layers, self.store)


def _typed(
    names: tuple[str, ...], products: tuple[ProductKernel, ...], *stores: Access
) -> tuple[tuple[str, str], ...]:
    dtypes = {access.name: access.dtype for product in products for access in product.accesses}
    return (*((name, dtypes[name]) for name in names), *((store.name, store.dtype) for store in stores))
