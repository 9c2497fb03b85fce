"""Substitution as source: equations whose matrix is a triangle, one unknown after the other."""

from __future__ import annotations

from blockfuse.codegen.cpu.source.addresses import write
from blockfuse.codegen.cpu.source.matrices import copied, loop, over, over_matrices, right_sides
from blockfuse.codegen.kernels.elimination_kernel import EliminationKernel

_RANGE = ("float64(1e-290)", "float64(1e290)")  # of what can be divided by, whatever comes of it


def triangle_source(kernel: EliminationKernel, lower: bool) -> str:
    """The other triangle is not looked at. See NOTE [elimination]."""
    n, m = kernel.extents
    size, (low, high) = f"abs(matrix[k * {n} + k])", _RANGE
    each = [
        *copied(kernel, []),
        *right_sides(kernel),
        *loop("k", f"{n}", [f"doubtful = doubtful | negated(({size} > {low}) & ({size} < {high}))"]),
        *substituted(n, m, lower),
        *over(n, m, [write(kernel.store, ("i", "r", "c"), f"{kernel.store.dtype}(sides[r * {m} + c])")]),
    ]
    return over_matrices(kernel, {"matrix": n * n, "sides": n * m, "side": m}, each)


def substituted(n: int, m: int, lower: bool) -> list[str]:
    """``sides`` become the unknowns; from the first to the last one, or from the last to the first."""
    found = [f"side[c] = sides[k * {m} + c] / pivot", f"sides[k * {m} + c] = side[c]"]
    side = f"sides[r * {m} + c]"
    rest = loop("c", f"{m}", [f"{side} = multiply_add(side[c], factor, {side})"])
    lines = [
        f"pivot = matrix[k * {n} + k]",
        *loop("c", f"{m}", found),
        *loop("r", f"k + 1, {n}" if lower else "k", [f"factor = -matrix[r * {n} + k]", *rest]),
    ]
    return loop("k", f"{n}", lines) if lower else loop("back", f"{n}", [f"k = {n - 1} - back", *lines])
