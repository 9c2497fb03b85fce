"""The kernel of scans: each element of a line joined with all before it.

NOTE [scans]
Elements are joined one after the other, as NumPy joins them, so results are NumPy's bits whoever has which lines. Where
neighbours in memory belong to different lines, as along the first axis of a matrix, these lines are the innermost loop: its
elements do not wait for each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from blockfuse.codegen.kernels.expression import Term
from blockfuse.codegen.kernels.kernel import Access, Kernel, Reach, Scope


@dataclass(frozen=True)
class ScanKernel(Kernel):
    """Each element of a line joined with all before it. Strides are those of rows, of the line, and of ``inner`` lines."""

    extent: int  # elements of a line
    inner: tuple[int, ...]  # how many lines a row has, as one axis; () where it is one
    load: Access
    first: Term  # the first element, over that of the load
    step: Term  # what ``acc``, the element before, becomes

    def __post_init__(self) -> None:
        scope = Scope((self.load,))
        scope.read(self.first.names)
        scope.add("acc")
        scope.read(self.step.names)

    @property
    def extents(self) -> tuple[int, ...]:
        return (self.extent, *self.inner)

    @property
    def rows_are_neighbours(self) -> bool:
        """Whether lines of neighbouring rows lie side by side, so that these are the innermost loop."""
        across, along = self.store.strides[:2]
        return not self.inner and 0 < abs(across) < abs(along)

    @property
    def pointers(self) -> tuple[tuple[str, str], ...]:
        return tuple((access.name, access.dtype) for access in (self.load, self.store))

    def reaches(self) -> list[list[Reach]]:
        return [[Reach.of_walk(access.strides, self.extents)] for access in (self.load, self.store)]
