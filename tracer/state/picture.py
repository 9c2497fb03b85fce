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

import builtins
import collections
import datetime
import dis
import enum
import functools
import operator
import re
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.array import stamps
from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import ATOMS
from blockfuse.ir.operator import Operator
from blockfuse.tracer.code.bytecode import once_per_code
from blockfuse.tracer.code.known_functions import SHOWN, STRANGE_MEMBERS, stranger
from blockfuse.tracer.code.known_libraries import (
    about,
    is_asked,
    is_library,
    is_library_module,
)
from blockfuse.tracer.code.naming import ATTRIBUTE, CELL, COMPUTED, GLOBAL, computes_names
from blockfuse.tracer.state.facts import (
    MISSING,
    Contents,
    Fact,
    Item,
    Kind,
    Names,
    Order,
    Setting,
    Values,
    attribute_of,
    cell_contents,
    is_watched,
    items_of,
    own_dict,
    own_names,
    registries_of,
)

_WORD = re.compile(r"[^\W\d]\w*")
_OF_EVERY_CLASS = frozenset(
    {"__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__builtins__", "_abc_impl"}
)
_CALLED = frozenset({"forward", "hybrid_forward", "__call__"})  # methods that run without being named
_LARGEST = 20_000  # values: more than this is not looked through at every call
_LONGEST = 20_000  # steps, some tenths of a second: a longer search for state is given up
_CLASS = 10  # steps that a class or module takes
_IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE: nothing about such a type changes
_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement

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
    types.UnionType,
    types.GenericAlias,
    operator.itemgetter,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.timezone,
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
class Strange:
    """A C function or type that is not known. shown: a profiler shows that it is called, where that is on the spot."""

    what: str
    shown: bool


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
        self._met = {id(code) for code, _ in more_code}  # the hash of code goes through all that it holds
        self._steps = 0
        try:
            known = -1
            while len(self.names) != known:  # each round may find functions whose code names more
                known = len(self.names)
                self._clear()
                for code, module in more_code:
                    self._add_code(code, module)
                for value, text in roots:
                    self._refuse_strange(value, text)
                    self._visit(value, text)
        except _TooLongError as error:
            self._clear()
            self.unseen = str(error)

    def _clear(self) -> None:
        self.items: list[Item] = []  # must be looked at again before every call
        self.watched_items: list[Item] = []  # only after a watcher was told
        self.others: list[Fact] = []  # as facts
        self.watched_others: list[Fact] = []
        self.arrays: dict[int, Any] = {}  # id -> array (ours or NumPy's) that the state holds
        self.watched: list[Any] = []  # blocks and parameters
        self.codes: set[types.CodeType] = set()  # of every function that was reached
        self.functions: set[types.CodeType] = set()  # of those reached as functions, with what they enclose
        self.unseen = ""  # the first value whose state cannot be seen
        self.strange: dict[tuple[str, str], Strange] = {}  # scope, name -> what the code comes by
        self._named_before: set[tuple[int, str]] = set()  # ids of classes and modules
        self.known: dict[int, Any] = {}  # id -> object, kept so that ids stay

    def is_new(self, value: Any) -> bool:
        """Whether ``value`` can only have been made since the picture was taken, so that nobody else knows of it."""
        kind = type(value)
        return (
            id(value) not in self.known
            and (kind is types.SimpleNamespace or (_may_change(kind) and _is_python(kind)))
            and not isinstance(value, types.ModuleType | types.FunctionType | type)
            and not is_watched(value)
            and not _is_of_library(kind)
        )

    def add_settings(self, settings: Iterable[Setting]) -> None:
        """What known code asked while the call ran."""
        self.others += settings

    def change(self) -> str:
        """What has changed first, or an empty text."""
        everything = (*self.items, *self.watched_items, *self.others, *self.watched_others)
        for fact in everything:
            if not fact.holds():
                return fact.text
        return ""

    # -- taking the picture ----------------------------------------------------------------------------------

    def _add_code(self, code: types.CodeType, module: dict[str, Any]) -> None:
        if code not in self.codes:
            self.codes.update(_with_nested(code))
            self.names |= names_in(code)
            self.dynamic = self.dynamic or any(map(computes_names, _with_nested(code)))
            for name in sorted(globals_in(code)):
                self._fact(module, name, module.get(name, MISSING), f"global {name}", name=(GLOBAL, name))
                if name not in module:
                    self._note(GLOBAL, name, vars(builtins).get(name))

    def _fact(
        self,
        holder: Any,
        key: Any,
        value: Any,
        text: str,
        watched: bool = False,
        name: tuple[str, str] | None = None,
    ) -> None:
        """name: the scope and the name under which the code finds the value, if it is no attribute."""
        self._step(1, text)
        items = self.watched_items if watched else self.items
        items.append(Item(holder, key, value, type(value) in ATOMS, text))
        scope, called = name or (ATTRIBUTE, key)
        self._note(scope, called, value)
        self._visit(value, text)

    def _step(self, cost: int, text: str) -> None:
        self._steps += cost
        if self._steps > _LONGEST:
            raise _TooLongError(f"more Python state than is searched through; the search ended at {text}")

    def _note(self, scope: str, name: str, value: Any) -> None:
        """Remember that the code may come by ``value`` under this name, if it is a stranger."""
        what = "" if type(value) in ATOMS or value is MISSING else stranger(value)
        known = self.strange.get((scope, name))
        if what and (known is None or known.shown):
            self.strange[scope, name] = Strange(what, isinstance(value, SHOWN))
        if what and scope == ATTRIBUTE and self.dynamic:
            self.strange[scope, COMPUTED] = Strange(what, shown=False)
        if what and name in _CALLED:
            self._cannot_see(f"{what} as {name}, which is not known to be pure")

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
                self.others.append(Values(value, value.copy(), f"the values of {text}"))
            elif stamps.is_exposed(value._data):
                self.others.append(Values(value._data, value._data.copy(), f"the values of {text}"))
        elif is_watched(value):
            self._visit_watched(value, text)
        elif value is sys.modules:
            self._cannot_see(f"{text}, which changes with every import")
        elif isinstance(value, list | tuple | dict | set | frozenset):
            self._visit_contents(value, text)
            if type(value) not in (list, tuple, dict, set, frozenset):
                self._visit_own(value, text)
                self._visit_kind(value, text)
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
        elif isinstance(value, types.BuiltinMethodType | types.MethodWrapperType):
            if not isinstance(value.__self__, types.ModuleType | type):
                self._visit(value.__self__, text)
        elif not isinstance(value, _OPAQUE):
            self._visit_instance(value, text)

    def _visit_watched(self, value: Any, text: str) -> None:
        self.watched.append(value)
        for registry in registries_of(value):
            held = own_dict(value).get(registry)
            if held is not None:
                self.watched_others.append(Contents(held, items_of(held), f"{registry} of {text}"))
                for item in items_of(held):
                    self._refuse_strange(item, f"{registry} of {text}")
                    self._visit(item, text)
        ours = registries_of(value) and type(value).__module__.partition(".")[0] == "blockfuse"
        for name in own_names(value):
            if ours:
                self._refuse_strange(own_dict(value)[name], f"{text}.{name}")
            self._fact(value, name, own_dict(value)[name], f"{text}.{name}", watched=True)
        self.watched_others.append(Names(value, tuple(own_names(value)), f"the attributes of {text}"))
        self._visit_kind(value, text, watched=True)

    def _visit_contents(self, value: Any, text: str) -> None:
        items = items_of(value)
        if not isinstance(value, tuple | frozenset):
            self.others.append(Contents(value, items, f"the contents of {text}"))
        for item in items:
            self._refuse_strange(item, text)
            self._visit(item, f"{text}[...]")

    def _refuse_strange(self, value: Any, text: str) -> None:
        """For what is called without being named: refuse strangers."""
        strange = "" if type(value) in ATOMS or isinstance(value, types.FunctionType) else stranger(value)
        if strange:
            self._cannot_see(f"{strange} in {text}, which is not known to be pure")

    def _visit_module(self, module: types.ModuleType, text: str) -> None:
        root = module.__name__.partition(".")[0]
        if root not in _TRUSTED_MODULES:
            self.others.append(Kind(module, type(module), f"the class of {text}"))
            self._named(module, vars(module), text)
        elif root != "blockfuse":  # its functions are not replaced, but not all of them are known
            for name in sorted(self.names & vars(module).keys()):
                value = vars(module)[name]
                if not isinstance(value, types.FunctionType):
                    self._note(ATTRIBUTE, name, value)
                if isinstance(value, types.ModuleType):
                    self._visit(value, f"{text}.{name}")

    def _visit_kind(self, value: Any, text: str, watched: bool = False) -> None:
        """The class of an instance, and that it stays its class."""
        kind = type(value)
        if not kind.__flags__ & _IMMUTABLE:
            facts = self.watched_others if watched else self.others
            facts.append(Kind(value, kind, f"the class of {text}"))
        self._visit_class(kind)

    def _visit_class(self, cls: type) -> None:
        if (id(cls), "order") in self._named_before:
            return
        self._named_before.add((id(cls), "order"))
        for base in cls.__mro__:
            for name in sorted(STRANGE_MEMBERS.get(base, frozenset()) & self.names):
                self._note(ATTRIBUTE, name, vars(base)[name])
        changing = [base for base in cls.__mro__ if _may_change(base)]
        if changing:
            self.others.append(Order(cls, cls.__mro__, f"the classes that {cls.__name__} inherits from"))
        for base in changing:
            self._named(base, vars(base), base.__name__)
            for name, held in vars(base).items():
                if name.startswith("__") and name not in _OF_EVERY_CLASS:
                    self._refuse_strange(held, f"{base.__name__}.{name}")
        if type(cls) is not type:
            self._visit_kind(cls, cls.__name__)

    def _named(self, holder: Any, stored: Any, text: str) -> None:
        """Attributes of a class or module: those that code names or that ran unnamed, or all where code makes names."""
        if (id(holder), "names") in self._named_before:
            return
        self._named_before.add((id(holder), "names"))
        self._step(_CLASS, text)
        every = self.dynamic and not is_library_module(_module_of(holder))
        wanted = stored.keys() if every else (self.names | _CALLED) & stored.keys()
        for name in stored.keys() - wanted if self.dynamic else ():
            if not isinstance(stored[name], types.FunctionType):
                self._note(ATTRIBUTE, name, stored[name])
        wanted |= {name for name, held in stored.items() if id(_code_of(held)) in self._met}
        for name in sorted(wanted - _OF_EVERY_CLASS):
            self._fact(holder, name, stored[name], f"{text}.{name}")
        self.others.append(Names(holder, tuple(stored), f"the attributes of {text}"))

    def _visit_function(self, function: types.FunctionType, text: str) -> None:
        code = function.__code__
        if (function.__module__ or "").partition(".")[0] in _TRUSTED_MODULES:
            return
        if about(code).known:  # such as what a decorator of the library was given
            self._visit_cells(function)
            for cell in function.__closure__ or ():
                self._refuse_strange(cell_contents(cell), text)
            return
        if is_library(code) and id(code) not in self._met:
            return
        self._add_code(code, function.__globals__)
        self.functions.add(code)
        if own_dict(function):
            self._visit_own(function, text)
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            if getattr(function, name) is not None:
                self._fact(function, name, getattr(function, name), f"{name} of {text}")
        self._visit_cells(function)

    def _visit_cells(self, function: types.FunctionType) -> None:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            value = cell_contents(cell)
            if value is not MISSING:
                self._fact(cell, None, value, f"variable {name} of the enclosing function", name=(CELL, name))

    def _visit_instance(self, value: Any, text: str) -> None:
        wrapped = own_dict(value).get("__wrapped__")
        if wrapped is not None and type(value).__module__.partition(".")[0] == "blockfuse":
            self._refuse_strange(wrapped, text)  # a hybridized function: its programs are no state
            self._fact(value, "__wrapped__", wrapped, text)
            return
        if is_asked(type(value)):
            self._visit_asked(value, text)
            return
        if hasattr(type(value), "__next__"):
            self._cannot_see(f"{text} is an iterator ({type(value).__name__}), whose place cannot be seen")
            return
        if not isinstance(value, enum.Enum) and not _is_python(type(value)):
            self._cannot_see(f"{text} is a {type(value).__name__}, whose state cannot be seen")
            return
        self._visit_own(value, text)
        if isinstance(value, enum.Enum):
            self._visit_class(type(value))
        else:
            self._visit_kind(value, text)

    def _visit_asked(self, value: Any, text: str) -> None:
        """What is left beside the questions of known code are attributes that are named."""
        for name in sorted(self.names & own_dict(value).keys()):
            self._fact(value, name, own_dict(value)[name], f"{text}.{name}")
        self._visit_kind(value, text)

    def _visit_own(self, value: Any, text: str) -> None:
        """The attributes of an instance or function itself."""
        slots = [] if isinstance(value, types.FunctionType) else _slots(type(value))
        used_by_library = not isinstance(value, types.FunctionType) and _is_of_library(type(value))
        for name in (*slots, *own_dict(value)):
            held = attribute_of(value, name)
            if held is not MISSING:
                if used_by_library:
                    self._refuse_strange(held, f"{text}.{name}")
                self._fact(value, name, held, f"{text}.{name}")
        self.others.append(Names(value, tuple(own_names(value)), f"the attributes of {text}"))

    def _cannot_see(self, text: str) -> None:
        self.unseen = self.unseen or text


