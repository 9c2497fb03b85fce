"""Rules of products of vectors and matrices, and of attention."""

from __future__ import annotations

import math
from typing import Any

import numpy

from blockfuse.array import np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.keras.rules.table import Array, Op, refuse_if, rule
from blockfuse.frontends.keras.rules.values import shape_of


@rule("Matmul")
def matmul(op: Op, x: Array, y: Array) -> Array:
    """A product of vectors, matrices or stacks of matrices."""
    return np.matmul(x, y)


@rule("Dot")
def dot(op: Op, x: Array, y: Array) -> Array:
    """A product over the last axis of one and the second to last of the other."""
    return np.dot(x, y)


@rule("Tensordot")
def tensordot(op: Op, x: Array, y: Array) -> Array:
    """A product over several axes."""
    return np.tensordot(x, y, axes=op.axes)


@rule("Outer")
def outer(op: Op, x: Array, y: Array) -> Array:
    """Each element times each."""
    return np.outer(x, y)


@rule("Einsum")
def einsum(op: Op, *operands: Array, **options: Any) -> Array:
    """Sums of products, by letters."""
    return np.einsum(op.subscripts, *operands)


@rule("DotProductAttention")
def attention(
    op: Op, query: Array, key: Array, value: Array, bias: Any = None, mask: Any = None, scale: Any = None
) -> Array:
    """Vaswani et al. 2017, of arrays (batch, times, heads, features)."""
    heads, of_keys = shape_of(query)[2], shape_of(key)[2]
    refuse_if(op.attn_logits_soft_cap is not None or heads != of_keys, "bounded scores, or groups of heads")
    scores = np.einsum("btnh,bsnh->bnts", query, key) * (scale or 1 / math.sqrt(shape_of(query)[-1]))
    scores = scores if bias is None else scores + bias
    seen = mask if mask is None or mask.dtype.kind == "b" else mask != 0
    if op.is_causal:
        causal = ndarray(numpy.tril(numpy.ones(shape_of(scores)[2:], bool)))
        seen = causal if seen is None else np.logical_and(seen, causal)
    if seen is not None:
        scores = np.where(seen, scores, np.full((), -0.7 * numpy.finfo(scores.dtype).max, scores.dtype))
    return np.einsum("bnts,bsnh->btnh", npx.softmax(scores, axis=-1), value)
