"""How each kind of value is looked into for state: what it holds, and by which facts one can tell that it still does."""

from __future__ import annotations

import collections
import datetime
import enum
import functools
import operator
import re
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy

from blockfuse.array import foreign, stamps
from blockfuse.array.ndarray import ndarray
from blockfuse.array.saved_calls import SavedCalls
from blockfuse.ir.operator import Operator
from blockfuse.tracer.code.known_functions import STRANGE_MEMBERS
from blockfuse.tracer.code.known_libraries import about, is_asked, is_library, is_library_module
from blockfuse.tracer.code.naming import ATTRIBUTE, CELL
from blockfuse.tracer.state.classes import (
    IMMUTABLE,
    code_of,
    is_of_library,
    is_python,
    is_trusted_module,
    may_change,
    module_of,
    slots,
)
from blockfuse.tracer.state.facts import (
    Contents,
    Kind,
    Names,
    Order,
    Values,
    is_watched,
    own_names,
    registries_of,
)
from blockfuse.tracer.state.picture import State
from blockfuse.tracer.state.search import UNNAMED_CALLS, Search
from blockfuse.tracer.state.stored import MISSING, attribute_of, cell_contents, items_of, own_dict

_OF_EVERY_CLASS = frozenset(
    {"__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__builtins__", "_abc_impl"}
)
_STEPS_PER_CLASS = 10  # of the search; also of a module

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
    SavedCalls,
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


def state_of(
    roots: Iterable[tuple[Any, str]],
    more_code: Iterable[tuple[types.CodeType, dict[str, Any]]] = (),
    left_out: Iterable[tuple[int, str]] = (),
) -> State:
    """A picture of the state that code reachable from ``roots`` can read, and ``more_code`` with its globals.

    left_out: ids of blocks and names of attributes that are no state.
    """
    return Search(_visit, more_code, left_out).run(roots)


def _visit(search: Search, value: Any, text: str) -> None:
    if isinstance(value, ndarray | numpy.ndarray):
        _visit_array(search, value, text)
    elif type(value) in foreign.HELD:
        _visit_foreign(search, value, text)
    elif isinstance(value, tuple(foreign.OPAQUE)):
        return
    elif is_watched(value):
        _visit_watched(search, value, text)
    elif value is sys.modules:
        search.cannot_see(f"{text}, which changes with every import")
    else:
        next(visit for kinds, visit in _VISITS if isinstance(value, kinds))(search, value, text)


def _visit_array(search: Search, value: Any, text: str) -> None:
    search.state.arrays[id(value)] = value
    if isinstance(value, numpy.ndarray) and value.dtype.hasobject:
        search.cannot_see(f"{text} is an array of objects, whose state cannot be seen")
    elif isinstance(value, numpy.ndarray):
        search.state.others.append(Values(value, value.copy(), f"the values of {text}"))
    elif stamps.is_exposed(value._data):
        search.state.others.append(Values(value._data, value._data.copy(), f"the values of {text}"))


def _visit_foreign(search: Search, value: Any, text: str) -> None:
    """See NOTE [another library's arrays]."""
    try:
        array, fact = foreign.HELD[type(value)].held(value, text)
    except (TypeError, RuntimeError) as error:  # of the library: its elements are no array's
        search.cannot_see(f"{text} cannot be read where it lies ({str(error).splitlines()[0]})")
        return
    search.state.arrays[id(array)] = array
    search.state.others.append(fact)
    _visit_own(search, value, text)


def _visit_watched(search: Search, value: Any, text: str) -> None:
    search.state.watched.append(value)
    for registry in registries_of(value):
        held = own_dict(value).get(registry)
        if held is not None:
            search.state.watched_others.append(Contents(held, items_of(held), f"{registry} of {text}"))
            for item in items_of(held):
                search.refuse_strange(item, f"{registry} of {text}")
                search.visit(item, text)
    ours = registries_of(value) and type(value).__module__.partition(".")[0] == "blockfuse"
    left_out = frozenset(name for holder, name in search.left_out if holder == id(value))
    names = tuple(name for name in own_names(value) if name not in left_out)
    for name in names:
        if ours:
            search.refuse_strange(own_dict(value)[name], f"{text}.{name}")
        search.item(value, name, own_dict(value)[name], f"{text}.{name}", watched=True)
    search.state.watched_others.append(Names(value, names, f"the attributes of {text}", left_out))
    _visit_kind(search, value, text, watched=True)


