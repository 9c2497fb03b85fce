"""Kernel source as PTX, by Numba's compiler for CUDA, and PTX as a cubin; no driver and no device is needed.

The one file besides ``device/kernel_simulator.py`` that knows numba-cuda: another compiler would be a change of it, of
``values.py`` and of ``intrinsics.py``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from cuda.core import Linker, LinkerOptions, ObjectCode
from numba import cuda
from numba.cuda import types as _numba_types
from numba.cuda.core.compiler_lock import global_compiler_lock
from numba.cuda.cpython import numbers
from numba.cuda.extending import intrinsic

from blockfuse.codegen.cuda.native import intrinsics
from blockfuse.codegen.cuda.native.isa import capability
from blockfuse.codegen.cuda.native.values import Value
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.values.functions import ARITY, BOOLEAN, FUNCTIONS
from blockfuse.codegen.values.llvm import element_type
from blockfuse.codegen.values.wrapping import wrapping_integers

types: Any = _numba_types  # its names are made at run time
_number = itertools.count()  # Numba tells arrays of two kernels apart by file and line


def linked(source: DeviceSource, machine: Machine) -> bytes:
    """A cubin with an entry for each stage, by the name that ``Stage.entry`` tells."""
    objects = [ObjectCode.from_ptx(text.encode()) for text in ptx(source, machine)]
    options = LinkerOptions(arch=machine.name)
    return bytes(Linker(*objects, options=options).link("cubin").code)


def ptx(source: DeviceSource, machine: Machine) -> list[str]:
    """The PTX of each stage."""
    defined: dict[str, Any] = {}  # not in scope: a kernel named ``exp`` calls the function ``exp``
    scope = dict(_scope())
    exec(compile(source.text, f"<kernel {next(_number)}: {source.name}>", "exec"), scope, defined)
    scope |= {name: _called(defined[name]) for name in source.parts(defined)}
    pointers = (types.CPointer(_storage(dtype)) for _, dtype in source.parameters)
    signature = types.void(*pointers, types.uint32)
    return [_compiled(defined[stage.name], signature, stage, machine) for stage in source.stages]


def _compiled(function: Callable[..., Any], signature: Any, stage: Stage, machine: Machine) -> str:
    bounds = (stage.threads, stage.resident)
    with global_compiler_lock, wrapping_integers(numbers):
        text, _ = cuda.compile_ptx(function, signature, cc=capability(machine), launch_bounds=bounds)
    entry = re.search(r"\.visible \.entry (\w+)\(", text)
    assert entry is not None, text
    return str(text).replace(entry[1], stage.entry)


def _storage(dtype: str) -> Any:
    return types.uint8 if dtype == "bool" else getattr(types, dtype)


@lru_cache
def _scope() -> dict[str, Any]:
    """What kernel source may name."""
    dtypes = {str(t): t for t in (types.float32, types.float64, *types.integer_domain) if t is not None}
    return {
        **dtypes,
        **{name: _conversion(name) for name in ("int32", "int64")},
        **{name: _function(name, f) for name, f in FUNCTIONS.items()},
        **{name: _intrinsic(name, f) for name, f in intrinsics.INTRINSICS.items()},
        "types": types,
        "cuda": cuda,
        "inf": float("inf"),
        "nan": float("nan"),
    }


def _function(name: str, function: Callable[..., Any]) -> Any:
    """One of ``codegen/values/functions.py`` as Numba sees it."""

    def typed(context: Any, *arguments: Any) -> Any:
        result = types.boolean if name in BOOLEAN else arguments[1 if name == "select" else 0]
        return result(*arguments), _generator(function)

    return _with_arguments(typed, ARITY[name])


def _conversion(dtype: str) -> Any:
    """``int32(x)``; see NOTE [floats that no integer holds]."""
    target = getattr(types, dtype)

    def typed(context: Any, number: Any) -> Any:
        return target(number), _generator(lambda x: x.to(element_type(dtype)))

    return _with_arguments(typed, 1)


def _generator(function: Callable[..., Any]) -> Callable[..., Any]:
    def generate(_: Any, builder: Any, signature: Any, values: Any) -> Any:
        pairs = zip(values, signature.args, strict=True)
        return function(*(Value(builder, v, getattr(t, "signed", True)) for v, t in pairs)).ir

    return generate


def _intrinsic(name: str, function: Callable[..., Any]) -> Any:
    def typed(context: Any, *arguments: Any) -> Any:
        return function(types, *arguments)

    return _with_arguments(typed, intrinsics.ARITY[name])


def _called(function: Callable[..., Any]) -> Any:
    """A function of kernel source for others to call: compiled once, and inlined by NVVM.

    Numba's own jitted device functions ask the driver what the device is, and its way to inline them compiles one for each
    call; ``compile_subroutine`` keeps what it compiles for ever.
    """
    compiled: list[Any] = []

    def typed(context: Any, *arguments: Any) -> Any:
        return types.void(*arguments), generate

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if not compiled:
            compiled.append(context._compile_subroutine_no_cache(builder, function, signature))
        context.call_internal(builder, compiled[0].fndesc, signature, values)
        return context.get_dummy_value()

    return _with_arguments(typed, function.__code__.co_argcount)


def _with_arguments(typed: Callable[..., Any], count: int) -> Any:
    """Numba reads the names of an intrinsic's parameters, so it gets a function with exactly these."""
    names = ", ".join(f"x{n}" for n in range(count))
    scope: dict[str, Any] = {"typed": typed}
    exec(f"def call(context, {names}):\n    return typed(context, {names})\n", scope)
    return intrinsic(scope["call"])
