"""The tape: the interpreter that notes what operators do inside of ``autograd.record()``.

It stands in front of the interpreter that was current: that one computes (eager) or also writes a graph (the recorder), so
whatever is recorded for gradients is part of a program like everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from itertools import repeat
from typing import Any

import numpy

from blockfuse.array import stamps
from blockfuse.array.defaults import default_float
from blockfuse.array.eager import EAGER, from_sequence
from blockfuse.array.functions.assigning import written_at
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.indexing import basic_index, is_basic
from blockfuse.array.history import TapeNode, after_write, before_write, link, node_of, seen_as
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.errors import GradientError
from blockfuse.ir.interpreter import Interpreter, Retracing, interpreting
from blockfuse.ir.lowering import Composite
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import movement, pointwise

LOSING = ("numpy.", "unique()")  # what gives floats that nobody follows, without having been asked to


class Tape:
    """Notes the operators whose operands have a history. below: who computes."""

    recording = True
    defers = False
    outlived = True

    def __init__(self, below: Interpreter) -> None:
        self.below = EAGER if below.defers else below  # operators that wait have no memory to look after
        self.below.follow()

    def apply(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        types = {*map(type, operands)}
        if list in types or tuple in types:
            operands = tuple(map(_stacked, operands))
        if operator.gradient is pointwise.FLAT:
            return self.below.apply(operator, operands, attrs)
        parents = tuple(map(node_of, operands))
        result = self.below.apply(operator, operands, attrs)
        if any(parents) and result._data.dtype.kind == "f":
            kept = self._kept(operands, parents)
            link(result, TapeNode(result._data, parents, kept, pullback_of(operator, attrs)))
        return result

    def update(
        self, target: ndarray, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]
    ) -> None:
        operands = tuple(map(_stacked, operands))
        flat = operator.gradient is pointwise.FLAT
        parents = (None,) * len(operands) if flat else tuple(map(node_of, operands))
        node = None
        with interpreting(self.below):  # copies of what is overwritten are nobody's operators
            before = before_write(target)
            if any(parents) and target.dtype.kind == "f":
                kept = self._kept(operands, parents)
                node = TapeNode(target._data, parents, kept, pullback_of(operator, attrs))
            self.below.update(target, operator, operands, attrs)
            after_write(target, node, before)

    def assign(self, target: ndarray, index: Any, value: Any) -> None:
        value = _stacked(value)
        parents = (None if _is_whole(index) else node_of(target), node_of(value))
        node = None
        with interpreting(self.below):
            before = before_write(target)
            if any(parents) and target.dtype.kind == "f":
                pullback = pullback_of_writing(target, index, value)
                node = TapeNode(target._data, parents, (target, value), pullback, looks=False)
            self.below.assign(target, index, value)
            after_write(target, node, before)

    def _kept(self, operands: tuple[Any, ...], parents: tuple[TapeNode | None, ...]) -> tuple[Any, ...]:
        return tuple(map(_kept, operands, parents, repeat(self.below.outlived)))

    def escape(self, kind: str, array: ndarray) -> None:
        if kind.startswith(LOSING) and node_of(array) is not None:
            raise GradientError(
                f"{kind} has no gradient, and takes an array that autograd.record() follows: use detach() if it needs "
                f"none, or a function of blockfuse.np"
            )
        self.below.escape(kind, array)

    def impure(self, what: str) -> None:
        self.below.impure(what)

    def follow(self) -> None:
        self.below.follow()

    def retracing(self, obstacle: str) -> Retracing | None:
        return self.below.retracing(obstacle)

    def asks(self, holder: Any, ask: Callable[[], Any], text: str) -> None:
        self.below.asks(holder, ask, text)

    def settles(self, holder: Any) -> None:
        self.below.settles(holder)

    def visit(self, block: Any) -> None:
        self.below.visit(block)

    def assigning(self, holder: Any, name: str) -> AbstractContextManager[Any] | None:
        return self.below.assigning(holder, name)


def _kept(operand: Any, node: TapeNode | None, copies: bool) -> Any:
    """An operand as pullbacks will find it, whatever NumPy writes meanwhile, which nobody sees."""
    if type(operand) is ndarray:
        history = operand._history
        computed = history is not None and history[1].computed
        if computed or not copies or not stamps.is_exposed(operand._data):
            return operand
        copy = _copied(operand)
        seen_as(copy, node)
        return copy
    if isinstance(operand, list | tuple):
        return ndarray(from_sequence(operand))
    if copies and isinstance(operand, numpy.ndarray | numpy.generic):
        return _copied(operand)
    return operand


def _copied(operand: Any) -> ndarray:
    """A copy that is nobody's operator."""
    with interpreting(untaped(interpreter.current())):
        return asarray(operand).copy()


