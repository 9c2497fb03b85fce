"""Facts about Python state as one function that is quick to call."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from blockfuse.tracer.state import Contents, Fact, State

_SOURCE = """
def check():
    try:
        return ({condition})
    except (AttributeError, KeyError, ValueError):
        return False
"""


def quick_check(state: State) -> Callable[[], bool] | None:
    """A function that compares by identity everything that no watcher reports; None where there is nothing of that kind.

    It may say no where the slow comparison says yes (an equal number that is another object), never the other
    way round.
    """
    scope: dict[str, Any] = {}
    tests = [_fact_test(n, f, scope) for n, f in enumerate(state.facts)]
    tests += [_contents_test(n, c, scope) for n, c in enumerate(state.contents)]
    if not tests:
        return None
    condition = "\n        and ".join(tests)
    exec(_SOURCE.format(condition=condition), scope)
    return scope["check"]  # type: ignore[no-any-return]


def _fact_test(number: int, fact: Fact, scope: dict[str, Any]) -> str:
    scope[f"v{number}"] = fact.value
    holder = fact.holder
    if isinstance(holder, types.CellType):
        scope[f"h{number}"] = holder
        return f"h{number}.cell_contents is v{number}"
    stored = holder if isinstance(holder, dict) else getattr(holder, "__dict__", None)
    if stored is None:  # slots
        scope[f"h{number}"] = holder
        return f"h{number}.{fact.key} is v{number}"
    scope[f"h{number}"] = stored
    return f"h{number}[{fact.key!r}] is v{number}"


def _contents_test(number: int, contents: Contents, scope: dict[str, Any]) -> str:
    """Ids in order: of a dict, keys and values in turn."""
    scope[f"c{number}"] = contents.holder
    scope[f"i{number}"] = [id(item) for item in contents.items]
    if isinstance(contents.holder, dict):
        return f"[id(p) for pair in c{number}.items() for p in pair] == i{number}"
    return f"[id(p) for p in c{number}] == i{number}"
