"""Small linear algebra as source: see NOTE [elimination].

Rows are updated from a copy of the pivot's, so that LLVM knows the two apart and makes vectors.
"""

from __future__ import annotations

from blockfuse.codegen.cpu.source.addresses import head, read, write
from blockfuse.codegen.kernels.elimination_kernel import EliminationKernel
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.source_lines import indented, text, variable

_RANGE = ("float64(1e-290)", "float64(1e290)")  # of products that nothing has overflowed


def elimination_source(kernel: EliminationKernel) -> str:
    n, m = kernel.size, kernel.columns
    near = {"matrix": n * n, "pivot_row": n} | ({"largest": n, "sides": n * m, "side": m} if m else {})
    above = [f'{name}_of = near_memory({size}, "float64")' for name, size in near.items()]
    each = _solved(kernel) if m else _determined(kernel)
    lines = [*(f"{name} = {name}_of(out)" for name in near), *["singular = False"] * kernel.has_fault]
    lines += ["for i in range(begin, end):", *indented(1, each)]
    lines += ["if singular:", "    note_fault(fault)"] * kernel.has_fault
    return "\n".join([*above, "", head(kernel), *indented(1, lines)]) + "\n"


# -- with right-hand sides -----------------------------------------------------------------------------------


def _solved(kernel: EliminationKernel) -> list[str]:
    n, m = kernel.size, kernel.columns
    negligible = f"largest[k] * float64({kernel.negligible!r})"
    step = [
        *_pivot(n),
        f"singular = singular | negated(best > {negligible})",
        *_exchanged(n),
        *_loop("c", f"{m}", _swapped("side[c]", _side(m, "place"), _side(m, "k"))),
        *_eliminated(n, _subtracted(m)),
    ]
    result = f"{kernel.store.dtype}({_side(m, 'r')})"
    return [
        *_loop("c", f"{n}", ["largest[c] = float64(0)"]),
        *_copied(kernel, [f"largest[c] = maximum(largest[c], abs(matrix[r * {n} + c]))"]),
        *_each(n, m, _right(kernel)),
        *_loop("k", f"{n}", step),
        *_substituted(n, m),
        *_each(n, m, [write(kernel.store, ("i", "r", "c"), result)]),
    ]


def _right(kernel: EliminationKernel) -> list[str]:
    side = _side(kernel.columns, "r")
    if kernel.right is None or kernel.right_element is None:
        return [f"{side} = select(r == c, float64(1), float64(0))"]
    return [*_loaded(kernel.right), f"{side} = {text(kernel.right_element)}"]


def _subtracted(m: int) -> list[str]:
    return _loop("c", f"{m}", [f"{_side(m, 'r')} = multiply_add(side[c], factor, {_side(m, 'r')})"])


def _substituted(n: int, m: int) -> list[str]:
    """From the last unknown back to the first."""
    found = [f"side[c] = {_side(m, 'k')} / pivot", f"{_side(m, 'k')} = side[c]"]
    lines = [
        f"k = {n - 1} - back",
        f"pivot = matrix[k * {n} + k]",
        *_loop("c", f"{m}", found),
        *_loop("r", "k", [f"factor = -matrix[r * {n} + k]", *_subtracted(m)]),
    ]
    return _loop("back", f"{n}", lines)


def _side(m: int, row: str) -> str:
    return f"sides[{row} * {m} + c]"


# -- without -------------------------------------------------------------------------------------------------


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
    logarithms = _loop("k", f"{n}", [f"total = total + log(abs(matrix[k * {n} + k]))"])
    found = "select(none, float64(0), select(negative, -product, product))"
    return [
        *_copied(kernel, []),
        *(f"{flag} = False" for flag in ("negative", "none")),
        "held = True",
        "product = float64(1)",
        *_loop("k", f"{n}", step),
        "if negated(held):",
        *indented(1, ["total = float64(0)", *logarithms, "product = exp(total)"]),
        write(kernel.store, ("i",), f"{kernel.store.dtype}({found})"),
    ]


# -- both ----------------------------------------------------------------------------------------------------


def _copied(kernel: EliminationKernel, more: list[str]) -> list[str]:
    n = kernel.size
    return _each(n, n, [*_loaded(kernel.matrix), f"matrix[r * {n} + c] = {text(kernel.element)}", *more])


def _pivot(n: int) -> list[str]:
    """The first of the largest elements of a column from the diagonal on."""
    larger = ["if size > best:", "    best = size", "    place = r"]
    below = [f"size = abs(matrix[r * {n} + k])", *larger]
    return [f"best = abs(matrix[k * {n} + k])", "place = k", *_loop("r", f"k + 1, {n}", below)]


def _exchanged(n: int) -> list[str]:
    """The pivot's row changes places with that of its column."""
    rows = (f"matrix[{row} * {n} + c]" for row in ("place", "k"))
    return _loop("c", f"k, {n}", _swapped("pivot_row[c]", *rows))


def _swapped(copy: str, one: str, other: str) -> list[str]:
    """copy: keeps the first."""
    return [f"{copy} = {one}", f"{one} = {other}", f"{other} = {copy}"]


def _eliminated(n: int, more: list[str]) -> list[str]:
    """The rows below lose what the pivot's row explains."""
    element = f"matrix[r * {n} + c]"
    row = [
        f"factor = -(matrix[r * {n} + k] / pivot)",
        *_loop("c", f"k + 1, {n}", [f"{element} = multiply_add(pivot_row[c], factor, {element})"]),
    ]
    return ["pivot = pivot_row[k]", *_loop("r", f"k + 1, {n}", [*row, *more])]


def _loaded(load: Access) -> list[str]:
    return [f"{variable(load.name)} = {read(load, ('i', 'r', 'c'))}"]


def _each(rows: int, columns: int, lines: list[str]) -> list[str]:
    return _loop("r", f"{rows}", _loop("c", f"{columns}", lines))


def _loop(index: str, extent: str, lines: list[str]) -> list[str]:
    return [f"for {index} in range({extent}):", *indented(1, lines)]
