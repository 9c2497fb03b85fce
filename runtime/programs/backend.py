"""The backend of a process: which machine to compile for, where code is kept, how a schedule becomes something that runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy

from blockfuse.array.modes import UNUSUAL
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.compiler_thread import in_compiler_thread, is_interrupted
from blockfuse.codegen.cuda.device.probe import is_installed, probe
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.validity import Validity
from blockfuse.codegen.variants import ExecutionPolicy, Variant
from blockfuse.ir.argument_parts import Part
from blockfuse.ir.comparisons import Comparison
from blockfuse.ir.errors import CudaError, UsageError
from blockfuse.ir.tensor_border import TensorBorder
from blockfuse.ir.written import Registries, Written
from blockfuse.runtime import config
from blockfuse.runtime.programs.disk_cache import DiskCache
from blockfuse.runtime.programs.estimates import Estimate, estimate
from blockfuse.runtime.programs.number_arguments import Convert

if TYPE_CHECKING:
    from blockfuse.codegen.cuda.device.device import Device

BACKENDS = ("auto", "cpu", "cuda")
# precision, of the operands of float32 products -> the backends that have it
PRECISIONS = {
    "float32": BACKENDS,
    "tf32": ("cuda",),
    "bf16": BACKENDS,
    "int8": ("auto", "cpu"),
}


Entry = Callable[..., Any]  # of positional arguments; answers NotImplemented where dispatch must take over
FastCall = Callable[[Any, Any], Any]  # the same of args and kwargs


class Plan(Protocol):
    """What is known of a program before it is loaded."""

    @property
    def sources(self) -> tuple[str, ...]: ...


class Executable(Protocol):
    """A loaded program; see the ones of ``codegen/cpu`` and ``codegen/cuda``."""

    @property
    def plan(self) -> Plan: ...

    @property
    def validity(self) -> Validity: ...

    def bind(self, parameters: list[numpy.ndarray], /) -> None: ...
    def calls(self) -> int: ...
    def counter(self) -> Callable[[], int]: ...
    def run(
        self,
        arguments: list[Any],
        /,
        unproven: set[Variant] | None = None,
        policy: ExecutionPolicy = ExecutionPolicy.ADAPTIVE,
    ) -> list[Any] | None: ...

    @property
    def policies(self) -> tuple[ExecutionPolicy, ...]: ...
    def prove(self, variants: Iterable[Variant], /) -> None: ...


class NativeGuard(Protocol):
    """What native code looks at of the facts of a program."""

    @property
    def holds(self) -> Callable[[], bool]: ...

    @property
    def covered(self) -> frozenset[int]:
        """Which of the facts these are."""


class WritingEntry(Protocol):
    """An entry that writes, with everyone told who must know."""

    @property
    def call(self) -> Entry: ...

    def bind(self, written: Written, /) -> None:
        """It writes there from now on."""


class Backend(Protocol):
    """One way to run schedules."""

    @property
    def machine(self) -> Machine: ...

    @property
    def device(self) -> Device | None:
        """Where its programs run, if that is not the processor."""

    def load(self, schedule: Schedule, /) -> Executable:
        """The schedule, compiled or taken from the cache, in memory."""

    def entry(self, executable: Any, /) -> Callable[..., Any] | None:
        """What calls of an executable of this backend run first; None where they all go through Python."""

    def guard(self, executable: Any, facts: Sequence[Sequence[Comparison]], /) -> NativeGuard | None:
        """Let the entry of an executable look at facts, by these comparisons, where native code can; see NOTE [guards of
        facts].
        """

    def writing_entry(
        self, executable: Any, by_python: Entry, tell: Callable[[], None], /
    ) -> WritingEntry | None:
        """The entry of an executable that writes, where native code can tell who must know; see NOTE [telling of writes]."""

    def fast_call(
        self,
        parts: Sequence[Part],
        named: bool,
        entry: Entry,
        convert: Convert | None,
        made: int,
        registries: Registries | None = None,
        /,
    ) -> FastCall | None:
        """A function of ``(args, kwargs)`` for calls of one form; see NOTE [forms of calls].

        registries: where some parts take results.
        """

    def quicken(self, cls: type, /) -> None:
        """Let calls of instances of ``cls``, whose ``__call__`` asks ``_entry`` first, do that without a Python frame."""

    def tensor_call(self, owner: Any, border: TensorBorder, /) -> Entry | None:
        """What takes calls with tensors and asks ``owner._entry``; None where Python must: NOTE [calls with tensors]."""

    def find_device(self) -> Device | None:
        """Where arrays of other libraries may lie."""

    def estimate(self, schedule: Schedule, items: int, /) -> Estimate | None:
        """What decides between the processor and a device, where there is something to decide. items: of the batch."""

    def rival(self) -> Backend | None:
        """The backend of a device to which a schedule for the processor may move."""


@dataclass(frozen=True)
class CpuBackend:
    """Schedules on the processor. moves: where a device does better, they may go there."""

    machine: Machine
    store: DiskCache
    moves: bool = False
    device = None

    def load(self, schedule: Schedule) -> Executable:
        return in_compiler_thread(lambda: self._load(schedule))

    def _load(self, schedule: Schedule) -> Executable:
        # Brings llvmlite: only who compiles pays.
        from blockfuse.codegen.cpu.program.executable import Executable

        keep = config.kept_bytes()
        return Executable(schedule, self.machine, self.store, ndarray, UNUSUAL, keep)

    def fast_call(
        self,
        parts: Sequence[Part],
        named: bool,
        entry: Entry,
        convert: Convert | None,
        made: int,
        registries: Registries | None = None,
    ) -> FastCall | None:
        from blockfuse.codegen.cpu.program.executable import fast_call

        around = self.machine, self.store, ndarray, UNUSUAL, registries
        return fast_call(parts, named, entry, convert, made, *around)

    def quicken(self, cls: type) -> None:
        from blockfuse.codegen.cpu.program.executable import quicken

        if not is_interrupted():
            quicken(cls, self.machine, self.store)

    def tensor_call(self, owner: Any, border: TensorBorder) -> Entry | None:
        from blockfuse.codegen.cpu.program.executable import tensor_call

        return in_compiler_thread(lambda: tensor_call(owner, border, self.machine, self.store, ndarray))

    def entry(self, executable: Any) -> Callable[..., Any] | None:
        found: Callable[..., Any] | None = executable.entry
        return found

    def guard(self, executable: Any, facts: Sequence[Sequence[Comparison]]) -> NativeGuard | None:
        found: NativeGuard | None = executable.guard(facts)
        return found

    def writing_entry(
        self, executable: Any, by_python: Entry, tell: Callable[[], None]
    ) -> WritingEntry | None:
        found: WritingEntry | None = executable.writing_entry(by_python, tell)
        return found

    def find_device(self) -> Device | None:
        rival = self.rival()
        return None if rival is None else rival.device

    def estimate(self, schedule: Schedule, items: int) -> Estimate | None:
        return estimate(schedule, self.machine.threads, items) if self.moves and is_installed() else None

    def rival(self) -> CudaBackend | None:
        if not (self.moves and is_installed()):
            return None
        try:
            return CudaBackend(cuda_device(), cache())
        except CudaError:
            return None


@dataclass(frozen=True)
class CudaBackend:
    """Schedules on a CUDA device. precision: of the products of float32 matrices."""

    device: Device
    store: DiskCache
    precision: str = "float32"

    @property
    def machine(self) -> Machine:
        return self.device.machine

    def load(self, schedule: Schedule) -> Executable:
        from blockfuse.codegen.cuda.program.executable import Executable  # brings the renderer

        return Executable(schedule, self.device, self.store, self.precision)

    def entry(self, executable: Any) -> Callable[..., Any] | None:
        from blockfuse.runtime.programs.device_calls import entry_of  # brings the same

        return entry_of(executable)

    def guard(self, executable: Any, facts: Sequence[Sequence[Comparison]]) -> None:
        """Its entry is Python, which looks itself."""

    def writing_entry(self, executable: Any, by_python: Entry, tell: Callable[[], None]) -> None:
        """The same."""

    def fast_call(
        self,
        parts: Sequence[Part],
        named: bool,
        entry: Entry,
        convert: Convert | None,
        made: int,
        registries: Registries | None = None,
    ) -> FastCall | None:
        return _host(self.store).fast_call(parts, named, entry, convert, made, registries)

    def quicken(self, cls: type) -> None:
        """Calls reach a device through Python."""

    def tensor_call(self, owner: Any, border: TensorBorder) -> None:
        """The same."""

    def find_device(self) -> Device | None:
        return self.device

    def estimate(self, schedule: Schedule, items: int) -> Estimate | None:  # noqa: ARG002 - the protocol's
        return None

    def rival(self) -> Backend | None:
        return None


@dataclass(frozen=True)
class ShownBackend:
    """Schedules for a CUDA device that need not be here: they can be read, and do not run."""

    machine: Machine
    device = None

    def load(self, schedule: Schedule) -> Executable:
        from blockfuse.codegen.cuda.program.offline import Offline  # brings the renderer

        return Offline(schedule, self.machine)

    def entry(self, executable: Any) -> None:
        """Nothing runs."""

    def guard(self, executable: Any, facts: Sequence[Sequence[Comparison]]) -> None:
        """Nothing runs."""

    def writing_entry(self, executable: Any, by_python: Entry, tell: Callable[[], None]) -> None:
        """Nothing runs."""

    def fast_call(
        self,
        parts: Sequence[Part],
        named: bool,
        entry: Entry,
        convert: Convert | None,
        made: int,
        registries: Registries | None = None,
    ) -> None:
        """Nothing runs."""

    def quicken(self, cls: type) -> None:
        """Nothing runs."""

    def tensor_call(self, owner: Any, border: TensorBorder) -> None:
        """Nothing runs."""

    def find_device(self) -> None:
        """There is none."""

    def estimate(self, schedule: Schedule, items: int) -> None:
        """There is nothing to decide."""

    def rival(self) -> None:
        """There is none."""


@lru_cache
def cache() -> DiskCache:
    """The cache of this process."""
    return DiskCache(config.cache_folder())


def check(name: str, threads: int | None, precision: str) -> None:
    """Complain about a backend that cannot be: an unknown one, a number of threads, a device that is not there."""
    if name not in BACKENDS:
        raise UsageError(f"there is no backend {name!r}; there are {', '.join(BACKENDS)}")
    config.require_threads(threads)
    if precision not in PRECISIONS:
        raise UsageError(f"there is no precision {precision!r}; there are {', '.join(PRECISIONS)}")
    if name not in PRECISIONS[precision]:
        others = " or ".join(map(repr, PRECISIONS[precision]))
        raise UsageError(f"precision={precision!r} is for backend={others}")
    if name == "cuda" and precision not in cuda_device().precisions:
        raise CudaError(
            f"precision={precision!r} needs cuBLASLt, which was not found: pip install 'blockfuse[cuda-blas]'"
        )


def backend(name: str = "auto", threads: int | None = None, precision: str = "float32") -> Backend:
    """The backend of that name. threads: of the processor, at most. precision: of the operands of float32 products, of which
    a processor narrows weights; ``"auto"`` stays there where it is not float32.
    """
    check(name, threads, precision)
    if name == "cuda":
        return CudaBackend(cuda_device(), cache(), precision)
    return _host(cache(), threads, name == "auto" and precision == "float32", precision)


def _host(
    store: DiskCache, threads: int | None = None, moves: bool = False, weights: str = "float32"
) -> CpuBackend:
    return CpuBackend(_processor(config.isa_level(), config.threads(threads), weights), store, moves)


@lru_cache
def _processor(level: str, threads: int, weights: str) -> Machine:
    def found() -> Machine:
        from blockfuse.codegen.cpu.native import isa

        return isa.machine(level, threads, weights)

    return in_compiler_thread(found)


def shown(name: str) -> Backend:
    """The backend of that name for looking at: CUDA's needs no device."""
    if name != "cuda":
        return backend(name)
    from blockfuse.codegen.cuda.native import isa

    return ShownBackend(isa.machine(config.cuda_architecture() or _capability()))


def _capability() -> tuple[int, int]:
    """That of the device, or of an H100 where there is none."""
    try:
        return probe().capability
    except CudaError:
        return 9, 0


@lru_cache
def cuda_device() -> Device:
    """The CUDA device of this process; raises CudaError where there is none that can be used."""
    found = probe()
    # Brings CUDA's packages, which the probe has found.
    from blockfuse.codegen.cuda.device.driver import CudaDevice

    return CudaDevice(found)