def _visit_contents(search: Search, value: Any, text: str) -> None:
    items = items_of(value)
    if not isinstance(value, tuple | frozenset):
        search.state.others.append(Contents(value, items, f"the contents of {text}"))
    for item in items:
        search.refuse_strange(item, text)
        search.visit(item, f"{text}[...]")


def _visit_module(search: Search, module: types.ModuleType, text: str) -> None:
    root = module.__name__.partition(".")[0]
    if not is_trusted_module(root):
        search.state.others.append(Kind(module, type(module), f"the class of {text}"))
        _named(search, module, vars(module), text)
    elif root != "blockfuse":  # its functions are not replaced, but not all of them are known
        for name in sorted(search.names & vars(module).keys()):
            value = vars(module)[name]
            if not isinstance(value, types.FunctionType):
                search.notice(ATTRIBUTE, name, value)
            if isinstance(value, types.ModuleType):
                search.visit(value, f"{text}.{name}")


def _visit_kind(search: Search, value: Any, text: str, watched: bool = False) -> None:
    """The class of an instance, and that it stays its class."""
    kind = type(value)
    if not kind.__flags__ & IMMUTABLE:
        facts = search.state.watched_others if watched else search.state.others
        facts.append(Kind(value, kind, f"the class of {text}"))
    _visit_class(search, kind)


def _visit_class(search: Search, cls: type) -> None:
    if (id(cls), "order") in search.named_before:
        return
    search.named_before.add((id(cls), "order"))
    for base in cls.__mro__:
        for name in sorted(STRANGE_MEMBERS.get(base, frozenset()) & search.names):
            search.notice(ATTRIBUTE, name, vars(base)[name])
    changing = [base for base in cls.__mro__ if may_change(base)]
    if changing:
        search.state.others.append(Order(cls, cls.__mro__, f"the classes that {cls.__name__} inherits from"))
    for base in changing:
        _named(search, base, vars(base), base.__name__)
        for name, held in vars(base).items():
            if name.startswith("__") and name not in _OF_EVERY_CLASS:
                search.refuse_strange(held, f"{base.__name__}.{name}")
    if type(cls) is not type:
        _visit_kind(search, cls, cls.__name__)


def _named(search: Search, holder: Any, stored: Any, text: str) -> None:
    """Attributes of a class or module: those that code names or that ran unnamed, or all where code makes names."""
    if (id(holder), "names") in search.named_before:
        return
    search.named_before.add((id(holder), "names"))
    search.step(_STEPS_PER_CLASS, text)
    every = search.dynamic and not is_library_module(module_of(holder))
    wanted = stored.keys() if every else (search.names | UNNAMED_CALLS) & stored.keys()
    for name in stored.keys() - wanted if search.dynamic else ():
        if not isinstance(stored[name], types.FunctionType):
            search.notice(ATTRIBUTE, name, stored[name])
    wanted |= {name for name, held in stored.items() if id(code_of(held)) in search.met}
    for name in sorted(wanted - _OF_EVERY_CLASS):
        search.item(holder, name, stored[name], f"{text}.{name}")
    search.state.others.append(Names(holder, tuple(stored), f"the attributes of {text}"))


def _visit_function(search: Search, function: types.FunctionType, text: str) -> None:
    code = function.__code__
    if is_trusted_module(function.__module__ or ""):
        return
    if about(code).known:  # such as what a decorator of the library was given
        _visit_cells(search, function)
        for cell in function.__closure__ or ():
            search.refuse_strange(cell_contents(cell), text)
        return
    if is_library(code) and id(code) not in search.met:
        return
    search.add_code(code, function.__globals__)
    search.state.functions.add(code)
    _visit_own(search, function, text)
    for name in ("__code__", "__defaults__", "__kwdefaults__"):
        if getattr(function, name) is not None:
            search.item(function, name, getattr(function, name), f"{name} of {text}")
    _visit_cells(search, function)


