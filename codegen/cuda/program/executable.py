"""A schedule as something that runs on a device: kernels loaded, memory planned, parameters copied to their addresses.

NOTE [one call at a time]
A program has one queue, one memory for its values, and launches that were captured for fixed addresses, so it runs one call
at a time: a second caller waits. Calls of different programs run beside each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import numpy

from blockfuse.codegen.cuda.device.device import Device, Make, Resident, Value
from blockfuse.codegen.cuda.program.call_memory import CallMemories, CallMemory, Parameters, Table
from blockfuse.codegen.cuda.program.loading import loaded
from blockfuse.codegen.cuda.program.plan import WIDE_ACCESS_BYTES
from blockfuse.codegen.cuda.program.step_runner import StepRunner
from blockfuse.codegen.scheduling.buffers import BufferKind
from blockfuse.codegen.scheduling.host_calls import around_calls
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.store import Store
from blockfuse.codegen.validity import Validity
from blockfuse.codegen.variants import ExecutionPolicy, Size, Variant
from blockfuse.ir.errors import CudaError


class Executable:
    """A loaded program.

    ``run`` takes and gives arrays of the host or the device. ``bind`` gives it parameters, before the first call and
    whenever they change. What calls run first is the runtime's: it asks ``validity``, and counts in ``served``.
    """

    def __init__(self, schedule: Schedule, device: Device, store: Store, precision: str = "float32") -> None:
        """precision: of the products of float32 matrices, as the device's providers name it."""
        device.check()
        self.device, self.precision = device, precision
        self._around = around_calls(schedule)
        self._program = loaded(schedule, device, store, precision)
        self.plan = self._program.plan
        self._queue = device.queue()
        self._arguments = self.plan.buffers(BufferKind.ARGUMENT)
        growing = (number for number, (_, buffer) in enumerate(self._arguments) if buffer.rows_per_item)
        self._growing = next(growing, None)  # the first argument that tells how many items a batch has
        self._parameters = Parameters(self.plan, self._queue)
        self._memories = CallMemories(self.plan, self._parameters, device, self._queue)
        self._runner = StepRunner(self._program, self._queue)
        self._lock = threading.RLock()
        self.validity = Validity(numpy.zeros(1, numpy.int64))
        self._proven: set[Variant] = set()
        self.served = [0]  # calls of the entry

    @property
    def uncaptured(self) -> str:
        """Why launches are not captured, if that failed."""
        return self._runner.uncaptured

    def __del__(self) -> None:
        """Kernels and memory that work of the queue may still use must not go before it is done."""
        queue = getattr(self, "_queue", None)
        if queue is not None:
            with suppress(CudaError):
                self.device.check()
                queue.finish()

    # -- binding ---------------------------------------------------------------------------------------------

    def bind(self, parameters: Sequence[numpy.ndarray]) -> None:
        """Use the values of these arrays (C-contiguous, in the order of ``schedule.parameters``) from now on."""
        self.device.check()  # before the lock, which a fork may have left held
        with self._lock:
            for (number, _), array in zip(self.plan.buffers(BufferKind.PARAMETER), parameters, strict=True):
                # Calls that have not run yet come first in the queue.
                if number in self._parameters.addresses:
                    self._queue.upload(self._parameters.addresses[number], array)
            self._queue.finish()

    def calls(self) -> int:
        """How often the entry ran."""
        return self.served[0]

    def counter(self) -> Callable[[], int]:
        """What tells how often the entry ran, also when this object is gone."""
        served = self.served
        return lambda: served[0]

    # -- running ---------------------------------------------------------------------------------------------

    policies = (ExecutionPolicy.ADAPTIVE,)

    def prove(self, variants: Iterable[Variant]) -> None:
        """From now on calls that take these run; see NOTE [variants]. Ways are not told apart on a device."""
        self._proven.update(variants)

    def is_proven(self, items: int) -> bool:
        """Whether a call with so many items of the batch takes a variant that was proven."""
        return not items or Size(items.bit_length()) in self._proven

    def run(
        self,
        arguments: Sequence[Value],
        unproven: set[Variant] | None = None,
        policy: ExecutionPolicy = ExecutionPolicy.ADAPTIVE,  # noqa: ARG002 - the protocol's
        make: Make | None = None,
    ) -> list[Value] | None:
        """Results for C-contiguous arguments of the recorded types; None where the flow is unknown.

        They are arrays of the device if an argument is one, in memory that ``make`` gives. unproven: takes the variants that
        ran and that nobody has proven. Raises FaultError where an operator met values for which it raises.
        """
        self.device.check()
        with self._lock, self._around():
            items = 0 if self._growing is None else arguments[self._growing].shape[0]
            if unproven is not None and not self.is_proven(items):
                unproven.add(Size(items.bit_length(), items=items))
            memory = self._memories.get(items, lambda: self._scratch(items))
            table = memory.table.copy()
            streams, stay_on_device = self._give(arguments, memory, table)
            made = memory.made(self._queue, make, table) if stay_on_device else []
            if not self._runner.drive(table, memory):
                return None
            if stay_on_device:
                memory.check_fault(self._queue)
            for stream in streams:
                self._queue.lead(stream)
            return made if stay_on_device else memory.results(self._queue)

    def _scratch(self, items: int) -> int:
        """Bytes for the launch that borrows most; raises CudaError where a batch has more rows than a kernel can count."""
        needed = max((kernel.scratch for _, kernel in self._program.regions.values()), default=0)
        for number, kernel in self._program.kernels.items():
            rows, (named, source) = self.plan.rows(number, items), self.plan.rendered[number]
            if rows > source.max_rows:
                raise CudaError(f"{rows} rows are too many for {named.name} on a device: use smaller batches")
            needed = max(needed, kernel.scratch * rows)
        return needed

    def _give(self, arguments: Sequence[Value], memory: CallMemory, table: Table) -> tuple[set[int], bool]:
        """Put arguments where kernels find them; the streams that others use for some, and whether any is on the device."""
        streams: set[int] = set()
        residents = []
        for (number, _), array in zip(self._arguments, arguments, strict=True):
            if isinstance(array, Resident):
                residents.append((number, array))
                if array.stream is not None and array.stream != self._queue.stream:
                    streams.add(array.stream)
            else:
                memory.stage(number, array, self._queue)
        for stream in streams:
            self._queue.follow(stream)
        if len(residents) < len(arguments):
            memory.upload(self._queue)
        for number, array in residents:
            if array.address % WIDE_ACCESS_BYTES:
                self._queue.copy(table[number], array)
            else:
                table[number] = array.address
        return streams, bool(residents)
