"""Segments of calls that cannot be one program (``tracer/lazy/segments.py``), compiled."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Branch, Leaf
from blockfuse.codegen.compiler_thread import is_interrupted
from blockfuse.ir.builder import node_of, operands_as_nodes
from blockfuse.ir.errors import TraceError
from blockfuse.ir.graph import Node, argument, leaf, parameter
from blockfuse.ir.types import type_of
from blockfuse.runtime.audit.selfcheck import Changed, SelfCheck
from blockfuse.runtime.programs.backend import Backend
from blockfuse.runtime.programs.failures import CompilerFailures
from blockfuse.runtime.programs.program import Program
from blockfuse.tracer.flow.origins import Origin
from blockfuse.tracer.flow.path import Path
from blockfuse.tracer.lazy.segment_tree import SEGMENT_NANOSECONDS, Runner, Step, Tree
from blockfuse.tracer.recording.record import Recording
from blockfuse.tracer.state.picture import State

_PROGRAMS = 64  # of one block or function; further segments run through NumPy


class Segments:
    """The segments of one block or function and their programs.

    least: segments that NumPy computes in fewer nanoseconds are left to it.
    """

    def __init__(
        self,
        owner: Any,
        backend: Callable[[], Backend],
        failures: CompilerFailures,
        check: SelfCheck | None,
        least: float = SEGMENT_NANOSECONDS,
    ) -> None:
        self._owner, self._backend, self._failures, self._check = owner, backend, failures, check
        self.tree = Tree(self._held, self._compile, least)
        self._given = _arrays_in(owner)
        self._programs: list[weakref.ref[Program]] = []
        self.problem = ""

    @property
    def programs(self) -> list[Program]:
        """Those that the tree still has."""
        return [program for program in (reference() for reference in self._programs) if program is not None]

    def _held(self, blocks: list[Any]) -> dict[int, ndarray]:
        roots = [self._owner, *blocks] if hasattr(self._owner, "_walk") else blocks
        arrays = [parameter._data for root in roots for _, parameter in root._walk("")]
        return {**self._given, **{id(a): a for a in arrays if a is not None}}

    def _compile(self, step: Step, wanted: tuple[int, ...]) -> Runner | None:
        if len(self._programs) >= _PROGRAMS or is_interrupted():
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
        self._failures.warn_of_dtypes(program.schedule.steps, program.schedule.buffers)
        return _Run(program, given, self._check, self.failed)

    def failed(self, error: Exception) -> None:
        """Something is wrong with us: NumPy runs the segment."""
        self.problem = self._failures.tell(error)
        self._failures.warn(self.problem)


def _arrays_in(owner: Any) -> dict[int, ndarray]:
    """The arrays in attributes of a block and those in it, by id. One that is assigned later may change at every call."""
    blocks = owner._blocks() if hasattr(owner, "_blocks") else ()
    return {id(a): a for block in blocks for a in vars(block).values() if type(a) is ndarray}


class _Run:
    """A program over the leaves of a segment.

    given: which of them are its arguments. check: what its first run has to pass. failed: what is called with an error of
    ours; then NumPy runs the segment.
    """

    def __init__(
        self,
        program: Program,
        given: list[int],
        check: SelfCheck | None,
        failed: Callable[[Exception], None],
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
            if self._check is not None and self._program.refresh() is True:
                self._check.prove_segment(self._program, arguments)
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
            if self._program.refresh() is not True:
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
