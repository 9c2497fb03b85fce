"""The arrays that a recorded call met: which value each holds now, and in whose memory.

NOTE [which arrays are what]
Arguments are known from the start. An array that no operator made was there before (a parameter, an array in an attribute
or a global) or was made from Python values during the call. It becomes a provisional leaf; when the call is over
``tracer/recording/record.py`` finds out which it is.

NOTE [updates]
A write to an array that the call made becomes a new value of it. So does one to a parameter, to its gradient, or to an array
that an attribute holds: the value at the end of the call is an *update*, which a program computes like a result and writes
into the array when everything is computed. So are the flags that say whether a gradient is new. Other arrays in written
memory have other values from then on, which nobody follows: they must not be used again.

NOTE [NumPy's memory]
Nobody sees writes to memory that NumPy may reach, so what was read there must still be there, at each use and at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from weakref import ref

import numpy

from blockfuse.array import stamps
from blockfuse.array.history import Variable
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.graph import Node, captured, leaf
from blockfuse.ir.placement import owns_memory
from blockfuse.ir.types import type_of
from blockfuse.tracer.state.contents import same_bytes


@dataclass(frozen=True)
class Mark:
    """How much of each kind there was at some moment."""

    arrays: int
    writes: int
    others: tuple[int, int, int]  # what was found, updated, flagged


class Memory:
    """The arrays of one call."""

    def __init__(self, arguments: dict[Node, ndarray], stop: Callable[[str], None]) -> None:
        """stop: is told what no graph can repeat."""
        self._stop = stop
        self.found: dict[Node, ndarray | numpy.ndarray] = {}  # provisional leaf -> the array that was met
        self.known: set[int] = set()  # ids of objects whose state is certified
        self.time = 0  # how many program points were taken
        self._nodes: dict[int, Node] = {}  # id of an array -> its value now
        self._arrays: list[Any] = []  # keeps those ids good
        self.updated: dict[int, tuple[ndarray, numpy.ndarray]] = {}  # id of an array -> itself, what it held
        self.flags: dict[
            int, tuple[Variable, numpy.ndarray]
        ] = {}  # id -> what has a flag that is set, what it held
        self._inside: dict[int, list[int]] = {}  # id of a buffer's owner -> ids of the arrays that lie in it
        self._outdated: set[int] = set()  # ids of arrays whose memory was written to by way of another one
        # id of an array that NumPy reaches -> what it held first
        self._contents: dict[int, numpy.ndarray] = {}
        self._made: dict[int, int] = {}  # id of an array -> when it was first met
        self._written: dict[int, int] = {}  # id of an array -> when it was last written to
        self._given: set[int] = set()  # ids of the owners of arguments
        self._writes: list[ndarray] = []  # arrays in the order in which they were written to
        # id of an array of a forgotten round that was there still -> itself, held weakly
        self._gone: dict[int, ref[ndarray]] = {}
        for node, array in arguments.items():
            self.give(node, array)

    def give(self, node: Node, array: ndarray) -> None:
        """``array`` is an argument."""
        self._given.add(id(stamps.owner_of(array._data)))
        self.know(array, node)

    # -- values ----------------------------------------------------------------------------------------------

    def node_of(self, array: ndarray | numpy.ndarray) -> Node:
        """The value that an array holds now."""
        known = self._nodes.get(id(array))
        if known is None:
            if id(array) in self._gone and self._gone[id(array)]() is array:
                self._stop("uses an array of an earlier round, which no variable held,")
            known = leaf(captured, f"found{len(self.found)}", type_of(_data(array)))
            self.found[known] = array
            self.know(array, known)
        elif self._written_unseen(array):
            self._stop("changes a NumPy array while using it")
        elif id(array) in self._outdated:
            self._stop("uses an array after writing to its memory by way of another one")
        return known

    def value_of(self, array: ndarray) -> Node | None:
        """The value that an array holds, if the call met it."""
        return self._nodes.get(id(array))

    def values(self) -> dict[Node, Any]:
        """What arrays hold now: value -> an array that holds it."""
        arrays = {id(array): array for array in self._arrays}
        return {node: arrays[i] for i, node in self._nodes.items()}

    def know(self, array: Any, node: Node) -> None:
        """An array that is met for the first time holds ``node``."""
        self._nodes[id(array)] = node
        self._made[id(array)] = self.time
        self._arrays.append(array)
        if isinstance(array, numpy.ndarray) or stamps.is_exposed(array._data):
            self._contents.setdefault(id(array), _data(array).copy())
        owner = stamps.owner_of(_data(array))
        self._arrays.append(owner)
        self._inside.setdefault(id(owner), []).append(id(array))

    def write(self, array: ndarray, node: Node) -> None:
        """The array now holds ``node``."""
        self._nodes[id(array)] = node
        self._written[id(array)] = self.time
        self._writes.append(array)
        inside = self._inside[id(stamps.owner_of(array._data))]
        self._outdated.update(other for other in inside if other != id(array))

    def begins_update(self, array: ndarray) -> bool:
        """Whether a write to an array that was there before can be an update; keeps what the array held."""
        if id(array) in self.updated:
            return True
        data = array._data
        whole = owns_memory(data) and data.flags.c_contiguous and data.size
        if not whole or stamps.is_exposed(data) or self.node_of(array) not in self.found:
            return False
        self.updated[id(array)] = array, data.copy()
        return True

    def settle(self, variable: Variable) -> None:
        """Its flag is about to be set, which is an update, too."""
        self.flags.setdefault(id(variable), (variable, variable.flag.copy()))

    def updated_leaves(self) -> tuple[Node, ...]:
        """The provisional leaves of updated arrays, in the order of the first writes."""
        leaves = {id(array): node for node, array in self.found.items()}
        return tuple(leaves[i] for i in self.updated)

    def writes_since(self, time: int) -> set[int]:
        """Ids of arrays that are older than ``time`` and were written to after it."""
        return {i for i, when in self._written.items() if when > time >= self._made[i]}

    # -- NOTE [forgotten rounds] -----------------------------------------------------------------------------

    def mark(self) -> Mark:
        return Mark(len(self._arrays), len(self._writes), self._others())

    def _others(self) -> tuple[int, int, int]:
        return len(self.found), len(self.updated), len(self.flags)

    def only_added(self, mark: Mark, held: Iterable[ndarray]) -> bool:
        """Whether the call has only made arrays since then, and written to none but these and what is held."""
        known = {*map(id, held), *map(id, self._arrays[mark.arrays :: 2])}
        return mark.others == self._others() and all(id(a) in known for a in self._writes[mark.writes :])

    def return_to(self, mark: Mark, before: list[ndarray], held: dict[int, Node]) -> None:
        """Let arrays hold these values, by their ids; all others that were made since then, or held before, are gone."""
        fresh = self._arrays[mark.arrays :: 2]
        kept = [array for array in fresh if id(array) in held]
        dropped = [array for array in (*before, *fresh) if id(array) not in held]
        for array in dropped:
            self._forget(array)
        self._gone = {i: gone for i, gone in self._gone.items() if gone() is not None}
        self._gone |= {id(array): ref(array) for array in dropped}
        self._arrays[mark.arrays :] = [a for array in kept for a in (array, stamps.owner_of(array._data))]
        del self._writes[mark.writes :]
        for array in kept:
            self._gone.pop(id(array), None)
        for i, node in held.items():
            self._nodes[i] = node

    def _forget(self, array: ndarray) -> None:
        for known in (self._nodes, self._made, self._written, self._contents):
            known.pop(id(array), None)
        self._outdated.discard(id(array))
        owner = id(stamps.owner_of(array._data))
        inside = [i for i in self._inside.pop(owner, ()) if i != id(array)]
        if inside:
            self._inside[owner] = inside

    def check_contents(self) -> None:
        """NOTE [NumPy's memory] The call is over."""
        if any(self._written_unseen(array) for array in self._arrays):
            self._stop("changes a NumPy array after using it")

    def _written_unseen(self, array: Any) -> bool:
        before = self._contents.get(id(array))
        return before is not None and not same_bytes(before, _data(array))

    # -- whose memory it is ----------------------------------------------------------------------------------

    def is_argument(self, array: ndarray) -> bool:
        """Whether an array lies in the memory of an argument."""
        return id(stamps.owner_of(array._data)) in self._given

    def was_there(self, array: ndarray) -> bool:
        """Whether no operator of the call made an array that is about to be written to."""
        return self.node_of(array) in self.found or self.shares_given_memory(array)

    def is_elsewhere(self, array: ndarray | numpy.ndarray) -> bool:
        """Whether an array that was found lies in memory that the call was given or made, so that it is no constant.

        What was found there first decides: views that operators made of it later, and other names of the same memory, are
        no other memory, and whoever writes to one of them is seen.
        """
        first, *others = self._inside[id(stamps.owner_of(_data(array)))]
        return bool(others) and all(first != id(found) for found in self.found.values())

    def is_part(self, array: ndarray) -> bool:
        """Whether an array is a view of another one."""
        return not owns_memory(array._data)

    def shares_given_memory(self, array: ndarray) -> bool:
        """Whether an array lies in memory that was there before the call."""
        owner = id(stamps.owner_of(array._data))
        return owner in self._given or any(
            owner == id(stamps.owner_of(_data(a))) for a in self.found.values()
        )


def _data(array: ndarray | numpy.ndarray) -> numpy.ndarray:
    return array._data if isinstance(array, ndarray) else array
