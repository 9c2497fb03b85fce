"""What Python objects store, read past their own methods: no property, ``__getattr__`` or code of a metaclass runs."""

from __future__ import annotations

import collections
import gc
import types
from typing import Any

MISSING = object()


def cell_contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def attribute_of(holder: Any, name: str) -> Any:
    """An attribute as stored in the object itself: no property and no ``__getattr__`` runs."""
    if isinstance(holder, types.FunctionType):
        return getattr(holder, name, MISSING)
    stored = own_dict(holder)
    if name in stored:
        return stored[name]
    slot = next((vars(c)[name] for c in type(holder).__mro__ if name in vars(c)), None)
    try:
        return slot.__get__(holder) if isinstance(slot, types.MemberDescriptorType) else MISSING
    except AttributeError:
        return MISSING


def data_descriptor(kind: type, name: str) -> Any:
    """What of a class decides what assigning an attribute does (a property, a slot); None where the object stores it."""
    for base in kind.__mro__:
        if name in vars(base):
            found = vars(base)[name]
            return found if hasattr(type(found), "__set__") or hasattr(type(found), "__delete__") else None
    return None


def own_dict(holder: Any) -> Any:
    """``holder.__dict__``, read past any ``__getattr__`` and ``__getattribute__``; empty where there is none."""
    try:
        return object.__getattribute__(holder, "__dict__")
    except AttributeError:
        return {}


def plain_dict(mapping: Any) -> dict[Any, Any] | None:
    """The dict itself behind what ``own_dict`` gives; None where it is of a type of its own, whose methods may be."""
    if isinstance(mapping, types.MappingProxyType):  # of a class
        [mapping] = gc.get_referents(mapping)
    return mapping if type(mapping) is dict else None


def items_of(holder: Any) -> tuple[Any, ...]:
    """What a container holds; a method of its own class would be the user's code."""
    for kind in (collections.OrderedDict, dict):
        if isinstance(holder, kind):
            return tuple(part for pair in kind.items(holder) for part in pair)
    kinds = (list, tuple, set, frozenset)
    return tuple(next(kind for kind in kinds if isinstance(holder, kind)).__iter__(holder))
