"""What can be told of a class without asking it: whether it may change, and what state its instances have."""

from __future__ import annotations

import types
from typing import Any

from blockfuse.array import foreign
from blockfuse.tracer.code.known_libraries import is_library_module

IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE: nothing about such a type changes
_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement

# Their functions are not replaced, and their classes stay as they are.
TRUSTED_MODULES = (
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


def is_trusted_module(name: str) -> bool:
    """Whether what a module defines stays as it is."""
    root = name.partition(".")[0]
    return root in TRUSTED_MODULES or root in foreign.packages()


def may_change(cls: type) -> bool:
    """Whether attributes of a class may be assigned; the classes of trusted modules stay as they are."""
    module: Any = cls.__module__  # of some types of C a descriptor
    trusted = isinstance(module, str) and is_trusted_module(module)
    return not trusted and not cls.__flags__ & IMMUTABLE


def is_of_library(cls: type) -> bool:
    """Whether methods of a library, which nobody watches, may use what an instance holds."""
    return any(base.__flags__ & _HEAP and is_library_module(base.__module__) for base in cls.__mro__)


def module_of(holder: Any) -> str:
    """The name of a module, or that in which a class was made."""
    name: Any = holder.__name__ if isinstance(holder, types.ModuleType) else holder.__module__
    return name if isinstance(name, str) else ""


def code_of(held: Any) -> types.CodeType | None:
    """The code that a method, property or function runs."""
    held = held.fget if isinstance(held, property) else held
    held = held.__func__ if isinstance(held, staticmethod | classmethod) else held
    return held.__code__ if isinstance(held, types.FunctionType) else None


def slots(cls: type) -> list[str]:
    """The names of the slots that instances have."""
    found = ((n, v) for c in cls.__mro__ for n, v in vars(c).items() if n != "__dict__")
    return [n for n, v in found if isinstance(v, types.MemberDescriptorType)]


def is_python(cls: type) -> bool:
    """Whether instances have no state but their attributes: every base is made by a class statement."""
    return cls is types.SimpleNamespace or not any(
        isinstance(
            member, types.WrapperDescriptorType | types.MethodDescriptorType | types.BuiltinFunctionType
        )
        for base in cls.__mro__
        if base is not object
        for member in vars(base).values()
    )
