"""Whether a graph computes each item of a batch by itself.

NOTE [rows]
A value is *fixed*, or its leading axis is the batch: so many rows of it (its *share*) belong to each item, one item
after the other, and depend on this item alone, in the same way for all. Whether the result of an operator is one or
the other follows from its lowering class and from its operands; everything else is refused. Then the results for more
items are the same rows and more of the same kind, whatever their number.
"""

from __future__ import annotations

from collections.abc import Set
from itertools import product
from math import prod

from blockfuse.ir.errors import TraceError
from blockfuse.ir.graph import Graph, Node
from blockfuse.ir.layout import Layout, row_major
from blockfuse.ir.lowering import (
    Contraction,
    Gather,
    Joining,
    Leaf,
    Movement,
    Pointwise,
    Reduction,
    Writing,
)

Shares = dict[Node, int]  # value -> rows that belong to each item; 0: fixed


def shares_of(graph: Graph, growing: Set[Node], batch: int) -> Shares:
    """The share of every value of a graph without composites; raises TraceError where the items are not independent.

    growing: the inputs whose leading axis is the batch, of ``batch`` items. No other axis of the graph has a multiple of
    ``batch`` as its size.
    """
    shares: Shares = {i: int(i in growing) for i in graph.inputs}
    for node in graph.nodes:
        found = _share(node, shares, batch)
        if found is None:
            where = f" at {node.source}" if node.source else ""
            raise TraceError(f"{node.operator.name}{where} does not compute each item of the batch by itself")
        shares[node] = found
    return shares


def _share(node: Node, shares: Shares, batch: int) -> int | None:
    """The share of a result; None where it depends on several items, or nobody knows."""
    lowering = node.operator.lowering
    if isinstance(lowering, Movement):
        return _moved(node, shares, batch)
    if not any(shares[o] for o in node.operands):
        return None if node.operator.random or _grows(node, batch) else 0
    if isinstance(lowering, Pointwise):
        return _together(node.type.ndim, node.operands, shares)
    if isinstance(lowering, Reduction):
        return None if 0 in node.attrs["axis"] else shares[node.operands[0]]
    if isinstance(lowering, Joining):
        whole = all(shares[o] for o in node.operands) and node.attrs["axis"] != 0
        return _together(node.type.ndim, node.operands, shares) if whole else None
    if isinstance(lowering, Contraction):
        return _product(node, shares)
    if isinstance(lowering, Writing):
        return _written(node, shares, batch)
    if isinstance(lowering, Gather):
        return _picked(node, shares, batch)
    return None


def _grows(node: Node, batch: int) -> bool:
    return bool(node.shape) and node.shape[0] % batch == 0 and not isinstance(node.operator.lowering, Leaf)


def _together(ndim: int, operands: tuple[Node, ...], shares: Shares) -> int | None:
    """The common share of operands that are broadcast to ``ndim`` axes; fixed ones are the same for all rows."""
    found = {shares[o] for o in operands if shares[o]}
    for operand in operands:
        aligned = operand.type.ndim == ndim
        if shares[operand] and not aligned:
            return None
        if not shares[operand] and aligned and operand.shape[0] != 1:
            return None
    return found.pop() if len(found) == 1 else None


def _product(node: Node, shares: Shares) -> int | None:
    """Rows of the first operand, or stacks of matrices; the summed axis is never the batch."""
    left, right, *bias = node.operands
    if any(shares[b] for b in bias):
        return None
    matrices = right.type.ndim > 2
    if not matrices:  # each row of the first operand by itself, with the whole of the second
        return None if shares[right] or left.type.ndim < 2 else shares[left]
    stacks = max(left.type.ndim, right.type.ndim)
    if any(shares[o] and o.type.ndim < 3 for o in (left, right)):
        return None
    return _together(stacks, (left, right), shares)


# -- movement ------------------------------------------------------------------------------------------------


def _moved(node: Node, shares: Shares, batch: int) -> int | None:
    (source,) = node.operands
    lowering = node.operator.lowering
    assert isinstance(lowering, Movement)
    layout = lowering.relayout(row_major(source.shape), **node.attrs)
    if layout is None:
        return None
    if not shares[source]:
        if not _grows(node, batch):
            return 0
        return node.shape[0] // batch if layout.strides[0] == 0 else None
    return _share_of_layout(layout, prod(source.shape), batch)


def _share_of_layout(layout: Layout, size: int, batch: int) -> int | None:
    """The share of a value seen through ``layout`` in ``size`` elements, an equal part of them for each item."""
    if not layout.shape or layout.shape[0] % batch or not size:
        return None
    share, each = layout.shape[0] // batch, size // batch
    if layout.strides[0] * share != each:
        return None
    item = (share, *layout.shape[1:])
    ends = [[0, (n - 1) * s] for n, s in zip(item, layout.strides, strict=True) if n]
    places = [layout.offset + sum(steps) for steps in product(*ends)]
    return share if len(ends) == len(item) and min(places) >= 0 and max(places) < each else None


def _written(node: Node, shares: Shares, batch: int) -> int | None:
    lowering, (whole, part) = node.operator.lowering, node.operands
    assert isinstance(lowering, Writing)
    if not shares[whole]:
        return None
    place = lowering.relayout(row_major(node.shape), **node.attrs)
    share = _share_of_layout(place, prod(node.shape), batch)
    if share is None or part.type.ndim > len(place.shape):
        return None
    aligned = part.type.ndim == len(place.shape)
    if shares[part]:
        return shares[whole] if aligned and shares[part] == share else None
    return shares[whole] if not aligned or part.shape[0] == 1 else None


def _picked(node: Node, shares: Shares, batch: int) -> int | None:
    """Each item picks by its own indices, from a table that is fixed or from its own part of one."""
    lowering, (table, *indices) = node.operator.lowering, node.operands
    assert isinstance(lowering, Gather)
    places = lowering.places(row_major(table.shape), [row_major(i.shape) for i in indices], **node.attrs)
    walked = [(table, places.base), *zip(indices, (a.index for a in places.axes), strict=True)]
    found = {_share_of_layout(layout, o.type.size, batch) for o, layout in walked if shares[o]}
    alike = all(layout.strides[:1] == (0,) for o, layout in walked if not shares[o])
    return found.pop() if alike and len(found) == 1 else None
