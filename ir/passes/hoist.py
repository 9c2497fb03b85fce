"""What depends on parameters and constants only is computed once per parameter version, not once per call."""

from __future__ import annotations

from blockfuse.ir.graph import Graph, Node, constant, graph_of, hoisted, is_changing_leaf, leaf
from blockfuse.ir.lowering import Gather, Movement, Scatter

# class of a lowering -> the first of the operands that decide whether it raises, where not all do
_INDICES: dict[type, int] = {Gather: 1, Scatter: 2}


def hoist(graph: Graph, prefix: str = "hoisted", batch: int = 0) -> tuple[Graph, Graph]:
    """The prologue (parameters -> hoisted values) and the graph that takes those values as inputs.

    batch: where this is not 0, a leading axis that is a multiple of it grows with the batch, and nothing with such an axis
    is hoisted.
    """
    fixed = fixed_nodes(graph, batch)
    read = {o for n in graph.nodes if n not in fixed for o in n.operands} | set(graph.outputs)
    border = [n for n in graph.nodes if n in fixed and n in read and _pays(n)]
    names = {node: leaf(hoisted, f"{prefix}{i}", node.type) for i, node in enumerate(border)}
    given = [i for i in graph.inputs if not is_changing_leaf(i)]
    return graph_of(given, border), _replaced(graph, names)


def fixed_nodes(graph: Graph, batch: int = 0) -> set[Node]:
    """What a prologue can compute: see ``hoist``."""
    return {n for n in _fixed(graph) if not (batch and n.shape and n.shape[0] % batch == 0)}


def _fixed(graph: Graph) -> set[Node]:
    """Nodes that read neither arguments, captured arrays nor random numbers, and cannot raise: a prologue could not."""
    fixed = {i for i in graph.inputs if not is_changing_leaf(i)}
    known: set[Node] = set()  # what depends on constants only
    for node in graph.nodes:
        if all(o in known for o in node.operands):
            known.add(node)
        changes = node.operator.random or (
            node.operator.lowering.may_raise and not known.issuperset(_decisive(node))
        )
        if not changes and all(o in fixed for o in node.operands):
            fixed.add(node)
    return fixed


def _decisive(node: Node) -> tuple[Node, ...]:
    """The operands whose values decide whether an operator raises."""
    return node.operands[_INDICES.get(type(node.operator.lowering), 0) :]


def _pays(node: Node) -> bool:
    """A number stands in the kernel's source; a view of it or of a parameter costs nothing."""
    view = node
    while isinstance(view.operator.lowering, Movement):
        view = view.operands[0]
    if view.operator is constant:
        return view.type.size > 1
    return not view.is_leaf


def _replaced(graph: Graph, names: dict[Node, Node]) -> Graph:
    now: dict[Node, Node] = {i: i for i in graph.inputs}
    for node in graph.nodes:
        now[node] = names.get(node) or node.over(tuple(now[o] for o in node.operands))
    return graph_of((*graph.inputs, *names.values()), [now[o] for o in graph.outputs])
