"""What a program asks of a device: memory, copies, launches in order. ``driver.py`` asks CUDA, tests and simulator NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy

if TYPE_CHECKING:  # importing blockfuse imports this file, and should not take long
    from blockfuse.codegen.cuda.source.device_source import DeviceSource
    from blockfuse.codegen.kernels.kernel import Kernel
    from blockfuse.codegen.kernels.machine import Machine
    from blockfuse.codegen.store import Store


class Memory(Protocol):
    """Memory of the device; it is given back when the object goes."""

    @property
    def address(self) -> int: ...


class Resident(NamedTuple):  # several are made at every call: a tenth of the time of a frozen dataclass
    """An array in the device's memory, in C order."""

    address: int
    shape: tuple[int, ...]
    dtype: numpy.dtype
    stream: int | None  # the handle of the stream that others use for it; None: nobody need wait
    owner: Any  # what keeps the memory


ALIGNMENT_BYTES = 256  # what the device's own allocations have
Value = numpy.ndarray | Resident
# Makes an array: its address, and what keeps it.
Make = Callable[[tuple[int, ...], numpy.dtype], tuple[int, Any]]


class Loaded(Protocol):
    """A kernel that can be launched. scratch: bytes of memory that it needs for each row, behind the other pointers."""

    @property
    def scratch(self) -> int: ...


class Launcher(Protocol):
    """Where launches go."""

    def launch(self, kernel: Any, addresses: Sequence[int], rows: int) -> None:
        """Run ``kernel``, one that the device loaded, over ``rows`` rows."""


class Queue(Launcher, Protocol):
    """Work that is done in order. Only ``finish`` and ``download`` wait for it.

    All methods raise ``CudaError`` where the device fails; memory that it cannot give is ``DeviceMemoryError``.
    """

    @property
    def stream(self) -> int:
        """The handle by which other libraries can wait for this queue."""

    def allocate(self, nbytes: int) -> Memory:
        """Memory, aligned to ``ALIGNMENT_BYTES``, for work of this queue from now on."""

    def upload(self, target: int, source: numpy.ndarray) -> None:
        """Copy bytes to the device. ``source`` stays as it is until the copy is done."""

    def download(self, target: numpy.ndarray, source: int) -> None:
        """Copy bytes from the device, and wait for them."""

    def copy(self, target: int, source: Resident) -> None:
        """Copy an array within the device."""

    def captured(self, work: Callable[[Launcher], None]) -> Callable[[], None]:
        """The launches of ``work``, which are not run now, as one call that runs them all."""

    def follow(self, stream: int) -> None:
        """What comes from now on waits for what ``stream`` has."""

    def lead(self, stream: int) -> None:
        """What ``stream`` gets from now on waits for what this queue has."""

    def finish(self) -> None:
        """Wait until all work is done."""


class Device(Protocol):
    """A device that programs run on."""

    @property
    def name(self) -> str: ...

    @property
    def number(self) -> int: ...

    @property
    def machine(self) -> Machine: ...

    @property
    def precisions(self) -> tuple[str, ...]:
        """What its products of float32 matrices may be asked to have."""

    @property
    def copies(self) -> Queue:
        """A queue for copies that Python waits for."""

    def check(self) -> None:
        """Complain (``DeviceLostError``) where this process cannot use the device any more."""

    def finish(self) -> None:
        """Wait for the work of all queues."""

    def render(self, kernel: Kernel, wide: bool, alone: bool) -> DeviceSource:
        """The source of a kernel; see ``codegen/cuda/render.py``."""

    def load(self, kernel: Kernel, source: DeviceSource, store: Store, precision: str) -> Loaded:
        """``kernel``, rendered as ``source``, by whom it suits; raises NoDeviceKernelError where it cannot be had.

        precision: that products of float32 matrices may have.
        """

    def compiled(self, source: DeviceSource, store: Store) -> Loaded:
        """A kernel of ours; raises NoDeviceKernelError where it does not compile."""

    def queue(self) -> Queue:
        """A new queue."""

    def pinned(self, nbytes: int) -> numpy.ndarray:
        """Bytes of the host that the device copies quickly."""

    def exported(self, array: Resident, **options: Any) -> Any:
        """A DLPack capsule of an array."""

    def imported(self, value: Any) -> Resident | None:
        """The array behind an object with ``__dlpack__``; None where it does not lie in C order."""
