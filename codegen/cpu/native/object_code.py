"""Object code of kernels and programs, made or taken from a store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue

import llvmlite

from blockfuse.codegen.compiler_thread import beside, in_compiler_thread
from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.store import Store, generator_version, key_of

Make = Callable[[], str]  # of LLVM IR
Wanted = tuple[str, Make]  # what an object depends on, besides the machine and the compiler; its IR


def kernel_code(kernel: Kernel, source: str, machine: Machine, store: Store) -> bytes:
    """Object code of a kernel whose source is ``source``; its symbol is ``kernel``."""
    return object_code(source, partial(kernel_ir, kernel, source, machine), machine, store)


def object_code(key_text: str, make: Make, machine: Machine, store: Store) -> bytes:
    """Object code of the IR that ``make`` gives, from the store where it is there."""
    return object_codes([(key_text, make)], machine, store)[0]


def object_codes(wanted: Sequence[Wanted], machine: Machine, store: Store) -> list[bytes]:
    """``object_code`` of several.

    While LLVM optimises one of them, the next is written in Python: of what a kernel takes, half each, on two processors.
    """
    # The layout of objects, which native entries read, is that of a version of CPython.
    around = machine.features, sys.implementation.cache_tag, _packages(), generator_version("cpu")
    keys = [key_of((text, *around)) for text, _ in wanted]
    return in_compiler_thread(lambda: _object_codes(keys, [make for _, make in wanted], machine, store))


def _object_codes(keys: Sequence[str], makes: Sequence[Make], machine: Machine, store: Store) -> list[bytes]:
    codes = {key: code for key in keys if (code := store.get(key)) is not None}
    lacking = {key: make for key, make in zip(keys, makes, strict=True) if key not in codes}

    def compile(key: str, text: str) -> None:
        codes[key] = engine.object_code(text, machine)
        store.put(key, codes[key])

    if len(lacking) > 1:
        _in_two_threads(lacking, compile)
    for key, make in lacking.items():
        if key not in codes:
            compile(key, make())
    return [codes[key] for key in keys]


def _in_two_threads(makes: Mapping[str, Make], compile: Callable[[str, str], None]) -> None:
    """``compile`` what they make, as far as the other thread comes to it."""
    made: SimpleQueue[tuple[str, str] | None] = SimpleQueue()

    def compile_all() -> None:
        while (one := made.get()) is not None:
            compile(*one)

    end = beside(compile_all)
    try:
        for key, make in makes.items():
            made.put((key, make()))
    finally:
        made.put(None)
        end()


def kernel_ir(kernel: Kernel, source: str, machine: Machine) -> str:
    """LLVM IR of a kernel, as ``kernel_code`` takes it."""
    from blockfuse.codegen.cpu.native import frontend

    return frontend.lowered(source, kernel.name, tuple(d for _, d in kernel.pointers), machine)


@lru_cache
def _packages() -> str:
    """The versions of what compiles. Numba's is read from its file: importing Numba takes 0.3 s, and what would look its
    version up (``importlib.metadata``, which brings ``email``) an eighth of a start from the cache.
    """
    numba = find_spec("numba")
    assert numba is not None
    assert numba.origin is not None
    return f"{llvmlite.__version__} {Path(numba.origin).with_name('_version.py').read_text(encoding='utf-8')}"
