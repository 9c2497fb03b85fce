"""Kernel source as LLVM IR, by Numba's front end. Numba types and lowers; it neither optimises nor loads."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from numba.core import types as _numba_types
from numba.core.compiler_lock import global_compiler_lock
from numba.cpython import numbers

from blockfuse.codegen.cpu.intrinsics.numba_intrinsic import Intrinsic
from blockfuse.codegen.cpu.intrinsics.table import INTRINSICS
from blockfuse.codegen.cpu.intrinsics.values import Value
from blockfuse.codegen.cpu.native import numba_passes
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.values.functions import BOOLEAN, FUNCTIONS
from blockfuse.codegen.values.llvm import element_type
from blockfuse.codegen.values.wrapping import wrapping_integers

types: Any = _numba_types  # its names are made at run time
SYMBOL = "kernel"


def lowered(source: str, name: str, dtypes: tuple[str, ...], machine: Machine) -> str:
    """LLVM IR of function ``name`` of ``source``; its symbol is ``kernel``.

    dtypes: of the pointer parameters. The C signature is Numba's: ``int kernel(void *unused, void *unused,
    pointers..., int64 begin, int64 end)``; it returns 0.
    """
    scope = _scope() | {row.name: row.native(machine) for row in INTRINSICS}
    defined: dict[str, Any] = {}
    exec(compile(source, f"<kernel {name}>", "exec"), scope, defined)
    function = defined.pop(name)  # not in scope: a kernel named ``exp`` calls the function ``exp``
    scope.update(defined)
    pointers = tuple(types.CPointer(_storage(d)) for d in dtypes)
    with global_compiler_lock, wrapping_integers(numbers):
        text, symbol = numba_passes.lowered(function, (*pointers, types.int64, types.int64))
    return _renamed(text, symbol)


def _storage(dtype: str) -> Any:
    return types.uint8 if dtype == "bool" else getattr(types, dtype)


@lru_cache
def _scope() -> dict[str, Any]:
    """What kernel source may name."""
    dtypes = {str(t): t for t in (types.float32, types.float64, *types.integer_domain) if t is not None}
    return {
        **dtypes,
        **{name: _conversion(name) for name in ("int32", "int64")},
        **{name: _intrinsic(name, f) for name, f in FUNCTIONS.items()},
        "inf": float("inf"),
        "nan": float("nan"),
        "range": range,
    }


def _intrinsic(name: str, function: Callable[..., Any]) -> Any:
    """One function of ``codegen/values/functions.py`` as Numba sees it, on scalars."""

    def typed(context: Any, *arguments: Any) -> Any:
        result = types.boolean if name in BOOLEAN else arguments[1 if name == "select" else 0]
        return result(*arguments), _generator(function)

    return Intrinsic(typed)


def _conversion(dtype: str) -> Any:
    """``int32(x)``; see NOTE [floats that no integer holds]."""
    target = getattr(types, dtype)

    def typed(context: Any, number: Any) -> Any:
        return target(number), _generator(lambda x: x.to(element_type(dtype)))

    return Intrinsic(typed)


def _generator(function: Callable[..., Any]) -> Callable[..., Any]:
    def generate(_: Any, builder: Any, signature: Any, values: Any) -> Any:
        pairs = zip(values, signature.args, strict=True)
        return function(*(Value(builder, v, getattr(t, "signed", True)) for v, t in pairs)).ir

    return generate


def _renamed(text: str, mangled: str) -> str:
    """The module with a short symbol, parameters marked as not aliasing (NOTE: a launch never writes what it reads)."""
    text = re.sub(rf'@"?{re.escape(mangled)}"?(?=[\s(])', f"@{SYMBOL}", text)
    text = re.sub(r"^@\S*NumbaEnv\S* = .*$", "", text, flags=re.MULTILINE)
    head = re.search(rf"^define .*@{SYMBOL}\(.*$", text, flags=re.MULTILINE)
    assert head is not None, text
    return text.replace(head[0], re.sub(r'\* (?=%"arg)', "* noalias ", head[0]))
