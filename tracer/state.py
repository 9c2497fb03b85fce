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

import collections
import dis
import enum
import functools
import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy

from blockfuse.array import stamps
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.operator import Operator
from blockfuse.tracer.contents import same_bytes
from blockfuse.tracer.structure import ATOMS

MISSING = object()
_DYNAMIC = frozenset({"getattr", "hasattr", "__dict__", "__getattr__", "__getattribute__", "attrgetter"})
_OF_EVERY_CLASS = frozenset(
    {"__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__builtins__", "_abc_impl"}
)
_REGISTRIES = (
    "_children",
    "_reg_params",
    "_forward_hooks",
    "_forward_pre_hooks",
)  # they tell watchers themselves
# Attributes of blocks and parameters that are ours: what matters of them tells watchers.
_BOOKKEEPING = frozenset(
    {
        *("_entry", "_hybrid", "_options", "_shared", "_watchers", "_name", "_holder"),
        *("_forward_hooks", "_forward_pre_hooks", "_children", "_reg_params"),
    }
)
_OF_PARAMETERS = (
    "_data",
    "_shape",
    "_waiting",
)  # the first call may set them, and a program looks at its arrays
_CALLED = frozenset({"forward", "hybrid_forward", "__call__"})  # methods that run without being named
_LARGEST = 20_000  # values: more than this is not looked through at every call

