"""What native code looks at before and after it writes to memory: whether somebody must be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Written:
    """The memory that a program writes, and who may have to know.

    Before a write, ``readers`` read it; there is at most ``reader``, who asks ``memories`` for what is known of a memory. It
    has nothing to do but to count where no value is needed (``needed``), and what lies there is a variable's, or nobody's
    (``whole``, ``part``). Before and after it watchers are told, if the slots ``_told`` and ``_latest`` of theirs differ.
    """

    readers: set[Any]
    reader: Any
    memories: dict[int, Any]  # id of an owner -> what is known of its memory
    memory: type  # of these, with slots for the attributes
    node: type  # of what ``whole`` refers to, with a slot ``variable``
    nothing: Any  # ``whole`` of a memory that has none
    keys: tuple[int, ...]  # ids of the owners
    watchers: tuple[Any, ...]  # of each


@dataclass(frozen=True)
class Registries:
    """Where those are registered who must know of writes, whatever the memory.

    Nobody need be told of a write where ``readers`` are at most ``reader``, and neither ``memories`` nor ``watched`` knows
    the owner of the memory. Who began to watch meanwhile is told by ``tell``.
    """

    readers: set[Any]
    reader: Any
    memories: dict[int, Any]  # id of an owner -> what is known of its memory
    watched: dict[int, Any]  # id of an owner -> who watches its memory
    tell: Callable[[Any], None]  # of an array
