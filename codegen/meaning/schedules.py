"""Schedules in NumPy: steps in order, blocks in the order of decisions, every buffer a memory of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy

from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.meaning.kernels import Addresses, kernel_meaning
from blockfuse.codegen.meaning.memory import Address, MeaningError, Memory, given, unwritten
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind
from blockfuse.codegen.scheduling.schedule import BlockSchedule, Schedule
from blockfuse.codegen.scheduling.steps import HostCall, Launch, Step, Strip
from blockfuse.ir.errors import FaultError
from blockfuse.ir.layout import Layout

KernelMeaning = Callable[[Kernel, Addresses, int, int], None]  # of rows begin to end
Watch = Callable[[Launch, Memory], None]

_PARTS = 3  # of a strip, at least: what is taken from another item shows


def meaning_of(
    schedule: Schedule,
    arguments: Sequence[numpy.ndarray],
    parameters: Sequence[numpy.ndarray],
    kernels: KernelMeaning = kernel_meaning,
    watch: Watch | None = None,
) -> list[numpy.ndarray] | None:
    """The results for arguments of the recorded types, then the updates; None where the flow is unknown.

    parameters: in the order of ``schedule.parameters``. kernels: what a kernel does to memory. watch: sees each launch with
    the memory of its result once that is whole. Raises FaultError where an operator met values for which it raises, and
    MeaningError where a step does what has no meaning.
    """
    with numpy.errstate(all="ignore"):
        return _Call(schedule, arguments, parameters, kernels, watch).results()


class _Call:
    """One call: the memory of every buffer, as steps leave it."""

    def __init__(
        self,
        schedule: Schedule,
        arguments: Sequence[numpy.ndarray],
        parameters: Sequence[numpy.ndarray],
        kernels: KernelMeaning,
        watch: Watch | None,
    ) -> None:
        self.schedule, self.kernels, self.watch = schedule, kernels, watch
        self.items = self._items(arguments)
        self.below: dict[int, list[Memory]] = defaultdict(list)  # a stack -> what lies below the value on top
        self.memories = [self._memory(buffer, arguments, parameters) for buffer in schedule.buffers]
        self.parameters = parameters
        if schedule.fault is not None:
            Address(self.memories[schedule.fault])[0] = numpy.int64(0)

    # -- memory ----------------------------------------------------------------------------------------------

    def _items(self, arguments: Sequence[numpy.ndarray]) -> int:
        """How many items the batch has, where the schedule is for any number."""
        growing = (b for b in self.schedule.buffers if b.kind is BufferKind.ARGUMENT and b.rows_per_item)
        return next((len(arguments[b.number]) // b.rows_per_item for b in growing), 0)

    def _memory(
        self, buffer: Buffer, arguments: Sequence[numpy.ndarray], parameters: Sequence[numpy.ndarray]
    ) -> Memory:
        shape, dtype = buffer.shape_for(self.items), buffer.type.dtype
        if not buffer.kind.is_given:
            return unwritten(int(numpy.prod(shape)), dtype.name)
        value = (arguments if buffer.kind is BufferKind.ARGUMENT else parameters)[buffer.number]
        if value.shape != shape or value.dtype != dtype:
            raise MeaningError(f"{value.dtype}{list(value.shape)} is given for {buffer}")
        return given(value)

    # -- blocks ----------------------------------------------------------------------------------------------

    def results(self) -> list[numpy.ndarray] | None:
        number: int | None = 0
        while number is not None:
            block = self.schedule.blocks[number]
            for stack in block.pops:
                if not self.below[stack]:
                    raise MeaningError("it takes a value off an empty stack")
                self.memories[stack] = self.below[stack].pop()
            for stack, count in block.takes:
                self._take(stack, count)
            for index in range(block.first, block.end):
                if index == block.commit:
                    self._commit()
                self._step(self.schedule.steps[index])
            self._require_no_fault()
            decision = block.predicate is not None and bool(self.memories[block.predicate].array.item())
            self._exchange(block)
            if block.successors is None:
                return self._given_back()
            if not self._push(block):
                return None
            number = block.successors[0 if decision else 1]
        return None

    def _commit(self) -> None:
        """From now on steps may write to the parameters that the program updates, and no call is given back."""
        self._require_no_fault()
        for number in self.schedule.updates:
            value = self.parameters[self.schedule.buffers[number].number]
            self.memories[number] = given(value, is_written=True)

    def _push(self, block: BlockSchedule) -> bool:
        """Whether there is room for another value on each stack."""
        for stack in block.pushes:
            self.below[stack].append(self.memories[stack])
            buffer = self.schedule.buffers[stack]
            self.memories[stack] = unwritten(buffer.type.size, buffer.type.dtype.name)
        return all(len(self.below[stack]) < self.schedule.buffers[stack].room for stack in block.pushes)

    def _take(self, stack: int, count: int) -> None:
        """All values of a stack in one memory, each where a line begins."""
        values, buffer = self.below.pop(stack), self.schedule.buffers[stack]
        if len(values) != count:
            raise MeaningError(f"it takes {count} values of a stack that has {len(values)}")
        step = buffer.step // buffer.type.dtype.itemsize
        whole, written = unwritten(count * step, buffer.type.dtype.name), numpy.zeros(count * step, bool)
        for number, value in enumerate(values):
            part, size = slice(number * step, number * step + buffer.type.size), slice(buffer.type.size)
            whole.flat[part] = value.flat[size]
            written[part] = True if value.written is None else value.written[size]
        whole.written = written
        self.memories[stack] = whole

    def _exchange(self, block: BlockSchedule) -> None:
        for register, value in block.stores:
            memories = self.memories
            memories[register], memories[value] = memories[value], memories[register]

    def _given_back(self) -> list[numpy.ndarray]:
        found = [(b.number, n) for n, b in enumerate(self.schedule.buffers) if b.kind is BufferKind.RESULT]
        numbers = (*(n for _, n in sorted(found)), *self.schedule.updates)
        return [
            self.memories[n].array.reshape(self.schedule.buffers[n].shape_for(self.items)) for n in numbers
        ]

    def _require_no_fault(self) -> None:
        """See NOTE [faults]."""
        fault = self.schedule.fault
        if fault is not None and self.memories[fault].array.item():
            raise FaultError("an index is out of bounds")

    # -- steps -----------------------------------------------------------------------------------------------

    def _step(self, step: Step) -> None:
        if isinstance(step, HostCall):
            self._require_no_fault()
            self._host_call(step)
        elif isinstance(step, Launch):
            self._launch(step, self.memories, 0, step.rows_per_item * self.items if step.grows else step.rows)
            self._watched(step)
        else:
            self._strip(step)

    def _host_call(self, call: HostCall) -> None:
        operands = [self._seen(number, layout) for number, layout in call.operands]
        try:
            result = numpy.array(call.operator.meaning(*operands, **call.attrs), order="C")
        except Exception as error:
            raise FaultError(f"{call.operator.name} raised {error!r}") from error
        type = self.schedule.buffers[call.result].type
        if (result.shape, result.dtype) != (type.shape, type.dtype):
            raise MeaningError(f"{call.operator.name} gives {result.dtype}{list(result.shape)}, not {type}")
        self.memories[call.result] = Memory(given(result).flat, result.dtype.name)

    def _seen(self, number: int, layout: Layout) -> numpy.ndarray:
        memory = self.memories[number]
        found = Address(memory, layout.offset).read(memory.dtype, layout.shape, layout.strides)
        return numpy.array(found, order="C")

    def _launch(self, launch: Launch, memories: list[Memory], begin: int, end: int) -> None:
        addresses = [Address(memories[p.buffer], p.offset) for p in launch.pointers]
        named = dict(zip((name for name, _ in launch.kernel.pointers), addresses, strict=True))
        try:
            count = launch.kernel.results
            written = [address.memory for address in addresses[len(addresses) - count :]]
            if any(a.memory is memory for a in addresses[:-count] for memory in written):
                raise MeaningError("it reads what it writes")
            if len({id(memory) for memory in written}) < count:
                raise MeaningError("it writes through two pointers into one buffer")
            self.kernels(launch.kernel, named, begin, end)
        except MeaningError as error:
            error.kernel = launch.kernel.name
            raise

    def _strip(self, strip: Strip) -> None:
        """All launches for some items, then for the next ones; buffers of the kind ``strip`` are new each time."""
        items = self.items if strip.grows else strip.items
        own = {p.buffer for launch in strip.launches for p in launch.pointers if self._is_own(p.buffer)}
        parts = max(-(-items // strip.part), min(items // strip.grain, _PARTS))
        for part in range(parts):
            first, end = items * part // parts, items * (part + 1) // parts
            memories = list(self.memories)
            for number in own:
                memories[number] = self._part(self.schedule.buffers[number], strip, first, end)
            for launch in strip.launches:
                rows = launch.rows // strip.items
                self._launch(launch, memories, first * rows, end * rows)
        for launch in strip.launches:
            if not own.issuperset(launch.written):
                self._watched(launch)

    def _is_own(self, buffer: int) -> bool:
        return self.schedule.buffers[buffer].kind is BufferKind.STRIP

    def _part(self, buffer: Buffer, strip: Strip, first: int, end: int) -> Memory:
        """Memory for items ``first`` to ``end`` alone."""
        each = buffer.type.size // strip.items
        return unwritten((end - first) * each, buffer.type.dtype.name, first * each)

    def _watched(self, launch: Launch) -> None:
        if self.watch is not None:
            for number in launch.written:
                self.watch(launch, self.memories[number])
