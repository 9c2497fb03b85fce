"""The constants that Python numbers become, kept for the next time: a loop takes the same numbers round after round."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from blockfuse.ir.graph import Node
from blockfuse.ir.operator import Operator

_MAX_KNOWN = 4096  # calls: a number that counts rounds is another one each time


class Literals:
    """Those of one recording. Each call has nodes of its own, which share the array that they hold."""

    def __init__(self) -> None:
        # an operator with the dtypes and the numbers among its operands -> the constants, None for what is no number
        self._known: dict[Hashable, tuple[Node | None, ...]] = {}

    def among(self, operator: Operator, operands: Sequence[Any]) -> tuple[Node, ...] | None:
        """The operands as nodes, if numbers like these were among others like these before."""
        known = self._known.get(_key(operator, operands))
        if known is None:
            return None
        pairs = zip(operands, known, strict=True)
        return tuple(o if n is None else Node(n.operator, (), n.attrs, n.type) for o, n in pairs)

    def keep(self, operator: Operator, operands: Sequence[Any], nodes: tuple[Node, ...]) -> None:
        """Remember what became of operands."""
        key = _key(operator, operands)
        if key is None:
            return
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        pairs = zip(operands, nodes, strict=True)
        self._known[key] = tuple(None if type(o) is Node else n for o, n in pairs)


def _key(operator: Operator, operands: Sequence[Any]) -> Hashable:
    """What decides which constants numbers become; None where there are other things than numbers."""
    key: list[Hashable] = [operator]
    for operand in operands:
        kind = type(operand)
        if kind is Node:
            key.append(operand.type.dtype)
        elif kind is float:
            key.append((kind, operand if operand else repr(operand)))  # 0.0 equals -0.0
        elif kind is int or kind is bool:
            key.append((kind, operand))
        else:
            return None
    return tuple(key)
