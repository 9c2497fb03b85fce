"""Where in the program a decision was taken, and with which Python state: how loops and joins are recognised.

NOTE [when two points are one]
Two points are the same position if from there on Python must do the same, up to the values in arrays. Then the way
back to the earlier one is a loop, and two paths that come to it join. That is so if every frame on the stack
- either shows all it has (it is *plain*): it stands at the same instruction, with nothing on its evaluation stack but
  the operands of that instruction, iterators whose position is known and scopes of ``autograd``, and with equal immutable
  values, the same known objects, lists of such, and arrays of the same types, in the variables that it still needs, and
  where two of them hold one object, the same two do;
- or has not moved since a moment that both paths share (``Waiting``).
- and attributes that the call has assigned are the same ones, and hold what variables would have to hold.
What else Python could read is part of the certified state and has not changed. A frame that waits in C code which calls
back (``functools.reduce``) or resumes a generator has a state that nobody sees, so it is not plain. Neither is one with
objects among its variables that cannot be compared.
"""

from __future__ import annotations

import types
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from blockfuse.ir.graph import Node


class Same:
    """An object compared by identity, and kept so that its identity stays its own."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


class Key:
    """A large key whose hash is computed once."""

    __slots__ = ("hash", "value")

    def __init__(self, value: Hashable) -> None:
        self.value, self.hash = value, hash(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self.hash == other.hash and self.value == other.value

    def __hash__(self) -> int:
        return self.hash


@dataclass(frozen=True)
class InductionVariable:
    """A variable of a function that counts rounds, or the iterator that the instruction at an index made."""

    code: types.CodeType
    name: str | int


@dataclass(frozen=True)
class InductionValue:
    """An induction variable: what it is now, and the node that computes it."""

    variable: InductionVariable
    value: int
    node: Node


@dataclass(frozen=True)
class Slot:
    """An array, or an induction variable, as some variables hold it.

    key: the variables, the type, how the memory is shared. given: the memory was there before the call.
    """

    key: Hashable
    node: Node
    given: bool = False
    induction: InductionValue | None = None


@dataclass(frozen=True)
class Waiting:
    """A frame that is not plain. number: the same as long as it has not moved."""

    number: int
    values: Hashable


@dataclass(frozen=True)
class Point:
    """Frames from the outermost in, as keys or ``Waiting``. apart: the same as no other point."""

    frames: tuple[Hashable, ...]
    slots: tuple[Slot, ...]
    apart: bool
