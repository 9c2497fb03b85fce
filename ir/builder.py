"""Graphs written by calling operators: ``Symbol`` is a value to be, ``Builder`` the interpreter that writes nodes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy

from blockfuse.ir import interpreter
from blockfuse.ir.errors import TraceError
from blockfuse.ir.graph import Node, Source, literal
from blockfuse.ir.interpreter import Retracing
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import pointwise, reductions


class Symbol:
    """A node that arithmetic can be written with."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    @property
    def shape(self) -> tuple[int, ...]:
        return self.node.shape

    @property
    def ndim(self) -> int:
        return len(self.node.shape)

    @property
    def dtype(self) -> numpy.dtype:
        return self.node.dtype

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        axes = tuple(range(self.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        return reductions.sum_(self, axis=axes, keepdims=keepdims)

    def __add__(self, other: Any) -> Any:
        return pointwise.add(self, other)

    def __radd__(self, other: Any) -> Any:
        return pointwise.add(other, self)

    def __sub__(self, other: Any) -> Any:
        return pointwise.subtract(self, other)

    def __rsub__(self, other: Any) -> Any:
        return pointwise.subtract(other, self)

    def __mul__(self, other: Any) -> Any:
        return pointwise.multiply(self, other)

    def __rmul__(self, other: Any) -> Any:
        return pointwise.multiply(other, self)

    def __truediv__(self, other: Any) -> Any:
        return pointwise.divide(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return pointwise.divide(other, self)


class Builder:
    """Writes one node for every operator call."""

    recording = True
    defers = False
    outlived = False

    def __init__(self, source: Source | None = None) -> None:
        self.source = source

    def apply(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Symbol:
        return Symbol(node_of(operator, operands_as_nodes(operator, operands), attrs, self.source))

    def update(
        self, target: Any, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]
    ) -> None:
        raise TraceError("a graph has no memory to write to")

    def assign(self, target: Any, index: Any, value: Any) -> None:
        raise TraceError("a graph has no memory to write to")

    def escape(self, kind: str, array: Any) -> None:
        raise TraceError(f"a graph has no values for {kind}")

    def impure(self, what: str) -> None:
        raise TraceError(f"an expansion cannot {what}")

    def follow(self) -> None:
        raise TraceError("an expansion calls operators, and does not follow gradients")

    def retracing(self, obstacle: str) -> Retracing | None:
        raise TraceError("an expansion calls operators, and asks for no gradients")

    def asks(self, holder: Any, ask: Callable[[], Any], text: str) -> None:
        raise TraceError(f"an expansion cannot ask for {text}")

    def settles(self, holder: Any) -> None:
        raise TraceError("an expansion has no state")

    def visit(self, block: Any) -> None:
        raise TraceError("an expansion calls operators, not blocks")

    def assigning(self, holder: Any, name: str) -> AbstractContextManager[Any]:
        raise TraceError(f"an expansion cannot assign {name}")


def node_of(
    operator: Operator, operands: tuple[Node, ...], attrs: dict[str, Any], source: Source | None
) -> Node:
    """A node, its type given by the operator's rule."""
    return Node(operator, operands, attrs, operator.result_type(*(o.type for o in operands), **attrs), source)


def operands_as_nodes(operator: Operator, operands: tuple[Any, ...]) -> tuple[Node, ...]:
    """Symbols unwrapped, Python numbers as constants of the dtype that promotion gives them."""
    dtypes = [o.dtype if isinstance(o, Symbol | Node) else o for o in operands]
    nodes: list[Node] = []
    for place, operand in enumerate(operands):
        if isinstance(operand, Symbol):
            nodes.append(operand.node)
        elif isinstance(operand, Node):
            nodes.append(operand)
        else:
            nodes.append(_number(operand, literal_dtype(operator, dtypes, place)))
    return tuple(nodes)


def _number(value: Any, dtype: numpy.dtype) -> Node:
    try:
        return literal(value, dtype)
    except OverflowError as error:  # NumPy compares arrays with Python ints of any size
        raise TraceError(f"a number does not fit {dtype}: {error}") from error


def literal_dtype(operator: Operator, dtypes: list[Any], place: int) -> numpy.dtype:
    """What a Python number among operands becomes; ``dtypes`` holds dtypes and the numbers themselves."""
    if isinstance(dtypes[place], bool):
        return numpy.dtype(bool)
    wanted = operator.loop(*dtypes)[place] if operator.loop else numpy.result_type(*dtypes)
    value = dtypes[place]
    if wanted.kind in "iu" and not numpy.iinfo(wanted).min <= value <= numpy.iinfo(wanted).max:
        return numpy.dtype("int64")  # comparisons take Python ints of any size
    return wanted


def expanded(expand: Callable[..., Any], node: Node) -> Node:
    """``node`` written with the operators that ``expand`` calls."""
    with interpreter.interpreting(Builder(node.source)):
        result = expand(*(Symbol(o) for o in node.operands), **node.attrs)
    return result.node if isinstance(result, Symbol) else literal(result, node.dtype)
