"""Common subexpressions."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.ir.graph import Graph, Node, rewrite


def dedupe(graph: Graph) -> Graph:
    """No value is computed twice; random draws are each their own."""
    seen: dict[Any, Node] = {}  # (operator, operands, attributes) -> the first node that computes it

    def first_equal(node: Node) -> Node:
        return node if node.operator.random else seen.setdefault(_key(node), node)

    return rewrite(graph, first_equal)


def _key(node: Node) -> tuple[Any, ...]:
    return node.operator, node.operands, frozen_attrs(node), node.type


def frozen_attrs(node: Node) -> tuple[Any, ...]:
    return tuple((k, frozen(v)) for k, v in sorted(node.attrs.items()))


def frozen(value: Any) -> Any:
    """A value that hashes by its bits: 0.0 and -0.0, 1 and True and 1.0 stay apart, nan equals itself."""
    if isinstance(value, numpy.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, tuple):
        return tuple(frozen(v) for v in value)
    return type(value), repr(value) if isinstance(value, float) else value
