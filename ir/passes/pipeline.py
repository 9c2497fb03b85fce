"""The way of a graph from what was recorded to fused groups: one tuple of named passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from blockfuse.ir.errors import TraceError
from blockfuse.ir.graph import Graph, Node, graph_of
from blockfuse.ir.passes.batch_norms import fold_batch_norms
from blockfuse.ir.passes.dedupe import dedupe
from blockfuse.ir.passes.expand import expand_composites, expand_draws
from blockfuse.ir.passes.fold import fold_constants
from blockfuse.ir.passes.fuse import fuse
from blockfuse.ir.passes.hoist import hoist
from blockfuse.ir.passes.narrow import narrow_weights
from blockfuse.ir.passes.powers import multiply_out_powers
from blockfuse.ir.passes.products import pack_products
from blockfuse.ir.passes.recompute import recompute
from blockfuse.ir.passes.runs import split_reductions
from blockfuse.ir.passes.settle import settle_transposes
from blockfuse.ir.passes.simplify import simplify

Pass = Callable[[Graph], Graph]


def prune(graph: Graph) -> Graph:
    """Nothing is computed that no output needs."""
    return graph_of(graph.inputs, graph.outputs)


PASSES_BEFORE_PACKING: tuple[tuple[str, Pass], ...] = (
    ("expand_draws", expand_draws),
    ("simplify", simplify),
    ("fold_batch_norms", fold_batch_norms),
    ("expand_composites", expand_composites),
    ("multiply_out_powers", multiply_out_powers),
    ("settle_transposes", settle_transposes),
)


def before_packing(graph: Graph) -> Graph:
    """The graph where products still have their weights as they are."""
    for _, transform in PASSES_BEFORE_PACKING:
        graph = transform(graph)
    return graph


def passes_before_hoisting(
    vector_bytes: int, batch: int = 0, weights: str = "float32", pairs: bool = False
) -> tuple[tuple[str, Pass], ...]:
    """Name and pass, in order.

    weights: the form of those of products; see NOTE [narrow weights]. pairs: see ``pack_products``.
    """
    narrow = (("narrow_weights", partial(narrow_weights, form=weights, batch=batch)),)
    return (
        *PASSES_BEFORE_PACKING,
        *(narrow if weights != "float32" else ()),
        ("pack_products", partial(pack_products, vector_bytes=vector_bytes, batch=batch, pairs=pairs)),
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
    weights: str = "float32",
    pairs: bool = False,
) -> Optimized:
    """Run every pass; ``check`` (the verifier, in tests) sees each graph in between.

    prefix: of the names of hoisted values, which must differ between the blocks of a flow. batch: see ``hoist``. weights
    and pairs: see ``passes_before_hoisting``.
    """
    stages = {"recorded": graph}
    for name, transform in passes_before_hoisting(vector_bytes, batch, weights, pairs):
        graph = transform(graph)
        stages[name] = check(graph) if check else graph
    prologue, main = hoist(graph, prefix, batch)
    stages["hoist"] = main
    stages["recompute"] = main = recompute(main)
    stages["fuse"] = main = fuse(main)
    if check:
        check(prologue), check(main)
    return Optimized(stages, prologue, main)


def with_draws_in_front(optimized: Optimized, recorded: list[Node]) -> Optimized:
    """The draws of the main graph before everything else, in the order in which they were recorded.

    They read nothing, so nothing has to stand before them, and launches in a row can be one strip or one graph. In the order
    in which results need them, which may be another one, each expansion of a draw leaves its place.
    Raises TraceError where draws went, or their order cannot be told.
    """
    before, after = (draws_of(prune(optimized.stages[name])) for name in ("recorded", "expand_draws"))
    main = optimized.main
    if before != recorded and len(before) == len(after):
        became = dict(zip(before, after, strict=True))
        before, after = recorded, [became[draw] for draw in recorded if draw in became]
    if before != recorded or len(after) != len(draws_of(main)) or set(after) != set(draws_of(main)):
        raise TraceError("forward draws random numbers in an order that the compiled program would change")
    rest = (n for n in main.nodes if not n.operator.random)
    return replace(optimized, main=replace(main, nodes=(*after, *rest)))


def draws_of(graph: Graph) -> list[Node]:
    """The operators that draw random numbers, in order."""
    return [n for n in graph.nodes if n.operator.random]
