"""Weights of products rounded to the form that was asked for, as far as they are known before a call."""

from __future__ import annotations

import numpy

from blockfuse.ir.builder import node_of
from blockfuse.ir.graph import Graph, Node, graph_of
from blockfuse.ir.operators.contractions import dense, matmul
from blockfuse.ir.operators.narrow import rounded
from blockfuse.ir.passes.hoist import fixed_nodes


def narrow_weights(graph: Graph, form: str, batch: int = 0) -> Graph:
    """Every float32 ``dense`` and ``matmul`` whose right matrix is hoisted takes it ``rounded``; see NOTE [narrow weights].

    Other matrices would be rounded anew at each call, which costs more than it saves. batch: see ``hoist``.
    """
    fixed = fixed_nodes(graph, batch)
    now: dict[Node, Node] = {i: i for i in graph.inputs}
    for node in graph.nodes:
        changed = node.over(tuple(now[o] for o in node.operands))
        narrows = _has_narrow_form(node) and node.operands[1] in fixed
        now[node] = _over_rounded(changed, form) if narrows else changed
    return graph_of(graph.inputs, (now[o] for o in graph.outputs))


def _has_narrow_form(node: Node) -> bool:
    """Whether tiles would read the right operand of a product in another form: a matrix of float32 beside such rows."""
    if node.operator not in (dense, matmul) or not all(o.type.size for o in node.operands):
        return False
    left, weight, *_ = node.operands
    return (
        weight.type.ndim > 1
        and left.dtype == weight.dtype == numpy.float32
        and weight.operator is not rounded
    )


def _over_rounded(product: Node, form: str) -> Node:
    left, weight, *bias = product.operands
    inner = weight.type.ndim - (1 if product.operator is dense else 2)
    value = node_of(rounded, (weight,), {"form": form, "axis": inner}, product.source)
    return product.over((left, value, *bias))
