"""Object code of kernels and programs, made or taken from a store."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import llvmlite

from blockfuse.codegen.compiler_thread import in_compiler_thread
from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.store import Store, generator_version, kept


def kernel_code(kernel: Kernel, source: str, machine: Machine, store: Store) -> bytes:
    """Object code of a kernel whose source is ``source``; its symbol is ``kernel``."""
    return object_code(source, lambda: _kernel_ir(source, kernel, machine), machine, store)


def object_code(key_text: str, make: Callable[[], str], machine: Machine, store: Store) -> bytes:
    """Object code of the IR that ``make`` gives, from the store where it is there."""
    # The layout of objects, which native entries read, is that of a version of CPython.
    python = sys.implementation.cache_tag
    parts = (key_text, machine.features, python, _packages(), generator_version("cpu"))
    return in_compiler_thread(lambda: kept(store, parts, lambda: engine.object_code(make(), machine)))


def _kernel_ir(source: str, kernel: Kernel, machine: Machine) -> str:
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
