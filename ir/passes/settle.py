"""Transposes moved behind what follows from the transposed value, so that kernels walk memory in the order it was made."""

from __future__ import annotations

from typing import Any

from blockfuse.ir.builder import expanded, node_of
from blockfuse.ir.graph import Graph, Node, rewrite
from blockfuse.ir.lowering import Joining, Movement, Pointwise, Reduction
from blockfuse.ir.operators.movement import reshape, transpose
from blockfuse.ir.passes.simplify import transpose_of_transpose
from blockfuse.ir.types import TensorType

Axes = tuple[int, ...]


def settle_transposes(graph: Graph) -> Graph:
    """A pointwise operator, a join or a fold of a transposed value is a transpose of that of the value itself.

    What a layer makes with channels last (a convolution) stays so through activations and sums up to the next layer that
    takes it so, where two transposes meet and vanish; and what follows it can be computed in its kernel.
    """
    return rewrite(graph, _settled)


def _settled(node: Node) -> Node:
    if node.operator is transpose:
        return transpose_of_transpose(node) or node
    lowering = node.operator.lowering
    axes = next((o.attrs["axes"] for o in node.operands if _turns(o, node)), None)
    if axes is None:
        return node
    if isinstance(lowering, Reduction):
        return expanded(lambda x, axis, keepdims: _folded(node, x, axes, axis, keepdims), node)
    if isinstance(lowering, Pointwise):
        inner = _over(node, axes, node.attrs)
    elif isinstance(lowering, Joining):
        inner = _over(node, axes, {"axis": axes[node.attrs["axis"]]})
    else:
        return node
    return Node(transpose, (inner,), {"axes": axes}, node.type, node.source)


def _turns(operand: Node, node: Node) -> bool:
    """Whether an operand is a transposed value that something computes, as large as the result or, of a fold, larger."""
    if operand.operator is not transpose or operand.type.ndim < 2:
        return False
    lowering, origin = node.operator.lowering, operand
    while isinstance(origin.operator.lowering, Movement):
        origin = origin.operands[0]
    fits = operand.shape == node.shape or isinstance(lowering, Joining | Reduction)
    return fits and not origin.is_leaf


def _inverse(axes: Axes) -> Axes:
    return tuple(axes.index(a) for a in range(len(axes)))


def _over(node: Node, axes: Axes, attrs: dict[str, Any]) -> Node:
    operands = tuple(_turned_back(o, axes) for o in node.operands)
    shape = tuple(node.shape[a] for a in _inverse(axes))
    return Node(node.operator, operands, attrs, TensorType(shape, node.dtype), node.source)


def _turned_back(operand: Node, axes: Axes) -> Node:
    """An operand as the other way round sees it: with all axes, of which broadcast ones have size 1."""
    if not operand.type.ndim or (operand.type.size == 1 and operand.type.ndim <= 1):
        return operand
    if operand.operator is transpose and operand.attrs["axes"] == axes:
        return operand.operands[0]
    missing = len(axes) - operand.type.ndim
    if missing:
        shape = (1,) * missing + operand.shape
        operand = node_of(reshape, (operand,), {"shape": shape}, operand.source)
    turned = node_of(transpose, (operand,), {"axes": _inverse(axes)}, operand.source)
    return transpose_of_transpose(turned) or turned


def _folded(node: Node, x: Any, axes: Axes, axis: Axes, keepdims: bool) -> Any:
    """The same fold of what ``x`` is a transpose of; what is left of the axes is turned as ``x`` was."""
    origin = transpose(x, axes=_inverse(axes))
    inside = tuple(sorted(axes[a] for a in axis))
    result = node.operator(origin, axis=inside, keepdims=keepdims)
    if keepdims:
        return transpose(result, axes=axes)
    left = [a for a in range(len(axes)) if a not in inside]
    return transpose(result, axes=tuple(left.index(axes[a]) for a in range(len(axes)) if a not in axis))
