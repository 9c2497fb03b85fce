"""Products, convolutions and poolings in ONNX, which has channels first."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from blockfuse.frontends.onnx.writing.table import Call, NoFormError, Shape, Size, Value, form, whole
from blockfuse.frontends.onnx.writing.writer import Writer

Padding = tuple[tuple[int, int], ...]


@form("dense")
def _dense(writer: Writer, call: Call, *operands: Value) -> Value:
    x, weight, *bias = (writer.cast(operand, call.dtype) for operand in operands)
    if x.ndim == 2:
        return writer.node("Gemm", [x, weight, *bias], call.dtype, call.shape, transB=1)
    product = writer.node("MatMul", [x, writer.transposed(weight, (1, 0))], call.dtype, call.shape)
    return writer.like("Add", product, *bias) if bias else product


@form("matmul")
def _matmul(writer: Writer, call: Call, x: Value, y: Value) -> Value:
    operands = [writer.cast(operand, call.dtype) for operand in (x, y)]
    return writer.node("MatMul", operands, call.dtype, call.shape)


@form("einsum")
def _einsum(writer: Writer, call: Call, *operands: Value, subscripts: str) -> Value:
    sizes: dict[str, set[Size]] = {}
    for term, operand in zip(subscripts.split("->")[0].split(","), operands, strict=True):
        for letter, size in zip(term, operand.shape, strict=True):
            sizes.setdefault(letter, set()).add(size)
    if any(len(found) > 1 for found in sizes.values()):
        raise NoFormError  # along which one is repeated
    values = [writer.cast(operand, call.dtype) for operand in operands]
    return writer.node("Einsum", values, call.dtype, call.shape, equation=subscripts)


# -- channels --------------------------------------------------------------------------------------------------------


def _first(x: Value) -> tuple[int, ...]:
    """The order of axes in which channels, which are last, are first."""
    return (0, x.ndim - 1, *range(1, x.ndim - 1))


def _last(shape: Shape) -> tuple[int, ...]:
    return (0, *range(2, len(shape)), 1)


def _over_channels_first(
    writer: Writer, x: Value, shape: Shape, written: Callable[[Value, Shape], Value]
) -> Value:
    """What a node makes of ``x`` with channels first. shape: of the result, with channels last."""
    inner = (shape[0], shape[-1], *shape[1:-1])
    return writer.transposed(written(writer.transposed(x, _first(x)), inner), _last(shape))


def _pads(padding: Padding) -> list[int]:
    if any(size < 0 for pair in padding for size in pair):
        raise NoFormError("with a border of less than nothing")
    return [size for side in (0, 1) for size in (pair[side] for pair in padding)]


@form("convolution")
def _convolution(
    writer: Writer,
    call: Call,
    *operands: Value,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: Padding,
    groups: int,
) -> Value:
    x, weight, *bias = (writer.cast(operand, call.dtype) for operand in operands)

    def written(first: Value, shape: Shape) -> Value:
        kernel = writer.transposed(weight, _first(weight))
        return writer.node(
            "Conv",
            [first, kernel, *bias],
            call.dtype,
            shape,
            strides=stride,
            dilations=dilation,
            pads=_pads(padding),
            group=groups,
        )

    return _over_channels_first(writer, x, call.shape, written)


@form("deconvolution")
def _deconvolution(
    writer: Writer,
    call: Call,
    x: Value,
    weight: Value,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: Padding,
    groups: int,
) -> Value:
    x, weight = (writer.cast(operand, call.dtype) for operand in (x, weight))
    taps = whole(weight.shape[1:-1])
    counts = whole(x.shape[1:-1])
    reached = [
        (count - 1) * step + (tap - 1) * apart + 1 - sum(pair)
        for count, step, tap, apart, pair in zip(counts, stride, taps, dilation, padding, strict=True)
    ]
    more = [wanted - found for wanted, found in zip(size, reached, strict=True)]
    if any(count < 0 for count in more):
        raise NoFormError("to less than its windows reach")

    def written(first: Value, shape: Shape) -> Value:
        return writer.node(
            "ConvTranspose",
            [first, writer.transposed(weight, _first(weight))],
            call.dtype,
            shape,
            strides=stride,
            dilations=dilation,
            pads=_pads(padding),
            output_padding=more,
            group=groups,
        )

    return _over_channels_first(writer, x, call.shape, written)


# -- pooling ---------------------------------------------------------------------------------------------------------


def _windows(kernel: tuple[int, ...], stride: tuple[int, ...], padding: Padding) -> dict[str, Any]:
    if any(side >= size for pair, size in zip(padding, kernel, strict=True) for side in pair):
        raise NoFormError("with windows that lie in the border")  # which runtimes refuse
    return {"kernel_shape": kernel, "strides": stride, "pads": _pads(padding)}


@form("max_pooling")
def _max_pooling(
    writer: Writer, call: Call, x: Value, kernel: tuple[int, ...], stride: tuple[int, ...], padding: Padding
) -> Value:
    def written(first: Value, shape: Shape) -> Value:
        return writer.node("MaxPool", [first], x.dtype, shape, **_windows(kernel, stride, padding))

    return _over_channels_first(writer, x, call.shape, written)


@form("sum_pooling")
def _sum_pooling(
    writer: Writer, call: Call, x: Value, kernel: tuple[int, ...], stride: tuple[int, ...], padding: Padding
) -> Value:
    """So many times the mean, in which the border counts."""

    def written(first: Value, shape: Shape) -> Value:
        windows = _windows(kernel, stride, padding)
        mean = writer.node("AveragePool", [first], x.dtype, shape, count_include_pad=1, **windows)
        return writer.like("Mul", mean, writer.number(prod(kernel), mean))

    return _over_channels_first(writer, x, call.shape, written)


# -- matrices --------------------------------------------------------------------------------------------------------


@form("det")
def _det(writer: Writer, call: Call, x: Value) -> Value:
    return writer.node("Det", [writer.cast(x, call.dtype)], call.dtype, call.shape)
