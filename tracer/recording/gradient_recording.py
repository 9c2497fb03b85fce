"""A call inside of ``autograd.record()`` recorded with its gradients: forward, and behind it backward, as one graph.

The call runs on the tape of its caller, who goes on with its results and their histories. What the recorder below has
written is then gone through backwards, from gradients that are arguments, down to what was there before the call: the
nodes of arguments, parameters and captured arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy

from blockfuse.array import history
from blockfuse.array.backward import gradients
from blockfuse.array.function import is_of_function
from blockfuse.array.history import TapeNode, node_of
from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Unstructured, flatten_result
from blockfuse.array.tape import Tape
from blockfuse.ir import interpreter
from blockfuse.ir.errors import TraceError
from blockfuse.ir.graph import Graph, Node, graph_of, leaf
from blockfuse.ir.operators.movement import stop_gradient
from blockfuse.ir.signal_handlers import came_from_handler
from blockfuse.tracer.flow.origins import Origin, Place
from blockfuse.tracer.flow.path import Path
from blockfuse.tracer.recording.recorder import Recorder


@dataclass(frozen=True)
class Pull:
    """The gradients that come from some results."""

    heads: tuple[int, ...]  # numbers of the results
    given: tuple[Node, ...]  # the gradient of each of them, an argument
    of: tuple[Node, ...]  # leaves: arguments, parameters, captured arrays
    grads: tuple[Node, ...]  # of each of these


@dataclass(frozen=True)
class JointGraph:
    """A call and its gradients."""

    # inputs: arguments, gradients of results, other leaves; outputs: results, gradients, updates
    graph: Graph
    arguments: tuple[Node, ...]  # of the call
    results: tuple[Node, ...]
    pulls: tuple[Pull, ...]  # of all results together; where there are several, of each alone, too
    updates: dict[Node, Node]  # leaf -> its new value
    origins: dict[Node, Origin]  # leaf -> where the parameter or captured array lies
    followed: frozenset[Node]  # leaves that had a history
    opaque: str  # why nobody could tell gradients of the gradients from the graph


class GradientRecording:
    """What ``record`` is given for one call: ``run`` on the tape, and ``pull`` for what comes behind it."""

    def __init__(self, call: Callable[[], Any], recorder: Recorder) -> None:
        self._call, self._recorder = call, recorder
        recorder.outlived = True
        self._given = [(a, node_of(a)) for a in {id(a): a for a in recorder.given}.values()]
        self._since = history.now()
        self._forward = 0  # nodes of the recording that belong to the call
        self._pulls: list[Pull] = []
        self._followed: frozenset[Node] = frozenset()
        self.grads: list[ndarray] = []  # what the gradients were: of all pulls
        self.problem = ""  # why no programs can stand for the call, although a graph could

    def run(self) -> Any:
        """The call, as its caller makes it."""
        with interpreter.interpreting(Tape(self._recorder)):
            return self._call()

    def pull(self, result: Any) -> None:
        """The gradients of the result, as far as they can be recorded."""
        self._recorder.pulled = []
        self._forward = len(self._recorder.sequence)
        if self._recorder.problem:
            return
        try:
            if self._recorder.may_join:
                raise TraceError("its flow depends on data")
            self._pull(result)
        except Unstructured:
            pass  # refused for that
        except TraceError as error:
            self.problem = str(error)
        except Exception as error:
            if came_from_handler(error):
                raise
            self._recorder.failed(error)

    def _pull(self, result: Any) -> None:
        memory = self._recorder.memory
        arrays: list[ndarray] = []
        flatten_result(result, arrays, [])
        found = ((a, node_of(a)) for a in memory.found.values() if type(a) is ndarray)
        ends = _by_node([*self._given, *found])
        self._followed = frozenset(map(memory.node_of, ends.values()))
        nodes = {n: node for n, a in enumerate(arrays) if (node := node_of(a)) is not None}
        _refuse_functions(nodes.values(), self._since)
        starts = {n: (node, arrays[n], self._head_gradient(n, arrays[n])) for n, node in nodes.items()}
        several = [(n,) for n in nodes] if len(nodes) > 1 else []
        for heads in [tuple(nodes), *several] if nodes else []:
            grads = gradients([starts[n] for n in heads], keep=True, since=self._since)
            if not grads.keys() <= ends.keys():
                raise TraceError(
                    "it uses recorded values that are neither arguments, parameters nor attributes"
                )
            self.grads += grads.values()
            given = (starts[n][2] for n in heads)
            of = (ends[node] for node in grads)
            self._pulls.append(
                Pull(heads, *(tuple(map(memory.node_of, a)) for a in (given, of, grads.values())))
            )
        self._recorder.pulled = self.grads

    def _head_gradient(self, number: int, head: ndarray) -> ndarray:
        """Any gradient of a result, as an argument: numbers that hide no factor, as ones would."""
        values = numpy.random.default_rng(number).uniform(0.5, 1.5, head.shape)
        grad = ndarray(values.astype(head.dtype))
        self._recorder.add_argument(f"grad{number}", grad)
        return grad

    def joint(self, path: Path) -> JointGraph:
        """The graph of a recording that has no problem; raises TraceError where there is one after all."""
        now = _resolved(path)

        def all_now(nodes: Iterable[Node]) -> tuple[Node, ...]:
            return tuple(now.get(n, n) for n in nodes)

        pulls = [replace(p, of=all_now(p.of), grads=all_now(p.grads)) for p in self._pulls]
        outputs, followed = all_now(path.outputs), frozenset(all_now(self._followed))
        values = len(outputs) - len(path.updates)
        origins = {now[n]: path.origins[leaf] for n, leaf in path.leaves.items() if leaf in path.origins}
        _refuse_leaves(origins, followed - {*path.arguments})
        return JointGraph(
            graph=graph_of((*path.arguments, *origins), outputs),
            arguments=path.arguments[: len(self._recorder.given)],
            results=outputs[: values - len(self.grads)],
            pulls=tuple(pulls),
            updates=dict(zip(all_now(path.updates), outputs[values:], strict=True)),
            origins=origins,
            followed=followed,
            opaque=self._opaque(now, outputs[:values], followed),
        )

    def _opaque(self, now: dict[Node, Node], outputs: Sequence[Node], followed: frozenset[Node]) -> str:
        """Where the tape did not follow what a graph says, or said more than a graph does."""
        reached = graph_of((), outputs).nodes
        leading = set(followed)
        for node in reached:
            if any(o in leading for o in node.operands):
                leading.add(node)
        relevant = leading.intersection(reached) - followed
        sequence, untaped = self._recorder.sequence, self._recorder.untaped
        if any(n in untaped and now[n] in relevant for n in sequence[: self._forward]):
            return "pauses the recording or writes in place"
        stopped = any(n.operator is stop_gradient and now[n] in relevant for n in sequence[self._forward :])
        return "writes to what a gradient needs" if stopped else ""


def _resolved(path: Path) -> dict[Node, Node]:
    """Node of the recording -> node over resolved leaves, of which each parameter and captured array has one."""
    now: dict[Node, Node] = {a: a for a in path.arguments}
    known: dict[Any, Node] = {}  # key of an origin -> its leaf
    names = {a.attrs["name"] for a in path.arguments}
    for provisional, found in path.leaves.items():
        origin = path.origins.get(found)
        if origin is None:
            now[provisional] = found
            continue
        if origin.key not in known:
            name, repeats = origin.name, 1
            while name in names:
                name, repeats = f"{origin.name}.{repeats}", repeats + 1
            names.add(name)
            known[origin.key] = leaf(found.operator, name, found.type)
        now[provisional] = known[origin.key]
    for node in path.sequence:
        now[node] = node.over(tuple(now.get(o, o) for o in node.operands))
    return now


def _refuse_leaves(origins: dict[Node, Origin], followed: frozenset[Node]) -> None:
    if any(origin.place is not Place.VALUE for origin in origins.values()):
        raise TraceError("it reads gradients of parameters")
    if not followed <= origins.keys():
        raise TraceError("it follows gradients to arrays that it writes, or has made of numbers")


def _by_node(pairs: Sequence[tuple[ndarray, TapeNode | None]]) -> dict[TapeNode, ndarray]:
    ends: dict[TapeNode, ndarray] = {}
    for array, node in pairs:
        if node is not None and ends.setdefault(node, array) is not array:
            raise TraceError("it takes one recorded value by way of two arrays")
    return ends


def _refuse_functions(heads: Iterable[TapeNode], since: int) -> None:
    """What users write as ``backward`` may have effects, and must run once for each of theirs."""
    if any(is_of_function(node) for node in _reached(heads, since)):
        raise TraceError("it calls an autograd.Function, whose backward is Python's")


def _reached(heads: Iterable[TapeNode], since: int) -> Iterator[TapeNode]:
    """The nodes of the call that lead to its results."""
    seen: set[TapeNode] = set()
    waiting = list(heads)
    while waiting:
        node = waiting.pop()
        if node not in seen and node.order >= since:
            seen.add(node)
            yield node
            waiting.extend(parent for parent in node.parents if parent is not None)
