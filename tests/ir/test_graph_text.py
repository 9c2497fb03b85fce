"""Graphs as text: equal text is equal graph."""

import copy
from dataclasses import replace
from textwrap import dedent
from typing import Any

import numpy
import pytest
from graphs import graph, typed

from blockfuse.ir.builder import Symbol
from blockfuse.ir.graph import (
    Graph,
    Source,
    argument,
    evaluate,
    graph_of,
    leaf,
    literal,
    ordered,
    rewrite,
    users,
)
from blockfuse.ir.operators import movement, neural, pointwise, reductions
from blockfuse.ir.passes.fuse import fuse


def text(expected: str) -> str:
    return dedent(expected).strip()


def test_a_graph_reads_as_one_would_write_it() -> None:
    def function(x: Any, w: Any) -> Any:
        return reductions.max_(pointwise.exp(x * w) - 0.5, axis=(1,), keepdims=True), x

    assert str(graph(function, x="float32[2, 3]", w="float32[3]")) == text(
        """
        graph(x: float32[2, 3], w: float32[3]):
          %0 = multiply(x, w): float32[2, 3]
          %1 = exp(%0): float32[2, 3]
          %2 = subtract(%1, 0.5): float32[2, 3]
          %3 = max(%2, axis=(1,), keepdims=True): float32[2, 1]
          return %3, x
        """
    )


def test_fused_bodies_are_indented() -> None:
    assert str(fuse(graph(lambda x: neural.relu(x * 2), x="float32[4]"))) == text(
        """
        graph(x: float32[4]):
          %0 = fused(x, name='multiply_relu') {
              %0 = multiply(x0, 2.0): float32[4]
              %1 = relu(%0): float32[4]
              return %1
          }: float32[4]
          return %0
        """
    )


def test_users_lines_stand_behind_the_nodes() -> None:
    recorded = graph(lambda x: pointwise.exp(x), x="float32[2]")
    line = Source("/home/someone/net.py", 12, "forward")
    marked = graph_of(recorded.inputs, (replace(recorded.nodes[0], source=line),))
    assert marked.text(sources=True).split("\n")[1].endswith("  # net.py:12")
    assert marked.text() == recorded.text()
    layer = graph_of(recorded.inputs, (replace(recorded.nodes[0], source=Source("1.0 (Dense)", 0, "")),))
    assert layer.text(sources=True).split("\n")[1].endswith("  # 1.0 (Dense)")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.5, "1.5"),
        (True, "True"),
        (numpy.nan, "nan"),
        (-0.0, "-0.0"),
        (numpy.float32(0.1), "0.10000000149011612"),
    ],
)
def test_numbers_stand_where_they_are_used(value: Any, shown: str) -> None:
    recorded = graph_of((), (literal(value),))
    assert recorded.text() == f"graph():\n  return {shown}"


def test_a_constant_is_a_copy_that_nobody_writes_to() -> None:
    value = numpy.ones(2)
    kept = literal(value).attrs["value"]
    value[0] = 2
    assert kept.tolist() == [1, 1]
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 2


def test_constants_are_told_apart_by_their_elements() -> None:
    def adding(*values: float) -> Graph:
        return graph(lambda x: x + Symbol(literal(list(values), "float32")), x="float32[2]")

    assert adding(1, 2) == adding(1, 2)
    assert adding(1, 2) != adding(1, 3)
    assert hash(adding(1, 2)) == hash(adding(1, 2))


def test_equal_text_is_equal_graph() -> None:
    def recorded(number: float) -> Graph:
        return graph(lambda x: x * number, x="float32[2]")

    assert recorded(2) == recorded(2.0)
    assert recorded(2) != recorded(3)
    assert recorded(2) != "graph"


def test_constants_cannot_be_written() -> None:
    given = numpy.ones(3)
    held = literal(given).attrs["value"]
    given[0] = 5
    assert held[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        held[0] = 2


# -- structure -------------------------------------------------------------------------------------------------


def test_operands_come_before_their_users_however_deep() -> None:
    x = leaf(argument, "x", typed("float32[1]"))
    node = x
    for _ in range(20_000):
        node = replace(x, operator=pointwise.negative, operands=(node,), attrs={})
    assert len(ordered([node])) == 20_001
    assert len(graph_of((x,), (node,)).nodes) == 20_000


def test_inputs_stay_although_nothing_reads_them() -> None:
    recorded = graph(lambda x, y: y * 2, x="float32[2]", y="float32[2]")
    assert [i.attrs["name"] for i in recorded.inputs] == ["x", "y"]


def test_users_are_the_readers() -> None:
    recorded = graph(lambda x: pointwise.exp(x) * x, x="float32[2]")
    readers = users(recorded)
    assert [n.operator.name for n in readers[recorded.inputs[0]]] == ["exp", "multiply"]
    assert readers[recorded.outputs[0]] == []


def test_rewriting_keeps_what_does_not_change() -> None:
    recorded = graph(lambda x: (pointwise.exp(x), pointwise.log(x) * 2), x="float32[2]")

    def without_logarithms(node: Any) -> Any:
        return node.operands[0] if node.operator is pointwise.log else node

    changed = rewrite(recorded, without_logarithms)
    assert changed.outputs[0] is recorded.outputs[0]
    assert changed.outputs[1] is not recorded.outputs[1]
    assert [n.operator.name for n in changed.nodes if n.operands] == ["exp", "multiply"]


def test_deep_copies_are_equal() -> None:
    recorded = graph(lambda x: neural.relu(x * 2), x="float32[2]")
    assert copy.deepcopy(recorded) == recorded


def test_evaluating_gives_every_output_as_an_array() -> None:
    recorded = graph(
        lambda x: (x, movement.reshape(x, shape=(1,)), reductions.sum_(x, axis=(), keepdims=False)),
        x="float32[]",
    )
    found = evaluate(recorded, [numpy.array(3, "float32")])
    assert [(type(v), v.shape) for v in found] == [
        (numpy.ndarray, ()),
        (numpy.ndarray, (1,)),
        (numpy.ndarray, ()),
    ]
