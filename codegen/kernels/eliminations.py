"""Small linear algebra as kernels: solutions, inverses, determinants and factors of matrices."""

from __future__ import annotations

from math import prod

import numpy

from blockfuse.codegen.kernels.elimination_kernel import EliminationKernel
from blockfuse.codegen.kernels.expression import Name
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.kernel_call import CopyFirst, KernelCall
from blockfuse.codegen.kernels.statements import converted
from blockfuse.ir import layout as layouts
from blockfuse.ir.graph import Node
from blockfuse.ir.layout import Layout, row_major
from blockfuse.ir.lowering import Eliminated, Elimination

MAX_SIZE = 64  # of matrices that lie in near memory; LAPACK has blocks for larger ones
_STEP_NANOSECONDS = 0.15  # of a multiplication and subtraction, many of which are done together
_LINE_NANOSECONDS = 2.0  # of a row of the matrix at each pivot


def eliminates_natively(node: Node) -> bool:
    """Whether a kernel computes ``node``."""
    sizes = [size for operand in node.operands for size in operand.shape[-2:]]
    return all(operand.type.size for operand in node.operands) and max(sizes) <= MAX_SIZE


def elimination_kernel(node: Node, operands: list[Layout]) -> KernelCall | CopyFirst:
    """The kernel of a row of linear algebra; its rows are the matrices of the first operand."""
    lowering, (rows, columns) = node.operator.lowering, node.operands[0].shape[-2:]
    assert isinstance(lowering, Elimination)
    batch = numpy.broadcast_shapes(*(operand.shape[:-2] for operand in node.operands))
    shapes = [(*batch, *operand.shape[-2:]) for operand in node.operands]
    seen = [layouts.broadcast(o, shape) for o, shape in zip(operands, shapes, strict=True)]
    counts, strides = layouts.merge(
        [batch] * (len(seen) + 1), _of_batch([*seen, row_major(node.shape)], len(batch))
    )
    if len(counts) > 1:
        crooked = next(
            n for n, layout in enumerate(operands) if not layout.dense or shapes[n] != layout.shape
        )
        return CopyFirst(crooked, shapes[crooked])
    across = [s or (0,) for s in strides]
    loads = [
        Access(f"x{n}", str(o.dtype), (*across[n], *seen[n].strides[-2:]))
        for n, o in enumerate(node.operands)
    ]
    computed = numpy.dtype("float64")
    elements = [converted(Name(f"x{n}"), o.dtype, computed) for n, o in enumerate(node.operands)]
    inner = row_major(node.shape).strides[len(batch) :]
    kernel = EliminationKernel(
        node.operator.name,
        Access("out", str(node.dtype), (*across[-1], *inner)),
        lowering.result,
        (rows, columns),
        node.shape[len(batch) :],
        loads[0],
        loads[1] if len(loads) > 1 else None,
        elements[0],
        elements[1] if len(elements) > 1 else None,
    )
    return KernelCall(kernel, prod(batch), prod(batch) * _work(kernel))


def _of_batch(layouts_seen: list[Layout], axes: int) -> list[tuple[int, ...]]:
    return [layout.strides[:axes] for layout in layouts_seen]


def _work(kernel: EliminationKernel) -> float:
    """Of one matrix."""
    rows, size = kernel.shape
    if kernel.result is Eliminated.QR:  # the triangle, then as much again for the orthogonal factor
        return 2 * rows * size * (_LINE_NANOSECONDS + _STEP_NANOSECONDS * 2 * size)
    columns = kernel.extents[-1] if kernel.extents else 0
    return size**2 * (_LINE_NANOSECONDS / 2 + _STEP_NANOSECONDS * (size / 3 + columns))
