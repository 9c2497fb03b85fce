"""What the arrays that a recorded call found are (parameters, gradients, other state, constants), and what it writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.array import stamps
from blockfuse.array.history import variable_of
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.builder import node_of
from blockfuse.ir.comparisons import Comparison
from blockfuse.ir.graph import Node, argument, captured, leaf, literal, parameter
from blockfuse.ir.operators.pointwise import add, cast, greater, where
from blockfuse.ir.operators.reductions import sum_
from blockfuse.ir.types import tensor
from blockfuse.tracer.flow.origins import Origin, Place
from blockfuse.tracer.recording.recorder import Recorder
from blockfuse.tracer.state.assignments import Attribute
from blockfuse.tracer.state.facts import Bind

# NOTE [needed for its error]
# A call may pick at an index beyond its axis where nothing needs what it picks (the last token of a loop that decodes): an
# error in Python. So its program needs it: a result is chosen by a word that is always false from itself and itself. A step
# that writes has this word as an update instead, of an array that nobody reads.
_WORD = ndarray(numpy.zeros((), bool))


class Leaves:
    """Those of one call. problem: why no graph can stand for it, or empty."""

    def __init__(
        self,
        recorder: Recorder,
        watched: list[Any],
        held: dict[int, Any],
        given: dict[int, Attribute],
    ) -> None:
        """watched: blocks and parameters. held: id -> an array that the state of the call holds. given: id of an array ->
        the attribute that held it, and that is read at each call.
        """
        self.problem = ""
        self.leaves: dict[Node, Node] = {}  # provisional leaf -> parameter, captured array or constant
        self.origins: dict[Node, Origin] = {}  # parameter or captured array -> where it lies
        self.updates: dict[Node, Node] = {}  # provisional leaf -> what it holds when the call is over
        self.before: list[numpy.ndarray] = []  # what each update held when the call began
        self._memory = recorder.memory
        self._parameters = parameters_of(watched)
        self._held, self._given = held, given
        self._buffers = {id(stamps.owner_of(a)) for a in held.values() if isinstance(a, numpy.ndarray)}
        for provisional, array in self._memory.found.items():
            self._resolve(provisional, array)
        self._add_updates()
        self._add_flags()

    @property
    def written(self) -> list[Origin]:
        """Of each update."""
        return [self.origins[self.leaves[provisional]] for provisional in self.updates]

    def need(self, nodes: list[Node], sequence: list[Node]) -> None:
        """NOTE [needed for its error] sequence: of all nodes, takes those that are computed for it."""
        never = _never(nodes, sequence)
        provisional = self._leaf(Origin("checked", _WORD), captured, leaf(captured, "checked", never.type))
        self.updates = {provisional: never, **self.updates}
        self.before.insert(0, _WORD._data.copy())

    def _leaf(self, origin: Origin, kind: Any, provisional: Node) -> Node:
        """``provisional``, which is found at ``origin``."""
        found = self.leaves[provisional] = leaf(kind, origin.name, provisional.type)
        self.origins[found] = origin
        return provisional

    # -- NOTE [which arrays are what] ------------------------------------------------------------------------

    def _resolve(self, provisional: Node, array: ndarray | numpy.ndarray) -> None:
        data = array._data if isinstance(array, ndarray) else array
        attribute = self._given.get(id(array))
        if attribute is not None:
            self._leaf(Origin(attribute.text, attribute), argument, provisional)
            if id(array) in self._memory.updated:
                self._stop(
                    f"forward writes into the array that {attribute.text} holds, which it also assigns"
                )
            return
        origin, kind = Origin(f"captured{len(self.origins)}", array), captured
        if id(array) in self._parameters or (isinstance(array, ndarray) and id(array) in self._held):
            origin = self._parameters.get(id(array)) or origin
            # at every call; a gradient is written by backward
            changes = id(array) in self._memory.updated or origin.place is not Place.VALUE
            if not (stamps.is_exposed(data) or changes):
                kind = parameter
        elif id(stamps.owner_of(data)) not in self._buffers:
            self._resolve_constant(provisional, array, data)
            return
        if kind is captured and not data.flags.c_contiguous:
            self._stop("forward reads an array that lies in NumPy's memory and is not C-contiguous")
        self._leaf(origin, kind, provisional)

    def _resolve_constant(
        self, provisional: Node, array: ndarray | numpy.ndarray, data: numpy.ndarray
    ) -> None:
        self.leaves[provisional] = literal(data)
        if self._memory.is_elsewhere(array):
            self._stop("forward reads memory by way of an array that nobody saw made")
        if id(array) in self._memory.updated:
            self._stop("forward writes into an array that is no parameter and held by no attribute")

    def _stop(self, problem: str) -> None:
        self.problem = self.problem or problem

    # -- NOTE [updates] --------------------------------------------------------------------------------------

    def _add_updates(self) -> None:
        pairs = zip(self._memory.updated_leaves(), self._memory.updated.values(), strict=True)
        for provisional, (array, before) in pairs:
            if self.leaves[provisional] in self.origins:
                self._add_update(provisional, self._memory.node_of(array), before)

    def _add_flags(self) -> None:
        for variable, before in self._memory.flags.values():
            origin = self._parameters.get(id(variable))
            if origin is None:
                self._stop("gradients go to an array that no parameter holds")
                continue
            provisional = self._leaf(origin, captured, leaf(captured, origin.name, tensor((), "bool")))
            self._add_update(provisional, literal(variable.flag), before)

    def _add_update(self, provisional: Node, value: Node, before: numpy.ndarray) -> None:
        self.updates[provisional] = value
        self.before.append(before)


def with_errors_of(nodes: list[Node], results: tuple[Node, ...], sequence: list[Node]) -> tuple[Node, ...]:
    """The results, of which the smallest needs ``nodes``: NOTE [needed for its error]. sequence: as for ``Leaves.need``."""
    never = _never(nodes, sequence)
    smallest = min(results, key=lambda result: result.type.nbytes)
    chosen = node_of(where, (never, smallest, smallest), {}, never.source)
    sequence.append(chosen)
    return tuple(chosen if result is smallest else result for result in results)


def _never(nodes: list[Node], sequence: list[Node]) -> Node:
    """A false that needs all of them."""
    totals = []
    for node in nodes:
        axes = tuple(range(node.type.ndim))
        totals.append(node_of(cast, (node,), {"dtype": "float64"}, node.source))
        totals.append(node_of(sum_, (totals[-1],), {"axis": axes, "keepdims": False}, node.source))
        sequence += totals[-2:]
    total = totals[1]
    for other in totals[3::2]:
        total = node_of(add, (total, other), {}, other.source)
        sequence.append(total)
    never = node_of(greater, (total, total), {}, total.source)
    sequence.append(never)
    return never


def parameters_of(watched: list[Any]) -> dict[int, Origin]:
    """Id of an array, or of the variable of one -> its parameter, under the longest name by which the net knows it."""
    found: dict[int, Origin] = {}
    for value in watched:
        walk = getattr(value, "_walk", None)  # a block; otherwise a parameter
        named = walk("") if walk is not None else [(getattr(value, "name", "parameter"), value)]
        for name, one in named:
            data = getattr(one, "_data", None)
            if isinstance(data, ndarray) and len(name) > len(found.get(id(data), Origin("", None)).name):
                found[id(data)] = Origin(name, one)
                variable = variable_of(data)
                if variable is not None:
                    found[id(variable)] = Origin(f"{name}.fresh", one, Place.FLAG)
                if variable is not None and variable.grad is not None:
                    found[id(variable.grad)] = Origin(f"{name}.grad", one, Place.GRADIENT)
    return found


@dataclass(frozen=True)
class HeldTwice:
    """A parameter, or its gradient, still is an array that other state holds, too: a program finds both at the parameter."""

    array: Any
    origin: Origin  # of the parameter

    @property
    def text(self) -> str:
        return f"the array of {self.origin.name}, which something else holds as well"

    def holds(self) -> bool:
        found = parameters_of([self.origin.holder]).get(id(self.array))
        return found is not None and found.place is self.origin.place

    def condition(self, bind: Bind) -> str:  # noqa: ARG002 - watchers are told
        return "True"

    def comparisons(self) -> tuple[Comparison, ...]:
        """None: watchers are told."""
        return ()


def held_twice(held: dict[int, Any], watched: list[Any]) -> Iterator[HeldTwice]:
    """Of the arrays that state holds, and of the parameters among what is watched. held: id -> array."""
    parameters = parameters_of(watched)
    return (HeldTwice(held[key], parameters[key]) for key in held.keys() & parameters.keys())