class _TooLongError(Exception):
    """The search for state takes too long; the text says where it was."""


def _may_change(cls: type) -> bool:
    """Whether attributes of a class may be assigned; the classes of trusted modules stay as they are."""
    module: Any = cls.__module__  # of some types of C a descriptor
    trusted = isinstance(module, str) and module.partition(".")[0] in _TRUSTED_MODULES
    return not trusted and not cls.__flags__ & _IMMUTABLE


def _is_of_library(cls: type) -> bool:
    """Whether methods of a library, which nobody watches, may use what an instance holds."""
    return any(base.__flags__ & _HEAP and is_library_module(base.__module__) for base in cls.__mro__)


def _module_of(holder: Any) -> str:
    """The name of a module, or that in which a class was made."""
    name: Any = holder.__name__ if isinstance(holder, types.ModuleType) else holder.__module__
    return name if isinstance(name, str) else ""


def _code_of(held: Any) -> types.CodeType | None:
    """The code that a method, property or function runs."""
    held = held.fget if isinstance(held, property) else held
    held = held.__func__ if isinstance(held, staticmethod | classmethod) else held
    return held.__code__ if isinstance(held, types.FunctionType) else None


def _slots(cls: type) -> list[str]:
    found = ((n, v) for c in cls.__mro__ for n, v in vars(c).items() if n != "__dict__")
    return [n for n, v in found if isinstance(v, types.MemberDescriptorType)]


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


@once_per_code
def names_in(code: types.CodeType) -> set[str]:
    """Every name that the code may look up, in nested functions too; also as text, for ``getattr``."""
    names: set[str] = set()
    for inner in _with_nested(code):
        names.update(inner.co_names)
        for text in inner.co_consts:
            if isinstance(text, str) and ("{" in text or text.replace(".", "_").isidentifier()):
                names.update(_WORD.findall(text))  # for ``getattr``, ``attrgetter`` and ``str.format``
    return names


@once_per_code
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
