"""Where blocks and parameters stand in a net: the names they are held under, and the dicts that hold them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, Self, TypeVar

from blockfuse.array.stamps import Watchers


class Owner(Protocol):
    """A block, as far as its dicts of children and parameters know it."""

    _watchers: Watchers


class Held:
    """Something that a block holds under a name: another block or a parameter.

    What its classes declare for recordings is explained in NOTE [declared attributes] (``tracer/state/facts.py``).
    """

    __untracked__: ClassVar[frozenset[str]] = frozenset({"_held_by", "_watchers"})
    __registries__: ClassVar[tuple[str, ...]] = ()
    _held_by: tuple[weakref.ref[Any], str] | None = None  # the block that held it first, and the name there

    @property
    def structural_name(self) -> str:
        """The names from the outermost block down, such as ``hidden.weight``; empty for that block itself."""
        names: list[str] = []
        held, met = self._held_by, {id(self)}
        while held is not None and (owner := held[0]()) is not None:
            names.append(held[1])
            if id(owner) in met:  # blocks that hold each other
                break
            met.add(id(owner))
            held = owner._held_by
        return ".".join(reversed(names))


def joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


Entry = TypeVar("Entry", bound=Held)


class Registry(dict[str, Entry]):
    """The children or the parameters of one block: a dict that tells the block about each change.

    Without an owner it is a dict like any other. Copies and pickles have no owner.
    """

    _owner: weakref.ref[Owner] | None = None

    @classmethod
    def of(cls, owner: Owner) -> Self:
        """The empty registry of ``owner``."""
        registry = cls()
        registry._owner = weakref.ref(owner)
        return registry

    def __setitem__(self, name: str, entry: Entry) -> None:
        before = super().get(name)
        if before is entry:
            return
        self._changing(super().__setitem__, name, entry)
        self._release(name, before)
        if self._owner is not None and (entry._held_by is None or entry._held_by[0]() is None):
            entry._held_by = (self._owner, name)

    def __delitem__(self, name: str) -> None:
        before = super().get(name)
        self._changing(super().__delitem__, name)
        self._release(name, before)

    def _release(self, name: str, entry: Held | None) -> None:
        if entry is not None and self._owner is not None and entry._held_by == (self._owner, name):
            entry._held_by = None

    def _changing(self, change: Callable[..., Any], *arguments: Any) -> None:
        owner = self._owner() if self._owner is not None else None
        if owner is not None:
            owner._watchers.changing(change, *arguments)
        else:
            change(*arguments)

    # dict's own versions of these would go past the two methods above

    def update(self, *others: Any, **named: Entry) -> None:
        """As ``dict.update``."""
        for name, entry in dict(*others, **named).items():
            self[name] = entry

    def __ior__(self, other: Any) -> Self:  # type: ignore[override, misc] # dict declares an overload for each case
        self.update(other)
        return self

    def setdefault(self, name: str, entry: Entry) -> Entry:
        """As ``dict.setdefault``."""
        if name not in self:
            self[name] = entry
        return self[name]

    def pop(self, name: str, *default: Any) -> Any:
        """As ``dict.pop``."""
        if name not in self and default:
            return default[0]
        entry = self[name]
        del self[name]
        return entry

    def popitem(self) -> tuple[str, Entry]:
        """As ``dict.popitem``."""
        if not self:
            raise KeyError(f"{type(self).__name__} is empty")
        name = next(reversed(self))
        return name, self.pop(name)

    def clear(self) -> None:
        """As ``dict.clear``."""
        for name in list(self):
            del self[name]

    def copy(self) -> dict[str, Entry]:
        """A plain dict of the same entries."""
        return dict(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), dict(self))


def _restored(kind: type[Registry[Any]], entries: Mapping[str, Any]) -> Registry[Any]:
    registry = kind()
    registry.update(entries)
    return registry
