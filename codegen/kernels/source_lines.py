"""Pieces of kernel source that all backends write alike."""

from __future__ import annotations

import re

from blockfuse.codegen.kernels.kernel import Index, Kernel, ProductKernel, Statement, has_fault

INDENT = "    "
FAULT = ("fault", "int64")  # name and dtype of the pointer of NOTE [faults]


def pointers(kernel: Kernel) -> tuple[tuple[str, str], ...]:
    """Name and dtype of every pointer parameter, the result last."""
    if isinstance(kernel, ProductKernel):
        dtypes = {
            a.name: a.dtype for a in (kernel.left, kernel.right, kernel.bias, *kernel.loads) if a is not None
        }
        return (*((name, dtypes[name]) for name in kernel.pointers), ("out", kernel.store.dtype))
    fault = (FAULT,) * has_fault(kernel)
    return (*((a.name, a.dtype) for a in kernel.loads), *fault, ("out", kernel.store.dtype))


def element(pointer: str) -> str:
    """The name of a loaded element: a pointer and its element need two names."""
    return "v" + pointer[1:]


def place_name(index: Index) -> str:
    """The name of an index that was wrapped and clamped."""
    return "p" + index.name[1:]


def wrapped(index: Index, read: str) -> list[str]:
    """The place that an index, which ``read`` loads, names from the start of its axis, and the nearest one that there is."""
    value, place = element(index.name), place_name(index)
    whole, none, last = (f"int64({n})" for n in (index.size, 0, index.size - 1))
    return [
        f"{value} = int64({read})",
        f"{value} = {value} + select({value} < {none}, {whole}, {none})",
        f"{place} = minimum(maximum({value}, {none}), {last})",
    ]


def assignment(statement: Statement) -> str:
    return f"{statement.name} = {of_elements(statement.expression)}"


def of_elements(text: str) -> str:
    """An expression over pointers, read as one over their loaded elements."""
    return re.sub(r"\bx(\d+)\b", r"v\1", text)


def indented(depth: int, lines: list[str]) -> list[str]:
    return [INDENT * depth + line for line in lines]
