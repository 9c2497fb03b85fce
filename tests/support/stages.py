"""All stages of a program held together: the first one that does not give what the recorded operators mean is named.

Recorded graphs, what the passes make of them, the schedule with its kernels as data, their source, and native code: each has
a meaning of its own, so that a difference shows in which layer it came about.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy
from graphs import Memory as Store
from sampling import rounds
from tolerances import TOLERANCES

from blockfuse import np
from blockfuse.array.modes import UNUSUAL
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.compile import Compiled, compile_flow
from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.cpu.native.object_code import kernel_code
from blockfuse.codegen.cpu.program.executable import Executable
from blockfuse.codegen.cpu.source.meaning import source_meaning
from blockfuse.codegen.cpu.source.render import render
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.meaning.kernels import Addresses, kernel_meaning
from blockfuse.codegen.meaning.memory import Address, MeaningError, Memory
from blockfuse.codegen.meaning.schedules import KernelMeaning, Watch, meaning_of
from blockfuse.codegen.scheduling.buffers import BufferKind
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.scheduling.steps import Launch
from blockfuse.codegen.variants import ExecutionPolicy
from blockfuse.ir.errors import FaultError
from blockfuse.ir.flow import Flow, Stacks, straight
from blockfuse.ir.graph import Graph, Node, argument
from blockfuse.ir.lowering import Fused
from blockfuse.ir.passes.pipeline import draws_of
from blockfuse.ir.stream import STREAM
from blockfuse.ir.verify import verify
from blockfuse.tracer.flow.replay import flow_of
from blockfuse.tracer.recording.record import record
from blockfuse.tracer.recording.recorder import Recorder

Arrays = Sequence[numpy.ndarray]
Outcome = list[numpy.ndarray] | str | None  # the results; RAISES; None where the flow is unknown
Trace = list[tuple[str, numpy.ndarray]]  # name of a kernel and what it gives, in the order of launches

RAISES = "raises"
_GARBAGE = 0xCB
STORE = Store()  # object code for the session


class StageError(AssertionError):
    """A stage gives something else than the recorded operators. kernel: the first one that does; "" if none does alone."""

    def __init__(self, stage: str, kernel: str, found: str) -> None:
        super().__init__(f"{stage}{f', kernel {kernel}' if kernel else ''}: {found}")
        self.stage, self.kernel = stage, kernel


def hold_together(
    recorded: Graph | Flow,
    arguments: Arrays,
    parameters: Arrays,
    machine: Machine,
    source: bool = False,
    compiled: bool = True,
) -> Schedule:
    """The schedule; raises StageError where a stage does not give what the recorded graphs mean.

    parameters: the leaves that are no arguments, in order. source: whether kernels also run as plain Python, which takes
    some microseconds an element. compiled: whether they run as native code.
    """
    flow = straight(recorded) if isinstance(recorded, Graph) else recorded
    stages = staged(flow, machine)
    held = _Held(machine, stages, arguments, parameters)

    def load() -> Executable:
        everything = bool(rounds(0, 1))  # nobody calls the entry here
        executable = Executable(stages.schedule, machine, STORE, ndarray, UNUSUAL, with_entry=everything)
        executable.bind([_dense(p) for p in held.parameters])
        return executable

    held.check(source, load if compiled else None)
    return stages.schedule


def hold_program(program: Any, arguments: Arrays, source: bool = False) -> None:
    """The same for what a hybridized function runs. arguments: its arrays, and the numbers that became arguments."""
    flow, machine = program.flow_for(arguments), program.backend.machine
    stages = program.compiled
    if program.schedule.batch:  # those graphs are for another size
        stages = replace(staged(flow, machine), schedule=program.schedule)
    captured = [origin.array() for origin in program.origins]
    _Held(machine, stages, arguments, captured).check(source, lambda: program.executable)


def hold_function(
    function: Callable[..., Any],
    arguments: Arrays,
    machine: Machine,
    source: bool = False,
    compiled: bool = True,
) -> Schedule | None:
    """The same for one call of a function of arrays, recorded here; None where it cannot be a program."""
    given = [np.array(a, dtype=a.dtype.name) for a in arguments]
    recording = record(partial(function, *given), Recorder(given), [(function, "function")], [])
    if recording.problem or recording.path is None:
        return None
    flow, origins, _ = flow_of([recording.path])
    captured = [origin.array() for origin in origins]
    return hold_together(flow, arguments, captured, machine, source, compiled)


# -- stages ------------------------------------------------------------------------------------------------------


def staged(flow: Flow, machine: Machine) -> Compiled:
    """What comes of a flow before there is native code; the passes are verified."""
    draws = draws_of(flow.blocks[0].graph) if len(flow.blocks) == 1 else []
    return compile_flow(flow, machine, draws, check=verify)


# -- checking ----------------------------------------------------------------------------------------------------


class _Held:
    """One call, stage by stage, each from the same state of the random stream."""

    def __init__(self, machine: Machine, stages: Compiled, arguments: Arrays, parameters: Arrays) -> None:
        self.machine, self.flow, self.stages = machine, stages.recorded, stages
        self.arguments = [_dense(a) for a in arguments]
        given, others = iter(self.arguments), iter(parameters)
        self.known = {
            i.attrs["name"]: next(given if i.operator is argument else others) for i in self.flow.inputs
        }
        self.stream = STREAM.generator.bit_generator.state
        with numpy.errstate(all="ignore"):
            self.hoisted = stages.with_hoisted(self.known)
        self.parameters = stages.parameters(self.known)
        self.limit = _limit(self.flow)

    def check(self, source: bool, load: Callable[[], Executable] | None) -> None:
        """load: gives native code, bound to its parameters."""
        self.wanted = self._outcome(lambda: walked(self.flow, self.known))
        trace: Trace = []
        self._stage("passes", lambda: walked(self.stages.main, self.hoisted, trace), lambda: "")
        self._stage("schedule", self._meant, lambda: self._first_unlike(trace))
        if source:
            self._stage(
                "source", lambda: self._meant(source_meaning), lambda: self._first_bad(source_meaning)
            )
        if load is not None:
            self._native(load)

    def _native(self, load: Callable[[], Executable]) -> None:
        """Native code, also with all rows on one thread, and shared out. NumPy gives memory again that it has got back: what
        is left unwritten shall not look right.
        """
        kernels = native_meaning(self.machine)
        types = [b.type for b in self.stages.schedule.buffers if b.kind is BufferKind.RESULT]

        def run(policy: ExecutionPolicy) -> Outcome:
            del [numpy.full(t.nbytes, _GARBAGE, "uint8") for t in types][:]
            return executable.run(self.arguments, policy=policy)

        executable = self._tried("native", load, lambda: "")
        for policy in executable.policies:
            self._stage("native", partial(run, policy), lambda: self._first_bad(kernels))

    def _stage(self, name: str, run: Callable[[], Outcome], blame: Callable[[], str]) -> None:
        found = self._tried(name, lambda: self._outcome(run), blame)
        difference = _difference(found, self.wanted, self.limit)
        if difference:
            raise StageError(name, blame(), difference)

    def _tried(self, name: str, run: Callable[[], Any], blame: Callable[[], str]) -> Any:
        try:
            return run()
        except MeaningError as error:
            raise StageError(name, error.kernel or blame(), str(error)) from error
        except Exception as error:
            raise StageError(name, "", f"{type(error).__name__}: {error}") from error

    def _outcome(self, run: Callable[[], Outcome]) -> Outcome:
        STREAM.generator.bit_generator.state = self.stream
        try:
            with numpy.errstate(all="ignore"):
                return run()
        except FaultError:
            return RAISES

    def _meant(self, kernels: KernelMeaning = kernel_meaning, watch: Watch | None = None) -> Outcome:
        return meaning_of(self.stages.schedule, self.arguments, self.parameters, kernels, watch)

    # -- who is to blame -------------------------------------------------------------------------------------

    def _first_unlike(self, trace: Trace) -> str:
        """The first launch that does not give what its fused operators mean."""
        seen: Trace = []

        def watch(launch: Launch, memory: Memory) -> None:
            seen.append((launch.kernel.name, memory.flat.view(memory.dtype).copy()))

        self._outcome(lambda: self._meant(watch=watch))
        launches = iter(seen)
        for name, value in trace:
            found = next((array for kernel, array in launches if kernel == name), None)
            if found is None or not near(found, value.reshape(-1), self.limit):
                return name
        return ""

    def _first_bad(self, kernels: KernelMeaning) -> str:
        """The first kernel whose launch does not do to memory what the kernel means."""
        bad: list[str] = []

        def both(kernel: Kernel, addresses: Addresses, begin: int, end: int) -> None:
            if not same_effect(kernel, addresses, begin, end, kernels, self.limit):
                bad.append(kernel.name)

        self._outcome(lambda: self._meant(both))
        return bad[0] if bad else ""


def same_effect(
    kernel: Kernel, addresses: Addresses, begin: int, end: int, kernels: KernelMeaning, limit: float
) -> bool:
    """Do what a kernel means; whether ``kernels`` would have left the same memory."""
    written = ("out", "fault") if "fault" in addresses else ("out",)
    copies = {name: Address(_copy(addresses[name].memory), addresses[name].start) for name in written}
    with numpy.errstate(all="ignore"):
        kernel_meaning(kernel, addresses, begin, end)
    try:
        kernels(kernel, {**addresses, **copies}, begin, end)
    except MeaningError:
        return False
    return all(near(copies[name].memory.flat, addresses[name].memory.flat, limit) for name in written)


def _copy(memory: Memory) -> Memory:
    written = None if memory.written is None else memory.written.copy()
    return Memory(memory.flat.copy(), memory.dtype, written, memory.first)


def native_meaning(machine: Machine) -> KernelMeaning:
    """Kernels as native code, over the memory of the others. It sees no access: what it writes counts as written."""

    def run(kernel: Kernel, addresses: Addresses, begin: int, end: int) -> None:
        code = engine.load(kernel_code(kernel, render(kernel), machine, STORE), machine)
        places = [_place(addresses[name]) for name, _ in kernel.pointers]
        unused = ctypes.addressof(ctypes.c_int64())
        operands = [unused, unused, *places, begin, end]
        call = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_int64] * len(operands))(code.address("kernel"))
        call(*operands)
        addresses["out"].memory.written = None

    return run


def _place(address: Address) -> int:
    flat = address.memory.flat
    return int(flat.ctypes.data) + (address.start - address.memory.first) * flat.itemsize


# -- meanings ----------------------------------------------------------------------------------------------------


def walked(flow: Flow, known: dict[str, numpy.ndarray], trace: Trace | None = None) -> Outcome:
    """The results by the NumPy meaning of every node. known: leaf -> value, by name. trace: gets those of fused nodes."""
    flow, registers = flow.with_all_updates(), dict[Node, numpy.ndarray]()
    stacks = Stacks[numpy.ndarray](flow, numpy.stack)
    number: int | None = 0
    while number is not None:
        block = flow.blocks[number]
        registers.update(stacks.popped(block))
        values = dict(registers)
        for leaf in block.graph.inputs:
            if leaf not in values and leaf.attrs["name"] in known:
                values[leaf] = known[leaf.attrs["name"]]
        for node in block.graph.nodes:
            values[node] = _value(node, [values[o] for o in node.operands])
            if trace is not None and isinstance(node.operator.lowering, Fused) and node.type.size:
                trace.append((node.attrs["name"], values[node]))
        outputs = [values[o] for o in block.graph.outputs]
        registers.update(zip(block.stores, outputs, strict=False))
        if block.successors is None:
            return outputs[block.kept :]
        if not stacks.pushed(block, outputs):
            return None
        number = block.successors[0 if outputs[-1].item() else 1]
    return None


def _value(node: Node, operands: Arrays) -> numpy.ndarray:
    try:
        return numpy.asarray(node.operator.meaning(*operands, **node.attrs))
    except (IndexError, ValueError) as error:  # of eager calls
        raise FaultError(str(error)) from error


# -- comparing ---------------------------------------------------------------------------------------------------


def _limit(flow: Flow) -> float:
    """How far a float may be off, in proportion: that of the coarsest dtype in the flow, twice, as roundings add up."""
    nodes = (n for block in flow.blocks for n in (*block.graph.inputs, *block.graph.nodes))
    return 2 * max((TOLERANCES.get(n.dtype.name, (0.0, 0.0))[0] for n in nodes), default=0.0)


def near(found: numpy.ndarray, wanted: numpy.ndarray, limit: float) -> bool:
    """Floats within ``limit`` of the largest element, as roundings add up; others equal."""
    if wanted.dtype.kind != "f" or found.dtype != wanted.dtype:
        return numpy.array_equal(found, wanted)
    scale = float(numpy.abs(wanted[numpy.isfinite(wanted)]).max(initial=1.0))
    return numpy.allclose(found, wanted, rtol=limit, atol=limit * scale, equal_nan=True)


def _difference(found: Outcome, wanted: Outcome, limit: float) -> str:
    """What differs, in words; "" if nothing does."""
    if not (isinstance(found, list) and isinstance(wanted, list)):
        return "" if found is wanted else f"{_shown(found)} instead of {_shown(wanted)}"
    for place, (a, b) in enumerate(zip(found, wanted, strict=True)):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            return f"result {place} is {a.dtype}{list(a.shape)} instead of {b.dtype}{list(b.shape)}"
        if not near(a, b, limit):
            return f"result {place} is {a.tolist()} instead of {b.tolist()}"[:600]
    return ""


def _shown(outcome: Outcome) -> str:
    return "an unknown way" if outcome is None else outcome if isinstance(outcome, str) else "results"


def _dense(array: numpy.ndarray) -> numpy.ndarray:
    return numpy.ascontiguousarray(array).reshape(array.shape)
