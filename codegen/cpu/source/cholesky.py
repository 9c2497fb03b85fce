"""Cholesky's factors as source: see NOTE [elimination].

A column stands in memory of its own while it updates what is right of it, so that LLVM makes vectors.
"""

from __future__ import annotations

from blockfuse.codegen.cpu.source.addresses import write
from blockfuse.codegen.cpu.source.matrices import copied, loop, over, over_matrices
from blockfuse.codegen.kernels.elimination_kernel import EliminationKernel


def cholesky_source(kernel: EliminationKernel) -> str:
    """Only the lower triangle is looked at."""
    n = kernel.size
    found = f"{kernel.store.dtype}(select(c > r, float64(0), matrix[r * {n} + c]))"
    each = [
        *copied(kernel, []),
        *loop("k", f"{n}", [f"diagonal[k] = matrix[k * {n} + k]"]),
        *loop("k", f"{n}", _column(kernel)),
        *over(n, n, [write(kernel.store, ("i", "r", "c"), found)]),
    ]
    return over_matrices(kernel, {"matrix": n * n, "diagonal": n, "column": n}, each)


def _column(kernel: EliminationKernel) -> list[str]:
    n = kernel.size
    scaled = [f"column[r] = matrix[r * {n} + k] / root", f"matrix[r * {n} + k] = column[r]"]
    element = f"matrix[r * {n} + c]"
    explained = loop("c", "k + 1, r + 1", [f"{element} = multiply_add(column[c], factor, {element})"])
    return [
        f"pivot = matrix[k * {n} + k]",
        f"doubtful = doubtful | negated(pivot > diagonal[k] * float64({kernel.negligible!r}))",
        "root = sqrt(pivot)",
        f"matrix[k * {n} + k] = root",
        *loop("r", f"k + 1, {n}", scaled),
        *loop("r", f"k + 1, {n}", ["factor = -column[r]", *explained]),
    ]
