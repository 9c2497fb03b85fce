"""Where the values of arrays came from while ``autograd`` recorded, whatever has been written to their memory since.

NOTE [histories]
An array that an operator made from recorded ones holds a *link* to a tape node: how its value came about. Nodes lead to
the nodes of their operands and end at variables, which ``attach_grad`` makes. Nodes hold the operands' values, and nothing
holds a node but arrays and later nodes, so a history goes with its last array.

NOTE [written values]
A pullback needs the values that operands had. Memory that a node still needs is copied just before somebody writes to it,
by whatever interpreter is current, so that a recorded write is followed, too. And a write changes what other arrays in the
same memory hold: the memory knows the node of its whole (of the array that owns it), a recorded write makes another one of
it, and an array whose link is older than the last write reads its part of the whole.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from itertools import count
from math import prod
from typing import Any, NamedTuple

import numpy
from numpy.lib.stride_tricks import as_strided

from blockfuse.array import stamps
from blockfuse.array.functions.creation import zeros
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.errors import GradientError

# pullback(grad, out, *operands) -> for each operand its gradient, None where none flows, or a function that computes it
# and is called if somebody wants it
Pullback = Callable[..., "tuple[Any, ...]"]

_order = count()


class Variable:
    """An array that gradients are wanted of.

    requirement: ``write``, ``add`` or ``null``. held: by a parameter. fresh: ``backward`` was here since somebody used it.
    """

    __slots__ = ("fresh", "grad", "held", "requirement")

    def __init__(self, requirement: str, grad: ndarray | None, held: bool = False) -> None:
        self.requirement, self.grad, self.held, self.fresh = requirement, grad, held, False

    def room(self, like: ndarray) -> ndarray:
        """Where the gradient is: memory of zeros where nobody asked for it yet, as if it had always been there."""
        if self.grad is None:
            self.grad = ndarray(numpy.zeros(like.shape, like.dtype))
        if not self.held:
            interpreter.current().impure("uses the gradient of an array that no parameter holds")
        return self.grad


class TapeNode:
    """How one value came about: the tape's node.

    order: greater than that of all nodes that it was made of. pullback: None for a variable, and after ``free``.
    """

    __slots__ = ("__weakref__", "dtype", "operands", "order", "parents", "pullback", "shape", "variable")

    def __init__(
        self,
        like: ndarray,
        parents: tuple[TapeNode | None, ...] = (),
        operands: tuple[Any, ...] = (),
        pullback: Pullback | None = None,
        variable: Variable | None = None,
    ) -> None:
        self.order = next(_order)
        self.shape, self.dtype = like.shape, like.dtype
        self.parents, self.operands, self.pullback = parents, operands, pullback
        self.variable = variable
        for operand in operands:
            if type(operand) is ndarray:
                needed = _memory_of(operand).needed
                needed.add(weakref.ref(self, needed.discard))

    def free(self) -> None:
        """Forget what a pullback would need."""
        self.parents, self.operands, self.pullback = (), (), None

    def save_from(self, owner: numpy.ndarray) -> None:
        """Memory of ``owner`` is about to be written: keep copies of the operands that lie in it."""
        self.operands = tuple(
            _copied(o, parent) if type(o) is ndarray and stamps.owner_of(o._data) is owner else o
            for o, parent in zip(self.operands, self.parents, strict=True)
        )


def _copied(array: ndarray, node: TapeNode | None) -> ndarray:
    copy = array.copy()
    if node is not None:
        link(copy, node)
    return copy


# -- memory --------------------------------------------------------------------------------------------------


class Memory:
    """What histories know of a buffer; see NOTE [written values]. version: how often it was written.

    needed: nodes with operands in it. lost: who wrote last did so unrecorded.
    """

    __slots__ = ("_held", "_whole", "lost", "needed", "owner", "rewritten", "version")

    def __init__(self, owner: weakref.ref[numpy.ndarray]) -> None:
        self.owner = owner
        self.version = 0
        self.needed: set[weakref.ref[TapeNode]] = set()
        self.lost = False
        self.rewritten = (
            False  # a recorded operator wrote last: arrays without a link read their part of the whole
        )
        self._whole: Callable[[], TapeNode | None] = _nothing
        self._held: TapeNode | None = None

    @property
    def whole(self) -> TapeNode | None:
        """The node of its owner's value."""
        return self._whole()

    def made(self, node: TapeNode) -> None:
        """Its owner is the result of an operator; the array that holds it holds the node, too."""
        self._whole, self._held, self.lost = weakref.ref(node), None, False
        self.rewritten = self.version > 0 and node.variable is None

    def changed(self, node: TapeNode) -> None:
        """A recorded operator wrote to a part of it: nobody else holds the node of the whole."""
        self._whole, self._held, self.lost = weakref.ref(node), node, False
        self.rewritten = True

    def written(self) -> None:
        """Somebody is about to write."""
        self.version += 1
        self.rewritten = False
        whole = self.whole
        self.lost = whole is not None and whole.variable is None
        if self.lost:
            self._whole, self._held = _nothing, None


def _nothing() -> None:
    """No node."""


_memories: dict[int, Memory] = {}  # id of a buffer's owner, which takes its entry along when it goes


def _memory_of(array: ndarray) -> Memory:
    owner = stamps.owner_of(array._data)
    key = id(owner)
    memory = _memories.get(key)
    if memory is None:
        memory = _memories.setdefault(key, Memory(weakref.ref(owner, partial(_memories.pop, key))))
        stamps.readers.add(_writes)
    return memory


