"""What a kernel and its launch share, whatever its loops are."""

from __future__ import annotations

from dataclasses import dataclass

from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.ir.graph import Graph, Node, constant
from blockfuse.ir.lowering import Gather


@dataclass(frozen=True)
class KernelCall:
    """A kernel with what its launch needs: rows, in multiples of ``grain``, and its work in nanoseconds on one core.

    shifts: by how many elements each operand begins behind where its layout does; () where none does.
    """

    kernel: Kernel
    rows: int
    work: float
    grain: int = 1
    shifts: tuple[int, ...] = ()


@dataclass(frozen=True)
class CopyFirst:
    """A kernel cannot walk operand number ``operand`` as it lies: copy it, broadcast to ``shape``, in C order."""

    operand: int
    shape: tuple[int, ...]


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
