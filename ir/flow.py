"""Data-dependent control flow: straight-line graphs (blocks) joined by decisions and registers.

NOTE [flows]
A block computes its outputs from arguments, parameters and registers. Then it stores the first of them into
registers, all at once, and either ends the call (the other outputs are the results, and behind them *updates*: the
new values of leaves that the call writes to on this way) or decides: its last output, one bool, says which block is next.
A loop is a way back to an earlier decision, its carried values are registers. A successor that no call has taken yet is
unknown (None): there the call is given back to Python, which runs it from the start and records the new path.

NOTE [stacks]
What one round of a loop leaves to the way back through that round (``backward`` goes through rounds from the last to
the first) is more than a register can hold. A *stack* is a carried leaf with as many values as were pushed and not popped
yet: a block that ends *pushes* outputs of it, a block that begins *pops* the last value of some stacks, which it and the
blocks behind it read by the leaf until it is popped again. A call for which a stack has no room is given back like one
that comes to an unknown successor. A block that begins may also *take* a stack: then a leaf stands for all its values, in
the order in which they were pushed, along a new first axis, and the stack is empty. That is how loops of a known number of
rounds leave what each round gave (NOTE [rolled loops] in ``ir/rerolling/reroll.py``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy

from blockfuse.ir.graph import Graph, Node, Source, evaluate, graph_of

Value = TypeVar("Value")
Successors = tuple[int | None, int | None]  # when the decision is true, when it is false


@dataclass(frozen=True)
class Block:
    """Straight-line code, and what follows."""

    graph: Graph
    stores: tuple[Node, ...] = ()  # carried leaves, which take the first outputs
    pushes: tuple[Node, ...] = ()  # stacks, which take the next outputs
    pops: tuple[Node, ...] = ()  # stacks whose last value is taken off when the block begins
    successors: Successors | None = None  # None where the call ends
    updates: tuple[Node, ...] = ()  # captured leaves, which take the last outputs where the call ends
    takes: tuple[
        tuple[Node, Node], ...
    ] = ()  # stacks that are emptied when the block begins, and their leaves

    @property
    def kept(self) -> int:
        """How many outputs, the first ones, later blocks read."""
        return len(self.stores) + len(self.pushes)


@dataclass(frozen=True)
class RolledLoop:
    """Operators that were recorded again and again, and are a loop now."""

    rounds: int
    operators: int  # of a round
    source: Source | None  # of the first of them


@dataclass(frozen=True)
class Flow:
    """Blocks; the first one is the start of the call."""

    blocks: tuple[Block, ...]
    room: int = 0  # values for which a stack has memory, where nobody knows how many are pushed
    rolled: tuple[RolledLoop, ...] = ()  # outer loops before those in them

    def __str__(self) -> str:
        return "\n".join(_block_text(n, b, len(self.blocks) > 1) for n, b in enumerate(self.blocks))

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Arguments, parameters and captured arrays, as the first block lists them (every block lists all of them)."""
        return self.blocks[0].graph.inputs

    @property
    def updates(self) -> tuple[Node, ...]:
        """The leaves that a call writes to on some way."""
        return tuple(dict.fromkeys(leaf for block in self.blocks for leaf in block.updates))

    def with_all_updates(self) -> Flow:
        """Every way gives values for all leaves that some way writes to: those that they hold, where it does not."""
        return replace(self, blocks=tuple(map(self._with_all_updates, self.blocks)))

    def _with_all_updates(self, block: Block) -> Block:
        if block.successors is not None or block.updates == self.updates:
            return block
        count = len(block.graph.outputs) - len(block.updates)
        new = dict(zip(block.updates, block.graph.outputs[count:], strict=True))
        outputs = (*block.graph.outputs[:count], *(new.get(leaf, leaf) for leaf in self.updates))
        return replace(block, graph=graph_of(block.graph.inputs, outputs), updates=self.updates)

    def map(self, change: Callable[[Graph], Graph]) -> Flow:
        """The flow with every graph changed."""
        return replace(self, blocks=tuple(replace(b, graph=change(b.graph)) for b in self.blocks))

    @property
    def stacks(self) -> tuple[Node, ...]:
        """All of them, in the order in which blocks push."""
        return tuple(dict.fromkeys(stack for block in self.blocks for stack in block.pushes))

    @property
    def rooms(self) -> dict[Node, int]:
        """Stack -> for how many values there is memory; one more than are pushed where that is known."""
        taken = {stack: whole.shape[0] + 1 for block in self.blocks for stack, whole in block.takes}
        return {stack: taken.get(stack, self.room) for stack in self.stacks}