class _Writes:
    """Told of every write."""

    def read(self, owner: numpy.ndarray) -> None:
        memory = _memories.get(id(owner))
        if memory is None:
            return
        for reference in list(memory.needed):
            node = reference()
            if node is not None:
                node.save_from(owner)
        memory.needed.clear()
        memory.written()


_the_writes = _Writes()
_writes: weakref.ref[Any] = weakref.ref(_the_writes)


# -- links ---------------------------------------------------------------------------------------------------


def link(array: ndarray, node: TapeNode) -> None:
    """``array`` holds the value of ``node`` now."""
    memory = _memory_of(array)
    if memory.owner() is array._data:
        memory.made(node)
    array._history = node, memory, memory.version


def cut(array: ndarray) -> None:
    """Gradients end at ``array``, though its memory may have a history."""
    memory = memory_if_known(array)
    array._history = None if memory is None else (None, memory, memory.version)


def unlink(array: ndarray) -> None:
    """``array`` has no history any more."""
    array._history = None


def node_of(array: Any) -> TapeNode | None:
    """How the present value of an array came about; None where nothing recorded leads to it."""
    if type(array) is not ndarray:
        return None
    history = array._history
    if history is not None:
        node, memory, version = history
        if version == memory.version or (node is not None and node.variable is not None):
            return node
        if memory.lost:
            raise GradientError(
                "an array that was computed inside of autograd.record() was written to outside of it, and is used "
                "again: its gradient is not known any more. Write to it inside of record(), or use detach()"
            )
    else:
        memory = _memories.get(id(stamps.owner_of(array._data))) if array._pending is None else None
    if memory is None or memory.whole is None or not (history is not None or memory.rewritten):
        return None
    return _part_of(array, memory)


def is_followed(array: ndarray) -> bool:
    """Whether gradients can be asked for of an array."""
    node = node_of(array)
    return node is not None and (node.variable is not None or node.pullback is not None)


def variable_of(array: ndarray) -> Variable | None:
    """What ``attach_grad`` made of an array."""
    history = array._history
    return None if history is None or history[0] is None else history[0].variable


def _part_of(array: ndarray, memory: Memory) -> TapeNode | None:
    """The node of an array that lies in memory whose whole has one."""
    owner, whole = memory.owner(), memory.whole
    assert owner is not None
    assert whole is not None
    if array._data is owner:
        return whole
    places = _positions(array._data, owner)
    node = TapeNode(array, (whole,), (ndarray(owner),), partial(_spread, places, owner.shape))
    link(array, node)
    return node


def _spread(places: numpy.ndarray, shape: tuple[int, ...], g: Any, _: Any, __: Any) -> tuple[Any]:
    """The gradient of picked elements, in their places."""
    flat = zeros(prod(shape), dtype=g.dtype)
    flat[places.ravel()] = g.reshape(-1)
    return (flat.reshape(shape),)


class Whole(NamedTuple):
    """The value of all elements of a memory before a write, and its node."""

    node: TapeNode
    value: ndarray


def whole_of(target: ndarray) -> Whole | None:
    """What is in the memory of ``target`` besides itself, if that has a history."""
    memory = memory_if_known(target)
    whole = None if memory is None else memory.whole
    if memory is None or whole is None:
        return None
    owner = memory.owner()
    assert owner is not None
    apart = owner is not target._data and whole.variable is None
    return Whole(whole, ndarray(owner).copy() if apart else target)


def written_part(target: ndarray, node: TapeNode, memory: Memory, before: Whole | None) -> None:
    """``target``, a part of its memory, was written by a recorded operator: its value is that of ``node`` now."""
    owner = memory.owner()
    assert owner is not None
    if owner.dtype != target.dtype:
        raise GradientError(
            f"a write of {target.dtype} into memory of {owner.dtype} inside of autograd.record() has no gradient"
        )
    places = _positions(target._data, owner)
    split = partial(_split, places, owner.shape)
    rest = (None, None) if before is None else (before.node, before.value)
    memory.changed(TapeNode(ndarray(owner), (rest[0], node), (rest[1], target), split))
    target._history = node, memory, memory.version


def _split(
    places: numpy.ndarray, shape: tuple[int, ...], g: Any, _: Any, __: Any, ___: Any
) -> tuple[Any, Any]:
    """The gradient of a whole: of what was there before, and of the part that was written."""

    def kept() -> Any:
        flat = g.reshape(-1).copy()
        flat[places.ravel()] = 0
        return flat.reshape(shape)

    return kept, g.reshape(-1)[places]


def _positions(data: numpy.ndarray, owner: numpy.ndarray) -> numpy.ndarray:
    """Where the elements of ``data`` stand in its owner, counted in C order."""
    if data.dtype != owner.dtype:
        raise GradientError(
            f"an array of {data.dtype} in memory of {owner.dtype}, which autograd.record() saw written, has no gradient"
        )
    item = owner.itemsize
    numbers = numpy.empty_like(owner, numpy.int64, order="K")
    numbers[...] = numpy.arange(owner.size).reshape(owner.shape)
    offset = (data.__array_interface__["data"][0] - owner.__array_interface__["data"][0]) // item
    memory = as_strided(numbers, (owner.size,), (numbers.itemsize,)) if owner.flags.forc else None
    assert memory is not None, "memory that owns itself lies in one piece"
    strides = tuple(s // item * numbers.itemsize for s in data.strides)
    return as_strided(memory[offset:], data.shape, strides).copy()


def memory_if_known(array: ndarray) -> Memory | None:
    """What histories know of the memory of ``array``."""
    return _memories.get(id(stamps.owner_of(array._data)))
