"""A recorded call as a compiled program: what it rests on, whether that still holds, and how to run it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array import stamps
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.schedule import Schedule, schedule
from blockfuse.ir.errors import TraceError
from blockfuse.ir.graph import captured, evaluate, parameter
from blockfuse.ir.passes.pipeline import Optimized, optimize
from blockfuse.ir.types import type_of
from blockfuse.runtime.backend import Backend
from blockfuse.runtime.guards import quick_check
from blockfuse.tracer.record import Recording
from blockfuse.tracer.state import State
from blockfuse.tracer.structure import Leaf, rebuild


class Program:
    """One compiled path through ``forward``, for one signature.

    ``call`` is what runs it: the native entry itself where nothing has to be checked in Python first. It
    answers NotImplemented when something changed; then ``refresh`` says whether the program is still right
    (and brings its parameters up to date).
    """

    def __init__(self, recording: Recording, backend: Backend) -> None:
        assert recording.graph is not None
        assert recording.state is not None
        started = time.perf_counter()
        self.recording = recording
        self.state: State = recording.state
        self.optimized: Optimized = optimize(recording.graph, backend.machine.vector_bytes)
        self._check_draws()
        self.schedule: Schedule = schedule(self.optimized.main, backend.machine)
        self.executable = backend.load(self.schedule)
        self._lock = threading.Lock()
        self._stale = True
        self._watch()
        self.call = self._caller()
        self.refresh()
        self.seconds = time.perf_counter() - started

    def _check_draws(self) -> None:
        draws = [n for n in self.optimized.main.nodes if n.operator.random]
        if [id(n) for n in draws] != [id(n) for n in self.recording.draws]:
            raise TraceError(
                "forward draws random numbers in an order that the compiled program would change"
            )

    # -- validity --------------------------------------------------------------------------------------------

    def invalidate(self) -> None:
        """Something that the program rests on may have changed (called by watchers)."""
        with self._lock:
            self._stale = True
            self.executable.allow(False)

    def _watch(self) -> None:
        for value in self.recording.watched:
            value._watchers.add(self)
        for origin, leaf in zip(self.recording.origins, self._leaves(), strict=True):
            if leaf.operator is parameter:
                stamps.watch_buffer(origin.array(), self)

    def _leaves(self) -> list[Any]:
        assert self.recording.graph is not None
        return [i for i in self.recording.graph.inputs if i.operator in (parameter, captured)]

    def refresh(self) -> bool:
        """Whether the program is right for the present state; if so, it is bound to the present parameters."""
        if self.state.change():
            return False
        with self._lock:
            if not self._stale:
                return True
            self._stale = False
        arrays = [origin.array() for origin in self.recording.origins]
        if any(type_of(a) != leaf.type for a, leaf in zip(arrays, self._leaves(), strict=True)):
            return False
        self._bind(arrays)
        self._watch()  # parameters may lie elsewhere now
        with self._lock:
            if not self._stale:
                self.executable.allow(True)
        return True

    def _bind(self, arrays: list[numpy.ndarray]) -> None:
        """Run the prologue and point native code at its results and the parameters."""
        known = {leaf.attrs["name"]: a for leaf, a in zip(self._leaves(), arrays, strict=True)}
        prologue = self.optimized.prologue
        with numpy.errstate(all="ignore"):
            results = evaluate(prologue, [known[i.attrs["name"]] for i in prologue.inputs])
        known |= {f"hoisted{n}": value for n, value in enumerate(results)}
        values = [
            node.attrs["value"] if "value" in node.attrs else known[node.attrs["name"]]
            for node in self.schedule.parameters
        ]
        self.executable.bind([numpy.ascontiguousarray(v).reshape(v.shape) for v in values])

    # -- running ---------------------------------------------------------------------------------------------

    def run(self, arguments: list[ndarray]) -> Any:
        """The result for arguments of the right signature, through Python (any memory layout, host calls)."""
        data = [numpy.require(a._data, requirements=("C", "A")).reshape(a.shape) for a in arguments]
        results = [ndarray(r) for r in self.executable.run(data)]
        return self._structured(results)

    def _structured(self, results: list[ndarray]) -> Any:
        assert self.recording.structure is not None
        return rebuild(self.recording.structure, results.__getitem__, self.recording.statics)

    def _caller(self) -> Callable[..., Any] | None:
        """The quickest way to call: the entry, wrapped only where there is something to check or to rebuild."""
        entry = self.executable.entry
        if entry is None:
            return None
        check = quick_check(self.state)
        plain = self.recording.structure == Leaf(0)
        if check is None and plain:
            return entry  # type: ignore[no-any-return]
        count = len(self.schedule_results())

        def call(*arguments: Any) -> Any:
            if check is not None and not check():
                return NotImplemented
            result = entry(*arguments)
            if plain or result is NotImplemented:
                return result
            return self._structured([result] if count == 1 else list(result))

        return call

    def schedule_results(self) -> list[Any]:
        return [b for b in self.schedule.buffers if b.kind == "result"]
