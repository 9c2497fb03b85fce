"""Rules of attention."""

from __future__ import annotations

import math

import numpy

from blockfuse.array import np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.torch.rules.table import Array, Tensor, rule
from blockfuse.frontends.torch.rules.values import refuse_if, shape_of


@rule("scaled_dot_product_attention")
def attention(
    like: Tensor,
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Array:
    """Vaswani et al. 2017: means of values, weighted by products of queries and keys."""
    refuse_if(dropout_p > 0, "draws")
    refuse_if(enable_gqa or 0 in (*shape_of(query), *shape_of(key)), "groups, or no elements")
    factor = 1 / math.sqrt(shape_of(query)[-1]) if scale is None else scale
    scores = np.matmul(query, np.swapaxes(key, -1, -2)) * factor
    hidden = None
    if is_causal:
        rows, columns = shape_of(query)[-2], shape_of(key)[-2]
        hidden = ndarray(numpy.triu(numpy.ones((rows, columns), bool), 1))
    elif attn_mask is not None and attn_mask.dtype == bool:
        hidden = np.logical_not(attn_mask)
    elif attn_mask is not None:
        scores = scores + attn_mask
    if hidden is not None:
        scores = np.where(hidden, np.full((), -math.inf, scores.dtype), scores)
    return np.matmul(_weights(scores, hidden is not None or attn_mask is not None), value)


def _weights(scores: Array, masked: bool) -> Array:
    """The softmax, and zeros where a query sees nothing."""
    if not masked:
        return npx.softmax(scores, axis=-1)
    largest = np.max(scores, axis=-1, keepdims=True)
    blind = largest == -math.inf
    powers = np.exp(scores - np.where(blind, np.zeros((), scores.dtype), largest))
    total = np.sum(powers, axis=-1, keepdims=True)
    return powers / np.where(blind, np.ones((), scores.dtype), total)
