"""What an operator is: one row with its NumPy meaning, type rule, gradient and lowering class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy

from blockfuse.ir import interpreter
from blockfuse.ir.lowering import Lowering
from blockfuse.ir.types import TensorType, type_of

TypeRule = Callable[..., TensorType]
# gradient(grad, out, *operands, **attrs) -> one gradient an operand (None: not differentiable), written with
# operators. Broadcasting is undone by whoever calls it.
Gradient = Callable[..., "tuple[Any, ...]"]


@dataclass(frozen=True)
class Example:
    """Operands (by shape) and attributes on which the generated tests try a row.

    low, high: the range of float operands, inside the domain of the function and away from its kinks.
    integers: the operands (by position) that are integers below ``high``. definite: matrices are symmetric with positive
    eigenvalues, and remain symmetric where they are varied.
    """

    shapes: tuple[tuple[int, ...], ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    low: float = -2.0
    high: float = 2.0
    integers: tuple[int, ...] = ()
    definite: bool = False


@dataclass(frozen=True, eq=False)
class Operator:
    """One row of the operator table; calling it computes or records, as the current interpreter says.

    meaning: the definition, on ``numpy.ndarray`` operands. A kernel that disagrees is wrong.
    type_rule: operand types and attributes -> result type; ``None`` runs the meaning on zeros (host
    operators). loop: for pointwise rows, operand dtypes -> dtypes in which the scalar expression sees each
    operand, then the result. gradient: see ``Gradient``; ``None`` on a composite row means that its expansion
    is differentiated. random: it draws random numbers, so it is never folded, shared or moved.
    examples: what the generated tests call it with.
    """

    name: str
    meaning: Callable[..., Any]
    lowering: Lowering
    type_rule: TypeRule | None = None
    gradient: Gradient | None = None
    loop: Callable[..., tuple[numpy.dtype, ...]] | None = None
    random: bool = False
    examples: tuple[Example, ...] = field(default=(), repr=False)

    def __call__(self, *operands: Any, **attrs: Any) -> Any:
        return interpreter.current().apply(self, operands, attrs)

    def result_type(self, *operands: TensorType, **attrs: Any) -> TensorType:
        """The type of the result, by the row's rule."""
        return self._result_type(operands, attrs) if attrs else _known_result_type(self, operands)

    def _result_type(self, operands: tuple[TensorType, ...], attrs: dict[str, Any]) -> TensorType:
        if self.type_rule is not None:
            return self.type_rule(*operands, **attrs)
        with numpy.errstate(all="ignore"):
            return type_of(
                numpy.asarray(self.meaning(*(numpy.zeros(t.shape, t.dtype) for t in operands), **attrs))
            )

    def __repr__(self) -> str:
        return f"<operator {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _row_named, (self.name,)


@lru_cache(maxsize=4096)
def _known_result_type(operator: Operator, operands: tuple[TensorType, ...]) -> TensorType:
    """Graphs repeat themselves, and broadcasting and promotion take NumPy some time."""
    return operator._result_type(operands, {})


TABLE: dict[str, Operator] = {}  # name -> row


def row(name: str, meaning: Callable[..., Any], lowering: Lowering, **columns: Any) -> Operator:
    """Add one row to the table."""
    assert name not in TABLE, f"two rows are named {name}"
    TABLE[name] = Operator(name, meaning, lowering, **columns)
    return TABLE[name]


def _row_named(name: str) -> Operator:
    return TABLE[name]
