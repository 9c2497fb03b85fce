"""A program run from Python, piece by piece: where a step is NumPy's, where code is checked, where arguments need care."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy

from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.cpu.program.frame import frame_layout
from blockfuse.codegen.cpu.program.plan import Plan, is_native
from blockfuse.codegen.scheduling.buffers import ALIGNMENT, BufferKind, items_reserved
from blockfuse.codegen.scheduling.host_calls import around_calls, host_result
from blockfuse.codegen.scheduling.steps import HostCall
from blockfuse.codegen.variants import ExecutionPolicy, Variant, Way, size_of
from blockfuse.ir.errors import FaultError
from blockfuse.ir.types import TensorType

_PIECE = ctypes.CFUNCTYPE(None, ctypes.c_int64)

Arrays = dict[int, numpy.ndarray]  # number of a buffer -> its memory


class StepRunner:
    """Runs the pieces of a program in the order that its decisions say."""

    def __init__(self, plan: Plan, program: engine.Loaded, frame: numpy.ndarray) -> None:
        self._plan, self._program = plan, program
        self._table = frame[frame_layout(plan).table :]
        self._around = around_calls(plan.schedule)
        self._pieces: dict[int, Callable[[int], None]] = {}  # number of a piece -> its code
        self.spaces: list[numpy.ndarray] = []  # workspace of calls, at most one

    @property
    def policies(self) -> tuple[ExecutionPolicy, ...]:
        """Who may run the steps, with code of its own for each."""
        return (
            (ExecutionPolicy.PARALLEL, ExecutionPolicy.SERIAL)
            if self._plan.is_parallel
            else (ExecutionPolicy.ADAPTIVE,)
        )

    def run(
        self,
        parameters: Sequence[numpy.ndarray],
        arguments: Sequence[numpy.ndarray],
        ran: set[Variant],
        policy: ExecutionPolicy,
    ) -> list[numpy.ndarray] | None:
        """Results and behind them values of updates, which are not written; None where the flow is unknown.

        ran: takes the variants. Raises FaultError where an operator met values for which it raises.
        """
        plan = self._plan
        table = self._table.copy()
        self._choose(policy, table)
        items = self._items(arguments)
        table[plan.items_index] = items
        space = self._space(plan.schedule.workspace.bytes_for(items) + ALIGNMENT)
        arrays = self._memory(space, items)
        if items:
            ran.add(size_of(plan.schedule, plan.machine, items))
        for kind, given in ((BufferKind.PARAMETER, parameters), (BufferKind.ARGUMENT, arguments)):
            arrays |= {n: array for (n, _), array in zip(plan.buffers(kind), given, strict=True)}
        arrays |= {number: arrays[number].copy() for number in plan.schedule.updates}
        for number, array in arrays.items():
            table[number] = array.ctypes.data
        for stack, word in plan.limits().items():
            table[word] = table[stack] + plan.schedule.buffers[stack].reserved
        try:
            with self._around():
                return self._drive(table, arrays, ran)
        finally:
            self.spaces[:] = [space]

    def _choose(self, policy: ExecutionPolicy, table: numpy.ndarray) -> None:
        """Let the steps of a call that may be shared be run by ``policy``."""
        fork = self._plan.pool_index
        if self._plan.is_parallel and policy is ExecutionPolicy.SERIAL:
            table[fork] = table[fork + 1] = self._program.address("alone")
        elif policy is ExecutionPolicy.PARALLEL:
            table[fork + 1] = table[fork]

    def _items(self, arguments: Sequence[numpy.ndarray]) -> int:
        """How many items the batch has, where the schedule is for any number."""
        given = zip(self._plan.buffers(BufferKind.ARGUMENT), arguments, strict=True)
        return next((array.shape[0] for (_, buffer), array in given if buffer.rows_per_item), 0)

    # -- memory ------------------------------------------------------------------------------------------------

    def _space(self, size: int) -> numpy.ndarray:
        """The workspace that the last call left, unless another thread has it or it is too small: new pages cost time."""
        with suppress(IndexError):
            kept = self.spaces.pop()
            if kept.size >= size:
                return kept
        return numpy.empty(size, numpy.uint8)

    def _memory(self, space: numpy.ndarray, items: int) -> Arrays:
        """Arrays in ``space`` for the workspace, and new ones for results."""
        workspace = self._plan.schedule.workspace
        space = space[-space.ctypes.data % ALIGNMENT :]
        arrays: Arrays = {}
        for number, buffer in self._plan.memory():
            if not buffer.made_by_host:
                type = TensorType(buffer.shape_for(items), buffer.type.dtype)
                start = buffer.offset
                if buffer.rows_per_item:
                    start = workspace.fixed + start * items_reserved(items)
                arrays[number] = space[start : start + type.nbytes].view(type.dtype).reshape(type.shape)
        for number, buffer in self._plan.buffers(BufferKind.RESULT):
            arrays[number] = numpy.empty(buffer.shape_for(items), buffer.type.dtype)
        if self._plan.schedule.fault is not None:
            arrays[self._plan.schedule.fault][...] = 0
        return arrays

    # -- blocks and pieces -------------------------------------------------------------------------------------

    def _drive(self, table: numpy.ndarray, arrays: Arrays, ran: set[Variant]) -> list[numpy.ndarray] | None:
        """The results, by the blocks in the order that their decisions say; None where the flow is unknown."""
        number: int | None = 0
        while number is not None:
            block = self._plan.schedule.blocks[number]
            for stack in block.pops:
                self._move(stack, -1, table, arrays)
            for stack, values in block.takes:
                self._move(stack, -values, table, arrays)
            for piece in self._plan.block_pieces[number]:
                self._run_piece(piece, table, arrays)
            self._check_fault(arrays)
            decision = block.predicate is not None and bool(arrays[block.predicate].item())
            for register, value in block.stores:
                arrays[register], arrays[value] = arrays[value], arrays[register]
                table[register], table[value] = table[value], table[register]
            if block.successors is None:
                results = (number for number, _ in self._plan.buffers(BufferKind.RESULT))
                return [arrays[number] for number in (*results, *self._plan.schedule.updates)]
            if not self._push(block.pushes, table, arrays):
                return None
            ran.add(Way(number, decision))
            number = block.successors[0 if decision else 1]
        return None

    def _push(self, stacks: tuple[int, ...], table: numpy.ndarray, arrays: Arrays) -> bool:
        """Values lie on stacks where they were computed; whether there is room for more."""
        moved = [self._move(stack, 1, table, arrays) for stack in stacks]
        return all(moved)

    def _move(self, stack: int, values: int, table: numpy.ndarray, arrays: Arrays) -> bool:
        """Let a buffer be the value of its stack that lies so many values above; whether there is room for one."""
        buffer, memory = self._plan.schedule.buffers[stack], arrays[stack].base
        assert memory is not None
        table[stack] += values * buffer.step
        if table[stack] >= table[self._plan.limits()[stack]]:
            return False
        value = memory[int(table[stack]) - memory.ctypes.data :][: buffer.type.nbytes]
        arrays[stack] = value.view(buffer.type.dtype).reshape(buffer.type.shape)
        return True

    def _run_piece(self, number: int, table: numpy.ndarray, arrays: Arrays) -> None:
        steps = self._plan.pieces[number]
        if is_native(self._plan, steps):
            self._piece(number)(table.ctypes.data)
            return
        self._check_fault(arrays)
        call = self._plan.schedule.steps[steps[0]]
        assert isinstance(call, HostCall)
        result = host_result(call, arrays)
        if self._plan.schedule.buffers[call.result].kind is BufferKind.STACK:
            arrays[call.result][...] = result
        else:
            arrays[call.result], table[call.result] = result, result.ctypes.data

    def _check_fault(self, arrays: Arrays) -> None:
        """See NOTE [faults]."""
        fault = self._plan.schedule.fault
        if fault is not None and arrays[fault].item():
            raise FaultError("an index is out of bounds")

    def _piece(self, number: int) -> Callable[[int], None]:
        if number not in self._pieces:
            self._pieces[number] = _PIECE(self._program.address(f"piece{number}"))
        return self._pieces[number]
