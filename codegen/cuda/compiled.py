"""Cubins of kernels, made or taken from a store."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from blockfuse.codegen.cuda.source import DeviceSource
from blockfuse.codegen.machine import Machine
from blockfuse.codegen.store import Store

_PACKAGES = (
    *("numba", "numba-cuda", "cuda-core", "nvidia-nvvm", "nvidia-nvjitlink"),
    *("nvidia-cuda-nvcc-cu12", "nvidia-nvjitlink-cu12"),
)


def cubin(source: DeviceSource, machine: Machine, store: Store) -> bytes:
    """Machine code with an entry for each stage, by the name that ``Stage.entry`` tells."""
    key = _key(source, machine)
    code = store.get(key)
    if code is None:
        from blockfuse.codegen.cuda import frontend  # Numba takes longer to import than a cubin to load

        code = frontend.linked(source, machine)
        store.put(key, code)
    return code


def _key(source: DeviceSource, machine: Machine) -> str:
    parts = (repr(source), machine.name, machine.features, _generator_version())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@lru_cache
def _generator_version() -> str:
    """Changes with any file of the code generator and with every package that compiles (asked without importing it)."""
    digest = hashlib.sha256(" ".join(map(_version, _PACKAGES)).encode())
    for path in sorted(Path(__file__).parent.parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
