"""The search for the state that code can read: from the callable and its arguments on, round by round.

Each round may find functions whose code names more attributes, so it begins again until none does. How values are looked
into is in ``visits.py``.
"""

from __future__ import annotations

import builtins
import types
from collections.abc import Callable, Iterable
from typing import Any

from blockfuse.array.pytree import ATOMS
from blockfuse.tracer.code.known_functions import SHOWN, stranger
from blockfuse.tracer.code.naming import (
    ATTRIBUTE,
    COMPUTED,
    GLOBAL,
    computes_names,
    globals_in,
    names_in,
    with_nested,
)
from blockfuse.tracer.state.facts import Item
from blockfuse.tracer.state.picture import State, Strange
from blockfuse.tracer.state.stored import MISSING

UNNAMED_CALLS = frozenset({"forward", "hybrid_forward", "__call__"})  # methods that run without being named
_MAX_VALUES = 20_000  # more than this is not looked through at every call
_MAX_STEPS = 20_000  # some tenths of a second: a longer search is given up


class Search:
    """One search, and the state found so far."""

    def __init__(
        self,
        visit: Callable[[Search, Any, str], None],
        more_code: Iterable[tuple[types.CodeType, dict[str, Any]]],
        left_out: Iterable[tuple[int, str]] = (),
    ) -> None:
        """visit: looks into a value that is met for the first time. more_code: functions with their globals. left_out: ids
        of blocks and names of attributes that are not looked at.
        """
        self._look_into = visit
        self.left_out = tuple(left_out)
        self._more_code = tuple(more_code)
        self.names: set[str] = set()  # that code may look up
        self.dynamic = False  # code asks for attributes by names that are made at run time
        self.met = {
            id(code) for code, _ in self._more_code
        }  # the hash of code goes through all that it holds
        self._steps = 0
        self._begin()

    def _begin(self) -> None:
        self.state = State(left_out=self.left_out)
        self.named_before: set[tuple[int, str]] = set()  # ids of classes and modules

    def run(self, roots: Iterable[tuple[Any, str]]) -> State:
        """The state that can be reached from values, each with a text that says what it is."""
        roots = tuple(roots)
        try:
            known: tuple[int, bool] | None = None
            while (len(self.names), self.dynamic) != known:
                known = len(self.names), self.dynamic
                self._begin()
                for code, module in self._more_code:
                    self.add_code(code, module)
                for value, text in roots:
                    self.refuse_strange(value, text)
                    self.visit(value, text)
        except _TooLongError as error:
            self._begin()
            self.state.unseen = str(error)
        return self.state

    # -- what is found ---------------------------------------------------------------------------------------

    def add_code(self, code: types.CodeType, module: dict[str, Any]) -> None:
        """Code that may run, with its globals."""
        if code not in self.state.codes:
            self.state.codes.update(with_nested(code))
            self.names |= names_in(code)
            self.dynamic = self.dynamic or any(map(computes_names, with_nested(code)))
            for name in sorted(globals_in(code)):
                self.item(module, name, module.get(name, MISSING), f"global {name}", name=(GLOBAL, name))
                if name not in module:
                    self.notice(GLOBAL, name, vars(builtins).get(name))

    def item(
        self,
        holder: Any,
        key: Any,
        value: Any,
        text: str,
        watched: bool = False,
        name: tuple[str, str] | None = None,
    ) -> None:
        """name: the scope and the name under which the code finds the value, if it is no attribute."""
        self.step(1, text)
        items = self.state.watched_items if watched else self.state.items
        items.append(Item(holder, key, value, type(value) in ATOMS, text))
        scope, called = name or (ATTRIBUTE, key)
        self.notice(scope, called, value)
        self.visit(value, text)

    def visit(self, value: Any, text: str) -> None:
        """Look into a value, if that has not been done."""
        known = self.state.known
        if type(value) in ATOMS or value is MISSING or id(value) in known:
            return
        known[id(value)] = value
        if len(known) > _MAX_VALUES:
            self.cannot_see(f"{text}: it holds more than {_MAX_VALUES} values")
        else:
            self._look_into(self, value, text)

    def step(self, cost: int, text: str) -> None:
        """Count the work."""
        self._steps += cost
        if self._steps > _MAX_STEPS:
            raise _TooLongError(f"more Python state than is searched through; the search ended at {text}")

    # -- strangers, see NOTE [strangers] ---------------------------------------------------------------------

    def notice(self, scope: str, name: str, value: Any) -> None:
        """Remember that the code may come by ``value`` under this name, if it is a stranger."""
        strange = self.state.strange
        what = "" if type(value) in ATOMS or value is MISSING else stranger(value)
        known = strange.get((scope, name))
        if what and (known is None or known.shown):
            strange[scope, name] = Strange(what, isinstance(value, SHOWN))
        if what and scope == ATTRIBUTE and self.dynamic:
            strange[scope, COMPUTED] = Strange(what, shown=False)
        if what and name in UNNAMED_CALLS:
            self.cannot_see(f"{what} as {name}, which is not known to be pure")

    def refuse_strange(self, value: Any, text: str) -> None:
        """For what is called without being named: refuse strangers."""
        strange = "" if type(value) in ATOMS or isinstance(value, types.FunctionType) else stranger(value)
        if strange:
            self.cannot_see(f"{strange} in {text}, which is not known to be pure")

    def cannot_see(self, text: str) -> None:
        """The call must run eagerly."""
        self.state.unseen = self.state.unseen or text


class _TooLongError(Exception):
    """The search for state takes too long; the text says where it was."""
