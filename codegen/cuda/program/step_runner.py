"""A program run on a device, piece by piece and block by block.

NOTE [captured launches]
The launches of a piece are captured as one graph for the addresses that they had, when these come back: most callers give
the same few arrays, or NumPy's, which always lie at the same addresses. What has new addresses is launched one by one, which
is as right and takes a few microseconds each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy

from blockfuse.codegen.cuda.device.device import Launcher, Queue
from blockfuse.codegen.cuda.program.call_memory import CallMemory, Key, Table
from blockfuse.codegen.cuda.program.loading import LoadedProgram
from blockfuse.codegen.cuda.program.plan import Piece
from blockfuse.codegen.cuda.program.regions import END
from blockfuse.codegen.scheduling.buffers import BufferKind
from blockfuse.codegen.scheduling.host_calls import host_result
from blockfuse.codegen.scheduling.schedule import BlockSchedule
from blockfuse.codegen.scheduling.steps import HostCall, Launch, Pointer
from blockfuse.ir.errors import CudaError, DeviceLostError, DeviceMemoryError


class StepRunner:
    """Runs the pieces of a program in the order that its decisions say."""

    def __init__(self, program: LoadedProgram, queue: Queue) -> None:
        self._plan, self._queue = program.plan, queue
        self._kernels, self._regions, self._host = program.kernels, program.regions, program.host
        self.uncaptured = ""  # why launches are not captured, if that failed

    def drive(self, table: Table, memory: CallMemory) -> bool:
        """The blocks in the order that their decisions say; whether an end was reached."""
        number: int | None = 0
        ends = self._ends(table)
        while number is not None and number != END:
            if number in self._regions:
                number = self._run_region(number, table, memory)
                continue
            block = self._plan.schedule.blocks[number]
            for stack in block.pops:
                table[stack] -= self._plan.schedule.buffers[stack].step
            for stack, values in block.takes:
                table[stack] -= values * self._plan.schedule.buffers[stack].step
            for piece in self._plan.block_pieces[number]:
                self._run_piece(piece, table, memory)
            if block.predicate is not None:
                memory.check_fault(self._queue)
            decision = self._decision(block, table)
            for one, other in block.stores:
                table[one], table[other] = table[other], table[one]
            for stack in block.pushes:
                table[stack] += self._plan.schedule.buffers[stack].step
            if any(table[stack] >= ends[stack] for stack in block.pushes):
                return False
            number = END if block.successors is None else block.successors[0 if decision else 1]
        return number is not None

    def _ends(self, table: Table) -> dict[int, int]:
        """Where the memory of each stack ends."""
        stacks = self._plan.buffers(BufferKind.STACK)
        return {number: table[number] + stack.reserved for number, stack in stacks}

    def _run_region(self, block: int, table: Table, memory: CallMemory) -> int | None:
        """A region from one of its blocks on; what comes next, see ``Region.following``."""
        region, kernel = self._regions[block]
        addresses = [*self._addresses(region.pointers, table), memory.scratch]
        self._queue.launch(kernel, addresses, region.blocks.index(block))
        if block in region.unread:
            return END
        words = numpy.empty(region.words, numpy.uint32)
        self._queue.download(words, memory.scratch)
        word, *exchanged = words.tolist()
        before = [table[number] for number in region.exchanged]
        for number, index in zip(region.exchanged, exchanged, strict=True):
            table[number] = before[index]
        return region.following(word)

    def _decision(self, block: BlockSchedule, table: Table) -> bool:
        if block.predicate is None:
            return False
        truth = numpy.empty(1, numpy.bool_)
        self._queue.download(truth, table[block.predicate])
        return bool(truth[0])

    def _run_piece(self, number: int, table: Table, memory: CallMemory) -> None:
        piece = self._plan.pieces[number]
        if piece.on_host:
            self._run_on_host(piece, table, memory)
        elif len(piece.steps) == 1:
            self._launch(piece, table, memory, self._queue)
        else:
            key = tuple([table[n] for n in piece.moving])
            graph = memory.graphs[number].found(key)
            if graph is not None:
                graph()
            elif memory.graphs[number].came_back(key) and not self.uncaptured:
                self._capture(number, key, table, memory)
            else:
                self._launch(piece, table, memory, self._queue)

    def _capture(self, number: int, key: Key, table: Table, memory: CallMemory) -> None:
        """Make a graph of the launches of a piece, and run it; or else run them as they are."""
        piece = self._plan.pieces[number]
        try:
            graph = self._queue.captured(lambda queue: self._launch(piece, table, memory, queue))
        except (DeviceLostError, DeviceMemoryError):
            raise
        except CudaError as error:
            self.uncaptured = str(error)
            self._launch(piece, table, memory, self._queue)
            return
        memory.graphs[number].keep(key, graph)
        graph()

    def _launch(self, piece: Piece, table: Table, memory: CallMemory, queue: Launcher) -> None:
        for number in piece.steps:
            step = self._plan.schedule.steps[number]
            assert isinstance(step, Launch)
            kernel = self._kernels[number]
            addresses = self._addresses(step.pointers, table)
            if kernel.scratch:
                addresses.append(memory.scratch)
            queue.launch(kernel, addresses, self._plan.rows(number, memory.items))

    def _addresses(self, pointers: Sequence[Pointer], table: Table) -> list[int]:
        buffers = self._plan.schedule.buffers
        return [table[p.buffer] + p.offset * buffers[p.buffer].type.dtype.itemsize for p in pointers]

    def _run_on_host(self, piece: Piece, table: Table, memory: CallMemory) -> None:
        """One step by the processor: its values come from the device, and its result goes back.

        A kernel may write a part of its result's memory; an operator makes all of it, and one that reads nothing waits for
        nothing.
        """
        memory.check_fault(self._queue)
        (number,) = piece.steps
        step = self._plan.schedule.steps[number]
        if isinstance(step, HostCall):
            result, read = step.result, {n for n, _ in step.operands}
            arrays = {n: self._downloaded(n, table, memory) for n in read}
            arrays[result] = host_result(step, arrays)
        else:
            assert isinstance(step, Launch)
            result = step.pointers[-1].buffer
            arrays = {n: self._downloaded(n, table, memory) for n in piece.buffers}
            addresses = [
                arrays[p.buffer].ctypes.data + p.offset * arrays[p.buffer].itemsize for p in step.pointers
            ]
            self._host[step.kernel].launch(addresses, self._plan.rows(number, memory.items))
            if step.kernel.has_fault:
                (fault,) = (n for n in piece.buffers if n == self._plan.schedule.fault)
                self._queue.upload(table[fault], arrays[fault])
        self._queue.upload(table[result], arrays[result])

    def _downloaded(self, number: int, table: Table, memory: CallMemory) -> numpy.ndarray:
        buffer = self._plan.schedule.buffers[number]
        array = numpy.empty(buffer.shape_for(memory.items), buffer.type.dtype)
        self._queue.download(array, table[number])
        return array