# Compared by identity; what they refer to does not change, or is watched, or is code that the recording saw
# run.
_OPAQUE: tuple[type, ...] = (
    types.CodeType,
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
    re.Pattern,
    type(vars(collections.namedtuple("_", "field"))["field"]),  # reads one item of a named tuple
    range,
    slice,
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
    "enum",
    "contextlib",
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
class Names:
    """``holder`` has exactly these attributes of its own: a new one could hide another, or answer ``hasattr``."""

    holder: Any
    names: tuple[str, ...]
    text: str

    def holds(self) -> bool:
        return tuple(_own_names(self.holder)) == self.names


def _own_names(holder: Any) -> list[str]:
    stored = own_dict(holder)
    ours = _OF_PARAMETERS if "_waiting" in stored else ()
    return [name for name in stored if name not in _BOOKKEEPING and name not in ours]


@dataclass(frozen=True)
class Values:
    """A NumPy array holds exactly these bytes: nobody sees its elements being read or written."""

    holder: numpy.ndarray
    values: numpy.ndarray
    text: str

    def holds(self) -> bool:
        return same_bytes(self.holder, self.values)


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
        return holder.get(key, MISSING)
    if isinstance(holder, types.CellType):
        return _cell_contents(holder)
    return _attribute(holder, key)


def _cell_contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def _attribute(holder: Any, name: str) -> Any:
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


def own_dict(holder: Any) -> Any:
    """``holder.__dict__``, read past any ``__getattr__`` and ``__getattribute__``; empty where there is none."""
    try:
        return object.__getattribute__(holder, "__dict__")
    except AttributeError:
        return {}


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
        self.dynamic = False  # code asks for attributes by names that are made at run time
        roots, more_code = tuple(roots), tuple(more_code)
        self._met = {code for code, _ in more_code}
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
        self.contents: list[Contents | Names | Values] = []  # as facts
        self.watched_contents: list[Contents | Names] = []
        self.arrays: dict[int, Any] = {}  # id -> array (ours or NumPy's) that the state holds
        self.watched: list[Any] = []  # blocks and parameters
        self.codes: set[types.CodeType] = set()  # of every function that was reached
        self.functions: set[types.CodeType] = set()  # of those reached as functions, with what they enclose
        self.unseen = ""  # the first value whose state cannot be seen
        self._named_before: set[int] = set()  # ids of classes and modules
        self.known: dict[int, Any] = {}  # id -> object, kept so that ids stay

    def change(self) -> str:
        """What has changed first, or an empty text."""
        everything = (*self.facts, *self.watched_facts, *self.contents, *self.watched_contents)
        for fact in everything:
            if not fact.holds():
                return fact.text
        return ""

    # -- taking the picture ----------------------------------------------------------------------------------

    def _add_code(self, code: types.CodeType, module: dict[str, Any]) -> None:
        if code not in self.codes:
            self.codes.update(_with_nested(code))
            self.names |= names_in(code)
            self.dynamic |= bool(self.names & _DYNAMIC)
            for name in sorted(globals_in(code)):
                self._fact(module, name, module.get(name, MISSING), f"global {name}")

    def _fact(self, holder: Any, key: Any, value: Any, text: str, watched: bool = False) -> None:
        facts = self.watched_facts if watched else self.facts
        facts.append(Fact(holder, key, value, type(value) in ATOMS, text))
        self._visit(value, text)

    def _visit(self, value: Any, text: str) -> None:
        if type(value) in ATOMS or value is MISSING or id(value) in self.known:
            return
        self.known[id(value)] = value
        if len(self.known) > _LARGEST:
            self._cannot_see(f"{text}: it holds more than {_LARGEST} values")
        elif isinstance(value, ndarray | numpy.ndarray):
            self.arrays[id(value)] = value
            if isinstance(value, numpy.ndarray) and value.dtype.hasobject:
                self._cannot_see(f"{text} is an array of objects, whose state cannot be seen")
            elif isinstance(value, numpy.ndarray):
                self.contents.append(Values(value, value.copy(), f"the values of {text}"))
            elif stamps.is_lent(value._data):
                self.contents.append(Values(value._data, value._data.copy(), f"the values of {text}"))
        elif "_watchers" in own_dict(value) and not isinstance(value, type):
            self._visit_watched(value, text)
        elif isinstance(value, list | tuple | dict | set | frozenset):
            self._visit_contents(value, text)
            if type(value) not in (list, tuple, dict, set, frozenset):
                self._visit_own(value, text)
                self._visit_class(type(value))
        elif isinstance(value, types.ModuleType):
            self._visit_module(value, text)
        elif isinstance(value, type):
            self._visit_class(value)
        elif isinstance(value, types.FunctionType):
            self._visit_function(value, text)
        elif isinstance(value, types.MethodType | staticmethod | classmethod):
            self._visit(value.__func__, text)
            self._visit(getattr(value, "__self__", None), text)
        elif isinstance(value, property):
            for accessor in (value.fget, value.fset, value.fdel):
                self._visit(accessor, text)
        elif isinstance(value, functools.cached_property):
            self._visit(value.func, text)
        elif isinstance(value, functools.partial):
            for part in (value.func, value.args, value.keywords):
                self._visit(part, text)
        elif isinstance(value, types.BuiltinMethodType):
            if not isinstance(value.__self__, types.ModuleType | type):
                self._visit(value.__self__, text)
        elif not isinstance(value, _OPAQUE):
            self._visit_instance(value, text)

    def _visit_watched(self, value: Any, text: str) -> None:
        self.watched.append(value)
        for registry in _REGISTRIES:
            held = own_dict(value).get(registry)
            if held is not None:
                self.watched_contents.append(Contents(held, _items(held), f"{registry} of {text}"))
                for item in _items(held):
                    self._visit(item, text)
        for name in _own_names(value):
            self._fact(value, name, own_dict(value)[name], f"{text}.{name}", watched=True)
        self.watched_contents.append(Names(value, tuple(_own_names(value)), f"the attributes of {text}"))
        self._visit_class(type(value))

    def _visit_contents(self, value: Any, text: str) -> None:
        items = _items(value)
        if not isinstance(value, tuple | frozenset):
            self.contents.append(Contents(value, items, f"the contents of {text}"))
        for item in items:
            self._visit(item, f"{text}[...]")

    def _visit_module(self, module: types.ModuleType, text: str) -> None:
        if module.__name__.partition(".")[0] in _TRUSTED_MODULES:
            return
        self._named(module, vars(module), text)

    def _visit_class(self, cls: type) -> None:
        for base in cls.__mro__:
            module: Any = base.__module__  # of some types of C a descriptor
            if isinstance(module, str) and module.partition(".")[0] not in _TRUSTED_MODULES:
                self._named(base, vars(base), base.__name__)
        if type(cls) is not type:
            self._visit_class(type(cls))

    def _named(self, holder: Any, stored: Any, text: str) -> None:
        """Attributes of a class or module: those that code names or that ran unnamed, or all where code makes names."""
        if id(holder) in self._named_before:
            return
        self._named_before.add(id(holder))
        wanted = stored.keys() if self.dynamic else (self.names | _CALLED) & stored.keys()
        wanted |= {name for name, held in stored.items() if _code_of(held) in self._met}
        for name in sorted(wanted - _OF_EVERY_CLASS):
            self._fact(holder, name, stored[name], f"{text}.{name}")
        self.contents.append(Names(holder, tuple(stored), f"the attributes of {text}"))

    def _visit_function(self, function: types.FunctionType, text: str) -> None:
        if (function.__module__ or "").partition(".")[0] in _TRUSTED_MODULES:
            return
        self._add_code(function.__code__, function.__globals__)
        self.functions.add(function.__code__)
        if own_dict(function):
            self._visit_own(function, text)
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            if getattr(function, name) is not None:
                self._fact(function, name, getattr(function, name), f"{name} of {text}")
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            value = _cell_contents(cell)
            if value is not MISSING:
                self._fact(cell, None, value, f"variable {name} of the enclosing function")

    def _visit_instance(self, value: Any, text: str) -> None:
        wrapped = own_dict(value).get("__wrapped__")
        if wrapped is not None and type(value).__module__.partition(".")[0] == "blockfuse":
            self._fact(
                value, "__wrapped__", wrapped, text
            )  # a hybridized function: its programs are no state
            return
        if hasattr(type(value), "__next__"):
            self._cannot_see(f"{text} is an iterator ({type(value).__name__}), whose place cannot be seen")
            return
        if not isinstance(value, enum.Enum) and not _is_python(type(value)):
            self._cannot_see(f"{text} is a {type(value).__name__}, whose state cannot be seen")
            return
        self._visit_own(value, text)
        self._visit_class(type(value))

    def _visit_own(self, value: Any, text: str) -> None:
        """The attributes of an instance or function itself."""
        slots = [] if isinstance(value, types.FunctionType) else _slots(type(value))
        for name in (*slots, *own_dict(value)):
            held = _attribute(value, name)
            if held is not MISSING:
                self._fact(value, name, held, f"{text}.{name}")
        self.contents.append(Names(value, tuple(_own_names(value)), f"the attributes of {text}"))

    def _cannot_see(self, text: str) -> None:
        self.unseen = self.unseen or text


def _code_of(held: Any) -> types.CodeType | None:
    """The code that a method, property or function runs."""
    held = held.fget if isinstance(held, property) else held
    held = held.__func__ if isinstance(held, staticmethod | classmethod) else held
    return held.__code__ if isinstance(held, types.FunctionType) else None


def _slots(cls: type) -> list[str]:
    return [n for c in cls.__mro__ for n, v in vars(c).items() if isinstance(v, types.MemberDescriptorType)]


def _is_python(cls: type) -> bool:
    """Whether instances have no state but their attributes: every base is made by a class statement."""
    return cls is types.SimpleNamespace or not any(
        isinstance(
            member, types.WrapperDescriptorType | types.MethodDescriptorType | types.BuiltinFunctionType
        )
        for base in cls.__mro__
        if base is not object
        for member in vars(base).values()
    )


def names_in(code: types.CodeType) -> set[str]:
    """Every name that the code may look up, in nested functions too; also as text, for ``getattr``."""
    names: set[str] = set()
    for inner in _with_nested(code):
        names |= set(inner.co_names) | {c for c in inner.co_consts if isinstance(c, str) and c.isidentifier()}
    return names


@lru_cache(maxsize=4096)
def globals_in(code: types.CodeType) -> frozenset[str]:
    """Every name that the code looks up among globals, in nested functions too."""
    return frozenset(
        instruction.argval
        for inner in _with_nested(code)
        for instruction in dis.get_instructions(inner)
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    )


def _with_nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _with_nested(constant)
