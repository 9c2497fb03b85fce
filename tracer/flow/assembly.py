"""The blocks of a flow while paths are put together."""

from __future__ import annotations

from collections.abc import Hashable, Set
from dataclasses import dataclass, field, replace
from typing import Any

from blockfuse.ir.builder import node_of
from blockfuse.ir.errors import TraceError
from blockfuse.ir.flow import Block, Flow
from blockfuse.ir.graph import Graph, Node, Source, captured, carried, graph_of, leaf, literal, ordered
from blockfuse.ir.operators.pointwise import not_equal
from blockfuse.ir.passes.dedupe import frozen
from blockfuse.ir.types import tensor
from blockfuse.tracer.flow.knowledge import Knowledge
from blockfuse.tracer.flow.origins import Origin
from blockfuse.tracer.frames.program_points import InductionVariable

_MAX_BLOCKS = 512  # of one flow
# outside of loops: calls go most of these ways once, and compiling them takes a second for every ten or so
_MAX_STRAIGHT_BLOCKS = 64
_STACK_BYTES = 1 << 26  # of all stacks of a flow
_STACK_STEP = 64  # bytes that a value on a stack takes at least
_MAX_ROOM = 1 << 14  # values on a stack


@dataclass(frozen=True)
class End:
    """What a block ends with: the position it leads to (None: the call ends), predicate, stores, results."""

    position: int | None
    predicate: Node | None = None
    stores: tuple[tuple[Node, Node], ...] = ()  # register, value
    outputs: tuple[Node, ...] = ()
    source: Source | None = None  # of the decision
    updates: tuple[tuple[Node, Node], ...] = ()  # leaf, its new value


@dataclass
class Growing:
    """A block. exports: what later blocks read of it -> its register. The rest: NOTE [retraced stretches]."""

    nodes: list[Node] = field(default_factory=list)
    exports: dict[Node, Node] = field(default_factory=dict)
    end: End | None = None
    # what a way back reads of it, the how manieth it is -> its stack
    kept: dict[tuple[Node, int], Node] = field(default_factory=dict)
    # blocks through which it goes back, for the how manieth time; positions of which it must know from which block they were
    # reached, likewise
    retraced: list[tuple[int, int]] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)


