"""A schedule as something that runs: kernels compiled or taken from a store, the program loaded, parameters bound."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy

from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.cpu.native.object_code import kernel_code, object_code
from blockfuse.codegen.cpu.process import cpython, type_call_slot
from blockfuse.codegen.cpu.process.allocator import keeper, keeper_ir
from blockfuse.codegen.cpu.process.safepoint import BREATH
from blockfuse.codegen.cpu.process.thread_pool import pool
from blockfuse.codegen.cpu.process.thread_pool_ir import pool_ir
from blockfuse.codegen.cpu.program.frame import HEADER, dtype_places, place_of
from blockfuse.codegen.cpu.program.native_program import program_ir
from blockfuse.codegen.cpu.program.plan import POOL, is_native, native_entry, plan
from blockfuse.codegen.cpu.program.results import may_be_large
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.buffers import ALIGNMENT, BufferKind, items_reserved
from blockfuse.codegen.scheduling.host_calls import around_calls, host_result
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.scheduling.steps import HostCall
from blockfuse.codegen.store import Store
from blockfuse.codegen.validity import Validity
from blockfuse.codegen.variants import SLOTS, Size, Team, Variant, Way, size_of
from blockfuse.ir.errors import FaultError
from blockfuse.ir.types import TensorType


def quicken(cls: type, machine: Machine, store: Store) -> None:
    """See NOTE [calls of instances]."""
    type_call_slot.install(
        cls, lambda: object_code("caller", type_call_slot.caller_ir, machine, store), machine
    )


class Executable:
    """A loaded program.

    ``run`` takes and gives lists of NumPy arrays; ``entry`` (None where there are other host calls than draws, or on an
    interpreter whose objects are not known) is the built-in function of NOTE [the frame]. ``bind`` gives it
    parameters, before the first call and whenever they move. Everything is released when the object and
    ``entry`` are gone.
    """

    def __init__(
        self,
        schedule: Schedule,
        machine: Machine,
        store: Store,
        wrapper: type,
        unusual: numpy.ndarray,
        keep: int = 1 << 26,
    ) -> None:
        """keep: bytes of large results that are kept for the next ones, NOTE [kept memory]."""
        self.plan = plan(schedule, machine)
        self._around = around_calls(schedule)
        self._proven: set[Variant] = set()
        self._sizes = numpy.full(SLOTS, -1, numpy.int64)  # of the batch, proven ones; see NOTE [variants]
        self._code = [self._kernel(n, source, store) for n, source in enumerate(self.plan.sources)]
        self._program = self._load_program(store)
        self._frame = self._new_frame(wrapper, unusual, store)
        self.validity = Validity(self._frame[place_of("valid") :][:1])
        if any(may_be_large(b) for _, b in self.plan.buffers(BufferKind.RESULT)):
            made = keeper(lambda: object_code("keeper", keeper_ir, machine, store), machine, keep)
            for name, value in made.words().items():
                self._frame[place_of(name)] = value
        self._pieces: dict[int, Callable[[int], None]] = {}  # number of a piece -> its code
        self._spaces: list[numpy.ndarray] = []  # workspace of calls through Python, at most one
        self._owner = _Owner(self, self._frame)
        self._frame[place_of("draw")] = id(self._owner.draw)
        self.entry = self._new_entry(wrapper)

    # -- loading ---------------------------------------------------------------------------------------------

    def _kernel(self, number: int, source: str, store: Store) -> engine.Loaded:
        machine = self.plan.machine
        kernel = next(k for k, n in self.plan.kernel_of.items() if n == number)
        return engine.load(kernel_code(kernel, source, machine, store), machine)

    def _load_program(self, store: Store) -> engine.Loaded:
        machine = self.plan.machine
        code = object_code(self.plan.key_text(), lambda: program_ir(self.plan), machine, store)
        return engine.load(code, machine)

    def _new_frame(self, wrapper: type, unusual: numpy.ndarray, store: Store) -> numpy.ndarray:
        arguments, results, table = dtype_places(self.plan)
        frame = numpy.zeros(table + self.plan.table_size, numpy.int64)
        if cpython.layout_is_known(wrapper):
            for name, value in _header(wrapper, unusual).items():
                frame[place_of(name)] = value
        for start, kind in ((arguments, BufferKind.ARGUMENT), (results, BufferKind.RESULT)):
            for place, (_, buffer) in enumerate(self.plan.buffers(kind)):
                frame[start + place] = id(numpy.dtype(buffer.type.dtype.name))
        first = table + len(self.plan.schedule.buffers)
        for number, kernel in enumerate(self._code):
            frame[first + number] = kernel.address("kernel")
        frame[place_of("sizes")] = self._sizes.ctypes.data
        if self.plan.decides:
            for name, address in _of_breaths().items():
                frame[table + self.plan.breath_place + BREATH.index(name)] = address
        if self.plan.is_parallel:
            self._add_pool(frame, store)
        return frame

    def _add_pool(self, frame: numpy.ndarray, store: Store) -> None:
        machine = self.plan.machine
        workers = pool(machine.threads, object_code("pool", pool_ir, machine, store), machine)
        first = dtype_places(self.plan)[2] + self.plan.pool_place
        frame[first : first + len(POOL)] = [getattr(workers, name) for name in POOL]

    def _new_entry(self, wrapper: type) -> Any:
        if not (native_entry(self.plan) and cpython.layout_is_known(wrapper)):
            return None
        definition = cpython.MethodDef(b"entry", self._program.address("entry"), cpython.METH_FASTCALL, None)
        self._owner.definition = definition
        return cpython.builtin(definition, numpy.asarray(self._owner))

    # -- binding ---------------------------------------------------------------------------------------------

    def bind(self, parameters: list[numpy.ndarray]) -> None:
        """Use these arrays (C-contiguous, in the order of ``schedule.parameters``) from now on."""
        start = dtype_places(self.plan)[2]
        for (number, _), array in zip(self.plan.buffers(BufferKind.PARAMETER), parameters, strict=True):
            self._frame[start + number] = array.ctypes.data
        self._owner.binding = tuple(parameters)
        self._frame[place_of("binding")] = id(self._owner.binding)

    def calls(self) -> int:
        """How often the entry ran."""
        return self.counter()()

    def counter(self) -> Callable[[], int]:
        """What tells how often the entry ran, also when this object is gone."""
        frame, place = self._frame, place_of("calls")
        return lambda: int(frame[place])

    # -- variants --------------------------------------------------------------------------------------------

    @property
    def teams(self) -> tuple[Team, ...]:
        """Who may run its steps, with code of its own for each."""
        return (Team.FORKED, Team.ALONE) if self.plan.is_parallel else (Team.AS_IT_IS,)

    def prove(self, variants: Iterable[Variant]) -> None:
        """From now on the entry runs calls that take these; see NOTE [variants]."""
        first = dtype_places(self.plan)[2] + self.plan.ways_place
        for variant in variants:
            self._proven.add(variant)
            if isinstance(variant, Size):
                self._admit(variant)
            else:
                word, bit = divmod(variant.bit, 64)
                self._frame[first + word] |= numpy.uint64(1 << bit).view(numpy.int64)

    def _admit(self, size: Size) -> None:
        """Let the entry run a size of the batch, and all small ones of the same variant."""
        self._sizes[size.items % SLOTS] = size.items
        small = range(max(size.min_items, self.plan.schedule.min_items), min(2 * size.min_items, SLOTS))
        for items in small if size.items < SLOTS else ():
            if size_of(self.plan.schedule, self.plan.machine, items) == size:
                self._sizes[items] = items

    def _unproven(self, ran: set[Variant]) -> set[Variant]:
        """Those nobody has proven; a size of a variant that is proven may run from now on."""
        new = ran - self._proven
        for variant in ran if not new else ():
            if isinstance(variant, Size):
                self._sizes[variant.items % SLOTS] = variant.items
        return new

    # -- running from Python ---------------------------------------------------------------------------------

    def run(
        self,
        arguments: list[numpy.ndarray],
        unproven: set[Variant] | None = None,
        team: Team = Team.AS_IT_IS,
    ) -> list[numpy.ndarray] | None:
        """Results for C-contiguous arguments of the recorded types; None where the flow is unknown.

        unproven: takes the variants that ran and that nobody has proven. Raises FaultError where an operator met values for
        which it raises.
        """
        table = self._frame[dtype_places(self.plan)[2] :].copy()
        self._choose(team, table)
        items = self._items(arguments)
        table[self.plan.items_place] = items
        space = self._space(self.plan.schedule.workspace.bytes_for(items) + ALIGNMENT)
        arrays = self._memory(space, items)
        ran: set[Variant] = {size_of(self.plan.schedule, self.plan.machine, items)} if items else set()
        try:
            results = self._driven(table, arrays, arguments, ran)
        finally:
            self._spaces[:] = [space]
        new = self._unproven(ran)
        if unproven is not None:
            unproven |= new
        return results

    def _choose(self, team: Team, table: numpy.ndarray) -> None:
        """Let the steps of a call that may be shared be run by ``team``."""
        fork = self.plan.pool_place
        if self.plan.is_parallel and team is Team.ALONE:
            table[fork] = table[fork + 1] = self._program.address("alone")
        elif team is Team.FORKED:
            table[fork + 1] = table[fork]

    def _driven(
        self,
        table: numpy.ndarray,
        arrays: dict[int, numpy.ndarray],
        arguments: list[numpy.ndarray],
        ran: set[Variant],
    ) -> list[numpy.ndarray] | None:
        """The blocks in the order that their decisions say. arrays: the memory of every buffer; ran: takes the ways."""
        for kind, given in ((BufferKind.PARAMETER, self._owner.binding), (BufferKind.ARGUMENT, arguments)):
            arrays |= {n: array for (n, _), array in zip(self.plan.buffers(kind), given, strict=True)}
        for number, array in arrays.items():
            table[number] = array.ctypes.data
        with self._around():
            return self._drive(table, arrays, ran)

    def _drive(
        self, table: numpy.ndarray, arrays: dict[int, numpy.ndarray], ran: set[Variant]
    ) -> list[numpy.ndarray] | None:
        """The results, by the blocks in the order that their decisions say; None where the flow is unknown."""
        place: int | None = 0
        while place is not None:
            block = self.plan.schedule.blocks[place]
            for piece in self.plan.block_pieces[place]:
                self._run_piece(piece, table, arrays)
            self._check_fault(arrays)
            decision = block.predicate is not None and bool(arrays[block.predicate].item())
            for register, value in block.stores:
                arrays[register], arrays[value] = arrays[value], arrays[register]
                table[register], table[value] = table[value], table[register]
            if block.successors is None:
                return [arrays[n] for n, _ in self.plan.buffers(BufferKind.RESULT)]
            ran.add(Way(place, decision))
            place = block.successors[0 if decision else 1]
        return None

    def _items(self, arguments: list[numpy.ndarray]) -> int:
        """How many items the batch has, where the schedule is for any number."""
        given = zip(self.plan.buffers(BufferKind.ARGUMENT), arguments, strict=True)
        return next((array.shape[0] for (_, buffer), array in given if buffer.rows_per_item), 0)

    def _space(self, size: int) -> numpy.ndarray:
        """The workspace that the last call left, unless another thread has it or it is too small: new pages cost time."""
        with suppress(IndexError):
            kept = self._spaces.pop()
            if kept.size >= size:
                return kept
        return numpy.empty(size, numpy.uint8)

    def _memory(self, space: numpy.ndarray, items: int) -> dict[int, numpy.ndarray]:
        """Arrays in ``space`` for the workspace, and new ones for results."""
        workspace = self.plan.schedule.workspace
        space = space[-space.ctypes.data % ALIGNMENT :]
        arrays: dict[int, numpy.ndarray] = {}
        for number, buffer in self.plan.memory():
            if not buffer.made_by_host:
                type = TensorType(buffer.shape_for(items), buffer.type.dtype)
                start = buffer.offset
                if buffer.rows_per_item:
                    start = workspace.fixed + start * items_reserved(items)
                arrays[number] = space[start : start + type.nbytes].view(type.dtype).reshape(type.shape)
        for number, buffer in self.plan.buffers(BufferKind.RESULT):
            arrays[number] = numpy.empty(buffer.shape_for(items), buffer.type.dtype)
        if self.plan.schedule.fault is not None:
            arrays[self.plan.schedule.fault][...] = 0
        return arrays

    def _check_fault(self, arrays: dict[int, numpy.ndarray]) -> None:
        """See NOTE [faults]."""
        fault = self.plan.schedule.fault
        if fault is not None and arrays[fault].item():
            raise FaultError("an index is out of bounds")

    def _run_piece(self, number: int, table: numpy.ndarray, arrays: dict[int, numpy.ndarray]) -> None:
        steps = self.plan.pieces[number]
        if is_native(self.plan, steps):
            self._piece(number)(table.ctypes.data)
            return
        self._check_fault(arrays)
        call = self.plan.schedule.steps[steps[0]]
        assert isinstance(call, HostCall)
        arrays[call.result] = host_result(call, arrays)
        table[call.result] = arrays[call.result].ctypes.data

    def _piece(self, number: int) -> Callable[[int], None]:
        if number not in self._pieces:
            self._pieces[number] = _PIECE(self._program.address(f"piece{number}"))
        return self._pieces[number]


_PIECE = ctypes.CFUNCTYPE(None, ctypes.c_int64)


def _drawn(draws: tuple[HostCall, ...]) -> tuple[numpy.ndarray, ...]:
    """See NOTE [draws of an entry]. What raises for its parameters is not recorded: an error here is the generator's."""
    try:
        return tuple([host_result(draw, {}) for draw in draws])
    except FaultError as error:
        raise error.__cause__ or error from None


