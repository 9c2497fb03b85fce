"""The way of a graph from what was recorded to fused groups: one tuple of named passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from blockfuse.ir.graph import Graph, Node, graph_of
from blockfuse.ir.passes.dedupe import dedupe
from blockfuse.ir.passes.expand import expand_composites, expand_draws
from blockfuse.ir.passes.fold import fold_constants
from blockfuse.ir.passes.fuse import fuse
from blockfuse.ir.passes.hoist import hoist
from blockfuse.ir.passes.products import pack_products
from blockfuse.ir.passes.runs import split_reductions
from blockfuse.ir.passes.simplify import simplify

Pass = Callable[[Graph], Graph]


def prune(graph: Graph) -> Graph:
    """Nothing is computed that no output needs."""
    return graph_of(graph.inputs, graph.outputs)


def passes_before_hoisting(vector_bytes: int) -> tuple[tuple[str, Pass], ...]:
    """Name and pass, in order."""
    return (
        ("expand_draws", expand_draws),
        ("simplify", simplify),
        ("expand_composites", expand_composites),
        ("pack_products", partial(pack_products, vector_bytes=vector_bytes)),
        ("split_reductions", split_reductions),
        ("fold_constants", fold_constants),
        ("simplify_again", simplify),
        ("dedupe", dedupe),
        ("prune", prune),
    )


@dataclass(frozen=True)
class Optimized:
    """What comes out of the pipeline.

    stages: name -> the graph after that pass, for ``blockfuse show``. prologue: parameters -> hoisted values,
    run when a parameter changes. main: the fused graph, run at every call.
    """

    stages: dict[str, Graph]
    prologue: Graph
    main: Graph


def optimize(
    graph: Graph,
    vector_bytes: int,
    check: Callable[[Graph], Graph] | None = None,
    prefix: str = "hoisted",
    batch: int = 0,
) -> Optimized:
    """Run every pass; ``check`` (the verifier, in tests) sees each graph in between.

    prefix: of the names of hoisted values, which must differ between the blocks of a flow. batch: see ``hoist``.
    """
    stages = {"recorded": graph}
    for name, transform in passes_before_hoisting(vector_bytes):
        graph = transform(graph)
        stages[name] = check(graph) if check else graph
    prologue, main = hoist(graph, prefix, batch)
    stages["hoist"] = main
    main = fuse(main)
    stages["fuse"] = main
    if check:
        check(prologue), check(main)
    return Optimized(stages, prologue, main)


def draws_of(graph: Graph) -> list[Node]:
    """The operators that draw random numbers, in order."""
    return [n for n in graph.nodes if n.operator.random]
