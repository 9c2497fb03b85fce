"""Powers with a small whole exponent as products, of integers exact, of floats within half a unit for each product."""

from __future__ import annotations

from typing import Any

from blockfuse.ir.builder import expanded
from blockfuse.ir.graph import Graph, Node, constant, rewrite
from blockfuse.ir.operators.pointwise import power

# kind of dtype -> up to which exponent; a float is half a unit in the last place off for each factor but the first
_MAX_EXPONENT = {"f": 8, "i": 64, "u": 64}


def multiply_out_powers(graph: Graph) -> Graph:
    """No power is left whose exponent is a small whole number: ``pow`` takes as long as 20 products; integers have none."""
    return rewrite(graph, _multiplied_out)


def _multiplied_out(node: Node) -> Node:
    exponent = _exponent(node)
    if exponent is None or node.operands[0].dtype != node.dtype:
        return node
    return expanded(lambda x, _: _product(x, exponent), node)


def _exponent(node: Node) -> int | None:
    """A number from 2 on that multiplying serves; None where there is another one, or arrays of them."""
    if node.operator is not power or node.operands[1].operator is not constant or node.operands[1].shape:
        return None
    value = node.operands[1].attrs["value"].item()
    if node.dtype.name == "float16" or not 2 <= value <= _MAX_EXPONENT.get(node.dtype.kind, 0):
        return None
    return int(value) if value == int(value) else None


def _product(x: Any, exponent: int) -> Any:
    """By squares, from the highest bit of the exponent down."""
    result = x
    for bit in bin(exponent)[3:]:
        result = result * result
        if bit == "1":
            result = result * x
    return result
