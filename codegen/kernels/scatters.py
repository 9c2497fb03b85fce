"""Scattered elements as kernels: added to a result that is there, or written, at places that arrays of indices hold."""

from __future__ import annotations

from math import prod

from blockfuse.codegen.kernels.expression import Expression, Name
from blockfuse.codegen.kernels.kernel import Access, Index
from blockfuse.codegen.kernels.kernel_call import KernelCall
from blockfuse.codegen.kernels.scatter_kernel import ScatterKernel
from blockfuse.codegen.kernels.statements import typed
from blockfuse.ir import layout as layouts
from blockfuse.ir.graph import Node
from blockfuse.ir.layout import Layout, row_major
from blockfuse.ir.lowering import Scatter

_PLACE_NANOSECONDS = 1.0  # until the place of an index is known
_ELEMENT_NANOSECONDS = 0.1
_MIN_SHARED_ELEMENTS = (
    16  # at each place: with fewer, every thread takes as long to find its own as one takes for all
)


def scatters_natively(node: Node) -> bool:
    """Whether a kernel computes ``node``: elements of one dtype, which is not float16, at integers."""
    whole, value, *indices = node.operands
    alike = whole.dtype == value.dtype and whole.dtype.name != "float16"
    return alike and whole.type.size > 0 and all(i.dtype.kind in "iu" for i in indices)


def scatter_kernel(node: Node, value: Layout, indices: list[Layout]) -> KernelCall:
    """The kernel that adds or writes; its operands are the value, the indices, and the result, a copy of the first one."""
    lowering = node.operator.lowering
    assert isinstance(lowering, Scatter)
    found = lowering.walk(row_major(node.shape), indices, **node.attrs)
    value = layouts.broadcast(value, found.base.shape)
    walked = [value, *(axis.index for axis in found.axes), found.base]
    shape, strides = layouts.merge([found.base.shape] * len(walked), [w.strides for w in walked])
    by_place = not (shape and strides[-1][0])
    names = [f"x{n + 1}" for n in range(len(indices))]
    steps = tuple(Index(n, axis.size, axis.stride) for n, axis in zip(names, found.axes, strict=True))
    arrays = zip(names, node.operands[2:], strides[1:-1], strict=True)
    kernel = ScatterKernel(
        node.operator.name,
        Access("out", str(node.dtype), strides[-1], steps),
        by_place,
        shape if by_place else shape[1:],
        Access("x0", str(node.dtype), strides[0]),
        tuple(Access(name, str(array.dtype), s) for name, array, s in arrays),
        Expression(*_sum(node)) if lowering.adds else Name("x0"),
    )
    beside = prod(n for n, *index in zip(shape, *strides[1:-1], strict=True) if not any(index))
    work = prod(shape) * (_ELEMENT_NANOSECONDS + _PLACE_NANOSECONDS / beside) if beside else 0.0
    rows = found.axes[0].size if by_place else shape[0]
    grain = rows if by_place and beside < _MIN_SHARED_ELEMENTS else 1
    shifts = (*(0 for _ in names), 0, found.base.offset)
    return KernelCall(kernel, rows if prod(shape) else 0, work, grain, shifts)


def _sum(node: Node) -> tuple[str, tuple[Name, Name]]:
    """Truths are joined, as NumPy adds them."""
    template = "({0} | {1})" if node.dtype == bool else "({0} + {1})"
    return typed(template, node.dtype), (Name("acc"), Name("x0"))
