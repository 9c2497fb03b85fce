"""Gaussian elimination as source: see NOTE [elimination].

Rows are updated from a copy of the pivot's, so that LLVM knows the two apart and makes vectors.
"""

from __future__ import annotations

from collections.abc import Callable

from blockfuse.codegen.cpu.source.addresses import write
from blockfuse.codegen.cpu.source.cholesky import cholesky_source
from blockfuse.codegen.cpu.source.matrices import copied, loop, over, over_matrices, right_sides
from blockfuse.codegen.cpu.source.reflections import reflections_source
from blockfuse.codegen.cpu.source.triangles import substituted, triangle_source
from blockfuse.codegen.kernels.elimination_kernel import EliminationKernel
from blockfuse.codegen.kernels.source_lines import indented
from blockfuse.ir.lowering import Eliminated

_RANGE = ("float64(1e-290)", "float64(1e290)")  # of products that nothing has overflowed


def elimination_source(kernel: EliminationKernel) -> str:
    return _SOURCE[kernel.result](kernel)


# -- with right-hand sides -----------------------------------------------------------------------------------


def _solution_source(kernel: EliminationKernel) -> str:
    n, m = kernel.extents
    near = {"matrix": n * n, "pivot_row": n, "largest": n, "sides": n * m, "side": m}
    return over_matrices(kernel, near, _solved(kernel))


def _solved(kernel: EliminationKernel) -> list[str]:
    n, m = kernel.extents
    negligible = f"largest[k] * float64({kernel.negligible!r})"
    step = [
        *_pivot(n),
        f"doubtful = doubtful | negated(best > {negligible})",
        *_exchanged(n),
        *loop("c", f"{m}", _swapped("side[c]", f"sides[place * {m} + c]", f"sides[k * {m} + c]")),
        *_eliminated(n, _subtracted(m)),
    ]
    return [
        *loop("c", f"{n}", ["largest[c] = float64(0)"]),
        *copied(kernel, [f"largest[c] = maximum(largest[c], abs(matrix[r * {n} + c]))"]),
        *right_sides(kernel),
        *loop("k", f"{n}", step),
        *substituted(n, m, lower=False),
        *over(n, m, [write(kernel.store, ("i", "r", "c"), f"{kernel.store.dtype}(sides[r * {m} + c])")]),
    ]


def _subtracted(m: int) -> list[str]:
    side = f"sides[r * {m} + c]"
    return loop("c", f"{m}", [f"{side} = multiply_add(side[c], factor, {side})"])


# -- without -------------------------------------------------------------------------------------------------


def _determinant_source(kernel: EliminationKernel) -> str:
    n = kernel.size
    return over_matrices(kernel, {"matrix": n * n, "pivot_row": n}, _determined(kernel))


def _determined(kernel: EliminationKernel) -> list[str]:
    """The product of the pivots; where it leaves the range of the dtype on the way, by logarithms, as NumPy."""
    n, (low, high) = kernel.size, _RANGE
    step = [
        *_pivot(n),
        *_exchanged(n),
        *_eliminated(n, []),
        "negative = negative ^ (pivot < 0) ^ (place != k)",
        "product = product * best",
        f"held = held & (product > {low}) & (product < {high})",
        "none = none | (best == 0)",
    ]
    logarithms = loop("k", f"{n}", [f"total = total + log(abs(matrix[k * {n} + k]))"])
    found = "select(none, float64(0), select(negative, -product, product))"
    return [
        *copied(kernel, []),
        *(f"{flag} = False" for flag in ("negative", "none")),
        "held = True",
        "product = float64(1)",
        *loop("k", f"{n}", step),
        "if negated(held):",
        *indented(1, ["total = float64(0)", *logarithms, "product = exp(total)"]),
        write(kernel.store, ("i",), f"{kernel.store.dtype}({found})"),
    ]


# -- both ----------------------------------------------------------------------------------------------------


def _pivot(n: int) -> list[str]:
    """The first of the largest elements of a column from the diagonal on."""
    larger = ["if size > best:", "    best = size", "    place = r"]
    below = [f"size = abs(matrix[r * {n} + k])", *larger]
    return [f"best = abs(matrix[k * {n} + k])", "place = k", *loop("r", f"k + 1, {n}", below)]


def _exchanged(n: int) -> list[str]:
    """The pivot's row changes places with that of its column."""
    rows = (f"matrix[{row} * {n} + c]" for row in ("place", "k"))
    return loop("c", f"k, {n}", _swapped("pivot_row[c]", *rows))


def _swapped(copy: str, one: str, other: str) -> list[str]:
    """copy: keeps the first."""
    return [f"{copy} = {one}", f"{one} = {other}", f"{other} = {copy}"]


def _eliminated(n: int, more: list[str]) -> list[str]:
    """The rows below lose what the pivot's row explains."""
    element = f"matrix[r * {n} + c]"
    row = [
        f"factor = -(matrix[r * {n} + k] / pivot)",
        *loop("c", f"k + 1, {n}", [f"{element} = multiply_add(pivot_row[c], factor, {element})"]),
    ]
    return ["pivot = pivot_row[k]", *loop("r", f"k + 1, {n}", [*row, *more])]


_SOURCE: dict[Eliminated, Callable[[EliminationKernel], str]] = {
    Eliminated.DETERMINANT: _determinant_source,
    Eliminated.INVERSE: _solution_source,
    Eliminated.SOLUTION: _solution_source,
    Eliminated.LOWER: lambda kernel: triangle_source(kernel, lower=True),
    Eliminated.UPPER: lambda kernel: triangle_source(kernel, lower=False),
    Eliminated.CHOLESKY: cholesky_source,
    Eliminated.QR: reflections_source,
}
