"""Body graphs as statements: scalar expressions with every conversion written out."""

from __future__ import annotations

import math

import numpy

from blockfuse.codegen.kernels.kernel import Fold, Statement
from blockfuse.ir.graph import Node, constant
from blockfuse.ir.lowering import Pointwise, Reduction


def literal_text(value: object, dtype: numpy.dtype) -> str:
    """A number of exactly that dtype, as source."""
    if dtype.kind == "b":
        return str(bool(value))
    number = float(value) if dtype.kind == "f" else int(value)  # type: ignore[arg-type, call-overload]
    text = repr(number)
    if isinstance(number, float) and not math.isfinite(number):
        text = "nan" if math.isnan(number) else "inf" if number > 0 else "-inf"
    return f"{dtype}({text})"


def converted(text: str, source: numpy.dtype, target: numpy.dtype) -> str:
    """``text`` of dtype ``source`` as ``target``, the way C and NumPy convert."""
    if source == target:
        return text
    if target.kind == "b":
        return f"truth({text})"
    if source.kind == "f" and target.kind in "iu":
        return _float_as_integer(text, source, target)
    return f"{target}({text})"


# NOTE [floats that no integer holds]
# C leaves their conversion undefined. NumPy gives what the compiler of its wheels makes of C's cast, which on x86-64 is:
# small integers by way of int32, uint32 by way of int64 (what does not fit there becomes the least number), negative
# numbers as uint64 by way of int64.


def _float_as_integer(text: str, source: numpy.dtype, target: numpy.dtype) -> str:
    """See NOTE [floats that no integer holds]."""
    if target.name == "uint64":
        half = f"{source}({2.0**63})"
        upper = f"uint64(int64({text} - {half})) ^ uint64({2**63})"
        return f"select({text} >= {half}, {upper}, uint64(int64({text})))"
    if target.itemsize < 4:
        return f"{target}(int32({text}))"
    return f"{target}(int64({text}))" if target.kind == "u" else f"{target}({text})"


def value_text(node: Node, names: dict[Node, str]) -> str:
    """The name of a value, or the number itself where it is a constant."""
    if node.operator is constant:
        return literal_text(node.attrs["value"].reshape(-1)[0].item(), node.dtype)
    return names[node]


def statement(node: Node, names: dict[Node, str]) -> Statement:
    """A pointwise node as one statement; its operands are converted to the dtypes of its loop."""
    lowering, loop = node.operator.lowering, node.operator.loop
    assert isinstance(lowering, Pointwise)
    assert loop is not None
    dtypes = loop(*(o.dtype for o in node.operands), **node.attrs)
    operands = [
        converted(value_text(o, names), o.dtype, d) for o, d in zip(node.operands, dtypes[:-1], strict=True)
    ]
    if node.operator.name == "cast":
        text = converted(operands[0], dtypes[0], dtypes[-1])
    else:
        text = _bare(lowering.expression.format(*operands))
        if dtypes[-1].kind in "iu":  # Python's integer operators widen
            text = f"{dtypes[-1]}({text})"
    return Statement(names[node], str(node.dtype), text)


def _bare(text: str) -> str:
    """Without the outer parentheses of ``(a + b)``."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth and place < len(text) - 1:
            return text
    return text[1:-1]


def fold(node: Node, names: dict[Node, str]) -> Fold:
    """A reduction as an accumulator with its start and step."""
    lowering = node.operator.lowering
    assert isinstance(lowering, Reduction)
    operand = node.operands[0]
    element = converted(value_text(operand, names), operand.dtype, node.dtype)
    step, join = (
        _bare(lowering.combine.format(x, acc=acc)) for x, acc in ((element, names[node]), ("{1}", "{0}"))
    )
    if node.dtype.kind in "iu":
        step, join = f"{node.dtype}({step})", f"{node.dtype}({join})"
    return Fold(names[node], str(node.dtype), start_text(node), step, join)


def start_text(node: Node) -> str:
    """What an accumulator starts from; extremes start from the value that loses against every other."""
    lowering = node.operator.lowering
    assert isinstance(lowering, Reduction)
    if lowering.start in ("True", "False"):
        return lowering.start
    if lowering.start is not None:
        return literal_text(float(lowering.start), node.dtype)
    least = "maximum" in lowering.combine
    if node.dtype.kind == "f":
        return literal_text(-math.inf if least else math.inf, node.dtype)
    bounds = numpy.iinfo(node.dtype)
    return literal_text(bounds.min if least else bounds.max, node.dtype)
