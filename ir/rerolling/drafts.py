"""Blocks of a flow that are still written: what each computes is known, and what it leaves to later ones is found last.

NOTE [homes]
A node is computed in one block, its home; blocks behind that one read it from a register. Views, constants and arrays made
of nothing (``arange(8)``) have no home: whoever reads them makes them. A recorded node of some round of a loop is what the
loop leaves of it: of the last round its value, of all others a row of the values of all rounds. These lie on a stack (NOTE
[stacks] in ``ir/flow.py``), which the block behind the loop takes as one array.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from blockfuse.ir.builder import node_of
from blockfuse.ir.flow import Block
from blockfuse.ir.graph import Node, carried, graph_of, leaf, ordered
from blockfuse.ir.lowering import Joining
from blockfuse.ir.operators.movement import get_item, reshape, transpose
from blockfuse.ir.rerolling.draft import Draft, Member, Rounds
from blockfuse.ir.rerolling.joins import Run, run_of
from blockfuse.ir.types import TensorType


@dataclass
class Drafts:
    """What is known of the nodes while drafts become blocks, the last one first."""

    _numbers: Iterator[int]  # of names
    home: dict[Node, Draft] = field(default_factory=dict)
    members: dict[Node, Member] = field(default_factory=dict)
    _registers: dict[Node, Node] = field(default_factory=dict)  # node -> by which later blocks read it
    _wholes: dict[Node, Node] = field(default_factory=dict)  # node of a loop -> its values of all rounds
    _became: dict[Node, Node] = field(default_factory=dict)  # what is read -> what it is read from

    def written(self, draft: Draft, inputs: tuple[Node, ...]) -> Block:
        """The block of a draft; all later ones must have been written."""
        now: dict[Node, Node] = {}
        outputs = draft.outputs
        for output in outputs:
            self._write(output, draft, now)
        values = [now[output] for output in outputs]
        read = [n for n in ordered(values) if n.operator is carried]
        graph = graph_of(dict.fromkeys((*inputs, *read)), values)
        stores, pushes = (tuple(leaf for leaf, _ in pairs) for pairs in (draft.stores, draft.pushes))
        return Block(graph, stores, pushes, draft.pops, updates=draft.updates, takes=tuple(draft.takes))

    def _write(self, output: Node, draft: Draft, now: dict[Node, Node]) -> None:
        """Everything that ``output`` needs in a block, operands first (no recursion: graphs run deep)."""
        waiting = [output]
        while waiting:
            node = waiting[-1]
            seen = self._seen(node, draft)
            missing = [o for o in ((seen,) if seen is not node else seen.operands) if o not in now]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if node not in now:
                now[node] = now[seen] if seen is not node else node.over(tuple(now[o] for o in node.operands))

    def _seen(self, node: Node, draft: Draft) -> Node:
        """What stands for a node in a block."""
        if node not in self._became:
            if node in self.members:
                self._became[node] = self._of_loop(self.members[node])
            elif isinstance(node.operator.lowering, Joining):
                self._became[node] = self._rejoined(node)
        seen = self._became.get(node, node)
        home = self.home.get(seen, draft)
        return seen if home is draft else self._register(seen, home)

    def _register(self, node: Node, home: Draft) -> Node:
        if node not in self._registers:
            register = leaf(carried, f"rolled{next(self._numbers)}", node.type)
            home.stores.append((register, node))
            self._registers[node] = register
        return self._registers[node]

    # -- what loops leave ------------------------------------------------------------------------------------

    def _of_loop(self, member: Member) -> Node:
        loop = member.rounds.loop
        value = loop.values[member.place]
        if member.round == loop.rounds - 1 or value in loop.before:
            return loop.last(member.place)
        whole = self._whole(member.rounds, value)
        return _part(whole, member.round)

    def _whole(self, rounds: Rounds, value: Node) -> Node:
        """The values of a node in all rounds of a loop, as one array."""
        if value not in self._wholes:
            number, loop = next(self._numbers), rounds.loop
            stack = leaf(carried, f"stack{number}", value.type)
            whole = leaf(carried, f"whole{number}", TensorType((loop.rounds, *value.shape), value.dtype))
            rounds.last.pushes.append((stack, value))
            rounds.behind.takes.append((stack, whole))
            self._wholes[value] = whole
        return self._wholes[value]

    def _rejoined(self, node: Node) -> Node:
        """A concatenation, with values of all rounds of a loop as one operand."""
        operands, place = [], 0
        while place < len(node.operands):
            run = run_of(node, place, self.members)
            operands.append(self._joined(run, node.attrs["axis"]) if run else node.operands[place])
            place += run.operands if run else 1
        if len(operands) == len(node.operands):
            return node
        alone = len(operands) == 1 and operands[0].dtype == node.dtype
        joined = operands[0] if alone else replace(node, operands=tuple(operands))
        if node in self.home and not (alone and self._is_view(joined)):
            self.home[joined] = self.home[node]
        return joined

    @staticmethod
    def _is_view(joined: Node) -> bool:
        """Whether what was put together lies in memory as it is read: each round's values at the start of a line."""
        whole = joined.operands[0].operands[0]
        return whole.operator is carried and whole.shape[0] >= joined.shape[0]

    def _joined(self, run: Run, axis: int) -> Node:
        """The operands of a run side by side along an axis."""
        value, shape = run.value(axis)
        stop = run.first + run.step * run.groups
        part = _part(self._whole(run.rounds, value), ("slice", run.first, stop, run.step))
        if axis:
            part = node_of(reshape, (part,), {"shape": (run.groups, *shape)}, None)
            axes = (*range(1, axis + 1), 0, *range(axis + 1, part.type.ndim))
            part = node_of(transpose, (part,), {"axes": axes}, None)
        shape = (*shape[:axis], run.groups * shape[axis], *shape[axis + 1 :])
        return node_of(reshape, (part,), {"shape": shape}, None)


def _part(whole: Node, rounds: Any) -> Node:
    others = (("slice", 0, size, 1) for size in whole.shape[1:])
    return node_of(get_item, (whole,), {"index": (rounds, *others)}, None)
