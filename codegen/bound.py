"""What a kernel and its launch share, whatever its loops are."""

from __future__ import annotations

from dataclasses import dataclass

from blockfuse.codegen.kernel import Kernel
from blockfuse.ir.graph import Graph, Node, constant


@dataclass(frozen=True)
class Bound:
    """A kernel with what its launch needs: rows, in multiples of ``grain``, and its work in nanoseconds on one core."""

    kernel: Kernel
    rows: int
    work: float
    grain: int = 1


@dataclass(frozen=True)
class CopyFirst:
    """A kernel cannot walk operand number ``operand`` as it lies: copy it, broadcast to ``shape``, in C order."""

    operand: int
    shape: tuple[int, ...]


def names_of_body(body: Graph) -> dict[Node, str]:
    names = {leaf: leaf.attrs["name"] for leaf in body.inputs}
    for node in body.nodes:
        if node.operator is not constant:
            names[node] = f"t{len(names) - len(body.inputs)}"
    return names
