"""The recording interpreter: computes as eager does and writes a graph beside it.

Once something happens that a graph cannot repeat, ``problem`` says what and where; recording stops, computing
goes on.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.array import stamps
from blockfuse.array.eager import Eager, data_of
from blockfuse.array.indexing import basic_index, is_basic
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.builder import operands_as_nodes
from blockfuse.ir.graph import Node, Source, argument, captured, constant, leaf, literal
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import movement, pointwise
from blockfuse.ir.types import type_of
from blockfuse.tracer.points import Point, point
from blockfuse.tracer.purity import unwatched, user_source

DECISION = "bool()"  # the escape that says which way a path goes
_DECISIONS = 2048  # on one path; more are not worth a program


@dataclass(frozen=True)
class Decision:
    """The truth of an array was asked for: a path goes one way. ``closes``: the earlier decision that this is again."""

    predicate: Node
    outcome: bool
    point: Point | None  # only while the path is recorded
    slots: tuple[Node, ...]  # what the variables hold
    closes: int | None
    position: int  # how many nodes were recorded before
    source: Source | None


class Recorder(Eager):
    """Records one call.

    NOTE [which arrays are what]
    Arguments are known from the start. An array that no operator made was there before (a parameter, an array
    in an attribute or a global) or was made from Python values during the call. It becomes a provisional
    leaf; when the call is over ``tracer.record`` finds out which it is.
    """

    recording = True

    def __init__(self, arguments: list[ndarray]) -> None:
        self.problem = ""
        self.visited: list[Any] = []
        self.arguments = [
            leaf(argument, f"x{n}" if n else "x", type_of(a._data)) for n, a in enumerate(arguments)
        ]
        self.found: dict[Node, ndarray | numpy.ndarray] = {}  # provisional leaf -> the array that was met
        self.contents: dict[
            Node, numpy.ndarray
        ] = {}  # provisional leaf of a NumPy array -> a copy of what it held
        self.sequence: list[Node] = []  # every node, in the order of the calls
        self.decisions: list[Decision] = []
        self.outermost: types.FrameType | None = None  # frames from here out are not the call's
        self.known: set[int] = set()  # ids of objects whose state is certified
        self.draws: list[Node] = []  # random nodes, in the order in which they drew
        self._nodes: dict[int, Node] = {}  # id of an array -> its value now
        self._arrays: list[Any] = []  # keeps those ids good
        self._owners: dict[int, int] = {}  # id of a buffer's owner -> how many arrays lie in it
        self._fixed: set[Node] = set()  # values that depend on constants only
        self._given = {id(stamps.owner_of(a._data)) for a in arguments}
        for array, node in zip(arguments, self.arguments, strict=True):
            self._know(array, node)

    # -- what the program does -------------------------------------------------------------------------------

    def apply(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        with unwatched():  # NumPy may warn, and Python then runs code of its own
            result = super().apply(operator, operands, attrs)
            if not self.problem:
                self._record(result, operator, operands, attrs)
        return result

    def update(
        self, target: ndarray, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]
    ) -> None:
        if not self.problem:
            before = [self._operand(o) for o in operands]
            self._refuse_shared(target)
        with unwatched():
            super().update(target, operator, operands, attrs)
        if not self.problem:
            node = self._node(operator, operands_as_nodes(operator, tuple(before)), attrs)
            self._rebind(target, node)

    def assign(self, target: ndarray, index: Any, value: Any) -> None:
        items = index if isinstance(index, tuple) else (index,)
        if not self.problem and not all(is_basic(i) for i in items):
            self._stop("writes at an index made of arrays")
        if not self.problem:
            before, written = (
                self.node_of(target),
                self._operand(data_of(value) if _is_list(value) else value),
            )
            self._refuse_shared(target)
        with unwatched():
            super().assign(target, index, value)
        if not self.problem:
            new = written if isinstance(written, Node) else literal(written)
            spelled = basic_index(target.shape, items)
            self._rebind(target, self._node(movement.set_item, (before, new), {"index": spelled}))

    def escape(self, kind: str, array: ndarray) -> None:
        if self.problem or self.node_of(array) in self._fixed:
            return
        if kind != DECISION or array.size != 1 or len(self.decisions) >= _DECISIONS:
            self._stop(f"uses values in Python ({kind})")
            return
        with unwatched():
            here = point(self.outermost, self.known, self.node_of, self.shares_given_memory)
            closes = next((n for n, d in enumerate(self.decisions) if d.point and here.closes(d.point)), None)
        slots = tuple(node for _, node, _ in here.slots)
        outcome, place = bool(array._data), len(self.sequence)
        self.decisions.append(
            Decision(self.node_of(array), outcome, here, slots, closes, place, user_source())
        )

    def impure(self, what: str) -> None:
        self._stop(what)

    def visit(self, block: Any) -> None:
        self.visited.append(block)

    # -- nodes -----------------------------------------------------------------------------------------------

    def node_of(self, array: ndarray | numpy.ndarray) -> Node:
        """The value that an array holds now."""
        known = self._nodes.get(id(array))
        if known is None:
            data = array._data if isinstance(array, ndarray) else array
            known = leaf(captured, f"found{len(self.found)}", type_of(data))
            self.found[known] = array
            if isinstance(array, numpy.ndarray):
                self.contents[known] = array.copy()
            self._know(array, known)
        return known

    def knows(self, array: ndarray) -> bool:
        """Whether an operator of this call made ``array`` or read it."""
        return id(array) in self._nodes

    def shares_given_memory(self, array: ndarray) -> bool:
        """Whether ``array`` lies in memory that was there before the call."""
        owner = id(stamps.owner_of(array._data))
        return owner in self._given or any(
            owner == id(stamps.owner_of(_data(a))) for a in self.found.values()
        )

    def _know(self, array: Any, node: Node) -> None:
        self._nodes[id(array)] = node
        self._arrays.append(array)
        owner = stamps.owner_of(_data(array))
        self._arrays.append(owner)
        self._owners[id(owner)] = self._owners.get(id(owner), 0) + 1

    def _rebind(self, array: ndarray, node: Node) -> None:
        """The array now holds ``node``, converted to the array's dtype."""
        if node.dtype != array.dtype:
            node = self._node(pointwise.cast, (node,), {"dtype": str(array.dtype)})
        self._nodes[id(array)] = node

    def _operand(self, operand: Any) -> Any:
        """A node, or a Python number as it is."""
        if isinstance(operand, ndarray):
            return self.node_of(operand)
        if isinstance(operand, numpy.ndarray):
            return self.node_of(operand)
        if isinstance(operand, numpy.generic | list | tuple):
            return literal(data_of(operand))
        return operand

    def _record(
        self, result: ndarray, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]
    ) -> None:
        nodes = operands_as_nodes(operator, tuple(self._operand(o) for o in operands))
        node = self._node(operator, nodes, attrs)
        if node.type != type_of(result._data):
            self._stop(f"{operator.name} gave {type_of(result._data)} where its rule says {node.type}")
        self._know(result, node)

    def _node(self, operator: Operator, operands: tuple[Node, ...], attrs: dict[str, Any]) -> Node:
        rule = operator.result_type(*(o.type for o in operands), **attrs)
        node = Node(operator, operands, attrs, rule, user_source())
        self.sequence.append(node)
        if operator.random:
            self.draws.append(node)
            if operands:
                self._stop(f"draws random numbers with arrays as parameters ({operator.name})")
        elif all(o in self._fixed or o.operator is constant for o in operands):
            self._fixed.add(node)
        return node

    def _refuse_shared(self, target: ndarray) -> None:
        """NOTE [writes] A write becomes a new value; that is right while no other array sees the same memory."""
        owner = stamps.owner_of(target._data)
        if id(owner) in self._given:
            self._stop("writes into an argument")
        elif self.node_of(target) in self.found or self.shares_given_memory(target):
            self._stop("writes into an array that it did not make")
        elif self._owners.get(id(owner), 0) > 1 or target._data.base is not None:
            self._stop("writes into memory that several arrays share")

    def _stop(self, what: str) -> None:
        if not self.problem:
            source = user_source()
            where = f"{source.function} " if source else ""
            self.problem = f"{where}{what}" + (f" at {source}" if source else "")


def _data(array: ndarray | numpy.ndarray) -> numpy.ndarray:
    return array._data if isinstance(array, ndarray) else array


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
