"""Body graphs as statements and folds: scalar expressions with every conversion written out."""

from __future__ import annotations

import math

import numpy

from blockfuse.codegen.kernels.expression import Expression, Name, Term
from blockfuse.codegen.kernels.kernel import Statement
from blockfuse.codegen.kernels.loop_kernels import Fold
from blockfuse.ir.graph import Node, constant
from blockfuse.ir.lowering import Conversion, Extreme, Pointwise, Reduction

Names = dict[Node, str]  # value of a body -> its name


def literal(value: object, dtype: numpy.dtype) -> Expression:
    """A number of exactly that dtype."""
    if dtype.kind == "b":
        return Expression(str(bool(value)))
    number = float(value) if dtype.kind == "f" else int(value)  # type: ignore[arg-type, call-overload]
    text = repr(number)
    if isinstance(number, float) and not math.isfinite(number):
        text = "nan" if math.isnan(number) else "inf" if number > 0 else "-inf"
    return Expression(f"{dtype}({text})")


def converted(x: Term, source: numpy.dtype, target: numpy.dtype) -> Term:
    """``x`` of dtype ``source`` as ``target``, the way C and NumPy convert."""
    return x if source == target else Expression(_conversion(source, target), (x,))


def _conversion(source: numpy.dtype, target: numpy.dtype) -> str:
    if target.kind == "b":
        return "truth({0})"
    if source.kind == "f" and target.kind in "iu":
        return _float_as_integer(source, target)
    return f"{target}({{0}})"


# NOTE [floats that no integer holds]
# C leaves their conversion undefined. NumPy gives what the compiler of its wheels makes of C's cast, which on x86-64 is:
# small integers by way of int32, uint32 by way of int64 (what does not fit there becomes the least number), negative
# numbers as uint64 by way of int64.


def _float_as_integer(source: numpy.dtype, target: numpy.dtype) -> str:
    """See NOTE [floats that no integer holds]."""
    if target.name == "uint64":
        half = f"{source}({2.0**63})"
        upper = f"uint64(int64({{0}} - {half})) ^ uint64({2**63})"
        return f"select({{0}} >= {half}, {upper}, uint64(int64({{0}})))"
    if target.itemsize < 4:
        return f"{target}(int32({{0}}))"
    return f"{target}(int64({{0}}))" if target.kind == "u" else f"{target}({{0}})"


def _read(node: Node, names: Names) -> Term:
    """The name of a value, or the number itself where it is a constant."""
    if node.operator is constant:
        return literal(node.attrs["value"].reshape(-1)[0].item(), node.dtype)
    return Name(names[node])


def statement(node: Node, names: Names) -> Statement:
    """A pointwise node as one statement; its operands are converted to the dtypes of its loop."""
    lowering, loop = node.operator.lowering, node.operator.loop
    assert isinstance(lowering, Pointwise)
    assert loop is not None
    *taken, made = loop(*(o.dtype for o in node.operands), **node.attrs)
    operands = tuple(
        converted(_read(o, names), o.dtype, dtype) for o, dtype in zip(node.operands, taken, strict=True)
    )
    if isinstance(lowering, Conversion):
        return Statement(names[node], str(node.dtype), converted(operands[0], taken[0], made))
    return Statement(names[node], str(node.dtype), Expression(typed(lowering.expression, made), operands))


def typed(template: str, dtype: numpy.dtype) -> str:
    """A template whose result has that dtype: Python's integer operators widen."""
    template = _bare(template)
    return f"{dtype}({template})" if dtype.kind in "iu" else template


def _bare(text: str) -> str:
    """Without the outer parentheses of ``(a + b)``."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth and index < len(text) - 1:
            return text
    return text[1:-1]


def fold(node: Node, names: Names) -> Fold:
    """A reduction as an accumulator with its start and step."""
    lowering = node.operator.lowering
    assert isinstance(lowering, Reduction)
    (operand,) = node.operands
    element = converted(_read(operand, names), operand.dtype, node.dtype)
    step = typed(lowering.combine.format("{1}", acc="{0}"), node.dtype)
    return Fold(
        names[node],
        str(node.dtype),
        _start(lowering, node.dtype),
        Expression(step, (Name(names[node]), element)),
        step,
    )


def _start(lowering: Reduction, dtype: numpy.dtype) -> Expression:
    """What an accumulator starts from; extremes start from the value that loses against every other."""
    if not isinstance(lowering.start, Extreme):
        return literal(lowering.start, dtype)
    if dtype.kind == "f":
        return literal(-math.inf if lowering.start is Extreme.LOWEST else math.inf, dtype)
    bounds = numpy.iinfo(dtype)
    return literal(bounds.min if lowering.start is Extreme.LOWEST else bounds.max, dtype)
