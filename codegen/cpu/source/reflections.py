"""Orthogonal factors and triangles as source, by Householder's reflections: see NOTE [elimination].

A reflection is ``1 - tau * v * v.T``. Its ``v`` begins with 1 and lies in the column of the matrix that it clears, below the
diagonal. The identity stands beside the matrix: the reflections are applied to the matrix as they are found, and to the
identity in turned order, which gives the orthogonal factor. Both are the same lines, since each costs time to compile.
Rows are updated as a whole, so that LLVM makes vectors along them.
"""

from __future__ import annotations

from blockfuse.codegen.cpu.source.addresses import write
from blockfuse.codegen.cpu.source.matrices import copied, loop, over, over_matrices
from blockfuse.codegen.kernels.elimination_kernel import EliminationKernel
from blockfuse.codegen.kernels.source_lines import indented

_SCALES = ("float64(1e-120)", "float64(1e120)")  # of columns whose squares stay in range
_SMALLEST = "float64(1e-280)"  # of a sum of squares none of which has vanished


def reflections_source(kernel: EliminationKernel) -> str:
    """The elements of the orthogonal factor, and after them those of the triangle."""
    (m, n), count = kernel.shape, min(kernel.shape)
    near = {"matrix": m * (n + count), "largest": n, "taus": count, "product": n + count}
    return over_matrices(kernel, near, _factored(kernel))


def _factored(kernel: EliminationKernel) -> list[str]:
    (m, n), count = kernel.shape, min(kernel.shape)
    width, dtype = n + count, kernel.store.dtype
    factor = f"matrix[r * {width} + {n} + c]"
    triangle = f"{dtype}(select(c < r, float64(0), matrix[r * {width} + c]))"
    noted = [f"largest[c] = maximum(largest[c], abs(matrix[r * {width} + c]))"]
    return [
        *loop("c", f"{n}", ["largest[c] = float64(0)"]),
        *copied(kernel, noted, width),
        *over(m, count, [f"{factor} = select(r == c, float64(1), float64(0))"]),
        "rounded = False",
        *loop("turn", f"{2 * count}", _turn(kernel)),
        *over(
            m, count, [f"place = r * {count} + c", write(kernel.store, ("i", "place"), f"{dtype}({factor})")]
        ),
        *over(
            count, n, [f"place = {m * count} + r * {n} + c", write(kernel.store, ("i", "place"), triangle)]
        ),
    ]


def _turn(kernel: EliminationKernel) -> list[str]:
    """A reflection, found and applied to the columns after its own, or applied to the identity."""
    (_, n), count = kernel.shape, min(kernel.shape)
    return [
        f"if turn < {count}:",
        *indented(1, ["k = turn", *_found(kernel), "start = turn + 1", f"stop = {n}"]),
        "else:",
        *indented(1, [f"k = {2 * count - 1} - turn", f"start = {n} + k", f"stop = {n + count}"]),
        "if taus[k] != 0:",
        *indented(1, _applied(kernel)),
    ]


def _found(kernel: EliminationKernel) -> list[str]:
    """The reflection that clears a column below the diagonal."""
    (m, n), count = kernel.shape, min(kernel.shape)
    below, diagonal = f"matrix[r * {n + count} + k]", f"matrix[k * {n + count} + k]"
    summed = [f"total = multiply_add({below}, {below}, total)", f"present = present | ({below} != 0)"]
    reflected = [
        "norm = sqrt(multiply_add(first, first, total))",
        "end_point = select((first < 0) | (1 / first < 0), norm, -norm)",
        "taus[k] = (end_point - first) / end_point",
        *loop("r", f"k + 1, {m}", [f"{below} = {below} / (first - end_point)"]),
        f"{diagonal} = end_point",
        "rounded = True",
    ]
    return [
        f"first = {diagonal}",
        "total = float64(0)",
        "present = False",
        *loop("r", f"k + 1, {m}", summed),
        *_doubts(kernel),
        "taus[k] = float64(0)",
        "if total != 0:",
        *indented(1, reflected),
    ]


def _doubts(kernel: EliminationKernel) -> list[str]:
    """Extreme numbers, or a sign that rounding may have made; a column of zeros remains one."""
    (m, _), (low, high) = kernel.shape, _SCALES
    scale = f"largest[k] * float64({kernel.negligible!r})"
    near = f"negated((abs(first) > {scale}) & (sqrt(total) > {scale}))"
    return [
        "zeros = largest[k] == 0",
        f"doubtful = doubtful | negated(zeros | ((largest[k] > {low}) & (largest[k] < {high})))",
        f"doubtful = doubtful | (present & negated(total > {_SMALLEST}))",
        f"doubtful = doubtful | (rounded & (k < {m - 1}) & {near} & negated(zeros))",
    ]


def _applied(kernel: EliminationKernel) -> list[str]:
    """The ``k``-th reflection, to the columns from ``start`` to ``stop``."""
    m, width = kernel.shape[0], kernel.size + min(kernel.shape)
    top, row, columns = f"matrix[k * {width} + c]", f"matrix[r * {width} + c]", "start, stop"
    v = f"v = matrix[r * {width} + k]"
    summed = loop("c", columns, [f"product[c] = multiply_add({row}, v, product[c])"])
    changed = loop("c", columns, [f"{row} = multiply_add(product[c], v, {row})"])
    return [
        *loop("c", columns, [f"product[c] = {top}"]),
        *loop("r", f"k + 1, {m}", [v, *summed]),
        *loop("c", columns, ["product[c] = -(product[c] * taus[k])", f"{top} = {top} + product[c]"]),
        *loop("r", f"k + 1, {m}", [v, *changed]),
    ]
