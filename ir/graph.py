"""The graph: immutable nodes in an ordered tuple.

Every node gives one value; operands come before their users.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy

from blockfuse.ir.cells import cell_of
from blockfuse.ir.lowering import Leaf
from blockfuse.ir.operator import Operator, row
from blockfuse.ir.types import TensorType, type_of


@dataclass(frozen=True)
class Source:
    """The user's line that an operator call stands on; line 0: ``file`` is the place of a layer in the net."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return self.location.rsplit("/", 1)[-1]

    @property
    def location(self) -> str:
        """The whole file and the line, the cell of a notebook and the line, or the layer."""
        if not self.line:
            return self.file
        cell = cell_of(self.file)
        return f"{self.file}:{self.line}" if cell is None else f"cell {cell}, line {self.line}"


@dataclass(frozen=True, eq=False)
class Node:
    """One application of an operator; nodes are compared by identity."""

    operator: Operator
    operands: tuple[Node, ...]
    attrs: dict[str, Any]
    type: TensorType
    source: Source | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> numpy.dtype:
        return self.type.dtype

    @property
    def is_leaf(self) -> bool:
        return isinstance(self.operator.lowering, Leaf)

    def over(self, operands: tuple[Node, ...]) -> Node:
        """The node on other operands of the same types; itself where they are the same ones."""
        if all(a is b for a, b in zip(operands, self.operands, strict=True)):
            return self
        return Node(self.operator, operands, self.attrs, self.type, self.source)


# -- leaves: values that are there before the graph runs -----------------------------------------------------
# A parameter's memory is watched, so what depends on it alone is computed once a version. A captured array is
# NumPy's, held by an attribute or a global: nobody sees it change, so it is read at every call, like an
# argument. A carried value comes from an earlier block of the same call (``ir.flow``).


def _leaf_has_no_meaning(**attrs: Any) -> numpy.ndarray:
    raise AssertionError("a leaf is given, not computed")


def _declared_type(type: TensorType, **attrs: Any) -> TensorType:
    return type


argument = row("argument", _leaf_has_no_meaning, Leaf(), type_rule=_declared_type)  # attrs: name, type
parameter = row("parameter", _leaf_has_no_meaning, Leaf(), type_rule=_declared_type)  # attrs: name, type
hoisted = row("hoisted", _leaf_has_no_meaning, Leaf(), type_rule=_declared_type)  # attrs: name, type
captured = row("captured", _leaf_has_no_meaning, Leaf(), type_rule=_declared_type)  # attrs: name, type
carried = row("carried", _leaf_has_no_meaning, Leaf(), type_rule=_declared_type)  # attrs: name, type
constant = row(
    "constant", lambda value: value, Leaf(), type_rule=lambda value: type_of(value)
)  # attrs: value


def is_changing_leaf(node: Node) -> bool:
    """Whether a leaf may have another value at every call."""
    return node.operator in (argument, captured, carried)


def leaf(operator: Operator, name: str, type: TensorType) -> Node:
    """An argument, parameter, captured, hoisted or carried value."""
    return Node(operator, (), {"name": name, "type": type}, type)


def literal(value: Any, dtype: Any = None) -> Node:
    """A constant; it holds a copy of its own."""
    array = numpy.array(value, dtype)
    array.flags.writeable = False
    return Node(constant, (), {"value": array}, type_of(array))


# -- the graph -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Graph:
    """``outputs`` computed from ``inputs`` by ``nodes``; equal text is equal graph.

    inputs: argument, parameter, captured, hoisted and carried leaves, in calling order. nodes: everything
    else, operands first.
    """

    inputs: tuple[Node, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Node, ...]

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.text() == other.text()

    def __hash__(self) -> int:
        return hash(self.text())

    def text(self, sources: bool = False) -> str:
        """The graph as one would write it by hand; with the user's lines as comments where ``sources`` is set."""
        names = names_of(self)
        lines = [f"graph({', '.join(f'{names[i]}: {i.type}' for i in self.inputs)}):"]
        for node in self.nodes:
            if node.operator is constant and node.type.size == 1:
                continue
            line = f"  {line_of(node, names)}"
            lines.append(f"{line:<78}  # {node.source}" if sources and node.source else line)
        lines.append(f"  return {', '.join(names[o] for o in self.outputs)}")
        return "\n".join(lines)


def line_of(node: Node, names: dict[Node, str]) -> str:
    """What the text of a graph says of an operator. names: of values, as ``names_of`` gives them."""
    return f"{names[node]} = {_call_text(node, names)}: {node.type}"


def operators_of(graph: Graph) -> list[Node]:
    """The nodes that compute something."""
    return [node for node in graph.nodes if not node.is_leaf]


class _Names(dict[Node, str]):
    def __missing__(self, node: Node) -> str:
        return f"<{node.operator.name} from elsewhere>"  # the graph is broken: the verifier still prints it


