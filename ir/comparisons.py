"""What native code compares of Python objects, as data: which aspect of which object must be which objects."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any


class Aspect(Enum):
    """What of an object is compared, by identity."""

    ITEM = auto()  # of a dict: a key, and its value
    MISSING = auto()  # of a dict: a key that it has not
    KEYS = auto()  # of a dict: all keys, in order
    PAIRS = auto()  # of a dict: all keys and values in turn, in order
    ELEMENTS = auto()  # of a list: all, in order
    EMPTY = auto()  # that a set has no elements
    CELL = auto()  # what a cell holds
    CLASS = auto()  # what an object is an instance of
    DICT = auto()  # where an object keeps its attributes
    ORDER = auto()  # the tuple ``__mro__`` of a class
    CODE = auto()  # of a function, as the two below
    DEFAULTS = auto()
    KEYWORD_DEFAULTS = auto()
    PLACE = (
        auto()
    )  # where a tensor of a type lies: not by identity, but by the words of ``ir/tensor_layout.py``


@dataclass(frozen=True)
class Comparison:
    """One aspect of one object. Dicts and lists are of exactly these types, keys are exactly text."""

    aspect: Aspect
    holder: Any
    parts: tuple[Any, ...]
