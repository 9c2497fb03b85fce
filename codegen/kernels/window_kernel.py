"""The kernel of a convolution: the product of windows, read where they are seen, with a packed weight."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from blockfuse.codegen.kernels.kernel import Access, Kernel, Reach, Scope, Statement
from blockfuse.codegen.kernels.product_cuts import ProductTile


def goes_on(accesses: tuple[Access, ...], height: int) -> bool:
    """Whether a line of each begins where the one before ends."""
    return all(a.strides[0] == height * a.strides[1] for a in accesses)


@dataclass(frozen=True)
class WindowKernel(Kernel):
    """``left (lines, rows, inner)`` times panels of a packed weight, plus a bias, then the epilogue.

    NOTE [windows in tiles]
    Rows of a tile are windows side by side, a stride apart. The inner axis is that of a window: taps that are neighbours
    in memory as in the weight are one axis, others are loops around it. So windows that overlap are read from the same
    lines of the cache, and nothing is copied. Where the epilogue reads and writes line after line, a tile goes on from
    one line to the next, so that no line has to be a multiple of its rows. The rows of a launch are what is outermost:
    items of a batch, or lines of an image where there is one item; what stands between them and the rows of tiles are
    ``extents``. Groups are one more loop around panels: a group has steps, panels and columns of its own.
    """

    dtype: str  # of the sums
    extents: tuple[int, ...]  # of lines within a row of the launch
    height: int  # windows of a line
    inner: tuple[int, ...]  # of each axis that is summed
    along: tuple[int, ...]  # from one step of each to the next, in the left operand
    channel_groups: int
    apart: int  # from one group to the next, in the left operand
    units: int  # columns of a group
    left: Access  # strides are (row of the launch, *extents, window)
    right: Access  # panels stand one behind the other
    bias: Access | None
    accumulator: str  # the name of a sum, with which the epilogue begins
    loads: tuple[Access, ...]  # of the epilogue: strides are (line, window, column), as those of the store
    operands: tuple[str, ...]  # pointers in calling order
    body: tuple[Statement, ...]  # the epilogue
    result: str  # the name of the value that is stored
    tile: ProductTile
    crosses: bool  # whether tiles go on from a line to the next, of the last extent or, where there is none, of the launch

    def __post_init__(self) -> None:
        assert not self.crosses or goes_on((*self.loads, self.store), self.height)
        scope = Scope(self.loads)
        scope.add(self.accumulator)
        scope.run(self.body)
        scope.read([self.result])

    @property
    def lines(self) -> int:
        """Of a row of the launch."""
        return prod(self.extents)

    @property
    def columns(self) -> int:
        """Of the result."""
        return self.channel_groups * self.units

    @property
    def panels(self) -> int:
        """Of a group."""
        return -(-self.units // self.tile.panel)

    @property
    def tiles(self) -> tuple[ProductTile, ...]:
        return (self.tile,)

    @property
    def accesses(self) -> tuple[Access, ...]:
        """Of everything that is read; several may be of one pointer."""
        return (self.left, self.right, *((self.bias,) if self.bias else ()), *self.loads)

    @property
    def pointers(self) -> tuple[tuple[str, str], ...]:
        dtypes = {access.name: access.dtype for access in self.accesses}
        return (*((name, dtypes[name]) for name in self.operands), (self.store.name, self.store.dtype))

    def reaches(self) -> list[list[Reach]]:
        found: dict[str, list[Reach]] = {name: [] for name, _ in self.pointers}
        walk = (
            (*self.left.strides, self.apart, *self.along),
            (*self.extents, self.height, self.channel_groups, *self.inner),
        )
        found[self.left.name].append(Reach.of_walk(*walk))
        weight = self.channel_groups * self.panels * prod(self.inner) * self.tile.panel
        found[self.right.name].append(Reach.of_walk((0, 1), (weight,)))
        if self.bias is not None:
            found[self.bias.name].append(Reach.of_walk((0, 1), (self.columns,)))
        for access in (*self.loads, self.store):
            line = access.strides[0]
            of_row = (line * self.lines, line, *access.strides[1:])
            found[access.name].append(Reach.of_walk(of_row, (self.lines, self.height, self.columns)))
        return list(found.values())
