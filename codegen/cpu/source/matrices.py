"""Pieces of source that all small linear algebra has: loops over a matrix in near memory, and what fills it."""

from __future__ import annotations

from blockfuse.codegen.cpu.source.addresses import head, read
from blockfuse.codegen.kernels.elimination_kernel import EliminationKernel
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.source_lines import indented, text, variable


def over_matrices(kernel: EliminationKernel, near: dict[str, int], each: list[str]) -> str:
    """The source of a kernel that does ``each`` to the ``i``-th matrix; near: float64 of near memory by their names.

    Where the kernel has a fault, ``each`` sets ``doubtful``.
    """
    above = [f'{name}_of = near_memory({size}, "float64")' for name, size in near.items()]
    lines = [*(f"{name} = {name}_of(out)" for name in near), *["doubtful = False"] * kernel.has_fault]
    lines += ["for i in range(begin, end):", *indented(1, each)]
    lines += ["if doubtful:", "    note_fault(fault)"] * kernel.has_fault
    return "\n".join([*above, "", head(kernel), *indented(1, lines)]) + "\n"


def copied(kernel: EliminationKernel, more: list[str], width: int = 0) -> list[str]:
    """The matrix, in near memory; more: with each element ``(r, c)``; width: from row to row, if not that of a matrix."""
    rows, columns = kernel.shape
    element = [
        *loaded(kernel.matrix, ("i", "r", "c")),
        f"matrix[r * {width or columns} + c] = {text(kernel.element)}",
    ]
    return over(rows, columns, [*element, *more])


def right_sides(kernel: EliminationKernel) -> list[str]:
    """The right-hand sides, in near memory: where there are none, the identity."""
    rows, columns = kernel.extents
    side = f"sides[r * {columns} + c]"
    if kernel.right is None or kernel.right_element is None:
        return over(rows, columns, [f"{side} = select(r == c, float64(1), float64(0))"])
    return over(
        rows, columns, [*loaded(kernel.right, ("i", "r", "c")), f"{side} = {text(kernel.right_element)}"]
    )


def loaded(load: Access, indices: tuple[str, ...]) -> list[str]:
    return [f"{variable(load.name)} = {read(load, indices)}"]


def over(rows: int, columns: int, lines: list[str]) -> list[str]:
    return loop("r", f"{rows}", loop("c", f"{columns}", lines))


def loop(index: str, extent: str, lines: list[str]) -> list[str]:
    return [f"for {index} in range({extent}):", *indented(1, lines)]
