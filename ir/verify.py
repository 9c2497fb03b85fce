"""Checks that a graph is well formed; tests run it after every pass."""

from __future__ import annotations

from blockfuse.ir.errors import VerificationError
from blockfuse.ir.graph import (
    Graph,
    Node,
    argument,
    captured,
    carried,
    constant,
    hoisted,
    names_of,
    parameter,
)


def verify(graph: Graph) -> Graph:
    """The graph itself, or a VerificationError that shows the node, the user's line and the graph around it."""
    known: set[Node] = set()
    for leaf in graph.inputs:
        _require(
            leaf.operator in (argument, parameter, captured, hoisted, carried),
            graph,
            leaf,
            "is an input but not a named leaf",
        )
        known.add(leaf)
    _require(
        len({i.attrs["name"] for i in graph.inputs}) == len(graph.inputs),
        graph,
        None,
        "two inputs share a name",
    )
    for node in graph.nodes:
        _check_node(graph, node, known)
        known.add(node)
    for output in graph.outputs:
        _require(output in known, graph, output, "is returned but not computed")
    return graph


def _check_node(graph: Graph, node: Node, known: set[Node]) -> None:
    _require(node not in known, graph, node, "stands twice in the graph")
    _require(not node.is_leaf or node.operator is constant, graph, node, "is a leaf but not an input")
    for operand in node.operands:
        _require(
            operand in known, graph, node, f"reads {operand.operator.name}, which comes later or not at all"
        )
    expected = node.operator.result_type(*(o.type for o in node.operands), **node.attrs)
    _require(expected == node.type, graph, node, f"has type {node.type}; its rule gives {expected}")
    for body in node.attrs.values():
        if isinstance(body, Graph):
            verify(body)


def _require(condition: bool, graph: Graph, node: Node | None, message: str) -> None:
    if condition:
        return
    name = names_of(graph).get(node, node.operator.name) if node else "the graph"
    where = f" (from {node.source.location})" if node and node.source else ""
    raise VerificationError(f"{name}{where} {message}\n\n{graph}")