class _Owner:
    """Keeps alive what native code points to; the entry's frame rests on it."""

    def __init__(self, executable: Executable, frame: numpy.ndarray) -> None:
        self.code = executable._code, executable._program
        self.frame, self.sizes = frame, executable._sizes
        self.binding: tuple[numpy.ndarray, ...] = ()
        self.definition: Any = None
        self.draw = partial(_drawn, executable.plan.draws)
        self.__array_interface__ = frame.__array_interface__

    def __del__(self) -> None:
        space = int(self.frame[place_of("workspace")])
        if space:
            ctypes.CDLL(None).free(ctypes.c_void_p(space))


def _of_breaths() -> dict[str, int]:
    """The functions of NOTE [safepoints]."""
    functions = {
        "save": "PyEval_SaveThread",
        "restore": "PyEval_RestoreThread",
        "signals": "PyErr_CheckSignals",
    }
    words = {word: cpython.address_of(name) for word, name in functions.items()}
    return {**words, "clock": cpython.library_address("clock_gettime")}


def _header(wrapper: type, unusual: numpy.ndarray) -> dict[str, int]:
    functions = {
        "new_object": "PyType_GenericAlloc",
        "new_tuple": "PyTuple_New",
        "incref": "Py_IncRef",
        "decref": "Py_DecRef",
        "call": "PyObject_CallNoArgs",
        "clear_error": "PyErr_Clear",
        "track": "PyTraceMalloc_Track",
        "save_thread": "PyEval_SaveThread",
        "restore_thread": "PyEval_RestoreThread",
    }
    words = {word: cpython.address_of(name) for word, name in functions.items()}
    words |= {name: cpython.library_address(name) for name in ("aligned_alloc", "free")}
    words |= {
        "unusual": unusual.ctypes.data,
        "mode": id(unusual),
        "wrapper": id(wrapper),
        "slot": cpython.slot_offset(wrapper, "_data"),
        "pending": cpython.slot_offset(wrapper, "_pending"),
        "none": id(None),
    }
    words |= {
        "array": id(numpy.ndarray),
        "new_array": cpython.new_from_descr(),
        "not_implemented": id(NotImplemented),
    }
    assert words.keys() <= set(HEADER)
    return words
