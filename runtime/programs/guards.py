"""Facts about Python state as one function that is quick to call: in native code, and behind it what only Python can ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from blockfuse.runtime.programs.backend import NativeGuard
from blockfuse.tracer.state.facts import Fact
from blockfuse.tracer.state.picture import State

_CHECK = """
def check():
    try:
        return ({condition})
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
        return False
"""

_CALL = """
def call(*arguments):
    try:
        if not ({condition}):
            return NotImplemented
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
        return NotImplemented
    return entry(*arguments)
"""


def quick_check(state: State, native: NativeGuard | None = None) -> Callable[[], bool] | None:
    """A function that compares by identity everything that no watcher reports; None where there is nothing of that kind.

    It may say no where the slow comparison says yes (an equal number that is another object), never the other
    way round.
    """
    facts = _left(state, native)
    if native is None:
        return _generated("check", _CHECK, facts, {})
    if not facts:
        return native.holds
    return _generated("check", _CHECK, facts, {"native": native.holds}, ["native()"])


def guarded(state: State, entry: Callable[..., Any], native: NativeGuard | None = None) -> Callable[..., Any]:
    """``entry`` behind the same comparison, in one function: it answers NotImplemented where something changed.

    native: what the entry looks at itself.
    """
    return _generated("call", _CALL, _left(state, native), {"entry": entry}) or entry


def _left(state: State, native: NativeGuard | None) -> list[Fact]:
    """The facts that native code does not look at."""
    covered = native.covered if native else frozenset[int]()
    return [fact for number, fact in enumerate(state.unreported) if number not in covered]


def _generated(
    name: str, source: str, facts: Sequence[Fact], scope: dict[str, Any], first: Sequence[str] = ()
) -> Callable[..., Any] | None:
    """first: conditions before those of the facts."""
    scope["__name__"] = __name__  # so that a recording takes it for ours
    bind = _binder(scope)
    conditions = [*first, *(fact.condition(bind) for fact in facts)]
    if not conditions:
        return None
    exec(source.format(condition="\n        and ".join(conditions)), scope)
    return scope.pop(name)  # type: ignore[no-any-return]  # not in its own scope: what it holds goes when it goes


def _binder(scope: dict[str, Any]) -> Callable[[Any], str]:
    """Puts objects into ``scope``, each under one name."""
    names: dict[int, str] = {}  # id -> name; the scope keeps the ids good

    def bind(value: Any) -> str:
        if id(value) not in names:
            names[id(value)] = f"v{len(names)}"
            scope[names[id(value)]] = value
        return names[id(value)]

    return bind
