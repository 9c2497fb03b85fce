"""The kernel of scattered elements: added to those of a result that is there, or put there, at places that indices pick.

NOTE [scatters]
Elements of a domain are added to, or put at, places of the result that indices pick. Several may come to one place, and do
so in the order of the domain, as in NumPy, so results are the same bits whoever adds, and the last of them stays. No two
threads come to one place:

- where the first axis of the domain leads to another part of the result with every step, its steps are the rows of a
  launch;
- otherwise the rows are the places along the axis that the first index walks: each thread goes through the whole domain,
  and adds what belongs into its rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from blockfuse.codegen.kernels.expression import Term
from blockfuse.codegen.kernels.kernel import FAULT, SHARED_REACH, Access, Kernel, Reach, Scope


@dataclass(frozen=True)
class ScatterKernel(Kernel):
    """Elements that join those of the result, which is there before, at the places that indices pick: see NOTE [scatters].

    What the result has in ``store`` are strides for indices of 0, and the steps of each index.
    """

    by_place: bool  # whether rows are places along the axis of the first index; otherwise the first axis of the domain
    extents: tuple[int, ...]  # of the domain, without its rows
    load: Access  # of what is added or put; here and below strides are those of the domain
    index_loads: tuple[Access, ...]  # one for each index of the store
    step: Term  # what ``acc``, an element of the result, becomes

    def __post_init__(self) -> None:
        assert [load.name for load in self.index_loads] == [index.name for index in self.store.indices]
        scope = Scope((self.load, *self.index_loads))
        scope.add("acc")
        scope.read(self.step.names)

    @property
    def pointers(self) -> tuple[tuple[str, str], ...]:
        read = ((access.name, access.dtype) for access in (self.load, *self.index_loads))
        return (*read, FAULT, (self.store.name, self.store.dtype))

    def reaches(self) -> list[list[Reach]] | None:
        if self.by_place:
            return None
        walked = (Reach.of_walk(load.strides, self.extents) for load in (self.load, *self.index_loads))
        stride, low, high = Reach.of_walk(self.store.strides, self.extents)
        picked = Reach(stride, low, high + sum(i.stride * (i.size - 1) for i in self.store.indices))
        return [[reach] for reach in (*walked, SHARED_REACH, picked)]

    @property
    def has_fault(self) -> bool:
        return True

    @property
    def adds(self) -> bool:
        """Whether it reads what it changes."""
        return "acc" in self.step.names
