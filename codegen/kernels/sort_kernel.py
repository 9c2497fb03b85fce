"""The kernel of sorts: each line of an axis in rising order.

NOTE [sorts]
An element comes to the place that as many others precede: smaller ones, and of equal ones those that stand before it. So the
sort is stable, and with nan behind all numbers it is NumPy's, whoever sorts. Nothing depends on how a comparison ends, so
vectors and threads count many elements at once; but the work grows with the square of the line, so long ones are NumPy's.
"""

from __future__ import annotations

from dataclasses import dataclass

from blockfuse.codegen.kernels.kernel import Access, Kernel, Reach


@dataclass(frozen=True)
class SortKernel(Kernel):
    """The elements of lines in rising order, or where they stood. Strides are those of ``ScanKernel``."""

    extent: int  # elements of a line
    inner: tuple[int, ...]  # how many lines a row has, as one axis; () where it is one
    load: Access
    places: bool  # whether the result is where the elements stood

    @property
    def extents(self) -> tuple[int, ...]:
        return (self.extent, *self.inner)

    @property
    def pointers(self) -> tuple[tuple[str, str], ...]:
        return tuple((access.name, access.dtype) for access in (self.load, self.store))

    def reaches(self) -> list[list[Reach]]:
        return [[Reach.of_walk(access.strides, self.extents)] for access in (self.load, self.store)]

    @property
    def held(self) -> str:
        """The dtype in which near memory has elements: it knows no bool."""
        return "uint8" if self.load.dtype == "bool" else self.load.dtype

    def precedes(self, one: str, other: str) -> str:
        """Whether an element is smaller than another one, as source."""
        smaller = f"({one} < {other})"
        return (
            f"({smaller} | (({other} != {other}) & ({one} == {one})))"
            if self.held.startswith("float")
            else smaller
        )