def twin(array: ndarray, node: TapeNode | None) -> ndarray:
    """Another array with the same memory, and a history of its own. An operator makes it, so that recorders know it."""
    with interpreting(untaped(interpreter.current())):
        other: ndarray = movement.stop_gradient(array)
    seen_as(other, node)
    return other


def _stacked(operand: Any) -> Any:
    """A list with arrays in it as an array, so that these are followed."""
    if not isinstance(operand, list | tuple) or not any(map(_is_ours, operand)):
        return operand
    found = numpy.asarray(_data(operand)).dtype
    return asarray(operand).astype(default_float() if found == numpy.float64 else str(found), copy=False)


def _is_ours(value: Any) -> bool:
    return type(value) is ndarray or (isinstance(value, list | tuple) and any(map(_is_ours, value)))


def _data(value: Any) -> Any:
    return list(map(_data, value)) if isinstance(value, list | tuple) else getattr(value, "_data", value)


def _is_whole(index: Any) -> bool:
    return index is Ellipsis or (isinstance(index, slice) and index == slice(None))


def untaped(current: Interpreter) -> Interpreter:
    """Who computes where nothing is noted for gradients."""
    return current.below if isinstance(current, Tape) else current


def is_taping() -> bool:
    """Whether operators are noted for gradients."""
    return isinstance(interpreter.current(), Tape)


# -- pullbacks -----------------------------------------------------------------------------------------------


class Expansion:
    """A composite operator without a gradient of its own: the operators that it is written with have theirs."""

    __slots__ = ("attrs", "expand")

    def __init__(self, operator: Operator, attrs: dict[str, Any]) -> None:
        lowering = operator.lowering
        assert isinstance(lowering, Composite), f"{operator.name} has neither a gradient nor an expansion"
        self.expand = lowering.expand
        self.attrs = attrs

    def __call__(self, *_: Any) -> tuple[Any, ...]:
        raise AssertionError("its operators are to be noted, see array/backward.py")


def pullback_of(operator: Operator, attrs: dict[str, Any]) -> Any:
    """What takes the gradient of a result to those of the operands."""
    if operator.gradient is not None:
        return partial(operator.gradient, **attrs) if attrs else operator.gradient
    return Expansion(operator, attrs)


def pullback_of_writing(target: ndarray, index: Any, value: Any) -> Any:
    """What takes the gradient of an array in which ``index`` was assigned to those of the array before and the value."""
    items = index if isinstance(index, tuple) else (index,)
    if all(map(is_basic, items)):
        spelled = basic_index(target._data.shape, items)
        return lambda g, *_: movement.set_item.gradient(g, None, g, None, index=spelled)  # type: ignore[misc]
    kept = tuple(
        i if is_basic(i) else _snapshot(i) for i in items
    )  # somebody may write to it before gradients go back
    written = written_at(target, kept, value)
    return lambda g, *_: (
        lambda: written.write(g, pointwise.cast(0, dtype=str(g.dtype))),
        lambda: written.pick(g),
    )


def _snapshot(index: Any) -> Any:
    return index.copy() if isinstance(index, ndarray) else numpy.array(index)
