"""What a recorded graph means: its operators one by one, by whoever interprets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Leaf
from blockfuse.ir.flow import Flow, walk_by
from blockfuse.ir.graph import Graph, Node, argument, constant
from blockfuse.runtime.programs.program import Program
from blockfuse.runtime.programs.updates import Updated


def applied(graph: Graph, values: Iterable[Any], known: Mapping[Node, Any] | None = None) -> list[Any]:
    """The outputs of a graph. known: of nodes that are not computed."""
    now = {**dict(zip(graph.inputs, values, strict=True)), **(known or {})}
    for node in graph.nodes:
        if node not in now:
            now[node] = _applied(node, now)
    return [now[o] for o in graph.outputs]


def _applied(node: Node, now: Mapping[Node, Any]) -> Any:
    if node.operator is constant:
        return ndarray(node.attrs["value"])
    return node.operator(*(now[o] for o in node.operands), **node.attrs)


def program_applied(program: Program, arguments: Sequence[ndarray]) -> Any:
    """What a program without decisions on values gives for these arguments, and would write."""
    drawn = {draw: _applied(draw, {}) for draw in program.recording.draws}
    results = flow_applied(program, program.flow, arguments, drawn)
    assert results is not None, "rounds that are counted have room and end"
    count = len(results) - len(program.updates)
    result = results[0] if program.recording.structure == Leaf(0) else tuple(results[:count])
    return Updated(result, results[count:]) if program.updates else result


def flow_applied(
    program: Program, flow: Flow, arguments: Sequence[ndarray], drawn: Mapping[Node, Any] | None = None
) -> list[Any] | None:
    """The results and updates of a flow over the leaves of a program; None where the flow does not know the way."""
    given, found = iter(arguments), (ndarray(origin.array()) for origin in program.origins)
    return walk_by(
        lambda graph, given: applied(graph, given, drawn),
        lambda rows: ndarray(numpy.stack([row._data for row in rows])),
        lambda predicate: predicate._data.item(),
        flow,
        [next(given if leaf.operator is argument else found) for leaf in flow.inputs],
    )
