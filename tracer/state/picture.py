"""The Python state that a call can read, and whether it is still what it was.

NOTE [what counts as state]
From the callable and its arguments on: functions with the globals that their code names, their cells and
defaults; containers with all they hold; instances with all their attributes; blocks, classes and modules with
the attributes that the code names. Numbers and text are compared by type and value, arrays, functions and
everything else by identity. Blocks and parameters tell their watchers when they change, so only the
containers and objects in their attributes are looked at again at every call. A value whose state cannot be
seen (an iterator, a file, a deque) makes the call run eagerly.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from blockfuse.tracer.state.classes import is_of_library, is_python, may_change
from blockfuse.tracer.state.facts import Fact, Item, is_watched


@dataclass(frozen=True)
class Strange:
    """A C function or type that is not known. shown: a profiler shows that it is called, where that is on the spot."""

    what: str
    shown: bool


@dataclass
class State:
    """A picture of the state that some code can read."""

    items: list[Item] = field(default_factory=list)  # must be looked at again before every call
    watched_items: list[Item] = field(default_factory=list)  # only after a watcher was told
    others: list[Fact] = field(default_factory=list)  # about more than one item; before every call
    watched_others: list[Fact] = field(default_factory=list)  # after a watcher was told
    settings: list[Fact] = field(default_factory=list)  # that the call asked for; before every call
    asked: list[Fact] = field(default_factory=list)  # who wants gradients; after a watcher was told
    arrays: dict[int, Any] = field(default_factory=dict)  # id -> array (ours or NumPy's) that the state holds
    watched: list[Any] = field(default_factory=list)  # blocks and parameters
    # what counts what an instance makes once, and the count: NOTE [declared attributes]
    makers: list[tuple[Callable[[], int], int]] = field(default_factory=list)
    codes: set[types.CodeType] = field(default_factory=set)  # of every function that was reached
    functions: set[types.CodeType] = field(default_factory=set)  # reached with what they enclose
    unseen: str = ""  # the first value whose state cannot be seen
    strange: dict[tuple[str, str], Strange] = field(default_factory=dict)  # scope, name -> what code comes by
    left_out: tuple[
        tuple[int, str], ...
    ] = ()  # ids of blocks, names of attributes: NOTE [assigned attributes]
    known: dict[int, Any] = field(default_factory=dict)  # id -> object, kept so that ids stay

    def is_new(self, value: Any) -> bool:
        """Whether ``value`` can only have been made since the picture was taken, so that nobody else knows of it."""
        kind = type(value)
        return (
            id(value) not in self.known
            and (kind is types.SimpleNamespace or (may_change(kind) and is_python(kind)))
            and not isinstance(value, types.ModuleType | types.FunctionType | type)
            and not is_watched(value)
            and not is_of_library(kind)
        )

    def join(self, other: State) -> None:
        """Rest also on what ``other`` saw a call ask on another way; what code can reach is the same on all ways."""
        known = {fact.text for fact in self.settings}
        self.settings += [fact for fact in other.settings if fact.text not in known]
        self.asked += other.asked

    @property
    def unreported(self) -> tuple[Fact, ...]:
        """What no watcher tells of."""
        return (*self.items, *self.others, *self.settings)

    def change(self) -> str:
        """What has changed first, or an empty text."""
        reported = (*self.watched_items, *self.watched_others, *self.asked)
        everything = (*self.unreported, *reported)
        return next((fact.text for fact in everything if not fact.holds()), "")
