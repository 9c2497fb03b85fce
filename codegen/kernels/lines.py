"""Operators along the lines of one axis, scans and sorts, as kernels: how rows, line and what lies inside are walked."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from blockfuse.codegen.kernels.expression import Expression, Name
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.kernel_call import CopyFirst, KernelCall
from blockfuse.codegen.kernels.scan_kernel import ScanKernel
from blockfuse.codegen.kernels.sort_kernel import SortKernel
from blockfuse.codegen.kernels.statements import converted, typed
from blockfuse.ir import layout as layouts
from blockfuse.ir.graph import Node
from blockfuse.ir.layout import Layout, row_major
from blockfuse.ir.lowering import Scan, Sort

_STEP_NANOSECONDS = 1.2  # of an addition that waits for the one before it
_COMPARISON_NANOSECONDS = 0.2  # of two elements of a sort
_ELEMENT_NANOSECONDS = 0.3  # where neighbours do not wait for each other


@dataclass(frozen=True)
class _Walk:
    """The rows of a launch, the line, and lines beside it within a row; strides of the operand and of the result alike."""

    rows: int
    inner: tuple[int, ...]
    load: tuple[int, ...]
    store: tuple[int, ...]


def scans_natively(node: Node) -> bool:
    """Whether a kernel computes ``node``: float16 is NumPy's."""
    return node.dtype.name != "float16" and node.operands[0].dtype.name != "float16"


def scan_kernel(node: Node, operands: list[Layout]) -> KernelCall | CopyFirst:
    """The kernel of a scan."""
    lowering, (operand,) = node.operator.lowering, node.operands
    assert isinstance(lowering, Scan)
    walk = _walk(operands[0], node.attrs["axis"])
    if walk is None:
        return CopyFirst(0, node.shape)
    element = converted(Name("x0"), operand.dtype, node.dtype)
    extent = node.shape[node.attrs["axis"]]
    kernel = ScanKernel(
        node.operator.name,
        Access("out", str(node.dtype), walk.store),
        extent,
        walk.inner,
        Access("x0", str(operand.dtype), walk.load),
        element,
        Expression(typed(lowering.combine.format("{1}", acc="{0}"), node.dtype), (Name("acc"), element)),
    )
    beside = kernel.inner or kernel.rows_are_neighbours
    work = prod(node.shape) * (_ELEMENT_NANOSECONDS if beside else _STEP_NANOSECONDS)
    return KernelCall(kernel, walk.rows if prod(node.shape) else 0, work)


_MAX_SORTED = 32  # elements of a line, above which NumPy is quicker


def sorts_natively(node: Node) -> bool:
    """Whether a kernel computes ``node``: float16 and long lines are NumPy's."""
    operand = node.operands[0]
    return operand.dtype.name != "float16" and 0 < operand.shape[node.attrs["axis"]] <= _MAX_SORTED


def sort_kernel(node: Node, operands: list[Layout]) -> KernelCall | CopyFirst:
    """The kernel of a sort."""
    lowering, (operand,) = node.operator.lowering, node.operands
    assert isinstance(lowering, Sort)
    walk = _walk(operands[0], node.attrs["axis"])
    if walk is None:
        return CopyFirst(0, node.shape)
    extent = node.shape[node.attrs["axis"]]
    kernel = SortKernel(
        node.operator.name,
        Access("out", str(node.dtype), walk.store),
        extent,
        walk.inner,
        Access("x0", str(operand.dtype), walk.load),
        lowering.places,
    )
    work = prod(node.shape) * (_STEP_NANOSECONDS + extent * _COMPARISON_NANOSECONDS)
    return KernelCall(kernel, walk.rows if prod(node.shape) else 0, work)


def _walk(operand: Layout, axis: int) -> _Walk | None:
    """None where the operand has to be copied first."""
    shape, result = operand.shape, row_major(operand.shape)
    outer, inner = (
        layouts.merge([shape[part]] * 2, [operand.strides[part], result.strides[part]])
        for part in (slice(0, axis), slice(axis + 1, None))
    )
    if len(outer[0]) > 1 or len(inner[0]) > 1:
        return None
    if not outer[0]:  # what lies inside of the line is shared out instead
        outer, inner = inner, outer
    strides = (
        (*(rows or (0,)), along.strides[axis], *lines)
        for rows, lines, along in zip(outer[1], inner[1], (operand, result), strict=True)
    )
    return _Walk(outer[0][0] if outer[0] else 1, inner[0], *strides)
