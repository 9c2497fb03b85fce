"""Composite operators written out."""

from __future__ import annotations

from blockfuse.ir.builder import expanded
from blockfuse.ir.graph import Graph, Node, rewrite
from blockfuse.ir.lowering import Composite


def expand_composites(graph: Graph) -> Graph:
    """No composite operator is left."""
    while any(isinstance(n.operator.lowering, Composite) for n in graph.nodes):
        graph = rewrite(graph, _expanded)
    return graph


def _expanded(node: Node) -> Node:
    lowering = node.operator.lowering
    return expanded(lowering.expand, node) if isinstance(lowering, Composite) else node
