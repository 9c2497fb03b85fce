"""Functions that run before or after a block's ``forward``."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Self

from blockfuse.array.stamps import Watchers

Hook = Callable[..., Any]
_numbers = itertools.count()


class HookHandle:
    """What takes a hook away again: by ``detach()``, or at the end of a ``with`` block."""

    def __init__(self, hooks: dict[int, Hook], hook: Hook, watchers: Watchers) -> None:
        self._hooks, self._watchers, self._number = hooks, watchers, next(_numbers)
        watchers.changing(hooks.__setitem__, self._number, hook)

    def detach(self) -> None:
        """Take the hook away; a second time does nothing."""
        if self._number in self._hooks:
            self._watchers.changing(self._hooks.pop, self._number, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()