def _visit_cells(search: Search, function: types.FunctionType) -> None:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        value = cell_contents(cell)
        if value is not MISSING:
            search.item(cell, None, value, f"variable {name} of the enclosing function", name=(CELL, name))


def _visit_instance(search: Search, value: Any, text: str) -> None:
    wrapped = own_dict(value).get("__wrapped__")
    if wrapped is not None and type(value).__module__.partition(".")[0] == "blockfuse":
        search.refuse_strange(wrapped, text)  # a hybridized function: its programs are no state
        search.item(value, "__wrapped__", wrapped, text)
        return
    if is_asked(type(value)):
        _visit_asked(search, value, text)
        return
    made = getattr(type(value), "__made_so_far__", None)
    if made is not None:
        search.state.makers.append((functools.partial(made, value), made(value)))
    if hasattr(type(value), "__next__"):
        search.cannot_see(f"{text} is an iterator ({type(value).__name__}), whose place cannot be seen")
        return
    if not isinstance(value, enum.Enum) and not is_python(type(value)):
        search.cannot_see(f"{text} is a {type(value).__name__}, whose state cannot be seen")
        return
    _visit_own(search, value, text)
    if isinstance(value, enum.Enum):
        _visit_class(search, type(value))
    else:
        _visit_kind(search, value, text)


def _visit_asked(search: Search, value: Any, text: str) -> None:
    """What is left beside the questions of known code are attributes that are named."""
    for name in sorted(search.names & own_dict(value).keys()):
        search.item(value, name, own_dict(value)[name], f"{text}.{name}")
    _visit_kind(search, value, text)


_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def _visit_own(search: Search, value: Any, text: str) -> None:
    """The attributes of an instance or function itself."""
    own_slots = [] if isinstance(value, types.FunctionType) else slots(type(value))
    used_by_library = not isinstance(value, types.FunctionType) and is_of_library(type(value))
    unread = foreign.unread(type(value)) - search.names
    for name in (*own_slots, *own_dict(value)):
        held = attribute_of(value, name)
        # Of what a library has for itself, users' numbers and texts may have the names; what else it has is not looked at.
        named_at_run_time = search.dynamic and type(held) in _PLAIN
        if held is not MISSING and (name not in unread or named_at_run_time):
            if used_by_library:
                search.refuse_strange(held, f"{text}.{name}")
            search.item(value, name, held, f"{text}.{name}")
    search.state.others.append(Names(value, tuple(own_names(value)), f"the attributes of {text}"))


def _visit_container(search: Search, value: Any, text: str) -> None:
    if not issubclass(type(value), _CONTAINERS):  # a proxy only says of itself to be one
        search.cannot_see(f"{text} is a {type(value).__name__}, whose state cannot be seen")
        return
    _visit_contents(search, value, text)
    if type(value) not in (list, tuple, dict, set, frozenset):
        _visit_own(search, value, text)
        _visit_kind(search, value, text)


def _visit_method(search: Search, value: Any, text: str) -> None:
    search.visit(value.__func__, text)
    search.visit(getattr(value, "__self__", None), text)


def _visit_bound(search: Search, value: Any, text: str) -> None:
    if not isinstance(value.__self__, types.ModuleType | type):
        search.visit(value.__self__, text)


def _visit_attributes(*names: str) -> Callable[[Search, Any, str], None]:
    def visit(search: Search, value: Any, text: str) -> None:
        for name in names:
            search.visit(getattr(value, name), text)

    return visit


_CONTAINERS = (list, tuple, dict, set, frozenset)
_VISITS: tuple[tuple[Any, Callable[[Search, Any, str], None]], ...] = (
    (_CONTAINERS, _visit_container),
    (types.ModuleType, _visit_module),
    (type, lambda search, value, text: _visit_class(search, value)),
    (types.FunctionType, _visit_function),
    ((types.MethodType, staticmethod, classmethod), _visit_method),
    (property, _visit_attributes("fget", "fset", "fdel")),
    (functools.cached_property, _visit_attributes("func")),
    (functools.partial, _visit_attributes("func", "args", "keywords")),
    ((types.BuiltinMethodType, types.MethodWrapperType), _visit_bound),
    (_OPAQUE, lambda search, value, text: None),
    (object, _visit_instance),
)
