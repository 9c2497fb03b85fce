"""A schedule as something that runs on a device: kernels loaded, memory planned, parameters in their places.

NOTE [one call at a time]
A program has one queue, one place for its values, and launches that were captured for fixed addresses, so it runs one call
at a time: a second caller waits. Calls of different programs run beside each other.

NOTE [captured launches]
The launches of a piece are captured as one graph for the addresses that they had, when these come back: most callers give
the same few arrays, or NumPy's, which always lie in the same place. Addresses that are new are launched one by one, which
is as right and takes a few microseconds each.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import numpy

from blockfuse.codegen.cuda.device.device import Device, Launcher, Loaded, Make, Resident, Value
from blockfuse.codegen.cuda.program.call_memory import Key, Parameters, Room, Table
from blockfuse.codegen.cuda.program.host_kernels import on_host
from blockfuse.codegen.cuda.program.plan import WIDE, Piece, Plan, layout, plan
from blockfuse.codegen.cuda.program.regions import END, Region
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.scheduling.buffers import BufferKind
from blockfuse.codegen.scheduling.host_calls import around_calls, host_result
from blockfuse.codegen.scheduling.schedule import BlockSchedule, Schedule
from blockfuse.codegen.scheduling.steps import HostCall, Launch, Pointer
from blockfuse.codegen.store import Store
from blockfuse.codegen.validity import Validity
from blockfuse.codegen.variants import Size, Team, Variant
from blockfuse.ir.errors import CudaError, DeviceLostError, DeviceMemoryError, NoDeviceKernelError

_SIZES = 8  # of the batch with memory for a call; the one used longest ago goes


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
        self.plan, self._kernels, self._regions = _loaded(schedule, device, store, precision)
        self._host = {k: on_host(k, store) for k in self.plan.reasons}
        self._queue = device.queue()
        self._arguments = self.plan.buffers(BufferKind.ARGUMENT)
        growing = (place for place, (_, buffer) in enumerate(self._arguments) if buffer.rows_per_item)
        self._growing = next(growing, None)  # the first argument that tells how many items a batch has
        self._parameters = Parameters(self.plan, self._queue)
        self._rooms: OrderedDict[int, Room] = OrderedDict()  # items of the batch -> memory of a call
        self._lock = threading.RLock()
        self.uncaptured = ""  # why launches are not captured, if that failed
        self.validity = Validity(numpy.zeros(1, numpy.int64))
        self._proven: set[Variant] = set()
        self.served = [0]  # calls of the entry

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

    teams = (Team.AS_IT_IS,)

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
        team: Team = Team.AS_IT_IS,  # noqa: ARG002 - the protocol's
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
            room = self._room(items)
            table = room.table.copy()
            streams, stay_on_device = self._give(arguments, room, table)
            made = room.made(self._queue, make, table) if stay_on_device else []
            if not self._drive(table, room):
                return None
            if stay_on_device:
                room.check_fault(self._queue)
            for stream in streams:
                self._queue.lead(stream)
            return made if stay_on_device else room.results(self._queue)

    def _room(self, items: int) -> Room:
        found = self._rooms.get(items)
        if found is None:
            if len(self._rooms) >= _SIZES:
                self._queue.finish()
                self._rooms.popitem(last=False)
            found = self._rooms[items] = self._new_room(items)
        self._rooms.move_to_end(items)
        return found

    def _new_room(self, items: int) -> Room:
        space = layout(self.plan, items, self._scratch(items))
        try:
            return Room(self.plan, items, space, self._parameters, self.device, self._queue)
        except DeviceMemoryError:
            if not self._rooms:
                raise
        self._queue.finish()
        self._rooms.clear()
        return Room(self.plan, items, space, self._parameters, self.device, self._queue)

    def _scratch(self, items: int) -> int:
        """Bytes for the launch that borrows most; raises CudaError where a batch has more rows than a kernel can count."""
        needed = max((kernel.scratch for _, kernel in self._regions.values()), default=0)
        for place, kernel in self._kernels.items():
            rows, (named, source) = self.plan.rows(place, items), self.plan.rendered[place]
            if rows > source.max_rows:
                raise CudaError(f"{rows} rows are too many for {named.name} on a device: use smaller batches")
            needed = max(needed, kernel.scratch * rows)
        return needed

    def _give(self, arguments: Sequence[Value], room: Room, table: Table) -> tuple[set[int], bool]:
        """Put arguments where kernels find them; the streams that others use for some, and whether any is on the device."""
        streams: set[int] = set()
        residents = []
        for (number, _), array in zip(self._arguments, arguments, strict=True):
            if isinstance(array, Resident):
                residents.append((number, array))
                if array.stream is not None and array.stream != self._queue.stream:
                    streams.add(array.stream)
            else:
                room.stage(number, array, self._queue)
        for stream in streams:
            self._queue.follow(stream)
        if len(residents) < len(arguments):
            room.upload(self._queue)
        for number, array in residents:
            if array.address % WIDE:
                self._queue.copy(table[number], array)
            else:
                table[number] = array.address
        return streams, bool(residents)

    # -- steps -----------------------------------------------------------------------------------------------

    def _drive(self, table: Table, room: Room) -> bool:
        """The blocks in the order that their decisions say; whether an end was reached."""
        place: int | None = 0
        while place is not None and place != END:
            if place in self._regions:
                place = self._run_region(place, table, room)
                continue
            block = self.plan.schedule.blocks[place]
            for number in self.plan.block_pieces[place]:
                self._run_piece(number, table, room)
            if block.predicate is not None:
                room.check_fault(self._queue)
            decision = self._decision(block, table)
            for one, other in block.stores:
                table[one], table[other] = table[other], table[one]
            place = END if block.successors is None else block.successors[0 if decision else 1]
        return place is not None

    def _run_region(self, place: int, table: Table, room: Room) -> int | None:
        """A region from one of its blocks on; what comes next, see ``Region.following``."""
        region, kernel = self._regions[place]
        addresses = [*self._addresses(region.pointers, table), room.scratch]
        self._queue.launch(kernel, addresses, region.blocks.index(place))
        if place in region.unread:
            return END
        words = numpy.empty(region.words, numpy.uint32)
        self._queue.download(words, room.scratch)
        word, *memories = words.tolist()
        before = [table[number] for number in region.exchanged]
        for number, memory in zip(region.exchanged, memories, strict=True):
            table[number] = before[memory]
        return region.following(word)

    def _decision(self, block: BlockSchedule, table: Table) -> bool:
        if block.predicate is None:
            return False
        truth = numpy.empty(1, numpy.bool_)
        self._queue.download(truth, table[block.predicate])
        return bool(truth[0])

    def _run_piece(self, number: int, table: Table, room: Room) -> None:
        piece = self.plan.pieces[number]
        if piece.on_host:
            self._run_on_host(piece, table, room)
        elif len(piece.steps) == 1:
            self._launch(piece, table, room, self._queue)
        else:
            key = tuple([table[n] for n in piece.moving])
            graph = room.graphs[number].found(key)
            if graph is not None:
                graph()
            elif room.graphs[number].came_back(key) and not self.uncaptured:
                self._capture(number, key, table, room)
            else:
                self._launch(piece, table, room, self._queue)

    def _capture(self, number: int, key: Key, table: Table, room: Room) -> None:
        """Make a graph of the launches of a piece, and run it; or else run them as they are."""
        piece = self.plan.pieces[number]
        try:
            graph = self._queue.captured(lambda queue: self._launch(piece, table, room, queue))
        except (DeviceLostError, DeviceMemoryError):
            raise
        except CudaError as error:
            self.uncaptured = str(error)
            self._launch(piece, table, room, self._queue)
            return
        room.graphs[number].keep(key, graph)
        graph()

    def _launch(self, piece: Piece, table: Table, room: Room, queue: Launcher) -> None:
        for place in piece.steps:
            step = self.plan.schedule.steps[place]
            assert isinstance(step, Launch)
            kernel = self._kernels[place]
            addresses = self._addresses(step.pointers, table)
            if kernel.scratch:
                addresses.append(room.scratch)
            queue.launch(kernel, addresses, self.plan.rows(place, room.items))

    def _addresses(self, pointers: Sequence[Pointer], table: Table) -> list[int]:
        buffers = self.plan.schedule.buffers
        return [table[p.buffer] + p.offset * buffers[p.buffer].type.dtype.itemsize for p in pointers]

    def _run_on_host(self, piece: Piece, table: Table, room: Room) -> None:
        """One step by the processor: its values come from the device, and its result goes back.

        A kernel may write a part of its result's memory; an operator makes all of it, and one that reads nothing waits for
        nothing.
        """
        room.check_fault(self._queue)
        (place,) = piece.steps
        step = self.plan.schedule.steps[place]
        if isinstance(step, HostCall):
            result, read = step.result, {number for number, _ in step.operands}
            arrays = {number: self._downloaded(number, table, room) for number in read}
            arrays[result] = host_result(step, arrays)
        else:
            assert isinstance(step, Launch)
            result = step.pointers[-1].buffer
            arrays = {number: self._downloaded(number, table, room) for number in piece.buffers}
            addresses = [
                arrays[p.buffer].ctypes.data + p.offset * arrays[p.buffer].itemsize for p in step.pointers
            ]
            self._host[step.kernel].launch(addresses, self.plan.rows(place, room.items))
            if step.kernel.has_fault:
                (fault,) = (n for n in piece.buffers if n == self.plan.schedule.fault)
                self._queue.upload(table[fault], arrays[fault])
        self._queue.upload(table[result], arrays[result])

    def _downloaded(self, number: int, table: Table, room: Room) -> numpy.ndarray:
        buffer = self.plan.schedule.buffers[number]
        array = numpy.empty(buffer.shape_for(room.items), buffer.type.dtype)
        self._queue.download(array, table[number])
        return array


def _loaded(
    schedule: Schedule, device: Device, store: Store, precision: str
) -> tuple[Plan, dict[int, Loaded], dict[int, tuple[Region, Loaded]]]:
    """The plan, the kernel of each launch on the device, and of each block the region that it is in.

    Kernels that cannot be compiled are left to the processor, regions are launched kernel by kernel.
    """
    refused: dict[Kernel, str] = {}
    kernels: dict[DeviceSource, Loaded] = {}
    single = ""
    while True:
        found, known = plan(schedule, device.machine, device.render, refused, single), (len(refused), single)
        for kernel, source in dict.fromkeys(found.rendered.values()):
            try:
                kernels[source] = kernels.get(source) or device.load(kernel, source, store, precision)
            except NoDeviceKernelError as error:
                refused[kernel] = str(error)
        try:
            regions = [(region, device.compiled(region.source, store)) for region in found.regions]
        except NoDeviceKernelError as error:
            single = str(error)
        if (len(refused), single) == known:
            launched = {place: kernels[source] for place, (_, source) in found.rendered.items()}
            return found, launched, {number: pair for pair in regions for number in pair[0].blocks}
