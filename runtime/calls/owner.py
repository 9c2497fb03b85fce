"""Whose calls are compiled, as dispatch sees it: a block, or a plain function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from blockfuse.array.ndarray import ndarray
from blockfuse.array.stamps import Watcher
from blockfuse.runtime.programs.backend import Entry, FastCall


class Explained(Protocol):
    """What can say what became of its calls."""

    def explain(self) -> str: ...


class Owner(Protocol):
    """A block or function, and what a user calls in its place (for a block the same)."""

    @property
    def subject(self) -> Callable[..., Any]:
        """The block or function itself, from where the state of a call is reached."""

    @property
    def definition(self) -> Callable[..., Any]:
        """What the user wrote of it, whose arguments are those of a call."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def run(self) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
        """What a call means: the eager call of args and kwargs."""

    @property
    def is_followed_by_rules(self) -> bool:
        """Whether recordings hold what rules give, and ``run``, outside of them, asks other code."""

    def disagreement(self, recorded: Any, result: Any) -> str:
        """How what was recorded differs from the result of that code beyond rounding, or an empty text."""

    @property
    def entry(self) -> Entry | None:
        """What a call asks first, also native code in its place (``asks_entry``)."""

    def ask_first(self, entry: Entry | None) -> None:
        """Let calls ask ``entry`` first from now on."""

    @property
    def fast_call(self) -> FastCall | None:
        """What a call of another form than arrays by position asks then."""

    def ask_in_other_forms(self, fast_call: FastCall | None) -> None:
        """Let them ask this one from now on."""

    @property
    def called(self) -> type:
        """The type of what a user calls."""

    def watch(self, watcher: Watcher) -> None:
        """Tell ``watcher`` of changes, where they are seen."""

    def compile_children(self) -> None:
        """Give each block in it programs of its own, with its options, where it has none."""

    def compiled_children(self) -> Iterable[tuple[str, Explained]]:
        """The names and programs of the blocks in it that have some."""

    def parameter_arrays(self) -> Iterable[ndarray]:
        """The values that its parameters have now."""

    def attribute_arrays(self) -> Iterable[ndarray]:
        """The arrays that it and the blocks in it hold as attributes."""


def name_of(subject: Callable[..., Any]) -> str:
    """What messages call a block or function."""
    return getattr(subject, "__name__", None) or type(subject).__name__


def asks_entry(call: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a ``__call__`` that begins by asking ``self._entry``: native code may do that in its place."""
    call.asks_entry = True  # type: ignore[attr-defined]
    return call


def is_asking_entry(kind: type) -> bool:
    """Whether instances of ``kind`` are called by a ``__call__`` that is marked, and not by one of a subclass."""
    return getattr(kind.__call__, "asks_entry", False)
