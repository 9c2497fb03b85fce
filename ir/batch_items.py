"""Whether a graph computes each item of a batch by itself.

NOTE [rows]
A value is *fixed*, or its leading axis is the batch: so many of its rows belong to each item, one item
after the other, and depend on this item alone, in the same way for all. Whether the result of an operator is one or
the other follows from its lowering class and from its operands; everything else is refused. Then the results for more
items are the same rows and more of the same kind, whatever their number.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from itertools import product
from math import prod

from blockfuse.ir.errors import TraceError
from blockfuse.ir.graph import Graph, Node
from blockfuse.ir.layout import Layout, broadcast, row_major
from blockfuse.ir.lowering import (
    Contraction,
    Conversion,
    Elimination,
    Gather,
    Joining,
    Leaf,
    Lowering,
    Movement,
    Pointwise,
    Reduction,
    Scan,
    Scatter,
    Sort,
    WindowContraction,
    Writing,
)

RowsPerItem = dict[Node, int]  # value -> rows that belong to each item; 0: fixed


def rows_per_item_of(graph: Graph, growing: Set[Node], batch: int) -> RowsPerItem:
    """The rows per item of every value of a graph without composites; raises TraceError where the items are not independent.

    growing: the inputs whose leading axis is the batch, of ``batch`` items. No other axis of the graph has a multiple of
    ``batch`` as its size.
    """
    rows_per_item: RowsPerItem = {i: int(i in growing) for i in graph.inputs}
    for node in graph.nodes:
        found = _rows_of(node, rows_per_item, batch)
        if found is None:
            where = f" at {node.source}" if node.source else ""
            raise TraceError(f"{node.operator.name}{where} does not compute each item of the batch by itself")
        rows_per_item[node] = found
    return rows_per_item


def _rows_of(node: Node, rows_per_item: RowsPerItem, batch: int) -> int | None:
    """The rows per item of a result; None where it depends on several items, or nobody knows."""
    lowering = node.operator.lowering
    if isinstance(lowering, Movement):
        return _moved(node, rows_per_item, batch)
    if not any(rows_per_item[o] for o in node.operands):
        return None if node.operator.random or _grows(node, batch) else 0
    found = _ROWS.get(type(lowering))
    return found(node, rows_per_item, batch) if found is not None else None


def _grows(node: Node, batch: int) -> bool:
    return bool(node.shape) and node.shape[0] % batch == 0 and not isinstance(node.operator.lowering, Leaf)


def _together(ndim: int, operands: tuple[Node, ...], rows_per_item: RowsPerItem) -> int | None:
    """The common rows per item of operands that are broadcast to ``ndim`` axes; fixed ones are the same for all rows."""
    found = {rows_per_item[o] for o in operands if rows_per_item[o]}
    for operand in operands:
        aligned = operand.type.ndim == ndim
        if rows_per_item[operand] and not aligned:
            return None
        if not rows_per_item[operand] and aligned and operand.shape[0] != 1:
            return None
    return found.pop() if len(found) == 1 else None


def _computed(node: Node, rows_per_item: RowsPerItem, _batch: int) -> int | None:
    return _together(node.type.ndim, node.operands, rows_per_item)


def _folded(node: Node, rows_per_item: RowsPerItem, _batch: int) -> int | None:
    return None if 0 in node.attrs["axis"] else rows_per_item[node.operands[0]]


def _along(node: Node, rows_per_item: RowsPerItem, _batch: int) -> int | None:
    return rows_per_item[node.operands[0]] if node.attrs["axis"] else None


def _joined(node: Node, rows_per_item: RowsPerItem, _batch: int) -> int | None:
    whole = all(rows_per_item[o] for o in node.operands) and node.attrs["axis"] != 0
    return _together(node.type.ndim, node.operands, rows_per_item) if whole else None


def _product(node: Node, rows_per_item: RowsPerItem, _batch: int) -> int | None:
    """Rows of the first operand, or stacks of matrices; the summed axis is never the batch."""
    left, right, *bias = node.operands
    if any(rows_per_item[b] for b in bias):
        return None
    matrices = right.type.ndim > 2
    if not matrices:  # each row of the first operand by itself, with the whole of the second
        return None if rows_per_item[right] or left.type.ndim < 2 else rows_per_item[left]
    stacks = max(left.type.ndim, right.type.ndim)
    if any(rows_per_item[o] and o.type.ndim < 3 for o in (left, right)):
        return None
    return _together(stacks, (left, right), rows_per_item)


def _matrices(node: Node, rows_per_item: RowsPerItem, _batch: int) -> int | None:
    """Each matrix of a stack by itself; none whose rows are the batch."""
    if any(rows_per_item[o] and o.type.ndim < 3 for o in node.operands):
        return None
    return _together(max(o.type.ndim for o in node.operands), node.operands, rows_per_item)


def _windows(node: Node, rows_per_item: RowsPerItem, _batch: int) -> int | None:
    """Windows lie within an item; all take the same weight."""
    windows, *others = node.operands
    return None if any(rows_per_item[o] for o in others) else rows_per_item[windows]


# -- movement ------------------------------------------------------------------------------------------------


def _moved(node: Node, rows_per_item: RowsPerItem, batch: int) -> int | None:
    (source,) = node.operands
    lowering = node.operator.lowering
    assert isinstance(lowering, Movement)
    layout = lowering.relayout(row_major(source.shape), **node.attrs)
    if layout is None:
        return None
    if not rows_per_item[source]:
        if not _grows(node, batch):
            return 0
        return node.shape[0] // batch if layout.strides[0] == 0 else None
    return _rows_of_layout(layout, prod(source.shape), batch)


def _rows_of_layout(layout: Layout, size: int, batch: int) -> int | None:
    """The rows per item of a value seen through ``layout`` in ``size`` elements, an equal part of them for each item."""
    if not layout.shape or layout.shape[0] % batch or not size:
        return None
    rows, each = layout.shape[0] // batch, size // batch
    if layout.strides[0] * rows != each:
        return None
    item = (rows, *layout.shape[1:])
    ends = [[0, (n - 1) * s] for n, s in zip(item, layout.strides, strict=True) if n]
    offsets = [layout.offset + sum(steps) for steps in product(*ends)]
    return rows if len(ends) == len(item) and min(offsets) >= 0 and max(offsets) < each else None


def _written(node: Node, rows_per_item: RowsPerItem, batch: int) -> int | None:
    lowering, (whole, part) = node.operator.lowering, node.operands
    assert isinstance(lowering, Writing)
    if not rows_per_item[whole]:
        return None
    layout = lowering.relayout(row_major(node.shape), **node.attrs)
    rows = _rows_of_layout(layout, prod(node.shape), batch)
    if rows is None or part.type.ndim > len(layout.shape):
        return None
    aligned = part.type.ndim == len(layout.shape)
    if rows_per_item[part]:
        return rows_per_item[whole] if aligned and rows_per_item[part] == rows else None
    return rows_per_item[whole] if not aligned or part.shape[0] == 1 else None


def _picked(node: Node, rows_per_item: RowsPerItem, batch: int) -> int | None:
    """Each item picks by its own indices, from a table that is fixed or from its own part of one."""
    lowering, (table, *indices) = node.operator.lowering, node.operands
    assert isinstance(lowering, Gather)
    gathered = lowering.walk(row_major(table.shape), [row_major(i.shape) for i in indices], **node.attrs)
    walked = [(table, gathered.base), *zip(indices, (a.index for a in gathered.axes), strict=True)]
    found = {_rows_of_layout(layout, o.type.size, batch) for o, layout in walked if rows_per_item[o]}
    alike = all(layout.strides[:1] == (0,) for o, layout in walked if not rows_per_item[o])
    return found.pop() if alike and len(found) == 1 else None


def _scattered(node: Node, rows_per_item: RowsPerItem, batch: int) -> int | None:
    """Each item adds its own values to its own part, at indices that it alone has or that all have."""
    lowering, (whole, value, *indices) = node.operator.lowering, node.operands
    assert isinstance(lowering, Scatter)
    if not rows_per_item[whole]:
        return None
    gathered = lowering.walk(row_major(whole.shape), [row_major(i.shape) for i in indices], **node.attrs)
    spread = broadcast(row_major(value.shape), gathered.base.shape)
    others = [(value, spread), *zip(indices, (a.index for a in gathered.axes), strict=True)]
    rows = _rows_of_layout(gathered.base, whole.type.size, batch)
    same = all(
        _rows_of_layout(layout, o.type.size, batch) == rows
        if rows_per_item[o]
        else layout.strides[:1] == (0,)
        for o, layout in others
    )
    return rows_per_item[whole] if rows and same else None


# class of a lowering -> the rows per item of a result some of whose operands grow
_ROWS: dict[type[Lowering], Callable[[Node, RowsPerItem, int], int | None]] = {
    Pointwise: _computed,
    Conversion: _computed,
    Reduction: _folded,
    Scan: _along,
    Sort: _along,
    Elimination: _matrices,
    Joining: _joined,
    Contraction: _product,
    WindowContraction: _windows,
    Writing: _written,
    Gather: _picked,
    Scatter: _scattered,
}
