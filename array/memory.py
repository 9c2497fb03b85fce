"""What is known of the memory of arrays: whose value it holds, and which values must be saved before it is written.

See NOTE [written values] in ``array/history.py``.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy

from blockfuse.array import stamps
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.written import Registries, Written


class Node(Protocol):
    """What memory knows of a node of the tape."""

    variable: Any
    order: int
    operands: tuple[Any, ...]  # none where its gradient was computed

    def save_from(self, owner: numpy.ndarray, copies: dict[Any, ndarray]) -> None:
        """Memory of ``owner`` is about to be written: keep copies of the operands that lie in it.

        copies: node and region -> its copy, which nodes share.
        """


class Region(NamedTuple):
    """Where an array lies: the address of its first element, its shape, and its strides in bytes."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def region_of(data: numpy.ndarray) -> Region:
    return Region(data.__array_interface__["data"][0], data.shape, data.strides)


_FEW_NODES = 64  # before dead ones are looked for


def _nothing() -> None:
    """No node."""


class Memory:
    """What histories know of a buffer."""

    __slots__ = (
        "_held",
        "_limit",
        "_variable",
        "_whole",
        "computed",
        "lost",
        "needed",
        "owner",
        "part",
        "recorded",
        "version",
    )

    def __init__(self, owner: weakref.ref[numpy.ndarray]) -> None:
        self.owner = owner
        self.version = 0  # how often it was written
        self.recorded = 0  # the version that the last recorded write gave
        self.computed = False  # an operator made it, so NumPy does not know it
        self.lost = False  # a recorded value was written to by somebody who did not record
        self.needed: set[weakref.ref[Any]] = set()  # nodes with operands in it
        self._limit = _FEW_NODES
        self._whole: Any = _nothing  # weak: whoever holds the owner's array holds the node
        self.part: tuple[weakref.ref[Any], Region] | None = None  # in place of the whole, see ``made_part``
        self._held: Any = None  # the node of the whole, where no array holds it
        self._variable: Any = _nothing

    @property
    def whole(self) -> Any:
        """The node of its owner's value, if there is one."""
        return self._whole()

    @property
    def variable(self) -> Any:
        """The node of an array with ``attach_grad()`` that lies in it, if there is one."""
        return self._variable()

    @property
    def followed(self) -> bool:
        """Whether an array in it can have a history that it does not hold itself."""
        return self._whole() is not None or (self.part is not None and self.part[0]() is not None)

    def standing(self) -> tuple[bool, ...]:
        """All that the next write or use depends on, but for which nodes and versions these are."""
        return (
            self.whole is not None,
            self._held is not None,
            self.part is not None and self.part[0]() is not None,
            self.variable is not None,
            self.version == self.recorded > 0,
            self.recorded > 0,
            self.computed,
            self.lost,
            any(node.operands for reference in list(self.needed) if (node := reference()) is not None),
        )

    def made(self, node: Any) -> None:
        """Its owner is the result of an operator, or a variable."""
        self._whole, self._held, self.part, self.lost = weakref.ref(node), None, None, False
        self.computed = self.computed or node.variable is None
        self.marked(node)

    def made_part(self, node: Any, region: Region) -> None:
        """The result of an operator, in memory that nobody else has seen: NumPy gives views of what it made."""
        self.part, self.computed = (weakref.ref(node), region), True

    def marked(self, node: Any) -> None:
        if node.variable is not None:
            self._variable = weakref.ref(node)

    def changed(self, node: Any, lost: bool) -> None:
        """A recorded operator wrote to it. The node must not hold the memory, which holds the node."""
        self._whole, self._held, self.part = weakref.ref(node), node, None
        self.version = max(self.version, 1)  # it may be known since this write only
        self.recorded, self.lost = self.version, lost
        stamps.recorded(self.owner())

    def need(self, reference: weakref.ref[Any]) -> None:
        """A node has an operand in it."""
        self.needed.add(reference)
        if len(self.needed) > self._limit:
            for other in list(self.needed):
                if other() is None:
                    self.needed.discard(other)
            self._limit = 2 * len(self.needed) + _FEW_NODES

    def forgotten(self) -> None:
        """All of it was written by a recorded operator, with values that have no history."""
        self._whole, self._held, self.part, self.lost = _nothing, None, None, False

    def diverged(self) -> None:
        """A recorded operator wrote through an array at which gradients end: the others have lost theirs."""
        self.forgotten()
        self.recorded, self.lost = max(self.version, 1), True
        stamps.recorded(self.owner())

    def written(self) -> None:
        """Somebody is about to write."""
        if self.needed:
            self._save()
        self.version += 1
        whole = self._whole()
        if whole.variable is None if whole is not None else self.part is not None and self.followed:
            self._whole, self._held, self.part, self.lost = _nothing, None, None, True

    def _save(self) -> None:
        """Copy what nodes need of it."""
        owner, copies = self.owner(), dict[Any, ndarray]()
        waiting = [(node, reference) for reference in list(self.needed) if (node := reference()) is not None]
        waiting.sort(key=lambda pair: pair[0].order)  # who records it shall record the same each time
        for node, reference in waiting if owner is not None else ():
            node.save_from(owner, copies)
            self.needed.discard(reference)  # no sooner, for Ctrl-C may come
        self.needed.difference_update([one for one in list(self.needed) if one() is None])


UNTOUCHED = Memory(weakref.ref(numpy.empty(0))).standing()  # of memory that nothing is known of

_memories: dict[int, Memory] = {}  # id of a buffer's owner, which takes its entry along when it goes


def memory_of(array: ndarray) -> Memory:
    """What is known of the memory of ``array``, from now on."""
    owner = stamps.owner_of(array._data)
    key = id(owner)
    memory = _memories.get(key)
    if memory is None:
        memory = _memories.setdefault(key, Memory(weakref.ref(owner, partial(_memories.pop, key))))
        stamps.readers.add(_writes)
    return memory


def memory_if_known(array: ndarray) -> Memory | None:
    """What is known of the memory of ``array``."""
    return _memories.get(id(stamps.owner_of(array._data)))


def note_view(array: ndarray) -> None:
    """An operator gave a view, which nobody has recorded so far: gradients end here, if it is one of a recorded value."""
    if _memories:
        memory = _memories.get(id(stamps.owner_of(array._data)))
        if memory is not None and memory.followed:
            array._history = None, memory, memory.version


class _Writes:
    """Told of every write."""

    def read(self, owners: Sequence[numpy.ndarray]) -> None:
        for memory in filter(None, map(_memories.get, map(id, owners))):
            memory.written()


WRITES = _Writes()
_writes: weakref.ref[Any] = weakref.ref(WRITES)


def what_is_written(owners: Sequence[numpy.ndarray], node: type) -> Written:
    """What native code looks at that writes memory of these owners. node: the type of nodes of the tape."""
    return Written(
        readers=stamps.readers,
        reader=_writes,
        memories=_memories,
        memory=Memory,
        node=node,
        nothing=_nothing,
        keys=tuple(map(id, owners)),
        watchers=tuple(map(stamps.watchers_of, owners)),
    )


def registries() -> Registries:
    """What native code looks at that writes memory of anybody."""
    return Registries(stamps.readers, _writes, _memories, stamps.watched(), stamps.written)
