"""What ``with`` blocks set for the code inside of them, and leave as it was wherever Ctrl-C comes."""

from __future__ import annotations

import gc
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Scope:
    """A ``with`` block that sets something."""

    __slots__ = ("is_block", "outer", "value")

    def __init__(self, value: Any, outer: _Scope | None, is_block: bool) -> None:
        self.value = value  # _CLOSED when the block is over
        self.outer = outer
        self.is_block = is_block  # False for what was set without a block


_CLOSED: Any = object()
_UNSET: Any = object()


class Scoped(Generic[T]):
    """A value of each thread and context: that of the innermost ``with`` block that is open, ``default`` outside.

    NOTE [interrupted scopes]
    A signal's handler may raise at any call and at the begin of any function of Python, also at that of ``__exit__``; what
    restores an outer value there may never run, or run when the generator of a forgotten block is collected, long after
    others began. So nothing is restored. A scope that ends stores that it is closed, one instruction, as often as one
    likes and in any order; who asks for the value passes by the closed ones and all that were opened inside of them.
    """

    def __init__(self, name: str, default: T) -> None:
        self.default = default
        self._variable: ContextVar[_Scope | None] = ContextVar(name, default=None)
        self._latest = _Latest()

    def get(self) -> T:
        """The value here and now."""
        scope, value = self._variable.get(), _UNSET
        while scope is not None:
            its, scope = scope.value, scope.outer
            if its is _CLOSED:
                value = _UNSET
            elif value is _UNSET:
                value = its
        return self.default if value is _UNSET else value

    @contextmanager
    def set_within(self, value: T) -> Iterator[None]:
        """Set the value inside of the ``with`` block."""
        self._latest.scope = scope = _Scope(value, self.innermost(), is_block=True)
        try:
            self._variable.set(scope)
            yield
        finally:
            scope.value = _CLOSED

    def set(self, value: T) -> None:
        """Set the value from now on, to the end of the innermost block that is open."""
        outer = self.innermost()
        while outer is not None and not outer.is_block:
            outer = outer.outer
        self.return_to(_Scope(value, outer, is_block=False))

    def innermost(self) -> Any:
        """The innermost scope that is open, for ``return_to``."""
        scope = found = self._variable.get()
        while scope is not None:
            if scope.value is _CLOSED:
                found = scope.outer
            scope = scope.outer
        return found

    def return_to(self, scope: Any) -> None:
        """Have everything as it was when ``scope`` was the innermost one."""
        self._latest.scope = scope
        self._variable.set(scope)


class _Latest(threading.local):
    """Keeps what a thread set last."""

    scope: Any = None


# NOTE [contexts that are interrupted]
# CPython 3.11 collects garbage while it makes new variables of a context. Where a finalizer calls a net then, variables
# that are being read go (so they are kept from one collection until the next ones); what the finalizer set is forgotten,
# and freed, while the variable's cache still points to it (so each thread keeps what it set last); and what was current
# stays in the cache if the variable is being deleted (so it is not: ``set`` comes without ``reset``).

_kept: deque[Context] = deque(maxlen=2)  # of the last collections


def _keep(phase: str, _: dict[str, int]) -> None:
    if phase == "start":
        _kept.append(copy_context())


if sys.version_info < (3, 12):  # later versions collect between two instructions
    gc.callbacks.append(_keep)
