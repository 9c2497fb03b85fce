"""LLVM IR as object code, and object code as functions in memory that go when nobody holds them."""

from __future__ import annotations

import _thread
import hashlib
import platform
import sys
import weakref
from contextlib import suppress
from typing import Any

import llvmlite.binding as llvm

from blockfuse.codegen.compiler_thread import at_fork, before_work, in_compiler_thread
from blockfuse.codegen.cpu.linking.in_memory import MappedCode
from blockfuse.codegen.cpu.linking.libraries import imported
from blockfuse.codegen.cpu.native.abandoned_locks import free_locks, renew_locks
from blockfuse.codegen.kernels.machine import Machine

_loaded: weakref.WeakValueDictionary[tuple[bytes, str], Loaded] = weakref.WeakValueDictionary()
_gone: list[Any] = []  # engines whose code nobody holds any more
_MAX_WAITING_ENGINES = 16  # to go
_LINKED = platform.machine() == "x86_64"  # by our own linker

before_work(free_locks)
at_fork(renew_locks)


def _target(machine: Machine) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu="", features=machine.features, opt=3, reloc="pic", codemodel="small"
    )


def object_code(text: str, machine: Machine) -> bytes:
    """LLVM IR, optimised for the machine, as a relocatable object."""
    return in_compiler_thread(lambda: _object_code(text, machine))


def _object_code(text: str, machine: Machine) -> bytes:
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


class _Engine:
    """An engine of LLVM's, for machines that our linker does not know; it waits to be freed when nobody holds this any more.

    One for each object, because it gives everything back when it goes. LLJIT links five times as fast, but keeps 10 KB of
    every library that it ever linked (llvmlite 0.50). Like all that LLVM does, an engine goes in a thread of its own (NOTE
    [the compiler thread]): with the next code that is loaded, or when several wait.

    Nobody refers to it weakly: while ``__del__`` runs, a weak reference still gives the object to whoever asks (a signal's
    handler, another thread), with code that is about to go.
    """

    def __init__(self, code: bytes, machine: Machine) -> None:
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target(machine))
        self.engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self.engine.finalize_object()

    def address(self, symbol: str) -> int:
        """Where a function or a variable lies."""
        return in_compiler_thread(lambda: int(self.engine.get_global_value_address(symbol)))

    def __del__(self) -> None:
        engine = self.__dict__.pop("engine", None)
        if engine is not None:
            _gone.append(engine)
            del engine
            if len(_gone) >= _MAX_WAITING_ENGINES and not sys.is_finalizing():
                with suppress(RuntimeError, MemoryError):  # no thread is to be had; then later
                    _thread.start_new_thread(in_compiler_thread, (_gone.clear,))


def _resolved(name: str) -> int:
    """The address of a function that somebody told LLVM of, or of a library; 0 where there is none."""
    return llvm.address_of_symbol(name) or imported(name)


class Loaded:
    """Code in memory: addresses are good as long as this object lives (NOTE [code in memory] in ``in_memory.py``)."""

    def __init__(self, code: bytes, machine: Machine) -> None:
        self._held = MappedCode(code, _resolved) if _LINKED else _Engine(code, machine)

    def address(self, symbol: str) -> int:
        """Where a function or a variable lies."""
        return self._held.address(symbol)


def load(code: bytes, machine: Machine) -> Loaded:
    """Object code in memory, once for all who hold it; the C library's functions are resolved in this process."""
    return in_compiler_thread(lambda: _load(code, machine))


def _load(code: bytes, machine: Machine) -> Loaded:
    _gone.clear()
    key = hashlib.sha256(code).digest(), machine.features
    loaded = _loaded.get(key)
    if loaded is None:
        loaded = _loaded[key] = Loaded(code, machine)
    return loaded
