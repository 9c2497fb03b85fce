"""Composite operators written out: first those that draw, one by one."""

from __future__ import annotations

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
    """No composite operator is left."""
    while any(isinstance(n.operator.lowering, Composite) for n in graph.nodes):
        graph = rewrite(graph, _expanded)
    return graph


def _expanded(node: Node) -> Node:
    lowering = node.operator.lowering
    return expanded(lowering.expand, node) if isinstance(lowering, Composite) else node
