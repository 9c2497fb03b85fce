"""Folds over an axis that is not the last, as source: the memory of the result is the accumulator."""

from __future__ import annotations

from blockfuse.codegen.cpu.source.addresses import head, loaded, read, write
from blockfuse.codegen.kernels.loop_kernels import ColumnKernel
from blockfuse.codegen.kernels.source_lines import indented, text


def columns_source(kernel: ColumnKernel) -> str:
    flat = len(kernel.extents) == 1
    folded = kernel.extents[0]
    walk, indices, target = ("r", ("r", "f"), ("r",)) if flat else ("c", ("r", "f", "c"), ("r", "c"))
    inner_loop = f"for {walk} in range({'begin, end' if flat else kernel.extents[1]}):"
    start = write(kernel.store, target, text(kernel.fold.start))
    step = [
        f"acc = {read(kernel.store, target)}",
        *loaded(kernel.loads, indices, kernel.body),
        write(kernel.store, target, text(kernel.fold.step)),
    ]
    base = 1 if flat else 2
    lines = [head(kernel)] + ([] if flat else indented(1, ["for r in range(begin, end):"]))
    lines += indented(base, [inner_loop]) + indented(base + 1, [start])
    lines += (
        indented(base, [f"for f in range({folded}):"])
        + indented(base + 1, [inner_loop])
        + indented(base + 2, step)
    )
    return "\n".join(lines) + "\n"
