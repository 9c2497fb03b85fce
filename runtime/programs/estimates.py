"""How long a call takes on the processor and on a device, as far as a schedule tells: what ``backend="auto"`` goes by.

A schedule says how many nanoseconds each launch needs on one core, and how large what goes in and out is. The rest are the
constants below: rounded, for a device of a data centre behind PCIe 5, and meant to be wrong in favour of the processor.
"""

from __future__ import annotations

from dataclasses import dataclass

from blockfuse.codegen.kernels.cost import PARALLEL_WORK
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.scheduling.steps import HostCall

TRANSFER = 50.0  # bytes a nanosecond between host and device
CALL = 15_000.0  # nanoseconds to start copies and launches, and to wait for the end
BOUNDARY = 1_000.0  # nanoseconds between two launches that depend on each other
CORES = 100.0  # how many cores with AVX-512 compute as fast as a device does in float32
ROUND_TRIP = 20_000.0  # nanoseconds for values to reach the host and come back


@dataclass(frozen=True)
class Estimate:
    """Nanoseconds a call from arrays of the host, and how many of them are copies to and from the device."""

    processor: float
    device: float
    copies: float

    @property
    def favours_device(self) -> bool:
        return self.device < self.processor

    def __str__(self) -> str:
        times = [f"{n / 1000:.3g} us" for n in (self.device, self.copies, self.processor)]
        return f"a call from host memory: {times[0]} on the device ({times[1]} of it copies), {times[2]} on the processor"


def estimate(schedule: Schedule, threads: int, items: int = 0) -> Estimate:
    """For a schedule of the processor. items: of the batch, where the schedule is for any number of them."""
    from blockfuse.codegen.cuda.program.region_choice import read_by_host  # brings the renderer

    grown = items / schedule.batch if schedule.batch and items else 1.0
    native = [s for s in schedule.steps if not isinstance(s, HostCall)]
    hosted = len(schedule.steps) - len(native)
    work = [s.work * (grown if s.grows else 1.0) for s in native]
    launched = [launch.work * (grown if launch.grows else 1.0) for launch in schedule.launches]
    moved = [b for b in schedule.buffers if b.kind.is_of_call]
    copies = sum(b.type.nbytes * (grown if b.rows_per_item else 1.0) for b in moved) / TRANSFER
    processor = sum(w / threads if w > PARALLEL_WORK else w for w in work)
    device = CALL + copies + sum(max(w / CORES, BOUNDARY) for w in launched) + hosted * ROUND_TRIP
    return Estimate(processor, device + read_by_host(schedule) * ROUND_TRIP, copies)
