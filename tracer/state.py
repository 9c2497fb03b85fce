"""The Python state that a call can read, and whether it is still what it was.

NOTE [what counts as state]
From the callable and its arguments on: functions with the globals that their code names, their cells and
defaults; containers with all they hold; instances with all their attributes; blocks, classes and modules with
the attributes that the code names. Numbers and text are compared by type and value, arrays, functions and
everything else by identity. Blocks and parameters tell their watchers when they change, so only the
containers and objects in their attributes are looked at again at every call. A value whose state cannot be
seen (an iterator, a file, a deque) makes the call run eagerly.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.ir.operator import Operator
from blockfuse.tracer.structure import ATOMS

_MISSING = object()
_REGISTRIES = ("_children", "_reg_params")
_CALLED = frozenset({"forward", "hybrid_forward", "__call__"})  # methods that run without being named
_LARGEST = 20_000  # values: more than this is not looked through at every call

# Compared by identity; what they refer to does not change, or is watched, or is code that the recording saw
# run.
_OPAQUE: tuple[type, ...] = (
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    numpy.ufunc,
    numpy.dtype,
    numpy.generic,
    Operator,
    property,
    range,
    slice,
    frozenset,
)
_TRUSTED_MODULES = (
    "blockfuse",
    "numpy",
    "math",
    "cmath",
    "operator",
    "typing",
    "builtins",
    "types",
    "abc",
    "__future__",
)


@dataclass(frozen=True)
class Fact:
    """``holder[key]`` (or its attribute) is ``value``. text says where, for people."""

    holder: Any
    key: Any
    value: Any
    by_value: bool
    text: str

    def holds(self) -> bool:
        found = _looked_up(self.holder, self.key)
        if found is self.value:
            return True
        return self.by_value and type(found) is type(self.value) and repr(found) == repr(self.value)


@dataclass(frozen=True)
class Contents:
    """``holder``, a list, tuple, set or dict, holds exactly these objects (or equal numbers and text), in this order."""

    holder: Any
    items: tuple[Any, ...]
    text: str

    def holds(self) -> bool:
        found = _items(self.holder)
        return len(found) == len(self.items) and all(
            a is b or (type(a) in ATOMS and type(a) is type(b) and repr(a) == repr(b))
            for a, b in zip(found, self.items, strict=True)
        )


def _looked_up(holder: Any, key: Any) -> Any:
    if isinstance(holder, dict):
        return holder.get(key, _MISSING)
    if isinstance(holder, types.CellType):
        return _cell_contents(holder)
    return _attribute(holder, key)


def _cell_contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _MISSING


def _attribute(holder: Any, name: str) -> Any:
    """An attribute as stored: no property or ``__getattr__`` runs."""
    if isinstance(holder, type):
        return next((vars(c)[name] for c in holder.__mro__ if name in vars(c)), _MISSING)
    stored = getattr(holder, "__dict__", None)
    if stored is not None:
        return stored.get(name, _MISSING)
    slot = next((vars(c)[name] for c in type(holder).__mro__ if name in vars(c)), None)
    try:
        return slot.__get__(holder) if isinstance(slot, types.MemberDescriptorType) else _MISSING
    except AttributeError:
        return _MISSING


def _items(holder: Any) -> tuple[Any, ...]:
    if isinstance(holder, dict):
        return tuple(part for pair in holder.items() for part in pair)
    return tuple(holder)


class State:
    """A picture of the state that code reachable from ``roots`` can read."""

    def __init__(
        self,
        roots: Iterable[tuple[Any, str]],
        more_code: Iterable[tuple[types.CodeType, dict[str, Any]]] = (),
    ) -> None:
        self.names: set[str] = set()
        roots, more_code = tuple(roots), tuple(more_code)
        while True:  # each round may find functions whose code names more
            known = len(self.names)
            self._clear()
            for code, module in more_code:
                self._add_code(code, module)
            for value, text in roots:
                self._visit(value, text)
            if len(self.names) == known:
                return

    def _clear(self) -> None:
        self.facts: list[Fact] = []  # must be looked at again before every call
        self.watched_facts: list[Fact] = []  # only after a watcher was told
        self.contents: list[Contents] = []
        self.arrays: dict[int, Any] = {}  # id -> array (ours or NumPy's) that the state holds
        self.watched: list[Any] = []  # blocks and parameters
        self.codes: set[types.CodeType] = set()  # of every function that was reached
        self.unseen = ""  # the first value whose state cannot be seen
        self.known: dict[int, Any] = {}  # id -> object, kept so that ids stay

    def change(self) -> str:
        """What has changed first, or an empty text."""
        everything: tuple[Fact | Contents, ...] = (*self.facts, *self.watched_facts, *self.contents)
        for fact in everything:
            if not fact.holds():
                return fact.text
        return ""

    # -- taking the picture ----------------------------------------------------------------------------------

    def _add_code(self, code: types.CodeType, module: dict[str, Any]) -> None:
        if code not in self.codes:
            self.codes.update(_with_nested(code))
            names = names_in([code])
            self.names |= names
            for name in names & module.keys():
                self._fact(module, name, module[name], f"global {name}")

    def _fact(self, holder: Any, key: Any, value: Any, text: str, watched: bool = False) -> None:
        facts = self.watched_facts if watched else self.facts
        facts.append(Fact(holder, key, value, type(value) in ATOMS, text))
        self._visit(value, text)

    def _visit(self, value: Any, text: str) -> None:
        if type(value) in ATOMS or id(value) in self.known:
            return
        self.known[id(value)] = value
        if len(self.known) > _LARGEST:
            self._cannot_see(f"{text}: it holds more than {_LARGEST} values")
        elif isinstance(value, ndarray | numpy.ndarray):
            self.arrays[id(value)] = value
        elif hasattr(value, "_watchers") and not isinstance(value, type):
            self._visit_watched(value, text)
        elif isinstance(value, list | tuple | dict | set):
            self._visit_contents(value, text)
        elif isinstance(value, types.ModuleType):
            self._visit_module(value, text)
        elif isinstance(value, type):
            self._visit_class(value)
        elif isinstance(value, types.FunctionType):
            self._visit_function(value, text)
        elif isinstance(value, types.MethodType | staticmethod | classmethod):
            self._visit(value.__func__, text)
            self._visit(getattr(value, "__self__", None), text)
        elif not isinstance(value, _OPAQUE):
            self._visit_instance(value, text)

    def _visit_watched(self, value: Any, text: str) -> None:
        self.watched.append(value)
        for child in tuple(getattr(value, "_children", {}).values()):  # a registry tells watchers itself
            self._visit(child, text)
        for name, held in tuple(vars(value).items()):
            if name not in _REGISTRIES and (not name.startswith("_") or name in self.names):
                self._fact(value, name, held, f"{text}.{name}", watched=True)
        self._visit_class(type(value))

    def _visit_contents(self, value: Any, text: str) -> None:
        items = _items(value)
        if type(value) is not tuple:
            self.contents.append(Contents(value, items, f"the contents of {text}"))
        for item in items:
            self._visit(item, f"{text}[...]")

    def _visit_module(self, module: types.ModuleType, text: str) -> None:
        if module.__name__.partition(".")[0] in _TRUSTED_MODULES:
            return
        for name in self.names & vars(module).keys():
            self._fact(module, name, vars(module)[name], f"{text}.{name}")

    def _visit_class(self, cls: type) -> None:
        for base in cls.__mro__:
            if base.__module__.partition(".")[0] in _TRUSTED_MODULES:
                continue
            for name in (self.names | _CALLED) & vars(base).keys():
                self._fact(base, name, vars(base)[name], f"{base.__name__}.{name}")

    def _visit_function(self, function: types.FunctionType, text: str) -> None:
        if (function.__module__ or "").partition(".")[0] in _TRUSTED_MODULES:
            return
        self._add_code(function.__code__, function.__globals__)
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._visit(default, f"a default of {text}")
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            value = _cell_contents(cell)
            if value is not _MISSING:
                self._fact(cell, None, value, f"variable {name} of the enclosing function")

    def _visit_instance(self, value: Any, text: str) -> None:
        if hasattr(type(value), "__next__"):
            self._cannot_see(f"{text} is an iterator ({type(value).__name__}), whose place cannot be seen")
            return
        names = _slots(type(value)) + list(getattr(value, "__dict__", ()))
        if not names and not _is_stateless(value):
            self._cannot_see(f"{text} is a {type(value).__name__}, whose state cannot be seen")
        for name in names:
            held = _attribute(value, name)
            if held is not _MISSING:
                self._fact(value, name, held, f"{text}.{name}")
        self._visit_class(type(value))

    def _cannot_see(self, text: str) -> None:
        self.unseen = self.unseen or text


def _slots(cls: type) -> list[str]:
    return [n for c in cls.__mro__ for n, v in vars(c).items() if isinstance(v, types.MemberDescriptorType)]


def _is_stateless(value: Any) -> bool:
    """An instance of a Python class without any attribute; what C code defines may hide state."""
    return bool(type(value).__flags__ & 0x200)  # Py_TPFLAGS_HEAPTYPE: made by a class statement


def names_in(codes: Iterable[types.CodeType]) -> set[str]:
    """Every name that the code may look up, in nested functions too."""
    return {name for code in codes for inner in _with_nested(code) for name in inner.co_names}


def _with_nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _with_nested(constant)
