"""Which values a backward part is given: a minimum cut, against all cuts of small graphs."""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import numpy
import pytest
from graphs import graph

from blockfuse.ir.graph import Graph, Node, constant, evaluate, graph_of, ordered
from blockfuse.ir.lowering import Movement, Pointwise
from blockfuse.ir.operators import contractions, drawing, filling, movement, neural, pointwise
from blockfuse.ir.passes.residuals import given, read_behind, residuals


def names(nodes: tuple[Node, ...]) -> list[str]:
    return [n.attrs["name"] if n.is_leaf else n.operator.name for n in nodes]


def kept(recorded: Graph, *late: str) -> list[str]:
    """The values that are kept for the outputs from the second on, where arguments and the first output lie in memory."""
    behind = [i for i in recorded.inputs if i.attrs["name"] in late]
    read = read_behind(recorded.outputs[1:], behind)
    return names(residuals(read, {*recorded.inputs, recorded.outputs[0]}))


def test_a_relu_is_kept_and_not_what_it_is_made_of() -> None:
    def net(x: Any, w: Any, g: Any) -> Any:
        h = neural.relu(contractions.matmul(x, w))
        return contractions.matmul(h, w), pointwise.where(pointwise.less_equal(h, 0), 0, g), h * g

    assert kept(graph(net, x="float32[64, 64]", w="float32[64, 64]", g="float32[64, 64]"), "g") == ["relu"]


def test_cheap_chains_and_broadcasts_are_computed_again() -> None:
    def net(x: Any, row: Any, g: Any) -> Any:
        wide = movement.broadcast_to(row, shape=(64, 64))
        return x * 1, g * pointwise.exp(x * wide + 1), g * wide

    recorded = graph(net, x="float32[64, 64]", row="float32[64]", g="float32[64, 64]")
    assert sorted(kept(recorded, "g")) == ["row", "x"]


def test_what_takes_long_is_kept() -> None:
    recorded = graph(lambda x, g: (x * 1, g * pointwise.sin(x)), x="float32[64, 64]", g="float32[64, 64]")
    assert kept(recorded, "g") == ["sin"]


def test_random_numbers_are_kept() -> None:
    def net(x: Any, g: Any) -> Any:
        mask = drawing.dropout_mask(shape=(64, 64), p=0.5, dtype="float32")
        return x * mask, g * (mask * 2)

    assert kept(graph(net, x="float32[64, 64]", g="float32[64, 64]"), "g") == ["dropout_mask"]


def test_constants_are_in_both_parts() -> None:
    def net(x: Any, g: Any) -> Any:
        return x * 1, g * filling.arange(start=0, stop=4, step=1, dtype="float32")

    assert kept(graph(net, x="float32[4]", g="float32[4]"), "g") == []


# -- against all cuts ----------------------------------------------------------------------------------------------


def random_graph(rng: numpy.random.Generator) -> Graph:
    """Values of different sizes, cheap and not, that the outputs from the second on read."""

    def net(x: Any, y: Any, g: Any) -> Any:
        values = [x, y]
        for _ in range(rng.integers(3, 7)):
            a, b = (values[rng.integers(len(values))] for _ in range(2))
            choice = rng.integers(4)
            if choice == 0:
                values.append(a * b)
            elif choice == 1:
                values.append(pointwise.less_equal(a, b))
            elif choice == 2:
                values.append(pointwise.sin(a * 1.0))
            else:
                values.append((a + b).sum(axis=1, keepdims=True))
        read = [values[rng.integers(len(values))] for _ in range(rng.integers(1, 4))]
        return (values[-1] * 1.0, *(g * value for value in read))

    return graph(net, x="float32[64, 64]", y="float32[64, 1]", g="float32[64, 64]")


def weight(nodes: tuple[Node, ...], lying: set[Node]) -> int:
    return sum(
        (1 if n in lying else 2) * n.type.size * n.dtype.itemsize + 1 + 4096 * (n not in lying) for n in nodes
    )


def can_be_computed(node: Node, cut: set[Node]) -> bool:
    """Whether a value follows from those of a cut, by operators that are cheap."""
    if node in cut or node.operator is constant:
        return True
    lowering = node.operator.lowering
    cheap = isinstance(lowering, Movement) or (isinstance(lowering, Pointwise) and lowering.cost <= 24)
    return cheap and bool(node.operands) and all(can_be_computed(o, cut) for o in node.operands)


@pytest.mark.parametrize("seed", range(30))
def test_no_other_cut_moves_fewer_bytes(seed: int) -> None:
    recorded = random_graph(numpy.random.default_rng(seed))
    late = [i for i in recorded.inputs if i.attrs["name"] == "g"]
    read = read_behind(recorded.outputs[1:], late)
    lying = {*recorded.inputs, recorded.outputs[0]}
    found = residuals(read, lying)
    assert all(can_be_computed(n, set(found)) for n in read)
    nodes = [n for n in ordered(read) if n.operator is not constant]
    cuts = chain.from_iterable(combinations(nodes, size) for size in range(len(nodes) + 1))
    least = min(weight(cut, lying) for cut in cuts if all(can_be_computed(n, set(cut)) for n in read))
    assert weight(found, lying) == least


def test_both_parts_come_to_what_the_graph_comes_to() -> None:
    recorded = random_graph(numpy.random.default_rng(1))
    late = [i for i in recorded.inputs if i.attrs["name"] == "g"]
    cut = residuals(read_behind(recorded.outputs[1:], late), set(recorded.inputs))
    values = [numpy.random.default_rng(2).normal(size=i.shape).astype(i.dtype) for i in recorded.inputs]
    at_cut = evaluate(graph_of(recorded.inputs, cut), values)
    stand_ins = {n: graph(lambda v: v, v=n.type).inputs[0] for n in (*cut, *late)}
    behind = given(recorded, recorded.outputs[1:], stand_ins)
    behind = graph_of(tuple(stand_ins.values()), behind.outputs)
    for a, b in zip(evaluate(behind, [*at_cut, values[2]]), evaluate(recorded, values)[1:], strict=True):
        assert numpy.array_equal(a, b)
