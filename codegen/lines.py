"""Pieces of kernel source that all backends write alike."""

from __future__ import annotations

import re

from blockfuse.codegen.kernel import Kernel, ProductKernel, Statement

INDENT = "    "


def pointers(kernel: Kernel) -> tuple[tuple[str, str], ...]:
    """Name and dtype of every pointer parameter, the result last."""
    if isinstance(kernel, ProductKernel):
        dtypes = {
            a.name: a.dtype for a in (kernel.left, kernel.right, kernel.bias, *kernel.loads) if a is not None
        }
        return (*((name, dtypes[name]) for name in kernel.pointers), ("out", kernel.store.dtype))
    return (*((a.name, a.dtype) for a in kernel.loads), ("out", kernel.store.dtype))


def element(pointer: str) -> str:
    """The name of a loaded element: a pointer and its element need two names."""
    return "v" + pointer[1:]


def assignment(statement: Statement) -> str:
    return f"{statement.name} = {of_elements(statement.expression)}"


def of_elements(text: str) -> str:
    """An expression over pointers, read as one over their loaded elements."""
    return re.sub(r"\bx(\d+)\b", r"v\1", text)


def indented(depth: int, lines: list[str]) -> list[str]:
    return [INDENT * depth + line for line in lines]
