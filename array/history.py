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

NOTE [where gradients end]
A view of recorded memory that was made where nothing is recorded, or by ``detach()``, is a constant: its link leads to no
node, and has the version of the memory. An array without a link lies in memory that had no history when it was made; it
follows what recorded writes put there later.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

import numpy

from blockfuse.array import stamps
from blockfuse.array.memory import UNTOUCHED, Memory, memory_if_known, memory_of, region_of
from blockfuse.array.ndarray import ndarray
from blockfuse.array.parts import Part, part_of
from blockfuse.ir import interpreter, placement
from blockfuse.ir.errors import GradientError

# pullback(grad, out, *operands) -> for each operand its gradient, None where none flows, or a function that computes it
# and is called if somebody wants it
Pullback = Callable[..., "tuple[Any, ...]"]

_order = count()

# Told where an array gets or loses a variable by hand. See NOTE [who asks for gradients] in ``tracer/state/gradients.py``.
ASKED = stamps.Watchers()


def now() -> int:
    """A moment: nodes that are made later have a greater ``order``."""
    return next(_order)


class Variable:
    """An array that gradients are wanted of.

    requirement: ``write``, ``add`` or ``null``. held: by a parameter. flag: whether ``backward`` was here since somebody
    used the gradient; in memory, so that programs write it with the gradient itself.
    """

    __slots__ = ("flag", "grad", "held", "requirement")

    def __init__(self, requirement: str, grad: ndarray | None, held: bool = False) -> None:
        self.requirement, self.grad, self.held = requirement, grad, held
        self.flag = numpy.zeros((), bool)

    @property
    def fresh(self) -> bool:
        return bool(self.flag)

    def set_fresh(self, fresh: bool) -> None:
        interpreter.current().settles(self)
        self.flag[...] = fresh

    def room(self, like: ndarray) -> ndarray:
        """Where the gradient is: memory of zeros where nobody asked for it yet, as if it had always been there."""
        if self.grad is None:
            self.grad = ndarray(placement.zeros(like.shape, like.dtype))
        if not self.held:
            interpreter.current().impure("uses the gradient of an array that no parameter holds")
        return self.grad


class TapeNode:
    """How one value came about: the tape's node.

    order: greater than that of all nodes that it was made of. pullback: None for a variable, and after ``free``. looks:
    whether the pullback looks at the values of the operands and of the result. Operands are None where nobody will look.
    """

    __slots__ = (
        *("__weakref__", "dtype", "looks", "operands", "order", "parents", "pullback", "shape", "variable"),
    )

    def __init__(
        self,
        like: Any,
        parents: tuple[TapeNode | None, ...] = (),
        operands: tuple[Any, ...] = (),
        pullback: Pullback | None = None,
        variable: Variable | None = None,
        looks: bool = True,
    ) -> None:
        self.order = next(_order)
        self.shape, self.dtype = like.shape, like.dtype
        self.parents, self.pullback, self.variable, self.looks = parents, pullback, variable, looks
        self.operands = operands if looks else tuple(map(_if_looked_at, operands, parents))
        for operand in self.operands:
            if type(operand) is ndarray:
                history = operand._history
                memory = memory_of(operand) if history is None else history[1]
                memory.need(weakref.ref(self))

    def free(self) -> None:
        """Forget what a pullback would need."""
        self.parents, self.operands, self.pullback = (), (), None

    def save_from(self, owner: numpy.ndarray, copies: dict[Any, ndarray]) -> None:
        """Memory of ``owner`` is about to be written: keep copies of the operands that lie in it."""
        self.operands = tuple(
            _copied(o, parent, copies) if type(o) is ndarray and stamps.owner_of(o._data) is owner else o
            for o, parent in zip(self.operands, self.parents, strict=True)
        )


def _if_looked_at(operand: Any, parent: TapeNode | None) -> Any:
    """An operand whose value only the pullback of its own node can ask for."""
    return operand if parent is not None and parent.looks else None


def _copied(array: ndarray, node: TapeNode | None, copies: dict[Any, ndarray]) -> ndarray:
    key = node, region_of(array._data)
    if key not in copies:
        copies[key] = array.copy()
        seen_as(copies[key], node)
    return copies[key]


# -- links ---------------------------------------------------------------------------------------------------


def link(array: ndarray, node: TapeNode) -> None:
    """``array`` holds the value of ``node`` now, which an operator has made, or is a variable."""
    memory = memory_of(array)
    if memory.owner() is array._data:
        memory.made(node)
    elif node.variable is not None:
        memory.marked(node)
    elif not memory.followed and not memory.lost:
        memory.made_part(node, region_of(array._data))
    array._history = node, memory, memory.version


def seen_as(array: ndarray, node: TapeNode | None) -> None:
    """``array``, which nobody else has, holds the value of ``node``; without one, gradients end at it."""
    memory = memory_of(array)
    array._history = node, memory, memory.version


def unlink(array: ndarray) -> None:
    """``array`` has no history any more."""
    array._history = None


def node_of(array: Any) -> TapeNode | None:
    """How the present value of an array came about; None where nothing recorded leads to it."""
    if type(array) is not ndarray:
        return None
    history = array._history
    if history is None:
        return _node_by_memory(array)
    node, memory, version = history
    if version == memory.version or (node is not None and node.variable is not None):
        return node
    if node is None:
        _still_constant(memory, version)
        return None
    if memory.lost:
        raise GradientError(
            "an array that was computed inside of autograd.record() was written to outside of it, or through what "
            "detach() gave, and is used again: its gradient is not known any more. Write to the array itself inside of "
            "record(), to a copy(), or use detach()"
        )
    return _part_node(array, memory)


