"""Rules of quantized operators, as composites of arithmetic on wider numbers."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.frontends.onnx.rules.convolving import conv
from blockfuse.frontends.onnx.rules.table import Value, rule
from blockfuse.frontends.onnx.rules.values import along, dtype_of


def _spread(values: Value, x: Value, axis: int, block_size: int) -> Value:
    """Scales or zero points so that they broadcast against ``x``: one, one for each place of an axis, or one a block."""
    if block_size:
        wide = numpy.repeat(values, block_size, axis=axis)
        return wide[(*(slice(None),) * (axis % x.ndim), slice(0, x.shape[axis]))]
    return along(values, axis, x.ndim) if values.ndim == 1 and values.shape[0] != 1 else values.reshape(())


@rule("QuantizeLinear")
def quantize_linear(
    x: Value,
    scale: Value,
    zero_point: Value = None,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,  # of 8-bit floats
) -> Value:
    """Whole numbers of steps from a zero point, rounded to even and bounded by the dtype."""
    dtype = zero_point.dtype if zero_point is not None else dtype_of(output_dtype or 2)
    wide = dtype_of(precision) if precision else scale.dtype
    steps = numpy.rint(x.astype(wide) / _spread(scale, x, axis, block_size).astype(wide))
    if zero_point is not None:
        steps = steps.astype("float32") + _spread(zero_point, x, axis, block_size).astype("float32")
    return _bounded(steps, dtype)


def _bounded(steps: Value, dtype: Any) -> Value:
    limits = numpy.iinfo(dtype)
    return numpy.minimum(numpy.maximum(steps, float(limits.min)), float(limits.max)).astype(dtype)


@rule("DequantizeLinear")
def dequantize_linear(
    x: Value,
    scale: Value,
    zero_point: Value = None,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Value:
    """Steps from a zero point times their size."""
    dtype = dtype_of(output_dtype) if output_dtype else scale.dtype
    steps = x.astype("float32")
    if zero_point is not None:
        steps = steps - _spread(zero_point, x, axis, block_size).astype("float32")
    return (steps * _spread(scale, x, axis, block_size).astype("float32")).astype(dtype)


@rule("DynamicQuantizeLinear", several=True)
def dynamic_quantize_linear(x: Value) -> tuple[Value, Value, Value]:
    """To uint8, by the range of the values, with scale and zero point."""
    low, high = numpy.minimum(numpy.min(x), 0), numpy.maximum(numpy.max(x), 0)
    scale = ((high - low) / 255).astype("float32")
    safe = numpy.where(numpy.equal(scale, 0), numpy.ones((), "float32"), scale)
    zero_point = _bounded(numpy.rint(-low / safe), numpy.dtype("uint8"))
    return quantize_linear(x, safe, zero_point), scale, zero_point


@rule("MatMulInteger")
def matmul_integer(a: Value, b: Value, a_zero_point: Value = None, b_zero_point: Value = None) -> Value:
    """The exact product of steps from zero points. a_zero_point: one, or one a row; b_zero_point: one, or one a column."""
    wide_a, wide_b = a.astype("int32"), b.astype("int32")
    if a_zero_point is not None:
        rows = a_zero_point.astype("int32")
        wide_a = wide_a - (numpy.expand_dims(rows, -1) if rows.ndim == 1 and rows.shape[0] > 1 else rows)
    if b_zero_point is not None:
        wide_b = wide_b - b_zero_point.astype("int32")
    return numpy.matmul(wide_a, wide_b)


@rule("QLinearMatMul")
def qlinear_matmul(
    a: Value,
    a_scale: Value,
    a_zero_point: Value,
    b: Value,
    b_scale: Value,
    b_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value,
) -> Value:
    """The product of quantized matrices, quantized."""
    product = matmul_integer(a, b, a_zero_point, b_zero_point).astype("float32")
    scale = _column(a_scale).astype("float32") * b_scale.astype("float32") / y_scale.astype("float32")
    return _bounded(numpy.rint(product * scale) + y_zero_point.astype("float32"), y_zero_point.dtype)


def _column(scale: Value) -> Value:
    return numpy.expand_dims(scale, -1) if scale.ndim == 1 and scale.shape[0] > 1 else scale


def _integer_conv(
    x: Value, w: Value, x_zero_point: Value, w_zero_point: Value, options: dict[str, Any]
) -> Value:
    """Exact: sums of products of bytes are whole numbers that float64 holds."""
    wide_x, wide_w = x.astype("float64"), w.astype("float64")
    wide_x = wide_x if x_zero_point is None else wide_x - x_zero_point.astype("float64").reshape(())
    wide_w = wide_w if w_zero_point is None else wide_w - _spread(w_zero_point, w, 0, 0).astype("float64")
    return conv(wide_x, wide_w, None, **options)


@rule("ConvInteger")
def conv_integer(
    x: Value,
    w: Value,
    x_zero_point: Value = None,
    w_zero_point: Value = None,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Value:
    """The exact convolution of steps from zero points; borders are zero points."""
    options = {"auto_pad": auto_pad, "dilations": dilations, "group": group, "pads": pads, "strides": strides}
    return _integer_conv(x, w, x_zero_point, w_zero_point, options).astype("int32")


@rule("QLinearConv")
def qlinear_conv(
    x: Value,
    x_scale: Value,
    x_zero_point: Value,
    w: Value,
    w_scale: Value,
    w_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value,
    bias: Value = None,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Value:
    """The convolution of quantized arrays, quantized."""
    options = {"auto_pad": auto_pad, "dilations": dilations, "group": group, "pads": pads, "strides": strides}
    total = _integer_conv(x, w, x_zero_point, w_zero_point, options)
    total = total if bias is None else total + along(bias, 1, x.ndim).astype("float64")
    scale = x_scale * _channels(w_scale, x.ndim) / y_scale
    steps = numpy.rint(total.astype("float32") * scale) + y_zero_point.astype("float32")
    return _bounded(steps, y_zero_point.dtype)


def _channels(scale: Value, ndim: int) -> Value:
    return along(scale, 1, ndim) if scale.ndim == 1 and scale.shape[0] > 1 else scale.reshape(())
