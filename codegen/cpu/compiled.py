"""Object code of kernels and programs, made or taken from a store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import llvmlite

from blockfuse.codegen.cpu import native
from blockfuse.codegen.cpu.render import pointers
from blockfuse.codegen.kernel import Kernel
from blockfuse.codegen.machine import Machine
from blockfuse.codegen.store import Store


def kernel_code(kernel: Kernel, source: str, machine: Machine, store: Store) -> bytes:
    """Object code of a kernel whose source is ``source``; its symbol is ``kernel``."""
    return object_code(source, lambda: _kernel_ir(source, kernel, machine), machine, store)


def object_code(key_text: str, make: Callable[[], str], machine: Machine, store: Store) -> bytes:
    """Object code of the IR that ``make`` gives, from the store where it is there."""
    key = _key(key_text, machine)
    code = store.get(key)
    if code is None:
        code = native.object_code(make(), machine)
        store.put(key, code)
    return code


def _kernel_ir(source: str, kernel: Kernel, machine: Machine) -> str:
    from blockfuse.codegen.cpu import frontend  # Numba takes longer to import than a cached program to load

    return frontend.lowered(source, kernel.name, tuple(d for _, d in pointers(kernel)), machine)


def _key(text: str, machine: Machine) -> str:
    return hashlib.sha256("\0".join((text, machine.features, _generator_version())).encode()).hexdigest()


@lru_cache
def _generator_version() -> str:
    """Changes with any file of the code generator, with llvmlite and with numba (asked without importing it)."""
    digest = hashlib.sha256(f"{llvmlite.__version__} {metadata.version('numba')}".encode())
    for path in sorted(Path(__file__).parent.parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
