"""Facts about Python state as one function that is quick to call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def quick_check(state: State) -> Callable[[], bool] | None:
    """A function that compares by identity everything that no watcher reports; None where there is nothing of that kind.

    It may say no where the slow comparison says yes (an equal number that is another object), never the other
    way round.
    """
    return _generated("check", _CHECK, state, {})


def guarded(state: State, entry: Callable[..., Any]) -> Callable[..., Any]:
    """``entry`` behind the same comparison, in one function: it answers NotImplemented where something changed."""
    return _generated("call", _CALL, state, {"entry": entry}) or entry


def _generated(name: str, source: str, state: State, scope: dict[str, Any]) -> Callable[..., Any] | None:
    scope["__name__"] = __name__  # so that a recording takes it for ours
    bind = _binder(scope)
    conditions = [fact.condition(bind) for fact in (*state.items, *state.others)]
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
