"""Fused groups as kernels: which loops, which strides, which statements."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy

from blockfuse.codegen.expressions import converted, fold, literal_text, start_text, statement
from blockfuse.codegen.kernel import (
    Access,
    ColumnKernel,
    Fold,
    Kernel,
    MapKernel,
    ProductKernel,
    ProductTile,
    RowKernel,
    Statement,
    Sweep,
)
from blockfuse.codegen.machine import Machine
from blockfuse.ir import layout as layouts
from blockfuse.ir.graph import Graph, Node, constant
from blockfuse.ir.layout import Layout, row_major
from blockfuse.ir.lowering import Contraction, Pointwise, Reduction
from blockfuse.ir.types import TensorType


@dataclass(frozen=True)
class Bound:
    """A kernel with what its launch needs: rows, in multiples of ``grain``, and its work in nanoseconds on one core."""

    kernel: Kernel
    rows: int
    work: float
    grain: int = 1


def kernel_of(node: Node, operands: list[Layout], machine: Machine) -> Bound | int:
    """The kernel of a fused node; or the number of the operand that has to be copied to C order first."""
    body: Graph = node.attrs["body"]
    kinds = [n.operator.lowering for n in body.nodes]
    if any(isinstance(k, Contraction) for k in kinds):
        return _product(node, body, operands, machine)
    reductions = [n for n in body.nodes if isinstance(n.operator.lowering, Reduction)]
    if not reductions:
        return _map(node, body, operands)
    whole, axes = reductions[0].operands[0].shape, reductions[0].attrs["axis"]
    if not axes:
        return _map(node, body, operands)
    if axes == tuple(range(len(whole) - len(axes), len(whole))):
        return _rows(node, body, operands, whole, len(axes))
    return _columns(node, body, operands, reductions[0])


_LINE = 64  # elements: threads that write next to each other keep to cache lines of their own


def _line(shape: tuple[int, ...]) -> int:
    return _LINE if len(shape) == 1 else 1


def _cost(body: Graph) -> float:
    """Nanoseconds for one element: about eight simple vector operations of eight lanes a nanosecond."""
    pointwise = [n.operator.lowering.cost for n in body.nodes if isinstance(n.operator.lowering, Pointwise)]
    return (sum(pointwise) + 2.0) / 32


def _names(body: Graph) -> dict[Node, str]:
    names = {leaf: leaf.attrs["name"] for leaf in body.inputs}
    for node in body.nodes:
        if node.operator is not constant:
            names[node] = f"t{len(names) - len(body.inputs)}"
    return names


# -- pointwise -----------------------------------------------------------------------------------------------


def _map(node: Node, body: Graph, operands: list[Layout]) -> Bound:
    names = _names(body)
    views = [layouts.broadcast(o, node.shape) for o in operands]
    computed = tuple(statement(n, names) for n in body.nodes if n.operator is not constant)
    return _map_kernel(node.attrs["name"], body, views, row_major(node.shape), computed, names, node.dtype)


def _map_kernel(
    name: str,
    body: Graph,
    views: list[Layout],
    target: Layout,
    computed: tuple[Statement, ...],
    names: dict[Node, str],
    dtype: numpy.dtype,
) -> Bound:
    shape, strides = layouts.merge(
        [target.shape] * (len(views) + 1), [*(v.strides for v in views), target.strides]
    )
    if not shape:
        shape, strides = (1,), [(0,)] * (len(views) + 1)
    loads = tuple(
        Access(names[leaf], str(leaf.dtype), s) for leaf, s in zip(body.inputs, strides[:-1], strict=True)
    )
    kernel = MapKernel(
        name, shape[1:], loads, computed, Access("out", str(dtype), strides[-1]), names[body.outputs[0]]
    )
    work = prod(shape) * _cost(body)
    return Bound(kernel, shape[0] if prod(shape) else 0, work, _line(shape))


def copy_kernel(type: TensorType, source: Layout, target: Layout, dtype: numpy.dtype | None = None) -> Bound:
    """Elements moved from one layout to another, converted to ``dtype``."""
    dtype = dtype or type.dtype
    shape, strides = layouts.merge([source.shape] * 2, [source.strides, target.strides])
    if not shape:
        shape, strides = (1,), [(0,), (0,)]
    text = converted("x0", type.dtype, dtype)
    kernel = MapKernel(
        "copy",
        shape[1:],
        (Access("x0", str(type.dtype), strides[0]),),
        (Statement("t0", str(dtype), text),),
        Access("out", str(dtype), strides[1]),
        "t0",
    )
    return Bound(kernel, shape[0] if prod(shape) else 0, prod(shape) * 0.1, _line(shape))


def zero_kernel(dtype: numpy.dtype, target: Layout) -> Bound:
    """Zeros in a layout."""
    shape, (strides,) = layouts.merge([target.shape], [target.strides])
    zero = Statement("t0", str(dtype), literal_text(0, dtype))
    kernel = MapKernel("zeros", shape[1:], (), (zero,), Access("out", str(dtype), strides), "t0")
    return Bound(kernel, shape[0], prod(shape) * 0.1)


# -- folds along rows ----------------------------------------------------------------------------------------


def _rows(node: Node, body: Graph, operands: list[Layout], whole: tuple[int, ...], axes: int) -> Bound | int:
    """Sweeps over rows; a full value is computed in every sweep that needs it, or kept in the result's memory."""
    rows, extent = prod(whole[: len(whole) - axes]), prod(whole[len(whole) - axes :])
    names = _names(body)
    full = _full_values(body, whole)
    accesses: list[Access] = []
    for number, (leaf, where) in enumerate(zip(body.inputs, operands, strict=True)):
        strides = (
            _row_strides(where, whole, rows, extent)
            if leaf in full
            else _value_per_row(where, leaf, whole, axes)
        )
        if strides is None:
            return number
        accesses.append(Access(names[leaf], str(leaf.dtype), strides))
    sink = body.outputs[0]
    row_loads = tuple(a for a, leaf in zip(accesses, body.inputs, strict=True) if leaf not in full)
    by_name = {a.name: a for a, leaf in zip(accesses, body.inputs, strict=True) if leaf in full}
    plan = _Sweeps(body, full, names)
    before, sweeps = plan.sweeps(by_name, sink)
    store = Access("out", str(node.dtype), (extent, 1) if sink in full else (1,))
    kernel = RowKernel(
        node.attrs["name"], extent, tuple(accesses), row_loads, before, sweeps, store, names[sink]
    )
    work = rows * extent * _cost(body) * max(1, len(sweeps) / 2)
    return Bound(kernel, rows, work)


