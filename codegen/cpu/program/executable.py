"""A schedule as something that runs: kernels compiled or taken from a store, the program loaded, parameters bound."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy

from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.cpu.native.object_code import Wanted, kernel_ir, object_code, object_codes
from blockfuse.codegen.cpu.process import cpython, type_call_slot
from blockfuse.codegen.cpu.process.allocator import caching_allocator
from blockfuse.codegen.cpu.process.allocator_ir import allocator_ir
from blockfuse.codegen.cpu.process.fast_call import OutsTold, fast_calls
from blockfuse.codegen.cpu.process.fast_call_ir import fast_call_ir
from blockfuse.codegen.cpu.process.frame_words import header_index
from blockfuse.codegen.cpu.process.guard_check import NativeGuard, guard_check, guard_check_ir
from blockfuse.codegen.cpu.process.tensor_call import tensor_calls
from blockfuse.codegen.cpu.process.tensor_call_ir import tensor_call_ir
from blockfuse.codegen.cpu.process.thread_pool_ir import pool_ir
from blockfuse.codegen.cpu.process.writing_entry import WritingEntry, writing_entries
from blockfuse.codegen.cpu.process.writing_entry_ir import writing_entry_ir
from blockfuse.codegen.cpu.program.frame import frame_layout
from blockfuse.codegen.cpu.program.frame_values import new_frame
from blockfuse.codegen.cpu.program.native_program import program_ir
from blockfuse.codegen.cpu.program.plan import native_entry, plan
from blockfuse.codegen.cpu.program.proven import Proven
from blockfuse.codegen.cpu.program.results import may_have_own_memory
from blockfuse.codegen.cpu.program.step_runner import StepRunner
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.buffers import BufferKind
from blockfuse.codegen.scheduling.host_calls import host_result
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.scheduling.steps import HostCall
from blockfuse.codegen.store import Store
from blockfuse.codegen.validity import Validity
from blockfuse.codegen.variants import ExecutionPolicy, Variant, bits_of
from blockfuse.ir.argument_parts import Part
from blockfuse.ir.comparisons import Comparison
from blockfuse.ir.errors import FaultError
from blockfuse.ir.stream import STREAM
from blockfuse.ir.tensor_border import TensorBorder
from blockfuse.ir.written import Registries


def quicken(cls: type, machine: Machine, store: Store) -> None:
    """See NOTE [calls of instances]."""
    type_call_slot.install(
        cls, lambda: object_code("type_call", type_call_slot.type_call_ir, machine, store), machine
    )


def fast_call(
    parts: Sequence[Part],
    named: bool,
    entry: Any,
    convert: Any | None,
    made: int,
    machine: Machine,
    store: Store,
    wrapper: type,
    unusual: numpy.ndarray,
    registries: Registries | None,
) -> Callable[[Any, Any], Any] | None:
    """See NOTE [forms of calls]; None on an interpreter whose objects are not known.

    unusual: what ``Executable`` was given. registries: where some parts take results.
    """
    if not cpython.layout_is_known(wrapper):
        return None
    calls = fast_calls(lambda: object_code("fast_call", fast_call_ir, machine, store), machine)
    outs = None if registries is None else OutsTold(unusual, registries, wrapper)
    return calls.fast_call(parts, named, entry, convert, made, outs)


def tensor_call(
    owner: Any, border: TensorBorder, machine: Machine, store: Store, wrapper: type
) -> Callable[..., Any] | None:
    """See NOTE [calls with tensors]; None where Python must take them."""
    if not cpython.layout_is_known(wrapper):
        return None
    calls = tensor_calls(lambda: object_code("tensor_call", tensor_call_ir, machine, store), machine)
    check = guard_check(lambda: object_code("guard_check", guard_check_ir, machine, store), machine)
    return calls.call(owner, border, check)


class Executable:
    """A loaded program.

    ``run`` takes and gives lists of NumPy arrays; ``entry`` (None where there are other host calls than draws, or on an
    interpreter whose objects are not known) is the built-in function of NOTE [the frame]. ``bind`` gives it
    parameters, before the first call and whenever they move. ``entry`` writes updates into them; ``run`` gives their values
    behind the results, and writes nothing. Everything is released when the object and
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
        with_entry: bool = True,
    ) -> None:
        """keep: bytes of large results that are kept for the next ones, NOTE [kept memory].

        with_entry: whether there is an ``entry``; nothing is compiled for it where only ``run`` is asked for.
        """
        self.plan = plan(schedule, machine)
        self._with_entry = with_entry and native_entry(self.plan) and cpython.layout_is_known(wrapper)
        self._store, self._wrapper = store, wrapper
        self._program, *kernels = self._loaded()
        self._frame = new_frame(self.plan, kernels, wrapper, unusual, store)
        self._proven = Proven(self.plan, self._frame)
        self._runner = StepRunner(self.plan, self._program, self._frame)
        self.validity = Validity(self._frame[header_index("valid") :][:1])
        self._use_allocator(keep)
        draw = partial(_drawn if schedule.fault is None else _drawn_for_now, self.plan.draws)
        self._owner = _Owner(self._frame, draw, (kernels, self._program, self._proven.sizes))
        self._frame[header_index("draw")], self._frame[header_index("undraw")] = id(draw), id(_undrawn)
        self.entry = self._new_entry()

    # -- loading ---------------------------------------------------------------------------------------------

    def _loaded(self) -> list[engine.Loaded]:
        """The program and its kernels in memory. The program's IR is there while Numba is imported for the others."""
        wanted = [self._program_wanted(), *map(self._kernel_wanted, range(len(self.plan.sources)))]
        codes = object_codes(wanted, self.plan.machine, self._store)
        return [engine.load(code, self.plan.machine) for code in codes]

    def _kernel_wanted(self, number: int) -> Wanted:
        kernel = next(k for k, n in self.plan.kernel_of.items() if n == number)
        source = self.plan.sources[number]
        return source, partial(kernel_ir, kernel, source, self.plan.machine)

    def _program_wanted(self) -> Wanted:
        key_text = f"{self.plan.key_text()}\nentry={self._with_entry}"
        return key_text, partial(program_ir, self.plan, self._with_entry)

    def _code(self, key_text: str, make: Callable[[], str]) -> bytes:
        return object_code(key_text, make, self.plan.machine, self._store)

    def _use_allocator(self, keep: int) -> None:
        if any(may_have_own_memory(b) for _, b in self.plan.buffers(BufferKind.RESULT)):
            allocator = caching_allocator(
                lambda: engine.load(self._code("allocator", allocator_ir), self.plan.machine), keep
            )
            for name, value in allocator.words().items():
                self._frame[header_index(name)] = value

    def _new_entry(self) -> Any:
        if not self._with_entry:
            return None
        definition = cpython.MethodDef(b"entry", self._program.address("entry"), cpython.METH_FASTCALL, None)
        self._owner.definition = definition
        return cpython.builtin(definition, numpy.asarray(self._owner))

    def guard(self, facts: Sequence[Sequence[Comparison]]) -> NativeGuard | None:
        """Native code that looks at facts which these comparisons tell; None where it would look at none.

        Calls of ``entry`` ask it from now on: whoever holds it must withdraw the validity before it goes.
        """
        if not (any(facts) and cpython.layout_is_known(self._wrapper)):
            return None
        check = guard_check(lambda: self._code("guard_check", guard_check_ir), self.plan.machine)
        guard = check.guard(facts)
        self._frame[header_index("holds")] = check.address
        self._frame[header_index("guard")] = id(guard.table)
        return guard

    def writing_entry(self, by_python: Callable[..., Any], tell: Callable[[], None]) -> WritingEntry | None:
        """``entry`` with everyone told who must know of its writes; see NOTE [telling of writes]."""
        if self.entry is None:
            return None
        code = partial(self._code, "writing_entry", writing_entry_ir)
        valid, commits = (self._frame.ctypes.data + 8 * header_index(name) for name in ("valid", "commits"))
        entries = writing_entries(code, self.plan.machine)
        return entries.entry(self.entry, valid, commits, by_python, tell)

    # -- apart from this process -----------------------------------------------------------------------------

    def codes(self) -> dict[str, bytes]:
        """The object code that it runs, by what it is: ``kernel0``, ..., ``program``, and of the process ``pool`` and
        ``allocator`` where it needs them.
        """
        codes = {f"kernel{n}": self._code(*self._kernel_wanted(n)) for n in range(len(self.plan.sources))}
        codes["program"] = self._code(*self._program_wanted())
        if self.plan.is_parallel:
            codes["pool"] = self._code("pool", pool_ir)
        if self._frame[header_index("allocator")]:
            codes["allocator"] = self._code("allocator", allocator_ir)
        return codes

    def ways(self) -> list[int]:
        """The words that say which ways are proven; see NOTE [variants]."""
        first = frame_layout(self.plan).table + self.plan.ways_index
        words = self._frame[first : first + -(-bits_of(self.plan.schedule) // 64)]
        return [int(word) for word in words]

    def is_proven(self, variant: Variant) -> bool:
        """Whether calls may take it."""
        return not self._proven.missing({variant})

    # -- binding ---------------------------------------------------------------------------------------------

    def bind(self, parameters: list[numpy.ndarray]) -> None:
        """Use these arrays (C-contiguous, in the order of ``schedule.parameters``) from now on."""
        start = frame_layout(self.plan).table
        for (number, _), array in zip(self.plan.buffers(BufferKind.PARAMETER), parameters, strict=True):
            self._frame[start + number] = array.ctypes.data
        self._owner.binding, self._owner.bounds = tuple(parameters), _bounds(parameters)
        self._frame[header_index("bounds")] = self._owner.bounds.ctypes.data
        self._frame[header_index("bound")] = len(parameters)
        self._frame[header_index("binding")] = id(self._owner.binding)

    def calls(self) -> int:
        """How often the entry ran."""
        return self.counter()()

    def counter(self) -> Callable[[], int]:
        """What tells how often the entry ran, also when this object is gone."""
        return partial(memoryview(self._frame.data).__getitem__, header_index("calls"))

    # -- running from Python -----------------------------------------------------------------------------------

    @property
    def policies(self) -> tuple[ExecutionPolicy, ...]:
        """Who may run its steps, with code of its own for each."""
        return self._runner.policies

    def prove(self, variants: Iterable[Variant]) -> None:
        """From now on the entry runs calls that take these; see NOTE [variants]."""
        self._proven.add(variants)

    def run(
        self,
        arguments: list[numpy.ndarray],
        unproven: set[Variant] | None = None,
        policy: ExecutionPolicy = ExecutionPolicy.ADAPTIVE,
    ) -> list[numpy.ndarray] | None:
        """Results for C-contiguous arguments of the recorded types, then updates; None where the flow is unknown.

        unproven: takes the variants that ran and that nobody has proven. Raises FaultError where an operator met values for
        which it raises.
        """
        ran: set[Variant] = set()
        results = self._runner.run(self._owner.binding, arguments, ran, policy)
        new = self._proven.missing(ran)
        if unproven is not None:
            unproven |= new
        return results


def _bounds(arrays: Sequence[numpy.ndarray]) -> numpy.ndarray:
    """The address of each array, and the one behind it."""
    pairs = [(a.ctypes.data, a.ctypes.data + a.nbytes) for a in arrays]
    return numpy.array(pairs, numpy.int64).reshape(-1, 2)


def _drawn(draws: tuple[HostCall, ...]) -> tuple[Any, ...]:
    """See NOTE [draws of an entry]. What raises for its parameters is not recorded: an error here is the generator's."""
    try:
        return tuple([host_result(draw, {}) for draw in draws])
    except FaultError as error:
        raise error.__cause__ or error from None


def _drawn_for_now(draws: tuple[HostCall, ...]) -> tuple[Any, ...]:
    """What is drawn, and behind it the stream, where it was and where it is, for ``_undrawn``."""
    stream = STREAM.generator.bit_generator
    before = stream.state
    return (*_drawn(draws), stream, before, stream.state)


def _undrawn(drawn: tuple[Any, ...]) -> None:
    """Set the stream back to where it was before ``_drawn_for_now`` gave these."""
    *_, stream, before, after = drawn
    STREAM.take_back(stream, before, after)


class _Owner:
    """Keeps alive what native code points to; the entry's frame rests on it."""

    def __init__(self, frame: numpy.ndarray, draw: Callable[[], Any], others: tuple[Any, ...]) -> None:
        self.frame, self.draw, self.others = frame, draw, others
        self.binding: tuple[numpy.ndarray, ...] = ()
        self.bounds = numpy.empty((0, 2), numpy.int64)
        self.definition: Any = None
        self.__array_interface__ = frame.__array_interface__

    def __del__(self) -> None:
        space = int(self.frame[header_index("workspace")])
        if space:
            ctypes.CDLL(None).free(ctypes.c_void_p(space))
