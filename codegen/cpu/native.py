"""LLVM IR as object code, and object code as functions in memory that go when nobody holds them."""

from __future__ import annotations

import itertools
import os
import threading
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm

from blockfuse.codegen.machine import Machine

_lock = threading.Lock()
_numbers = itertools.count()
_engines: dict[str, tuple[Any, Any]] = {}  # features -> (target machine, LLJIT)


def _engine(machine: Machine) -> tuple[Any, Any]:
    if machine.features not in _engines:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        target = llvm.Target.from_default_triple().create_target_machine(
            cpu="", features=machine.features, opt=3, reloc="pic", codemodel="small"
        )
        _engines[machine.features] = target, llvm.create_lljit_compiler(target)
    return _engines[machine.features]


def object_code(text: str, machine: Machine) -> bytes:
    """LLVM IR, optimised for the machine, as a relocatable object."""
    with _lock:
        target, _ = _engine(machine)
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


@dataclass(frozen=True)
class Loaded:
    """Code in memory: ``address`` is good as long as this object lives."""

    tracker: Any
    address: int


def load(code: bytes, symbol: str, machine: Machine) -> Loaded:
    """Put object code into memory; the C library's functions are resolved in this process."""
    with _lock:
        _, engine = _engine(machine)
        library = llvm.JITLibraryBuilder().add_object_img(code).add_current_process().export_symbol(symbol)
        tracker = library.link(engine, f"blockfuse{next(_numbers)}")
        return Loaded(tracker, tracker[symbol])


def _in_child() -> None:
    """Another thread of the parent may have held the lock when it forked."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_in_child)