class Stacks(Generic[Value]):
    """What lies on the stacks of a flow while somebody goes through it: NOTE [stacks]."""

    def __init__(self, flow: Flow, stacked: Callable[[list[Value]], Value]) -> None:
        """stacked: values side by side along a new first axis."""
        self._rooms, self._values = flow.rooms, defaultdict[Node, list[Value]](list)
        self._stacked = stacked

    def popped(self, block: Block) -> dict[Node, Value]:
        """What the stacks stand for in a block that begins."""
        found = {stack: self._values[stack].pop() for stack in block.pops}
        return found | {whole: self._stacked(self._values.pop(stack)) for stack, whole in block.takes}

    def pushed(self, block: Block, outputs: Sequence[Value]) -> bool:
        """Push what a block that ends leaves; whether there was room."""
        for stack, value in zip(block.pushes, outputs[len(block.stores) : block.kept], strict=True):
            self._values[stack].append(value)
        return all(len(self._values[stack]) < self._rooms[stack] for stack in block.pushes)


def _block_text(number: int, block: Block, several: bool) -> str:
    text = block.graph.text(sources=True)
    if not several and not block.updates:
        return text
    body, _, returned = text.rpartition("\n  return ")
    values = returned.split(", ") if returned else []
    lines = [f"block {number}:\n{body}" if several else body]
    lines += [f"  pop {stack.attrs['name']}" for stack in block.pops]
    lines += [f"  take {stack.attrs['name']} as {whole.attrs['name']}" for stack, whole in block.takes]
    lines += [f"  {leaf.attrs['name']} <- {value}" for leaf, value in zip(block.stores, values, strict=False)]
    pushed = values[len(block.stores) : block.kept]
    lines += [f"  push {s.attrs['name']} <- {value}" for s, value in zip(block.pushes, pushed, strict=True)]
    end = len(values) - len(block.updates)
    lines += [f"  {u.attrs['name']} <- {value}" for u, value in zip(block.updates, values[end:], strict=True)]
    rest = values[block.kept : end]
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
    """Results and updates by the NumPy meaning of every node, or None where the flow is unknown."""
    return walk_by(evaluate, numpy.stack, numpy.ndarray.item, flow.with_all_updates(), values)


def walk_by(
    meaning: Callable[[Graph, list[Value]], list[Value]],
    stacked: Callable[[list[Value]], Value],
    truth: Callable[[Value], Any],
    flow: Flow,
    values: Iterable[Value],
) -> list[Value] | None:
    """The same by anybody's meaning of a graph. stacked: see ``Stacks``; truth: of a predicate."""
    known: dict[Node, Value] = dict(zip(flow.inputs, values, strict=True))
    stacks = Stacks[Value](flow, stacked)
    number: int | None = 0
    while number is not None:
        block = flow.blocks[number]
        known.update(stacks.popped(block))
        outputs = meaning(block.graph, [known[i] for i in block.graph.inputs])
        known.update(zip(block.stores, outputs, strict=False))
        if block.successors is None:
            return outputs[block.kept :]
        if not stacks.pushed(block, outputs):
            return None
        number = block.successors[0 if truth(outputs[-1]) else 1]
    return None
