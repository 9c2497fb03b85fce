"""Fused groups with a product of windows: how it walks them, which tile, which epilogue."""

from __future__ import annotations

from functools import partial
from math import prod

from blockfuse.codegen.kernels.cost import CACHE_BANDWIDTH
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.kernel_call import CopyFirst, KernelCall, names_of_body
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.kernels.product_cuts import MAX_SUM_STEPS, ProductTile
from blockfuse.codegen.kernels.statements import statement
from blockfuse.codegen.kernels.window_kernel import WindowKernel, goes_on
from blockfuse.ir import layout as layouts
from blockfuse.ir.graph import Graph, Node, constant
from blockfuse.ir.layout import Layout, row_major
from blockfuse.ir.lowering import WindowContraction

_CROSSING = 15 / 16  # of the cycles: what addresses of rows on two lines take is not worth less
_NEAR_PANELS = 1 / 4  # of a second-level cache, for the panels of a tile
_MANY = 64  # panels: more than the registers of any processor hold
_MIN_SUMS = 8  # that a processor needs at a time: two a cycle, each of four cycles


def window_kernel(
    node: Node, body: Graph, operands: list[Layout], machine: Machine
) -> KernelCall | CopyFirst:
    """The kernel of a group with a product of windows; it does for any batch of more than one item."""
    product = next(n for n in body.nodes if isinstance(n.operator.lowering, WindowContraction))
    windows, right, *bias = product.operands
    names, given = names_of_body(body), dict(zip(body.inputs, operands, strict=True))
    epilogue = [n for n in body.nodes if n.operator is not constant and n is not product]
    rows, extents, height, left = _lines(given[windows], product)
    inner, along = _inner(given[windows], product.attrs["axes"])
    groups, apart = _groups(given[windows], product)
    loads = []
    for number, leaf in enumerate(body.inputs):
        if leaf in (right, *bias) and not given[leaf].dense:
            return CopyFirst(number, leaf.shape)
        if not any(leaf in n.operands for n in epilogue):
            continue
        seen = _seen(given[leaf], product, rows * prod(extents), height)
        if seen is None:
            return CopyFirst(number, product.shape)
        loads.append(Access(names[leaf], str(leaf.dtype), seen))
    columns, panel = product.shape[-1], right.shape[-1]
    vectors = panel // machine.lanes(product.dtype.itemsize)
    store = Access("out", str(node.dtype), (height * columns, columns, 1))
    panel_bytes = right.shape[-2] * panel * product.dtype.itemsize
    most_panels = max(1, int(_NEAR_PANELS * machine.second_level_bytes) // panel_bytes)
    tile = partial(
        _tile,
        panels=right.shape[-3],
        vectors=vectors,
        panel=panel,
        accumulators=machine.accumulators,
        most_panels=most_panels,
    )
    (by_lines, cycles), crosses = tile(height), False
    chosen = by_lines
    if goes_on((*loads, store), height):
        lines = extents[-1] if extents else rows
        across, fewer = tile(lines * height, most=lines * height if extents else height)
        crosses = fewer < lines * cycles * _CROSSING
        chosen = across if crosses else by_lines
    kernel = WindowKernel(
        name=node.attrs["name"],
        dtype=str(product.dtype),
        extents=extents,
        height=height,
        inner=inner,
        along=along,
        channel_groups=groups,
        apart=apart,
        units=product.attrs["units"],
        left=Access(names[windows], str(windows.dtype), left),
        right=Access(names[right], str(right.dtype), ()),
        bias=Access(names[bias[0]], str(bias[0].dtype), ()) if bias else None,
        accumulator=names[product],
        loads=tuple(loads),
        operands=tuple(names[leaf] for leaf in body.inputs),
        body=tuple(statement(n, names) for n in epilogue),
        store=store,
        result=names[body.outputs[0]],
        tile=chosen,
        crosses=crosses,
    )
    return KernelCall(kernel, rows, _work(product, machine))


def _work(product: Node, machine: Machine) -> float:
    """As that of a product whose inner axis is that of windows."""
    right = product.operands[1]
    steps = right.shape[-2]
    lanes = machine.lanes(product.dtype.itemsize)
    return max(2.0 * prod(product.shape) * steps / (16 * lanes), right.type.nbytes / CACHE_BANDWIDTH)


def _tile(
    height: int,
    panels: int,
    vectors: int,
    panel: int,
    accumulators: int,
    most_panels: int = _MANY,
    most: int = 0,
) -> tuple[ProductTile, int]:
    """Rows and panels of a tile that takes the fewest cycles for a line, and how many: two multiply-adds or two loads in
    each, and no fewer than hide the latency of a multiply-add. most: rows of a tile, where it may not have ``height``.
    """

    def cycles(rows: int) -> tuple[int, int]:
        across = across_of(rows)
        step = max(rows * across * vectors, rows + across * vectors, _MIN_SUMS)
        return -(-height // rows) * -(-panels // across) * step, -rows

    def across_of(rows: int) -> int:
        return min(panels, most_panels, max(1, accumulators // (rows * vectors)))

    rows = min(range(1, min(most or height, max(1, accumulators // vectors)) + 1), key=cycles)
    return ProductTile(rows, across_of(rows), panel, 1), cycles(rows)[0]


def _lines(where: Layout, product: Node) -> tuple[int, tuple[int, ...], int, tuple[int, ...]]:
    """Rows of the launch, extents of lines within, windows of a line, and the strides of all of them.

    What is neighbours in memory is one axis, but items stay apart from what they hold.
    """
    places = product.type.ndim - 1
    shape, strides = where.shape[:places], where.strides[:places]
    (items, *sizes), (step, *steps) = shape, strides
    made = row_major(product.shape).strides[1:places]
    merged, (walked, _) = layouts.merge([tuple(sizes)] * 2, [tuple(steps), made])
    if not merged:
        merged, walked = (1,), (0,)
    *extents, height = merged
    if items > 1:
        return items, tuple(extents), height, (step, *walked)
    if not extents:
        return 1, (), height, (0, *walked)
    return extents[0], tuple(extents[1:]), height, tuple(walked)


def _groups(where: Layout, product: Node) -> tuple[int, int]:
    """How many there are, and how far they are apart in the left operand."""
    panels = product.operands[1]
    if panels.type.ndim == 3:
        return 1, 0
    return panels.shape[0], where.strides[-product.attrs["axes"] - 1]


def _inner(where: Layout, axes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Extents and strides of the axes that are summed, the last one short enough for one sum."""
    shape = where.shape[-axes:]
    sizes, (steps, _) = layouts.merge([shape] * 2, [where.strides[-axes:], row_major(shape).strides])
    if not sizes:
        return (1,), (1,)
    *outer, last = sizes
    parts = next((n for n in range(-(-last // MAX_SUM_STEPS), 64) if last % n == 0), 1)
    if parts == 1:
        return tuple(sizes), tuple(steps)
    return (*outer, parts, last // parts), (*steps[:-1], steps[-1] * (last // parts), steps[-1])


def _seen(where: Layout, product: Node, lines: int, height: int) -> tuple[int, ...] | None:
    """Strides (line, window, column) of a value that the epilogue reads; None where only a whole copy has them."""
    whole = layouts.broadcast(where, product.shape)
    found = layouts.reshape(whole, (lines, height, product.shape[-1]))
    return found.strides if found is not None and found.strides[-1] in (0, 1) else None
