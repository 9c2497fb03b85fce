"""What a kernel and its launch share, whatever its loops are."""

from __future__ import annotations

from dataclasses import dataclass

from blockfuse.codegen.kernel import Kernel
from blockfuse.ir.graph import Graph, Node, constant
from blockfuse.ir.lowering import Pointwise


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


CACHE_BANDWIDTH = 64  # bytes of a weight a nanosecond
PARALLEL_WORK = 20_000.0  # nanoseconds: below this, a fork and join costs more than it saves
LINE = 64  # elements: threads that write next to each other keep to cache lines of their own


def line_grain(shape: tuple[int, ...]) -> int:
    return LINE if len(shape) == 1 else 1


def cost_of(body: Graph) -> float:
    """Nanoseconds for one element: about eight simple vector operations of eight lanes a nanosecond."""
    pointwise = [n.operator.lowering.cost for n in body.nodes if isinstance(n.operator.lowering, Pointwise)]
    return (sum(pointwise) + 2.0) / 32


def names_of_body(body: Graph) -> dict[Node, str]:
    names = {leaf: leaf.attrs["name"] for leaf in body.inputs}
    for node in body.nodes:
        if node.operator is not constant:
            names[node] = f"t{len(names) - len(body.inputs)}"
    return names
