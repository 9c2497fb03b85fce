"""The memory of a program: its parameters, and for each size of the batch the values of a call and what goes in and out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy

from blockfuse.codegen.cuda.device.device import Device, Make, Queue, Resident, Value
from blockfuse.codegen.cuda.program.call_layout import CallLayout, call_layout, nbytes_for, rounded
from blockfuse.codegen.cuda.program.plan import Plan
from blockfuse.codegen.kernels.kernel import FAULT
from blockfuse.codegen.scheduling.buffers import BufferKind
from blockfuse.ir.errors import DeviceMemoryError, FaultError

Table = list[int]  # number of a buffer -> its address
Key = tuple[int, ...]  # the addresses that may be others at the next call

_MAX_GRAPHS = 8  # of one piece; the one used longest ago goes
_MAX_SIZES = 8  # of the batch with memory for a call; the one used longest ago goes


class Parameters:
    """Memory for the parameters that a call reads; addresses: by number of the buffer, the same for every version."""

    def __init__(self, plan: Plan, queue: Queue) -> None:
        offsets, end = {}, 0
        for number, buffer in plan.buffers(BufferKind.PARAMETER):
            if number in plan.touched:
                offsets[number] = end
                end += rounded(buffer.type.nbytes)
        self._memory = queue.allocate(max(end, 1))
        self.addresses = {number: self._memory.address + offset for number, offset in offsets.items()}


class CallMemories:
    """The memory of a call for each size of the batch that came last."""

    def __init__(self, plan: Plan, parameters: Parameters, device: Device, queue: Queue) -> None:
        self._plan, self._parameters, self._device, self._queue = plan, parameters, device, queue
        self._known: OrderedDict[int, CallMemory] = OrderedDict()  # items of the batch -> memory of a call

    def __len__(self) -> int:
        return len(self._known)

    def get(self, items: int, scratch: Callable[[], int]) -> CallMemory:
        """That of a batch of so many items. scratch: tells how many bytes kernels borrow, where it has to be made."""
        found = self._known.get(items)
        if found is None:
            if len(self._known) >= _MAX_SIZES:
                self._queue.finish()
                self._known.popitem(last=False)
            found = self._known[items] = self._new(items, call_layout(self._plan, items, scratch()))
        self._known.move_to_end(items)
        return found

    def _new(self, items: int, layout: CallLayout) -> CallMemory:
        """Where there is too little memory, that of other sizes goes."""
        make = partial(CallMemory, self._plan, items, layout, self._parameters, self._device, self._queue)
        try:
            return make()
        except DeviceMemoryError:
            if not self._known:
                raise
        self._queue.finish()
        self._known.clear()
        return make()


class CallMemory:
    """The memory of one call with a batch of ``items``.

    table: the address of every buffer, if all of a call comes from the host. graphs: captured launches, by piece.
    """

    def __init__(
        self, plan: Plan, items: int, layout: CallLayout, parameters: Parameters, device: Device, queue: Queue
    ) -> None:
        self.items, self._layout = items, layout
        self._memory = queue.allocate(max(layout.nbytes, 1))
        base, count = self._memory.address, len(plan.schedule.buffers)
        self.table = [parameters.addresses.get(n, base + layout.offsets.get(n, 0)) for n in range(count)]
        self.scratch = base + layout.scratch
        self.graphs = [Graphs() for _ in plan.pieces]
        self._arguments = _Staging(layout.arguments, base, device)
        self._results = _Staging(layout.results, base, device)
        self._made = [
            (n, b.shape_for(items), b.type.dtype, max(nbytes_for(b, items), 1))
            for n, b in plan.buffers(BufferKind.RESULT)
        ]
        self._is_read = False  # whether an upload that nobody waited for may still read what is staged
        self._fault = None if plan.schedule.fault is None else layout.offsets[plan.schedule.fault]
        self._clear_fault(queue)

    # -- the host's side -------------------------------------------------------------------------------------

    def stage(self, number: int, array: numpy.ndarray, queue: Queue) -> None:
        """Put an argument where the next upload takes it."""
        if self._is_read:
            queue.finish()
            self._is_read = False
        staged = self._arguments.part(self._layout.offsets[number], array.shape, array.dtype)
        staged[...] = array

    def upload(self, queue: Queue) -> None:
        self._is_read = True
        self._arguments.upload(queue)

    def results(self, queue: Queue) -> list[Value]:
        """New arrays with the results, once they are there; raises FaultError."""
        self._results.download(queue)
        self._is_read = False
        if self._fault is not None:
            self._refuse(self._results.part(self._fault, (1,), numpy.dtype(FAULT[1])), queue)
        offsets = self._layout.offsets
        return [self._results.part(offsets[n], shape, dtype).copy() for n, shape, dtype, _ in self._made]

    def check_fault(self, queue: Queue) -> None:
        """See NOTE [faults]; waits until the device has done everything."""
        if self._fault is not None:
            word = numpy.empty(1, FAULT[1])
            queue.download(word, self._memory.address + self._fault)
            self._refuse(word, queue)

    def _refuse(self, fault: numpy.ndarray, queue: Queue) -> None:
        if fault[0]:
            self._clear_fault(queue)
            raise FaultError("an index is out of bounds")

    def _clear_fault(self, queue: Queue) -> None:
        if self._fault is not None:
            none = numpy.zeros(1, FAULT[1])
            queue.upload(self._memory.address + self._fault, none)
            queue.finish()

    # -- the device's ----------------------------------------------------------------------------------------

    def made(self, queue: Queue, make: Make | None, table: Table) -> list[Value]:
        """New arrays of the device for the results; their addresses go into the table."""
        arrays: list[Value] = []
        for number, shape, dtype, nbytes in self._made:
            owner: Any
            if make is None:
                memory = queue.allocate(nbytes)
                table[number], owner = memory.address, (memory, queue)
            else:
                table[number], owner = make(shape, dtype)
            arrays.append(Resident(table[number], shape, dtype, queue.stream, owner))
        return arrays


class _Staging:
    """A range of a call's memory, and as many bytes of the host that the device copies quickly."""

    def __init__(self, limits: tuple[int, int], base: int, device: Device) -> None:
        self._start, end = limits
        self._address = base + self._start
        self._host = device.pinned(end - self._start)

    def part(self, offset: int, shape: tuple[int, ...], dtype: numpy.dtype) -> numpy.ndarray:
        """An array in it, ``offset`` being counted from the start of that memory."""
        return numpy.ndarray(shape, dtype, self._host, offset - self._start)

    def upload(self, queue: Queue) -> None:
        queue.upload(self._address, self._host)

    def download(self, queue: Queue) -> None:
        queue.download(self._host, self._address)


class Graphs:
    """The captured launches of one piece; None for addresses that came once."""

    def __init__(self) -> None:
        self._known: OrderedDict[Key, Callable[[], None] | None] = OrderedDict()

    def found(self, key: Key) -> Callable[[], None] | None:
        graph = self._known.get(key)
        if graph is not None:
            self._known.move_to_end(key)
        return graph

    def came_back(self, key: Key) -> bool:
        """Whether these addresses came before; from now on they have."""
        before = key in self._known
        self.keep(key, None)
        return before

    def keep(self, key: Key, graph: Callable[[], None] | None) -> None:
        self._known[key] = graph
        self._known.move_to_end(key)
        if len(self._known) > _MAX_GRAPHS:
            self._known.popitem(last=False)