def _full_values(body: Graph, whole: tuple[int, ...]) -> set[Node]:
    """Values with one element for each place of the domain (leaves: those that full values or folds read)."""
    full: set[Node] = set()
    rows: set[Node] = set()
    for node in body.nodes:
        if isinstance(node.operator.lowering, Reduction):
            rows.add(node)
            full.add(node.operands[0])
        elif (
            node.operator is not constant
            and node.shape == whole
            and not (node.operands and all(o in rows for o in node.operands if o.operator is not constant))
        ):
            full.add(node)
    for node in body.nodes:
        if node in full:
            full |= {o for o in node.operands if o in body.inputs}
    return full


def _row_strides(where: Layout, whole: tuple[int, ...], rows: int, extent: int) -> tuple[int, int] | None:
    two = layouts.reshape(layouts.broadcast(where, whole), (rows, extent))
    return None if two is None else (two.strides[0], two.strides[1])


def _value_per_row(where: Layout, leaf: Node, whole: tuple[int, ...], axes: int) -> tuple[int, ...] | None:
    outer = whole[: len(whole) - axes]
    shape = outer if len(leaf.shape) <= len(outer) else (*outer, *(1,) * axes)
    one = layouts.reshape(layouts.broadcast(where, shape), (prod(outer),))
    return None if one is None else one.strides


