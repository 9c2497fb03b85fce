"""Fused groups with folds: sweeps along rows, or accumulation over other axes."""

from __future__ import annotations

from math import prod

from blockfuse.codegen.kernels.cost import LINE_ELEMENTS, cost_of
from blockfuse.codegen.kernels.kernel import Access, Statement
from blockfuse.codegen.kernels.kernel_call import CopyFirst, KernelCall, names_of_body
from blockfuse.codegen.kernels.loop_kernels import ColumnKernel, RowKernel, Sweep
from blockfuse.codegen.kernels.statements import fold, statement
from blockfuse.ir import layout as layouts
from blockfuse.ir.granularity import RowDomain
from blockfuse.ir.graph import Graph, Node, argument, constant
from blockfuse.ir.layout import Layout
from blockfuse.ir.lowering import Pointwise, Reduction

_MIN_KEPT_INSTRUCTIONS = 8  # a value of no more is computed again in each sweep

# -- folds along rows ----------------------------------------------------------------------------------------


def rows_kernel(node: Node, body: Graph, operands: list[Layout], domain: RowDomain) -> KernelCall | CopyFirst:
    """Sweeps over rows; an element value is computed in every sweep that needs it, or kept in the result's memory."""
    whole = domain.shape
    rows, extent = prod(whole[: len(whole) - domain.axes]), prod(whole[len(whole) - domain.axes :])
    names = names_of_body(body)
    reads = _reads(body, domain)
    accesses: dict[Node, Access] = {}
    for number, (leaf, where) in enumerate(zip(body.inputs, operands, strict=True)):
        shape = reads[leaf]
        flat = (rows, extent) if shape == whole else (rows,)
        walked = layouts.reshape(layouts.broadcast(where, shape), flat)
        if walked is None:
            return CopyFirst(number, shape)
        accesses[leaf] = Access(names[leaf], str(leaf.dtype), walked.strides)
    sink = body.outputs[0]
    loads = {leaf: access for leaf, access in accesses.items() if reads[leaf] == whole}
    row_loads = tuple(access for leaf, access in accesses.items() if leaf not in loads)
    before, sweeps = _Sweeps(body, domain, names, loads).sweeps()
    store = Access("out", str(node.dtype), (1,) if domain.is_row(sink) else (extent, 1))
    kernel = RowKernel(
        node.attrs["name"], store, extent, tuple(accesses.values()), row_loads, before, sweeps, names[sink]
    )
    work = rows * extent * cost_of(body) * max(1, len(sweeps) / 2)
    return KernelCall(kernel, rows, work)


def _reads(body: Graph, domain: RowDomain) -> dict[Node, tuple[int, ...]]:
    """Argument -> the shape in which it is read; see NOTE [granularity]."""
    found: dict[Node, tuple[int, ...]] = {}
    for node in body.nodes:
        for operand in node.operands:
            if operand.operator is argument:
                shape = domain.shape_read_by(node)
                assert found.setdefault(operand, shape) == shape, "an argument is read in one way"
    return found


class _Sweeps:
    """Cuts a body into sweeps: a value that reads a folded row value belongs to a later sweep.

    loads: the arguments that are read element by element.
    """

    def __init__(
        self, body: Graph, domain: RowDomain, names: dict[Node, str], loads: dict[Node, Access]
    ) -> None:
        self.body, self.names, self.loads = body, names, loads
        self.sink = body.outputs[0]
        computed = [n for n in body.nodes if n.operator is not constant]
        self.rows = [n for n in computed if domain.is_row(n)]
        self.elements = {*loads, *(n for n in computed if not domain.is_row(n))}
        self.level: dict[Node, int] = dict.fromkeys(body.inputs, 0)
        for node in body.nodes:
            below = max((self.level[o] for o in node.operands), default=0)
            self.level[node] = below + isinstance(node.operator.lowering, Reduction)
        self.last = max(self.level.values())

    def sweeps(self) -> tuple[tuple[Statement, ...], tuple[Sweep, ...]]:
        """What is computed once a row before them, and the sweeps."""
        kept = self._worth_keeping()
        count = self.last + (self.sink in self.elements)
        return self._row_statements(0), tuple(self._sweep(n, kept) for n in range(count))

    def _row_statements(self, level: int) -> tuple[Statement, ...]:
        return tuple(
            statement(n, self.names)
            for n in self.rows
            if self.level[n] == level and isinstance(n.operator.lowering, Pointwise)
        )

    def _folds(self, number: int) -> list[Node]:
        return [
            n for n in self.rows if self.level[n] == number + 1 and isinstance(n.operator.lowering, Reduction)
        ]

    def _roots(self, number: int) -> list[Node]:
        """The element values for which there is sweep ``number``."""
        stored = [self.sink] if self.sink in self.elements and number == self.last else []
        return [f.operands[0] for f in self._folds(number)] + stored

    def _needed(self, roots: list[Node], stop: Node | None = None) -> set[Node]:
        needed: set[Node] = set()
        waiting = list(roots)
        while waiting:
            node = waiting.pop()
            if node in self.elements and node not in needed:
                needed.add(node)
                if node is not stop:
                    waiting.extend(node.operands)
        return needed

    def _worth_keeping(self) -> tuple[Node, int] | None:
        """The costliest value that an earlier sweep computes and the last one needs, if the result's memory can hold it."""
        sink = self.sink
        if sink not in self.elements:
            return None
        last = self._needed([sink])
        best: tuple[Node, int] | None = None
        for number in range(self.last):
            here = self._needed(self._roots(number)) & last
            for node in (n for n in self.body.nodes if n in here):
                cost = node.operator.lowering.instructions
                best_cost = best[0].operator.lowering.instructions if best else _MIN_KEPT_INSTRUCTIONS
                if cost > best_cost and node.dtype == sink.dtype and node is not sink:
                    best = (node, number)
        return best

    def _sweep(self, number: int, kept: tuple[Node, int] | None) -> Sweep:
        reload = kept[0] if kept and kept[1] < number else None
        needed = self._needed(self._roots(number), reload)
        used = [access for leaf, access in self.loads.items() if leaf in needed]
        if reload in needed and reload is not None:
            used.append(Access("out", str(reload.dtype), (0, 1), alias=self.names[reload]))
        computed = (n for n in self.body.nodes if n in needed and n is not reload)
        return Sweep(
            tuple(used),
            tuple(statement(n, self.names) for n in computed),
            tuple(fold(n, self.names) for n in self._folds(number)),
            self._row_statements(number + 1),
            self.names[kept[0]] if kept and kept[1] == number else None,
        )


# -- folds along other axes ----------------------------------------------------------------------------------


def columns_kernel(
    node: Node, body: Graph, operands: list[Layout], reduction: Node
) -> KernelCall | CopyFirst:
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
    kernel = ColumnKernel(node.attrs["name"], store, extents, tuple(accesses), computed, folding)
    rows = inner if flat else outer
    work = prod(whole) * cost_of(body)
    return KernelCall(kernel, rows, work, LINE_ELEMENTS if flat else 1)
