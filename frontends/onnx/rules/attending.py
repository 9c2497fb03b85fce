"""Rules of attention, and of what sequence models keep from one call to the next."""

from __future__ import annotations

import math

import numpy

from blockfuse.array import npx
from blockfuse.array.sizes import size_agnostic
from blockfuse.frontends.onnx.rules.table import Value, rule
from blockfuse.frontends.onnx.rules.values import dtype_of


@rule("Attention", several=True)
@size_agnostic
def attention(
    q: Value,
    k: Value,
    v: Value,
    mask: Value = None,
    past_key: Value = None,
    past_value: Value = None,
    lengths: Value = None,  # how many keys of each item count
    is_causal: int = 0,
    kv_num_heads: int = 0,
    left_window_size: int = -1,
    q_num_heads: int = 0,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
) -> tuple[Value, ...]:
    """Weighted means of values, the whole keys and values, and one of the scores on the way."""
    packed = q.ndim == 3
    q, k, v = _heads(q, q_num_heads), _heads(k, kv_num_heads), _heads(v, kv_num_heads)
    k = k if past_key is None else numpy.concatenate([past_key, k], axis=2)
    v = v if past_value is None else numpy.concatenate([past_value, v], axis=2)
    root = math.sqrt(1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    shared = q.shape[1] // k.shape[1]
    scores = numpy.matmul(q * root, numpy.swapaxes(_repeated(k, shared) * root, 2, 3))
    capped = numpy.tanh(scores / softcap) * softcap if softcap else scores
    offset = past_key.shape[2] if past_key is not None else 0
    seen = _seen(
        q.shape[2],
        k.shape[2],
        offset,
        lengths if past_key is None else None,
        is_causal,
        left_window_size,
        right_window_size,
    )
    biased = _biased(capped, mask, seen, lengths)
    weights = _weights(biased, softmax_precision)
    y = numpy.matmul(weights, _repeated(v, shared))
    if packed:
        y = numpy.transpose(y, (0, 2, 1, 3))
        y = y.reshape((*y.shape[:2], y.shape[2] * y.shape[3]))
    return y, k, v, (scores, capped, biased, weights)[qk_matmul_output_mode]


@size_agnostic
def _heads(x: Value, count: int) -> Value:
    """(batch, heads, times, features), also of (batch, times, heads times features)."""
    if x.ndim == 4:
        return x
    batch, times, width = x.shape
    return numpy.transpose(x.reshape((batch, times, count, width // count)), (0, 2, 1, 3))


def _repeated(x: Value, times: int) -> Value:
    return x if times == 1 else numpy.repeat(x, times, axis=1)


def _seen(queries: int, keys: int, offset: int, lengths: Value, causal: int, left: int, right: int) -> Value:
    """Which keys a query may look at by its place, as what broadcasts against scores; None for all."""
    if not causal and left < 0 and right < 0:
        return None
    place = numpy.arange(queries)[:, None] + offset
    if lengths is not None:
        place = place + (lengths.reshape((-1, 1, 1, 1)) - queries)
    distance = place - numpy.arange(keys)
    seen = numpy.ones((1, 1), bool)
    for is_bound, bounded in (
        (causal, distance >= 0),
        (left >= 0, distance <= left),
        (right >= 0, distance >= -right),
    ):
        seen = numpy.logical_and(seen, bounded) if is_bound else seen
    return seen


@size_agnostic
def _biased(scores: Value, mask: Value, seen: Value, lengths: Value) -> Value:
    """Scores with minus infinity where nobody looks."""
    keys = scores.shape[-1]
    if mask is not None:
        missing = keys - mask.shape[-1]
        widths = [(0, 0)] * (mask.ndim - 1) + [(0, missing)]
        if mask.dtype == bool:
            mask = numpy.pad(mask, widths) if missing else mask
            scores = numpy.where(mask, scores, numpy.array(-math.inf, scores.dtype))
        else:
            scores = scores + (numpy.pad(mask, widths, constant_values=-math.inf) if missing else mask)
    if seen is not None:
        scores = numpy.where(seen, scores, numpy.array(-math.inf, scores.dtype))
    if lengths is not None:
        counted = numpy.less(numpy.arange(keys), lengths.reshape((-1, 1, 1, 1)))
        scores = numpy.where(counted, scores, numpy.array(-math.inf, scores.dtype))
    return scores


def _weights(scores: Value, precision: int | None) -> Value:
    """The softmax, and zeros where a query sees nothing."""
    wide = scores if precision is None else scores.astype(dtype_of(precision))
    largest = numpy.max(wide, axis=-1, keepdims=True)
    blind = numpy.equal(largest, -math.inf)
    powers = numpy.exp(wide - numpy.where(blind, numpy.zeros((), wide.dtype), largest))
    total = numpy.sum(powers, axis=-1, keepdims=True)
    return (powers / numpy.where(blind, numpy.ones((), wide.dtype), total)).astype(scores.dtype)


@rule("RotaryEmbedding")
@size_agnostic
def rotary_embedding(
    x: Value,
    cos: Value,
    sin: Value,
    positions: Value = None,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Value:
    """Pairs of features turned by angles that grow with the position."""
    heads = numpy.transpose(x, (0, 2, 1, 3)) if x.ndim == 4 else x.reshape((*x.shape[:2], num_heads, -1))
    turned = rotary_embedding_dim or heads.shape[-1]
    if positions is not None:
        cos, sin = numpy.take(cos, positions, axis=0), numpy.take(sin, positions, axis=0)
    cos, sin = numpy.expand_dims(cos, 2), numpy.expand_dims(sin, 2)
    half = turned // 2
    if interleaved:
        a, b = heads[..., 0:turned:2], heads[..., 1:turned:2]
    else:
        a, b = heads[..., :half], heads[..., half:turned]
    pair = cos * a - sin * b, sin * a + cos * b
    if interleaved:
        rotated = numpy.stack(pair, axis=-1).reshape((*heads.shape[:3], turned))
    else:
        rotated = numpy.concatenate(pair, axis=-1)
    whole = (
        rotated if turned == heads.shape[-1] else numpy.concatenate([rotated, heads[..., turned:]], axis=-1)
    )
    return numpy.transpose(whole, (0, 2, 1, 3)) if x.ndim == 4 else whole.reshape(x.shape)


@rule("LinearAttention", several=True)
def linear_attention(
    query: Value,
    key: Value,
    value: Value,
    past_state: Value = None,
    decay: Value = None,
    beta: Value = None,
    chunk_size: int = 64,
    kv_num_heads: int = 1,
    q_num_heads: int = 1,
    scale: float = 0.0,
    update_rule: str = "gated_delta",
) -> tuple[Value, Value]:
    """A matrix per head that each time adds to, read by queries; float16 is computed in float32."""
    if query.dtype == "float16":
        q, k, v, past, gates, rates = (
            x if x is None else x.astype("float32") for x in (query, key, value, past_state, decay, beta)
        )
        y, state = linear_attention(
            q, k, v, past, gates, rates, chunk_size, kv_num_heads, q_num_heads, scale, update_rule
        )
        return y.astype("float16"), state.astype("float16")
    q, k, v = _heads(query, q_num_heads), _heads(key, kv_num_heads), _heads(value, kv_num_heads)
    batch, heads, times, width = k.shape
    gates = None if decay is None or "gated" not in update_rule else _heads(decay, kv_num_heads)
    rates = (
        None
        if beta is None or "delta" not in update_rule
        else _heads(beta, kv_num_heads if beta.shape[-1] > 1 else 1)
    )
    factor = scale or 1 / math.sqrt(width)
    state = numpy.zeros((batch, heads, width, v.shape[-1]), query.dtype) if past_state is None else past_state
    shared, outputs = q_num_heads // kv_num_heads, []
    for time in range(times):
        row, new = k[:, :, time, :, None], v[:, :, time, None, :]
        state = state if gates is None else state * numpy.exp(gates[:, :, time, :, None])
        if "delta" in update_rule:
            new = new - numpy.sum(state * row, axis=2, keepdims=True)
            new = new if rates is None else new * rates[:, :, time, :, None]
        state = state + row * new
        seen = numpy.sum(_repeated(state, shared) * q[:, :, time, :, None], axis=2)
        outputs.append(seen * factor)
    y = numpy.stack(outputs, axis=1)
    return y.reshape((batch, times, y.shape[2] * y.shape[3])), state


@rule("CausalConvWithState", several=True)
def causal_conv_with_state(
    x: Value, weight: Value, bias: Value = None, past_state: Value = None, activation: str = "none"
) -> tuple[Value, Value]:
    """Each channel convolved with what came before, and what the next call must know of this one."""
    before = weight.shape[-1] - 1
    past = numpy.zeros((*x.shape[:2], before), x.dtype) if past_state is None else past_state
    whole = numpy.concatenate([past, x], axis=2)
    y = npx.convolution(whole, weight, bias, num_group=x.shape[1], no_bias=bias is None)
    y = y * npx.sigmoid(y) if activation in ("silu", "swish") else y
    return y, whole[:, :, whole.shape[2] - before :]