class _Sweeps:
    """Cuts a body into sweeps: a value that reads a folded row value belongs to a later sweep."""

    def __init__(self, body: Graph, full: set[Node], names: dict[Node, str]) -> None:
        self.body, self.full, self.names = body, full, names
        self.level: dict[Node, int] = dict.fromkeys(body.inputs, 0)
        for node in body.nodes:
            below = max((self.level[o] for o in node.operands), default=0)
            self.level[node] = below + isinstance(node.operator.lowering, Reduction)

    def sweeps(self, loads: dict[str, Access], sink: Node) -> tuple[tuple[Statement, ...], tuple[Sweep, ...]]:
        count = max(self.level.values())
        kept = self._worth_keeping(sink, count)
        result = [self._sweep(n, sink, loads, kept) for n in range(count)]
        if sink in self.full:
            result.append(self._sweep(count, sink, loads, kept))
        return self._row_statements(0), tuple(result)

    def _row_statements(self, level: int) -> tuple[Statement, ...]:
        return tuple(
            statement(n, self.names)
            for n in self.body.nodes
            if self.level[n] == level and n not in self.full and isinstance(n.operator.lowering, Pointwise)
        )

    def _roots(self, number: int, sink: Node) -> list[Node]:
        folded = [n for n in self.body.nodes if self._folds_at(n, number)]
        return [f.operands[0] for f in folded] + (
            [sink] if sink in self.full and number == max(self.level.values()) else []
        )

    def _folds_at(self, node: Node, number: int) -> bool:
        return isinstance(node.operator.lowering, Reduction) and self.level[node] == number + 1

    def _needed(self, roots: list[Node], stop: Node | None = None) -> set[Node]:
        needed: set[Node] = set()
        waiting = list(roots)
        while waiting:
            node = waiting.pop()
            if node in self.full and node not in needed:
                needed.add(node)
                if node is not stop:
                    waiting.extend(node.operands)
        return needed

    def _worth_keeping(self, sink: Node, count: int) -> tuple[Node, int] | None:
        """The costliest value that an earlier sweep computes and the last one needs, if the result's memory can hold it."""
        if sink not in self.full:
            return None
        last = self._needed([sink])
        best: tuple[Node, int] | None = None
        for number in range(count):
            for node in self._needed(self._roots(number, sink)) & last:
                lowering = node.operator.lowering
                cost = lowering.cost if isinstance(lowering, Pointwise) else 0
                best_cost = best[0].operator.lowering.cost if best else 8  # type: ignore[union-attr]
                if cost > best_cost and node.dtype == sink.dtype and node is not sink:
                    best = (node, number)
        return best

    def _sweep(
        self, number: int, sink: Node, loads: dict[str, Access], kept: tuple[Node, int] | None
    ) -> Sweep:
        reload = kept[0] if kept and kept[1] < number else None
        needed = self._needed(self._roots(number, sink), reload)
        used = [loads[self.names[n]] for n in self.body.inputs if n in needed]
        if reload in needed and reload is not None:
            used.append(Access(f"out as {self.names[reload]}", str(reload.dtype), (0, 1)))
        computed = tuple(
            statement(n, self.names)
            for n in self.body.nodes
            if n in needed and n is not reload and n.operator is not constant
        )
        folds: tuple[Fold, ...] = tuple(
            fold(n, self.names) for n in self.body.nodes if self._folds_at(n, number)
        )
        keep = self.names[kept[0]] if kept and kept[1] == number else None
        return Sweep(tuple(used), computed, folds, self._row_statements(number + 1), keep)


# -- folds along other axes ----------------------------------------------------------------------------------


def _columns(node: Node, body: Graph, operands: list[Layout], reduction: Node) -> Bound | int:
    whole, axes = reduction.operands[0].shape, reduction.attrs["axis"]
    outer, folded, inner = (
        prod(whole[: axes[0]]),
        prod(whole[axes[0] : axes[-1] + 1]),
        prod(whole[axes[-1] + 1 :]),
    )
    flat = outer == 1
    names = _names(body)
    accesses: list[Access] = []
    for number, (leaf, where) in enumerate(zip(body.inputs, operands, strict=True)):
        three = layouts.reshape(layouts.broadcast(where, whole), (outer, folded, inner))
        if three is None:
            return number
        strides = (three.strides[2], three.strides[1]) if flat else three.strides
        accesses.append(Access(names[leaf], str(leaf.dtype), strides))
    computed = tuple(statement(n, names) for n in body.nodes if isinstance(n.operator.lowering, Pointwise))
    step = fold(reduction, {**names, reduction: "acc"}).step
    store = Access("out", str(node.dtype), (1,) if flat else (inner, 1))
    extents = (folded,) if flat else (folded, inner)
    kernel = ColumnKernel(
        node.attrs["name"], extents, tuple(accesses), computed, start_text(reduction), step, store
    )
    rows = inner if flat else outer
    work = prod(whole) * _cost(body)
    return Bound(kernel, rows, work, _LINE if flat else 1)


