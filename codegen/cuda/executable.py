"""A schedule as something that runs on a device: kernels loaded, memory planned, parameters in their places.

NOTE [one call at a time]
A program has one space for its values, one queue, and launches that were captured for fixed addresses, so it runs one call
at a time: a second caller waits. Calls of different programs run beside each other.

NOTE [captured launches]
The launches of a piece are captured as one graph for the addresses that they had, when these come back: most callers give
the same few arrays, or NumPy's, which lie in the space. Addresses that are new are launched one by one, which is as right
and takes a few microseconds each.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy

from blockfuse.codegen.cuda.device import Device, Launcher, Loaded, Memory, Queue, Resident
from blockfuse.codegen.cuda.host import HostKernel
from blockfuse.codegen.cuda.plan import Piece, Plan, Space, nbytes_for, plan, rounded, space
from blockfuse.codegen.host import host_result
from blockfuse.codegen.kernel import Kernel
from blockfuse.codegen.schedule import BlockSchedule, HostCall, Launch, Schedule
from blockfuse.codegen.store import Store
from blockfuse.ir.errors import NoDeviceKernelError

_SIZES = 8  # of the batch with a space; the one used longest ago goes
_GRAPHS = 8  # of one piece; the same

Value = numpy.ndarray | Resident
Table = list[int]  # number of a buffer -> its address


class Executable:
    """A loaded program.

    ``run`` takes and gives arrays of the host or the device. ``bind`` gives it parameters, before the first call and
    whenever they change. ``entry`` is what calls run first; who makes the executable sets it.
    """

    def __init__(self, schedule: Schedule, device: Device, store: Store, precision: str = "float32") -> None:
        """precision: of the products of float32 matrices, as the device's providers name it."""
        device.check()
        self.device, self.precision = device, precision
        self.plan, self._kernels = _loaded(schedule, device, store, precision)
        self._host = {k: HostKernel(k, device.machine, store) for k in self.plan.reasons}
        self._queue = device.queue()
        self._places, size = _parameter_places(self.plan)
        self._parameters = self._queue.allocate(size)
        self._spaces: OrderedDict[int, _Space] = OrderedDict()  # items -> space
        self._graphs = [_Graphs() for _ in self.plan.pieces]
        self._lock = threading.RLock()
        self.entry: Callable[..., object] | None = None
        self.valid = False
        self.served = [0]  # calls of the entry

    # -- binding ---------------------------------------------------------------------------------------------

    def bind(self, parameters: Sequence[numpy.ndarray]) -> None:
        """Use the values of these arrays (C-contiguous, in the order of ``schedule.parameters``) from now on."""
        with self._lock:
            self.device.check()
            self._queue.finish()  # a call without the host may still read the present ones
            for (number, _), array in zip(self.plan.buffers("parameter"), parameters, strict=True):
                self._queue.upload(self._parameters.address + self._places[number], array)
            self._queue.finish()

    def allow(self, valid: bool) -> None:
        """Let the entry run (True) or send every call through Python (False)."""
        self.valid = valid

    def calls(self) -> int:
        """How often the entry ran."""
        return self.served[0]

    def counter(self) -> Callable[[], int]:
        """What tells how often the entry ran, also when this object is gone."""
        served = self.served
        return lambda: served[0]

    # -- running ---------------------------------------------------------------------------------------------

    def run(self, arguments: Sequence[Value]) -> list[Value] | None:
        """Results for C-contiguous arguments of the recorded types; None where the flow is unknown.

        They are arrays of the device if an argument is one.
        """
        with self._lock:
            self.device.check()
            items = self._items(arguments)
            room = self._space_for(items)
            table = room.table(self._parameters.address, self._places)
            streams = self._give(arguments, room, table)
            stays = any(isinstance(a, Resident) for a in arguments)
            memory = self._result_memory(items, table) if stays else []
            if not self._drive(items, table, room):
                return None
            if not stays:
                return room.results(self._queue)
            for stream in streams:
                self._queue.lead(stream)
            return self._residents(items, table, memory)

    def _items(self, arguments: Sequence[Value]) -> int:
        """How many items the batch has, where the schedule is for any number."""
        given = zip(self.plan.buffers("argument"), arguments, strict=True)
        return next((array.shape[0] for (_, buffer), array in given if buffer.share), 0)

    def _space_for(self, items: int) -> _Space:
        found = self._spaces.get(items)
        if found is None:
            if len(self._spaces) >= _SIZES:
                self._queue.finish()
                self._spaces.popitem(last=False)
            found = self._spaces[items] = _Space(
                self.plan, items, self._scratch(items), self.device, self._queue
            )
        self._spaces.move_to_end(items)
        return found

    def _scratch(self, items: int) -> int:
        launches = [
            s for s in self.plan.schedule.steps if isinstance(s, Launch) and s.kernel in self._kernels
        ]
        needed = (self._kernels[s.kernel].scratch * self.plan.rows(s, items) for s in launches)
        return max(needed, default=0)

    def _give(self, arguments: Sequence[Value], room: _Space, table: Table) -> set[int]:
        """Put the arguments where kernels find them; the streams that others use for those on the device."""
        streams = set()
        copied = False
        for (number, _), array in zip(self.plan.buffers("argument"), arguments, strict=True):
            if isinstance(array, Resident):
                table[number] = array.address
                if array.stream is not None and array.stream != self._queue.stream:
                    streams.add(array.stream)
            else:
                room.stage(number, array, self._queue)
                copied = True
        for stream in streams:
            self._queue.follow(stream)
        if copied:
            room.upload(self._queue)
        return streams

    # -- results that stay on the device ---------------------------------------------------------------------

    def _result_memory(self, items: int, table: Table) -> list[Memory]:
        """New memory for each result, in their order; its addresses go into the table."""
        made = []
        for number, buffer in self.plan.buffers("result"):
            made.append(self._queue.allocate(max(nbytes_for(buffer, items), 1)))
            table[number] = made[-1].address
        return made

    def _residents(self, items: int, table: Table, memory: list[Memory]) -> list[Value]:
        stream = self._queue.stream
        pairs = zip(self.plan.buffers("result"), memory, strict=True)
        return [
            Resident(table[n], b.shape_for(items), b.type.dtype, stream, (owner, self._queue))
            for (n, b), owner in pairs
        ]

    # -- steps -----------------------------------------------------------------------------------------------

    def _drive(self, items: int, table: Table, room: _Space) -> bool:
        """The blocks in the order that their decisions say; whether an end was reached."""
        place: int | None = 0
        while place is not None:
            block = self.plan.schedule.blocks[place]
            for number in self.plan.block_pieces[place]:
                self._run_piece(number, items, table, room)
            decision = self._decision(block, table)
            for one, other in block.stores:
                table[one], table[other] = table[other], table[one]
            if block.successors is None:
                return True
            place = block.successors[0 if decision else 1]
        return False

    def _decision(self, block: BlockSchedule, table: Table) -> bool:
        if block.predicate is None:
            return False
        truth = numpy.empty(1, numpy.bool_)
        self._queue.download(truth, table[block.predicate])
        return bool(truth[0])

    def _run_piece(self, number: int, items: int, table: Table, room: _Space) -> None:
        piece = self.plan.pieces[number]
        if piece.on_host:
            self._run_on_host(piece, items, table)
        elif len(piece.steps) == 1:
            self._launch(piece, items, table, room.scratch, self._queue)
        else:
            key = (items, room.scratch, *(table[n] for n in piece.buffers))
            self._graphs[number].run(
                key, self._queue, lambda queue: self._launch(piece, items, table, room.scratch, queue)
            )

    def _launch(self, piece: Piece, items: int, table: Table, scratch: int, queue: Launcher) -> None:
        buffers = self.plan.schedule.buffers
        for place in piece.steps:
            step = self.plan.schedule.steps[place]
            assert isinstance(step, Launch)
            kernel = self._kernels[step.kernel]
            addresses = [
                table[p.buffer] + p.offset * buffers[p.buffer].type.dtype.itemsize for p in step.pointers
            ]
            if kernel.scratch:
                addresses.append(scratch)
            queue.launch(kernel, addresses, self.plan.rows(step, items))

    def _run_on_host(self, piece: Piece, items: int, table: Table) -> None:
        """One step by the processor: its values come from the device, and its result goes back."""
        step = self.plan.schedule.steps[piece.steps[0]]
        arrays = {number: self._downloaded(number, items, table) for number in piece.buffers}
        if isinstance(step, HostCall):
            result = step.result
            arrays[result] = host_result(step, arrays)
        else:
            result = step.pointers[-1].buffer
            self._host[step.kernel].run(step, arrays, self.plan.rows(step, items))
        self._queue.upload(table[result], arrays[result])

    def _downloaded(self, number: int, items: int, table: Table) -> numpy.ndarray:
        buffer = self.plan.schedule.buffers[number]
        array = numpy.empty(buffer.shape_for(items), buffer.type.dtype)
        if array.size:
            self._queue.download(array, table[number])
        return array


