"""Batch norms of products joined with their weights, so that prediction does not compute them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from blockfuse.ir.builder import expanded
from blockfuse.ir.graph import Graph, Node, graph_of, users
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators.contractions import dense
from blockfuse.ir.operators.convolution import convolution, deconvolution
from blockfuse.ir.operators.movement import reshape, transpose
from blockfuse.ir.operators.normalization import batch_norm, scale_and_shift
from blockfuse.ir.passes.hoist import fixed_nodes

# NOTE [batch norms in weights]
# With running statistics a batch norm is ``product * scale + shift`` for each unit of a product, so ``weight * scale`` and
# ``bias * scale + shift`` give the same product normalised (Jacob et al. 2018, section 3.2). Both follow from parameters,
# and are hoisted. Each weight is rounded once more, and the product once less: the sum of the roundings stays that of the
# product. Only where all of it has one dtype, nobody else reads the product, and nothing of it is written by the call.


def fold_batch_norms(graph: Graph) -> Graph:
    """A batch norm of a product, both by parameters alone, is that product: see NOTE [batch norms in weights]."""
    fixed, readers, results = fixed_nodes(graph), users(graph), set(graph.outputs)
    now: dict[Node, Node] = {i: i for i in graph.inputs}

    def is_private(node: Node) -> bool:
        return len(readers[node]) == 1 and node not in results

    for node in graph.nodes:
        moved = node.over(tuple(now[o] for o in node.operands))
        now[node] = _folded(moved) if _folds(node, fixed, is_private) else moved
    return graph_of(graph.inputs, [now[o] for o in graph.outputs])


def _folds(node: Node, fixed: set[Node], is_private: Callable[[Node], bool]) -> bool:
    if node.operator is not batch_norm or node.dtype.name not in ("float32", "float64"):
        return False
    chain = _chain(node)
    product, given = chain[-1], node.operands[1:]
    return (
        product.operator in _SCALED
        and all(map(is_private, chain))
        and fixed.issuperset((*given, *product.operands[1:]))
        and all(n.dtype == node.dtype for n in (*given, *product.operands))
        and all(_is_one_a_unit(operand, chain) for operand in given)
    )


def _chain(node: Node) -> list[Node]:
    """What is normalised, down to what is only turned on the way."""
    chain = [node.operands[0]]
    while chain[-1].operator is transpose:
        chain.append(chain[-1].operands[0])
    return chain


def _is_one_a_unit(operand: Node, chain: list[Node]) -> bool:
    """Whether an operand has one number for each unit, broadcast along all other axes."""
    axis = _unit_axis(chain)
    ndim = len(chain[0].shape)
    shape = (1,) * (ndim - len(operand.shape)) + operand.shape
    wanted = tuple(n if a == axis else 1 for a, n in enumerate(chain[0].shape))
    return shape == wanted


def _unit_axis(chain: list[Node]) -> int:
    """The axis of what is normalised that the last one of the product became."""
    axis = len(chain[-1].shape) - 1
    for turned in reversed(chain[:-1]):
        axis = turned.attrs["axes"].index(axis)
    return axis


def _folded(node: Node) -> Node:
    """A batch norm as the product in it, turned as the product was."""
    chain = _chain(node)
    *turns, product = chain

    def written(*operands: Any, epsilon: float) -> Any:
        gamma, beta, average, variance = (reshape(o, shape=product.shape[-1:]) for o in operands[1:])
        scale, shift = scale_and_shift(gamma, beta, average, variance, epsilon)
        result = _SCALED[product.operator](product, scale, shift)
        for turn in reversed(turns):
            result = transpose(result, axes=turn.attrs["axes"])
        return result

    return expanded(written, node)


def _by_rows(product: Node, scale: Any, shift: Any) -> Any:
    """Of weights whose first axis has the units."""
    x, weight, *bias = product.operands
    columns = reshape(scale, shape=(*scale.shape, *(1,) * (len(weight.shape) - 1)))
    moved = scale * bias[0] + shift if bias else shift
    return product.operator(x, columns * weight, moved, **product.attrs)


def _by_columns(product: Node, scale: Any, shift: Any) -> Any:
    """Of weights whose first and last axes have the groups of the units, and what is in each group."""
    x, weight = product.operands
    groups = product.attrs["groups"]
    units, *kernel, channels = weight.shape
    apart = reshape(weight, shape=(groups, units // groups, prod(kernel), channels))
    scaled = apart * reshape(scale, shape=(groups, 1, 1, channels))
    return product.operator(x, reshape(scaled, shape=weight.shape), **product.attrs) + shift


# product -> itself with scaled weights, shifted
_SCALED: dict[Operator, Callable[[Node, Any, Any], Any]] = {
    dense: _by_rows,
    convolution: _by_rows,
    deconvolution: _by_columns,
}
