"""Fused groups as kernels: which kind of loops, and the pointwise ones."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy

from blockfuse.codegen.bound import Bound, CopyFirst, names_of_body
from blockfuse.codegen.cost import cost_of, line_grain
from blockfuse.codegen.draws import draw_kernel
from blockfuse.codegen.expressions import converted, literal_text, statement
from blockfuse.codegen.folds import columns_kernel, rows_kernel
from blockfuse.codegen.kernel import Access, MapKernel, RowKernel, Statement
from blockfuse.codegen.machine import Machine
from blockfuse.codegen.products import product_kernel
from blockfuse.ir import layout as layouts
from blockfuse.ir.graph import Graph, Node, constant
from blockfuse.ir.layout import Layout, row_major
from blockfuse.ir.lowering import Contraction, Drawing, Reduction
from blockfuse.ir.types import TensorType


def kernel_of(node: Node, operands: list[Layout], machine: Machine, batch: int = 0) -> Bound | CopyFirst:
    """The kernel of a fused node; or which operand has to be copied first. batch: see ``product_kernel``."""
    body: Graph = node.attrs["body"]
    kinds = [n.operator.lowering for n in body.nodes]
    if any(isinstance(k, Drawing) for k in kinds):
        return draw_kernel(node, body)
    if any(isinstance(k, Contraction) for k in kinds):
        return product_kernel(node, body, operands, machine, batch)
    reductions = [n for n in body.nodes if isinstance(n.operator.lowering, Reduction)]
    if not reductions:
        return _map(node, body, operands)
    whole, axes = reductions[0].operands[0].shape, reductions[0].attrs["axis"]
    if not axes:
        return _map(node, body, operands)
    if axes == tuple(range(len(whole) - len(axes), len(whole))):
        return rows_kernel(node, body, operands, whole, len(axes))
    return columns_kernel(node, body, operands, reductions[0])


_NEAR = 4096  # elements of a row that streams: 16 or 32 KB of near memory


def streaming(bound: Bound) -> Bound:
    """The same, writing its result past the caches, where the kernel is of a kind that can."""
    kernel = bound.kernel
    if not isinstance(kernel, MapKernel | RowKernel) or kernel.store.dtype not in ("float32", "float64"):
        return bound
    inner = (kernel.extent,) if isinstance(kernel, RowKernel) else kernel.extents
    dense = len(inner) <= 1 and kernel.store.strides == (*inner, 1)
    if not dense or any(extent > _NEAR for extent in inner):
        return bound
    return replace(bound, kernel=replace(kernel, streams=True))


# -- pointwise -----------------------------------------------------------------------------------------------


def _map(node: Node, body: Graph, operands: list[Layout]) -> Bound:
    names = names_of_body(body)
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
    work = prod(shape) * cost_of(body)
    return Bound(kernel, shape[0] if prod(shape) else 0, work, line_grain(shape))


def copy_kernel(type: TensorType, source: Layout, target: Layout, dtype: numpy.dtype | None = None) -> Bound:
    """Elements moved from one layout to another, converted to ``dtype``."""
    dtype, origin = dtype or type.dtype, type.dtype
    if dtype == origin == numpy.float16:  # kernels do not compute with it, but its bits can move
        dtype = origin = numpy.dtype("uint16")
    shape, strides = layouts.merge([source.shape] * 2, [source.strides, target.strides])
    if not shape:
        shape, strides = (1,), [(0,), (0,)]
    text = converted("x0", origin, dtype)
    kernel = MapKernel(
        "copy",
        shape[1:],
        (Access("x0", str(origin), strides[0]),),
        (Statement("t0", str(dtype), text),),
        Access("out", str(dtype), strides[1]),
        "t0",
    )
    return Bound(kernel, shape[0] if prod(shape) else 0, prod(shape) * 0.1, line_grain(shape))


def zero_kernel(dtype: numpy.dtype, target: Layout) -> Bound:
    """Zeros in a layout."""
    shape, (strides,) = layouts.merge([target.shape], [target.strides])
    zero = Statement("t0", str(dtype), literal_text(0, dtype))
    kernel = MapKernel("zeros", shape[1:], (), (zero,), Access("out", str(dtype), strides), "t0")
    return Bound(kernel, shape[0], prod(shape) * 0.1)
