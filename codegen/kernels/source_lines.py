"""Pieces of kernel source that all backends write alike."""

from __future__ import annotations

from blockfuse.codegen.kernels.expression import Term
from blockfuse.codegen.kernels.kernel import Index, Statement

INDENT = "    "


def variable(value: str) -> str:
    """The variable of a value: a pointer and the element that is loaded from it need two names."""
    return f"v{value[1:]}" if value.startswith("x") else value


def clamped_index(index: Index) -> str:
    """The variable of an index that was wrapped and clamped."""
    return "p" + index.name[1:]


def wrapped(index: Index, read: str) -> list[str]:
    """What an index, which ``read`` loads, says from the start of its axis, and the nearest index that there is."""
    value, nearest = variable(index.name), clamped_index(index)
    whole, none, last = (f"int64({n})" for n in (index.size, 0, index.size - 1))
    return [
        f"{value} = int64({read})",
        f"{value} = {value} + select({value} < {none}, {whole}, {none})",
        f"{nearest} = minimum(maximum({value}, {none}), {last})",
    ]


def text(expression: Term) -> str:
    """An expression over local variables."""
    return expression.text(variable)


def assignment(statement: Statement) -> str:
    return f"{statement.name} = {text(statement.expression)}"


def indented(depth: int, lines: list[str]) -> list[str]:
    return [INDENT * depth + line for line in lines]
