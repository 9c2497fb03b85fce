"""Recorded paths put together: equal beginnings shared, loops closed, decisions between them.

NOTE [blocks and positions]
A block is what one path records between two decisions. Its address is the decision it comes from and the outcome
there; the decision it leads to is a position, with the address of the block that first reached it. A path that
closes a loop is at an earlier position again. Values that a later block reads, and the variables that change in a
loop, become registers. Every path is replayed onto the blocks that are known: where it disagrees with them (the
same decisions, other operators), Python did something that was not seen, and the path is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from blockfuse.ir.builder import node_of
from blockfuse.ir.errors import TraceError
from blockfuse.ir.flow import Block, Flow
from blockfuse.ir.graph import Node, carried, constant, graph_of, leaf, literal
from blockfuse.ir.operators.pointwise import not_equal
from blockfuse.ir.passes.dedupe import frozen
from blockfuse.tracer.origins import Origin
from blockfuse.tracer.recorder import Decision

Address = tuple[bool, ...]
_BLOCKS = 512  # of one flow


@dataclass(frozen=True)
class Path:
    """One recorded call. leaves: what its provisional leaves are. origins: where parameters and captured arrays lie."""

    arguments: tuple[Node, ...]
    sequence: tuple[Node, ...]
    decisions: tuple[Decision, ...]
    outputs: tuple[Node, ...]
    leaves: dict[Node, Node]
    origins: dict[Node, Origin]


def flow_of(paths: list[Path]) -> tuple[Flow, list[Origin]]:
    """The flow of all paths, and where its parameters and captured arrays (inputs after the arguments) lie.

    The paths are of one signature and one state of Python. Raises TraceError where they disagree.
    """
    assembly = _Assembly(paths)
    return assembly.flow(), list(assembly.origins.values())


@dataclass
class _Position:
    """A decision of the flow. closed: a loop comes back to it. changing: which slots change on the way round."""

    closed: bool = False
    changing: list[int] = field(default_factory=list)
    registers: dict[int, Node] = field(default_factory=dict)  # slot -> its register


@dataclass(frozen=True)
class _End:
    """What a block ends with: the position it leads to (None: the call ends), predicate, stores, results."""

    target: Address | None
    predicate: Node | None = None
    stores: tuple[tuple[int, Node], ...] = ()
    outputs: tuple[Node, ...] = ()


@dataclass
class _Block:
    nodes: list[Node] = field(default_factory=list)
    exports: dict[Node, Node] = field(default_factory=dict)  # node -> its register
    end: _End | None = None


class _Assembly:
    def __init__(self, paths: list[Path]) -> None:
        self.positions: dict[Address, _Position] = {}
        self.blocks: dict[Address, _Block] = {}
        self.origins: dict[Node, Origin] = {}
        self.arguments = paths[0].arguments
        self._leaves: dict[int, Node] = {}  # id of what holds an array -> its leaf
        self._constants: dict[Any, Node] = {}  # bits -> the one node with them
        for path in paths:
            self._find_loops(path)
        for path in paths:
            _Replay(self, path).run()

    def leaf(self, node: Node, origin: Origin) -> Node:
        """The one leaf for a parameter or a captured array, under a name of its own."""
        known = self._leaves.get(id(origin.holder))
        if known is None:
            names = {n.attrs["name"] for n in (*self.arguments, *self.origins)}
            name, count = origin.name, 1
            while name in names:
                name, count = f"{origin.name}.{count}", count + 1
            known = self._leaves[id(origin.holder)] = leaf(node.operator, name, node.type)
            self.origins[known] = origin
        return known

    def constant(self, node: Node) -> Node:
        return self._constants.setdefault(frozen(node.attrs["value"]), node)

    def register(self, node: Node, name: str) -> Node:
        return leaf(carried, name, node.type)

    # -- loops -----------------------------------------------------------------------------------------------

    def _find_loops(self, path: Path) -> None:
        first: dict[Address, Decision] = {}
        for decision, address in zip(path.decisions, addresses_of(path), strict=True):
            position = self.positions.setdefault(address, _Position())
            position.closed |= decision.closes is not None
            begun = first.setdefault(address, decision)
            for slot, (now, then) in enumerate(zip(decision.slots, begun.slots, strict=True)):
                if now is not then and slot not in position.changing:
                    position.changing.append(slot)

    # -- the result ------------------------------------------------------------------------------------------

    def flow(self) -> Flow:
        if len(self.blocks) > _BLOCKS:
            raise TraceError(f"forward takes more than {_BLOCKS} ways between decisions")
        ends = [
            tuple(o.type for o in b.end.outputs)
            for b in self.blocks.values()
            if b.end and b.end.target is None
        ]
        if len(set(ends)) > 1:
            raise TraceError("the results of some paths have other types than those of others")
        numbers = {address: n for n, address in enumerate(self.blocks)}
        return Flow(tuple(self._block(b, numbers) for b in self.blocks.values()))

    def _block(self, block: _Block, numbers: dict[Address, int]) -> Block:
        end = block.end
        assert end is not None
        position = self.positions[end.target] if end.target is not None else _Position()
        stored = {r: v for r, v in ((position.registers[slot], v) for slot, v in end.stores) if r is not v}
        stored |= {register: node for node, register in block.exports.items()}
        last = end.outputs if end.predicate is None else (_truth(end.predicate),)
        outputs = (*stored.values(), *last)
        read = [n for n in graph_of((), outputs).nodes if n.operator is carried]
        graph = graph_of((*self.arguments, *self.origins, *read), outputs)
        if end.target is None:
            return Block(graph, tuple(stored))
        yes, no = (numbers.get((*end.target, outcome)) for outcome in (True, False))
        return Block(graph, tuple(stored), (yes, no))


def addresses_of(path: Path) -> list[Address]:
    """The position of every decision of a path."""
    addresses: list[Address] = []
    here: Address = ()
    for decision in path.decisions:
        position = here if decision.closes is None else addresses[decision.closes]
        addresses.append(position)
        here = (*position, decision.outcome)
    return addresses


def _truth(predicate: Node) -> Node:
    if predicate.dtype == bool:
        return predicate
    return node_of(not_equal, (predicate, literal(0, predicate.dtype)), {}, predicate.source)


# -- replaying one path ----------------------------------------------------------------------------------------

_GONE = literal(0)  # stands for a value of an earlier round of a loop, which no register holds


class _Replay:
    """One path walked over the blocks of an assembly, adding those that are new."""

    def __init__(self, assembly: _Assembly, path: Path) -> None:
        self.assembly, self.path = assembly, path
        self.value: dict[Node, Node] = dict(zip(path.arguments, assembly.arguments, strict=True))
        self.home: dict[Node, _Block] = {}  # recorded node -> the block that computes it
        self.visits: dict[Address, Decision] = {}  # position -> its last visit
        for provisional, node in path.leaves.items():
            origin = path.origins.get(node)
            self.value[provisional] = assembly.leaf(node, origin) if origin else node

    def run(self) -> None:
        here: Address = ()
        start = 0
        for decision, address in zip(self.path.decisions, addresses_of(self.path), strict=True):
            block = self._segment(here, self.path.sequence[start : decision.position])
            self._lead(block, decision, address)
            self._arrive(decision, address)
            here, start = (*address, decision.outcome), decision.position
        block = self._segment(here, self.path.sequence[start:])
        self._end(block, _End(None, outputs=tuple(self._read(o, block) for o in self.path.outputs)))

    def _segment(self, address: Address, nodes: tuple[Node, ...]) -> _Block:
        known = self.assembly.blocks.get(address)
        block = known or self.assembly.blocks.setdefault(address, _Block())
        _agree(known is None or len(known.nodes) == len(nodes))
        for place, node in enumerate(nodes):
            operands = tuple(self._read(o, block) for o in node.operands)
            if known is None:
                block.nodes.append(node if operands == node.operands else replace(node, operands=operands))
            _agree(_alike(block.nodes[place], node, operands))
            self.value[node], self.home[node] = block.nodes[place], block
        return block

    def _read(self, node: Node, block: _Block) -> Node:
        """A recorded value as ``block`` sees it: its own, a leaf, a register or a constant."""
        found = self.value.get(node, node)
        if found is _GONE:
            raise TraceError("a loop leaves behind a value of an earlier round")
        if found.operator is constant:
            return self.assembly.constant(found)
        home = self.home.get(node)
        if home is None or home is block:
            return found
        if found not in home.exports:
            count = sum(len(b.exports) for b in self.assembly.blocks.values())
            home.exports[found] = self.assembly.register(found, f"r{count}")
        return home.exports[found]

    def _lead(self, block: _Block, decision: Decision, address: Address) -> None:
        """``block`` ends at the decision and sets the registers of a loop that starts there."""
        position = self.assembly.positions[address]
        slots = position.changing if position.closed else []
        stores = tuple((slot, self._read(decision.slots[slot], block)) for slot in slots)
        self._end(block, _End(address, self._read(decision.predicate, block), stores))

    def _end(self, block: _Block, end: _End) -> None:
        block.end = block.end or end
        _agree(block.end == end)

    def _arrive(self, decision: Decision, address: Address) -> None:
        """From here on, what changes in the loop is in its registers, and the values of the round before are gone."""
        position = self.assembly.positions[address]
        if not position.closed:
            return
        before = self.visits.get(address)
        if before is not None:
            changed = (before.slots[slot] for slot in position.changing)
            for node in (*self.path.sequence[before.position : decision.position], *changed):
                self.value[node] = _GONE
                self.home.pop(node, None)
        self.visits[address] = decision
        for slot in position.changing:
            node = decision.slots[slot]
            if slot not in position.registers:
                position.registers[slot] = self.assembly.register(node, self._loop_name(address, slot))
            self.value[node] = position.registers[slot]
            self.home.pop(node, None)

    def _loop_name(self, address: Address, slot: int) -> str:
        number = list(self.assembly.positions).index(address)
        return f"loop{number}.{slot}"


def _alike(known: Node, node: Node, operands: tuple[Node, ...]) -> bool:
    return (
        known.operator is node.operator
        and known.type == node.type
        and known.operands == operands
        and frozen(tuple(sorted(known.attrs.items()))) == frozen(tuple(sorted(node.attrs.items())))
    )


def _agree(condition: bool) -> None:
    if not condition:
        raise TraceError("after the same decisions forward did something else than before")