def _loaded(
    schedule: Schedule, device: Device, store: Store, precision: str
) -> tuple[Plan, dict[Kernel, Loaded]]:
    """The plan, and the kernels that the device has; one that cannot be compiled is left to the processor."""
    refused: dict[Kernel, str] = {}
    found = plan(schedule, device.machine)
    kernels = {}
    for kernel, source in found.rendered.items():
        if source is not None:
            try:
                kernels[kernel] = device.load(kernel, source, store, precision)
            except NoDeviceKernelError as error:
                refused[kernel] = str(error)
    return (plan(schedule, device.machine, refused) if refused else found), kernels


def _parameter_places(plan: Plan) -> tuple[dict[int, int], int]:
    """Buffer -> its offset among the parameters, and the size of all."""
    places, end = {}, 0
    for number, buffer in plan.buffers("parameter"):
        places[number] = end
        end += rounded(max(buffer.type.nbytes, 1))
    return places, max(end, 1)


class _Space:
    """The memory of one call with a batch of so many items, and the host's side of what goes in and out."""

    def __init__(self, plan: Plan, items: int, scratch: int, device: Device, queue: Queue) -> None:
        self._plan, self._items = plan, items
        self._layout: Space = space(plan, items, scratch)
        self._memory = queue.allocate(max(self._layout.nbytes, 1))
        self._arguments = _Staging(self._layout.arguments, self._memory.address, device)
        self._results = _Staging(self._layout.results, self._memory.address, device)
        self._reading = False  # whether an upload that nobody waited for may still read what is staged
        self.scratch = self._memory.address + self._layout.scratch

    def table(self, parameters: int, places: dict[int, int]) -> Table:
        """The address of every buffer, if all of the call comes from the host."""
        base, offsets = self._memory.address, self._layout.offsets
        count = range(len(self._plan.schedule.buffers))
        return [parameters + places[n] if n in places else base + offsets.get(n, 0) for n in count]

    def stage(self, number: int, array: numpy.ndarray, queue: Queue) -> None:
        """Put an argument where the next upload takes it."""
        if self._reading:
            queue.finish()
            self._reading = False
        self._arguments.bytes(self._layout.offsets[number], array.nbytes)[...] = array.reshape(-1).view(
            numpy.uint8
        )

    def upload(self, queue: Queue) -> None:
        self._arguments.upload(queue)
        self._reading = True

    def results(self, queue: Queue) -> list[Value]:
        """New arrays with the results, once they are there."""
        self._results.download(queue)
        self._reading = False
        made: list[Value] = []
        for number, buffer in self._plan.buffers("result"):
            array = numpy.empty(buffer.shape_for(self._items), buffer.type.dtype)
            flat = array.reshape(-1).view(numpy.uint8)
            flat[...] = self._results.bytes(self._layout.offsets[number], array.nbytes)
            made.append(array)
        return made


