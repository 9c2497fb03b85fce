"""The C functions and types that are known: they read nothing but what they are given, and call only what they are given.

NOTE [strangers]
A C function calls others without a word: ``map(print, xs)``, ``functools.partial(time.time)()``. So what counts is not
what is seen to be called but what the code can lay its hands on. Every C function, type and callable that it can name is
looked up here, by identity; one that is not here is a *stranger*. Strangers are refused where they are named, also inside
of what holds them; only a function that is called on the spot may wait until it is, for the profiler shows that. What an
unknown type makes cannot turn up either, so operators and attributes are those of known types.
"""

from __future__ import annotations

import bisect
import builtins
import cmath
import collections
import datetime
import functools
import heapq
import io
import itertools
import math
import operator
import os
import re
import struct
import types
from collections.abc import Iterable
from typing import Any

import numpy

from blockfuse.array import foreign

_BUILTINS = (
    *("abs", "all", "any", "ascii", "bin", "callable", "chr", "divmod", "format", "getattr", "hasattr"),
    *("hex", "isinstance", "issubclass", "iter", "len", "max", "min", "next", "oct", "ord", "pow", "repr"),
    *("round", "sorted", "sum"),
)
_NUMPY_STRANGE = frozenset(
    {
        *("datetime64", "datetime_as_string", "busdaycalendar"),  # "now" and "today" are dates; time zones
        *("fromfile", "save", "savetxt", "savez", "savez_compressed", "test"),
    }
)


def _c_functions(module: types.ModuleType) -> list[Any]:
    return [f for f in vars(module).values() if isinstance(f, types.BuiltinFunctionType)]


def _of_numpy() -> list[Any]:
    spaces = (numpy, numpy.linalg, numpy.fft)
    return [v for s in spaces for n, v in vars(s).items() if callable(v) and n not in _NUMPY_STRANGE]


_FUNCTIONS: dict[int, Any] = {
    id(function): function
    for function in (
        *(getattr(builtins, name) for name in _BUILTINS),
        *(f for m in (math, cmath, operator, bisect, heapq, struct) for f in _c_functions(m)),
        *(functools.reduce, functools.cmp_to_key, itertools.tee, os.fspath),
        *(f for f in _of_numpy() if not isinstance(f, type | types.FunctionType)),
    )
}


def _types_in(module: types.ModuleType) -> list[type]:
    return [t for name, t in vars(module).items() if isinstance(t, type) and name != "__loader__"]


_TYPES: dict[int, type] = {
    id(kind): kind
    for kind in (
        *_types_in(builtins),
        *_types_in(types),
        *_types_in(itertools),
        *(functools.partial, operator.itemgetter, operator.attrgetter, operator.methodcaller),
        *(collections.deque, collections.OrderedDict, collections.defaultdict),
        *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone),
        *(datetime.tzinfo, re.Pattern, re.Match, struct.Struct, io.StringIO, io.BytesIO),
        *(type({}.keys()), type({}.values()), type({}.items()), type(iter([])), type(iter(()))),
        *(type(iter("")), type(iter({})), type(iter(set())), type(iter(range(0))), type(reversed([]))),
        *(type(vars(collections.namedtuple("_", "field"))["field"]), types.MethodWrapperType),
        *(t for t in _of_numpy() if isinstance(t, type)),
        *(type(numpy.dtype(c)) for c in numpy.typecodes["All"] if c not in "Mm"),
    )
}

# Members of known types that read more than what they are given, or change what is not Python's.
STRANGE_MEMBERS: dict[type, frozenset[str]] = {
    type: frozenset({"__subclasses__"}),
    datetime.date: frozenset({"today", "fromtimestamp", "strftime"}),
    datetime.datetime: frozenset({"now", "utcnow", "fromtimestamp", "timestamp", "astimezone", "strftime"}),
    datetime.time: frozenset({"strftime"}),
    numpy.ndarray: frozenset(
        {
            *("tofile", "dump", "dumps"),
            # What these change may be looked at before the call is over.
            *("fill", "sort", "partition", "put", "resize", "setfield", "setflags", "byteswap"),
            "__setstate__",
        }
    ),
    numpy.generic: frozenset({"tofile", "dump", "dumps"}),
}
_METHODS = (types.MethodDescriptorType, types.ClassMethodDescriptorType, types.WrapperDescriptorType)
SHOWN = (types.BuiltinFunctionType, types.MethodDescriptorType, types.ClassMethodDescriptorType)


