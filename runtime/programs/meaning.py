"""What a recorded graph means: its operators one by one, by whoever interprets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Leaf
from blockfuse.ir.flow import Flow, Stacks
from blockfuse.ir.graph import Graph, Node, constant
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


def _walked(flow: Flow, values: Iterable[Any], drawn: Mapping[Node, Any]) -> list[Any]:
    """What a flow whose decisions only count rounds gives at its end."""
    now = dict(zip(flow.inputs, values, strict=True))
    stacks = Stacks[Any](flow, lambda rows: ndarray(numpy.stack([row._data for row in rows])))
    number: int | None = 0
    while True:
        assert number is not None, "rounds that are counted end"
        block = flow.blocks[number]
        now |= stacks.popped(block)
        outputs = applied(block.graph, [now[i] for i in block.graph.inputs], drawn)
        now.update(zip(block.stores, outputs, strict=False))
        if block.successors is None:
            return outputs[block.kept :]
        stacks.pushed(block, outputs)
        number = block.successors[0 if outputs[-1]._data.item() else 1]


def program_applied(program: Program, arguments: Sequence[ndarray]) -> Any:
    """What a program without decisions on values gives for these arguments, and would write."""
    drawn = {draw: _applied(draw, {}) for draw in program.recording.draws}
    values = [*arguments, *(ndarray(origin.array()) for origin in program.origins)]
    results = _walked(program.flow, values, drawn)
    count = len(results) - len(program.updates)
    result = results[0] if program.recording.structure == Leaf(0) else tuple(results[:count])
    return Updated(result, results[count:]) if program.updates else result
