"""Sorts as source: for each element of a line, how many others precede it is counted, of all elements at once."""

from __future__ import annotations

from blockfuse.codegen.cpu.source.addresses import head, read, write
from blockfuse.codegen.kernels.sort_kernel import SortKernel
from blockfuse.codegen.kernels.source_lines import indented


def sort_source(kernel: SortKernel) -> str:
    above = [f'{name}_of = near_memory({kernel.extent}, "{dtype}")' for name, dtype in _near(kernel).items()]
    lines = _line(kernel)
    for loop in (*(f"for k in range({n}):" for n in kernel.inner), "for i in range(begin, end):"):
        lines = [loop, *indented(1, lines)]
    lines = [*(f"{name} = {name}_of(out)" for name in _near(kernel)), *lines]
    return "\n".join([*above, "", head(kernel), *indented(1, lines)]) + "\n"


def _near(kernel: SortKernel) -> dict[str, str]:
    """Memory for a line; ranks are as wide as elements, so that vectors of both have as many lanes."""
    wide = "int64" if kernel.held.endswith("64") else "int32"
    return {"line": kernel.held, "ranks": wide, "order": wide}


def _line(kernel: SortKernel) -> list[str]:
    """See NOTE [sorts]."""
    n, rank = kernel.extent, _near(kernel)["ranks"]
    loaded = f"line[j] = {kernel.held}({read(kernel.load, _walk(kernel, 'j'))})"
    later, earlier = kernel.precedes("v", "line[j]"), kernel.precedes("line[j]", "v")
    before = f"{later} | ((place < order[j]) & negated({earlier}))"
    counted = [
        "v = line[other]",
        f"place = {rank}(other)",
        f"for j in range({n}):",
        f"    ranks[j] = ranks[j] + {rank}({before})",
    ]
    element = "j" if kernel.places else "line[j]"
    value = f"{element} != 0" if kernel.store.dtype == "bool" else element
    return [
        f"for j in range({n}):",
        *indented(1, [loaded, f"ranks[j] = {rank}(0)", f"order[j] = {rank}(j)"]),
        f"for other in range({n}):",
        *indented(1, counted),
        f"for j in range({n}):",
        *indented(1, [write(kernel.store, _walk(kernel, "ranks[j]"), value)]),
    ]


def _walk(kernel: SortKernel, along: str) -> tuple[str, ...]:
    return ("i", along, *("k" for _ in kernel.inner))