def _node_by_memory(array: ndarray) -> TapeNode | None:
    """Of an array without a link: recorded writes alone give it a history."""
    if array._pending is not None:
        return None
    memory = memory_if_known(array)
    return _part_node(array, memory) if memory is not None and memory.recorded else None


def _still_constant(memory: Memory, version: int) -> None:
    """Raise GradientError where nobody can tell."""
    if memory.recorded > version:
        raise GradientError(
            "an array that was taken from a recorded one by detach(), or outside of autograd.record(), shares memory that "
            "was written to inside of record() since, and is used again: whether it has a gradient is not known. Take "
            "it anew, or make a copy() of it before the write"
        )


def is_followed(array: ndarray) -> bool:
    """Whether gradients can be asked for of an array."""
    node = node_of(array)
    return node is not None and (node.variable is not None or node.pullback is not None)


def variable_of(array: ndarray) -> Variable | None:
    """What ``attach_grad`` made of an array."""
    history = array._history
    return None if history is None or history[0] is None else history[0].variable


def standing(array: ndarray) -> tuple[bool, ...]:
    """How an array stands to what is recorded, values aside: with arrays that stand alike, the tape does alike things."""
    history, memory = array._history, memory_if_known(array)
    link: tuple[bool, ...] = ()
    if history is not None:
        node, linked, version = history
        is_variable = node is not None and node.variable is not None
        link = node is not None, is_variable, version == linked.version
    return (*link, *(UNTOUCHED if memory is None else memory.standing()))


def linked_node(array: ndarray) -> TapeNode | None:
    """The node that an array holds itself, if nobody has written to its memory since."""
    history = array._history
    return history[0] if history is not None and history[2] == history[1].version else None


# -- a memory and its parts ----------------------------------------------------------------------------------


class Before(NamedTuple):
    """What a memory holds when a recorded write comes.

    node: of its whole, if it has one. value: None if nobody will look at it. lost: see ``Memory``. aside: gradients end at
    the array that is written, but not at others.
    """

    node: TapeNode | None
    value: ndarray | None
    lost: bool
    aside: bool = False


NOTHING = Before(None, None, False)


def before_write(target: ndarray) -> Before:
    """What is in the memory of ``target``. Raises GradientError where a variable lies in it."""
    memory = memory_if_known(target)
    if memory is None:
        return NOTHING
    if memory.variable is not None:
        raise GradientError(
            "inside of autograd.record() an array with attach_grad(), or a parameter, is written to: its gradient would "
            "be that of the value before. Compute a new array, or write outside of record() or in autograd.pause()"
        )
    node, owner = whole_node(memory), memory.owner()
    if node is not None and target._history is not None and target._history[0] is None:
        return Before(None, None, memory.lost, aside=True)
    if node is None or not node.looks or owner is target._data:
        return Before(node, None, memory.lost)
    assert owner is not None
    value = ndarray(owner).copy()
    seen_as(value, node)
    return Before(node, value, memory.lost)


def after_write(target: ndarray, node: TapeNode | None, before: Before) -> None:
    """A recorded operator has written to ``target``, whose value is that of ``node`` now, or has no history."""
    memory = memory_if_known(target)
    if node is None and (memory is None or before == NOTHING):
        unlink(target)
        return
    memory = memory_of(target)
    owner = memory.owner()
    assert owner is not None
    if before.aside:
        memory.diverged()
    elif owner is not target._data:
        part = part_of(region_of(target._data), target.dtype, owner)
        value = target.copy() if node is not None and node.looks else None
        if value is not None:
            seen_as(value, node)
        memory.changed(_changed_whole(owner, part, node, value, before), before.lost)
    elif node is not None:
        memory.changed(node, lost=False)
    else:
        memory.forgotten()
    target._history = (node, memory, memory.version) if node is not None or before.aside else None


def _changed_whole(
    owner: numpy.ndarray, part: Part, node: TapeNode | None, value: ndarray | None, before: Before
) -> TapeNode:
    def pullback(g: Any, *_: Any) -> tuple[Any, Any]:
        return lambda: part.drop(g), lambda: part.pick(g)

    return TapeNode(owner, (before.node, node), (before.value, value), pullback, looks=False)


def whole_node(memory: Memory) -> TapeNode | None:
    """How the value of a whole memory came about."""
    whole: TapeNode | None = memory.whole
    if whole is None and memory.part is not None:
        node, owner = memory.part[0](), memory.owner()
        if node is not None and owner is not None:
            part = part_of(memory.part[1], owner.dtype, owner)
            return TapeNode(owner, (node,), (part.of(owner),), lambda g, *_: (part.pick(g),), looks=False)
    return whole


def _part_node(array: ndarray, memory: Memory) -> TapeNode | None:
    """The node of an array that lies in memory whose whole has one."""
    whole, owner = whole_node(memory), memory.owner()
    if whole is None or array._data is owner:
        return whole
    assert owner is not None
    part = part_of(region_of(array._data), array.dtype, owner)
    node = TapeNode(array, (whole,), (ndarray(owner),), lambda g, *_: (part.spread(g),), looks=False)
    array._history = node, memory, memory.version
    return node
