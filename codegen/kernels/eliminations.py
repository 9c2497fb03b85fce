"""Solutions, inverses and determinants of small matrices as kernels."""

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
    """The kernel of a row of linear algebra; its rows are the matrices of the result."""
    lowering, matrix, size = node.operator.lowering, node.operands[0], node.operands[0].shape[-1]
    assert isinstance(lowering, Elimination)
    square = lowering.result is not Eliminated.DETERMINANT
    batch = node.shape[:-2] if square else node.shape
    shapes = [(*batch, *operand.shape[-2:]) for operand in node.operands]
    seen = [layouts.broadcast(o, shape) for o, shape in zip(operands, shapes, strict=True)]
    rows, strides = layouts.merge(
        [batch] * (len(seen) + 1), _of_batch([*seen, row_major(node.shape)], len(batch))
    )
    if len(rows) > 1:
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
    inner = row_major(node.shape).strides[-2:] if square else ()
    columns = node.shape[-1] if square else 0
    kernel = EliminationKernel(
        node.operator.name,
        Access("out", str(node.dtype), (*across[-1], *inner)),
        size,
        columns,
        loads[0],
        loads[1] if len(loads) > 1 else None,
        elements[0],
        elements[1] if len(elements) > 1 else None,
    )
    count = prod(batch)
    return KernelCall(kernel, count if matrix.type.size else 0, count * _work(size, columns))


def _of_batch(layouts_seen: list[Layout], axes: int) -> list[tuple[int, ...]]:
    return [layout.strides[:axes] for layout in layouts_seen]


def _work(size: int, columns: int) -> float:
    """Of one matrix."""
    return size**2 * (_LINE_NANOSECONDS / 2 + _STEP_NANOSECONDS * (size / 3 + columns))