class _Staging:
    """A range of a space, and as many bytes of the host that the device copies quickly."""

    def __init__(self, limits: tuple[int, int], base: int, device: Device) -> None:
        self._start, end = limits
        self._address = base + self._start
        self._host = device.pinned(end - self._start)

    def bytes(self, offset: int, count: int) -> numpy.ndarray:
        """So many bytes, ``offset`` being counted from the start of the space."""
        return self._host[offset - self._start : offset - self._start + count]

    def upload(self, queue: Queue) -> None:
        if self._host.size:
            queue.upload(self._address, self._host)

    def download(self, queue: Queue) -> None:
        if self._host.size:
            queue.download(self._host, self._address)
        else:
            queue.finish()


class _Graphs:
    """The captured launches of one piece, by size of the batch and addresses; NOTE [captured launches]."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[int, ...], Callable[[], None] | None] = OrderedDict()

    def run(self, key: tuple[int, ...], queue: Queue, work: Callable[[Launcher], None]) -> None:
        graph = self._found.get(key)
        if graph is not None:
            graph()
        elif key in self._found:
            graph = self._found[key] = queue.captured(work)
            graph()
        else:
            work(queue)
            self._found[key] = None
        self._found.move_to_end(key)
        if len(self._found) > _GRAPHS:
            self._found.popitem(last=False)
