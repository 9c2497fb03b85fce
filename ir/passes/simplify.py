"""Algebra that does not change a float result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.ir import interpreter
from blockfuse.ir.builder import Builder, Symbol, expanded
from blockfuse.ir.graph import Graph, Node, constant, ordered, rewrite
from blockfuse.ir.layout import row_major
from blockfuse.ir.lowering import Joining, Writing
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators.movement import broadcast_to, expand_dims, reshape, squeeze, transpose
from blockfuse.ir.operators.neural import relu
from blockfuse.ir.operators.pointwise import (
    absolute,
    add,
    cast,
    divide,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    multiply,
    negative,
    positive,
    where,
)


def simplify(graph: Graph) -> Graph:
    """No rule of ``RULES`` or ``PLACEMENTS`` applies any more."""
    while True:
        simpler = rewrite(graph, _simpler)
        if simpler.outputs == graph.outputs:  # the very same nodes
            return simpler
        if len(simpler.nodes) == len(graph.nodes) and simpler == graph:
            return simpler
        graph = simpler


def _simpler(node: Node) -> Node:
    for attempt in (*RULES.get(node.operator, ()), *PLACEMENTS):
        found = attempt(node)
        if found is not None and found.type == node.type:
            return found
    return node


# -- rules written as pairs of functions ---------------------------------------------------------------------


@dataclass(frozen=True)
class Pattern:
    """What an operator call looks like to a rule: a hole (no operator), or an operator over patterns and numbers."""

    operator: Operator | None
    operands: tuple[Any, ...] = ()
    hole: int = -1


class _PatternMaker(Builder):
    def apply(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        return Pattern(operator, operands)


def _matches(pattern: Any, node: Node, holes: dict[int, Node]) -> bool:
    if not isinstance(pattern, Pattern):  # a number
        value = node.attrs["value"] if node.operator is constant and not node.shape else None
        return value is not None and value.item() == pattern and not numpy.signbit(value)
    if pattern.operator is None:
        return holes.setdefault(pattern.hole, node) is node
    return node.operator is pattern.operator and all(
        _matches(p, o, holes) for p, o in zip(pattern.operands, node.operands, strict=True)
    )


def _holes(pattern: Any) -> set[int]:
    if not isinstance(pattern, Pattern):
        return set()
    return {pattern.hole} if pattern.operator is None else set().union(*map(_holes, pattern.operands))


def _must_stay(node: Node) -> bool:
    """Whether an operator that ``node`` needs raises for some values, or draws: it must not vanish."""
    return any(n.operator.lowering.may_raise or n.operator.random for n in ordered([node]))


def rule(
    before: Callable[..., Any], after: Callable[..., Any]
) -> tuple[Operator, Callable[[Node], Node | None]]:
    """Rewrite what looks like ``before`` into ``after``, both written as ordinary functions of the same values."""
    count = before.__code__.co_argcount
    with interpreter.interpreting(_PatternMaker()):
        pattern, kept = (f(*(Pattern(None, (), n) for n in range(count))) for f in (before, after))
    dropped = _holes(pattern) - _holes(kept)

    def attempt(node: Node) -> Node | None:
        holes: dict[int, Node] = {}
        if not _matches(pattern, node, holes) or any(_must_stay(holes[n]) for n in dropped):
            return None
        with interpreter.interpreting(Builder(node.source)):
            result: Node = after(*(Symbol(holes[n]) for n in range(count))).node
        return result

    return pattern.operator, attempt


# -- rules that look at attributes ---------------------------------------------------------------------------


def _reshape_of_reshape(node: Node) -> Node | None:
    """reshape, expand_dims and squeeze are all reshapes; one is enough."""
    if node.operator not in (reshape, expand_dims, squeeze):
        return None
    origin = node.operands[0]
    while origin.operator in (reshape, expand_dims, squeeze):
        origin = origin.operands[0]
    if origin.shape == node.shape:
        return origin
    if node.operator is reshape and origin is node.operands[0]:
        return None
    return Node(reshape, (origin,), {"shape": node.shape}, node.type, node.source)


def transpose_of_transpose(node: Node) -> Node | None:
    """One transpose, or none, for two; None where there is one that does something."""
    if node.operator is not transpose:
        return None
    axes, origin = node.attrs["axes"], node.operands[0]
    if axes == tuple(range(len(axes))):
        return origin
    if origin.operator is not transpose:
        return None
    inner = origin.attrs["axes"]
    both = tuple(inner[a] for a in axes)
    return Node(transpose, origin.operands, {"axes": both}, node.type, node.source)


def _nothing_moves(node: Node) -> Node | None:
    """A cast to the same dtype or a broadcast to the same shape."""
    return node.operands[0] if node.operator in (cast, broadcast_to) else None


def _written_whole(node: Node) -> Node | None:
    """A value that is written over all of another one, in order: what was there before is not needed."""
    lowering, before = node.operator.lowering, row_major(node.shape)
    if not isinstance(lowering, Writing) or lowering.relayout(before, **node.attrs) != before:
        return None
    return None if _must_stay(node.operands[0]) else expanded(_value_written, node)


def _value_written(whole: Any, value: Any, **_: Any) -> Any:
    """The value as the whole would hold it."""
    extra = max(value.ndim - whole.ndim, 0)  # NumPy lets leading axes of size 1 go
    value = reshape(value, shape=value.shape[extra:]) if extra else value
    return broadcast_to(cast(value, dtype=str(whole.dtype)), shape=whole.shape)


def _without_empty_parts(node: Node) -> Node | None:
    """Parts without elements are no parts; a single part is the whole. ``roll`` by 0 leaves both."""
    if not isinstance(node.operator.lowering, Joining):
        return None
    parts = tuple(o for o in node.operands if o.type.size or _must_stay(o))
    if len(parts) < 2 or len(parts) == len(node.operands):
        return parts[0] if len(parts) == 1 else None
    type = node.operator.result_type(*(part.type for part in parts), **node.attrs)
    return Node(node.operator, parts, node.attrs, type, node.source)


def _of_truths(node: Node) -> Node | None:
    """Arithmetic of bools is logic, for which there are kernels."""
    same = _LOGIC.get(node.operator)
    if same is None or any(n.dtype != bool for n in (node, *node.operands)):
        return None
    return Node(same, node.operands, {}, node.type, node.source)


_LOGIC = {
    **dict.fromkeys((multiply, minimum), logical_and),
    **dict.fromkeys((add, maximum), logical_or),
}

PLACEMENTS = (
    _reshape_of_reshape,
    transpose_of_transpose,
    _nothing_moves,
    _written_whole,
    _without_empty_parts,
    _of_truths,
)

_RULES = (
    rule(lambda x: multiply(x, 1), lambda x: x),
    rule(lambda x: multiply(1, x), lambda x: x),
    rule(lambda x: divide(x, 1), lambda x: x),
    rule(lambda x: negative(negative(x)), lambda x: x),
    rule(lambda x: positive(x), lambda x: x),
    rule(lambda x: absolute(absolute(x)), lambda x: absolute(x)),
    rule(lambda x: relu(relu(x)), lambda x: relu(x)),
    rule(lambda x: maximum(x, 0), lambda x: relu(x)),  # the same function, one instruction
    rule(lambda x: maximum(x, x), lambda x: x),
    rule(lambda c, x: where(c, x, x), lambda c, x: x),
    rule(lambda c: logical_not(logical_not(c)), lambda c: c),
)
RULES = {  # operator -> the rules that start at it
    operator: tuple(attempt for start, attempt in _RULES if start is operator) for operator, _ in _RULES
}
