"""Data-dependent control flow: straight-line graphs (blocks) joined by decisions and registers.

NOTE [flows]
A block computes its outputs from arguments, parameters and registers. Then it stores the first of them into
registers, all at once, and either ends the call (the other outputs are the results, and behind them *updates*: the
new values of leaves that the call writes to) or decides: its last output, one bool, says which block is next. A loop
is a way back to an earlier decision, its carried values are registers. A successor that no call has taken yet is
unknown (None): there the call is given back to Python, which runs it from the start and records the new path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy

from blockfuse.ir.graph import Graph, Node, evaluate

Successors = tuple[int | None, int | None]  # when the decision is true, when it is false


@dataclass(frozen=True)
class Block:
    """Straight-line code, and what follows."""

    graph: Graph
    stores: tuple[Node, ...] = ()  # carried leaves, which take the first outputs
    successors: Successors | None = None  # None where the call ends
    updates: tuple[Node, ...] = ()  # captured leaves, which take the last outputs where the call ends


@dataclass(frozen=True)
class Flow:
    """Blocks; the first one is the start of the call."""

    blocks: tuple[Block, ...]

    def __str__(self) -> str:
        return "\n".join(_block_text(n, b, len(self.blocks) > 1) for n, b in enumerate(self.blocks))

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Arguments, parameters and captured arrays, as the first block lists them (every block lists all of them)."""
        return self.blocks[0].graph.inputs

    @property
    def updates(self) -> tuple[Node, ...]:
        """The leaves that a call writes to, the same on all ways."""
        return next((b.updates for b in self.blocks if b.successors is None), ())

    def map(self, change: Callable[[Graph], Graph]) -> Flow:
        """The flow with every graph changed."""
        return Flow(tuple(replace(b, graph=change(b.graph)) for b in self.blocks))


def _block_text(number: int, block: Block, several: bool) -> str:
    text = block.graph.text(sources=True)
    if not several and not block.updates:
        return text
    body, _, returned = text.rpartition("\n  return ")
    values = returned.split(", ") if returned else []
    lines = [f"block {number}:\n{body}" if several else body]
    lines += [f"  {leaf.attrs['name']} <- {value}" for leaf, value in zip(block.stores, values, strict=False)]
    end = len(values) - len(block.updates)
    lines += [f"  {u.attrs['name']} <- {value}" for u, value in zip(block.updates, values[end:], strict=True)]
    rest = values[len(block.stores) : end]
    if block.successors is None:
        lines.append(f"  return {', '.join(rest)}")
    else:
        yes, no = ("python" if s is None else f"block {s}" for s in block.successors)
        lines.append(f"  if {rest[0]}: {yes}, else: {no}")
    return "\n".join(lines)


def straight(graph: Graph) -> Flow:
    """A flow without decisions."""
    return Flow((Block(graph),))


def walk(flow: Flow, values: list[numpy.ndarray]) -> list[numpy.ndarray] | None:
    """The results by the NumPy meaning of every node, or None where the flow is unknown."""
    known: dict[Node, numpy.ndarray] = dict(zip(flow.inputs, values, strict=True))
    number: int | None = 0
    while number is not None:
        block = flow.blocks[number]
        outputs = evaluate(block.graph, [known[i] for i in block.graph.inputs])
        known.update(zip(block.stores, outputs, strict=False))
        if block.successors is None:
            return outputs[len(block.stores) :]
        number = block.successors[0 if outputs[-1].item() else 1]
    return None
