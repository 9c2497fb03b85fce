"""Rules of products of vectors and matrices."""

from __future__ import annotations

from typing import Any

import torch

from blockfuse.array import np, npx
from blockfuse.frontends.torch.rules.table import Array, Tensor, Value, rule
from blockfuse.frontends.torch.rules.values import cast, refuse_if, shape_of


@rule("linear")
def linear(like: Tensor, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """A product with a weight of shape (units, in), and a bias."""
    refuse_if(len(shape_of(weight)) != 2, "a weight that is no matrix")
    if len(shape_of(x)) == 1:
        return linear(like, x.reshape(1, -1), weight, bias).reshape(-1)
    if bias is not None and shape_of(bias) != shape_of(weight)[:1]:
        return npx.fully_connected(x, weight, None, flatten=False) + bias
    return npx.fully_connected(x, weight, bias, flatten=False)


@rule("matmul", "mm", "bmm", "mv", "dot", "inner", "__matmul__")
def matmul(like: Tensor, x: Array, other: Array) -> Array:
    """A product of vectors, matrices or stacks of matrices."""
    return np.matmul(x, other)


@rule("__rmatmul__")
def rmatmul(like: Tensor, x: Array, other: Array) -> Array:
    """The product of the operands in the other order."""
    return np.matmul(other, x)


def _added(x: Array, product: Array, beta: Value, alpha: Value) -> Array:
    """``beta * x + alpha * product``; where beta is 0, whatever x holds does not count."""
    scaled = product if alpha == 1 else product * alpha
    if beta == 0:
        return scaled
    return scaled + (x if beta == 1 else x * beta)


@rule("addmm", "addmv", "baddbmm")
def addmm(like: Tensor, x: Array, left: Array, right: Array, *, beta: Value = 1, alpha: Value = 1) -> Array:
    """A product is added."""
    refuse_if(like.dtype == torch.bool, "flags")
    return _added(x, np.matmul(left, right), beta, alpha)


@rule("addbmm")
def addbmm(like: Tensor, x: Array, left: Array, right: Array, *, beta: Value = 1, alpha: Value = 1) -> Array:
    """The sum of a stack of products is added."""
    return _added(x, np.sum(np.matmul(left, right), axis=0), beta, alpha)


@rule("addr")
def addr(like: Tensor, x: Array, left: Array, right: Array, *, beta: Value = 1, alpha: Value = 1) -> Array:
    """A product of each element with each is added."""
    return _added(x, np.outer(left, right), beta, alpha)


@rule("outer", "ger")
def outer(like: Tensor, x: Array, other: Array) -> Array:
    """Each element times each."""
    return np.outer(cast(x, like.dtype), cast(other, like.dtype))


@rule("einsum")
def einsum(like: Tensor, equation: Any, *operands: Any) -> Array:
    """Sums of products, by letters."""
    refuse_if(not isinstance(equation, str), "an equation of numbers")
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    return np.einsum(equation, *given)


@rule("bilinear")
def bilinear(like: Tensor, x: Array, y: Array, weight: Array, bias: Array | None = None) -> Array:
    """``x W y`` for each of several matrices."""
    product = np.einsum("...i,oij,...j->...o", x, weight, y)
    return product if bias is None else product + bias