def names_of(graph: Graph) -> dict[Node, str]:
    """A name for every value: inputs by their own, small constants by their value, the rest counted."""
    names = _Names({i: i.attrs.get("name", f"<{i.operator.name}>") for i in graph.inputs})
    count = 0
    for node in graph.nodes:
        if node.operator is constant and node.type.size == 1:
            names[node] = _literal_text(node)
        else:
            names[node] = f"%{count}"
            count += 1
    return names


def _literal_text(node: Node) -> str:
    value = node.attrs["value"]
    text = repr(value.reshape(-1)[0].item())
    return text if not node.type.ndim else f"{text}:{list(node.shape)}"


def _call_text(node: Node, names: dict[Node, str]) -> str:
    operands = [names[o] for o in node.operands]
    attrs = [f"{k}={_attr_text(v)}" for k, v in node.attrs.items()]
    text = f"{node.operator.name}({', '.join(operands + [a for a in attrs if chr(10) not in a])})"
    bodies = [v for v in node.attrs.values() if isinstance(v, Graph)]
    return text + "".join(_body_text(b) for b in bodies)


def _body_text(body: Graph) -> str:
    lines = body.text().split("\n")
    return " {" + "".join(f"\n    {line}" for line in lines[1:]) + "\n  }"


def _attr_text(value: Any) -> str:
    if isinstance(value, numpy.ndarray):
        return "#" + hashlib.sha256(value.tobytes()).hexdigest()[:8]
    if isinstance(value, Graph):
        return f"({', '.join(str(i.type) for i in value.inputs)})\n"
    return repr(value)


# -- building and rewriting ----------------------------------------------------------------------------------


def ordered(outputs: Iterable[Node], within: Container[Node] | None = None) -> tuple[Node, ...]:
    """Everything that ``outputs`` need, operands first, in the order of first use (no recursion: graphs run deep).

    within: the nodes that count, where not all do; what they need by way of others does not.
    """
    done: dict[Node, None] = {}
    for output in outputs:
        stack = [(output, False)]
        while stack:
            node, ready = stack.pop()
            if node in done:
                continue
            if ready:
                done[node] = None
                continue
            stack.append((node, True))
            following = (o for o in reversed(node.operands) if o not in done)
            stack.extend((operand, False) for operand in following if within is None or operand in within)
    return tuple(done)


def graph_of(inputs: Iterable[Node], outputs: Iterable[Node]) -> Graph:
    """A graph of what ``outputs`` need. Inputs stay, used or not: they are the calling convention."""
    inputs, outputs = tuple(inputs), tuple(outputs)
    given = set(inputs)
    return Graph(inputs, tuple(n for n in ordered(outputs) if n not in given), outputs)


def rewrite(graph: Graph, change: Callable[[Node], Node]) -> Graph:
    """Every node, its operands already changed, replaced by what ``change`` gives for it."""
    now: dict[Node, Node] = {i: i for i in graph.inputs}
    for node in graph.nodes:
        now[node] = change(node.over(tuple(now[o] for o in node.operands)))
    return graph_of(graph.inputs, (now[o] for o in graph.outputs))


def users(graph: Graph) -> dict[Node, list[Node]]:
    """Node -> the nodes that read it."""
    readers: dict[Node, list[Node]] = {n: [] for n in (*graph.inputs, *graph.nodes)}
    for node in graph.nodes:
        for operand in node.operands:
            readers[operand].append(node)
    return readers


def evaluate(graph: Graph, values: Iterable[numpy.ndarray]) -> list[numpy.ndarray]:
    """The outputs by the NumPy meaning of every node: the reference that kernels are held against."""
    found = dict(evaluated_in_turn(graph, values))
    return [found[n] for n in range(len(graph.outputs))]


def evaluated_in_turn(graph: Graph, values: Iterable[numpy.ndarray]) -> Iterator[tuple[int, numpy.ndarray]]:
    """The outputs by their numbers, each as soon as it is known; values go with the last node that reads them."""
    known: dict[Node, numpy.ndarray] = dict(zip(graph.inputs, values, strict=True))
    readers = Counter(o for n in graph.nodes for o in n.operands)
    numbers: dict[Node, list[int]] = {}  # an output -> its places
    for number, output in enumerate(graph.outputs):
        numbers.setdefault(output, []).append(number)
    for given in graph.inputs:
        yield from ((number, known[given]) for number in numbers.get(given, ()))
    for node in graph.nodes:
        result = node.operator.meaning(*(known[o] for o in node.operands), **node.attrs)
        known[node] = numpy.asarray(result)
        del result
        yield from ((number, known[node]) for number in numbers.get(node, ()))
        for operand in node.operands:
            readers[operand] -= 1
        for done in {node, *node.operands}:
            if not readers[done]:
                known.pop(done, None)
