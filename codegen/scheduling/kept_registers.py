"""Registers that stay where they are: what a block leaves in them is what they hold, with some elements changed.

NOTE [kept registers]
A register and the value that it is left exchange their memory, so a value is computed beside the register. Where it is the
register with elements put somewhere (``keys[t] = k`` in a loop), that would copy all others each time. They are put into the
register itself, and nothing is exchanged, if nothing else in the block needs what was there: each step that reads the
register, or a view of it, stands before; the block leaves no such view to anybody; and what is put is none.
"""

from __future__ import annotations

from collections.abc import Callable

from blockfuse.ir.flow import Block
from blockfuse.ir.graph import Graph, Node
from blockfuse.ir.lowering import Movement, Scatter


def kept_registers(block: Block, has_kernel: Callable[[Node], bool]) -> dict[Node, Node]:
    """Value that is put together in a register -> the register.

    has_kernel: whether a node is computed by kernels; what NumPy computes may be a view of what it is given.
    """
    pairs = zip(block.stores, block.graph.outputs, strict=False)
    return {value: leaf for leaf, value in pairs if _stays(value, leaf, block.graph, has_kernel)}


def _stays(value: Node, register: Node, graph: Graph, has_kernel: Callable[[Node], bool]) -> bool:
    if not isinstance(value.operator.lowering, Scatter) or value.operands[0] is not register:
        return False
    views, is_written = {register}, False
    for node in graph.nodes:
        if node is value:
            is_written = True
            if not has_kernel(node) or not views.isdisjoint(node.operands[1:]):
                return False
        elif not views.isdisjoint(node.operands):
            if is_written or not has_kernel(node):
                return False
            if isinstance(node.operator.lowering, Movement):
                views.add(node)
    return graph.outputs.count(value) == 1 and views.isdisjoint(graph.outputs)
