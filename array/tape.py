"""The tape: the interpreter that notes what operators do inside of ``autograd.record()``.

It stands in front of the interpreter that was current: that one computes (eager) or also writes a graph (the recorder), so
whatever is recorded for gradients is part of a program like everything else.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from blockfuse.array.eager import EAGER, numpy_index
from blockfuse.array.functions.indexing import basic_index, is_basic
from blockfuse.array.history import (
    TapeNode,
    Whole,
    cut,
    link,
    memory_if_known,
    node_of,
    unlink,
    whole_of,
    written_part,
)
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.errors import GradientError
from blockfuse.ir.interpreter import Interpreter, interpreting
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import movement, pointwise


class Tape:
    """Notes the operators whose operands have a history. below: who computes."""

    recording = True
    defers = False

    def __init__(self, below: Interpreter) -> None:
        self.below = EAGER if below.defers else below  # operators that wait have no memory to look after
        self.below.follow()

    def apply(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        parents = tuple(map(node_of, operands))
        result = self.below.apply(operator, operands, attrs)
        if any(parents) and operator.gradient is not pointwise.FLAT and result.dtype.kind == "f":
            link(result, TapeNode(result, parents, operands, pullback_of(operator, attrs)))
        elif any(parents):
            cut(result)
        return result

    def update(
        self, target: ndarray, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]
    ) -> None:
        parents = tuple(map(node_of, operands))
        before = _whole_of(target)
        recorded = any(parents) and target.dtype.kind == "f"
        node = TapeNode(target, parents, operands, pullback_of(operator, attrs)) if recorded else None
        with interpreting(self.below):  # copies of what is overwritten are nobody's operators
            self.below.update(target, operator, operands, attrs)
        self._written(target, node, before)

    def assign(self, target: ndarray, index: Any, value: Any) -> None:
        before, parents = _whole_of(target), (node_of(target), node_of(value))
        node = None
        if any(parents) and target.dtype.kind == "f":
            node = TapeNode(target, parents, (target, value), _pullback_of_writing(target, index))
        with interpreting(self.below):
            self.below.assign(target, index, value)
        self._written(target, node, before)

    def escape(self, kind: str, array: ndarray) -> None:
        if kind.startswith("numpy.") and node_of(array) is not None:
            raise GradientError(
                f"{kind} has no gradient, and takes an array that autograd.record() follows: use detach() if it needs "
                f"none, or a function of blockfuse.np"
            )
        self.below.escape(kind, array)

    def impure(self, what: str) -> None:
        self.below.impure(what)

    def follow(self) -> None:
        self.below.follow()

    def visit(self, block: Any) -> None:
        self.below.visit(block)

    # -- writes ----------------------------------------------------------------------------------------------

    def _written(self, target: ndarray, node: TapeNode | None, before: Whole | None) -> None:
        memory = memory_if_known(target)
        if node is None and before is None:
            if memory is not None:
                memory.lost = False
            unlink(target)
        elif memory is None or memory.owner() is target._data:
            link(target, node or _constant(target))
        else:
            written_part(target, node or _constant(target), memory, before)


def _whole_of(target: ndarray) -> Whole | None:
    """As ``whole_of``. Raises GradientError where it is that of a variable."""
    whole = whole_of(target)
    if whole is not None and whole.node.variable is not None:
        raise GradientError(
            "inside of autograd.record() an array with attach_grad(), or a parameter, is written to: its gradient would "
            "be that of the value before. Compute a new array, or write outside of record() or in autograd.pause()"
        )
    return whole


def _constant(array: ndarray) -> TapeNode:
    """The node of a value through which no gradient flows."""
    return TapeNode(array, (), (), lambda g, out: ())


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
        self.expand: Any = operator.lowering.expand  # type: ignore[union-attr]
        self.attrs = attrs

    def __call__(self, *_: Any) -> tuple[Any, ...]:
        raise AssertionError("its operators are to be noted, see array/backward.py")


def pullback_of(operator: Operator, attrs: dict[str, Any]) -> Any:
    """What takes the gradient of a result to those of the operands."""
    if operator.gradient is not None:
        return partial(operator.gradient, **attrs) if attrs else operator.gradient
    return Expansion(operator, attrs)


def _pullback_of_writing(target: ndarray, index: Any) -> Any:
    items = index if isinstance(index, tuple) else (index,)
    if all(map(is_basic, items)):
        spelled = basic_index(target.shape, items)
        return lambda g, out, before, value: movement.set_item.gradient(g, out, g, value, index=spelled)  # type: ignore[misc]
    picked = numpy_index(index)

    def pull(g: Any, _: Any, __: Any, ___: Any) -> tuple[Any, Any]:
        return partial(_without, g, picked), partial(g.__getitem__, picked)

    return pull


def _without(g: Any, picked: Any) -> Any:
    kept = g.copy()
    kept[picked] = 0
    return kept
