"""Scattered sums as device source: a thread has a column of the result to itself, and adds to it in order.

NOTE [columns of scatters]
Along an axis of the domain that leads to another part of the result with every step, threads never meet: each has one place
there, and walks the other axes in their order. Where that makes few threads, several have the same place, and each of them
adds what comes to its share of the places along the axis of the first index. So no sum is made with atomics, and results can
be repeated; the price is that all of these threads read all indices, which they do at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from blockfuse.codegen.cuda.source.addresses import (
    clamped_lines,
    function,
    guarded,
    head,
    looped,
    max_rows,
    multiple,
    offset,
    read,
    seen,
    split,
    stored,
    table_offset,
    thread_of_grid,
    unsigned,
)
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage
from blockfuse.codegen.cuda.source.maps import indices
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.scatter_kernel import ScatterKernel
from blockfuse.codegen.kernels.source_lines import clamped_index, text, variable

_MIN_WALK = 16  # elements that are worth several threads
_THREADS_OF_DOMAIN = 1 << 14
_THREADS_OF_ROW = 1 << 8


@dataclass(frozen=True)
class _Cut:
    """How a scatter is shared out; its accesses have strides for rows, which are 0 where rows are places."""

    kernel: ScatterKernel
    own: tuple[int, ...]  # axes along which a thread has one place, rows aside
    walked: tuple[int, ...]  # the others
    parts: int  # threads with the same place

    @property
    def names(self) -> tuple[str, ...]:
        return indices(len(self.kernel.extents) + 1)

    @property
    def counted(self) -> dict[str, int]:
        """Name -> size of what the number of a thread counts through, rows aside."""
        parts = {"part": self.parts} if self.parts > 1 else {}
        return parts | {self.names[axis]: self.kernel.extents[axis - 1] for axis in self.own}


def scatter_source(kernel: ScatterKernel, threads: int) -> DeviceSource:
    cut, types = _cut(kernel), kernel.pointers
    each, accesses = prod(cut.counted.values()), (cut.kernel.load, *cut.kernel.index_loads, cut.kernel.store)
    if kernel.by_place:  # the rows are as many as there are places, and so many blocks for all of them
        stage = Stage(kernel.name, threads, -(-each // threads), kernel.store.indices[0].size)
    else:
        stage = Stage(kernel.name, threads, each, threads)
    lines = [*_place_of_thread(cut, threads), *_inside(cut, 0)]
    limit = max_rows(accesses, kernel.extents)
    source = function(head(kernel.name, types), lines)
    return DeviceSource(kernel.name, source, types, (stage,), max_rows=limit)


def _cut(kernel: ScatterKernel) -> _Cut:
    """See NOTE [columns of scatters]."""
    kernel = _with_rows(kernel) if kernel.by_place else kernel
    axes = range(1, len(kernel.extents) + 1)
    own = tuple(axis for axis in axes if kernel.store.strides[axis])
    walked = tuple(axis for axis in axes if axis not in own)
    parts = 1
    if prod(kernel.extents[axis - 1] for axis in walked) >= _MIN_WALK:
        wanted = _THREADS_OF_DOMAIN if kernel.by_place else _THREADS_OF_ROW
        columns = prod(kernel.extents[axis - 1] for axis in own)
        parts = max(1, min(kernel.store.indices[0].size, wanted // columns))
    return _Cut(kernel, own, walked, parts)


def _with_rows(kernel: ScatterKernel) -> ScatterKernel:
    def moved(access: Access) -> Access:
        return replace(access, strides=(0, *access.strides))

    loads = tuple(map(moved, kernel.index_loads))
    return replace(kernel, load=moved(kernel.load), index_loads=loads, store=moved(kernel.store))


def _place_of_thread(cut: _Cut, threads: int) -> list[str]:
    names, sizes = list(cut.counted), list(cut.counted.values())
    count = unsigned(prod(sizes)) if cut.kernel.by_place else multiple("rows", prod(sizes))
    lines = [f"n = {thread_of_grid(threads)}", f"if n >= {count}:", "    return"]
    if not cut.kernel.by_place:
        names, sizes = [cut.names[0], *names], [0, *sizes]
    return [*lines, *split("n", names, sizes[1:])] if names else lines


def _inside(cut: _Cut, depth: int) -> list[str]:
    """What is done inside of the first ``depth`` loops: places that are known there, then the other loops."""
    known = [load for load in cut.kernel.index_loads if _depth(cut, load) == depth]
    lines = [line for load in known for line in _place(cut, load)]
    if depth == len(cut.walked):
        inner = _step(cut)
    else:
        axis = cut.walked[depth]
        name, extent = cut.names[axis], cut.kernel.extents[axis - 1]
        step = f"step{axis}"
        inner = looped(step, extent, [f"{name} = uint32({step})", *_inside(cut, depth + 1)])
    if cut.parts > 1 and cut.kernel.index_loads[0] in known:
        place = clamped_index(cut.kernel.store.indices[0])
        inner = guarded(f"uint32(uint32({place}) % {unsigned(cut.parts)}) == part", inner)
    return [*lines, *inner]


def _depth(cut: _Cut, load: Access) -> int:
    """How many loops must be entered until it is known what is loaded."""
    return max((depth for depth, axis in enumerate(cut.walked, 1) if load.strides[axis]), default=0)


def _place(cut: _Cut, load: Access) -> list[str]:
    (index,) = (i for i in cut.kernel.store.indices if i.name == load.name)
    return clamped_lines(index, read(load, offset(cut.names, load.strides)))


def _step(cut: _Cut) -> list[str]:
    kernel = cut.kernel
    element = f"out[{table_offset(cut.names, kernel.store)}]"
    return [
        *[f"acc = {seen(element, kernel.store.dtype)}"] * kernel.adds,
        f"{variable(kernel.load.name)} = {read(kernel.load, offset(cut.names, kernel.load.strides))}",
        f"{element} = {stored(text(kernel.step), kernel.store.dtype)}",
    ]
