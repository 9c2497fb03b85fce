"""One round of a loop, made of the rounds that were recorded.

NOTE [slots]
What the nodes at one place of all rounds read at one position is a *slot*: a value for each round. A slot is one node of the
loop where its values are
- the values at another place of the same round: that node;
- the values at another place of an earlier round: a register that carries it, which begins with what the first round read;
- the same value from outside: that value;
- constants, or computed from slots from outside: rows of a table, or of an array that is put together before the loop;
- seen through the same views of values that are slots: these views.
Parts of arrays may lie at another place each round; the place is then computed from the number of the round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy

from blockfuse.ir.builder import node_of
from blockfuse.ir.errors import TraceError
from blockfuse.ir.graph import Node, carried, constant, leaf, literal
from blockfuse.ir.lowering import Leaf, Movement
from blockfuse.ir.operators.movement import concatenate, expand_dims, get_item, set_item
from blockfuse.ir.operators.pointwise import add, less, multiply
from blockfuse.ir.passes.dedupe import frozen
from blockfuse.ir.rerolling.dynamic_index import Starts, picked, put, taken, written
from blockfuse.ir.rerolling.repeats import Repeat, skeleton
from blockfuse.ir.types import tensor

MIN_KEPT = 256  # elements: all of fewer are written as quickly as one

Slot = tuple[Node, ...]  # of each round


@dataclass(frozen=True)
class Carry:
    """A register of a loop."""

    register: Node
    first: Node  # what it holds in the first round
    following: Node  # what it holds in the next one


@dataclass
class Loop:
    """``rounds`` times ``nodes``; before them ``before`` runs once."""

    name: str
    rounds: int
    counter: Node
    nodes: list[Node] = field(default_factory=list)
    before: list[Node] = field(default_factory=list)
    carries: list[Carry] = field(default_factory=list)
    values: list[Node] = field(default_factory=list)  # of each place of a round

    @cached_property
    def next_counter(self) -> Node:
        return node_of(add, (self.counter, literal(1, "int64")), {}, None)

    @cached_property
    def more(self) -> Node:
        """Whether another round follows."""
        return node_of(less, (self.next_counter, literal(self.rounds, "int64")), {}, None)

    def last(self, place: int) -> Node:
        """The value of a place after the loop: what carries it holds it without another copy."""
        value = self.values[place]
        return next((c.register for c in self.carries if c.following is value), value)


def loop_of(nodes: Sequence[Node], repeat: Repeat, name: str) -> Loop:
    """The loop that does what ``repeat`` of the nodes does; raises TraceError where some slot is none."""
    return _Folding(nodes, repeat, name).loop


class _Folding:
    """All rounds folded into one."""

    def __init__(self, nodes: Sequence[Node], repeat: Repeat, name: str) -> None:
        self.repeat = repeat
        counter = leaf(carried, f"{name}.round", tensor((), "int64"))
        self.loop = Loop(name, repeat.rounds, counter)
        inside = nodes[repeat.start : repeat.end]
        self.index = {node: n for n, node in enumerate(inside)}
        self.registers: dict[tuple[int, Slot], Node] = {}  # place, what it begins with -> register
        self.carried: list[tuple[Node, int, Slot]] = []  # register, place, what it begins with
        self.known: dict[Slot, Node] = {}  # from outside
        self.outside: set[Node] = set()  # of the loop: what does not depend on the round
        self.numbers: dict[int, Node] = {}
        self.head: list[Node] = []  # what several places of a round read, computed first
        self.emitted = self.loop.nodes
        for place in range(repeat.period):
            self.loop.values.append(self._folded(inside[place :: repeat.period]))
        for register, place, first in self.carried:
            following = self.loop.values[place] if len(first) == 1 else self._register(place, first[1:])
            if following.type != register.type:
                raise TraceError("what a loop carries changes its type")
            self.loop.carries.append(Carry(register, first[0], following))
        self.loop.nodes[:0] = self.head

    def _emit(self, node: Node) -> Node:
        self.emitted.append(node)
        return node

    @contextmanager
    def _in_front(self) -> Iterator[None]:
        before, self.emitted = self.emitted, self.head
        yield
        self.emitted = before

    def _folded(self, nodes: Sequence[Node]) -> Node:
        """The node that stands for one place of all rounds."""
        slots = zip(*(node.operands for node in nodes), strict=True)
        operands = tuple(self._slot(slot) for slot in slots)
        return self._applied(nodes, operands)

    def _applied(self, nodes: Sequence[Node], operands: tuple[Node, ...]) -> Node:
        """What the nodes of all rounds do, on what their operands are in the loop."""
        first = nodes[0]
        starts = self._starts(nodes)
        if starts:
            if first.operator is get_item:
                return picked(first, operands[0], starts, self._emit)
            write = put if self._is_kept(operands[0]) else written
            return write(first, operands[0], operands[1], starts, self._emit)
        node = replace(first, operands=operands)  # another one, also where it reads the same
        if not all(self._is_outside(o) for o in operands) or first.operator.lowering.may_raise:
            return self._emit(node)
        self.outside.add(node)
        self.loop.before.append(node)
        return node

    def _is_kept(self, whole: Node) -> bool:
        """Whether what is written now is all that rounds change in a large array, which may then stay where it is."""
        place = len(self.loop.values)
        carried_by = [(register, at) for register, at, first in self.carried if len(first) == 1]
        return (whole, place) in carried_by and whole.type.size >= MIN_KEPT and whole.dtype != "float16"

    def _is_outside(self, node: Node) -> bool:
        return node.operator is constant or node in self.outside

    # -- slots -----------------------------------------------------------------------------------------------

    def _slot(self, slot: Slot) -> Node:
        """See NOTE [slots]."""
        if slot[-1] not in self.index:
            return self._from_outside(slot)
        places = [self.index.get(node, -1) for node in slot]
        place, period = places[-1] % self.repeat.period, self.repeat.period
        lag = len(slot) - 1 - places[-1] // period
        expected = [place + (n - lag) * period for n in range(lag, len(slot))]
        if places != [-1] * lag + expected or any(a.type != slot[-1].type for a in slot[:lag]):
            raise TraceError("an operand is not the same in every round")
        return self._register(place, slot[:lag]) if lag else self.loop.values[place]

    def _register(self, place: int, first: Slot) -> Node:
        if (place, first) not in self.registers:
            register = leaf(carried, f"{self.loop.name}.{len(self.carried)}", first[0].type)
            self.registers[place, first] = register
            self.carried.append((register, place, first))
        return self.registers[place, first]

    def _from_outside(self, slot: Slot) -> Node:
        if any(node in self.index for node in slot):
            raise TraceError("an operand comes from the first rounds")
        if slot not in self.known:
            with self._in_front():
                self.known[slot] = self._outside(slot)
        return self.known[slot]

    def _outside(self, slot: Slot) -> Node:
        first = slot[0]
        if all(node is first for node in slot):
            self.outside.add(first)
            return first
        if any(node.type != first.type for node in slot):
            raise TraceError("an operand has another type in some rounds")
        if all(node.operator is constant for node in slot):
            return self._constants(slot)
        if isinstance(first.operator.lowering, Movement) and len({_likeness(node) for node in slot}) == 1:
            operands = zip(*(node.operands for node in slot), strict=True)
            return self._applied(slot, tuple(self._from_outside(o) for o in operands))
        if any(isinstance(node.operator.lowering, Leaf) for node in slot):
            raise TraceError("each round reads another array")
        return self._row(self._joined(slot))

    def _constants(self, slot: Slot) -> Node:
        values = [node.attrs["value"] for node in slot]
        if len({frozen(value) for value in values}) == 1:
            return slot[0]
        return self._row(literal(numpy.stack(values), slot[0].dtype))

    def _joined(self, slot: Slot) -> Node:
        """What the rounds read, as rows of one array, made before the loop."""
        rows = tuple(node_of(expand_dims, (node,), {"axis": (0,)}, node.source) for node in slot)
        whole = node_of(concatenate, rows, {"axis": 0}, slot[0].source)
        self.loop.before += [*rows, whole]
        self.outside.add(whole)
        return whole

    def _row(self, table: Node) -> Node:
        return taken(table, self.loop.counter, self._emit)

    # -- places that move ------------------------------------------------------------------------------------

    def _starts(self, nodes: Sequence[Node]) -> Starts:
        """Where the entries of an index begin in this round, as far as that is not the same in all."""
        if nodes[0].operator not in (get_item, set_item):
            return {}
        begins = zip(*(_begins(node.attrs["index"]) for node in nodes), strict=True)
        moving = {place: begin for place, begin in enumerate(begins) if len(set(begin)) > 1}
        return {place: self._place(begin) for place, begin in moving.items()}

    def _place(self, begins: tuple[int, ...]) -> Node:
        key = tuple(map(self._number, begins))
        if key not in self.known:
            step = begins[1] - begins[0]
            even = all(begin == begins[0] + n * step for n, begin in enumerate(begins))
            with self._in_front():
                self.known[key] = self._counted(begins[0], step) if even else self._constants(key)
        return self.known[key]

    def _counted(self, begin: int, step: int) -> Node:
        place = self.loop.counter
        if step != 1:
            place = self._emit(node_of(multiply, (place, literal(step, "int64")), {}, None))
        if begin:
            place = self._emit(node_of(add, (place, literal(begin, "int64")), {}, None))
        return place

    def _number(self, begin: int) -> Node:
        return self.numbers.setdefault(begin, literal(begin, "int64"))


def _begins(index: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(entry[1] if isinstance(entry, tuple) else entry for entry in index)


def _likeness(node: Node) -> Any:
    return node.operator, skeleton(node), tuple(operand.type for operand in node.operands)
