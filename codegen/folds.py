"""Fused groups with folds: sweeps along rows, or accumulation over other axes."""

from __future__ import annotations

from math import prod

from blockfuse.codegen.bound import Bound, CopyFirst, names_of_body
from blockfuse.codegen.cost import LINE, cost_of
from blockfuse.codegen.expressions import fold, statement
from blockfuse.codegen.kernel import Access, ColumnKernel, Fold, RowKernel, Statement, Sweep
from blockfuse.ir import layout as layouts
from blockfuse.ir.graph import Graph, Node, constant
from blockfuse.ir.layout import Layout
from blockfuse.ir.lowering import Pointwise, Reduction

# -- folds along rows ----------------------------------------------------------------------------------------


def rows_kernel(
    node: Node, body: Graph, operands: list[Layout], whole: tuple[int, ...], axes: int
) -> Bound | CopyFirst:
    """Sweeps over rows; a full value is computed in every sweep that needs it, or kept in the result's memory."""
    rows, extent = prod(whole[: len(whole) - axes]), prod(whole[len(whole) - axes :])
    names = names_of_body(body)
    full = _full_values(body, whole)
    accesses: list[Access] = []
    for number, (leaf, where) in enumerate(zip(body.inputs, operands, strict=True)):
        shape = whole if leaf in full else _shape_per_row(leaf, whole, axes)
        flat = (rows, extent) if leaf in full else (rows,)
        walked = layouts.reshape(layouts.broadcast(where, shape), flat)
        if walked is None:
            return CopyFirst(number, shape)
        strides = walked.strides
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
    work = rows * extent * cost_of(body) * max(1, len(sweeps) / 2)
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


def _shape_per_row(leaf: Node, whole: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """The shape of a value with one element a row: without the folded axes, or with ones in their place."""
    outer = whole[: len(whole) - axes]
    return outer if leaf.type.ndim <= len(outer) else (*outer, *(1,) * axes)


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


def columns_kernel(node: Node, body: Graph, operands: list[Layout], reduction: Node) -> Bound | CopyFirst:
    whole, axes = reduction.operands[0].shape, reduction.attrs["axis"]
    outer, folded, inner = (
        prod(whole[: axes[0]]),
        prod(whole[axes[0] : axes[-1] + 1]),
        prod(whole[axes[-1] + 1 :]),
    )
    flat = outer == 1
    names = names_of_body(body)
    accesses: list[Access] = []
    for number, (leaf, where) in enumerate(zip(body.inputs, operands, strict=True)):
        three = layouts.reshape(layouts.broadcast(where, whole), (outer, folded, inner))
        if three is None:
            return CopyFirst(number, whole)
        strides = (three.strides[2], three.strides[1]) if flat else three.strides
        accesses.append(Access(names[leaf], str(leaf.dtype), strides))
    computed = tuple(statement(n, names) for n in body.nodes if isinstance(n.operator.lowering, Pointwise))
    folding = fold(reduction, {**names, reduction: "acc"})
    store = Access("out", str(node.dtype), (1,) if flat else (inner, 1))
    extents = (folded,) if flat else (folded, inner)
    kernel = ColumnKernel(
        node.attrs["name"],
        extents,
        tuple(accesses),
        computed,
        folding.start,
        folding.step,
        folding.join,
        store,
    )
    rows = inner if flat else outer
    work = prod(whole) * cost_of(body)
    return Bound(kernel, rows, work, LINE if flat else 1)
