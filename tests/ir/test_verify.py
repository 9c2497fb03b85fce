"""The verifier finds every way in which a graph can be broken."""

from dataclasses import replace

import numpy
import pytest
from graphs import graph, typed

from blockfuse.ir.builder import node_of
from blockfuse.ir.errors import VerificationError
from blockfuse.ir.graph import (
    Graph,
    Node,
    Source,
    argument,
    captured,
    constant,
    graph_of,
    hoisted,
    leaf,
    literal,
    parameter,
)
from blockfuse.ir.operators import pointwise
from blockfuse.ir.passes.fuse import fuse
from blockfuse.ir.verify import verify

WHOLE = graph(lambda x, y: pointwise.exp(x + y), x="float32[2, 3]", y="float32[3]")
ADD, EXP = WHOLE.nodes
X = WHOLE.inputs[0]


def broken(message: str, inputs: tuple[Node, ...], nodes: tuple[Node, ...], outputs: tuple[Node, ...]) -> str:
    """What the verifier says of a graph that is put together by hand."""
    with pytest.raises(VerificationError, match=message) as caught:
        verify(Graph(inputs, nodes, outputs))
    return str(caught.value)


def test_a_graph_in_order_is_given_back() -> None:
    assert verify(WHOLE) is WHOLE
    assert verify(graph_of((X,), (X,)))
    assert verify(Graph((), (), ()))


def test_leaves_of_every_kind_may_be_inputs() -> None:
    kinds = (argument, parameter, captured, hoisted)
    inputs = tuple(leaf(kind, kind.name, typed("float32[3]")) for kind in kinds)
    verify(graph_of(inputs, inputs))


def test_a_constant_is_no_input() -> None:
    number = literal(1.0)
    broken("is an input but not a named leaf", (number,), (), (number,))


def test_a_computed_value_is_no_input() -> None:
    broken("is an input but not a named leaf", (*WHOLE.inputs, ADD), (EXP,), (EXP,))


def test_names_of_inputs_differ() -> None:
    broken("two inputs share a name", (X, replace(X)), (), (X,))


def test_operands_come_first() -> None:
    broken("reads add, which comes later or not at all", WHOLE.inputs, (EXP, ADD), (EXP,))


def test_operands_are_in_the_graph() -> None:
    broken("reads argument, which comes later or not at all", (X,), WHOLE.nodes, (EXP,))


def test_a_node_stands_once() -> None:
    broken("stands twice in the graph", WHOLE.inputs, (ADD, ADD, EXP), (EXP,))


def test_a_leaf_is_an_input() -> None:
    stray = leaf(parameter, "stray", typed("float32[3]"))
    broken("is a leaf but not an input", WHOLE.inputs, (stray, *WHOLE.nodes), (EXP,))


def test_outputs_are_computed() -> None:
    broken("is returned but not computed", WHOLE.inputs, (ADD,), (EXP,))


@pytest.mark.parametrize("wrong", ["float32[3, 2]", "float64[2, 3]", "float32[2, 3, 1]", "float32[]"])
def test_types_are_those_of_the_rules(wrong: str) -> None:
    bent = replace(EXP, type=typed(wrong))
    message = broken("has type", WHOLE.inputs, (ADD, bent), (bent,))
    assert "its rule gives float32[2, 3]" in message


def test_a_constant_has_the_type_of_its_value() -> None:
    bent = Node(constant, (), {"value": numpy.ones(3)}, typed("float64[4]"))
    broken("has type float64", (), (bent,), (bent,))


def test_attributes_must_suit_the_rule() -> None:
    bent = replace(EXP, attrs={"axis": 1}, operator=pointwise.cast)
    with pytest.raises((VerificationError, TypeError)):
        verify(Graph(WHOLE.inputs, (ADD, bent), (bent,)))


def test_bodies_are_verified() -> None:
    fused = fuse(WHOLE).nodes[0]
    body = fused.attrs["body"]
    bent = replace(fused, attrs={**fused.attrs, "body": Graph(body.inputs, body.nodes[::-1], body.outputs)})
    broken("comes later or not at all", WHOLE.inputs, (bent,), (bent,))


def test_the_message_shows_the_node_the_line_and_the_graph() -> None:
    line = Source("/home/someone/net.py", 12, "forward")
    bent = replace(EXP, type=typed("float32[7]"), source=line)
    message = broken("%1 .from /home/someone/net.py:12. has type", WHOLE.inputs, (ADD, bent), (bent,))
    assert "%0 = add(x, y): float32[2, 3]" in message


@pytest.mark.parametrize("types", [("float32[2, 3]", "float32[4]"), ("float32[2, 3]", "float32[2]")])
def test_types_that_do_not_fit_are_not_even_written(types: tuple[str, str]) -> None:
    leaves = tuple(leaf(argument, name, typed(t)) for name, t in zip("xy", types, strict=True))
    with pytest.raises(ValueError, match="broadcast"):
        node_of(pointwise.add, leaves, {}, None)