def stranger(value: Any) -> str:
    """What ``value`` is, if it is a C function or type, or holds one to call, that is not known; otherwise empty."""
    if isinstance(value, type):
        return next((_full_name(b) for b in value.__mro__ if not _is_known_type(b)), "")
    if isinstance(value, types.BuiltinFunctionType):
        return "" if is_known(value) else name_of(value)
    if isinstance(value, _METHODS):
        return _strange_member(value.__objclass__, value.__name__)
    if isinstance(value, functools.partial):
        return _first((value.func, *value.args, *value.keywords.values()))
    if isinstance(value, types.MethodType | staticmethod | classmethod):
        return stranger(value.__func__)
    if isinstance(value, property):
        return _first((value.fget, value.fset, value.fdel))
    if isinstance(value, functools.cached_property):
        return stranger(value.func)
    return _strange_instance(value)


def _first(values: Iterable[Any]) -> str:
    return next((what for what in map(stranger, values) if what), "")


def _strange_instance(value: Any) -> str:
    """Of a value that is no function and no type: whether it is a callable of C."""
    if isinstance(value, types.FunctionType) or _is_known_function(value) or _is_listed(type(value)):
        return ""
    if isinstance(value, numpy.ufunc):  # ``numpy.frompyfunc`` makes some that call what nobody sees
        only_objects = all(set(loop) <= set("O->") for loop in value.types)
        return f"the ufunc {value.__name__}" if only_objects else ""
    call = getattr(type(value), "__call__", None)  # noqa: B004 - which one it is
    return f"a {type(value).__name__}" if isinstance(call, types.WrapperDescriptorType) else ""


def is_known(function: Any) -> bool:
    """Whether a built-in function, bound to what it belongs to, is known."""
    if _is_known_function(function):
        return True
    owner = getattr(function, "__self__", None)
    if owner is None or isinstance(owner, types.ModuleType):
        kind = getattr(function, "__objclass__", None)
        return kind is not None and not _strange_member(kind, function.__name__)
    kinds: tuple[type, ...] = type(owner).__mro__
    kinds = (*owner.__mro__, *kinds) if isinstance(owner, type) else kinds
    kind = next((k for k in kinds if function.__name__ in vars(k)), None)
    return kind is not None and not _strange_member(kind, function.__name__)


def _strange_member(kind: type, name: str) -> str:
    strange = not _is_listed(kind) or name in STRANGE_MEMBERS.get(kind, ())
    return f"{_full_name(kind)}.{name}" if strange else ""


def _is_known_type(kind: type) -> bool:
    return _is_listed(kind) or bool(kind.__flags__ & _HEAP and not _has_c_methods(kind))


def _is_listed(kind: type) -> bool:
    return id(kind) in _TYPES or id(kind) in foreign.KINDS


def _is_known_function(value: Any) -> bool:
    return id(value) in _FUNCTIONS or foreign.is_known(value)


_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement, or by a C module as if it were


def _has_c_methods(kind: type) -> bool:
    """Whether a type, which may look like one of a class statement, is C's."""
    return any(
        (isinstance(member, _METHODS) and member.__objclass__ is kind)
        or (isinstance(member, types.BuiltinFunctionType) and member.__self__ is kind)
        for member in vars(kind).values()
    )


def name_of(function: Any) -> str:
    """A C function as people write it."""
    owner = getattr(function, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType):
        return f"{(owner if isinstance(owner, type) else type(owner)).__name__}.{function.__name__}"
    return _full_name(function)


def _full_name(value: Any) -> str:
    module = getattr(value, "__module__", None)
    name = str(getattr(value, "__qualname__", value))
    return f"{module}.{name}" if isinstance(module, str) and module != "builtins" else name
