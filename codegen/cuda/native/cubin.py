"""Cubins of kernels, made or taken from a store."""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata

from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.store import Store, generator_version, kept

_PACKAGES = (
    *("numba", "numba-cuda", "cuda-core", "nvidia-nvvm", "nvidia-nvjitlink"),
    *("nvidia-cuda-nvcc-cu12", "nvidia-nvjitlink-cu12"),
)


def cubin(source: DeviceSource, machine: Machine, store: Store) -> bytes:
    """Machine code with an entry for each stage, by the name that ``Stage.entry`` tells."""
    parts = (repr(source), machine.name, machine.features, _packages(), generator_version("cuda"))
    return kept(store, parts, lambda: _linked(source, machine))


def _linked(source: DeviceSource, machine: Machine) -> bytes:
    from blockfuse.codegen.cuda.native import frontend

    return frontend.linked(source, machine)


@lru_cache
def _packages() -> str:
    """The versions of all that compiles (asked without importing it)."""
    return " ".join(map(_version, _PACKAGES))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
