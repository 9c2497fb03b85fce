"""Operators that fold elements, in ONNX."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

from blockfuse.frontends.onnx.writing.table import Call, Shape, Value, form, whole
from blockfuse.frontends.onnx.writing.writer import Writer
from blockfuse.ir.operators.reductions import mean_dtype


def folded(writer: Writer, kind: str, x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    """``x`` folded along axes; along none, it is what it is."""
    if not axis:
        return x
    shape: Shape = tuple(
        1 if n in axis else size for n, size in enumerate(x.shape) if keepdims or n not in axis
    )
    operands = [x, writer.integers(sorted(axis))]
    return writer.node(kind, operands, x.dtype, shape, keepdims=int(keepdims))


def _fold(kind: str, writer: Writer, call: Call, x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    return folded(writer, kind, writer.cast(x, call.dtype), axis, keepdims)


for _name, _kind in (
    ("sum", "ReduceSum"),
    ("prod", "ReduceProd"),
    ("max", "ReduceMax"),
    ("min", "ReduceMin"),
    ("mean", "ReduceMean"),
    ("logsumexp", "ReduceLogSumExp"),
):
    form(_name)(partial(_fold, _kind))


def _truths(kind: str, writer: Writer, call: Call, x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    """Extremes of nothing are the least and the largest number: none holds, and all."""
    found = folded(writer, kind, writer.cast(writer.cast(x, bool), "int32"), axis, keepdims)
    return writer.node("Greater", [found, writer.number(0, found)], bool, found.shape)


form("any")(partial(_truths, "ReduceMax"))
form("all")(partial(_truths, "ReduceMin"))


@form("count_nonzero")
def _count_nonzero(writer: Writer, call: Call, x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    return folded(writer, "ReduceSum", writer.cast(writer.cast(x, bool), "int64"), axis, keepdims)


def _variance(writer: Writer, x: Value, axis: tuple[int, ...], keepdims: bool, ddof: float) -> Value:
    x = writer.cast(x, mean_dtype(x.dtype))
    apart = writer.like("Sub", x, folded(writer, "ReduceMean", x, axis, keepdims=True))
    squares = writer.like("Mul", apart, apart)
    if not ddof:
        return folded(writer, "ReduceMean", squares, axis, keepdims)
    count = prod(whole(tuple(x.shape[a] for a in axis)))
    total = folded(writer, "ReduceSum", squares, axis, keepdims)
    return writer.like("Div", total, writer.number(max(count - ddof, 0), total))


@form("var")
def _var(writer: Writer, call: Call, x: Value, **attrs: Any) -> Value:
    return _variance(writer, x, **attrs)


@form("std")
def _std(writer: Writer, call: Call, x: Value, **attrs: Any) -> Value:
    return writer.like("Sqrt", _variance(writer, x, **attrs))


# dtype -> one of the same order that runtimes look for extremes in
_COMPARED = {"bool": "int32", "float16": "float32"}


def _place(
    kind: str, writer: Writer, call: Call, x: Value, axis: int | None, keepdims: bool = False
) -> Value:
    x = writer.cast(x, _COMPARED.get(x.dtype.name, x.dtype))
    if axis is None:
        flat = writer.reshaped(x, (prod(whole(x.shape)),))
        found = writer.node(kind, [flat], "int64", (1,), axis=0, keepdims=1)
        return writer.reshaped(found, call.shape)
    return writer.node(kind, [x], call.dtype, call.shape, axis=axis % x.ndim, keepdims=int(keepdims))


form("argmax")(partial(_place, "ArgMax"))
form("argmin")(partial(_place, "ArgMin"))


@form("softmax", "log_softmax")
def _softmax(writer: Writer, call: Call, x: Value, axis: int) -> Value:
    kind = "Softmax" if call.operator.name == "softmax" else "LogSoftmax"
    return writer.like(kind, writer.cast(x, call.dtype), axis=axis)
