"""What native code checks of the arguments of a call, as data: what each of them, and each item of a container, must be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

OUT = "out"  # the keyword by which a caller brings memory for results


class PartKind(Enum):
    """How a part is told."""

    ARRAY = auto()  # an array, at which the entry looks itself
    OUT = auto()  # an array that takes a result: nobody must be told of a write to it
    NUMBER = auto()  # any of its type
    SAME = auto()  # this very object, such as None
    FLOAT = auto()  # the same bits
    EQUAL = auto()  # of the same type, and equal: an int, text or bytes
    REPR = auto()  # of the same type, and with this text: a complex number, a range, a slice of ints
    TUPLE = auto()  # of so many items, the parts that follow; also a named one
    LIST = auto()
    DICT = auto()  # with these keys, which are text, in this order

    @property
    def is_value(self) -> bool:
        """Whether it is one of the values among which expressions of numbers are computed."""
        return self in _VALUES


_VALUES = (PartKind.NUMBER, PartKind.SAME, PartKind.FLOAT, PartKind.EQUAL, PartKind.REPR)


@dataclass(frozen=True)
class Part:
    """One argument or item. Those of a container stand behind it, in their order."""

    kind: PartKind
    type: Any = None  # of the value; None where it does not matter
    known: tuple[Any, ...] = ()  # the object or text, or the keys
    count: int = 0  # of items
