"""A recorded call as a compiled program: what it rests on, whether that still holds, and how to run it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy

from blockfuse.array import modes, stamps
from blockfuse.array.history import ASKED
from blockfuse.array.memory import registries
from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Branch, Leaf, Structure, leaves, rebuild
from blockfuse.codegen.scheduling.buffers import BufferKind
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.variants import ExecutionPolicy, Variant
from blockfuse.ir.argument_parts import PartKind
from blockfuse.ir.errors import FaultError
from blockfuse.ir.flow import Flow
from blockfuse.ir.graph import argument, captured, parameter
from blockfuse.ir.locks import Busy, Turn
from blockfuse.ir.types import type_of
from blockfuse.runtime.arrays.foreign import pending_array, resident_of
from blockfuse.runtime.programs.assigned_attributes import AssignedAttributes
from blockfuse.runtime.programs.backend import Backend, FastCall
from blockfuse.runtime.programs.compiling import compile_recordings
from blockfuse.runtime.programs.fast_calls import has_only_positional_arrays, parts_of, parts_with_out
from blockfuse.runtime.programs.guards import guarded, quick_check
from blockfuse.runtime.programs.no_result import NoResult
from blockfuse.runtime.programs.number_arguments import conversion
from blockfuse.runtime.programs.updates import Updated, Updates
from blockfuse.tracer.certificate.traced_numbers import Operand
from blockfuse.tracer.flow.replay import flow_of
from blockfuse.tracer.generalize.every_size import EverySize
from blockfuse.tracer.recording.record import Recording
from blockfuse.tracer.state.assignments import Attribute
from blockfuse.tracer.state.gradients import has_history
from blockfuse.tracer.state.picture import State

if TYPE_CHECKING:
    from blockfuse.codegen.cuda.device.device import Device

MAX_WAIT_SECONDS = 1.0  # for another thread to bind parameters; then a call runs in Python


class Program:
    """The compiled paths through ``forward``, for one signature.

    ``call`` is the native entry itself where nothing has to be checked in Python first. It answers NotImplemented when
    something changed; then ``refresh`` says whether the program is still right (and brings its parameters up to date).
    """

    def __init__(
        self,
        recordings: list[Recording],
        backend: Backend,
        form: Structure | None = None,  # of the arguments; None where nobody asks for ``call``
        every_size: EverySize
        | None = None,  # of the last recording: makes it a program for every size of the batch
        stay_on_device: bool = False,  # arguments lie on the device, and should not leave it
    ) -> None:
        started = time.perf_counter()
        self.recording = recordings[-1]  # what it rests on
        paths = compile_recordings(recordings, backend, every_size, stay_on_device)
        self.compiled, self.backend, self.estimate = paths.compiled, paths.backend, paths.estimate
        self.unrolled = paths.unrolled
        # Where the leaves of the flow come from: state of Python, or expressions of numbers among the arguments.
        # Attributes that are read at each call are given like arguments.
        read = [o.holder for o in paths.origins if isinstance(o.holder, Attribute)]
        self.origins = [o for o in paths.origins if not isinstance(o.holder, Operand | Attribute)]
        self.operands: list[Operand] = [o.holder for o in paths.origins if isinstance(o.holder, Operand)]
        self._given = sum(leaf.operator is argument for leaf in self.flow.inputs)
        self.assigned = AssignedAttributes(paths.ways, self._given - len(read), read, self.state.arrays)
        self._convert = conversion(self.operands)  # values of a call -> 0-d arrays for the operands
        self.every_size = every_size
        self.executable = self.backend.load(self.schedule)  # in memory
        origin_of = dict(zip(self._leaves(), self.origins, strict=True))
        written = [origin_of[leaf] for leaf in self.flow.updates]
        self.updates = Updates(written)
        self._results = len(self.schedule_results()) - (0 if self.schedule.updates else len(self.updates))
        self.entry = self._telling_entry()  # of arrays only; None where calls go through Python
        self.bound: list[numpy.ndarray] = []  # the values behind the parameters of the schedule
        self._binding = Turn()
        self.version = object()  # another one after each change that a watcher was told
        self._watch(self._arrays())
        comparisons = [fact.comparisons() for fact in self.state.unreported] if form is not None else []
        self._guard = self.backend.guard(self.executable, comparisons)
        self._check = quick_check(self.state, self._guard)
        # What runs it: of arrays by position, or of args and kwargs in another form; None where calls go through Python.
        self.call: Callable[..., Any] | None = None
        self.fast_call: FastCall | None = None
        self._form = form
        self._calls_with_out: dict[
            int, FastCall | None
        ] = {}  # place of ``out`` among the keywords -> what runs them
        entry = self._checked_entry() if form is not None else None
        if form is not None and entry is not None:
            if has_only_positional_arrays(form):
                self.call = entry
            else:
                self.fast_call = self._fast_call(form, entry)
        self.refresh()
        self.seconds = time.perf_counter() - started  # to compile or load

    def flow_for(self, arguments: Sequence[numpy.ndarray]) -> Flow:
        """The flow in the types of these arguments: ``flow`` is for a reference size where the program is for all."""
        if self.every_size is None:
            return self.flow
        shapes = [a.shape for a in arguments if a.ndim]
        size = next(s[0] for s, grows in zip(shapes, self.every_size.growing, strict=False) if grows)
        return flow_of([self.every_size.at(size)])[0]

    @property
    def flow(self) -> Flow:
        """What was recorded, before the passes."""
        return self.compiled.recorded

    @property
    def schedule(self) -> Schedule:
        """What was compiled."""
        return self.compiled.schedule

    @property
    def has_doubts(self) -> bool:
        """Whether it may give a call back to Python that does not raise there: see NOTE [elimination]."""
        return any(launch.kernel.has_doubts for launch in self.schedule.launches)

    @property
    def state(self) -> State:
        """The Python state that the program rests on."""
        assert self.recording.state is not None
        return self.recording.state

    # -- validity --------------------------------------------------------------------------------------------

    def invalidate(self) -> bool:
        """Something that the program rests on may have changed (called by watchers): it watches anew before it runs."""
        self.version = object()
        self.executable.validity.withdraw()
        return True

    def __del__(self) -> None:
        """Nobody tells a program that is gone of changes, so an entry that another thread still holds must not run."""
        executable = getattr(self, "executable", None)
        if executable is not None:
            executable.validity.withdraw()

    def _arrays(self) -> list[numpy.ndarray]:
        return [origin.array() for origin in self.origins]

    def convert(self, values: Sequence[Any]) -> list[Any] | None:
        """What the flow takes besides the arrays of a call: numbers, of its values, or what attributes hold now.

        None where it cannot take them.
        """
        return self.assigned.arrays() if self.assigned.read else self._convert(values)

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """That the call assigns."""
        return self.assigned.attributes

    def _watch(self, arrays: list[numpy.ndarray]) -> None:
        left_out = self.recording.left_out
        for value in self.recording.watched:
            value._watchers.add(self, [name for holder, name in left_out if holder == id(value)])
        if self.recording.follows:
            ASKED.add(self)
        for array, leaf in zip(arrays, self._leaves(), strict=True):
            if leaf.operator is parameter:
                stamps.watch_buffer(array, self)
            elif self.recording.follows:
                stamps.watch_history(array, self)

    @property
    def _types_read(self) -> list[Any]:
        """Of the attributes that are read."""
        given = [i for i in self.flow.inputs if i.operator is argument]
        return [i.type for i in given[self._given - len(self.assigned.read) :]]

    def _leaves(self) -> list[Any]:
        return [i for i in self.flow.inputs if i.operator in (parameter, captured)]

    def refresh(self) -> NoResult | None:
        """Why the program cannot serve a call; None where it is right for the present state, and bound to the present
        parameters.

        OUTDATED where it does not hold any more, BUSY where another thread binds it or changes what it rests on, or this
        one was interrupted while it did.
        """
        answer = self._binding.run(self._refreshed, MAX_WAIT_SECONDS)
        return NoResult.BUSY if isinstance(answer, Busy) else answer

    def _refreshed(self) -> NoResult | None:
        validity = self.executable.validity
        if validity.holds:
            return NoResult.OUTDATED if self.state.change() else None
        validity.begin()
        arrays = self._arrays()
        # They may lie elsewhere now. Watched before they are read, so that every write since is told.
        self._watch(arrays)
        if self._are_changing(arrays):
            return NoResult.BUSY
        if self.state.change() or not self._may_bind(arrays):
            return NoResult.OUTDATED
        self._bind(arrays)
        validity.complete()
        return None

    def _are_changing(self, arrays: list[numpy.ndarray]) -> bool:
        """See NOTE [changes under way]."""
        holders = [value._watchers for value in self.recording.watched]
        return stamps.are_changing([*holders, *map(stamps.owner_of, arrays)])

    def is_current(self, version: object) -> bool:
        """Whether nothing that the program rests on was seen to change since it was of this version."""
        same = self.version is version and self.executable.validity.holds
        return same and (self._check is None or self._check() or not self.state.change())

    def _may_bind(self, arrays: list[numpy.ndarray]) -> bool:
        """Whether they are of the recorded types, and all writes to parameters can be seen."""
        pairs = zip(arrays, self._leaves(), strict=True)
        return not any(
            type_of(a) != leaf.type or (leaf.operator is parameter and stamps.is_exposed(a))
            for a, leaf in pairs
        )

    def _bind(self, arrays: list[numpy.ndarray]) -> None:
        """Run the prologues and point native code at their results and the parameters."""
        self.bound = self.compiled.parameters(
            {leaf.attrs["name"]: a for leaf, a in zip(self._leaves(), arrays, strict=True)}
        )
        self.executable.bind(self.bound)
        self.updates.bind()

    # -- running ---------------------------------------------------------------------------------------------

    def run(
        self,
        arguments: list[ndarray],
        values: Sequence[Any] = (),
        unproven: set[Variant] | None = None,
    ) -> Any:
        """The result for arguments of the right signature and mode (any memory layout, host calls), for ``finished``.

        values: the static ones among the arguments. UNKNOWN where the flow has not been seen, OUTDATED where an attribute
        that is read holds an array of another type, PYTHON where a number is none that the program can take, where an
        operator raises, where an argument lies in memory that the call writes, is held by an attribute that is read or by
        other state that the code asks for by ``is``, or where gradients go on to one. unproven: takes the variants that ran
        and that nobody has proven.
        """
        numbers = self.convert(values)
        if numbers is None:
            return NoResult.PYTHON
        given = [*arguments, *numbers]
        if self.updates.reach(given) or self._goes_on_to(given) or self._tells_apart(arguments):
            return NoResult.PYTHON
        if self.assigned.read:
            if any(a is b for a in arguments for b in numbers):
                return NoResult.PYTHON
            if [type_of(a._data) for a in numbers] != self._types_read:
                return NoResult.OUTDATED
        if self._asks_entry():
            result = self.ask_entry(arguments, numbers)
            if result is not NotImplemented:
                return result
        return self.run_by(
            ExecutionPolicy.ADAPTIVE, arguments, numbers, set() if unproven is None else unproven
        )

    def _goes_on_to(self, arguments: Sequence[ndarray]) -> bool:
        """Whether a gradient that the call follows goes to an argument: the program would end it there."""
        return self.recording.follows and has_history(arguments)

    def _tells_apart(self, arguments: Sequence[ndarray]) -> bool:
        """Whether the code asks by ``is`` for what an argument is, which was another array when it was recorded."""
        return not self.recording.told_apart.isdisjoint(map(id, arguments))

    def ask_entry(self, arguments: Sequence[ndarray], numbers: Sequence[ndarray]) -> Any:
        """What the native entry gives where the mode is right; NotImplemented where it does not run the call.

        It writes updates itself; attributes are not assigned yet.
        """
        if self.entry is None or self.backend.device is not None:
            return NotImplemented
        result = self.entry(*arguments, *numbers, modes.UNUSUAL)
        if result is NotImplemented:
            return result
        arrays = _as_list(result, self._results)
        result = self.structured(arrays)
        if not self.assigned:
            return result
        return Updated(result, None, self.assigned.assignment(arrays, [*arguments, *numbers]))

    def run_by(
        self,
        policy: ExecutionPolicy,
        arguments: Sequence[ndarray],
        numbers: Sequence[ndarray],
        unproven: set[Variant],
    ) -> Any:
        """The result by way of Python, with steps shared between threads or not; as ``run``."""
        device = self.backend.device
        try:
            given = [_given(a, device) for a in (*arguments, *numbers)]
            results = self.executable.run(given, unproven=unproven, policy=policy)
        except FaultError:
            return NoResult.PYTHON
        if results is None:
            return NoResult.UNKNOWN
        arrays = [_result(r, device) for r in results]
        result = self.structured(arrays)
        if not self.updates and not self.assigned:
            return result
        values = arrays[-len(self.updates) :] if self.updates else None
        return Updated(result, values, self.assigned.assignment(arrays, [*arguments, *numbers]))

    def _asks_entry(self) -> bool:
        """Whether the entry may know how to run a call, told that the mode is right.

        In predict mode it was asked before, and may have gone all the way to an unknown decision.
        """
        return len(self.schedule.blocks) == 1 or modes.is_training()

    def structured(self, results: Sequence[ndarray]) -> Any:
        """The arrays of a result, in its structure."""
        assert self.recording.structure is not None
        return rebuild(self.recording.structure, results.__getitem__, self.recording.statics)

    def finished(self, result: Any) -> Any:
        """A result of ``run``, with everything written and assigned that belongs to it: all of it, or nothing."""
        if type(result) is not Updated:
            return result
        values, assigned = result.values or (), result.assigned
        if assigned:
            assigned.changing(self.updates.write, values, assigned.steps())
        else:
            self.updates.write(values)
        return result.result

    def _telling_entry(self) -> Callable[..., Any] | None:
        """The native entry, with a wrapper where it writes to what others may rest on, or gives what is to be written."""
        entry, count = self.backend.entry(self.executable), self._results
        if entry is None or not self.updates:
            return entry
        if self.assigned:  # Ctrl-C could come between what it writes and what Python assigns
            return None
        if self.schedule.updates:
            make = partial(self.backend.writing_entry, self.executable)
            return self.updates.writing_by(entry, self.executable.validity, make)

        def call(*arguments: Any) -> Any:
            results = entry(*arguments)
            if results is NotImplemented:
                return NotImplemented
            results = _as_list(results, count + len(self.updates))
            self.updates.write(results[count:])
            return results[0] if count == 1 else tuple(results[:count])

        return call

    def _checked_entry(self) -> Callable[..., Any] | None:
        """The native entry, wrapped only where there is something to check or to rebuild; None where there is none."""
        if self.entry is None or self.recording.told_apart:
            return None
        entry = guarded(self.state, self.entry, self._guard)
        structure = self.recording.structure
        assert structure is not None
        if self.assigned or self.assigned.read:
            results = [*leaves(structure)]
            plain = structure == _given_structure(len(results))
            result = (_first if len(results) == 1 else _leading(len(results))) if plain else self.structured
            return self.assigned.around(entry, self._results, result, results)
        if structure == _given_structure(self._results):
            return entry

        def call(*arguments: Any) -> Any:
            result = entry(*arguments)
            return result if result is NotImplemented else self.structured(_as_list(result, self._results))

        return call

    def call_with_out(self, place: int) -> FastCall | None:
        """What runs calls of args and kwargs, where ``out`` at this place among the keywords brings memory for each result.

        None where the entry does not write there, or where results are not arrays alone.
        """
        if place not in self._calls_with_out:
            self._calls_with_out[place] = self._new_call_with_out(place)
        return self._calls_with_out[place]

    def _new_call_with_out(self, place: int) -> FastCall | None:
        form, structure = self._form, self.recording.structure
        if form is None or self.entry is None or structure is None or self.backend.device is not None:
            return None
        if self.assigned or self.assigned.read or self.recording.told_apart:
            return None
        if [*leaves(structure)] != [*range(len(self.schedule_results()))]:
            return None
        parts = parts_with_out(form, structure, place)
        if parts is None:
            return None
        entry = guarded(self.state, self.entry, self._guard)
        convert = conversion(self.operands, ndarray) if self.operands else None
        return self.backend.fast_call(parts, True, entry, convert, len(self.operands), registries())

    def _fast_call(self, form: Structure, entry: Callable[..., Any]) -> FastCall | None:
        """``entry`` for calls of another form than arrays by position."""
        parts = parts_of(form)
        if parts is None:
            return None
        assert isinstance(form, Branch)
        has_arrays = any(part.kind is PartKind.ARRAY for part in parts)
        kind = (
            _as_it_is if has_arrays else ndarray
        )  # numbers beside arrays do not decide what the results are
        convert = conversion(self.operands, kind) if self.operands else None
        return self.backend.fast_call(parts, bool(form.parts[1].parts), entry, convert, len(self.operands))

    def schedule_results(self) -> list[Any]:
        return [b for b in self.schedule.buffers if b.kind is BufferKind.RESULT]


def _given_structure(count: int) -> Structure:
    """That of what an entry gives."""
    return Leaf(0) if count == 1 else Branch(tuple, tuple(map(Leaf, range(count))))


def _first(arrays: Sequence[Any]) -> Any:
    return arrays[0]


def _leading(count: int) -> Callable[[Sequence[Any]], Any]:
    return lambda arrays: tuple(arrays[:count])


def _as_list(result: Any, count: int) -> list[ndarray]:
    """What an entry gave: one array, or a tuple of any other number of them."""
    return [result] if count == 1 else list(result)


def _as_it_is(data: numpy.ndarray) -> numpy.ndarray:
    return data


def _given(array: ndarray, device: Device | None) -> Any:
    """What an executable takes: where the array lies on its device, or else its data in C order."""
    lies = None if array._pending is None else resident_of(array, device)
    return lies or numpy.require(array._data, requirements=("C", "A")).reshape(array.shape)


def _result(value: Any, device: Device | None) -> ndarray:
    return ndarray(value) if device is None or type(value) is numpy.ndarray else pending_array(value, device)
