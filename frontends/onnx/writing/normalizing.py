"""Normalizations in ONNX, where it has them; all others are written as sums and products."""

from __future__ import annotations

from blockfuse.frontends.onnx.writing.table import Call, NoFormError, Value, form
from blockfuse.frontends.onnx.writing.writer import Writer


@form("layer_norm")
def _layer_norm(
    writer: Writer, call: Call, x: Value, gamma: Value, beta: Value, axis: tuple[int, ...], epsilon: float
) -> Value:
    """Over the last axes, in float32 as the standard says."""
    last = tuple(range(x.ndim - len(axis), x.ndim))
    alike = {x.dtype.name, gamma.dtype.name, beta.dtype.name}
    if tuple(axis) != last or alike != {"float32"} or {gamma.shape, beta.shape} != {x.shape[last[0] :]}:
        raise NoFormError
    return writer.like("LayerNormalization", x, gamma, beta, axis=-len(axis), epsilon=float(epsilon))


@form("batch_norm")
def _batch_norm(
    writer: Writer,
    call: Call,
    x: Value,
    gamma: Value,
    beta: Value,
    average: Value,
    variance: Value,
    epsilon: float,
) -> Value:
    """Over channels that are the second axis."""
    statistics = (gamma, beta, average, variance)
    if x.ndim < 2 or any(s.dtype != x.dtype for s in statistics):
        raise NoFormError
    channels = x.shape[1]
    along = (channels, *(1,) * (x.ndim - 2))
    if any(s.shape not in (along, (1, *along)) for s in statistics):
        raise NoFormError
    vectors = [writer.reshaped(s, (channels,)) for s in statistics]
    return writer.like("BatchNormalization", x, *vectors, epsilon=float(epsilon))