# -- products ------------------------------------------------------------------------------------------------


def choose_tile(height: int, panels: int, vectors: int, panel: int, accumulators: int) -> ProductTile:
    """Rows, panels and unrolling of a tile: fill the registers, waste few rows, hide the latency of a few accumulators."""
    most = max(1, accumulators // vectors)
    if height >= most:
        rows = min(range(most // 2 + 1, most + 1), key=lambda r: (-(-height // r) * r, -r))
        return ProductTile(rows, 1, panel, 1)
    wide = max(1, accumulators // (height * vectors))
    across = min(range(1, min(wide, panels) + 1), key=lambda p: (-(-panels // p) * p, -p))
    unroll = 1
    while height * across * vectors * unroll < 8 and height * across * vectors * unroll * 2 <= accumulators:
        unroll *= 2
    return ProductTile(height, across, panel, unroll)


def _product(node: Node, body: Graph, operands: list[Layout], machine: Machine) -> Bound | int:
    product = next(n for n in body.nodes if isinstance(n.operator.lowering, Contraction))
    left, right, *bias = product.operands
    batched = left.type.ndim == 3
    height, inner, units = left.shape[-2], left.shape[-1], product.shape[-1]
    names = _names(body)
    epilogue = [n for n in body.nodes if n.operator is not constant and n is not product]
    read_after = {o for n in epilogue for o in n.operands}
    where = dict(zip(body.inputs, operands, strict=True))
    accesses: dict[Node, Access] = {}
    for number, leaf in enumerate(body.inputs):
        strides = _product_strides(leaf, where[leaf], product, batched, leaf in read_after)
        if strides is None:
            return number
        accesses[leaf] = Access(names[leaf], str(leaf.dtype), strides)
    vectors = right.shape[-1] // machine.lanes(product.dtype.itemsize)
    tile = choose_tile(height, right.shape[-3], vectors, right.shape[-1], machine.accumulators)
    by_panels = not batched and height == tile.rows
    store = Access("out", str(node.dtype), (height * units, units, 1) if batched else (units, 1))
    kernel = ProductKernel(
        name=node.attrs["name"],
        dtype=str(product.dtype),
        height=height,
        inner=inner,
        units=units,
        batched=batched,
        by_panels=by_panels,
        tile=tile,
        left=replace(accesses[left], strides=accesses[left].strides[:-1]),
        right=accesses[right],
        bias=accesses[bias[0]] if bias else None,
        accumulator=names[product],
        loads=tuple(a for leaf, a in accesses.items() if leaf in read_after),
        pointers=tuple(accesses[leaf].name for leaf in body.inputs),
        body=tuple(statement(n, names) for n in epilogue),
        store=store,
        result=names[body.outputs[0]],
    )
    flops, weight = 2.0 * prod(product.shape) * inner, prod(right.shape) * product.dtype.itemsize
    lanes = machine.lanes(product.dtype.itemsize)
    work = max(
        flops / (16 * lanes), weight / 64
    )  # 4 operations a cycle and lane at 4 GHz; 64 bytes a nanosecond from a cache
    if by_panels:
        return Bound(kernel, -(-right.shape[-3] // tile.panels), work)
    return Bound(kernel, left.shape[0], work, 1 if batched else tile.rows)


def _product_strides(
    leaf: Node, where: Layout, product: Node, batched: bool, read_after: bool
) -> tuple[int, ...] | None:
    """Strides of one operand in its role, or None where only a copy has them."""
    left, right, *bias = product.operands
    if leaf is right:
        panel_sizes = right.shape[1:] if batched else right.shape
        dense_panels = replace(where, shape=panel_sizes, strides=where.strides[-3:], offset=0).dense
        return (where.strides[0],) * batched if dense_panels else None
    if leaf is left:
        return where.strides if where.strides[-1] == 1 or leaf.shape[-1] == 1 else None
    if bias and leaf is bias[0] and not read_after:
        return () if where.strides[-1] == 1 or leaf.shape[-1] == 1 else None
    shape = product.shape
    seen = layouts.reshape(layouts.broadcast(where, shape), shape)
    return seen.strides if seen is not None and seen.strides[-1] in (0, 1) else None
