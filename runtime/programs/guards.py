"""Facts about Python state as one function that is quick to call."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from blockfuse.tracer.certificate.known_libraries import Setting
from blockfuse.tracer.state.facts import (
    MISSING,
    Fact,
    Further,
    Kind,
    Names,
    Order,
    Values,
    items_of,
    own_dict,
)
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
    tests = [_fact_test(n, f, scope) for n, f in enumerate(state.facts)]
    tests += [_contents_test(n, c, scope) for n, c in enumerate(state.contents)]
    if not tests:
        return None
    exec(source.format(condition="\n        and ".join(tests)), scope)
    return scope.pop(name)  # type: ignore[no-any-return]  # not in its own scope: what it holds goes when it goes


def _fact_test(number: int, fact: Fact, scope: dict[str, Any]) -> str:
    holder, name, found = fact.holder, f"h{number}", f"v{number}"
    scope[name], scope[found] = holder, fact.value
    if isinstance(holder, types.CellType):
        return f"{name}.cell_contents is {found}"
    if isinstance(holder, types.FunctionType):
        return f"{name}.{fact.key} is {found}"
    stored = holder if isinstance(holder, dict) else own_dict(holder)
    if fact.value is MISSING:
        scope[name] = stored
        return f"{fact.key!r} not in {name}"
    if fact.key not in stored:  # a slot
        return f"{name}.{fact.key} is {found}"
    scope[name] = stored
    return f"{name}[{fact.key!r}] is {found}"


def _dict_test(number: int, holder: Any, scope: dict[str, Any]) -> str:
    """The other tests look into the dict that an object has now; another one can be put in its place."""
    stored = own_dict(holder)
    if own_dict(holder) is not stored or isinstance(holder, types.ModuleType | type):
        return ""  # there is none, or it stays
    scope[f"d{number}"], scope["own_dict"] = stored, own_dict
    kind: Any = type(holder)
    plain = kind.__getattribute__ is object.__getattribute__
    return f" and c{number}.__dict__ is d{number}" if plain else f" and own_dict(c{number}) is d{number}"


def _contents_test(number: int, contents: Further, scope: dict[str, Any]) -> str:
    """Ids in order (of a dict, keys and values in turn); names by their number and the last one; values by bytes."""
    holder, wanted = f"c{number}", f"i{number}"
    if isinstance(contents, Values):
        scope[holder] = contents.holds
        return f"{holder}()"
    if isinstance(contents, Setting):
        scope[holder], scope[wanted] = contents.ask, contents.answer
        return f"{holder}() == {wanted}"
    if isinstance(contents, Kind):
        scope[holder], scope[wanted] = contents.holder, contents.kind
        return f"type({holder}) is {wanted}" + _dict_test(number, contents.holder, scope)
    if isinstance(contents, Order):
        scope[holder], scope[wanted] = contents.holder, contents.order
        return f"{holder}.__mro__ is {wanted}"
    if isinstance(contents, Names):
        stored = own_dict(contents.holder)
        if not stored:
            scope[holder] = stored
            return f"not {holder}"
        scope[holder], scope[wanted] = stored, next(reversed(stored))
        return f"len({holder}) == {len(stored)} and next(reversed({holder})) == {wanted}"
    scope[holder] = contents.holder
    scope[wanted] = [id(item) for item in contents.items]
    if type(contents.holder) not in (dict, list, set):  # methods of its own would be the user's code
        scope[f"items_{holder}"] = items_of
        return f"[id(p) for p in items_{holder}({holder})] == {wanted}"
    if isinstance(contents.holder, dict):
        return f"[id(p) for pair in {holder}.items() for p in pair] == {wanted}"
    return f"[id(p) for p in {holder}] == {wanted}"
