"""Calls in Python from beginning to end; their operators run in segments (``tracer/lazy/segments.py``), compiled."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Branch, Leaf
from blockfuse.codegen.compiler_thread import is_interrupted
from blockfuse.ir import interpreter
from blockfuse.ir.builder import node_of, operands_as_nodes
from blockfuse.ir.errors import TraceError
from blockfuse.ir.graph import Node, argument, leaf, parameter
from blockfuse.ir.types import type_of
from blockfuse.runtime.audit.selfcheck import Changed, SelfCheck
from blockfuse.runtime.calls.case import Case
from blockfuse.runtime.calls.owner import Owner
from blockfuse.runtime.programs.backend import Backend
from blockfuse.runtime.programs.failures import CompilerFailures
from blockfuse.runtime.programs.program import Program
from blockfuse.tracer.flow.origins import Origin
from blockfuse.tracer.flow.path import Path
from blockfuse.tracer.lazy.segment_tree import SEGMENT_NANOSECONDS, Runner, Step, Tree
from blockfuse.tracer.lazy.segments import Segmented
from blockfuse.tracer.recording.record import Recording
from blockfuse.tracer.state.picture import State

MAX_PROGRAMS = 64  # of one block or function; further segments run through NumPy


class Segments:
    """The segments of one block or function and their programs."""

    def __init__(
        self,
        owner: Owner,
        backend: Callable[[], Backend],
        failures: CompilerFailures,
        check: SelfCheck | None,
        min_nanoseconds: float = SEGMENT_NANOSECONDS,  # segments that NumPy computes faster are left to it
    ) -> None:
        self._owner, self._backend, self._failures, self._check = owner, backend, failures, check
        self.tree = Tree(self._held, self._compile, min_nanoseconds)
        # One that is assigned later may change at every call.
        self._attributes = {id(a): a for a in owner.attribute_arrays()}
        self._programs: list[weakref.ref[Program]] = []
        self.problem = ""

    def run(self, case: Case, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call in Python from beginning to end, its operators in compiled segments where that is quicker."""
        if case.segmented is False or isinstance(interpreter.current(), Segmented):
            return self._owner.run(args, kwargs)
        segmented = Segmented(self.tree)
        try:
            segmented.begin()
            with interpreter.interpreting(segmented):
                return self._owner.run(args, kwargs)
        finally:
            segmented.finish()
            if case.segmented is None:
                case.weigh(segmented)

    @property
    def programs(self) -> list[Program]:
        """Those that the tree still has."""
        return [program for program in (reference() for reference in self._programs) if program is not None]

    def _held(self, blocks: list[Any]) -> dict[int, ndarray]:
        """The arrays that stay what they are, as far as segments go, also those of blocks that a call met."""
        met = [parameter._data for block in blocks for _, parameter in block._walk("")]
        parameters = [*self._owner.parameter_arrays(), *(a for a in met if a is not None)]
        return {**self._attributes, **{id(a): a for a in parameters}}

    def _compile(self, step: Step, wanted: tuple[int, ...]) -> Runner | None:
        if len(self._programs) >= MAX_PROGRAMS or is_interrupted():
            return None
        structure = Leaf(0) if len(wanted) == 1 else Branch(tuple, tuple(Leaf(n) for n in range(len(wanted))))
        try:
            path, given = _path(step, wanted)
            recording = Recording(None, path=path, structure=structure, state=State())
            program = Program([recording], self._backend())
        except TraceError as error:
            self.problem = str(error)
            return None
        except Exception as error:
            self.failed(error)
            return None
        self._programs.append(weakref.ref(program))
        self._failures.warn_of_promotions(program.flow)
        return _Run(program, given, self._check, self.failed)

    def failed(self, error: Exception) -> None:
        """Something is wrong with us: NumPy runs the segment."""
        self._failures.tell(error, self._keep)

    def _keep(self, problem: str) -> None:
        self.problem = problem


class _Run:
    """A program over the leaves of a segment."""

    def __init__(
        self,
        program: Program,
        given: list[int],  # which of the leaves are its arguments
        check: SelfCheck | None,  # what its first run has to pass
        failed: Callable[[Exception], None],  # is told of an error of ours; then NumPy runs the segment
    ) -> None:
        self._program, self._given, self._check, self._failed = program, given, check, failed
        self._entry = program.entry or _refusing
        self._broken = False
        self.work = program.schedule.work

    def __call__(self, leaves: list[ndarray]) -> list[numpy.ndarray] | None:
        if self._broken:
            return None
        arguments = [leaves[n] for n in self._given]
        try:
            if self._check is not None and self._program.refresh() is None:
                self._check.prove_graph(self._program, arguments)
                self._check = None
            return self._computed(arguments)
        except Changed:
            return None
        except Exception as error:
            self._broken = not isinstance(error, MemoryError)
            self._failed(error)
            return None

    def _computed(self, arguments: list[ndarray]) -> list[numpy.ndarray] | None:
        result = self._entry(*arguments)
        if result is NotImplemented:
            if self._program.refresh() is not None:
                return None
            result = self._program.run(arguments)
        return [result._data] if type(result) is ndarray else [r._data for r in result]


def _refusing(*_: ndarray) -> Any:
    return NotImplemented


def _path(step: Step, wanted: tuple[int, ...]) -> tuple[Path, list[int]]:
    """The steps up to ``step`` as a recorded path, and which leaves of the segment are its arguments."""
    arguments: list[Node] = []
    origins: dict[Node, Origin] = {}
    leaves: list[Node] = []
    given: list[int] = []
    values: list[Node] = []
    for one in step.path():
        for new in one.leaves:
            if isinstance(new, ndarray):
                node = leaf(parameter, f"parameter{len(origins)}", type_of(new._data))
                origins[node] = Origin(node.attrs["name"], new)
            else:
                node = leaf(argument, f"x{len(arguments)}", new)
                arguments.append(node)
                given.append(len(leaves))
            leaves.append(node)
        operands = [
            o[1] if type(o) is tuple else values[o] if o >= 0 else leaves[-1 - o] for o in one.operands
        ]
        assert one.operator is not None
        value = node_of(one.operator, operands_as_nodes(one.operator, tuple(operands)), one.attrs, None)
        values.append(value)
    outputs = tuple(values[n] for n in wanted)
    return Path(
        tuple(arguments), tuple(values), frozenset(), (), outputs, {n: n for n in origins}, origins
    ), given
