"""LLVM IR as object code, and object code as functions in memory that go when nobody holds them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
import weakref
from typing import Any

import llvmlite.binding as llvm

from blockfuse.codegen.machine import Machine

_lock = threading.Lock()
_loaded: weakref.WeakValueDictionary[tuple[bytes, str], Loaded] = weakref.WeakValueDictionary()


def _target(machine: Machine) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu="", features=machine.features, opt=3, reloc="pic", codemodel="small"
    )


def object_code(text: str, machine: Machine) -> bytes:
    """LLVM IR, optimised for the machine, as a relocatable object."""
    with _lock:
        target = _target(machine)
        module = llvm.parse_assembly(text)
        module.triple = target.triple
        module.verify()
        tuning = llvm.create_pipeline_tuning_options(speed_level=3)
        tuning.loop_vectorization = tuning.slp_vectorization = True
        tuning.loop_unrolling = tuning.loop_interleaving = True
        builder = llvm.create_pass_builder(target, tuning)
        passes = builder.getModulePassManager()
        passes.run(module, builder)
        llvm.newpassmanagers.NewPassManager._dispose(
            passes
        )  # llvmlite's own ``close`` misses it: 100 KB a kernel
        return bytes(target.emit_object(module))


class Loaded:
    """Code in memory: addresses are good as long as this object lives.

    NOTE [engines]
    An engine of LLVM's for each object, because it gives everything back when it goes. LLJIT links five times as
    fast (0.13 against 0.6 ms), but keeps 10 KB of every library that it ever linked (llvmlite 0.50).
    """

    def __init__(self, code: bytes, machine: Machine) -> None:
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target(machine))
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        self._addresses: dict[str, int] = {}

    def address(self, symbol: str) -> int:
        """Where a function lies."""
        if symbol not in self._addresses:
            self._addresses[symbol] = int(self._engine.get_function_address(symbol))
        return self._addresses[symbol]

    def variable(self, symbol: str) -> int:
        """Where a variable lies."""
        return int(self._engine.get_global_value_address(symbol))


def for_good(value: Any) -> Any:
    """``value``, which nobody frees any more: when the interpreter ends, arrays, types and threads outlive modules."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))
    return value


def load(code: bytes, machine: Machine) -> Loaded:
    """Object code in memory, once for all who hold it; the C library's functions are resolved in this process."""
    key = hashlib.sha256(code).digest(), machine.features
    with _lock:
        loaded = _loaded.get(key)
        if loaded is None:
            loaded = _loaded[key] = Loaded(code, machine)
        return loaded


def _in_child() -> None:
    """Another thread of the parent may have held the lock when it forked."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_in_child)
