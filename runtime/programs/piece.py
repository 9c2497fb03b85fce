"""One call inside of ``autograd.record()`` as two programs, and the node of the tape between them.

NOTE [pieces]
The forward program gives the results and what the backward part needs besides. One node of the tape stands for the call:
its operands are the kept values, so whatever is written to them later is copied first (NOTE [written values]), and its
pullback runs the backward program. What comes to the leaves goes on by the rules of the tape. Of several results not all
need be used: there is a backward program for all of them, and one for each alone, whose gradients are added; a gradient of
zeros for a result that nobody uses could make nan of what is infinite. Programs of a backward part are made when they are
first asked for. Where somebody else interprets (a recorder, or the tape itself for gradients of gradients), the operators
of the graph are called one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from blockfuse.array import modes, stamps
from blockfuse.array.backward import Parts, output_node
from blockfuse.array.eager import EAGER
from blockfuse.array.history import TapeNode, link, node_of
from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Leaf, rebuild
from blockfuse.array.tape import is_taping
from blockfuse.codegen.compiler_thread import is_interrupted
from blockfuse.codegen.variants import ExecutionPolicy
from blockfuse.ir import interpreter
from blockfuse.ir.errors import GradientError, TraceError
from blockfuse.ir.graph import Node, graph_of
from blockfuse.runtime.programs.backend import Backend
from blockfuse.runtime.programs.guards import guarded
from blockfuse.runtime.programs.halves import Backward, Halves, backward_program
from blockfuse.runtime.programs.meaning import applied
from blockfuse.runtime.programs.no_result import NoResult
from blockfuse.runtime.programs.program import Program
from blockfuse.tracer.recording.gradient_recording import JointGraph, Pull
from blockfuse.tracer.recording.record import Recording
from blockfuse.tracer.state.facts import is_watched

_MAX_ATTEMPTS = 8  # to make a program of a backward part
Prove = Callable[[Program, list[ndarray]], None]


class Piece:
    """The programs of one signature."""

    def __init__(
        self,
        name: str,
        joint: JointGraph,
        halves: Halves,
        forward: Program,
        recording: Recording,
        followed: Sequence[bool],
        backend: Callable[[], Backend],
        prove: Prove | None,
        failed: Callable[[Exception], None],
    ) -> None:
        """recording: of the call, for the structure of its result. followed: which arguments had a history. prove, failed:
        see ``Half``.
        """
        self._name, self.halves, self.forward = name, halves, forward
        assert recording.structure is not None
        self._structure, self._statics = recording.structure, recording.statics
        self.count = len(joint.arguments)
        self._holders = [joint.origins[leaf].holder for leaf in halves.leaves[self.count :]]
        self._followed = [*followed, *(leaf in joint.followed for leaf in halves.leaves[self.count :])]
        self._padding = (None,) * (len(halves.kept) - len(halves.leaves))
        self.heads = joint.pulls[0].heads if joint.pulls else ()
        self.backwards = {b.heads: Half(b, backend, prove, failed) for b in halves.backwards}
        self._joint, self._pulls = joint, {pull.heads: pull for pull in joint.pulls}
        self._gives_array = self._structure == Leaf(0)
        # of arguments, and what says that the mode is right
        self._entry = None if forward.entry is None else guarded(forward.state, forward.entry)
        self.calls = 0

    def run(self, arguments: Sequence[ndarray]) -> Any:
        """The result of a call, on the tape; NoResult where these programs cannot give it."""
        trouble = self.forward.refresh()
        if trouble is not None:
            return trouble
        return self._noted(arguments, self._by_program)

    def quick(self, arguments: Sequence[ndarray]) -> Any:
        """The same by native code alone, which looks at the types of the arguments and whether everything still holds."""
        return NoResult.PYTHON if self._entry is None else self._noted(arguments, self._by_entry)

    def _noted(self, arguments: Sequence[ndarray], compute: Callable[[Sequence[ndarray]], Any]) -> Any:
        leaves = (*arguments, *map(_array_of, self._holders))
        parents = tuple(map(node_of, leaves))
        if [parent is not None for parent in parents] != self._followed:
            return NoResult.OUTDATED
        values = compute(arguments)
        if type(values) is NoResult:
            return values
        if self.heads:
            self._note(parents, tuple(map(_kept, leaves)), values)
        self.calls += 1
        if self._gives_array:
            return values[0]
        return rebuild(self._structure, values.__getitem__, self._statics)

    def _by_entry(self, arguments: Sequence[ndarray]) -> Any:
        """The values that the forward program gives."""
        assert self._entry is not None
        found = self._entry(*arguments, modes.UNUSUAL)
        if found is NotImplemented:
            return NoResult.UNKNOWN
        return [found] if type(found) is ndarray else found

    def _by_program(self, arguments: Sequence[ndarray]) -> Any:
        return self.forward.finished(self.forward.run(list(arguments)))

    def _note(
        self, parents: tuple[TapeNode | None, ...], leaves: tuple[ndarray, ...], values: Sequence[ndarray]
    ) -> None:
        """Link the results to a node that holds what the backward part needs."""
        halves = self.halves
        shown = (ndarray(values[n]._data) for n in halves.shown)  # a result itself would hold its own node
        kept = (*leaves, *shown, *values[halves.results :])
        first = values[self.heads[0]]
        node = TapeNode(first._data, (*parents, *self._padding), kept, self._pulled)
        if len(self.heads) == 1:
            link(first, node)
            return
        for number in self.heads:
            link(values[number], output_node(node, values[number]._data, number))

    def _pulled(self, grad: Any, _: Any, *kept: Any) -> tuple[Any, ...]:
        """The pullback: gradients of the kept values, of which leaves have some."""
        of = grad.of if type(grad) is Parts else {self.heads[0]: grad}
        heads = tuple(sorted(of))
        total: dict[int, Any] = {}
        for group in [heads] if heads in self.backwards else [(n,) for n in heads]:
            found = self._gradients(group, [of[n] for n in group], kept)
            for number, gradient in zip(self.backwards[group].meaning.of, found, strict=True):
                total[number] = total[number] + gradient if number in total else gradient
        return tuple(map(total.get, range(len(kept))))

    def _gradients(self, heads: tuple[int, ...], grads: list[Any], kept: tuple[Any, ...]) -> list[Any]:
        if is_taping():
            return self._followed_gradients(self._pulls[heads], grads, kept)
        return self.backwards[heads].gradients(grads, kept)

    def _followed_gradients(self, pull: Pull, grads: list[Any], kept: tuple[Any, ...]) -> list[Any]:
        """For gradients of gradients: computed from the leaves by operators, which the tape notes."""
        halves = self.halves
        values: dict[Node, Any] = dict(zip(halves.leaves, kept, strict=False))
        values |= dict(zip(pull.given, grads, strict=True))
        drawn = {n: k for n, k in zip(halves.kept, kept, strict=True) if n.operator.random}
        graph = graph_of(values, pull.grads)
        unknown = next((n for n in graph.nodes if n.is_leaf and n in self._joint.origins), None)
        opaque = self._joint.opaque or (unknown and "reads memory that NumPy may write")
        if opaque:
            raise GradientError(
                f"{self._name} is hybridized and {opaque}, so the gradients of its gradients are not known: call "
                f"hybridize(active=False) before gradients are recorded"
            )
        return applied(graph, values.values(), drawn)


def _array_of(holder: Any) -> ndarray:
    array: ndarray = holder._data if is_watched(holder) else holder
    return array


def _kept(array: ndarray) -> ndarray:
    """A leaf as the backward part will find it: NumPy may write its memory without a word."""
    return ndarray(numpy.array(array._data)) if stamps.is_exposed(array._data) else array


class Half:
    """A backward part, and its program once somebody has asked for it."""

    def __init__(
        self,
        meaning: Backward,
        backend: Callable[[], Backend],
        prove: Prove | None,  # holds a new program against its graph; None where nobody asks for that
        failed: Callable[[Exception], None],  # is told of an error of ours
    ) -> None:
        self.meaning, self._backend, self._prove, self._failed = meaning, backend, prove, failed
        self.program: Program | None = None
        self.broken = False
        self._attempts = 0  # that gave no program

    def gradients(self, grads: list[Any], kept: tuple[Any, ...]) -> list[Any]:
        """Those that the places name."""
        values = [kept[n] for n in self.meaning.reads] + grads
        current = interpreter.current()
        results: Sequence[Any] | None = None
        if self.meaning.graph.outputs and (current is EAGER or current.defers):
            results = self._computed(list(map(_contiguous, values)))
        if results is None:
            results = applied(self.meaning.graph, values)
        return [results[place] if place >= 0 else values[place] for place in self.meaning.places]

    def _computed(self, values: list[ndarray]) -> Sequence[ndarray] | None:
        if self.broken or (self.program is None and is_interrupted()):
            return None
        try:
            program = self.program or self._made(values)
            found = NotImplemented if program.entry is None else program.entry(*values, modes.UNUSUAL)
            if found is NotImplemented:
                found = self._by_python(program, values)
        except TraceError:  # there is no program of it, or others change what it reads while it is checked
            self._attempts += 1
            self.broken = self._attempts > _MAX_ATTEMPTS
            return None
        except Exception as error:
            self.broken = not isinstance(error, MemoryError)
            self._failed(error)
            return None
        return [found] if type(found) is ndarray else found

    def _by_python(self, program: Program, values: list[ndarray]) -> Sequence[ndarray] | None:
        """Where the entry refuses: an array is given twice, or this is a child of a fork, say."""
        if program.refresh() is not None:
            return None
        found = program.run_by(ExecutionPolicy.ADAPTIVE, values, (), set())
        return None if type(found) is NoResult else found

    def _made(self, values: list[ndarray]) -> Program:
        program = backward_program(self.meaning, self._backend())
        if self._prove is not None:
            self._prove(program, values)
        self.program = program
        return program


def _contiguous(array: ndarray) -> ndarray:
    data = array._data
    return array if data.flags.c_contiguous else ndarray(numpy.ascontiguousarray(data))
