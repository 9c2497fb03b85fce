"""The backend of a process: which machine to compile for, where code is kept, how a schedule becomes something that runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from blockfuse.array.modes import UNUSUAL
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.machine import Machine
from blockfuse.codegen.schedule import Schedule
from blockfuse.ir.errors import UsageError
from blockfuse.runtime import config
from blockfuse.runtime.cache import DiskCache

if TYPE_CHECKING:
    from blockfuse.codegen.cpu.executable import Executable

BACKENDS = ("auto", "cpu")


@dataclass(frozen=True)
class Backend:
    """One way to run schedules."""

    name: str
    machine: Machine
    store: DiskCache

    def load(self, schedule: Schedule) -> Executable:
        """The schedule, compiled or taken from the cache, in memory."""
        from blockfuse.codegen.cpu.executable import (
            Executable,
        )  # brings llvmlite: only who compiles pays for it

        keep = config.kept_bytes()
        return Executable(schedule, self.machine, self.store, ndarray, UNUSUAL, keep)

    def quicken(self, cls: type) -> None:
        """Let calls of instances of ``cls``, whose ``__call__`` asks ``_entry`` first, do that without a Python frame."""
        from blockfuse.codegen.cpu.executable import quicken

        quicken(cls, self.machine, self.store)


@lru_cache
def cache() -> DiskCache:
    """The cache of this process."""
    return DiskCache(config.cache_folder())


def check(name: str, threads: int | None) -> None:
    """Complain about a backend or a number of threads that cannot be."""
    if name not in BACKENDS:
        raise UsageError(f"there is no backend {name!r}; there are {', '.join(BACKENDS)}")
    if threads is not None and (type(threads) is not int or threads < 1):
        raise UsageError(f"threads is {threads!r}; it must be a whole number from 1 on")


def backend(name: str = "auto", threads: int | None = None) -> Backend:
    """The backend of that name, using at most ``threads`` threads."""
    check(name, threads)
    from blockfuse.codegen.cpu import isa  # brings llvmlite, see Backend.load

    return Backend("cpu", isa.machine(config.isa_level(), threads or config.threads()), cache())
