"""A recorded call with its gradients, cut into what runs forward and what runs backward: graphs, and programs of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from blockfuse.array.pytree import Branch, Leaf
from blockfuse.ir.errors import TraceError
from blockfuse.ir.graph import Graph, Node, argument, captured, constant, graph_of, leaf, parameter
from blockfuse.ir.passes.residuals import given, read_behind, residuals
from blockfuse.runtime.programs.backend import Backend, CpuBackend
from blockfuse.runtime.programs.program import Program
from blockfuse.tracer.flow.origins import Origin
from blockfuse.tracer.flow.path import Path
from blockfuse.tracer.recording.gradient_recording import JointGraph, Pull
from blockfuse.tracer.recording.record import Recording
from blockfuse.tracer.state.picture import State


@dataclass(frozen=True)
class Backward:
    """What computes the gradients that come from some results."""

    heads: tuple[int, ...]  # numbers of the results
    reads: tuple[int, ...]  # numbers of the kept values that it reads
    graph: Graph  # inputs: those values, then the gradients of the results
    of: tuple[int, ...]  # numbers of the kept values that the gradients are of
    # of each of them: the number of an output of the graph; or of an input, which is the gradient itself, less all outputs
    places: tuple[int, ...]


@dataclass(frozen=True)
class Halves:
    """Forward and backward. The kept values are, in this order: leaves that stay where they are, results, and others, which
    only the backward part needs.
    """

    forward: Graph  # outputs: results, values that are kept for the backward part, updates
    origins: dict[Node, Origin]  # leaf of the forward part -> where it lies
    updates: tuple[Node, ...]  # leaves that the last outputs are written to
    results: int  # how many
    leaves: tuple[Node, ...]  # of the joint graph, whose arrays are kept
    shown: tuple[int, ...]  # numbers of the results that are kept
    kept: tuple[Node, ...]  # of the joint graph: all kept values
    backwards: tuple[Backward, ...]


def halves_of(joint: JointGraph) -> Halves:
    """The cut of NOTE [residuals]."""
    late = {node for pull in joint.pulls for node in pull.given}
    leaves = tuple(n for n in (*joint.arguments, *joint.origins) if _stays(n, joint))
    read = read_behind((grad for pull in joint.pulls for grad in pull.grads), late)
    cut = residuals(read, {*leaves, *joint.results})
    shown = tuple(n for n, result in enumerate(joint.results) if result in cut)
    saved = tuple(n for n in cut if n not in leaves and n not in joint.results)
    kept = (*leaves, *(joint.results[n] for n in shown), *saved)
    read_as = {n: _read_by_program(n, joint) for n in joint.origins}
    outputs = (*joint.results, *saved, *joint.updates.values())
    forward = given(joint.graph, outputs, {**{a: a for a in joint.arguments}, **read_as})
    return Halves(
        forward=replace(forward, inputs=(*joint.arguments, *read_as.values())),
        origins={read_as[n]: origin for n, origin in joint.origins.items()},
        updates=tuple(read_as[n] for n in joint.updates),
        results=len(joint.results),
        leaves=leaves,
        shown=shown,
        kept=kept,
        backwards=tuple(_backward(joint, pull, kept) for pull in joint.pulls),
    )


def _stays(node: Node, joint: JointGraph) -> bool:
    """Whether the memory of a leaf is told of writes, and not written by the call itself."""
    return node not in joint.updates and (node.operator is parameter or node in joint.arguments)


def _read_by_program(node: Node, joint: JointGraph) -> Node:
    """A parameter that is trained is read at every call: what a prologue makes of it would serve one."""
    return leaf(captured, node.attrs["name"], node.type) if node in joint.followed else node


def _backward(joint: JointGraph, pull: Pull, kept: tuple[Node, ...]) -> Backward:
    stands_for = {node: leaf(argument, f"kept{n}", node.type) for n, node in enumerate(kept)}
    stands_for |= {
        node: leaf(argument, f"grad{n}", node.type) for n, node in zip(pull.heads, pull.given, strict=True)
    }
    values = given(joint.graph, pull.grads, stands_for).outputs
    needed = set(graph_of((), values).nodes)
    reads = tuple(n for n, node in enumerate(kept) if stands_for[node] in needed)
    inputs = (*(stands_for[kept[n]] for n in reads), *(stands_for[g] for g in pull.given))
    outputs = tuple(dict.fromkeys(v for v in values if v not in inputs))
    places = tuple(outputs.index(v) if v in outputs else inputs.index(v) - len(inputs) for v in values)
    return Backward(pull.heads, reads, graph_of(inputs, outputs), tuple(map(kept.index, pull.of)), places)


# -- programs ------------------------------------------------------------------------------------------------------


def forward_program(halves: Halves, recording: Recording, backend: Backend) -> Program:
    """It gives a tuple of the results and of the values that are saved. Raises TraceError where there is none."""
    for node, origin in halves.origins.items():
        if node.operator is captured and not origin.array().flags.c_contiguous:
            raise TraceError(f"parameter {origin.name} is not C-contiguous")
    path = _path(halves.forward, halves.origins, halves.updates)
    return Program(
        [replace(recording, result=None, changes=None, before=[], path=path, **_tuple_of(halves))],
        _processor(backend),
    )


def _tuple_of(halves: Halves) -> dict[str, Any]:
    count = len(halves.forward.outputs) - len(halves.updates)
    return {"structure": Branch(tuple, tuple(map(Leaf, range(count)))), "statics": []}


def backward_program(backward: Backward, backend: Backend) -> Program:
    """It takes the values that are read and the gradients of the results, and gives a tuple."""
    structure = Branch(tuple, tuple(map(Leaf, range(len(backward.graph.outputs)))))
    recording = Recording(None, path=_path(backward.graph, {}, ()), structure=structure, state=State())
    return Program([recording], _processor(backend))


def _processor(backend: Backend) -> Backend:
    """What is kept lies in the memory of the host."""
    return replace(backend, moves=False) if isinstance(backend, CpuBackend) else backend


def _path(graph: Graph, origins: dict[Node, Origin], updates: tuple[Node, ...]) -> Path:
    arguments = tuple(i for i in graph.inputs if i not in origins)
    sequence = tuple(n for n in graph.nodes if n.operator is not constant)
    leaves = {n: n for n in origins}
    return Path(arguments, sequence, frozenset(), (), graph.outputs, leaves, origins, updates)