class Assembly:
    """The blocks of all paths."""

    def __init__(self, arguments: tuple[Node, ...], knowledge: Knowledge, varying: Set[Hashable]) -> None:
        """varying: keys of the origins that some path reads at every call."""
        self.arguments, self.knowledge, self._varying = arguments, knowledge, varying
        self.blocks: dict[int, Growing] = {}
        self.agrees = True  # all paths compute the same in the blocks that they share
        self.origins: dict[Node, Origin] = {}
        self.arrivals: dict[int, list[Any]] = {}  # position -> what its slots held when it was first reached
        # register -> position, slot, what counts there
        self.carriers: dict[Node, tuple[int, int, InductionVariable | None]] = {}
        self.exported: dict[Node, Node] = {}  # register -> the value that it holds
        self.goes_back = False  # over some decision
        self.longest = 0  # how often a path comes to one block
        # position, how often ways back have come there before -> the stack that says from which block it was reached
        self.entrances: dict[tuple[int, int], Node] = {}
        self._registers: dict[tuple[int, int], Node] = {}
        self._leaves: dict[Hashable, Node] = {}  # key of an origin -> its leaf
        self._constants: dict[Any, Node] = {}  # bits -> the one node with them
        self._interned: dict[Node, Node] = {}  # any constant -> the one with its bits

    def leaf(self, node: Node, origin: Origin) -> Node:
        """The one leaf for a parameter or a captured array, under a name of its own."""
        known = self._leaves.get(origin.key)
        if known is None:
            names = {n.attrs["name"] for n in (*self.arguments, *self.origins)}
            name, repeats = origin.name, 1
            while name in names:
                name, repeats = f"{origin.name}.{repeats}", repeats + 1
            operator = captured if origin.key in self._varying else node.operator
            known = self._leaves[origin.key] = leaf(operator, name, node.type)
            self.origins[known] = origin
        return known

    def constant(self, node: Node) -> Node:
        known = self._interned.get(node)
        if known is None:
            known = self._constants.setdefault(frozen(node.attrs["value"]), node)
            self._interned[node] = known
        return known

    def register(self, position: int, slot: int, node: Node, variable: InductionVariable | None) -> Node:
        """The register of a slot that differs between the ways to a position."""
        if (position, slot) not in self._registers:
            register = leaf(carried, f"p{position}.{slot}", node.type)
            self._registers[position, slot] = register
            self.carriers[register] = (position, slot, variable)
        return self._registers[position, slot]

    def export(self, node: Node, home: Growing) -> Node:
        """The register by which other blocks read ``node``, which ``home`` computes."""
        if node not in home.exports:
            register = leaf(carried, f"r{len(self.exported)}", node.type)
            home.exports[node], self.exported[register] = register, node
        return home.exports[node]

    def keep(self, node: Node, home: Growing, repeat: int) -> Node:
        """The stack by which the first (0) or a later way back reads what ``home`` computed or read."""
        if (node, repeat) not in home.kept:
            stack = leaf(carried, f"k{len(self.exported)}", node.type)
            home.kept[node, repeat], self.exported[stack] = stack, node
        return home.kept[node, repeat]

    def entrance(self, position: int, repeat: int) -> Node:
        """The stack that tells the first (0) or a later way back from which of its entries a position was reached."""
        if (position, repeat) not in self.entrances:
            name = f"e{position}.{repeat}" if repeat else f"e{position}"
            self.entrances[position, repeat] = leaf(carried, name, tensor((), "int64"))
        return self.entrances[position, repeat]

    def carriers_of(
        self, node: Node, through: type = object
    ) -> list[tuple[int, int, InductionVariable | None]]:
        """The slots of positions that a value is computed from, by operators that are lowered as ``through``."""
        found, waiting, met = [], [node], set()
        while waiting:
            one = waiting.pop()
            if one not in met:
                met.add(one)
                waiting += one.operands if isinstance(one.operator.lowering, through) else ()
                if one in self.carriers:
                    found.append(self.carriers[one])
                elif one in self.exported:
                    waiting.append(self.exported[one])
        return found

    # -- the result ------------------------------------------------------------------------------------------

    def flow(self) -> Flow:
        if len(self.blocks) > _MAX_BLOCKS:
            raise TraceError(f"forward takes more than {_MAX_BLOCKS} ways between decisions")
        if len(self.blocks) > _MAX_STRAIGHT_BLOCKS < len(self.blocks.keys() - self.repeated()):
            raise TraceError(f"forward takes more than {_MAX_STRAIGHT_BLOCKS} decisions, none of them twice")
        ends = [
            tuple(o.type for o in b.end.outputs)
            for b in self.blocks.values()
            if b.end and b.end.position is None
        ]
        if len(set(ends)) > 1:
            raise TraceError("the results of some paths have other types than those of others")
        order = self._order()
        numbers = {block: n for n, block in enumerate(order)}
        read = self._read()
        blocks = tuple(self._block(b, numbers, read) for b in order)
        flow = Flow(blocks)
        return replace(flow, room=self._room(flow.stacks)) if flow.stacks else flow

    def _room(self, stacks: tuple[Node, ...]) -> int:
        """How many values a stack may hold: memory that no call comes to is never touched."""
        each = sum(max(stack.type.nbytes, _STACK_STEP) for stack in stacks)
        return max(2 * self.longest + 2, min(_MAX_ROOM, _STACK_BYTES // each))

    def repeated(self) -> set[int]:
        """The blocks, and minus the positions, to which a call may come more than once."""
        inside = {block for block in self.blocks if self._leads_back(block)}
        ends = ((block, self.blocks[block].end) for block in inside)
        return inside | {-end.position for _, end in ends if end is not None and end.position is not None}

    def _leads_back(self, block: int) -> bool:
        met: set[int] = set()
        waiting = [block]
        while waiting:
            following = [b for b in self._successors(waiting.pop()) if b is not None and b not in met]
            met.update(following)
            waiting += following
        return block in met

    def _order(self) -> list[int]:
        """Blocks in an order in which only loops lead back."""
        first = next(iter(self.blocks))
        done: list[int] = []
        met, waiting = {first}, [(first, iter(self._successors(first)))]
        while waiting:
            block, following = waiting[-1]
            onward = next((b for b in following if b is not None and b not in met), None)
            if onward is None:
                done.append(block)
                waiting.pop()
            else:
                met.add(onward)
                waiting.append((onward, iter(self._successors(onward))))
        return done[::-1]

    def _successors(self, block: int) -> tuple[int | None, int | None]:
        """The blocks of the outcomes False and True, as far as they are known."""
        end = self.blocks[block].end
        if end is None or end.position is None:
            return None, None
        numbers = (self.knowledge.numbers.get((end.position, outcome)) for outcome in (False, True))
        no, yes = (n if n in self.blocks else None for n in numbers)
        return no, yes

    def _read(self) -> set[Node]:
        """The registers that something depends on."""
        read: set[Node] = set()
        while True:
            found = {
                node
                for name in self.blocks
                for node in graph_of((), self._outputs(name, read)).nodes
                if node.operator is carried
            }
            if found <= read:
                return read
            read |= found

    def _stores(self, block: Growing, read: set[Node]) -> dict[Node, Node]:
        assert block.end is not None
        stores = {r: v for r, v in block.end.stores if r is not v and r in read}
        return stores | {register: node for node, register in block.exports.items() if register in read}

    def _pushes(self, name: int, read: set[Node]) -> dict[Node, Node]:
        """Stack -> what the block leaves on it."""
        block = self.blocks[name]
        assert block.end is not None
        pushes = {stack: node for (node, _), stack in block.kept.items() if stack in read}
        for (position, _), entrance in self.entrances.items():
            if position == block.end.position and entrance in read:
                index = self.knowledge.entries[position].index(name)
                pushes[entrance] = self.constant(literal(index, "int64"))
        return pushes

    def _pops(self, block: Growing, read: set[Node]) -> tuple[Node, ...]:
        kept = [
            stack
            for name, repeat in block.retraced
            for (_, its), stack in self.blocks[name].kept.items()
            if its == repeat
        ]
        entrances = [self.entrances[asked] for asked in block.asked]
        return tuple(stack for stack in (*kept, *entrances) if stack in read)

    def _outputs(self, name: int, read: set[Node]) -> tuple[Node, ...]:
        block, end = self.blocks[name], self.blocks[name].end
        assert end is not None
        returned = (*end.outputs, *(value for _, value in end.updates))
        last = returned if end.predicate is None else (_truth(end.predicate),)
        return (*self._stores(block, read).values(), *self._pushes(name, read).values(), *last)

    def _block(self, name: int, numbers: dict[int, int], read: set[Node]) -> Block:
        block = self.blocks[name]
        outputs = self._outputs(name, read)
        leaves = [n for n in graph_of((), outputs).nodes if n.operator is carried]
        graph = self._in_recorded_order(graph_of((*self.arguments, *self.origins, *leaves), outputs), block)
        assert block.end is not None
        stores, pops = tuple(self._stores(block, read)), self._pops(block, read)
        if block.end.position is None:
            return Block(graph, stores, pops=pops, updates=tuple(leaf for leaf, _ in block.end.updates))
        no, yes = (None if b is None else numbers[b] for b in self._successors(name))
        return Block(graph, stores, tuple(self._pushes(name, read)), pops, (yes, no))

    @staticmethod
    def _in_recorded_order(graph: Graph, block: Growing) -> Graph:
        needed = set(graph.nodes)
        recorded = [node for node in block.nodes if node in needed]
        return replace(graph, nodes=tuple(n for n in ordered((*recorded, *graph.outputs)) if n in needed))


def _truth(predicate: Node) -> Node:
    if predicate.dtype == bool:
        return predicate
    return node_of(not_equal, (predicate, literal(0, predicate.dtype)), {}, predicate.source)
