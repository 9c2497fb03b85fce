"""Gradients: from heads back along their histories to variables, by the pullbacks of the operators in between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy

from blockfuse.array.eager import EAGER
from blockfuse.array.functions.creation import asarray
from blockfuse.array.history import TapeNode, node_of
from blockfuse.array.ndarray import ndarray
from blockfuse.array.tape import Expansion, Tape, twin, untaped
from blockfuse.ir import interpreter
from blockfuse.ir.errors import GradientError, ShapeError
from blockfuse.ir.interpreter import interpreting
from blockfuse.ir.operators import movement, pointwise
from blockfuse.ir.operators.pointwise import broadcast_shapes


def gradients(
    heads: Sequence[tuple[TapeNode, ndarray, ndarray]],
    wanted: Iterable[TapeNode] | None = None,
    keep: bool = False,
    record: bool = False,
    since: int = 0,
) -> dict[TapeNode, ndarray]:
    """The gradient of each variable that the heads depend on, or of each node that is wanted.

    heads: a node, its value, and the gradient of whatever comes behind it. keep: whether another call may follow.
    record: whether the gradients are recorded themselves. since: nodes made before (``history.now``) are ends, like
    variables. Nodes are visited from the latest to the earliest, so the whole
    gradient of a node is there when it is visited, and sums are added in the same order whoever computes.
    """
    base = untaped(interpreter.current())
    walk = _Walk(base, wanted, keep, record, since)
    with interpreting(Tape(base) if record else base):
        for node, value, grad in heads:
            walk.add(node, value, grad)
        walk.run()
    return walk.found


class _Walk:
    def __init__(
        self,
        base: interpreter.Interpreter,
        wanted: Iterable[TapeNode] | None,
        keep: bool,
        record: bool,
        since: int,
    ) -> None:
        self.found: dict[TapeNode, ndarray] = {}
        self._base, self._keep, self._record, self._since = base, keep, record, since
        self._wanted = None if wanted is None else set(wanted)
        self._leading: set[TapeNode] | None = None  # to what is wanted
        self._heap: list[tuple[int, TapeNode]] = []
        self._pending: dict[TapeNode, tuple[Any, Any]] = {}  # node -> its value, its gradient so far

    def add(self, node: TapeNode, value: Any, grad: Any) -> None:
        """A part of the gradient of ``node``."""
        if node in self._pending:
            self._pending[node] = value, _sum(self._pending[node][1], grad)
        else:
            self._pending[node] = value, grad
            heappush(self._heap, (-node.order, node))

    def run(self) -> None:
        if self._wanted is not None:
            self._leading = _leading_to(self._wanted, list(self._pending))
        told = self._base.retracing(self._obstacle())
        while self._heap:
            node = self._heap[0][1]
            if told is not None and node.variable is None:
                told.visits(node.order, self._pending)
            heappop(self._heap)
            value, grad = self._pending.pop(node)
            ends = node.variable is not None or node.order < self._since
            if ends or (self._wanted is not None and node in self._wanted):
                self.found[node] = grad
            if not ends:
                self._visit(node, value, grad)
        if told is not None:
            told.ends()

    def _obstacle(self) -> str:
        """See ``Interpreter.retracing``."""
        if self._record:
            return "gradients of gradients are asked for"
        if self._wanted is not None and any(node.variable is None for node in self._wanted):
            return "gradients of computed values are asked for"
        return ""

    def _visit(self, node: TapeNode, value: Any, grad: Any) -> None:
        if node.pullback is None:
            raise GradientError(
                "backward() has been through a part of this computation before, and forgot it: give "
                "retain_graph=True to all calls but the last, or compute anew inside of autograd.record()"
            )
        if isinstance(node.pullback, Expansion):
            self._expand(node, node.pullback, grad)
        else:
            operands = node.operands
            if self._record:
                value, operands = _with_node(value, node), tuple(map(_with_node, operands, node.parents))
            parts = node.pullback(grad, value, *operands)
            for parent, operand, part in zip(node.parents, node.operands, parts, strict=True):
                if parent is not None and part is not None and self._leads(parent):
                    self.add(parent, operand, fitted(part() if callable(part) else part, parent))
        if not self._keep:
            node.free()

    def _expand(self, node: TapeNode, pullback: Expansion, grad: Any) -> None:
        """Apply the operators of a composite one, whose nodes are visited next: they are the latest."""
        operands = [_with_node(o, p) for o, p in zip(node.operands, node.parents, strict=True)]
        with interpreting(Tape(self._base)):
            value = pullback.expand(*operands, **pullback.attrs)
        expanded = node_of(value)
        if expanded is not None:
            if self._leading is not None:
                self._leading |= _leading_to(set(filter(None, node.parents)) & self._leading, [expanded])
            self.add(expanded, value, fitted(grad, expanded))

    def _leads(self, node: TapeNode) -> bool:
        return self._leading is None or node in self._leading


def _with_node(operand: Any, node: TapeNode | None) -> Any:
    """The operand as it was: with the history that it had, whatever became of the array."""
    if type(operand) is not ndarray:
        return operand
    history = operand._history
    if history is not None and history[0] is node and history[2] == history[1].version:
        return operand
    return twin(operand, node)


def _leading_to(wanted: set[TapeNode], heads: list[TapeNode]) -> set[TapeNode]:
    """The nodes below ``heads`` from which some that are wanted can be reached."""
    seen: set[TapeNode] = set()
    waiting = list(heads)
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(p for p in node.parents if p is not None)
    leading = set(wanted)
    for node in sorted(seen, key=lambda n: n.order):
        if any(p in leading for p in node.parents):
            leading.add(node)
    return leading


def fitted(grad: Any, node: TapeNode) -> Any:
    """A gradient in the shape and dtype of the value that it is of: summed over the axes that were broadcast."""
    if isinstance(grad, Parts):
        return grad
    if grad.shape != node.shape:
        grad = summed_to(grad, node.shape)
    return grad if grad.dtype == node.dtype else pointwise.cast(grad, dtype=str(node.dtype))


def summed_to(grad: Any, shape: tuple[int, ...]) -> Any:
    """A gradient summed over the axes along which an operand of ``shape`` was broadcast."""
    wide = broadcast_shapes(grad.shape, shape)
    if grad.shape != wide:
        grad = movement.broadcast_to(grad, shape=wide)
    lead = len(wide) - len(shape)
    ours = (1,) * lead + tuple(shape)
    axes = tuple(n for n, (size, whole) in enumerate(zip(ours, wide, strict=True)) if size != whole)
    if axes:
        grad = grad.sum(axis=axes, keepdims=True)
    return movement.reshape(grad, shape=shape) if grad.shape != shape else grad


def _sum(first: Any, second: Any) -> Any:
    return first.joined(second) if isinstance(first, Parts) else pointwise.add(first, second)


class Parts:
    """The gradients of some of several results. of: number of a result -> its gradient."""

    __slots__ = ("of",)

    def __init__(self, of: dict[int, Any]) -> None:
        self.of = of

    def joined(self, other: Parts) -> Parts:
        both = dict(self.of)
        for number, gradient in other.of.items():
            both[number] = both[number] + gradient if number in both else gradient
        return Parts(both)


def output_node(call: TapeNode, like: Any, number: int, types: Any = None) -> TapeNode:
    """The node of one of several results of ``call``, whose pullback is given ``Parts``, and ``types`` for its value."""

    def pullback(g: Any, *_: Any) -> tuple[Parts]:
        return (Parts({number: g}),)

    return TapeNode(like, (call,), (types,), pullback)


def head_gradient(head: ndarray, grad: Any) -> ndarray:
    """The gradient that a head starts with: ones where the user gives none."""
    if grad is None:
        if interpreter.current() is EAGER:
            return ndarray(numpy.ones(head.shape, head.dtype))  # a tenth of the time that operators take
        return movement.filled(1, head.shape, head.dtype)
    given = asarray(grad)
    if given.shape != head.shape:
        raise ShapeError(f"a head of shape {head.shape} cannot have a gradient of shape {given.shape}")
    return given.astype(str(head.dtype), copy=False)
