"""Folds over an axis that is not the last, as source: the memory of the result is the accumulator."""

from __future__ import annotations

from blockfuse.codegen.cpu.source.addresses import head, loaded, read, write
from blockfuse.codegen.kernels.expression import called
from blockfuse.codegen.kernels.loop_kernels import ColumnKernel
from blockfuse.codegen.kernels.source_lines import indented, text
from blockfuse.ir.types import DTYPES

# Elements of a column that are folded while the accumulator is in a register. 512 x 784 on one core with AVX2: 38 us one by
# one, 25 so, 29 with eight. Functions fill the registers: tanh of one matrix times sigmoid of another 335 us and 724.
_STEPS = 4
_OF_FUNCTIONS = 1  # the same where what is folded calls functions
_PLAIN = {"select", "maximum", "minimum", "relu", "abs", "truth", "negated", *DTYPES}


def columns_source(kernel: ColumnKernel) -> str:
    flat, folded = len(kernel.extents) == 1, kernel.extents[0]
    rows = [] if flat else ["for r in range(begin, end):"]
    steps = _STEPS if _is_plain(kernel) else _OF_FUNCTIONS
    whole = folded - folded % steps
    start = write(kernel.store, _target(kernel), text(kernel.fold.start))
    lines = [
        *_across(kernel, [start]),
        *(_down(kernel, 0, whole, steps) if whole else []),
        *(_down(kernel, whole, folded, folded - whole) if whole < folded else []),
    ]
    return "\n".join([head(kernel), *indented(1, rows), *indented(1 + len(rows), lines)]) + "\n"


def _is_plain(kernel: ColumnKernel) -> bool:
    """Whether what is folded calls no function that is more than an instruction or two."""
    templates = (template for s in kernel.body for template in s.expression.templates)
    return all(_PLAIN.issuperset(called(template)) for template in templates)


def _target(kernel: ColumnKernel) -> tuple[str, ...]:
    return ("r",) if len(kernel.extents) == 1 else ("r", "c")


def _across(kernel: ColumnKernel, lines: list[str]) -> list[str]:
    """Something for each column."""
    column, *inner = _target(kernel)[::-1]
    columns = str(kernel.extents[1]) if inner else "begin, end"
    return [f"for {column} in range({columns}):", *indented(1, lines)]


def _down(kernel: ColumnKernel, first: int, end: int, steps: int) -> list[str]:
    """Elements ``first`` to ``end`` of all columns, so many of a column at once."""
    row, *inner = _target(kernel)
    one = [
        *loaded(kernel.loads, (row, "f", *inner), kernel.body),
        f"acc = {text(kernel.fold.step)}",
    ]
    if steps > 1:
        one = [f"for step in range({steps}):", *indented(1, ["f = first + step", *one])]
    acc = [f"acc = {read(kernel.store, _target(kernel))}"]
    walk = f"for {'first' if steps > 1 else 'f'} in range({first}, {end}, {steps}):"
    return [walk, *indented(1, _across(kernel, [*acc, *one, write(kernel.store, _target(kernel), "acc")]))]
