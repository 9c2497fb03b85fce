"""What a kernel and its launch share, whatever its loops are."""

from __future__ import annotations

from dataclasses import dataclass

from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.ir.graph import Graph, Node, constant
from blockfuse.ir.lowering import Gather


@dataclass(frozen=True)
class KernelCall:
    """A kernel with what its launch needs."""

    kernel: Kernel
    rows: int
    work: float  # an estimate in nanoseconds on one core
    grain: int = 1  # rows come in multiples of this
    shifts: tuple[
        int, ...
    ] = ()  # by how many elements each operand begins behind its layout; () where none does


@dataclass(frozen=True)
class CopyFirst:
    """A kernel cannot walk an operand as it lies: copy it in C order."""

    operand: int  # its number
    shape: tuple[int, ...]  # to which it is broadcast


def names_of_body(body: Graph) -> dict[Node, str]:
    """A name for each value; what a gather picks has that of its table."""
    names = {leaf: leaf.attrs["name"] for leaf in body.inputs}
    count = 0
    for node in body.nodes:
        if isinstance(node.operator.lowering, Gather):
            names[node] = names[node.operands[0]]
        elif node.operator is not constant:
            names[node] = f"t{count}"
            count += 1
    return names
