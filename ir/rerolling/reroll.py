"""Loops of Python whose rounds were recorded one by one become loops of the flow.

NOTE [rolled loops]
A ``for`` over numbers, rows or layers leaves no decision behind, so a recording holds its rounds one after the other, and
compiling them takes as long as there are rounds. The recorded operators say all that is needed to find the loop again
(loop rerolling; Stitt and Vahid 2005 do it to machine code): a part of them that comes again and again (``repeats.py``),
whose operands are, in every round, the same, or at the same place of this or an earlier round, or move evenly (NOTE
[slots] in ``loop.py``). Such a part becomes a block that follows itself, with a register that counts. Nothing is
assumed of Python: each operand of each round is compared, and what does not fit stays as it was recorded. The same values
are computed by the same operators, so loops that are written as recursion, or that nets of equal layers make, count as well,
and so do the ways back through them in a step of training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice

from blockfuse.ir.errors import TraceError
from blockfuse.ir.flow import Block, Flow, RolledLoop, Successors
from blockfuse.ir.graph import Node, constant, literal
from blockfuse.ir.lowering import Host, Movement, Pointwise
from blockfuse.ir.rerolling.draft import Draft, Member, Rounds
from blockfuse.ir.rerolling.drafts import Drafts
from blockfuse.ir.rerolling.joined_writes import with_joined_writes
from blockfuse.ir.rerolling.loop import Loop, loop_of
from blockfuse.ir.rerolling.repeats import MIN_ROUNDS, Repeat, repeats_of

_MIN_OPERATORS = 200  # of all rounds: fewer compile quickly as they are, and run as one kernel
_SHORT = 64  # operators of single numbers or short rows
_MAX_LOOPS = 100  # of a block: each may be planned inside of the plan for the one before
_ATTEMPTS = 8  # repeats that are tried where others do not fit
_STACK_BYTES = 1 << 30  # of all values that rounds leave behind them


def rerolled(flow: Flow) -> Flow:
    """The flow with loops in the place of operators that repeat; itself where there are none."""
    numbers = count()
    plans = [_Plan(block, numbers) for block in flow.blocks]
    if not any(plan.loops for plan in plans):
        return flow
    drafts = [draft for plan in plans for draft in plan.drafts]
    places = {id(draft): n for n, draft in enumerate(drafts)}
    firsts = [places[id(plan.drafts[0])] for plan in plans]
    blocks: list[Block] = []
    for plan in plans:
        blocks += plan.blocks(flow.inputs, places, firsts)
    loops = [loop for plan in plans for loop in plan.loops]
    rolled = Flow(tuple(blocks), flow.room, tuple(_told(loop) for loop in loops))
    kept = {stack: room for stack, room in rolled.rooms.items() if stack not in flow.rooms}
    return flow if sum(stack.type.nbytes * room for stack, room in kept.items()) > _STACK_BYTES else rolled


class _Plan:
    """A block as drafts."""

    def __init__(self, block: Block, numbers: Iterator[int]) -> None:
        """numbers: of names."""
        self.loops: list[Loop] = []
        self._numbers = numbers
        self._block = with_joined_writes(block)
        self._known = Drafts(numbers)
        self.drafts = self._planned([n for n in self._block.graph.nodes if n.operator is not constant])
        if self.loops:
            self._take_ends()

    def _take_ends(self) -> None:
        block, outputs = self._block, self._block.graph.outputs
        first, last = self.drafts[0], self.drafts[-1]
        first.pops = block.pops
        last.stores = list(zip(block.stores, outputs, strict=False))
        last.pushes = list(zip(block.pushes, outputs[len(block.stores) :], strict=False))
        last.ends = outputs[block.kept :]
        last.updates = block.updates

    def blocks(self, inputs: tuple[Node, ...], places: dict[int, int], firsts: Sequence[int]) -> list[Block]:
        """inputs: of the flow. places: of drafts among the blocks to be. firsts: where each block before begins now."""
        block = self._block
        goes: Successors | None = None
        if block.successors is not None:
            yes, no = (None if s is None else firsts[s] for s in block.successors)
            goes = yes, no
        if not self.loops:
            return [replace(block, successors=goes)]
        found = []
        for draft in reversed(self.drafts):
            written = self._known.written(draft, inputs)
            after = draft.following
            ways = goes if after is None else (places[id(after[0])], places[id(after[1])])
            found.append(replace(written, successors=ways))
        return found[::-1]

    # -- loops -----------------------------------------------------------------------------------------------

    def _planned(self, nodes: Sequence[Node]) -> list[Draft]:
        """Drafts for nodes in their order; what the last one ends with is left open."""
        found = repeats_of(nodes) if len(nodes) >= _MIN_OPERATORS and len(self.loops) < _MAX_LOOPS else ()
        for repeat in islice(found, _ATTEMPTS):
            if repeat.period * repeat.rounds < _MIN_OPERATORS:
                continue
            repeat = _worth_a_round(nodes, repeat)
            try:
                loop = loop_of(nodes, repeat, f"loop{next(self._numbers)}")
            except TraceError:
                continue
            if len(loop.before) + len(loop.nodes) >= repeat.period * repeat.rounds:
                continue  # it would be longer; and tables of tables of tables would never end
            self.loops.append(loop)
            return self._around(nodes, repeat, loop)
        draft = Draft()
        self._known.home |= {n: draft for n in nodes if _has_home(n)}
        return [draft]

    def _around(self, nodes: Sequence[Node], repeat: Repeat, loop: Loop) -> list[Draft]:
        """The drafts before a loop, of its rounds and behind it."""
        before = self._planned([*nodes[: repeat.start], *loop.before])
        rounds = self._planned(loop.nodes)
        behind = self._planned(nodes[repeat.end :])
        found = Rounds(loop, rounds[-1], behind[0])
        for number, node in enumerate(nodes[repeat.start : repeat.end]):
            self._known.members[node] = Member(found, number % repeat.period, number // repeat.period)
        start, end = before[-1], rounds[-1]
        start.stores += [(c.register, c.first) for c in loop.carries] + [(loop.counter, literal(0, "int64"))]
        start.ends, start.following = (literal(True),), (rounds[0], rounds[0])
        end.stores += [(c.register, c.following) for c in loop.carries]
        end.stores.append((loop.counter, loop.next_counter))
        end.ends, end.following = (loop.more,), (rounds[0], behind[0])
        return [*before, *rounds, *behind]


def _has_home(node: Node) -> bool:
    """See NOTE [homes]. What the host makes of nothing is made once for all calls, wherever it is read."""
    is_made_once = isinstance(node.operator.lowering, Host) and not node.operands and not node.operator.random
    return not (isinstance(node.operator.lowering, Movement) or is_made_once)


def _told(loop: Loop) -> RolledLoop:
    return RolledLoop(loop.rounds, len(loop.values), next((n.source for n in loop.nodes if n.source), None))


def _worth_a_round(nodes: Sequence[Node], repeat: Repeat) -> Repeat:
    """Several rounds as one, where they are one short kernel: to go round takes longer than some operators of a number."""
    short = all(isinstance(n.operator.lowering, Pointwise) for n in nodes[repeat.start :][: repeat.period])
    most = min(_SHORT // repeat.period, repeat.rounds // MIN_ROUNDS) if short else 1
    if most <= 1:
        return repeat
    even = [n for n in range(most // 2 + 1, most + 1) if repeat.rounds % n == 0]
    several = max(even, default=most)
    return Repeat(repeat.start, repeat.period * several, repeat.rounds // several)
