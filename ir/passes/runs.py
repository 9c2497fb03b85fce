"""Reductions over axes that are not neighbours, done one run of neighbours at a time."""

from __future__ import annotations

from typing import Any

from blockfuse.ir.builder import expanded
from blockfuse.ir.graph import Graph, Node, rewrite
from blockfuse.ir.lowering import Reduction
from blockfuse.ir.operators.pointwise import cast


def split_reductions(graph: Graph) -> Graph:
    """Every reduction folds one run of neighbouring axes; one over no axes is a cast."""
    return rewrite(graph, _split)


def _split(node: Node) -> Node:
    if not isinstance(node.operator.lowering, Reduction):
        return node
    if not node.attrs["axis"]:  # each element is its own fold
        return expanded(lambda x, axis, keepdims: cast(x, dtype=str(node.dtype)), node)
    if len(_runs(node.attrs["axis"])) < 2:
        return node
    return expanded(lambda x, axis, keepdims: _run_by_run(node, x, axis, keepdims), node)


def _run_by_run(node: Node, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    for run in reversed(_runs(axis)):  # from the last axes on, so that the places of the others stay
        x = node.operator(x, axis=run, keepdims=keepdims)
    return x


def _runs(axis: tuple[int, ...]) -> list[tuple[int, ...]]:
    runs: list[list[int]] = []
    for a in axis:
        if runs and runs[-1][-1] == a - 1:
            runs[-1].append(a)
        else:
            runs.append([a])
    return [tuple(run) for run in runs]
