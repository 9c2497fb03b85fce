"""Constant folding."""

from __future__ import annotations

import numpy

from blockfuse.ir.graph import Graph, Node, constant, literal, rewrite
from blockfuse.ir.lowering import Movement

_MAX_CONSTANT_BYTES = 1 << 20  # one above this is cheaper to compute again than to carry


def fold_constants(graph: Graph) -> Graph:
    """Nothing is computed from constants alone, where the result is small."""
    return rewrite(graph, _folded)


def _folded(node: Node) -> Node:
    known = not node.is_leaf and all(o.operator is constant for o in node.operands)
    if (
        not known
        or node.operator.random
        or isinstance(node.operator.lowering, Movement)
        or node.type.nbytes > _MAX_CONSTANT_BYTES
    ):
        return node
    with numpy.errstate(all="ignore"):
        return literal(
            node.operator.meaning(*(o.attrs["value"] for o in node.operands), **node.attrs), node.dtype
        )
