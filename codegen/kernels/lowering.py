"""Nodes as kernels: which kind of loops, and the pointwise ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy

from blockfuse.codegen.kernels.cost import cost_of, cost_of_picking, line_grain
from blockfuse.codegen.kernels.draws import draw_kernel
from blockfuse.codegen.kernels.eliminations import eliminates_natively, elimination_kernel
from blockfuse.codegen.kernels.expression import Name
from blockfuse.codegen.kernels.folds import columns_kernel, rows_kernel
from blockfuse.codegen.kernels.kernel import Access, Index, Statement
from blockfuse.codegen.kernels.kernel_call import CopyFirst, KernelCall, names_of_body
from blockfuse.codegen.kernels.lines import scan_kernel, scans_natively, sort_kernel, sorts_natively
from blockfuse.codegen.kernels.loop_kernels import MapKernel
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.kernels.products import product_kernel
from blockfuse.codegen.kernels.statements import converted, literal, statement
from blockfuse.codegen.kernels.windows import window_kernel
from blockfuse.ir import layout as layouts
from blockfuse.ir.granularity import row_domain
from blockfuse.ir.graph import Graph, Node
from blockfuse.ir.layout import Layout, row_major
from blockfuse.ir.lowering import (
    Contraction,
    Drawing,
    Elimination,
    Gather,
    Lowering,
    Pointwise,
    Reduction,
    Scan,
    Sort,
    WindowContraction,
)
from blockfuse.ir.types import TensorType


def kernel_of(node: Node, operands: list[Layout], machine: Machine, batch: int = 0) -> KernelCall | CopyFirst:
    """The kernel of a fused node, or of one that stands alone; or which operand has to be copied first.

    batch: see ``product_kernel``.
    """
    if type(node.operator.lowering) in _ALONE:
        return _ALONE[type(node.operator.lowering)].kernel(node, operands)
    body: Graph = node.attrs["body"]
    kinds = [n.operator.lowering for n in body.nodes]
    if any(isinstance(k, Drawing) for k in kinds):
        return draw_kernel(node, body)
    if any(isinstance(k, WindowContraction) for k in kinds):
        return window_kernel(node, body, operands, machine)
    if any(isinstance(k, Contraction) for k in kinds):
        return product_kernel(node, body, operands, machine, batch)
    reductions = [n for n in body.nodes if isinstance(n.operator.lowering, Reduction)]
    if not reductions:
        return _map(node, body, operands)
    if not reductions[0].attrs["axis"]:
        return _map(node, body, operands)
    domain = row_domain(body.nodes)
    if domain is not None:
        return rows_kernel(node, body, operands, domain)
    return columns_kernel(node, body, operands, reductions[0])


@dataclass(frozen=True)
class _Alone:
    """How operators that share no kernel get theirs."""

    computes: Callable[[Node], bool]  # whether there is one for these types
    kernel: Callable[[Node, list[Layout]], KernelCall | CopyFirst]


# class of a lowering -> its kernels
_ALONE: dict[type[Lowering], _Alone] = {
    Scan: _Alone(scans_natively, scan_kernel),
    Sort: _Alone(sorts_natively, sort_kernel),
    Elimination: _Alone(eliminates_natively, elimination_kernel),
}


def has_own_kernel(node: Node) -> bool:
    """Whether a kernel computes ``node``, which stands in no fused group."""
    alone = _ALONE.get(type(node.operator.lowering))
    return alone is not None and alone.computes(node)


# -- pointwise -----------------------------------------------------------------------------------------------


def _map(node: Node, body: Graph, operands: list[Layout]) -> KernelCall:
    names = names_of_body(body)
    given = dict(zip(body.inputs, operands, strict=True))
    views, indices = _picked(body, given, names)
    views = {leaf: views.get(leaf) or layouts.broadcast(o, node.shape) for leaf, o in given.items()}
    target = row_major(node.shape)
    shape, strides = layouts.merge(
        [target.shape] * (len(views) + 1), [*(v.strides for v in views.values()), target.strides]
    )
    if not shape:
        shape, strides = (1,), [(0,)] * (len(views) + 1)
    loads = tuple(
        Access(names[leaf], _moved(leaf.dtype), s, indices.get(leaf, ()))
        for leaf, s in zip(views, strides[:-1], strict=True)
    )
    computed = tuple(statement(n, names) for n in body.nodes if isinstance(n.operator.lowering, Pointwise))
    store = Access("out", _moved(node.dtype), strides[-1])
    kernel = MapKernel(node.attrs["name"], store, shape[1:], loads, computed, names[body.outputs[0]])
    work = prod(shape) * (cost_of(body) + cost_of_picking(kernel))
    shifts = tuple(view.offset - given[leaf].offset for leaf, view in views.items())
    return KernelCall(kernel, shape[0] if prod(shape) else 0, work, line_grain(shape), shifts)


def _picked(
    body: Graph, given: dict[Node, Layout], names: dict[Node, str]
) -> tuple[dict[Node, Layout], dict[Node, tuple[Index, ...]]]:
    """How a map walks the operands of gathers, and which loads say where in a table."""
    views: dict[Node, Layout] = {}
    indices: dict[Node, tuple[Index, ...]] = {}
    for node in body.nodes:
        lowering = node.operator.lowering
        if isinstance(lowering, Gather):
            table, *arrays = node.operands
            found = lowering.walk(given[table], [given[a] for a in arrays], **node.attrs)
            views |= {table: found.base, **dict(zip(arrays, (a.index for a in found.axes), strict=True))}
            walked = zip(arrays, found.axes, strict=True)
            indices[table] = tuple(Index(names[array], axis.size, axis.stride) for array, axis in walked)
    return views, indices


def _moved(dtype: numpy.dtype) -> str:
    """What kernels take elements for: they do not compute with float16, but its bits can move."""
    return "uint16" if dtype == numpy.float16 else str(dtype)


def copy_kernel(
    type: TensorType, source: Layout, target: Layout, dtype: numpy.dtype | None = None
) -> KernelCall:
    """Elements moved from one layout to another, converted to ``dtype``."""
    dtype, origin = dtype or type.dtype, type.dtype
    if dtype == origin:
        dtype = origin = numpy.dtype(_moved(dtype))
    shape, strides = layouts.merge([source.shape] * 2, [source.strides, target.strides])
    if not shape:
        shape, strides = (1,), [(0,), (0,)]
    kernel = MapKernel(
        "copy",
        Access("out", str(dtype), strides[1]),
        shape[1:],
        (Access("x0", str(origin), strides[0]),),
        (Statement("t0", str(dtype), converted(Name("x0"), origin, dtype)),),
        "t0",
    )
    return KernelCall(kernel, shape[0] if prod(shape) else 0, prod(shape) * 0.1, line_grain(shape))


def zero_kernel(dtype: numpy.dtype, target: Layout) -> KernelCall:
    """Zeros in a layout."""
    shape, (strides,) = layouts.merge([target.shape], [target.strides])
    zero = Statement("t0", str(dtype), literal(0, dtype))
    kernel = MapKernel("zeros", Access("out", str(dtype), strides), shape[1:], (), (zero,), "t0")
    return KernelCall(kernel, shape[0], prod(shape) * 0.1)
