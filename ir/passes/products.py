"""Products brought to the one form that tiles compute."""

from __future__ import annotations

from math import prod
from typing import Any

from blockfuse.ir.builder import expanded
from blockfuse.ir.graph import Graph, Node, rewrite
from blockfuse.ir.operators.contractions import dense, matmul, pack, packed_product
from blockfuse.ir.operators.movement import broadcast_to, expand_dims, reshape
from blockfuse.ir.operators.pointwise import broadcast_shapes
from blockfuse.ir.operators.reductions import sum_

LINE = 4  # elements that a device fetches at once


def pack_products(graph: Graph, vector_bytes: int) -> Graph:
    """Every float ``dense`` and ``matmul`` is a ``packed_product`` (or a row sum), its weight in panels of two vectors.

    vector_bytes: width of the machine's vectors; a weight with fewer columns gets panels of one vector, one with few columns
    and a long inner axis panels of one column, so that vectors run along the inner axis. 0: a device, which
    reads whole lines: a weight is one panel, as libraries want it, its lines padded to ``LINE`` elements.
    """

    def packed(node: Node) -> Node:
        tiled = node.operator in (dense, matmul) and node.dtype.name in ("float32", "float64")
        if (
            not tiled
            or any(o.dtype != node.dtype for o in node.operands)
            or not all(o.type.size for o in node.operands)
        ):
            return node
        lanes = vector_bytes // node.dtype.itemsize
        return expanded(
            lambda *operands: _product(*operands, transposed=node.operator is dense, lanes=lanes), node
        )

    return rewrite(graph, packed)


def _product(x: Any, weight: Any, *bias: Any, transposed: bool, lanes: int) -> Any:
    if weight.ndim == 1:
        return sum_(x * weight, axis=(x.ndim - 1,), keepdims=False)
    if x.ndim == 1:
        wide = _product(expand_dims(x, axis=(0,)), weight, *bias, transposed=transposed, lanes=lanes)
        return reshape(wide, shape=(*wide.shape[:-2], wide.shape[-1]))
    units = weight.shape[-2] if transposed else weight.shape[-1]
    panels = pack(weight, panel=_panel(units, x.shape[-1], lanes), transposed=transposed)
    if weight.ndim > 2:
        batch = broadcast_shapes(x.shape[:-2], weight.shape[:-2])
        x, panels = _stacked(x, batch, 2), _stacked(panels, batch, 3)
        return reshape(packed_product(x, panels, *bias, units=units), shape=(*batch, x.shape[-2], units))
    rows = reshape(x, shape=(prod(x.shape[:-1]), x.shape[-1]))
    return reshape(packed_product(rows, panels, *bias, units=units), shape=(*x.shape[:-1], units))


def _panel(units: int, inner: int, lanes: int) -> int:
    """Columns of a panel."""
    if not lanes:
        return -(-units // LINE) * LINE
    if 4 * units <= 3 * lanes and inner >= 4 * lanes:
        return 1
    return 2 * lanes if units > lanes else lanes


def _stacked(x: Any, batch: tuple[int, ...], kept: int) -> Any:
    """``x`` broadcast to ``batch``, whose axes become one."""
    last = x.shape[-kept:]
    return reshape(broadcast_to(x, shape=(*batch, *last)), shape=(prod(batch), *last))
