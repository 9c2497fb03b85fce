"""Recorded paths put together: what they share is one, loops are closed, decisions stand between blocks.

NOTE [blocks and positions]
A position is where a decision is taken: all points that are the same (NOTE [when two points are one]), of whichever
path. A block is what one path records from a position on, one way, to the next position. A position that is reached
from several blocks is a loop or a join: what differs there in the variables becomes registers (``changing``), and what
was computed in blocks that not every way runs through (``above``) is gone. Where a path reads what is gone, or used a
value in Python that is a register now, the position must stand apart, or the induction variable must not be carried.

All this is learnt by replaying every path onto the blocks until nothing new is learnt: first as if all could be shared.
Where a path then disagrees with the blocks (the same decisions, other operators), Python did something that was not
seen, and the path is refused.

NOTE [retraced stretches]
``backward()`` goes back over a position from what lay behind it to the stretch that led there. Where several blocks do,
which one it was is a decision on the way back: blocks push on the *entrance* of a position which of its entries they are.
All that ``backward()`` will do before the next such decision follows from this and from the gradients that are pending, so
these make up the key of the position on the way back, and their values are slots of it. A block that goes back through
another one (``retraced``) reads what that one saw: by its register, where neither can have changed since, else from a
stack (``kept``), on which the other block leaves it and from which all blocks that go back through it take it off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from blockfuse.ir.builder import node_of
from blockfuse.ir.errors import TraceError
from blockfuse.ir.flow import Flow
from blockfuse.ir.graph import Node, Source, captured, constant, literal
from blockfuse.ir.lowering import Movement
from blockfuse.ir.operators.pointwise import equal
from blockfuse.ir.passes.dedupe import frozen
from blockfuse.tracer.flow.assembly import Assembly, End, Growing
from blockfuse.tracer.flow.knowledge import Knowledge, LearntMoreError
from blockfuse.tracer.flow.origins import Origin
from blockfuse.tracer.flow.path import Decision, Path, Pending, Retrace, Retraced, Use
from blockfuse.tracer.flow.trail import Passed, Seen, Trail
from blockfuse.tracer.frames.program_points import Point, Slot, Waiting

_MAX_REPLAYS = 500  # of all paths, until nothing new is learnt


def flow_of(paths: list[Path]) -> tuple[Flow, list[Origin], list[str]]:
    """The flow of all paths; where its parameters and captured arrays (inputs after the arguments) lie; and why some
    loops stay unrolled.

    The paths are of one signature and one state of Python. Raises TraceError where they disagree.
    """
    knowledge = paths[0].knowledge
    obstacle = next((p.obstacle for p in paths if p.obstacle), "")
    if obstacle:
        knowledge.stand_apart(obstacle)
    try:
        return _put_together(paths, knowledge)
    except TraceError as error:
        if knowledge.obstacle or not any(
            d.follows for p in paths for d in p.events if isinstance(d, Decision)
        ):
            raise
        knowledge.stand_apart(str(error))
        return _put_together(paths, knowledge)


def _put_together(paths: list[Path], knowledge: Knowledge) -> tuple[Flow, list[Origin], list[str]]:
    leaves = [(leaf, origin) for path in paths for leaf, origin in path.origins.items()]
    varying = {origin.key for leaf, origin in leaves if leaf.operator is captured}
    for _ in range(_MAX_REPLAYS):
        knowledge.grew = False
        assembly = Assembly(paths[0].arguments, knowledge, varying)
        try:
            for path in paths:
                Replay(assembly, path).run()
            _agree(assembly.agrees)
            if assembly.goes_back:
                knowledge.learn_repeated(assembly.repeated())
        except LearntMoreError:
            knowledge.forget()
            continue
        except TraceError:
            if not knowledge.grew:
                raise
        if not knowledge.grew:
            return assembly.flow(), list(assembly.origins.values()), knowledge.reasons
    raise TraceError("the ways through forward are too entangled")


# -- replaying one path ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gone:
    """Stands for a value that no register holds any more since ``position``."""

    position: int


class Replay:
    """One path walked over the blocks of an assembly, adding those that are new."""

    def __init__(self, assembly: Assembly, path: Path) -> None:
        self.assembly, self.path, self.knowledge = assembly, path, assembly.knowledge
        self.trail = Trail[Node | Gone]()
        self.back: int | None = None  # the stretch that ``backward()`` goes through
        self.repeat = 0  # how often others have gone through it before
        self.begin = 0  # how many nodes were computed when it began
        self.index = {node: n for n, node in enumerate(path.sequence)}
        self.value: dict[Node, Node | Gone] = dict(zip(path.arguments, assembly.arguments, strict=True))
        # recorded node -> the block that computes it, or minus the position that stores it
        self.home: dict[Node, int] = {}
        self.held: dict[int, list[Node]] = {}  # the same the other way round
        self.tokens: dict[int, tuple[int, int]] = {}  # number of a waiting frame -> where it was first seen
        # provisional leaf -> id of what holds the parameter or captured array
        self.holders: dict[Node, int] = {}
        self.seen = 0  # points since the block began
        for provisional, node in path.leaves.items():
            origin = path.origins.get(node)
            self.value[provisional] = assembly.leaf(node, origin) if origin else node
            if origin:
                self.holders[provisional] = id(origin.holder)
        self._begin(self.knowledge.number("start"))
        self.above: frozenset[int] = frozenset()  # blocks and positions that every way here runs through

    def run(self) -> None:
        start = 0
        for number, event in enumerate(self.path.events):
            self._compute(self.path.sequence[start : event.position])
            start = event.position
            if isinstance(event, Decision):
                self._decide(number, event)
            elif isinstance(event, Retrace):
                self._retrace(event)
            elif isinstance(event, Retraced):
                self.back = None
            elif isinstance(event, Use):
                self._use(event.node, event.what, event.source)
            else:
                self._own(event.node)
        self._compute(self.path.sequence[start:])
        for output in self.path.outputs:
            self._own(output)
        outputs, leaves = (tuple(map(self._read, nodes)) for nodes in (self.path.outputs, self.path.updates))
        count = len(outputs) - len(leaves)
        updates = tuple(zip(leaves, outputs[count:], strict=True))
        self._end(End(None, outputs=outputs[:count], updates=updates))
        self.assembly.longest = max(self.assembly.longest, *Counter(self.trail.blocks).values())

    # -- blocks ----------------------------------------------------------------------------------------------

    def _begin(self, name: int) -> None:
        self.name, self.cursor, self.seen = name, 0, 0
        self.block = self.assembly.blocks.setdefault(name, Growing())
        self.trail.blocks.append(name)

    def _compute(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            operands = tuple(self._read(o) for o in node.operands)
            if node in self.path.induction_nodes and all(o.operator is constant for o in operands):
                self.value[node] = self._folded(node, operands)
                continue
            if self.cursor == len(self.block.nodes):
                _agree(self.block.end is None)
                self.block.nodes.append(
                    node if operands == node.operands else replace(node, operands=operands)
                )
            known = self.block.nodes[self.cursor]
            _agree(_alike(known, node))
            self.assembly.agrees &= known.operands == operands
            self._hold(node, known, self.name)
            self.cursor += 1

    def _folded(self, node: Node, operands: tuple[Node, ...]) -> Node:
        result = node.operator.meaning(*(o.attrs["value"] for o in operands), **node.attrs)
        return self.assembly.constant(literal(result, node.dtype))

    def _end(self, end: End) -> None:
        _agree(self.cursor == len(self.block.nodes))
        known = self.block.end = self.block.end or end
        _agree(known.source == end.source and len(known.outputs) == len(end.outputs))
        if known.position != end.position:  # something differs that the way here does not depend on
            after = self.knowledge.number(("after", self.name))
            self.knowledge.set_apart(*(p for p in (known.position, end.position) if p not in (after, None)))
        self.assembly.agrees &= known == end

    # -- values ----------------------------------------------------------------------------------------------

    def _hold(self, node: Node, value: Node, home: int) -> None:
        self._remember(node)
        self.value[node], self.home[node] = value, home
        self.held.setdefault(home, []).append(node)

    def _lose(self, node: Node, position: int) -> None:
        self._remember(node)
        self.value[node] = Gone(position)
        self.home.pop(node, None)

    def _remember(self, node: Node) -> None:
        """A value is about to be seen otherwise."""
        if node in self.value:
            self.trail.changes(node, Seen(self.value[node], self.home.get(node)))
        else:
            self.trail.made(node)

    def _known(self, node: Node) -> Node:
        """A recorded value as it is computed or stored."""
        found = self.value.get(node, node)
        if isinstance(found, Gone):
            return self.knowledge.set_apart(found.position)
        return self.assembly.constant(found) if found.operator is constant else found

    def _read(self, node: Node) -> Node:
        """A recorded value as the present block sees it: its own, a leaf, a register or a constant."""
        if self.back is not None and self.index.get(node, self.begin) < self.begin:
            source = self.trail.source_of(node, self.back)
            if self.trail.was_there(source, self.back):  # else ``backward()`` was given it
                return self._recalled(source, self.back)
        return self._read_in(self.name, self._known(node), self.home.get(node))

    def _read_in(self, name: int, found: Node, home: int | None) -> Node:
        """What lies at ``home`` as a block sees it."""
        if home is None or home == name or home < 0 or found.operator is constant:
            return found
        return self.assembly.export(found, self.assembly.blocks[home])

    def _recalled(self, node: Node, stretch: int) -> Node:
        """A value as the block saw it through which ``backward()`` goes: NOTE [retraced stretches]."""
        name = self.trail.blocks[stretch]
        seen = self.trail.seen(node, stretch) or Seen(self.value.get(node, node), self.home.get(node))
        if isinstance(seen.value, Gone):
            return self.knowledge.set_apart(seen.value.position)
        if seen.value.operator is constant:
            return self.assembly.constant(seen.value)
        if seen.home is None or (seen.home in self.above and seen.home not in self.knowledge.repeated):
            return self._read_in(self.name, seen.value, seen.home)
        value = self._read_in(name, seen.value, seen.home)
        return self.assembly.keep(value, self.assembly.blocks[name], self.repeat)

    def _use(self, node: Node, what: str, source: Source | None) -> None:
        """What Python used must be a constant, not what a register holds."""
        carriers = self.assembly.carriers_of(self._known(node))
        variables = {
            variable for _, _, variable in carriers if variable is not None
        } - self.knowledge.unrolled.keys()
        if variables:
            self.knowledge.unroll(variables, what, source)
        elif carriers:
            self.knowledge.set_apart(*(position for position, _, _ in carriers))

    def _own(self, node: Node) -> None:
        """What is written to or returned must not be memory that was there before the call on some other way."""
        for position, slot, _ in self.assembly.carriers_of(self._known(node), through=Movement):
            if slot in self.knowledge.given[position]:
                self.knowledge.set_given_apart(position)

    # -- positions -------------------------------------------------------------------------------------------

    def _decide(self, number: int, decision: Decision) -> None:
        point = decision.point
        predicate = self._known(decision.predicate) if decision.on_induction and not decision.closes else None
        if predicate is not None and predicate.operator is constant:
            _agree(bool(predicate.attrs["value"]) == decision.outcome)
            self._see(point)
            return
        for slot in point.slots:
            if slot.induction is not None and slot.induction.variable in self.knowledge.unrolled:
                self._use(slot.node, self.knowledge.unrolled[slot.induction.variable], None)
        position, is_apart = self._position(point, apart=decision.follows and bool(self.knowledge.obstacle))
        if decision.follows:
            self.knowledge.enter(position, self.name)
            self.trail.passed[number] = Passed(position, self.trail.stretch)
        self._go(position, is_apart, decision)

    def _go(self, position: int, is_apart: bool, decision: Decision) -> None:
        # Only one block leads to a position apart: nothing differs there but dead variables of frames that wait.
        self._arrive(position, () if is_apart else decision.point.slots, decision)
        if decision.forgets is not None:
            self._require_carried(is_apart, decision)
        self._begin(self.knowledge.number((position, decision.outcome)))

    def _require_carried(self, is_apart: bool, decision: Decision) -> None:
        """See NOTE [forgotten rounds]."""
        assert decision.forgets is not None
        counters = [decision.point.slots[n].node for n in decision.forgets]
        if is_apart or any(self._known(node).operator is constant for node in counters):
            raise TraceError(
                f"what changes in the rounds of a long loop is used as a value at {decision.source}"
            )

    # -- ways back -------------------------------------------------------------------------------------------

    def _retrace(self, event: Retrace) -> None:
        """``backward()`` goes back over a decision."""
        passed = self.trail.passed.get(event.decision)
        if (
            passed is None or self.knowledge.obstacle
        ):  # it turned out to be none, or has a way back of its own
            return
        self.assembly.goes_back = True
        self.back, self.begin = None, event.begin
        came, entries = self.trail.blocks[passed.stretch], self.knowledge.entries[passed.position]
        if len(entries) > 1:
            self._ask(event, passed, entries)
        if (came, event.repeat) not in self.block.retraced:
            self.block.retraced.append((came, event.repeat))
        self.back, self.repeat = passed.stretch, event.repeat

    def _ask(self, event: Retrace, passed: Passed, entries: list[int]) -> None:
        """From which of its entries a position was reached, one after the other; the last is what is left."""
        asked = passed.position, event.repeat
        if asked not in self.block.asked:
            self.block.asked.append(asked)
        index = entries.index(self.trail.blocks[passed.stretch])
        entrance, (pending, known) = self.assembly.entrance(*asked), self._pending(event.pending)
        for number in range(min(index + 1, len(entries) - 1)):
            predicate = node_of(equal, (entrance, literal(number, entrance.dtype)), {}, None)
            self._compute((predicate,))
            point = Point(
                (*event.point.frames, ("back", *asked, number)),
                (*event.point.slots, *pending),
                event.point.apart or not known,
            )
            self._go(*self._position(point), Decision(predicate, number == index, False, point, 0, None))

    def _pending(self, gradients: tuple[Pending, ...]) -> tuple[list[Slot], bool]:
        """Slots of pending gradients, in an order that does not depend on the way; whether it is known of what they are."""
        keyed = [((self._key_of(g), g.part), g.node) for g in gradients]
        keyed.sort(key=lambda pair: repr(pair[0]))
        shared: dict[Node, int] = {}  # gradients of several values may be one array
        slots = [
            Slot(("gradient", key, shared.setdefault(node, n), node.type), node)
            for n, (key, node) in enumerate(keyed)
        ]
        keys = {key for key, _ in keyed}
        return slots, len(keys) == len(keyed) and all(of is not None for of, _ in keys)

    def _key_of(self, gradient: Pending) -> Hashable:
        """Of which value a gradient is; None where nobody can tell."""
        value = gradient.value
        if gradient.slot is not None:
            return "slot", gradient.slot
        known = None if value is None else self.value.get(value)
        if value is None or known is None or isinstance(known, Gone):
            return None
        if value in self.holders:
            return "held", self.holders[value]
        home = self.home.get(value)
        if home is None or home < 0:
            return "leaf", known.attrs.get("name")
        return "made", home, self.assembly.blocks[home].nodes.index(known)

    def _see(self, point: Point) -> list[tuple[int, int]]:
        """The tokens of the frames that wait: where they were first seen as they are."""
        waiting = [f.number for f in point.frames if isinstance(f, Waiting)]
        self.seen += 1
        return [self.tokens.setdefault(number, (self.name, self.seen)) for number in waiting]

    def _position(self, point: Point, apart: bool = False) -> tuple[int, bool]:
        """The number of a position, and whether it is the same as no other."""
        tokens = iter(self._see(point))
        frames = tuple((next(tokens), f.values) if isinstance(f, Waiting) else f for f in point.frames)
        key = (frames, tuple(self._slot_key(slot) for slot in point.slots))
        position = self.knowledge.number(key)
        if position in self.knowledge.split:
            position = self.knowledge.number((position, tuple(map(self._is_given, point.slots))))
            self.knowledge.parts.add(position)
        if apart or point.apart or position in self.knowledge.apart:
            return self.knowledge.number(("after", self.name)), True
        return position, False

    def _slot_key(self, slot: Slot) -> Any:
        induction = slot.induction
        if induction is not None and induction.variable in self.knowledge.unrolled:
            return slot.key, induction.value
        return slot.key, self.holders.get(slot.node)

    def _arrive(self, position: int, slots: tuple[Slot, ...], decision: Decision) -> None:
        """End the block at a position; from there on, what differs is in registers, and what not every way has is gone."""
        knowledge = self.knowledge
        knowledge.pass_through(position, self.above | {self.name})
        first = self.assembly.arrivals.setdefault(position, [self.value.get(s.node, s.node) for s in slots])
        for n, slot in enumerate(slots):
            now = self.value.get(slot.node, slot.node)
            if isinstance(now, Gone):
                knowledge.add(knowledge.lost[position], n)
            elif not self._same(now, first[n]):
                knowledge.add(knowledge.changing[position], n)
            if self._is_given(slot):
                knowledge.add(knowledge.given[position], n)
        carried = sorted(knowledge.changing[position] - knowledge.lost[position])
        registers = [self._register(position, n, slots[n]) for n in carried]
        stores = tuple(zip(registers, (self._read(slots[n].node) for n in carried), strict=True))
        self._end(End(position, self._read(decision.predicate), stores, source=decision.source))
        self.above = knowledge.above[position]
        for home in [h for h in self.held if h not in self.above]:
            for node in self.held.pop(home):
                if self.home.get(node) == home:
                    self._lose(node, position)
        for n in knowledge.lost[position]:
            if not isinstance(self.value.get(slots[n].node), Gone):
                self._lose(slots[n].node, position)
        for n, register in zip(carried, registers, strict=True):
            self._hold(slots[n].node, register, -position)
        self.above |= {-position}

    def _register(self, position: int, number: int, slot: Slot) -> Node:
        variable = slot.induction.variable if slot.induction is not None else None
        return self.assembly.register(position, number, slot.node, variable)

    def _same(self, value: Node, other: Any) -> bool:
        if value.operator is constant and isinstance(other, Node) and other.operator is constant:
            return self.assembly.constant(value) is self.assembly.constant(other)
        return value is other

    def _is_given(self, slot: Slot) -> bool:
        """Whether on some way the memory of a slot was there before the call."""
        value = self.value.get(slot.node, slot.node)
        carriers = self.assembly.carriers_of(value, through=Movement) if isinstance(value, Node) else []
        return slot.given or any(n in self.knowledge.given[position] for position, n, _ in carriers)


def _alike(known: Node, node: Node) -> bool:
    return (
        known.operator is node.operator
        and known.type == node.type
        and len(known.operands) == len(node.operands)
        and (known.attrs is node.attrs or _text(known.attrs) == _text(node.attrs))
    )


def _text(attrs: dict[str, Any]) -> Any:
    return frozen(tuple(sorted(attrs.items()))) if attrs else ()


def _agree(condition: bool) -> None:
    if not condition:
        raise TraceError("after the same decisions forward did something else than before")
