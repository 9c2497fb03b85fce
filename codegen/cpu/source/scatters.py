"""Scattered sums as source: loops over the domain, each index looked at in the innermost loop that changes it."""

from __future__ import annotations

from blockfuse.codegen.cpu.source.addresses import head, read, write
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.scatter_kernel import ScatterKernel
from blockfuse.codegen.kernels.source_lines import clamped_index, indented, text, variable, wrapped


def scatter_source(kernel: ScatterKernel) -> str:
    extents = tuple(map(str, kernel.extents))
    loops = extents if kernel.by_place else ("begin, end", *extents)
    walk = tuple("ijkl"[n] if n < 4 else f"i{n}" for n in range(len(loops)))
    return "\n".join([head(kernel), *indented(1, _inside(kernel, walk, loops, 0))]) + "\n"


def _inside(kernel: ScatterKernel, walk: tuple[str, ...], loops: tuple[str, ...], depth: int) -> list[str]:
    """What is done inside of the first ``depth`` loops: places that are known there, then the other loops.

    Where rows are places, others' elements are left out as soon as that is known.
    """
    known = [load for load in kernel.index_loads if _depth(load) == depth]
    lines = [line for load in known for line in _place(kernel, load, walk)]
    if depth == len(walk):
        inner = _step(kernel, walk)
    else:
        inner = [f"for {walk[depth]} in range({loops[depth]}):"]
        inner += indented(1, _inside(kernel, walk, loops, depth + 1))
    if kernel.by_place and kernel.index_loads[0] in known:
        place = clamped_index(kernel.store.indices[0])
        inner = [f"if (begin <= {place}) & ({place} < end):", *indented(1, inner)]
    return [*lines, *inner]


def _depth(load: Access) -> int:
    """How many loops must be entered until it is known what is loaded."""
    return max((depth for depth, stride in enumerate(load.strides, 1) if stride), default=0)


def _place(kernel: ScatterKernel, load: Access, walk: tuple[str, ...]) -> list[str]:
    """An index as the nearest one that there is: see NOTE [faults]."""
    (index,) = (i for i in kernel.store.indices if i.name == load.name)
    beyond_axis = f"{clamped_index(index)} != {variable(index.name)}"
    return [*wrapped(index, read(load, walk)), f"if {beyond_axis}:", *indented(1, ["note_fault(fault)"])]


def _step(kernel: ScatterKernel, walk: tuple[str, ...]) -> list[str]:
    return [
        *[f"acc = {read(kernel.store, walk)}"] * kernel.adds,
        f"{variable(kernel.load.name)} = {read(kernel.load, walk)}",
        write(kernel.store, walk, text(kernel.step)),
    ]
