"""Composite operators written out: first those that draw, one by one."""

from __future__ import annotations

import numpy

from blockfuse.ir.builder import expanded
from blockfuse.ir.graph import Graph, Node, rewrite
from blockfuse.ir.lowering import Composite


def expand_draws(graph: Graph) -> Graph:
    """No composite draw is left, and draws are in the order in which they were.

    Each becomes a chain with one draw at its start. Others wait, as what they become may read its operands in another order.
    """
    while any(n.operator.random and isinstance(n.operator.lowering, Composite) for n in graph.nodes):
        graph = rewrite(graph, lambda node: _expanded(node) if node.operator.random else node)
    return graph


def expand_composites(graph: Graph) -> Graph:
    """No composite operator is left, but those that round float16.

    No kernel computes float16, and NumPy adds up a mean of it in float32: its meaning says that, an expansion does not.
    """
    while any(_is_expanded(n) for n in graph.nodes):
        graph = rewrite(graph, lambda node: _expanded(node) if _is_expanded(node) else node)
    return graph


def _is_expanded(node: Node) -> bool:
    return isinstance(node.operator.lowering, Composite) and not _rounds_halves(node)


def _rounds_halves(node: Node) -> bool:
    return node.dtype.kind == "f" and any(n.dtype == numpy.float16 for n in (node, *node.operands))


def _expanded(node: Node) -> Node:
    lowering = node.operator.lowering
    return expanded(lowering.expand, node) if isinstance(lowering, Composite) else node
